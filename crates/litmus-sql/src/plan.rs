//! Which statements are needed before runs of given schemas can be written.

use arrow::datatypes::SchemaRef;
use litmus_core::tables::Kind;
use litmus_core::{Table, Vocabulary};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::catalog::columns_of;
use crate::{Catalog, Dialect, KnownColumn, UnknownType, bookkeeping, view};

/// What a sink may do to the tables when a run has columns that they lack.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SchemaPolicy {
    /// Create tables and add columns; never change or drop one.
    #[default]
    Evolve,
    /// Change nothing: a needed change stops the sink, and the message lists the statements for somebody to run.
    Freeze,
    /// Create the tables with the columns that every run has, and keep what else a run brings in the row's `extra`.
    Ignore,
}

/// The schema of one table of a run that is to be written.
pub type Wanted = (Table, SchemaRef);

/// Plans changes of a destination's tables.
pub struct Planner<'a> {
    /// The database.
    pub dialect: &'a dyn Dialect,
    /// How new columns are spelled.
    pub vocabulary: Vocabulary,
    /// What may be done.
    pub policy: SchemaPolicy,
    /// The most columns of a table, `extra` not counted; those that every run has are always made.
    pub columns_max: usize,
}

impl Planner<'_> {
    /// The statements after which `wanted` can be written, in order; `catalog` becomes what they make of it. They include
    /// the rows of `litmus_columns`, so whoever runs them by hand leaves nothing out. None if nothing is needed.
    ///
    /// Under [`SchemaPolicy::Freeze`] these are the statements that somebody else must run.
    pub fn plan(&self, catalog: &mut Catalog, wanted: &[Wanted]) -> Result<Vec<String>, UnknownType> {
        // All of them before anything is added: an error leaves the catalog as it was.
        let wanted: Vec<_> = wanted
            .iter()
            .map(|(table, schema)| Ok((*table, columns_of(schema)?)))
            .collect::<Result<_, UnknownType>>()?;
        let mut statements = Vec::new();
        for table in Table::ALL {
            let mut added = Vec::new();
            let create = !catalog.table(table).exists();
            if create {
                for column in table.core_columns() {
                    added.push(self.add(catalog, table, column.name, column.kind));
                }
            }
            for &(name, kind) in wanted.iter().filter(|(of, _)| *of == table).flat_map(|(_, columns)| columns) {
                let known = catalog.table(table);
                let room = known.columns().len() < self.columns_max;
                if self.policy != SchemaPolicy::Ignore && room && known.column(name).is_none() {
                    added.push(self.add(catalog, table, name, from_the_start(table, name, kind)));
                }
            }
            if create {
                statements.push(bookkeeping::create(self.dialect, table, &added));
                catalog.table_mut(table).set_exists();
            } else {
                statements.extend(added.iter().map(|column| bookkeeping::add(self.dialect, table, column)));
            }
            if !added.is_empty() {
                statements.extend(self.dialect.after(table, &added, create));
                statements.push(bookkeeping::record(self.dialect, table, &added));
            }
        }
        if !statements.is_empty() {
            statements.extend(view::statements(self.dialect, catalog));
        }
        Ok(statements)
    }

    /// The statements that make a view `run_rows` which somebody dropped. None where a table is missing too: the view comes
    /// with it. None under [`SchemaPolicy::Freeze`] either: no run needs it.
    pub fn plan_view(&self, catalog: &Catalog) -> Vec<String> {
        let whole = Table::ALL.iter().all(|table| catalog.table(*table).exists());
        if whole && self.policy != SchemaPolicy::Freeze { view::statements(self.dialect, catalog) } else { Vec::new() }
    }

    fn add(&self, catalog: &mut Catalog, table: Table, canonical: &str, kind: Kind) -> KnownColumn {
        catalog.add(self.dialect, table, &self.vocabulary.spell(canonical), canonical, kind)
    }
}

/// A number that is whole in the first run need not be in the next, and no column ever changes its type: all numbers that
/// are not part of every run are floats. A whole number too large for that goes to `extra`.
fn from_the_start(table: Table, name: &str, kind: Kind) -> Kind {
    let is_core = table.core_columns().iter().any(|column| column.name == name);
    if kind == Kind::Int && !is_core { Kind::Float } else { kind }
}

#[cfg(test)]
mod tests;
