//! The tables beside the data. They are small, and plain SQL that every dialect takes.

use litmus_core::Table;

use crate::{Dialect, KnownColumn, kind_name, quoted, sql_table};

/// Key and value: [`INCARNATION`], [`SCHEMA_VERSION`].
pub const META: &str = "litmus_meta";
/// One row a data column: which name it got, and what it holds.
pub const COLUMNS: &str = "litmus_columns";
/// One row a run: the revision held, its rank, and what its receipt says.
pub const DELIVERIES: &str = "litmus_deliveries";
/// The column of every data table for cells that have no column.
pub const EXTRA: &str = "extra";

/// The key in [`META`] of the UUID that tells one destination from another put in its place.
pub const INCARNATION: &str = "incarnation";
/// The key in [`META`] of the version of this layout.
pub const SCHEMA_VERSION: &str = "schema_version";
/// The layout that this crate writes.
pub const SCHEMA_VERSION_NOW: u32 = 1;

/// Statements that make the bookkeeping tables where they are missing.
pub fn statements(dialect: &dyn Dialect) -> Vec<String> {
    vec![
        format!(
            "CREATE TABLE IF NOT EXISTS {} (key TEXT NOT NULL PRIMARY KEY, value TEXT NOT NULL)",
            dialect.table(META)
        ),
        format!(
            "CREATE TABLE IF NOT EXISTS {} (ordinal INTEGER NOT NULL PRIMARY KEY, table_name TEXT NOT NULL, \
             column_name TEXT NOT NULL, canonical_name TEXT NOT NULL, kind TEXT NOT NULL, \
             UNIQUE (table_name, column_name), UNIQUE (table_name, canonical_name))",
            dialect.table(COLUMNS)
        ),
        format!(
            "CREATE TABLE IF NOT EXISTS {} (run_id TEXT NOT NULL PRIMARY KEY, sha256 TEXT NOT NULL, \
             rank TEXT NOT NULL, tables TEXT NOT NULL, conversions TEXT NOT NULL, extra TEXT NOT NULL, \
             plugin_version TEXT NOT NULL, delivered_at TEXT NOT NULL)",
            dialect.table(DELIVERIES)
        ),
    ]
}

/// The statement that records new columns of a table.
pub(crate) fn record(dialect: &dyn Dialect, table: Table, columns: &[KnownColumn]) -> String {
    let row = |column: &KnownColumn| {
        format!(
            "({}, {}, {}, {}, {})",
            column.ordinal,
            dialect.literal(sql_table(table)),
            dialect.literal(&column.name),
            dialect.literal(&column.canonical),
            dialect.literal(kind_name(column.kind))
        )
    };
    let rows: Vec<_> = columns.iter().map(row).collect();
    format!(
        "INSERT INTO {} (ordinal, table_name, column_name, canonical_name, kind) VALUES {}",
        dialect.table(COLUMNS),
        rows.join(", ")
    )
}

/// The statement that makes a data table. The columns of its key are never NULL.
pub(crate) fn create(dialect: &dyn Dialect, table: Table, columns: &[KnownColumn]) -> String {
    let is_key = |column: &&KnownColumn| table.key().contains(&column.canonical.as_str());
    let mut lines: Vec<_> = columns
        .iter()
        .map(|column| {
            let not_null = if is_key(&column) { " NOT NULL" } else { "" };
            format!("{} {}{not_null}", quoted(&column.name), dialect.column_type(&column.canonical, column.kind))
        })
        .collect();
    lines.push(format!("{} {}", quoted(EXTRA), dialect.column_type(EXTRA, litmus_core::tables::Kind::Json)));
    let key: Vec<_> = columns.iter().filter(is_key).map(|column| quoted(&column.name)).collect();
    lines.push(format!("PRIMARY KEY ({})", key.join(", ")));
    format!("CREATE TABLE {} ({})", dialect.table(sql_table(table)), lines.join(", "))
}

/// The statement that adds a column to a data table.
pub(crate) fn add(dialect: &dyn Dialect, table: Table, column: &KnownColumn) -> String {
    format!(
        "ALTER TABLE {} ADD COLUMN {} {}",
        dialect.table(sql_table(table)),
        quoted(&column.name),
        dialect.column_type(&column.canonical, column.kind)
    )
}
