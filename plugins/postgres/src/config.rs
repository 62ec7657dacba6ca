//! What the user sets, and what becomes of it.

use std::time::Duration;

use litmus_core::{SinkError, Vocabulary};
use litmus_sql::{SchemaPolicy, is_unprintable};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::conninfo::{self, Given, Server};
use crate::dialect::Postgres;

/// Runs as rows of a PostgreSQL database.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    /// The server as a URL: `postgresql://user@host:5432/database?sslmode=verify-full`. What it leaves out comes from the
    /// fields below, then from the `PG…` environment variables.
    #[serde(default)]
    pub(crate) url: Option<String>,
    /// Host name, address, or the folder of a Unix socket. Wins over the URL, as the fields below do.
    #[serde(default)]
    pub(crate) host: Option<String>,
    /// The server's port.
    #[serde(default)]
    pub(crate) port: Option<u16>,
    /// The database.
    #[serde(default)]
    pub(crate) dbname: Option<String>,
    /// The role to log in as.
    #[serde(default)]
    pub(crate) user: Option<String>,
    /// Its password, best given as `{ env = "…" }` or `{ file = "…" }`. Without one, `PGPASSWORD` and then the password file
    /// (`PGPASSFILE`, else `~/.pgpass`) are asked, the file at every connection.
    #[serde(default)]
    pub(crate) password: Option<String>,
    /// `disable`, `prefer` (the default), `require`, `verify-ca` or `verify-full`, as libpq means them.
    #[serde(default)]
    pub(crate) sslmode: Option<String>,
    /// PEM file with the certificates of the authorities that are trusted, or `system` for the machine's own. Without it
    /// `~/.postgresql/root.crt` is used where it is there.
    #[serde(default)]
    pub(crate) ca_file: Option<String>,
    /// PEM file with a client certificate.
    #[serde(default)]
    pub(crate) cert_file: Option<String>,
    /// PEM file with the client certificate's private key, not encrypted.
    #[serde(default)]
    pub(crate) key_file: Option<String>,
    /// What the server's `pg_stat_activity` and log call this sink.
    #[serde(default)]
    pub(crate) application_name: Option<String>,
    /// The schema that the tables lie in; made where it is missing and may be.
    #[serde(default = "schema_default")]
    pub(crate) schema: String,
    /// What the names of all tables begin with.
    #[serde(default)]
    pub(crate) prefix: String,
    /// How new columns are spelled: `litmus` (dut_serial, product_id) or `testerkit` (uut_serial_number, part_id).
    #[serde(default)]
    pub(crate) vocabulary: Vocabulary,
    /// What to do when a run has columns that the tables lack: `evolve` adds them, `freeze` stops and lists the
    /// statements, `ignore` keeps the cells in the row's `extra`.
    #[serde(default)]
    pub(crate) schema_policy: SchemaPolicy,
    /// The most columns of a table; cells of further ones go to the row's `extra`.
    #[serde(default = "columns_max_default")]
    #[schemars(range(min = 1, max = COLUMNS_MAX_LIMIT))]
    pub(crate) columns_max: usize,
    /// Whether new tables get indexes on run_started_at, dut_serial and measurement_name beside their keys.
    #[serde(default = "yes")]
    pub(crate) indexes: bool,
    /// The most connections, 1 or 2: with two, one batch is encoded while the other is committed.
    #[serde(default = "connections_max_default")]
    #[schemars(range(min = 1, max = CONNECTIONS_MAX_LIMIT))]
    pub(crate) connections_max: usize,
    /// How long to wait for a connection to each host, in milliseconds; 10,000 where nothing says otherwise.
    #[serde(default)]
    pub(crate) connect_timeout_ms: Option<u64>,
    /// The longest that one statement may take at the server, in milliseconds; 0 is no limit.
    #[serde(default)]
    pub(crate) statement_timeout_ms: u64,
    /// The longest that a change of a table may wait for those who read or write it, in milliseconds.
    #[serde(default = "lock_timeout_ms_default")]
    pub(crate) lock_timeout_ms: u64,
}

/// PostgreSQL takes 1,600 columns in a table; some room is left for `extra` and the user's own.
const COLUMNS_MAX_LIMIT: usize = 1500;
/// The host calls from so many threads at most (`max_concurrent_delivers`).
pub(crate) const CONNECTIONS_MAX_LIMIT: usize = 2;
/// Names of tables are at most so long; the longest of ours has 18 bytes, of an index 48.
const PREFIX_BYTES_MAX: usize = 15;

fn schema_default() -> String {
    "litmus".to_owned()
}

const fn yes() -> bool {
    true
}

const fn columns_max_default() -> usize {
    400
}

const fn connections_max_default() -> usize {
    CONNECTIONS_MAX_LIMIT
}

const fn lock_timeout_ms_default() -> u64 {
    5_000
}

/// The configuration, checked.
pub(crate) struct Settings {
    pub(crate) server: Server,
    pub(crate) dialect: Postgres,
    pub(crate) vocabulary: Vocabulary,
    pub(crate) schema_policy: SchemaPolicy,
    pub(crate) columns_max: usize,
    pub(crate) connections_max: usize,
    pub(crate) statement_timeout: Duration,
    pub(crate) lock_timeout: Duration,
}

