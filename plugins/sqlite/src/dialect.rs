//! SQLite's own ways.

use litmus_core::tables::Kind;
use litmus_sql::{Dialect, is_unprintable};

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

    /// NUL would end the statement, and what no terminal shows would not be copied.
    fn literal(&self, text: &str) -> String {
        let quoted = |part: &str| format!("'{}'", part.replace('\'', "''"));
        if !text.contains(is_unprintable) {
            return quoted(text);
        }
        let mut parts = Vec::new();
        for part in text.split_inclusive(is_unprintable) {
            let last = part.chars().next_back().filter(|last| is_unprintable(*last));
            let shown = &part[..part.len() - last.map_or(0, char::len_utf8)];
            parts.extend((!shown.is_empty()).then(|| quoted(shown)));
            parts.extend(last.map(|last| format!("char({})", u32::from(last))));
        }
        format!("({})", parts.join(" || "))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_literal_reads_back_and_holds_nothing_that_a_terminal_does_not_show() {
        let connection = rusqlite::Connection::open_in_memory().unwrap();
        for text in ["", "it's", "\n", "a\nb\tc\0", "\u{1b}[31m'\u{202e}y", "\\n", "\u{85}ü\u{2066}"] {
            let literal = Sqlite.literal(text);
            assert!(!literal.contains(is_unprintable), "{literal:?}");
            let read: String = connection.query_row(&format!("SELECT {literal}"), [], |row| row.get(0)).unwrap();
            assert_eq!(read, text, "{literal}");
        }
    }
}
