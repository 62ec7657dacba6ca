//! Runs made for tests, and a schema to deliver them to.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use arrow::array::{
    ArrayRef, BooleanArray, BooleanBuilder, Float64Array, Int64Array, ListBuilder, RecordBatch, RecordBatchIterator,
    StringArray, StringBuilder, TimestampMicrosecondArray,
};
use arrow::datatypes::{Schema, SchemaRef};
use arrow::error::ArrowError;
use litmus_core::Sink as _;
use litmus_core::digest::{BatchDigester, Conversions, Digests, TableDigest};
use litmus_core::tables::Kind;
use litmus_core::{Audit, Rank, Report, RunId, Sha256, SinkError, Status, Table, TableStream};
use litmus_tests::servers::Postgres;
use serde_json::json;

use crate::config::Config;
use crate::deliver::Incoming;
use crate::sink::{PostgresSink, dry_run};

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
            let mut digester = BatchDigester::new(&self.schema(table), Conversions { nul_to_replacement: true });
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

/// One server for all tests of this process that run at a time; it ends with the last of them.
pub(super) fn server() -> Arc<Postgres> {
    static SERVER: Mutex<Weak<Postgres>> = Mutex::new(Weak::new());
    let mut server = SERVER.lock().unwrap_or_else(PoisonError::into_inner);
    server.upgrade().unwrap_or_else(|| {
        let started = Arc::new(Postgres::start_with(&[("fsync", "off"), ("max_connections", "200")]));
        *server = Arc::downgrade(&started);
        started
    })
}

/// A schema of its own.
pub(super) struct Bench {
    pub(super) server: Arc<Postgres>,
    pub(super) schema: String,
    pub(super) sink: PostgresSink,
}

impl Bench {
    pub(super) fn new() -> Self {
        Self::with(json!({}))
    }

    /// With these options beside url and schema.
    pub(super) fn with(options: serde_json::Value) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let schema = format!("bench_{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let server = server();
        let sink = sink(&server, &schema, options);
        let bench = Self { server, schema, sink };
        bench.connect().unwrap();
        bench
    }

    /// Another sink for the same schema, as another host has.
    pub(super) fn another(&self, options: serde_json::Value) -> Self {
        let sink = sink(&self.server, &self.schema, options);
        Self { server: Arc::clone(&self.server), schema: self.schema.clone(), sink }
    }

    pub(super) fn connect(&self) -> Result<String, SinkError> {
        self.sink.within(&|| Ok(()), |session| self.sink.prepare(session))
    }

    pub(super) fn try_deliver(&self, runs: &[TestRun]) -> (Vec<Option<Report>>, Result<(), SinkError>) {
        self.deliver_while(runs, &|| Ok(()))
    }

    pub(super) fn deliver_while(
        &self,
        runs: &[TestRun],
        check: &dyn Fn() -> Result<(), SinkError>,
    ) -> (Vec<Option<Report>>, Result<(), SinkError>) {
        let reports = Mutex::new(vec![None; runs.len()]);
        let ended = self.sink.within(check, |session| {
            self.sink.deliver_within(session, runs, &|at, report| {
                assert!(reports.lock().unwrap()[at].replace(report).is_none(), "run {at} was reported twice");
            })
        });
        (reports.into_inner().unwrap(), ended)
    }

    pub(super) fn deliver(&self, runs: &[TestRun]) -> Vec<Report> {
        let (reports, ended) = self.try_deliver(runs);
        ended.unwrap_or_else(|error| panic!("{error}"));
        reports.into_iter().map(|report| report.expect("each run is reported")).collect()
    }

    /// Delivers one run that must arrive, with the digests of its source.
    pub(super) fn deliver_one(&self, run: &TestRun) -> Report {
        let report = self.deliver(std::slice::from_ref(run)).remove(0);
        assert_eq!(report.status, Status::Delivered, "{}", report.message);
        assert_eq!(report.receipt.as_ref().unwrap().tables, run.digests());
        report
    }

    pub(super) fn dry_run(&self, runs: &[TestRun]) -> Vec<Report> {
        let reports = Mutex::new(vec![None; runs.len()]);
        let report = |at: usize, report: Report| reports.lock().unwrap()[at] = Some(report);
        self.sink
            .within(&|| Ok(()), |session| {
                let mut link = crate::link::Link::open(session.runtime, session.settings, session.check)?;
                dry_run(session, &mut link, runs, &report)
            })
            .unwrap();
        reports.into_inner().unwrap().into_iter().flatten().collect()
    }

    pub(super) fn audit(&self, run: &TestRun) -> Audit {
        self.sink
            .within(&|| Ok(()), |session| {
                let mut link = crate::link::Link::open(session.runtime, session.settings, session.check)?;
                crate::audit::audit(session, &mut link, &[run.run_id])
            })
            .unwrap()
            .remove(0)
    }

    /// The schema holds this revision, cell by cell.
    pub(super) fn assert_holds(&self, run: &TestRun) {
        let audit = self.audit(run);
        assert_eq!(audit.sha256, Some(run.rank.sha256));
        assert_eq!(audit.tables, run.digests());
    }

    /// What psql answers in this schema.
    pub(super) fn psql(&self, sql: &str) -> String {
        self.try_psql(sql).unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    pub(super) fn try_psql(&self, sql: &str) -> Result<String, String> {
        self.server.try_psql("postgres", &format!("SET search_path = \"{}\"; {sql}", self.schema))
    }
}

fn sink(server: &Postgres, schema: &str, mut options: serde_json::Value) -> PostgresSink {
    let defaults = json!({ "url": server.url(), "schema": schema });
    for (key, value) in defaults.as_object().unwrap() {
        options.as_object_mut().unwrap().entry(key.clone()).or_insert(value.clone());
    }
    let config: Config = serde_json::from_value(options).unwrap();
    PostgresSink::configure(config).unwrap()
}
