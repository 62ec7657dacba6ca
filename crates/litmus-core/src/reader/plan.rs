//! The layout of a table: which canonical column is made of what.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::{Schema, SchemaRef};

use super::catalog::{Catalog, Class, members};
use super::convert::Shape;
use super::dynamic::{DynamicColumn, Expansion};
use super::head::{MEASUREMENT, STEP, VECTOR};
use super::source::Want;
use super::survey::Survey;
use crate::tables::{Kind, Table, canonical_name};

/// What a column is made of.
#[derive(Debug)]
pub(super) enum Part {
    RunId,
    RowIndex,
    ListIndex,
    /// The type of the row.
    Owner,
    Nothing,
    /// A root column, on the row.
    Root(usize),
    /// The entry of a list, or a member of it where it is a list of structs.
    Entry(usize, Option<usize>),
    /// A list of structs, or any nested column, as JSON.
    Json(usize),
    /// A member of a list of structs as a list.
    Gathered(usize, usize),
    /// A column of the expansion.
    Dynamic(usize),
    /// A custom value of the run, the same on every row.
    Custom(usize),
}

/// A column of a table.
#[derive(Debug)]
pub(super) struct PlannedColumn {
    pub(super) name: String,
    pub(super) kind: Kind,
    pub(super) part: Part,
}

/// What makes the rows of a table.
#[derive(Debug)]
pub(super) enum Rows {
    /// Rows of one type.
    OfType(u8),
    /// Entries of parallel lists, on rows of every type.
    Entries(Vec<usize>),
}

/// The layout of a table of one file.
pub(super) struct Plan {
    pub(super) rows: Rows,
    pub(super) schema: SchemaRef,
    pub(super) columns: Vec<PlannedColumn>,
    pub(super) expansion: Expansion,
    pub(super) wanted: Vec<Want>,
}

/// Custom values of a nested file, as one-row columns.
pub(super) type Custom = Vec<(String, Kind, ArrayRef)>;

/// The layouts of all tables but `runs` for files in which the first pass found the same.
pub(super) struct Plans {
    empty: Vec<bool>,
    survey: Survey,
    custom: Vec<(String, Kind)>,
    /// By number of the table.
    by_table: Vec<Arc<Plan>>,
}

impl Plans {
    pub(super) fn new(catalog: &Catalog, survey: Survey, custom: &Custom) -> Self {
        let plan = |table| Arc::new(Plan::new(table, catalog, &survey, custom));
        Self {
            by_table: Table::ALL.into_iter().map(plan).collect(),
            empty: catalog.roots.iter().map(|root| root.is_empty).collect(),
            custom: custom.iter().map(|(name, kind, _)| (name.clone(), *kind)).collect(),
            survey,
        }
    }

    /// Whether a file of the same schema is laid out alike: whether all that [`Plan::new`] looks at is the same.
    pub(super) fn fit(&self, catalog: &Catalog, survey: &Survey, custom: &Custom) -> bool {
        let custom = custom.iter().map(|(name, kind, _)| (name, kind));
        self.empty.iter().copied().eq(catalog.roots.iter().map(|root| root.is_empty))
            && self.survey == *survey
            && self.custom.iter().map(|(name, kind)| (name, kind)).eq(custom)
    }

    /// The layout of any table but `runs`.
    pub(super) fn of(&self, table: Table) -> &Arc<Plan> {
        &self.by_table[table.number() as usize]
    }
}

impl Plan {
    /// The layout of any table but `runs`.
    fn new(table: Table, catalog: &Catalog, survey: &Survey, custom: &Custom) -> Self {
        let mut planner = Planner::new(table, catalog, survey);
        planner.core_columns();
        match table {
            Table::Steps => planner.stored_columns(STEP),
            Table::Vectors => planner.stored_columns(VECTOR),
            Table::Measurements if planner.lists.is_empty() => planner.stored_columns(MEASUREMENT),
            _ => {}
        }
        if table == Table::Steps {
            planner.gathered_lists();
        }
        planner.unknown_members();
        let dynamic = planner.dynamic_columns();
        if table == Table::Measurements && !planner.lists.is_empty() {
            for (at, (name, kind, _)) in custom.iter().enumerate() {
                planner.add(name.clone(), *kind, Part::Custom(at));
            }
        }
        planner.finish(dynamic)
    }
}

struct Planner<'a> {
    table: Table,
    catalog: &'a Catalog,
    survey: &'a Survey,
    /// The lists whose entries are the rows; empty where rows of the file are.
    lists: Vec<usize>,
    columns: Vec<PlannedColumn>,
    names: HashSet<String>,
    used_roots: HashSet<usize>,
    used_members: HashSet<(usize, usize)>,
}

