//! Runs made for the tests of SQL sinks, cell by cell.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, BooleanBuilder, Float64Array, Int64Array, ListBuilder, RecordBatch, RecordBatchIterator,
    StringArray, StringBuilder, TimestampMicrosecondArray,
};
use arrow::datatypes::{Schema, SchemaRef};
use arrow::error::ArrowError;
use litmus_core::digest::{BatchDigester, Conversions, Digests, TableDigest};
use litmus_core::tables::Kind;
use litmus_core::{Rank, RunId, Sha256, SinkError, Table, TableStream};

use crate::Incoming;

/// A cell of a test's table.
#[derive(Clone, Debug, PartialEq)]
pub enum V {
    /// NULL, of any kind.
    Null,
    /// Text.
    Text(String),
    /// A whole number.
    Int(i64),
    /// A number.
    Float(f64),
    /// A truth value.
    Bool(bool),
    /// Microseconds since the epoch, UTC.
    Time(i64),
    /// A JSON document.
    Json(String),
    /// A list of texts.
    Texts(Vec<Option<String>>),
    /// A list of truth values.
    Bools(Vec<Option<bool>>),
}

/// A text.
pub fn text(text: &str) -> V {
    V::Text(text.to_owned())
}

/// A column: name, kind, cells.
pub type Made = (String, Kind, Vec<V>);

/// A column of these cells.
pub fn column(name: &str, kind: Kind, cells: impl Into<Vec<V>>) -> Made {
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
pub struct TestRun {
    /// Its identity.
    pub run_id: RunId,
    /// Its rank; the sha256 in it is that of the revision.
    pub rank: Rank,
    /// What it replaced.
    pub supersedes: Vec<Sha256>,
    /// Replace whatever is there.
    pub force: bool,
    /// Its rows; the batches of a table have one schema.
    pub tables: BTreeMap<Table, Vec<RecordBatch>>,
    /// The stream of this table breaks after its batches.
    pub breaks: Option<Table>,
}

impl TestRun {
    /// A run with one row in `runs`, of the revision with these bytes.
    pub fn new(id: u8, revision: u8) -> Self {
        Self::of(id, revision, &[column("dut_serial", Kind::Text, [text(&format!("SN{id}"))])])
    }

    /// With these columns of its row in `runs`.
    pub fn of(id: u8, revision: u8, columns: &[Made]) -> Self {
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
    #[must_use]
    pub fn with(mut self, table: Table, columns: &[Made]) -> Self {
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

    /// What an exact copy has, but for these conversions.
    pub fn digests(&self, conversions: Conversions) -> Digests {
        let digest = |table: Table| -> TableDigest {
            let mut digester = BatchDigester::new(&self.schema(table), conversions);
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
