//! Runs made for tests, and a file to deliver them to.

use std::path::PathBuf;

use litmus_core::digest::{Conversions, Digests};
use litmus_core::{Audit, Report, SinkError, Status};
use rusqlite::Connection;
use serde_json::json;
use tempfile::TempDir;

use crate::batch;
use crate::config::{Config, Settings};
use crate::database::{Database, Patience};

pub(super) use litmus_sql::made::{Made, TestRun, V, column, text};

/// What an exact copy in a file has.
pub(super) fn digests(run: &TestRun) -> Digests {
    run.digests(Conversions::default())
}

/// A file in a folder of its own.
pub(super) struct Bench {
    pub(super) folder: TempDir,
    pub(super) settings: Settings,
}

impl Bench {
    pub(super) fn new() -> Self {
        Self::with(json!({}))
    }

    /// With these options beside the path.
    pub(super) fn with(mut options: serde_json::Value) -> Self {
        let folder = tempfile::tempdir().unwrap();
        options["path"] = json!(folder.path().join("runs.db"));
        let config: Config = serde_json::from_value(options).unwrap();
        Self { settings: config.try_into().unwrap(), folder }
    }

    pub(super) fn path(&self) -> PathBuf {
        self.settings.path.clone()
    }

    pub(super) fn open(&self) -> Database {
        Database::create(&self.settings, &Patience::new(&self.settings, None, &|| Ok(()))).unwrap()
    }

    pub(super) fn try_deliver(&self, runs: &[TestRun]) -> Result<Vec<Report>, SinkError> {
        let database = self.open();
        let patience = Patience::new(&self.settings, None, &|| Ok(()));
        batch::deliver(&database, &self.settings, runs, &patience)
    }

    pub(super) fn deliver(&self, runs: &[TestRun]) -> Vec<Report> {
        self.try_deliver(runs).unwrap()
    }

    /// Delivers one run that must arrive, with the digests of its source.
    pub(super) fn deliver_one(&self, run: &TestRun) -> Report {
        let report = self.deliver(std::slice::from_ref(run)).remove(0);
        assert_eq!(report.status, Status::Delivered, "{}", report.message);
        assert_eq!(report.receipt.as_ref().unwrap().tables, digests(run));
        report
    }

    pub(super) fn audit(&self, run: &TestRun) -> Audit {
        let database = self.open();
        crate::audit::audit(&database.connection, &self.path(), &[run.run_id], &|| Ok(())).unwrap().remove(0)
    }

    /// The file holds this revision, cell by cell.
    pub(super) fn assert_holds(&self, run: &TestRun) {
        let audit = self.audit(run);
        assert_eq!(audit.sha256, Some(run.rank.sha256));
        assert_eq!(audit.tables, digests(run));
    }

    /// A connection that knows nothing of this sink.
    pub(super) fn sql(&self) -> Connection {
        Connection::open(self.path()).unwrap()
    }

    /// The rows of a query, each cell as SQLite quotes it.
    pub(super) fn query(&self, sql: &str) -> Vec<Vec<String>> {
        let connection = self.sql();
        let mut statement = connection.prepare(sql).unwrap();
        let columns = statement.column_count();
        let rows = statement.query_map([], |row| {
            (0..columns).map(|at| Ok(quote(row.get_ref(at)?))).collect::<rusqlite::Result<Vec<_>>>()
        });
        rows.unwrap().collect::<Result<_, _>>().unwrap()
    }
}

fn quote(value: rusqlite::types::ValueRef<'_>) -> String {
    use rusqlite::types::ValueRef;
    match value {
        ValueRef::Null => "NULL".to_owned(),
        ValueRef::Integer(whole) => whole.to_string(),
        ValueRef::Real(number) => format!("{number:?}"),
        ValueRef::Text(text) => String::from_utf8_lossy(text).into_owned(),
        ValueRef::Blob(bytes) => format!("{bytes:x?}"),
    }
}