impl<'a> Planner<'a> {
    fn new(table: Table, catalog: &'a Catalog, survey: &'a Survey) -> Self {
        let lists = match table {
            Table::Measurements => catalog.only(Class::Measurements).into_iter().collect(),
            Table::Instruments => catalog.all(Class::Instruments).chain(catalog.all(Class::InstrumentList)).collect(),
            _ => Vec::new(),
        };
        let (columns, names) = (Vec::new(), HashSet::new());
        Self { table, catalog, survey, lists, columns, names, used_roots: HashSet::new(), used_members: HashSet::new() }
    }

    /// A name that is taken gets a tail: nothing is lost.
    fn add(&mut self, mut name: String, kind: Kind, part: Part) {
        while !self.names.insert(name.clone()) {
            name.push_str("_stored");
        }
        match part {
            Part::Root(root) | Part::Entry(root, None) => {
                self.used_roots.insert(root);
            }
            Part::Entry(root, Some(member)) | Part::Gathered(root, member) => {
                self.used_members.insert((root, member));
            }
            _ => {}
        }
        self.columns.push(PlannedColumn { name, kind, part });
    }

    fn core_columns(&mut self) {
        for column in self.table.core_columns() {
            let (kind, part) = self.core_part(column.name).unwrap_or((column.kind, Part::Nothing));
            self.add(column.name.to_owned(), kind, part);
        }
    }

    /// What a core column is made of; a column of an unexpected type comes as the kind it is.
    fn core_part(&self, name: &str) -> Option<(Kind, Part)> {
        match name {
            "run_id" => return Some((Kind::Text, Part::RunId)),
            "row_index" => return Some((Kind::Int, Part::RowIndex)),
            "measurement_index" | "instrument_index" => return Some((Kind::Int, Part::ListIndex)),
            "owner" => return Some((Kind::Text, Part::Owner)),
            _ => {}
        }
        for root in &self.lists {
            if let Some(part) = self.entry(*root, name) {
                return Some(part);
            }
        }
        if self.table == Table::Steps
            && let Some(part) = name.strip_prefix("step_instruments_").and_then(|member| self.gathered(member))
        {
            return Some(part);
        }
        if self.table == Table::Instruments {
            return None;
        }
        let root = self.catalog.named(name).filter(|root| !self.catalog.roots[*root].is_empty)?;
        match self.catalog.roots[root].class {
            Class::Values(_) => Some((Kind::Json, Part::Json(root))),
            _ => Some((self.root_kind(root), Part::Root(root))),
        }
    }

    fn root_kind(&self, at: usize) -> Kind {
        let root = &self.catalog.roots[at];
        root.shape.kind(root.is_dynamic(), self.survey.is_inexact(at, None))
    }

    /// The entry of a list under a column's name.
    fn entry(&self, root: usize, name: &str) -> Option<(Kind, Part)> {
        let column = &self.catalog.roots[root];
        if column.is_empty && column.class != Class::Measurements {
            return None;
        }
        if column.class == Class::InstrumentList {
            let kind = if column.shape == Shape::BoolList { Kind::Bool } else { Kind::Text };
            return (instrument_column(&column.name) == name).then_some((kind, Part::Entry(root, None)));
        }
        let members = members(&column.field)?;
        let member = members.iter().position(|member| self.member_column(root, member.name()) == name)?;
        Some((self.member_kind(root, member), Part::Entry(root, Some(member))))
    }

    fn member_column(&self, root: usize, member: &str) -> String {
        match self.catalog.roots[root].class {
            Class::Measurements => measurement_column(member),
            _ => instrument_column(member),
        }
    }

    fn member_kind(&self, root: usize, member: usize) -> Kind {
        let members = members(&self.catalog.roots[root].field);
        let data_type = members.map(|members| members[member].data_type());
        let shape = data_type.map_or(Shape::Null, Shape::of);
        match shape {
            Shape::TextList | Shape::BoolList => Kind::Json,
            shape => shape.kind(false, self.survey.is_inexact(root, Some(member))),
        }
    }

    /// A member of the list of instruments, as a list.
    fn gathered(&self, name: &str) -> Option<(Kind, Part)> {
        let root = self.catalog.only(Class::Instruments).filter(|root| !self.catalog.roots[*root].is_empty)?;
        let members = members(&self.catalog.roots[root].field)?;
        let member = members.iter().position(|member| plain_member(member.name()) == name)?;
        let kind = if self.member_kind(root, member) == Kind::Bool { Kind::BoolList } else { Kind::TextList };
        Some((kind, Part::Gathered(root, member)))
    }

    /// Members of instruments that the reader does not know, as lists of the step.
    fn gathered_lists(&mut self) {
        let Some(root) = self.catalog.only(Class::Instruments) else { return };
        let names: Vec<_> =
            members(&self.catalog.roots[root].field).into_iter().flatten().map(|member| member.name()).collect();
        for (member, name) in names.into_iter().enumerate() {
            if !self.used_members.contains(&(root, member))
                && let Some((kind, part @ Part::Gathered(..))) = self.gathered(plain_member(name))
            {
                self.add(format!("step_instruments_{}", plain_member(name)), kind, part);
            }
        }
    }

