//! The head of a file: which row is the run, how many rows of each type there are, how the run ended.

use arrow::array::{Array, AsArray, StringArray};

use super::catalog::{Catalog, Class, Generation, members};
use super::error::ReadError;
use super::source::{Raw, Source, Want};
use crate::RunId;

/// Types of rows, by the code the reader uses inside.
pub(super) const RECORD_TYPES: [&str; 4] = ["run", "step", "vector", "measurement"];
pub(super) const RUN: u8 = 0;
pub(super) const STEP: u8 = 1;
pub(super) const VECTOR: u8 = 2;
pub(super) const MEASUREMENT: u8 = 3;

/// What one pass over `record_type` and the lengths of the lists of measurements tells.
#[derive(Clone, Debug)]
pub(super) struct Head {
    pub(super) run_id: RunId,
    pub(super) run_row: u64,
    /// Rows, by type.
    pub(super) counts: [u64; 4],
    /// Measurements in lists.
    pub(super) listed: u64,
}

/// The type of each row of a batch.
pub(super) fn record_types(raw: &Raw, catalog: &Catalog, label: &str) -> Result<Vec<u8>, ReadError> {
    let column = catalog.only(Class::RecordType).and_then(|root| raw.root(root));
    let types: Option<&StringArray> = column.map(AsArray::as_string);
    let code = |row: usize| {
        let name = types.filter(|types| types.is_valid(row)).map(|types| types.value(row));
        let code = name.and_then(|name| RECORD_TYPES.iter().position(|known| *known == name));
        code.map(|code| code as u8).ok_or_else(|| {
            let row = raw.first_row + row as u64;
            let message = match name {
                Some(name) => format!("row {row} is of the unknown type \"{name}\""),
                None => format!("row {row} has no record_type"),
            };
            ReadError::new(label, message)
                .with_hint("if a newer release of the platform wrote it, a newer litmus-host may read it")
        })
    };
    (0..raw.rows()).map(code).collect()
}

impl Head {
    pub(super) fn read(source: &Source, catalog: &Catalog) -> Result<Self, ReadError> {
        let label = &**source.label();
        let unreadable =
            |message: String| ReadError::new(label, message).with_hint("a sealed file holds exactly one run");
        let run_id_root = catalog.only(Class::RunId);
        let constant_id = run_id_root.and_then(|root| catalog.roots[root].constant.as_ref());
        let wanted = [
            catalog.only(Class::RecordType).map(Want::Root),
            run_id_root.filter(|_| constant_id.is_none()).map(Want::Root),
            catalog.only(Class::Measurements).map(Want::Lengths),
        ];
        let wanted: Vec<_> = wanted.into_iter().flatten().filter(|want| !is_empty(catalog, *want)).collect();
        let mut ids: Option<String> = constant_id.map(|id| id.as_string::<i32>().value(0).to_owned());
        let mut run_row = None;
        let (mut counts, mut listed) = ([0; 4], 0);
        for raw in source.batches(&wanted)? {
            let raw = raw?;
            let types = record_types(&raw, catalog, label)?;
            for (row, code) in types.iter().enumerate() {
                counts[*code as usize] += 1;
                if *code == RUN && run_row.replace(raw.first_row + row as u64).is_some() {
                    return Err(unreadable("has two run rows".to_owned()));
                }
            }
            if let Some(lists) = catalog.only(Class::Measurements).and_then(|root| raw.root(root)) {
                let lists = lists.as_list::<i32>();
                listed += (0..lists.len())
                    .filter(|row| lists.is_valid(*row))
                    .map(|row| lists.value_length(row) as u64)
                    .sum::<u64>();
            }
            if constant_id.is_some() {
                continue;
            }
            let column = run_id_root.and_then(|root| raw.root(root));
            let Some(column) = column.map(AsArray::as_string::<i32>) else {
                return Err(unreadable("has no run_id".to_owned()));
            };
            for (row, id) in column.iter().enumerate() {
                let Some(id) = id else {
                    return Err(unreadable(format!("row {} has no run_id", raw.first_row + row as u64)));
                };
                match &ids {
                    None => ids = Some(id.to_owned()),
                    Some(first) if first == id => {}
                    Some(first) => return Err(unreadable(format!("has two run ids, \"{first}\" and \"{id}\""))),
                }
            }
        }
        if catalog.generation != Generation::Flat && counts[MEASUREMENT as usize] > 0 {
            return Err(unreadable("has measurement rows beside lists of measurements".to_owned()));
        }
        let run_row = run_row.ok_or_else(|| unreadable("has no run row".to_owned()))?;
        let id = ids.ok_or_else(|| unreadable("has no run_id".to_owned()))?;
        let run_id = id.parse().map_err(|_| {
            ReadError::new(label, format!("run_id \"{id}\" is not a UUID"))
                .with_hint("every release of the platform writes a UUID; find out what wrote this file")
        })?;
        Ok(Self { run_id, run_row, counts, listed })
    }
}

fn is_empty(catalog: &Catalog, want: Want) -> bool {
    match want {
        Want::Root(root) | Want::Lengths(root) => catalog.roots[root].is_empty,
    }
}

/// The outcome of a run that has none stored: the worst of its steps, vectors and measurements, as the platform's own
/// reconstruction finds it; a run with nothing in it passed.
pub(super) fn derive_outcome(source: &Source, catalog: &Catalog) -> Result<&'static str, ReadError> {
    const WORST_FIRST: [&str; 4] = ["errored", "terminated", "aborted", "failed"];
    let flat = ["step_outcome", "vector_outcome", "measurement_outcome"].iter().filter_map(|name| catalog.named(name));
    let roots: Vec<_> =
        flat.chain(catalog.only(Class::Measurements)).filter(|root| !catalog.roots[*root].is_empty).collect();
    if roots.is_empty() {
        return Ok("passed");
    }
    let wanted: Vec<_> = roots.iter().copied().map(Want::Root).collect();
    let (mut worst, mut skipped, mut other) = (WORST_FIRST.len(), false, false);
    let mut see = |outcomes: &StringArray| {
        for outcome in outcomes.iter().flatten() {
            worst = worst.min(WORST_FIRST.iter().position(|bad| *bad == outcome).unwrap_or(WORST_FIRST.len()));
            skipped |= outcome == "skipped";
            other |= outcome != "skipped";
        }
    };
    for raw in source.batches(&wanted)? {
        let raw = raw?;
        for root in &roots {
            let Some(column) = raw.root(*root) else { continue };
            let member = members(&catalog.roots[*root].field)
                .and_then(|members| members.iter().position(|member| member.name() == "outcome"));
            match member {
                Some(member) => {
                    let outcomes = column.as_list::<i32>().values().as_struct().column(member).clone();
                    outcomes.as_string_opt::<i32>().into_iter().for_each(&mut see);
                }
                None => column.as_string_opt::<i32>().into_iter().for_each(&mut see),
            }
        }
    }
    Ok(match WORST_FIRST.get(worst) {
        Some(worst) => worst,
        None if skipped && !other => "skipped",
        None => "passed",
    })
}
