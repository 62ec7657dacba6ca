//! Rows of many runs for one table. They are gathered in parts; a part is one COPY, with the columns that anything of it
//! fills. A column that is NULL in every row is not sent: most columns of most runs hold nothing, and each would cost the
//! server as much as a number does.

use std::collections::{BTreeMap, BTreeSet};

use arrow::array::{Array, ArrayRef, RecordBatch, StringArray};
use arrow::datatypes::SchemaRef;
use litmus_core::digest::{BatchDigester, Conversions, TableDigest};
use litmus_core::tables::Kind;
use litmus_core::{RunId, SinkError, Table};
use litmus_sql::bookkeeping::EXTRA;
use litmus_sql::{KnownTable, Placement, quoted};

use super::convert::{Extra, to_column, to_extra};
use super::field::Field;

/// The rules under which the source is digested; NUL is the one thing that PostgreSQL cannot hold.
pub(crate) const CONVERSIONS: Conversions = Conversions { nul_to_replacement: true };

/// Stands for the column `extra` among places of columns. (Catalogs only grow, so the others keep theirs.)
const EXTRA_AT: usize = usize::MAX;

/// One COPY's worth of rows.
#[derive(Debug, Default)]
pub(crate) struct Part {
    /// Places in [`KnownTable::columns`], and [`EXTRA_AT`].
    pub(crate) columns: Vec<usize>,
    /// Tuples, without header and trailer.
    pub(crate) bytes: Vec<u8>,
    pub(crate) rows: u64,
    /// Where the rows of a run begin: line from 0, run (a number of the caller's), and the row of the run's table.
    pub(crate) runs: Vec<(u64, usize, u64)>,
}

impl Part {
    /// Which run and row a line of the COPY is, counted from 1.
    pub(crate) fn at_line(&self, line: u64) -> Option<(usize, u64)> {
        let line = line.checked_sub(1)?;
        let (start, run, row) = self.runs.iter().rev().find(|(start, ..)| *start <= line)?;
        Some((*run, row + (line - start)))
    }

    /// Takes over the rows of one with the same columns, which are sent in the same COPY.
    pub(crate) fn append(&mut self, other: &Self) {
        self.runs.extend(other.runs.iter().map(|(start, run, row)| (start + self.rows, *run, *row)));
        self.rows += other.rows;
    }

    /// The names of its columns, quoted.
    pub(crate) fn names(&self, known: &KnownTable) -> Vec<String> {
        let name = |at: &usize| known.columns().get(*at).map_or(quoted(EXTRA), |column| quoted(&column.name));
        self.columns.iter().map(name).collect()
    }
}

/// What was written of a run's table.
#[derive(Debug, Default)]
pub(crate) struct Written {
    pub(crate) digest: TableDigest,
    /// Cells in `extra`, by canonical column.
    pub(crate) extra: BTreeMap<String, u64>,
    /// Cells in which NUL was replaced.
    pub(crate) replaced: u64,
}

/// Where a table stood before a run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark {
    parts: usize,
    bytes: usize,
    rows: u64,
    runs: usize,
}

/// What is known of a schema once it has been seen: the next run mostly has the same.
struct Known {
    schema: SchemaRef,
    /// How many columns the destination had.
    width: usize,
    placements: Vec<(Kind, Placement)>,
    run_id_at: usize,
}

/// Gathers rows for one table.
pub(crate) struct TableWriter {
    pub(crate) table: Table,
    parts: Vec<Part>,
    /// Columns that rows of this writer filled.
    used: BTreeSet<usize>,
    known: Option<Known>,
    /// A run's rows begin with the next one.
    digester: Option<BatchDigester>,
    written: Written,
    run: usize,
    run_rows: u64,
}

