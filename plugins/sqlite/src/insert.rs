//! The rows of one table of one run: taken from the stream once, digested and written on the way.

use std::collections::BTreeMap;

use arrow::array::{Array as _, Int64Array};
use arrow::record_batch::RecordBatch;
use litmus_core::digest::{BatchDigester, Cell, Conversions, TableDigest};
use litmus_core::tables::Kind;
use litmus_core::{RunId, SinkError, Table, TableStream};
use litmus_sql::bookkeeping::EXTRA;
use litmus_sql::{KnownTable, Placement, Values, extra, fit, quoted, sql_table};
use rusqlite::types::Null;
use rusqlite::{CachedStatement, Connection};
use serde_json::{Map, Value};

use crate::cells::stored;
use crate::error;

/// Why rows could not be written.
pub(crate) enum Failure {
    /// The run is at fault; the others go on.
    Run(SinkError),
    /// The database, or the host: nothing of the batch is kept.
    Batch(SinkError),
}

/// What was written of a table.
#[derive(Debug, Default)]
pub(crate) struct Written {
    pub(crate) digest: TableDigest,
    /// Cells in `extra`, by canonical column.
    pub(crate) extra: BTreeMap<String, u64>,
}

/// Where to, and for which run.
pub(crate) struct Target<'a> {
    pub(crate) connection: &'a Connection,
    pub(crate) path: &'a std::path::Path,
    pub(crate) run_id: RunId,
    pub(crate) table: Table,
    pub(crate) known: &'a KnownTable,
    /// `Err(cancelled)` once the host asked to stop.
    pub(crate) check: &'a dyn Fn() -> Result<(), SinkError>,
}

/// A column of the run, and where its cells go.
struct Column {
    at: usize,
    canonical: String,
    kind: Kind,
    /// Kind of the destination's column and number of the parameter, from 1; `None`: `extra`.
    to: Option<(Kind, usize)>,
}

