//! The view `run_rows`: the flat shape of the run files that the Litmus documentation queries, one row a run, step, vector
//! or measurement, told apart by `record_type`, each with the columns of its run.

use std::collections::{HashMap, HashSet};

use litmus_core::Table;
use litmus_core::tables::Kind;

use crate::{Catalog, Dialect, KnownColumn, names, quoted, sql_table};

/// The view's name.
pub const RUN_ROWS: &str = "run_rows";

/// Tables whose rows are rows of the view, with their `record_type`.
const BRANCHES: [(Table, &str); 4] =
    [(Table::Runs, "run"), (Table::Steps, "step"), (Table::Vectors, "vector"), (Table::Measurements, "measurement")];

/// A column of the view, as the first column of its canonical name made it.
struct ViewColumn<'a> {
    name: String,
    canonical: &'a str,
    kind: Kind,
}

/// Statements that make the view fit the catalog.
pub(crate) fn statements(dialect: &dyn Dialect, catalog: &Catalog) -> Vec<String> {
    let columns = columns(dialect, catalog);
    let branches: Vec<_> =
        BRANCHES.iter().map(|(table, record_type)| branch(dialect, catalog, &columns, *table, record_type)).collect();
    dialect.replace_view(&dialect.table(RUN_ROWS), &branches.join(" UNION ALL "))
}

/// One column for each canonical name, in the order in which they came to be: a column added later stands last. Beyond
/// what the database allows in a view, the newest are left out; they are in their tables all the same.
fn columns<'a>(dialect: &dyn Dialect, catalog: &'a Catalog) -> Vec<ViewColumn<'a>> {
    let mut sources: Vec<&KnownColumn> =
        BRANCHES.iter().flat_map(|(table, _)| catalog.table(*table).columns()).collect();
    sources.sort_by_key(|column| column.ordinal);
    let mut seen = HashSet::new();
    let mut taken = HashSet::from([dialect.folded("record_type")]);
    let mut columns = Vec::new();
    for source in sources {
        if columns.len() + 1 < dialect.view_columns_max() && seen.insert(source.canonical.as_str()) {
            let name =
                names::choose(&source.name, dialect.name_bytes_max(), |name| taken.contains(&dialect.folded(name)));
            taken.insert(dialect.folded(&name));
            columns.push(ViewColumn { name, canonical: &source.canonical, kind: source.kind });
        }
    }
    columns
}

fn branch(
    dialect: &dyn Dialect,
    catalog: &Catalog,
    columns: &[ViewColumn<'_>],
    table: Table,
    record_type: &str,
) -> String {
    let by_canonical = |table| -> HashMap<&str, &KnownColumn> {
        catalog.table(table).columns().iter().map(|column| (column.canonical.as_str(), column)).collect()
    };
    let own = by_canonical(table);
    // The documents of a run (environment, step results) can be large; they stand on the run's own row only.
    let mut of_run = by_canonical(Table::Runs);
    of_run.retain(|_, column| column.kind != Kind::Json);
    let cell = |column: &ViewColumn<'_>| {
        let source = own.get(column.canonical).map(|source| ("t", source));
        let source = source.or_else(|| of_run.get(column.canonical).map(|source| ("r", source)));
        source
            .and_then(|(alias, source)| {
                dialect.view_cell(format!("{alias}.{}", quoted(&source.name)), source.kind, column.kind)
            })
            .unwrap_or_else(|| dialect.view_null(column.kind))
    };
    let mut selected = vec![format!("{} AS {}", dialect.literal(record_type), quoted("record_type"))];
    selected.extend(columns.iter().map(|column| format!("{} AS {}", cell(column), quoted(&column.name))));
    let from = dialect.table(sql_table(table));
    let from = match (table, of_run.get("run_id"), own.get("run_id")) {
        (Table::Runs, ..) | (_, None, _) | (_, _, None) => format!("{from} AS t"),
        (_, Some(of_run), Some(own)) => {
            let runs = dialect.table(sql_table(Table::Runs));
            format!("{from} AS t LEFT JOIN {runs} AS r ON r.{} = t.{}", quoted(&of_run.name), quoted(&own.name))
        }
    };
    format!("SELECT {} FROM {from}", selected.join(", "))
}
