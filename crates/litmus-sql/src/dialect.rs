//! What differs between databases.

use std::borrow::Cow;

use litmus_core::Table;
use litmus_core::tables::Kind;

use crate::KnownColumn;

/// A database's own ways. Small on purpose: a sink brings its own statements for rows, this is about the shape of tables.
pub trait Dialect {
    /// The longest name of a column, in bytes.
    fn name_bytes_max(&self) -> usize;

    /// The form in which the database takes two names for one.
    fn folded(&self, name: &str) -> String;

    /// Names that no column may have, folded.
    fn reserved(&self) -> &'static [&'static str];

    /// A table or view as statements name it: quoted, with its schema and prefix where there are any.
    fn table(&self, name: &str) -> String {
        quoted(name)
    }

    /// The type of a data column.
    fn column_type(&self, canonical: &str, kind: Kind) -> &'static str;

    /// A text as a literal in a statement, without an [unprintable](crate::is_unprintable) character: people copy statements.
    fn literal(&self, text: &str) -> String;

    /// The type of a text column of the bookkeeping tables; a time there is a text of [`crate::timestamp`] where this says so.
    fn bookkeeping_type(&self, _column: &str) -> &'static str {
        "TEXT"
    }

    /// A canonical name as the destination's own texts hold it; differs only where it cannot hold some character.
    fn stored_name<'a>(&self, canonical: &'a str) -> Cow<'a, str> {
        Cow::Borrowed(canonical)
    }

    /// What follows the statements that made these columns: comments, indexes. `created`: with their table.
    fn after(&self, _table: Table, _columns: &[KnownColumn], _created: bool) -> Vec<String> {
        Vec::new()
    }

    /// The most columns that a view may have.
    fn view_columns_max(&self) -> usize;

    /// A cell of kind `from` in a view's column of kind `to`; `None` where it cannot stand there.
    fn view_cell(&self, expression: String, from: Kind, to: Kind) -> Option<String>;

    /// NULL in a view's column of this kind.
    fn view_null(&self, kind: Kind) -> String;

    /// The statements that make the view `view` (qualified) read `query`. The query's columns only grow at its end.
    fn replace_view(&self, view: &str, query: &str) -> Vec<String>;
}

/// A name in double quotes, as every identifier is written.
pub fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
