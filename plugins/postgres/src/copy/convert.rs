//! A column of a batch as its destination can hold it. Nearly always that is the column as it is; else a converted copy of
//! it, with the cells that cannot be held in `extra`.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Float64Array, Int64Array, ListArray, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{Float64Type, Int64Type, TimestampMicrosecondType};
use litmus_core::digest::Cell;
use litmus_core::tables::Kind;
use litmus_sql::{Values, extra, fit};
use serde_json::{Map, Value};

use super::document::{Document, document};
use super::{TIME_US_END, TIME_US_MIN};
use crate::dialect::stored_name;

/// Cells without a column, by row of the batch.
#[derive(Debug, Default)]
pub(super) struct Extra {
    rows: BTreeMap<usize, Map<String, Value>>,
    /// Cells by canonical column.
    pub(super) counts: BTreeMap<String, u64>,
    /// Cells in which U+0000 was replaced.
    pub(super) replaced: u64,
}

impl Extra {
    /// Takes a cell; NUL in it is replaced.
    fn take(&mut self, row: usize, canonical: &str, cell: &Cell<'_>) {
        let (value, replaced) = match cell {
            // A JSON cell with NUL is none; with NUL replaced it could turn into one, which it is not.
            Cell::Text(text) | Cell::Json(text) if text.contains('\0') => (Value::from(clean(text)), true),
            // Escaped in a document inside a text it is no harm to `jsonb`, but to the digest it is NUL.
            Cell::Json(text) => match document(text) {
                Document::Replaced(json) => (extra::encode(&Cell::Json(&json)), true),
                _ => (extra::encode(cell), false),
            },
            Cell::List(list)
                if list.iter().flatten().any(|cell| matches!(cell, Cell::Text(text) if text.contains('\0'))) =>
            {
                let element = |cell: &Option<Cell<'_>>| match cell {
                    Some(Cell::Text(text)) => Value::from(clean(text)),
                    Some(other) => extra::encode(other),
                    None => Value::Null,
                };
                (list.iter().map(element).collect(), true)
            }
            cell => (extra::encode(cell), false),
        };
        self.replaced += u64::from(replaced);
        *self.counts.entry(canonical.to_owned()).or_default() += 1;
        self.rows.entry(row).or_default().insert(stored_name(canonical).into_owned(), value);
    }

    /// The column `extra` of these rows; `None` where all of it is NULL.
    pub(super) fn column(&mut self, rows: usize) -> Option<StringArray> {
        if self.rows.is_empty() {
            return None;
        }
        let mut found = std::mem::take(&mut self.rows);
        Some((0..rows).map(|row| found.remove(&row).map(|members| Value::Object(members).to_string())).collect())
    }
}

fn clean(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

/// All cells of a column to `extra`.
pub(super) fn to_extra(batch: &RecordBatch, at: usize, kind: Kind, canonical: &str, extra: &mut Extra) {
    let values = Values::of(kind, batch.column(at).as_ref());
    for row in 0..batch.num_rows() {
        if let Some(cell) = values.cell(row) {
            extra.take(row, canonical, &cell);
        }
    }
}

/// The column as one of kind `to` holds it.
pub(super) fn to_column(
    batch: &RecordBatch,
    at: usize,
    kind: Kind,
    to: Kind,
    canonical: &str,
    extra: &mut Extra,
) -> ArrayRef {
    let array = batch.column(at);
    match (kind, to) {
        (Kind::Int, Kind::Float) => {
            let fitted =
                fitted(array.as_primitive::<Int64Type>().iter().map(|cell| cell.map(Cell::Int)), to, canonical, extra);
            Arc::new(
                fitted
                    .map(|cell| if let Some(Cell::Float(number)) = cell { Some(number) } else { None })
                    .collect::<Float64Array>(),
            )
        }
        (Kind::Float, Kind::Int) => {
            let fitted = fitted(
                array.as_primitive::<Float64Type>().iter().map(|cell| cell.map(Cell::Float)),
                to,
                canonical,
                extra,
            );
            Arc::new(
                fitted
                    .map(|cell| if let Some(Cell::Int(whole)) = cell { Some(whole) } else { None })
                    .collect::<Int64Array>(),
            )
        }
        (Kind::Text, _) => texts(array, extra),
        (Kind::Json, _) => documents(array, canonical, extra),
        (Kind::Timestamp, _) => times(array, canonical, extra),
        (Kind::TextList, _) => text_lists(array, extra),
        _ => Arc::clone(array),
    }
}

/// Numbers that a column of the other kind holds exactly; the others go to `extra`.
fn fitted<'a>(
    cells: impl Iterator<Item = Option<Cell<'a>>>,
    to: Kind,
    canonical: &str,
    extra: &mut Extra,
) -> impl Iterator<Item = Option<Cell<'a>>> {
    cells.enumerate().map(move |(row, cell)| {
        let cell = cell?;
        let held = fit(to, cell.clone());
        if held.is_none() {
            extra.take(row, canonical, &cell);
        }
        held
    })
}

