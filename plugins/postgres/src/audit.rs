//! What the schema holds of runs, computed from the rows read back, never from the note of what was written.

use std::collections::{BTreeMap, HashMap};

use futures_util::TryStreamExt;
use litmus_core::digest::{Cell, RowDigester, TableDigest};
use litmus_core::{Audit, RunId, SinkError, Table};
use litmus_sql::bookkeeping::EXTRA;
use litmus_sql::{Catalog, Dialect, KnownTable, extra, quoted, sql_table};
use serde_json::Value;
use tokio_postgres::Row;
use tokio_postgres::types::Type;

use crate::cells::{self, Raw};
use crate::deliveries;
use crate::dialect::canonical_name;
use crate::link::Link;
use crate::schema;
use crate::session::Session;

/// Audits runs within one snapshot of the database.
pub(crate) fn audit(session: &Session<'_>, link: &mut Link, run_ids: &[RunId]) -> Result<Vec<Audit>, SinkError> {
    let begin = format!("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY; {}", schema::limit(session.settings));
    link.execute(session.runtime, session.check, "auditing", &begin)?;
    let audits = within(session, link, run_ids);
    link.roll_back(session.runtime);
    audits
}

fn within(session: &Session<'_>, link: &mut Link, run_ids: &[RunId]) -> Result<Vec<Audit>, SinkError> {
    // A column that somebody dropped is no error here: its cells are missing, and the digest tells.
    let found = schema::look(session, link)?;
    if !found.has_deliveries() {
        return Ok(run_ids.iter().map(|run_id| absent(*run_id)).collect());
    }
    let noted = deliveries::look_up(session, link, run_ids)?;
    let present: Vec<RunId> =
        run_ids.iter().copied().filter(|run_id| matches!(noted.get(run_id), Some(Ok(_)))).collect();
    let mut tables: HashMap<RunId, BTreeMap<String, TableDigest>> = HashMap::new();
    for table in Table::ALL {
        let mut digests = digests(session, link, &found.catalog, table, &present)?;
        for run_id in &present {
            let digest = digests.remove(run_id).unwrap_or_default().finish();
            tables.entry(*run_id).or_default().insert(table.name().to_owned(), digest);
        }
    }
    let answer = |run_id: &RunId| match noted.get(run_id) {
        Some(Ok(delivery)) => Audit {
            run_id: *run_id,
            sha256: Some(delivery.held.sha256),
            tables: tables.remove(run_id).unwrap_or_default(),
            conversions: delivery.receipt.conversions.clone(),
        },
        _ => absent(*run_id),
    };
    Ok(run_ids.iter().map(answer).collect())
}

fn absent(run_id: RunId) -> Audit {
    Audit { run_id, sha256: None, tables: BTreeMap::new(), conversions: BTreeMap::new() }
}

/// The rows of one table, streamed: large runs do not have to fit into memory.
fn digests(
    session: &Session<'_>,
    link: &mut Link,
    catalog: &Catalog,
    table: Table,
    run_ids: &[RunId],
) -> Result<HashMap<RunId, RowDigester>, SinkError> {
    let known = catalog.table(table);
    let mut digests: HashMap<RunId, RowDigester> = HashMap::new();
    let Some(run_id) = known.column("run_id") else { return Ok(digests) };
    let mut names: Vec<_> = known.columns().iter().map(|column| quoted(&column.name)).collect();
    names.push(quoted(EXTRA));
    let run_id_name = quoted(&run_id.name);
    let sql = format!(
        "SELECT {run_id_name}::text, {} FROM {} WHERE {run_id_name} = ANY (($1::text[])::uuid[])",
        names.join(", "),
        session.settings.dialect.table(sql_table(table))
    );
    let ids: Vec<String> = run_ids.iter().map(ToString::to_string).collect();
    let doing = format!("auditing the table {table}");
    link.run(session.runtime, session.check, &doing, async |client| {
        let mut rows = std::pin::pin!(client.query_typed_raw(&sql, [(ids, Type::TEXT_ARRAY)]).await?);
        while let Some(row) = rows.try_next().await? {
            let Ok(run_id) = row.get::<_, &str>(0).parse() else { continue };
            add(digests.entry(run_id).or_default(), known, &row);
        }
        Ok(())
    })?;
    Ok(digests)
}

fn add(digester: &mut RowDigester, known: &KnownTable, row: &Row) {
    let columns = known.columns();
    let value = |at: usize| row.get::<_, Option<Raw<'_>>>(at + 1).map(|raw| raw.0);
    let data_type = |at: usize| row.columns()[at + 1].type_();
    let mut uuids: Vec<(usize, String)> = Vec::new();
    for (at, column) in columns.iter().enumerate() {
        uuids.extend(value(at).and_then(|raw| cells::uuid(column.kind, data_type(at), raw)).map(|text| (at, text)));
    }
    let is_uuid = |at: usize| uuids.iter().any(|(of, _)| *of == at);
    let beside = match value(columns.len()) {
        None => Some(Value::Object(serde_json::Map::new())),
        Some(raw) => cells::json(raw).and_then(|text| serde_json::from_str(text).ok()),
    };
    let mut found: Vec<(String, &Value)> = Vec::new();
    let mut cells: Vec<(&str, Cell<'_>)> = Vec::with_capacity(columns.len());
    for (at, column) in columns.iter().enumerate() {
        if let Some(raw) = value(at).filter(|_| !is_uuid(at)) {
            cells.push((column.canonical.as_str(), cells::read(column.kind, data_type(at), raw)));
        }
    }
    for (at, text) in &uuids {
        // Only the column of run ids is one of UUIDs by our doing.
        let cell = if columns[*at].canonical == "run_id" { Cell::Text(text) } else { Cell::List(vec![None]) };
        cells.push((columns[*at].canonical.as_str(), cell));
    }
    match beside.as_ref().and_then(Value::as_object) {
        Some(members) => found.extend(members.iter().map(|(name, value)| (canonical_name(name), value))),
        None => cells.push((EXTRA, Cell::List(vec![None]))),
    }
    // What is never written there counts as a cell that no source has.
    cells.extend(
        found.iter().map(|(name, value)| (name.as_str(), extra::decode(value).unwrap_or(Cell::List(vec![None])))),
    );
    digester.row(cells);
}
