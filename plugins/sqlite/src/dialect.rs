//! SQLite's own ways.

use litmus_core::tables::Kind;
use litmus_sql::Dialect;

/// SQLite.
pub(crate) struct Sqlite;

impl Dialect for Sqlite {
    /// SQLite has no limit; a name longer than this helps nobody.
    fn name_bytes_max(&self) -> usize {
        255
    }

    /// ASCII letters only: "Ä" and "ä" are two columns to SQLite.
    fn folded(&self, name: &str) -> String {
        name.to_ascii_lowercase()
    }

    /// Names of the row number: an added column may not have them, and one in the first statement would hide it.
    fn reserved(&self) -> &'static [&'static str] {
        &["rowid", "oid", "_rowid_"]
    }

    /// The affinity that follows from the name must leave every value as it is. TIMESTAMP, BOOLEAN and BOOL_LIST give
    /// NUMERIC, which changes only text that looks like a number; JSON can, so its name ends in TEXT.
    fn column_type(&self, _canonical: &str, kind: Kind) -> &'static str {
        match kind {
            Kind::Text => "TEXT",
            Kind::Int => "INTEGER",
            Kind::Float => "REAL",
            Kind::Bool => "BOOLEAN",
            Kind::Timestamp => "TIMESTAMP",
            Kind::Json => "JSON_TEXT",
            Kind::TextList => "TEXT_LIST",
            Kind::BoolList => "BOOL_LIST",
        }
    }

    /// NUL would end the statement.
    fn literal(&self, text: &str) -> String {
        let parts: Vec<_> = text.split('\0').map(|part| format!("'{}'", part.replace('\'', "''"))).collect();
        match parts.as_slice() {
            [one] => one.clone(),
            _ => format!("({})", parts.join(" || char(0) || ")),
        }
    }

    /// `SQLITE_MAX_COLUMN`.
    fn view_columns_max(&self) -> usize {
        2000
    }

    /// A column of a view holds any value.
    fn view_cell(&self, expression: String, _from: Kind, _to: Kind) -> Option<String> {
        Some(expression)
    }

    fn view_null(&self, _kind: Kind) -> String {
        "NULL".to_owned()
    }

    fn replace_view(&self, view: &str, query: &str) -> Vec<String> {
        vec![format!("DROP VIEW IF EXISTS {view}"), format!("CREATE VIEW {view} AS {query}")]
    }
}
