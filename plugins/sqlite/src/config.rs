//! What the user sets, and what becomes of it.

use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use litmus_core::{SinkError, Vocabulary};
use litmus_sql::SchemaPolicy;
use schemars::JsonSchema;
use serde::Deserialize;

/// Runs as rows of one SQLite file.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    /// The database file. It and its folder are made where they are missing. It must lie on a local disk.
    pub(crate) path: String,
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
    /// How long to wait, in milliseconds, while another process writes to the file.
    #[serde(default = "busy_timeout_ms_default")]
    pub(crate) busy_timeout_ms: u64,
}

/// SQLite takes 2,000 columns in a table (`SQLITE_MAX_COLUMN`); some room is left for `extra` and the user's own.
const COLUMNS_MAX_LIMIT: usize = 1900;

const fn columns_max_default() -> usize {
    400
}

const fn busy_timeout_ms_default() -> u64 {
    10_000
}

/// The configuration, checked.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// Absolute.
    pub(crate) path: PathBuf,
    pub(crate) vocabulary: Vocabulary,
    pub(crate) schema_policy: SchemaPolicy,
    pub(crate) columns_max: usize,
    pub(crate) busy_timeout: Duration,
}

impl TryFrom<Config> for Settings {
    type Error = SinkError;

    fn try_from(config: Config) -> Result<Self, SinkError> {
        let Config { path, vocabulary, schema_policy, columns_max, busy_timeout_ms } = config;
        if path.is_empty() || path.ends_with('/') || path.contains('\0') || path == ":memory:" {
            return Err(SinkError::config(format!(
                "path = {path:?} names no file\nhint: path = \"litmus.db\", or an absolute path"
            )));
        }
        if !(1..=COLUMNS_MAX_LIMIT).contains(&columns_max) {
            return Err(SinkError::config(format!(
                "columns_max = {columns_max} is out of range\nhint: 1 to {COLUMNS_MAX_LIMIT}; SQLite takes no more than 2000 columns"
            )));
        }
        let path = std::path::absolute(&path).map_err(|error| {
            SinkError::config(format!("path = {path:?} cannot be made absolute")).with_source(error)
        })?;
        Ok(Self { path, vocabulary, schema_policy, columns_max, busy_timeout: Duration::from_millis(busy_timeout_ms) })
    }
}

impl Settings {
    /// `sqlite:///abs/path`. `.` and `..` are resolved by their letters, without a look at the disk, so that an id can be
    /// told before the file is there; two paths through different links are two destinations.
    pub(crate) fn destination_id(&self) -> String {
        let mut plain = PathBuf::new();
        for component in self.path.components() {
            match component {
                Component::ParentDir => _ = plain.pop(),
                Component::CurDir => (),
                other => plain.push(other),
            }
        }
        format!("sqlite://{}", crate::file::escaped(&plain))
    }

    /// The folder that the file lies in.
    pub(crate) fn folder(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new("/"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(toml: serde_json::Value) -> Result<Settings, String> {
        let config: Config = serde_json::from_value(toml).map_err(|error| error.to_string())?;
        Settings::try_from(config).map_err(|error| error.to_string())
    }

    #[test]
    fn defaults_are_those_of_the_documentation() {
        let settings = settings(serde_json::json!({ "path": "/data/./x/../litmus.db" })).unwrap();
        assert_eq!(settings.destination_id(), "sqlite:///data/litmus.db");
        assert_eq!((settings.columns_max, settings.busy_timeout), (400, Duration::from_secs(10)));
        assert_eq!((settings.vocabulary, settings.schema_policy), (Vocabulary::Litmus, SchemaPolicy::Evolve));
    }

    #[test]
    fn a_relative_path_is_one_of_the_working_folder() {
        let id = settings(serde_json::json!({ "path": "out #1.db" })).unwrap().destination_id();
        assert_eq!(id, format!("sqlite://{}/out%20%231.db", std::env::current_dir().unwrap().display()));
    }

    #[test]
    fn what_cannot_work_is_refused_with_a_hint() {
        for path in ["", "folder/", ":memory:", "a\0b"] {
            let error = settings(serde_json::json!({ "path": path })).unwrap_err();
            assert!(error.contains("names no file\nhint: "), "{error}");
        }
        for columns_max in [0, 1901] {
            let error = settings(serde_json::json!({ "path": "x", "columns_max": columns_max })).unwrap_err();
            assert!(error.contains("columns_max") && error.contains("hint: 1 to 1900"), "{error}");
        }
        let error = settings(serde_json::json!({ "path": "x", "pathh": "y" })).unwrap_err();
        assert!(error.contains("unknown field `pathh`"), "{error}");
        let error = settings(serde_json::json!({ "path": "x", "schema_policy": "grow" })).unwrap_err();
        assert!(error.contains("evolve"), "{error}");
    }
}