impl Settings {
    /// Checks a configuration; `environment` is asked for the `PG…` variables.
    pub(crate) fn new(config: Config, environment: &dyn Fn(&str) -> Option<String>) -> Result<Self, SinkError> {
        let range = |name: &str, value: usize, max: usize| {
            if (1..=max).contains(&value) {
                Ok(())
            } else {
                Err(SinkError::config(format!("{name} = {value} is out of range\nhint: 1 to {max}")))
            }
        };
        range("columns_max", config.columns_max, COLUMNS_MAX_LIMIT)?;
        range("connections_max", config.connections_max, CONNECTIONS_MAX_LIMIT)?;
        let schema = &config.schema;
        if schema.is_empty() || schema.len() > 63 || schema.contains(is_unprintable) || schema.starts_with("pg_") {
            return Err(SinkError::config(format!(
                "schema = {schema:?} cannot be the name of a schema\nhint: 1 to 63 bytes that can be printed, not beginning with pg_"
            )));
        }
        let prefix = &config.prefix;
        if prefix.len() > PREFIX_BYTES_MAX || prefix.contains(is_unprintable) {
            return Err(SinkError::config(format!(
                "prefix = {prefix:?} cannot begin a name\nhint: at most {PREFIX_BYTES_MAX} bytes that can be printed"
            )));
        }
        let given = Given {
            url: config.url.as_deref(),
            host: config.host,
            port: config.port,
            dbname: config.dbname,
            user: config.user,
            password: config.password,
            sslmode: config.sslmode,
            ca_file: config.ca_file,
            cert_file: config.cert_file,
            key_file: config.key_file,
            application_name: config.application_name,
            connect_timeout: config.connect_timeout_ms.map(Duration::from_millis),
        };
        Ok(Self {
            server: conninfo::resolve(given, environment)?,
            dialect: Postgres { schema: config.schema, prefix: config.prefix, indexes: config.indexes },
            vocabulary: config.vocabulary,
            schema_policy: config.schema_policy,
            columns_max: config.columns_max,
            connections_max: config.connections_max,
            statement_timeout: Duration::from_millis(config.statement_timeout_ms),
            lock_timeout: Duration::from_millis(config.lock_timeout_ms.max(1)),
        })
    }

    /// `postgresql://host:5432/db?schema=litmus`: no user and no password, so that a changed role is the same destination.
    pub(crate) fn destination_id(&self) -> String {
        let mut id = format!("{}?schema={}", self.server.name(), conninfo::encoded(&self.dialect.schema));
        if !self.dialect.prefix.is_empty() {
            id.extend(["&prefix=", &conninfo::encoded(&self.dialect.prefix)]);
        }
        id
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn settings(config: Value) -> Result<Settings, String> {
        let config: Config = serde_json::from_value(config).map_err(|error| error.to_string())?;
        Settings::new(config, &|_| None).map_err(|error| error.to_string())
    }

    #[test]
    fn a_destination_is_the_same_however_it_is_spelled_and_names_no_role() {
        let ids = [
            json!({ "url": "postgresql://ada:secret@DB.example:5432/lab" }),
            json!({ "url": "postgres://db.example/lab?user=eve" }),
            json!({ "host": "db.example", "dbname": "lab", "user": "eve", "password": "x" }),
        ]
        .map(|config| settings(config).unwrap().destination_id());
        assert_eq!(ids[0], "postgresql://db.example:5432/lab?schema=litmus");
        assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
        let other = json!({ "url": "postgresql://eve@db.example/lab", "schema": "a b", "prefix": "x_" });
        assert_eq!(
            settings(other).unwrap().destination_id(),
            "postgresql://db.example:5432/lab?schema=a%20b&prefix=x_"
        );
    }

    #[test]
    fn what_cannot_work_is_refused_with_a_hint() {
        for (key, value) in [
            ("columns_max", json!(0)),
            ("columns_max", json!(1501)),
            ("connections_max", json!(3)),
            ("schema", json!("")),
            ("schema", json!("pg_own")),
            ("schema", json!("a\nb")),
            ("prefix", json!("x".repeat(16))),
            ("prefix", json!("\u{202e}")),
        ] {
            let mut config = json!({ "url": "postgresql://u@h/d" });
            config[key] = value;
            let error = settings(config).err().expect(key);
            assert!(error.contains(key) && error.contains("\nhint: "), "{error}");
        }
        let error = settings(json!({ "url": "postgresql://u@h/d", "schem": "x" })).err().unwrap();
        assert!(error.contains("unknown field `schem`"), "{error}");
    }

    #[test]
    fn defaults_are_those_of_the_documentation() {
        let settings = settings(json!({ "url": "postgresql://u@h/d" })).unwrap();
        assert_eq!((settings.columns_max, settings.connections_max), (400, 2));
        assert_eq!((settings.statement_timeout, settings.lock_timeout), (Duration::ZERO, Duration::from_secs(5)));
        assert_eq!(settings.schema_policy, SchemaPolicy::Evolve);
        assert!(settings.dialect.indexes);
    }
}
