//! The first pass: over the columns whose place or kind depends on their values, and only those.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Scalar};
use arrow::compute::kernels::cmp::neq;

use super::catalog::{Catalog, Class, Direction, Root, members};
use super::convert::Shape;
use super::dynamic::{DynamicColumn, DynamicSurvey, ValueLists};
use super::error::ReadError;
use super::head::{Head, record_types};
use super::source::{Raw, Source, Want};

/// What the first pass found.
#[derive(PartialEq)]
pub(super) struct Survey {
    /// By root column: on rows of which types it has a value; for columns of the run, a value that differs from the run row.
    pub(super) present: Vec<[bool; 4]>,
    /// Columns whose natural kind does not hold all values: root, member of its structs.
    inexact: HashSet<(usize, Option<usize>)>,
    /// Inputs and outputs of nested files.
    pub(super) dynamic: Vec<DynamicColumn>,
}

impl Survey {
    pub(super) fn is_inexact(&self, root: usize, member: Option<usize>) -> bool {
        self.inexact.contains(&(root, member))
    }

    /// Reads what has to be read; `run_row` holds the run row of every column.
    pub(super) fn read(source: &Source, catalog: &Catalog, head: &Head, run_row: &Raw) -> Result<Self, ReadError> {
        let mut survey =
            Self { present: vec![[false; 4]; catalog.roots.len()], inexact: HashSet::new(), dynamic: Vec::new() };
        let types_there = head.counts.map(|count| count > 0);
        let mut wanted = vec![];
        for at in catalog.filled() {
            let root = &catalog.roots[at];
            match root.class {
                Class::Run if root.is_constant => {}
                Class::Other | Class::Dynamic if root.is_full && !root.depends() => survey.present[at] = types_there,
                Class::Measurements | Class::Instruments if !members_depend(root) => {}
                Class::Run
                | Class::Other
                | Class::Dynamic
                | Class::Values(_)
                | Class::Measurements
                | Class::Instruments => {
                    wanted.push(Want::Root(at));
                }
                Class::RecordType | Class::RunId | Class::InstrumentList => {}
            }
        }
        if wanted.is_empty() {
            return Ok(survey);
        }
        let surveyed = wanted.clone();
        wanted.extend(catalog.only(Class::RecordType).map(Want::Root));
        if let Some(measurements) = catalog.only(Class::Measurements)
            && !wanted.contains(&Want::Root(measurements))
        {
            wanted.push(Want::Lengths(measurements));
        }
        let mut dynamic = DynamicSurvey::default();
        for raw in source.batches(&wanted)? {
            let raw = raw?;
            let types = record_types(&raw, catalog, source.label())?;
            for want in &surveyed {
                let Want::Root(at) = *want else { continue };
                let Some(column) = raw.root(at) else { continue };
                let root = &catalog.roots[at];
                match root.class {
                    Class::Run => survey.compare(at, column, run_row.root(at), &types),
                    Class::Values(direction) => see_values(&mut dynamic, direction, column, &raw, catalog, &types),
                    Class::Measurements | Class::Instruments => survey.see_members(at, root, column),
                    _ => survey.see(at, root, column, &types),
                }
            }
        }
        survey.dynamic = dynamic.finish();
        Ok(survey)
    }

    fn see(&mut self, at: usize, root: &Root, column: &ArrayRef, types: &[u8]) {
        mark(&mut self.present[at], types, |row| has_value(column, row));
        if root.depends() && root.shape.is_inexact(column, root.is_dynamic()) {
            self.inexact.insert((at, None));
        }
    }

    fn see_members(&mut self, at: usize, root: &Root, column: &ArrayRef) {
        let members = members(&root.field).into_iter().flatten().enumerate();
        for (member, field) in members {
            let shape = Shape::of(field.data_type());
            let values = column.as_list::<i32>().values().as_struct();
            if shape.depends(field.data_type(), false) && shape.is_inexact(values.column(member), false) {
                self.inexact.insert((at, Some(member)));
            }
        }
    }

    /// Columns of the run are repeated on every row. One that is not the same everywhere is kept where it differs.
    fn compare(&mut self, at: usize, column: &ArrayRef, run: Option<&ArrayRef>, types: &[u8]) {
        let run = run.filter(|run| run.is_valid(0)).map(|run| Scalar::new(Arc::clone(run)));
        match run.map(|run| neq(column, &run)) {
            Some(Ok(differs)) => {
                mark(&mut self.present[at], types, |row| differs.is_valid(row) && differs.value(row));
            }
            Some(Err(_)) | None => mark(&mut self.present[at], types, |row| has_value(column, row)),
        }
    }
}

impl Root {
    fn depends(&self) -> bool {
        self.shape.depends(self.field.data_type(), self.is_dynamic())
    }
}

fn members_depend(root: &Root) -> bool {
    let mut members = members(&root.field).into_iter().flatten();
    members.any(|member| Shape::of(member.data_type()).depends(member.data_type(), false))
}

fn mark(present: &mut [bool; 4], types: &[u8], has: impl Fn(usize) -> bool) {
    for (row, code) in types.iter().enumerate() {
        let seen = &mut present[*code as usize];
        *seen = *seen || has(row);
    }
}

/// An empty list is no value.
pub(super) fn has_value(column: &ArrayRef, row: usize) -> bool {
    column.is_valid(row) && column.as_list_opt::<i32>().is_none_or(|lists| lists.value_length(row) > 0)
}

fn see_values(
    dynamic: &mut DynamicSurvey,
    direction: Direction,
    column: &ArrayRef,
    raw: &Raw,
    catalog: &Catalog,
    types: &[u8],
) {
    let lists = ValueLists::new(column);
    let measurements = catalog.only(Class::Measurements).and_then(|root| raw.root(root));
    for (row, code) in types.iter().enumerate() {
        let measures = measurements.is_some_and(|lists| has_value(lists, row));
        dynamic.see(direction, &lists, row, *code, measures);
    }
}
