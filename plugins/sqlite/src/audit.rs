//! What the file holds of a run, computed from the rows read back, never from the note of what was written.

use std::collections::BTreeMap;

use litmus_core::digest::{Cell, RowDigester, TableDigest};
use litmus_core::{Audit, RunId, SinkError, Table};
use litmus_sql::bookkeeping::EXTRA;
use litmus_sql::{Catalog, KnownTable, extra, quoted, sql_table};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row, Transaction, TransactionBehavior};
use serde_json::Value;

use crate::cells::{parsed_list, read};
use crate::{database, error};

/// How often the host is asked whether to go on.
const ROWS_PER_CHECK: u64 = 10_000;

/// Audits runs within one snapshot of the file.
pub(crate) fn audit(
    connection: &Connection,
    path: &std::path::Path,
    run_ids: &[RunId],
    check: &dyn Fn() -> Result<(), SinkError>,
) -> Result<Vec<Audit>, SinkError> {
    let snapshot = Transaction::new_unchecked(connection, TransactionBehavior::Deferred)
        .map_err(|error| error::of(error, path, "auditing"))?;
    // A column that somebody dropped is no error here: its cells are missing, and the digest tells.
    let (catalog, _) = database::catalog_and_gone(&snapshot, path)?;
    run_ids.iter().map(|run_id| one(&snapshot, path, &catalog, *run_id, check)).collect()
}

fn one(
    connection: &Connection,
    path: &std::path::Path,
    catalog: &Catalog,
    run_id: RunId,
    check: &dyn Fn() -> Result<(), SinkError>,
) -> Result<Audit, SinkError> {
    check()?;
    let Some(delivery) = database::delivery(connection, path, run_id)? else {
        return Ok(Audit { run_id, sha256: None, tables: BTreeMap::new(), conversions: BTreeMap::new() });
    };
    let mut tables = BTreeMap::new();
    for table in Table::ALL {
        let known = catalog.table(table);
        let digest = if known.exists() {
            digest(connection, path, table, known, run_id, check)?
        } else {
            TableDigest::default()
        };
        tables.insert(table.name().to_owned(), digest);
    }
    let conversions = serde_json::from_str(&delivery.conversions).unwrap_or_default();
    Ok(Audit { run_id, sha256: Some(delivery.held.sha256), tables, conversions })
}

fn digest(
    connection: &Connection,
    path: &std::path::Path,
    table: Table,
    known: &KnownTable,
    run_id: RunId,
    check: &dyn Fn() -> Result<(), SinkError>,
) -> Result<TableDigest, SinkError> {
    let failed = |error| error::of(error, path, &format!("auditing run {run_id}, table {table}"));
    let mut names: Vec<_> = known.columns().iter().map(|column| quoted(&column.name)).collect();
    names.push(quoted(EXTRA));
    let sql = format!("SELECT {} FROM {} WHERE run_id = ?1", names.join(", "), quoted(sql_table(table)));
    let mut statement = connection.prepare_cached(&sql).map_err(failed)?;
    let mut rows = statement.query([run_id.to_string()]).map_err(failed)?;
    let mut digester = RowDigester::default();
    let mut read = 0;
    while let Some(row) = rows.next().map_err(failed)? {
        add(&mut digester, known, row).map_err(failed)?;
        read += 1;
        if read % ROWS_PER_CHECK == 0 {
            check()?;
        }
    }
    Ok(digester.finish())
}

fn add(digester: &mut RowDigester, known: &KnownTable, row: &Row<'_>) -> rusqlite::Result<()> {
    let columns = known.columns();
    let mut parsed = Vec::new();
    for (at, column) in columns.iter().enumerate() {
        parsed.push(parsed_list(column.kind, row.get_ref(at)?));
    }
    let beside = match row.get_ref(columns.len())? {
        ValueRef::Null => Some(Value::Object(serde_json::Map::new())),
        ValueRef::Text(text) => serde_json::from_slice(text).ok(),
        _ => None,
    };
    let mut cells = Vec::with_capacity(columns.len());
    for (at, (column, parsed)) in columns.iter().zip(&parsed).enumerate() {
        cells
            .extend(read(column.kind, row.get_ref(at)?, parsed.as_ref()).map(|cell| (column.canonical.as_str(), cell)));
    }
    match beside.as_ref().and_then(Value::as_object) {
        Some(members) => cells.extend(members.iter().map(|(name, value)| {
            // What is never written there counts as a cell that no source has.
            (name.as_str(), extra::decode(value).unwrap_or(Cell::List(vec![None])))
        })),
        None => cells.push((EXTRA, Cell::List(vec![None]))),
    }
    digester.row(cells);
    Ok(())
}