impl TableWriter {
    /// `columns` are those that the last rows of this table filled: those of the next will mostly be the same.
    pub(crate) fn new(table: Table, columns: Vec<usize>) -> Self {
        Self {
            table,
            parts: vec![Part { columns, ..Part::default() }],
            used: BTreeSet::new(),
            known: None,
            digester: None,
            written: Written::default(),
            run: 0,
            run_rows: 0,
        }
    }

    /// Bytes gathered.
    pub(crate) fn bytes(&self) -> usize {
        self.parts.iter().map(|part| part.bytes.len()).sum()
    }

    pub(crate) fn mark(&self) -> Mark {
        let last = self.last();
        Mark { parts: self.parts.len(), bytes: last.bytes.len(), rows: last.rows, runs: last.runs.len() }
    }

    /// Forgets what came after the mark.
    pub(crate) fn roll_back(&mut self, mark: Mark) {
        self.parts.truncate(mark.parts);
        let last = self.parts.last_mut().expect("there is always a part");
        last.bytes.truncate(mark.bytes);
        last.rows = mark.rows;
        last.runs.truncate(mark.runs);
        self.digester = None;
    }

    /// Begins a run's table; `run` is a number of the caller's.
    pub(crate) fn begin(
        &mut self,
        run: usize,
        run_id: RunId,
        schema: &SchemaRef,
        known: &KnownTable,
    ) -> Result<(), SinkError> {
        let width = known.columns().len();
        if !self.knows(schema, width) {
            let placements = known.placements(schema).map_err(|error| self.wrong(run_id, &error))?;
            let Ok(run_id_at) = schema.index_of("run_id") else {
                return Err(self.wrong(run_id, &"it has no column \"run_id\""));
            };
            self.known = Some(Known { schema: SchemaRef::clone(schema), width, placements, run_id_at });
        }
        self.digester = Some(BatchDigester::new(schema, CONVERSIONS));
        self.written = Written::default();
        (self.run, self.run_rows) = (run, 0);
        Ok(())
    }

    /// Ends it.
    pub(crate) fn end(&mut self) -> Written {
        let mut written = std::mem::take(&mut self.written);
        written.digest = self.digester.take().map(BatchDigester::finish).unwrap_or_default();
        written
    }

