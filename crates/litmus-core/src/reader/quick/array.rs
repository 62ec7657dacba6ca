//! Arrow arrays of decoded leaf columns.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Float64Array, Int32Array, Int64Array, ListArray, StringArray, StructArray,
    TimestampMicrosecondArray,
};
use arrow::buffer::{BooleanBuffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::DataType;

use super::page::{LeafColumn, Values};
use super::root::{Leaf, Nesting, RootPlan, entry_def};

/// The array of a root column of this many rows.
pub(super) fn assemble(plan: &RootPlan, columns: Vec<LeafColumn>, rows: usize) -> Option<ArrayRef> {
    match plan.nesting {
        Nesting::Flat => {
            let (leaf, column) = (*plan.leaves.first()?, columns.into_iter().next()?);
            flat(leaf, column, rows, &plan.data_type)
        }
        Nesting::List { list_def, element_def } => list(plan, columns, rows, list_def, element_def),
    }
}

fn flat(leaf: Leaf, column: LeafColumn, rows: usize, data_type: &DataType) -> Option<ArrayRef> {
    let LeafColumn { defs, values, .. } = column;
    if leaf.max_def == 0 {
        return (values.len() == rows).then(|| array(values, None, data_type)).flatten();
    }
    if defs.len() != rows {
        return None;
    }
    spread(&defs, leaf.max_def, values, data_type)
}

/// Puts values where `defs` says that one is, and NULL elsewhere.
fn spread(defs: &[u8], max_def: u8, values: Values, data_type: &DataType) -> Option<ArrayRef> {
    if values.len() == defs.len() {
        return array(values, None, data_type);
    }
    let nulls = NullBuffer::new(BooleanBuffer::collect_bool(defs.len(), |at| defs[at] == max_def));
    let is_there = defs.iter().map(|def| *def == max_def);
    let values = match values {
        Values::Text { offsets, bytes } => {
            let mut from = offsets.into_iter();
            let mut end = from.next()?;
            let mut spread = Vec::with_capacity(defs.len() + 1);
            spread.push(end);
            for is_there in is_there {
                if is_there {
                    end = from.next()?;
                }
                spread.push(end);
            }
            Values::Text { offsets: spread, bytes }
        }
        Values::Int64(values) => Values::Int64(fill(values, is_there)?),
        Values::Int32(values) => Values::Int32(fill(values, is_there)?),
        Values::Double(values) => Values::Double(fill(values, is_there)?),
        Values::Bool(values) => Values::Bool(fill(values, is_there)?),
    };
    array(values, Some(nulls), data_type)
}

fn fill<T: Default>(values: Vec<T>, is_there: impl Iterator<Item = bool>) -> Option<Vec<T>> {
    let mut values = values.into_iter();
    is_there.map(|is_there| if is_there { values.next() } else { Some(T::default()) }).collect()
}

fn array(values: Values, nulls: Option<NullBuffer>, data_type: &DataType) -> Option<ArrayRef> {
    Some(match (values, data_type) {
        (Values::Text { offsets, bytes }, _) => {
            // Checks that it is UTF-8, each text by itself.
            Arc::new(StringArray::try_new(OffsetBuffer::new(ScalarBuffer::from(offsets)), bytes.into(), nulls).ok()?)
        }
        (Values::Int64(values), DataType::Timestamp(_, zone)) => {
            let times = TimestampMicrosecondArray::try_new(values.into(), nulls).ok()?;
            Arc::new(times.with_timezone_opt(zone.clone()))
        }
        (Values::Int64(values), _) => Arc::new(Int64Array::try_new(values.into(), nulls).ok()?),
        (Values::Int32(values), _) => Arc::new(Int32Array::try_new(values.into(), nulls).ok()?),
        (Values::Double(values), _) => Arc::new(Float64Array::try_new(values.into(), nulls).ok()?),
        (Values::Bool(values), _) => Arc::new(BooleanArray::new(BooleanBuffer::from(values), nulls)),
    })
}

fn list(plan: &RootPlan, columns: Vec<LeafColumn>, rows: usize, list_def: u8, element_def: u8) -> Option<ArrayRef> {
    let DataType::List(field) = &plan.data_type else { return None };
    let first = columns.first()?;
    // Each leaf repeats where the lists begin and end; `defs` of one leaf tell it for all.
    if first.defs.len() != first.reps.len() || !columns.iter().all(|column| column.reps == first.reps) {
        return None;
    }
    // The footer may say anything; each row has a level at least.
    if rows > first.defs.len() {
        return None;
    }
    let entry_def = entry_def(list_def);
    let mut offsets = Vec::with_capacity(rows + 1);
    let mut filled = Vec::with_capacity(rows);
    let mut entries = 0i32;
    for (def, rep) in first.defs.iter().zip(&first.reps) {
        if *rep == 0 {
            offsets.push(entries);
            filled.push(*def >= list_def);
        } else if offsets.is_empty() || *def < entry_def {
            return None;
        }
        entries += i32::from(*def >= entry_def);
    }
    if offsets.len() != rows {
        return None;
    }
    offsets.push(entries);
    let nulls = filled.contains(&false).then(|| NullBuffer::from(filled));
    let mut leaves = columns.into_iter().zip(&plan.leaves).map(|(column, leaf)| {
        let LeafColumn { mut defs, values, .. } = column;
        defs.retain(|def| *def >= entry_def);
        (defs.len() == entries as usize).then_some((defs, values, leaf))
    });
    let elements: ArrayRef = match field.data_type() {
        DataType::Struct(members) => {
            let mut present: Option<Vec<bool>> = None;
            let mut arrays = Vec::with_capacity(members.len());
            for member in members {
                let (defs, values, leaf) = leaves.next()??;
                let here = defs.iter().map(|def| *def >= element_def);
                match &present {
                    None => present = Some(here.collect()),
                    Some(present) if here.eq(present.iter().copied()) => {}
                    Some(_) => return None,
                }
                arrays.push(spread(&defs, leaf.max_def, values, member.data_type())?);
            }
            let nulls = present.filter(|present| present.contains(&false)).map(NullBuffer::from);
            Arc::new(StructArray::try_new(members.clone(), arrays, nulls).ok()?)
        }
        element => {
            let (defs, values, leaf) = leaves.next()??;
            spread(&defs, leaf.max_def, values, element)?
        }
    };
    let offsets = OffsetBuffer::new(ScalarBuffer::from(offsets));
    Some(Arc::new(ListArray::try_new(Arc::clone(field), offsets, elements, nulls).ok()?))
}
