//! Which run, table, row, column and value the server refused.

use litmus_core::digest::Cell;
use litmus_core::tables::Kind;
use litmus_core::{SinkError, Table};
use litmus_sql::Incoming;
use litmus_sql::{Catalog, Values, sql_table};
use tokio_postgres::types::Type;

use crate::link::Link;
use crate::schema::rows;
use crate::session::Session;
use crate::transaction::DataFault;

/// The longest value that a message quotes.
const VALUE_CHARS_MAX: usize = 120;

/// The error of a run that the server refused.
pub(crate) fn describe<R: Incoming>(
    session: &Session<'_>,
    link: &mut Link,
    catalog: &Catalog,
    run: &R,
    fault: &DataFault,
) -> SinkError {
    let Some((_, table, row)) = fault.at else {
        return SinkError::data(format!("run {}: {}", run.run_id(), fault.why));
    };
    let columns = columns(session, link, table, fault);
    let known = catalog.table(table);
    let canonical: Vec<&str> = columns
        .iter()
        .filter_map(|name| known.columns().iter().find(|column| column.name == *name))
        .map(|column| column.canonical.as_str())
        .collect();
    let values: Vec<String> = canonical
        .iter()
        .map(|name| format!("column {name} is {}", value(run, table, row, name).unwrap_or_else(|| "NULL".to_owned())))
        .collect();
    let values = if values.is_empty() { String::new() } else { format!(", {}", values.join(", ")) };
    // What somebody finds the row by.
    let row = value(run, table, row, "row_index").map_or(format!("row {row}"), |index| format!("row_index {index}"));
    SinkError::data(format!("run {}, table {}, {row}{values}: {}", run.run_id(), sql_table(table), fault.why))
}

/// The columns that the server names, or that the constraint which it names is about.
fn columns(session: &Session<'_>, link: &mut Link, table: Table, fault: &DataFault) -> Vec<String> {
    if let Some(column) = &fault.column {
        return vec![column.clone()];
    }
    let Some(constraint) = &fault.constraint else { return Vec::new() };
    let dialect = &session.settings.dialect;
    let (schema, table) = (dialect.schema.as_str(), dialect.relation(sql_table(table)));
    let sql = "SELECT a.attname::text FROM pg_catalog.pg_constraint k \
               JOIN pg_catalog.pg_class c ON c.oid = k.conrelid \
               JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
               JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum = ANY (k.conkey) \
               WHERE n.nspname = $1 AND c.relname = $2 AND k.conname = $3 ORDER BY a.attnum";
    let asked = link.run(session.runtime, session.check, "asking for a constraint", async |client| {
        rows(client, sql, &[(&schema, Type::TEXT), (&table, Type::TEXT), (constraint, Type::TEXT)]).await
    });
    // It only makes the message better.
    asked.map(|found| found.iter().map(|row| row.get(0)).collect()).unwrap_or_default()
}

/// A cell of the source, as a person writes it.
fn value<R: Incoming>(run: &R, table: Table, row: u64, canonical: &str) -> Option<String> {
    let mut before = 0;
    for batch in run.open_table(table).ok()? {
        let batch = batch.ok()?;
        let rows = batch.num_rows() as u64;
        if row < before + rows {
            let at = batch.schema_ref().index_of(canonical).ok()?;
            let kind = Kind::of(batch.schema_ref().field(at))?;
            let cell = Values::of(kind, batch.column(at).as_ref()).cell((row - before) as usize)?;
            let text = match cell {
                Cell::Text(text) | Cell::Json(text) => format!("{text:?}"),
                Cell::Int(whole) => whole.to_string(),
                Cell::Float(number) => number.to_string(),
                Cell::Bool(value) => value.to_string(),
                other => format!("{other:?}"),
            };
            let short: String = text.chars().take(VALUE_CHARS_MAX).collect();
            return Some(if short.len() < text.len() { format!("{short}…") } else { short });
        }
        before += rows;
    }
    None
}
