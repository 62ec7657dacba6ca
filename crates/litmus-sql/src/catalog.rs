//! The columns that a destination has.

use std::collections::{BTreeMap, HashMap, HashSet};

use arrow::datatypes::Schema;
use litmus_core::Table;
use litmus_core::tables::Kind;

use crate::{Dialect, bookkeeping, quoted, sql_table};

/// A column as `litmus_columns` records it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownColumn {
    /// Rises over all tables: the order in which columns came to be, and that of the view `run_rows`.
    pub ordinal: u32,
    /// In SQL.
    pub name: String,
    /// In the run model.
    pub canonical: String,
    /// What it holds.
    pub kind: Kind,
}

/// A data table as the destination has it.
#[derive(Clone, Debug, Default)]
pub struct KnownTable {
    exists: bool,
    columns: Vec<KnownColumn>,
    by_canonical: HashMap<String, usize>,
    /// Folded names of every column there, ours or not, and of those that may not be.
    taken: HashSet<String>,
}

/// Where the cells of a canonical column go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// To the column at this place of [`KnownTable::columns`]. If its kind is not the cell's, both are numbers, and a
    /// cell that does not [`fit`](crate::fit) goes to `extra`.
    Column(usize),
    /// To `extra`, every one.
    Extra,
}

/// What somebody dropped, all of it, and what to do about it; `gone` as [`Catalog::load`] gives it.
pub fn dropped(dialect: &dyn Dialect, catalog: &Catalog, gone: &[(Table, KnownColumn)]) -> Option<String> {
    let mut what = Vec::new();
    let (mut tables, mut columns) = (false, false);
    for table in Table::ALL {
        let of_table: Vec<_> = gone.iter().filter(|(of, _)| *of == table).collect();
        let name = dialect.table(sql_table(table));
        if !of_table.is_empty() && !catalog.table(table).exists() {
            tables = true;
            what.push(format!("the table {name}"));
        } else {
            columns |= !of_table.is_empty();
            what.extend(of_table.iter().map(|(_, column)| format!("{name}.{}", quoted(&column.name))));
        }
    }
    let recorded = dialect.table(bookkeeping::COLUMNS);
    let remedy = match (tables, columns) {
        (true, _) => format!(
            "bring back what is missing from a backup, or DELETE FROM {recorded} what it lists of it (table_name, column_name): \
             it is made anew, for the runs to come"
        ),
        (false, true) => format!("add it again, or delete its row from {recorded}"),
        (false, false) => return None,
    };
    let verb = if what.len() == 1 { "was" } else { "were" };
    Some(format!("{} {verb} dropped, but {recorded} still lists it\nhint: {remedy}", what.join(", ")))
}

/// A column of a run whose Arrow type no canonical column has.
#[derive(Debug, PartialEq, Eq)]
pub struct UnknownType {
    /// The column.
    pub column: String,
    /// Its Arrow type.
    pub data_type: String,
}

impl std::fmt::Display for UnknownType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "column \"{}\" is {}, which no canonical column is", self.column, self.data_type)
    }
}

impl std::error::Error for UnknownType {}

impl KnownTable {
    /// Whether it is there, or will be once the plan has run.
    pub fn exists(&self) -> bool {
        self.exists
    }

    /// Its columns, but for `extra`, in the order of their ordinals.
    pub fn columns(&self) -> &[KnownColumn] {
        &self.columns
    }

    /// The column of a canonical name.
    pub fn column(&self, canonical: &str) -> Option<&KnownColumn> {
        self.by_canonical.get(canonical).map(|&at| &self.columns[at])
    }

    /// Where each column of a run's table goes.
    pub fn placements(&self, schema: &Schema) -> Result<Vec<(Kind, Placement)>, UnknownType> {
        let place = |(name, kind): (&str, Kind)| match self.by_canonical.get(name) {
            Some(&at) if accepts(self.columns[at].kind, kind) => (kind, Placement::Column(at)),
            _ => (kind, Placement::Extra),
        };
        Ok(columns_of(schema)?.into_iter().map(place).collect())
    }

