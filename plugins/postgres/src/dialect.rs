//! PostgreSQL's own ways.

use std::borrow::Cow;

use litmus_core::Table;
use litmus_core::tables::Kind;
use litmus_sql::{Dialect, KnownColumn, is_unprintable, quoted, sql_table};

/// PostgreSQL, and where in a database the tables lie.
pub(crate) struct Postgres {
    pub(crate) schema: String,
    pub(crate) prefix: String,
    pub(crate) indexes: bool,
}

/// Columns that benches are asked about, beside the keys.
const INDEXED: [(Table, &str); 3] =
    [(Table::Runs, "run_started_at"), (Table::Runs, "dut_serial"), (Table::Measurements, "measurement_name")];

impl Postgres {
    /// The name of a table or view, with its prefix, without its schema.
    pub(crate) fn relation(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }
}

impl Dialect for Postgres {
    /// `NAMEDATALEN` - 1.
    fn name_bytes_max(&self) -> usize {
        63
    }

    /// Quoted names that differ in case are two columns to PostgreSQL, but one to whoever leaves the quotes out.
    fn folded(&self, name: &str) -> String {
        name.to_lowercase()
    }

    /// System columns.
    fn reserved(&self) -> &'static [&'static str] {
        &["tableoid", "xmin", "cmin", "xmax", "cmax", "ctid"]
    }

    fn table(&self, name: &str) -> String {
        format!("{}.{}", quoted(&self.schema), quoted(&self.relation(name)))
    }

    fn column_type(&self, canonical: &str, kind: Kind) -> &'static str {
        match kind {
            Kind::Text if canonical == "run_id" => "uuid",
            Kind::Text => "text",
            Kind::Int => "bigint",
            Kind::Float => "double precision",
            Kind::Bool => "boolean",
            Kind::Timestamp => "timestamp with time zone",
            Kind::Json => "jsonb",
            Kind::TextList => "text[]",
            Kind::BoolList => "boolean[]",
        }
    }

    /// `E''`, so that a backslash means the same whatever `standard_conforming_strings` says, and what no terminal shows is
    /// spelled out.
    fn literal(&self, text: &str) -> String {
        if !text.contains(|character| character == '\\' || is_unprintable(character)) {
            return format!("'{}'", text.replace('\'', "''"));
        }
        let escaped: String = text
            .chars()
            .map(|character| match character {
                '\\' => "\\\\".to_owned(),
                '\'' => "''".to_owned(),
                other if is_unprintable(other) => format!("\\u{:04X}", u32::from(other)),
                other => other.to_string(),
            })
            .collect();
        format!("E'{escaped}'")
    }

    fn bookkeeping_type(&self, column: &str) -> &'static str {
        match column {
            "run_id" => "uuid",
            "tables" | "conversions" | "extra" => "jsonb",
            "delivered_at" => "timestamp with time zone",
            _ => "text",
        }
    }

    /// No text and no jsonb holds NUL: `\0` stands for it, and `\\` for a backslash.
    fn stored_name<'a>(&self, canonical: &'a str) -> Cow<'a, str> {
        stored_name(canonical)
    }

    fn after(&self, table: Table, columns: &[KnownColumn], created: bool) -> Vec<String> {
        let mut statements = Vec::new();
        let name = self.table(sql_table(table));
        if created {
            statements.push(format!("COMMENT ON TABLE {name} IS {}", self.literal(comment(table))));
        }
        for column in columns {
            if let Some(doc) = doc(table, &column.canonical) {
                statements.push(format!("COMMENT ON COLUMN {name}.{} IS {}", quoted(&column.name), self.literal(&doc)));
            }
        }
        let indexed = columns.iter().filter(|column| INDEXED.contains(&(table, column.canonical.as_str())));
        for column in indexed.filter(|_| created && self.indexes) {
            let index = self.relation(&format!("{}_{}_idx", sql_table(table), column.canonical));
            statements.push(format!("CREATE INDEX {} ON {name} ({})", quoted(&index), quoted(&column.name)));
        }
        statements
    }

    /// `MaxHeapAttributeNumber`, which holds for views too.
    fn view_columns_max(&self) -> usize {
        1600
    }

    fn view_cell(&self, expression: String, from: Kind, to: Kind) -> Option<String> {
        match (from, to) {
            _ if from == to => Some(expression),
            (Kind::Int, Kind::Float) => Some(format!("{expression}::double precision")),
            _ => None,
        }
    }

    fn view_null(&self, kind: Kind) -> String {
        format!("NULL::{}", self.column_type("", kind))
    }

    fn replace_view(&self, view: &str, query: &str) -> Vec<String> {
        vec![format!("CREATE OR REPLACE VIEW {view} AS {query}")]
    }
}

/// See [`Dialect::stored_name`].
pub(crate) fn stored_name(canonical: &str) -> Cow<'_, str> {
    if canonical.contains(['\\', '\0']) {
        Cow::Owned(canonical.replace('\\', "\\\\").replace('\0', "\\0"))
    } else {
        Cow::Borrowed(canonical)
    }
}

/// The canonical name of a stored one.
pub(crate) fn canonical_name(stored: &str) -> String {
    let mut name = String::with_capacity(stored.len());
    let mut characters = stored.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => name.extend(characters.next().map(|next| if next == '0' { '\0' } else { next })),
            other => name.push(other),
        }
    }
    name
}

fn comment(table: Table) -> &'static str {
    match table {
        Table::Runs => "Test runs, one row each (written by litmus-host)",
        Table::Steps => "Steps of test runs (written by litmus-host)",
        Table::Vectors => "Vectors of test runs (written by litmus-host)",
        Table::Measurements => {
            "Measurements with their limits, and the step and vector they belong to (written by litmus-host)"
        }
        Table::Instruments => "Uses of instruments (written by litmus-host)",
    }
}

/// What a column is, for its comment.
fn doc(table: Table, canonical: &str) -> Option<String> {
    if let Some(column) = table.core_columns().iter().find(|column| column.name == canonical) {
        return Some(column.doc.to_owned());
    }
    let named = [("in_", "Input"), ("out_", "Output"), ("custom_", "Custom value")];
    let (what, name) = named.iter().find_map(|(prefix, what)| Some((what, canonical.strip_prefix(prefix)?)))?;
    let name = name.replace(is_unprintable, "?");
    Some(format!("{what} \"{name}\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_nul_and_backslash_come_back() {
        for name in ["in_a", "in_\0", "in_\\0", "\\", "a\\\\\0b"] {
            let stored = stored_name(name);
            assert!(!stored.contains('\0'));
            assert_eq!(canonical_name(&stored), name);
        }
        assert_ne!(stored_name("in_\0"), stored_name("in_\\0"));
    }

    #[test]
    fn literals_hold_quotes_and_backslashes() {
        let dialect = Postgres { schema: "s\"x".to_owned(), prefix: "p_".to_owned(), indexes: true };
        assert_eq!(dialect.literal("it's"), "'it''s'");
        assert_eq!(dialect.literal("a\\'b"), "E'a\\\\''b'");
        assert_eq!(dialect.literal("a\n'\u{202e}\\"), "E'a\\u000A''\\u202E\\\\'");
        assert_eq!(dialect.table("steps"), "\"s\"\"x\".\"p_steps\"");
    }
}
