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
    let column = |name: &str, more: &str| format!("{name} {} NOT NULL{more}", dialect.bookkeeping_type(name));
    let create = |table: &str, columns: &[String]| {
        format!("CREATE TABLE IF NOT EXISTS {} ({})", dialect.table(table), columns.join(", "))
    };
    let deliveries: Vec<_> =
        ["sha256", "rank", "supersedes", "tables", "conversions", "extra", "plugin_version", "delivered_at"]
            .map(|name| column(name, ""))
            .into();
    vec![
        create(META, &[column("key", " PRIMARY KEY"), column("value", "")]),
        create(
            COLUMNS,
            &[
                "ordinal INTEGER NOT NULL PRIMARY KEY".to_owned(),
                column("table_name", ""),
                column("column_name", ""),
                column("canonical_name", ""),
                column("kind", ""),
                "UNIQUE (table_name, column_name)".to_owned(),
                "UNIQUE (table_name, canonical_name)".to_owned(),
            ],
        ),
        create(DELIVERIES, &[vec![column("run_id", " PRIMARY KEY")], deliveries].concat()),
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
            dialect.literal(&dialect.stored_name(&column.canonical)),
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