    /// Columns of the file that have values on rows of this type and are no core column.
    fn stored_columns(&mut self, code: u8) {
        for at in 0..self.catalog.roots.len() {
            let root = &self.catalog.roots[at];
            let is_ours = matches!(root.class, Class::Run | Class::Other | Class::Dynamic);
            if is_ours && self.survey.present[at][code as usize] && !self.used_roots.contains(&at) {
                self.add(root.name.to_string(), self.root_kind(at), Part::Root(at));
            }
        }
    }

    /// Members and lists that the reader does not know, on measurements and instruments.
    fn unknown_members(&mut self) {
        for root in self.lists.clone() {
            let column = &self.catalog.roots[root];
            if column.class == Class::InstrumentList && !column.is_empty && !self.used_roots.contains(&root) {
                let name = instrument_column(&column.name);
                if let Some((kind, part)) = self.entry(root, &name) {
                    self.add(name, kind, part);
                }
            }
            for (member, field) in members(&column.field).into_iter().flatten().enumerate() {
                if !self.used_members.contains(&(root, member)) && !column.is_empty {
                    let name = self.member_column(root, field.name());
                    self.add(name, self.member_kind(root, member), Part::Entry(root, Some(member)));
                }
            }
        }
    }

    /// Inputs and outputs of nested files. A stored column of the same name wins: the raw list has the value anyway.
    fn dynamic_columns(&mut self) -> Vec<DynamicColumn> {
        let mut dynamic = Vec::new();
        for column in &self.survey.dynamic {
            let is_here = match self.table {
                Table::Steps => column.present[STEP as usize],
                Table::Vectors => column.present[VECTOR as usize],
                Table::Measurements => column.on_measurements,
                Table::Runs | Table::Instruments => false,
            };
            let name = format!("{}{}", column.direction.prefix(), column.name);
            if is_here && !self.names.contains(&name) {
                self.add(name, column.found.kind(), Part::Dynamic(dynamic.len()));
                dynamic.push(column.clone());
            }
        }
        dynamic
    }

    fn finish(self, dynamic: Vec<DynamicColumn>) -> Plan {
        let catalog = self.catalog;
        let mut wanted: Vec<Want> = catalog.only(Class::RecordType).map(Want::Root).into_iter().collect();
        for column in &self.columns {
            match column.part {
                Part::Root(root) | Part::Entry(root, _) | Part::Json(root) | Part::Gathered(root, _) => {
                    wanted.push(Want::Root(root));
                }
                _ => {}
            }
        }
        if !dynamic.is_empty() {
            let lists = (0..catalog.roots.len()).filter(|at| matches!(catalog.roots[*at].class, Class::Values(_)));
            wanted.extend(lists.map(Want::Root));
        }
        wanted.retain(|want| matches!(want, Want::Root(root) if !catalog.roots[*root].is_empty));
        wanted.sort_unstable();
        wanted.dedup();
        let rows = match self.table {
            Table::Runs => Rows::OfType(super::head::RUN),
            Table::Steps => Rows::OfType(STEP),
            Table::Vectors => Rows::OfType(VECTOR),
            Table::Measurements if self.lists.is_empty() => Rows::OfType(MEASUREMENT),
            Table::Measurements | Table::Instruments => Rows::Entries(self.lists),
        };
        let fields: Vec<_> = self.columns.iter().map(|column| column.kind.field(&column.name)).collect();
        let schema = Arc::new(Schema::new(fields));
        Plan { rows, schema, columns: self.columns, expansion: Expansion::new(dynamic), wanted }
    }
}

/// `serial_number` is the one member that the parallel lists spell otherwise.
fn plain_member(member: &str) -> &str {
    if member == "serial_number" { "serial" } else { member }
}

/// `step_instruments_model`, or the member `model`, is `instrument_model`.
fn instrument_column(stored: &str) -> String {
    format!("instrument_{}", plain_member(stored.strip_prefix("step_instruments_").unwrap_or(stored)))
}

/// Canonical names of the members of measurements; one that the reader does not know gets the prefix `measurement_`.
fn measurement_column(member: &str) -> String {
    match member {
        "unit" => return "measurement_units".to_owned(),
        "name" | "value" | "outcome" | "timestamp" => return format!("measurement_{member}"),
        _ => {}
    }
    let name = canonical_name(member);
    let is_own = |column: &&str| {
        column.starts_with("limit_")
            || column.starts_with("instrument_")
            || ["characteristic_id", "spec_ref", "dut_pin", "fixture_connection"].contains(column)
    };
    let mut core = Table::Measurements.core_columns().iter().map(|column| column.name).filter(is_own);
    if core.any(|column| column == name) { name.into_owned() } else { format!("measurement_{member}") }
}