impl Target<'_> {
    /// Writes all rows of a stream.
    pub(crate) fn insert(&self, stream: TableStream) -> Result<Written, Failure> {
        let schema = stream.schema();
        let placements = self.known.placements(&schema).map_err(|error| self.wrong(&error))?;
        let Ok(run_id_at) = schema.index_of("run_id") else {
            return Err(self.wrong(&"it has no column \"run_id\""));
        };
        let mut names = Vec::new();
        let columns: Vec<_> = placements
            .into_iter()
            .enumerate()
            .map(|(at, (kind, placement))| {
                let to = match placement {
                    Placement::Column(to) => {
                        let column = &self.known.columns()[to];
                        names.push(quoted(&column.name));
                        Some((column.kind, names.len()))
                    }
                    Placement::Extra => None,
                };
                Column { at, canonical: schema.field(at).name().clone(), kind, to }
            })
            .collect();
        names.push(quoted(EXTRA));
        let mut statement = self.prepare(&names)?;
        let mut digester = BatchDigester::new(&schema, Conversions::default());
        let mut written = Written::default();
        let mut rows_before = 0;
        for batch in stream {
            (self.check)().map_err(Failure::Batch)?;
            let batch = batch.map_err(|error| self.wrong(&format!("cannot be read: {error}")))?;
            self.check_run_id(batch.column(run_id_at).as_ref(), rows_before)?;
            digester.batch(&batch);
            self.batch(&batch, &columns, names.len(), &mut statement, rows_before, &mut written)?;
            rows_before += batch.num_rows();
        }
        self.check_rows(rows_before)?;
        written.digest = digester.finish();
        Ok(written)
    }

    /// Somebody's trigger may delete what was inserted, or move it.
    fn check_rows(&self, expected: usize) -> Result<(), Failure> {
        if expected == 0 || self.triggers()?.is_empty() {
            return Ok(());
        }
        let failed = |error| self.failed(error, None);
        let sql = format!("SELECT COUNT(*) FROM {} WHERE run_id = ?1", quoted(sql_table(self.table)));
        let mut statement = self.connection.prepare_cached(&sql).map_err(failed)?;
        let found: i64 = statement.query_row([self.run_id.to_string()], |row| row.get(0)).map_err(failed)?;
        if found == expected as i64 {
            return Ok(());
        }
        Err(self.lost(&format!("{expected} rows were written and {found} are there")))
    }

    /// The triggers on the table; this sink makes none.
    fn triggers(&self) -> Result<Vec<String>, Failure> {
        let read = || {
            let sql =
                "SELECT name FROM sqlite_master WHERE type = 'trigger' AND tbl_name = ?1 COLLATE NOCASE ORDER BY name";
            let mut statement = self.connection.prepare_cached(sql)?;
            let names = statement.query_map([sql_table(self.table)], |row| row.get(0))?;
            names.collect::<rusqlite::Result<Vec<String>>>()
        };
        read().map_err(|error| self.failed(error, None))
    }

    /// Rows that vanish without an error: not the run's fault, and not one run's trouble.
    fn lost(&self, what: &str) -> Failure {
        let triggers = match self.triggers() {
            Ok(triggers) => triggers.join(", "),
            Err(failure) => return failure,
        };
        let triggers = if triggers.is_empty() { "none is there now".to_owned() } else { triggers };
        Failure::Batch(SinkError::schema(format!(
            "{}: table {}: {what} (run {}): a trigger that somebody added takes rows away: {triggers}\nhint: drop the trigger, \
             or let it RAISE(ABORT): a run that it refuses is then set aside and told",
            self.path.display(),
            sql_table(self.table),
            self.run_id,
        )))
    }

    fn prepare(&self, names: &[String]) -> Result<CachedStatement<'_>, Failure> {
        let parameters: Vec<_> = (1..=names.len()).map(|number| format!("?{number}")).collect();
        let sql = format!(
            "INSERT INTO {} ({}) VALUES ({})",
            quoted(sql_table(self.table)),
            names.join(", "),
            parameters.join(", ")
        );
        self.connection.prepare_cached(&sql).map_err(|error| self.failed(error, None))
    }

    fn batch(
        &self,
        batch: &RecordBatch,
        columns: &[Column],
        extra_parameter: usize,
        statement: &mut CachedStatement<'_>,
        rows_before: usize,
        written: &mut Written,
    ) -> Result<(), Failure> {
        let failed = |error| self.failed(error, None);
        // What somebody finds a row by.
        let indexes = batch.column_by_name("row_index").and_then(|array| array.as_any().downcast_ref::<Int64Array>());
        let named = |row: usize| match indexes.filter(|indexes| indexes.is_valid(row)) {
            Some(indexes) => format!("row_index {}", indexes.value(row)),
            None => format!("row {}", rows_before + row),
        };
        // Most columns of most runs hold nothing: their NULL is bound once.
        let mut filled = Vec::new();
        for column in columns {
            let array = batch.column(column.at);
            if array.null_count() < batch.num_rows() {
                filled.push((column, Values::of(column.kind, array.as_ref())));
            } else if let Some((_, parameter)) = column.to {
                statement.raw_bind_parameter(parameter, Null).map_err(failed)?;
            }
        }
        statement.raw_bind_parameter(extra_parameter, Null).map_err(failed)?;
        let mut extra = Map::new();
        for row in 0..batch.num_rows() {
            for (column, values) in &filled {
                let cell = values.cell(row);
                let beside = match (column.to, cell) {
                    (Some((_, parameter)), None) => {
                        statement.raw_bind_parameter(parameter, Null).map_err(failed)?;
                        None
                    }
                    (Some((kind, parameter)), Some(cell)) => bind(statement, kind, parameter, cell).map_err(failed)?,
                    (None, cell) => cell,
                };
                if let Some(cell) = beside {
                    extra.insert(column.canonical.clone(), extra::encode(&cell));
                }
            }
            let has_extra = !extra.is_empty();
            if has_extra {
                extra.keys().for_each(|name| count(&mut written.extra, name));
                let text = Value::Object(std::mem::take(&mut extra)).to_string();
                statement.raw_bind_parameter(extra_parameter, text).map_err(failed)?;
            }
            let inserted = statement.raw_execute().map_err(|error| self.failed(error, Some(&named(row))))?;
            if inserted != 1 {
                return Err(self.lost(&format!("{} was not written", named(row))));
            }
            if has_extra {
                statement.raw_bind_parameter(extra_parameter, Null).map_err(failed)?;
            }
        }
        Ok(())
    }

    /// Rows of another run under this one's name would be deleted with it, or never.
    fn check_run_id(&self, array: &dyn arrow::array::Array, rows_before: usize) -> Result<(), Failure> {
        let expected = self.run_id.to_string();
        let Some(texts) = array.as_any().downcast_ref::<arrow::array::StringArray>() else {
            return Err(self.wrong(&"its column \"run_id\" is not text"));
        };
        match texts.iter().position(|text| text != Some(expected.as_str())) {
            None => Ok(()),
            Some(row) => {
                let found = texts.iter().nth(row).flatten().map_or("NULL".to_owned(), |text| format!("{text:?}"));
                Err(self.wrong(&format!("row {}: its run_id is {found}", rows_before + row)))
            }
        }
    }

    fn wrong(&self, why: &dyn std::fmt::Display) -> Failure {
        Failure::Run(SinkError::data(format!("run {}, table {}: {why}", self.run_id, self.table)))
    }

    fn failed(&self, error: rusqlite::Error, row: Option<&str>) -> Failure {
        let row = row.map_or_else(String::new, |row| format!(", {row}"));
        let doing = format!("writing run {}, table {}{row}", self.run_id, self.table);
        let is_data = error::is_data(&error);
        let is_owners = error::is_owners_constraint(&error, self.table.key());
        let error = error::of(error, self.path, &doing);
        match (is_data, is_owners) {
            (true, true) => {
                let hint =
                    "this sink has no such constraint: the database's owner added it; drop it, then litmus-host retry";
                let message = format!("{error}\nhint: {hint} (table {})", sql_table(self.table));
                Failure::Run(SinkError::data(message))
            }
            (true, false) => Failure::Run(error),
            (false, _) => Failure::Batch(error),
        }
    }
}

/// Binds a cell that its column can hold; gives back one that it cannot, and binds NULL.
fn bind<'a>(
    statement: &mut CachedStatement<'_>,
    kind: Kind,
    parameter: usize,
    cell: Cell<'a>,
) -> rusqlite::Result<Option<Cell<'a>>> {
    if let Some(value) = fit(kind, cell.clone()).as_ref().and_then(stored) {
        statement.raw_bind_parameter(parameter, value)?;
        return Ok(None);
    }
    statement.raw_bind_parameter(parameter, Null)?;
    Ok(Some(cell))
}

fn count(counts: &mut BTreeMap<String, u64>, name: &str) {
    match counts.get_mut(name) {
        Some(count) => *count += 1,
        None => _ = counts.insert(name.to_owned(), 1),
    }
}
