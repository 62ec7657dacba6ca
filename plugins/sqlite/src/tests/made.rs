//! Runs made for tests, and a file to deliver them to.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, BooleanBuilder, Float64Array, Int64Array, ListBuilder, RecordBatch, RecordBatchIterator,
    StringArray, StringBuilder, TimestampMicrosecondArray,
};
use arrow::datatypes::{Schema, SchemaRef};
use arrow::error::ArrowError;
use litmus_core::digest::{BatchDigester, Conversions, Digests, TableDigest};
use litmus_core::tables::Kind;
use litmus_core::{Audit, Rank, Report, RunId, Sha256, SinkError, Status, Table, TableStream};
use rusqlite::Connection;
use serde_json::json;
use tempfile::TempDir;

use crate::batch::{self, Incoming};
use crate::config::{Config, Settings};
use crate::database::{Database, Patience};

/// A cell of a test's table.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum V {
    Null,
    Text(String),
    Int(i64),
    Float(f64),
    Bool(bool),
    Time(i64),
    Json(String),
    Texts(Vec<Option<String>>),
    Bools(Vec<Option<bool>>),
}

pub(super) fn text(text: &str) -> V {
    V::Text(text.to_owned())
}

/// A column: name, kind, cells.
pub(super) type Made = (String, Kind, Vec<V>);

pub(super) fn column(name: &str, kind: Kind, cells: impl Into<Vec<V>>) -> Made {
    (name.to_owned(), kind, cells.into())
}

macro_rules! pick {
    ($cells:expr, $variant:ident) => {
        $cells.iter().map(|cell| match cell {
            V::$variant(value) => Some(value.clone()),
            V::Null => None,
            other => panic!("{other:?} in a column of another kind"),
        })
    };
}

fn array(kind: Kind, cells: &[V]) -> ArrayRef {
    match kind {
        Kind::Text => Arc::new(pick!(cells, Text).collect::<StringArray>()),
        Kind::Json => Arc::new(pick!(cells, Json).collect::<StringArray>()),
        Kind::Int => Arc::new(pick!(cells, Int).collect::<Int64Array>()),
        Kind::Float => Arc::new(pick!(cells, Float).collect::<Float64Array>()),
        Kind::Bool => Arc::new(pick!(cells, Bool).collect::<BooleanArray>()),
        Kind::Timestamp => Arc::new(pick!(cells, Time).collect::<TimestampMicrosecondArray>().with_timezone("UTC")),
        Kind::TextList => {
            let mut lists = ListBuilder::new(StringBuilder::new());
            pick!(cells, Texts).for_each(|list| lists.append_option(list));
            Arc::new(lists.finish())
        }
        Kind::BoolList => {
            let mut lists = ListBuilder::new(BooleanBuilder::new());
            pick!(cells, Bools).for_each(|list| lists.append_option(list));
            Arc::new(lists.finish())
        }
    }
}

/// A run as the host would hand it over.
#[derive(Clone)]
pub(super) struct TestRun {
    pub(super) run_id: RunId,
    pub(super) rank: Rank,
    pub(super) supersedes: Vec<Sha256>,
    pub(super) force: bool,
    pub(super) tables: BTreeMap<Table, Vec<RecordBatch>>,
    /// The stream of this table breaks after its batches.
    pub(super) breaks: Option<Table>,
}

impl TestRun {
    /// A run with one row in `runs`, of the revision with these bytes.
    pub(super) fn new(id: u8, revision: u8) -> Self {
        Self::of(id, revision, &[column("dut_serial", Kind::Text, [text(&format!("SN{id}"))])])
    }

    /// With these columns of its row in `runs`.
    pub(super) fn of(id: u8, revision: u8, columns: &[Made]) -> Self {
        let sha256 = Sha256([revision; 32]);
        let rank = Rank { finished: true, ended_at_us: Some(i64::from(revision)), rows: 1, sha256 };
        let run = Self {
            run_id: RunId::from_bytes([id; 16]),
            rank,
            supersedes: Vec::new(),
            force: false,
            tables: BTreeMap::new(),
            breaks: None,
        };
        run.with(Table::Runs, columns)
    }

    /// With these columns of a table; its key is filled in, and what else every run has is NULL. A second call for the
    /// same table adds a batch.
    pub(super) fn with(mut self, table: Table, columns: &[Made]) -> Self {
        let rows = columns.first().map_or(0, |(_, _, cells)| cells.len());
        let before: usize =
            self.tables.get(&table).map_or(0, |batches| batches.iter().map(RecordBatch::num_rows).sum());
        let mut fields = Vec::new();
        let mut arrays = Vec::new();
        for core in table.core_columns() {
            let given = columns.iter().find(|(name, ..)| name == core.name).map(|(_, _, cells)| cells.clone());
            let cells = given.unwrap_or_else(|| match core.name {
                "run_id" => vec![V::Text(self.run_id.to_string()); rows],
                "row_index" => (before..before + rows).map(|row| V::Int(row as i64)).collect(),
                name if table.key().contains(&name) => vec![V::Int(0); rows],
                _ => vec![V::Null; rows],
            });
            fields.push(core.kind.field(core.name));
            arrays.push(array(core.kind, &cells));
        }
        for (name, kind, cells) in columns {
            if table.core_columns().iter().all(|core| core.name != name) {
                fields.push(kind.field(name));
                arrays.push(array(*kind, cells));
            }
        }
        let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).unwrap();
        self.tables.entry(table).or_default().push(batch);
        self
    }

    fn schema(&self, table: Table) -> SchemaRef {
        match self.tables.get(&table) {
            Some(batches) => batches[0].schema(),
            None => Arc::new(Schema::new(
                table.core_columns().iter().map(|column| column.kind.field(column.name)).collect::<Vec<_>>(),
            )),
        }
    }

    fn batches(&self, table: Table) -> Vec<RecordBatch> {
        self.tables.get(&table).cloned().unwrap_or_default()
    }

    /// What an exact copy has.
    pub(super) fn digests(&self) -> Digests {
        let digest = |table: Table| -> TableDigest {
            let mut digester = BatchDigester::new(&self.schema(table), Conversions::default());
            self.batches(table).iter().for_each(|batch| digester.batch(batch));
            digester.finish()
        };
        Table::ALL.into_iter().map(|table| (table.name().to_owned(), digest(table))).collect()
    }
}

impl Incoming for TestRun {
    fn run_id(&self) -> RunId {
        self.run_id
    }
    fn sha256(&self) -> Sha256 {
        self.rank.sha256
    }
    fn rank(&self) -> Rank {
        self.rank
    }
    fn supersedes(&self) -> &[Sha256] {
        &self.supersedes
    }
    fn force(&self) -> bool {
        self.force
    }
    fn open_table(&self, table: Table) -> Result<TableStream, SinkError> {
        let mut batches: Vec<_> = self.batches(table).into_iter().map(Ok).collect();
        if self.breaks == Some(table) {
            batches.push(Err(ArrowError::IpcError("page 7 is damaged".to_owned())));
        }
        Ok(Box::new(RecordBatchIterator::new(batches, self.schema(table))))
    }
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
        assert_eq!(report.receipt.as_ref().unwrap().tables, run.digests());
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
        assert_eq!(audit.tables, run.digests());
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