/// Whether U+0000 stands anywhere in the texts of an array; one look at all its bytes.
fn has_nul(array: &StringArray) -> bool {
    let offsets = array.value_offsets();
    let (start, end) = (offsets[0] as usize, offsets[array.len()] as usize);
    array.value_data()[start..end].contains(&0)
}

fn texts(array: &ArrayRef, extra: &mut Extra) -> ArrayRef {
    let texts = array.as_string::<i32>();
    if !has_nul(texts) {
        return Arc::clone(array);
    }
    let replaced = texts.iter().map(|text| {
        text.map(|text| {
            extra.replaced += u64::from(text.contains('\0'));
            clean(text)
        })
    });
    Arc::new(replaced.collect::<StringArray>())
}

fn text_lists(array: &ArrayRef, extra: &mut Extra) -> ArrayRef {
    let lists = array.as_list::<i32>();
    let elements = lists.values().as_string::<i32>();
    if !has_nul(elements) {
        return Arc::clone(array);
    }
    for row in (0..lists.len()).filter(|row| lists.is_valid(*row)) {
        let list = lists.value(row);
        extra.replaced += u64::from(list.as_string::<i32>().iter().flatten().any(|text| text.contains('\0')));
    }
    let replaced: StringArray = elements.iter().map(|text| text.map(clean)).collect();
    let arrow::datatypes::DataType::List(field) = lists.data_type() else { unreachable!("it is a list") };
    Arc::new(ListArray::new(Arc::clone(field), lists.offsets().clone(), Arc::new(replaced), lists.nulls().cloned()))
}

fn times(array: &ArrayRef, canonical: &str, extra: &mut Extra) -> ArrayRef {
    let times = array.as_primitive::<TimestampMicrosecondType>();
    let holds = |us: i64| (TIME_US_MIN..TIME_US_END).contains(&us);
    if times.iter().flatten().all(holds) {
        return Arc::clone(array);
    }
    let kept = times.iter().enumerate().map(|(row, time)| {
        let us = time?;
        if !holds(us) {
            extra.take(row, canonical, &Cell::Timestamp(us));
        }
        holds(us).then_some(us)
    });
    Arc::new(kept.collect::<TimestampMicrosecondArray>().with_timezone("UTC"))
}

fn documents(array: &ArrayRef, canonical: &str, extra: &mut Extra) -> ArrayRef {
    use std::borrow::Cow;
    let texts = array.as_string::<i32>();
    let mut is_as_it_was = true;
    let held: Vec<Option<Cow<'_, str>>> = texts
        .iter()
        .enumerate()
        .map(|(row, text)| {
            let text = text?;
            let held = match document(text) {
                Document::Json(json) => Some(json),
                Document::Replaced(json) => {
                    extra.replaced += 1;
                    Some(Cow::Owned(json))
                }
                Document::Text => {
                    extra.take(row, canonical, &Cell::Json(text));
                    None
                }
            };
            is_as_it_was &= matches!(held, Some(Cow::Borrowed(_)));
            held
        })
        .collect();
    if is_as_it_was { Arc::clone(array) } else { Arc::new(held.iter().map(Option::as_deref).collect::<StringArray>()) }
}