    /// Adds the rows of a batch.
    pub(crate) fn batch(&mut self, run_id: RunId, batch: &RecordBatch, known: &KnownTable) -> Result<(), SinkError> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        let plan = self.known.take().expect("`begin` came before");
        let result = self.add(run_id, batch, known, &plan);
        self.known = Some(plan);
        result
    }

    fn add(&mut self, run_id: RunId, batch: &RecordBatch, known: &KnownTable, plan: &Known) -> Result<(), SinkError> {
        self.check_run_id(run_id, batch.column(plan.run_id_at).as_ref())?;
        self.digester.as_mut().expect("`begin` came before").batch(batch);
        let rows = batch.num_rows();
        let mut extra = Extra::default();
        // By place at the destination: the array to send, of the destination's kind.
        let mut filled: BTreeMap<usize, (Kind, ArrayRef)> = BTreeMap::new();
        for (at, (kind, placement)) in plan.placements.iter().enumerate() {
            if batch.column(at).null_count() == rows || at == plan.run_id_at {
                continue;
            }
            let canonical = batch.schema_ref().field(at).name();
            match *placement {
                Placement::Extra => to_extra(batch, at, *kind, canonical, &mut extra),
                Placement::Column(to) => {
                    let kind_there = known.columns()[to].kind;
                    let array = to_column(batch, at, *kind, kind_there, canonical, &mut extra);
                    if array.null_count() < rows {
                        filled.insert(to, (kind_there, array));
                    }
                }
            }
        }
        let beside: Option<StringArray> = extra.column(rows);
        for (name, count) in std::mem::take(&mut extra.counts) {
            *self.written.extra.entry(name).or_default() += count;
        }
        self.written.replaced += extra.replaced;

        let Some(Placement::Column(run_id_to)) = plan.placements.get(plan.run_id_at).map(|(_, placement)| *placement)
        else {
            return Err(self.wrong(run_id, &"the destination has no column for \"run_id\""));
        };
        let wanted = || filled.keys().copied().chain([run_id_to]).chain(beside.as_ref().map(|_| EXTRA_AT));
        self.make_room(wanted());

        let columns = self.last().columns.clone();
        let fields: Vec<Field<'_>> = columns
            .iter()
            .map(|at| match filled.get(at) {
                _ if *at == run_id_to => Field::constant(run_id.as_bytes()),
                Some((kind, array)) => Field::of(*kind, array.as_ref()),
                None => match &beside {
                    Some(texts) if *at == EXTRA_AT => Field::of(Kind::Json, texts),
                    _ => Field::nothing(),
                },
            })
            .collect();
        let (run, run_rows) = (self.run, self.run_rows);
        let part = self.parts.last_mut().expect("there is always a part");
        if part.runs.last().is_none_or(|(_, last, _)| *last != run) {
            part.runs.push((part.rows, run, run_rows));
        }
        let count = (fields.len() as i16).to_be_bytes();
        for row in 0..rows {
            part.bytes.extend_from_slice(&count);
            for field in &fields {
                field.write(&mut part.bytes, row);
            }
        }
        part.rows += rows as u64;
        self.run_rows += rows as u64;
        Ok(())
    }

    /// Makes the last part have these columns. Rows that are in it already stay with their own.
    fn make_room(&mut self, wanted: impl Iterator<Item = usize>) {
        let last = self.parts.last_mut().expect("there is always a part");
        let missing: Vec<usize> =
            wanted.inspect(|at| _ = self.used.insert(*at)).filter(|at| !last.columns.contains(at)).collect();
        if missing.is_empty() {
            return;
        }
        let mut columns = [last.columns.as_slice(), &missing].concat();
        columns.sort_unstable();
        if last.rows == 0 {
            last.columns = columns;
        } else {
            self.parts.push(Part { columns, ..Part::default() });
        }
    }

    /// The columns that its rows filled.
    pub(crate) fn used(&self) -> Vec<usize> {
        self.used.iter().copied().collect()
    }

    /// Whether this schema was seen before, at a destination of so many columns.
    pub(crate) fn knows(&self, schema: &SchemaRef, width: usize) -> bool {
        self.known.as_ref().is_some_and(|known| known.width == width && same(&known.schema, schema))
    }

    /// Takes out what was gathered.
    pub(crate) fn take(&mut self) -> Vec<Part> {
        let columns = self.last().columns.clone();
        let parts = std::mem::replace(&mut self.parts, vec![Part { columns, ..Part::default() }]);
        parts.into_iter().filter(|part| part.rows > 0).collect()
    }

    fn last(&self) -> &Part {
        self.parts.last().expect("there is always a part")
    }

    /// Rows of another run under this one's name would be deleted with it, or never.
    fn check_run_id(&self, run_id: RunId, array: &dyn Array) -> Result<(), SinkError> {
        let expected = run_id.to_string();
        let Some(texts) = array.as_any().downcast_ref::<StringArray>() else {
            return Err(self.wrong(run_id, &"its column \"run_id\" is not text"));
        };
        match texts.iter().position(|text| text != Some(expected.as_str())) {
            None => Ok(()),
            Some(row) => {
                let found = texts.iter().nth(row).flatten().map_or("NULL".to_owned(), |text| format!("{text:?}"));
                Err(self.wrong(run_id, &format!("row {}: its run_id is {found}", self.run_rows + row as u64)))
            }
        }
    }

    fn wrong(&self, run_id: RunId, why: &dyn std::fmt::Display) -> SinkError {
        SinkError::data(format!("run {run_id}, table {}: {why}", self.table))
    }
}

/// Whether two runs' tables have the same columns.
fn same(a: &SchemaRef, b: &SchemaRef) -> bool {
    SchemaRef::ptr_eq(a, b) || a.fields() == b.fields()
}