    pub(crate) fn set_exists(&mut self) {
        self.exists = true;
    }

    pub(crate) fn is_taken(&self, folded: &str) -> bool {
        self.taken.contains(folded)
    }

    fn push(&mut self, dialect: &dyn Dialect, column: KnownColumn) {
        self.taken.insert(dialect.folded(&column.name));
        self.by_canonical.insert(column.canonical.clone(), self.columns.len());
        self.columns.push(column);
    }
}

/// Whether cells of a kind may go to a column of another: numbers only, see [`fit`](crate::fit).
fn accepts(column: Kind, cell: Kind) -> bool {
    let is_number = |kind| matches!(kind, Kind::Int | Kind::Float);
    column == cell || (is_number(column) && is_number(cell))
}

/// Names and kinds of a run's columns.
pub(crate) fn columns_of(schema: &Schema) -> Result<Vec<(&str, Kind)>, UnknownType> {
    let column = |field: &arrow::datatypes::Field| UnknownType {
        column: field.name().clone(),
        data_type: field.data_type().to_string(),
    };
    schema
        .fields()
        .iter()
        .map(|field| Ok((field.name().as_str(), Kind::of(field).ok_or_else(|| column(field))?)))
        .collect()
}

/// What a destination has, over all tables.
#[derive(Clone, Debug)]
pub struct Catalog {
    tables: BTreeMap<Table, KnownTable>,
    next_ordinal: u32,
}

impl Catalog {
    /// From what `litmus_columns` records, and the names of the columns that the tables really have (none for a table that
    /// is not there). Also gives the recorded columns that are gone: somebody dropped them.
    pub fn load(
        dialect: &dyn Dialect,
        mut recorded: Vec<(Table, KnownColumn)>,
        physical: &BTreeMap<Table, Vec<String>>,
    ) -> (Self, Vec<(Table, KnownColumn)>) {
        let mut catalog = Self { tables: BTreeMap::new(), next_ordinal: 0 };
        for table in Table::ALL {
            let names = physical.get(&table).map(Vec::as_slice).unwrap_or_default();
            let mut known = KnownTable { exists: !names.is_empty(), ..KnownTable::default() };
            known.taken.extend(dialect.reserved().iter().map(|name| (*name).to_owned()));
            known.taken.insert(dialect.folded(bookkeeping::EXTRA));
            known.taken.extend(names.iter().map(|name| dialect.folded(name)));
            catalog.tables.insert(table, known);
        }
        recorded.sort_by_key(|(_, column)| column.ordinal);
        let mut gone = Vec::new();
        for (table, column) in recorded {
            catalog.next_ordinal = column.ordinal + 1;
            let known = catalog.tables.get_mut(&table).expect("every table is in the catalog");
            if known.taken.contains(&dialect.folded(&column.name)) {
                known.push(dialect, column);
            } else {
                gone.push((table, column));
            }
        }
        (catalog, gone)
    }

    /// Of a destination where nothing is yet.
    pub fn empty(dialect: &dyn Dialect) -> Self {
        Self::load(dialect, Vec::new(), &BTreeMap::new()).0
    }

    /// A table of it.
    pub fn table(&self, table: Table) -> &KnownTable {
        &self.tables[&table]
    }

    pub(crate) fn table_mut(&mut self, table: Table) -> &mut KnownTable {
        self.tables.get_mut(&table).expect("every table is in the catalog")
    }

    /// Adds a column under a name chosen for `wanted`.
    pub(crate) fn add(
        &mut self,
        dialect: &dyn Dialect,
        table: Table,
        wanted: &str,
        canonical: &str,
        kind: Kind,
    ) -> KnownColumn {
        let ordinal = self.next_ordinal;
        self.next_ordinal += 1;
        let known = self.table_mut(table);
        let name = crate::names::choose(wanted, dialect.name_bytes_max(), |name| known.is_taken(&dialect.folded(name)));
        let column = KnownColumn { ordinal, name, canonical: canonical.to_owned(), kind };
        known.push(dialect, column.clone());
        column
    }
}
