//! What every step of a call needs: the runtime, the settings, and whether to go on.

use litmus_core::SinkError;
use tokio::runtime::Runtime;

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
}
