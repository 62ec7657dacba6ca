//! What every step of a call needs: the runtime, the settings, and whether to go on.

use litmus_core::SinkError;
use litmus_sql::bookkeeping::DELIVERIES;
use tokio::runtime::Runtime;
use tokio_postgres::types::Type;

use crate::config::Settings;
use crate::link::{Check, Link};
use crate::schema;

/// One call of the host.
#[derive(Clone, Copy)]
pub(crate) struct Session<'a> {
    pub(crate) runtime: &'a Runtime,
    pub(crate) settings: &'a Settings,
    pub(crate) check: Check<'a>,
}

impl Session<'_> {
    /// The identity of what is there: the UUID kept in the schema, with the server's own identity and timeline. A copy
    /// restored from a backup, or a standby that took over and may lack the last commits, has the UUID but not the rest,
    /// and the host then asks what really is there.
    pub(crate) fn incarnation(&self, link: &mut Link, stored: &str) -> Result<String, SinkError> {
        // Services that only speak the protocol refuse this; then the UUID alone has to do.
        let sql = "SELECT system_identifier::text || '.' || CASE WHEN pg_catalog.pg_is_in_recovery() THEN 'standby' \
                   ELSE pg_catalog.substr(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()), 1, 8) END \
                   FROM pg_catalog.pg_control_system()";
        let asked = link.run(self.runtime, self.check, "asking for the server's identity", async |client| {
            Ok(schema::rows(client, sql, &[]).await.map_err(|failure| (crate::error::is_broken(&failure), failure)))
        })?;
        match asked {
            Ok(found) => Ok(match found.first().and_then(|row| row.get::<_, Option<String>>(0)) {
                Some(identity) => format!("{stored}@{identity}"),
                None => stored.to_owned(),
            }),
            Err((true, failure)) => Err(link.failed(&failure, "asking for the server's identity")),
            Err((false, _)) => Ok(stored.to_owned()),
        }
    }
    /// Which file holds `litmus_deliveries`. TRUNCATE and a restore give it another, and leave the schema's UUID as it was;
    /// so do VACUUM FULL and CLUSTER, after which a look at the newest runs is all it costs. `None`: it is not there, or the
    /// server does not tell.
    pub(crate) fn storage(&self, link: &mut Link) -> Result<Option<String>, SinkError> {
        let dialect = &self.settings.dialect;
        let (schema, table) = (dialect.schema.as_str(), dialect.relation(DELIVERIES));
        let sql = "SELECT c.oid::text || '.' || pg_catalog.pg_relation_filenode(c.oid)::text FROM pg_catalog.pg_class c \
                   JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1 AND c.relname = $2";
        let doing = "asking for the file of litmus_deliveries";
        let asked = link.run(self.runtime, self.check, doing, async |client| {
            let found = schema::rows(client, sql, &[(&schema, Type::TEXT), (&table, Type::TEXT)]).await;
            Ok(found.map_err(|failure| (crate::error::is_broken(&failure), failure)))
        })?;
        match asked {
            Ok(found) => Ok(found.first().and_then(|row| row.get(0))),
            Err((true, failure)) => Err(link.failed(&failure, doing)),
            Err((false, _)) => Ok(None),
        }
    }

    /// Reads within a transaction of its own where `statement_timeout_ms` is set: then it holds for reading too, and a pooler
    /// may stand between. The transaction changes nothing.
    pub(crate) fn reading<T>(
        &self,
        link: &mut Link,
        work: impl FnOnce(&mut Link) -> Result<T, SinkError>,
    ) -> Result<T, SinkError> {
        if self.settings.statement_timeout.is_zero() {
            return work(link);
        }
        let begin = format!("BEGIN READ ONLY; {}", schema::limit(self.settings));
        link.execute(self.runtime, self.check, "beginning", &begin)?;
        let found = work(link);
        link.roll_back(self.runtime);
        found
    }
}
