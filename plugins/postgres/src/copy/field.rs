//! One column's values as the fields of COPY's tuples: a length, then that many bytes; -1 is NULL.

use arrow::array::{Array, AsArray, BooleanArray, ListArray, PrimitiveArray, StringArray};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{Float64Type, Int64Type, TimestampMicrosecondType};
use litmus_core::tables::Kind;

use super::EPOCH_US;

/// The format of `jsonb` on the wire.
const JSONB_VERSION: u8 = 1;
/// Object ids of the element types, for arrays (`pg_type.dat`).
const BOOL_OID: i32 = 16;
const TEXT_OID: i32 = 25;

const NULL: [u8; 4] = (-1i32).to_be_bytes();

/// A column, downcast once.
pub(super) enum Values<'a> {
    /// NULL in every row.
    Nothing,
    /// The same bytes in every row, with their length before them.
    Constant(Vec<u8>),
    Text(&'a StringArray),
    Json(&'a StringArray),
    Int(&'a PrimitiveArray<Int64Type>),
    Float(&'a PrimitiveArray<Float64Type>),
    Bool(&'a BooleanArray),
    Timestamp(&'a PrimitiveArray<TimestampMicrosecondType>),
    TextList(&'a ListArray, &'a StringArray),
    BoolList(&'a ListArray, &'a BooleanArray),
}

/// A column with its NULLs.
pub(super) struct Field<'a> {
    values: Values<'a>,
    nulls: Option<&'a NullBuffer>,
}

impl<'a> Field<'a> {
    /// An array of this kind.
    pub(super) fn of(kind: Kind, array: &'a dyn Array) -> Self {
        let values = match kind {
            Kind::Text => Values::Text(array.as_string()),
            Kind::Json => Values::Json(array.as_string()),
            Kind::Int => Values::Int(array.as_primitive()),
            Kind::Float => Values::Float(array.as_primitive()),
            Kind::Bool => Values::Bool(array.as_boolean()),
            Kind::Timestamp => Values::Timestamp(array.as_primitive()),
            Kind::TextList => Values::TextList(array.as_list(), array.as_list::<i32>().values().as_string()),
            Kind::BoolList => Values::BoolList(array.as_list(), array.as_list::<i32>().values().as_boolean()),
        };
        Self { values, nulls: array.nulls().filter(|nulls| nulls.null_count() > 0) }
    }

    /// NULL in every row.
    pub(super) fn nothing() -> Self {
        Self { values: Values::Nothing, nulls: None }
    }

    /// The same bytes in every row.
    pub(super) fn constant(bytes: &[u8]) -> Self {
        let mut field = Vec::with_capacity(4 + bytes.len());
        length(&mut field, bytes.len());
        field.extend_from_slice(bytes);
        Self { values: Values::Constant(field), nulls: None }
    }

    /// Appends the field of a row.
    #[inline]
    pub(super) fn write(&self, out: &mut Vec<u8>, row: usize) {
        if self.nulls.is_some_and(|nulls| nulls.is_null(row)) {
            out.extend_from_slice(&NULL);
            return;
        }
        match &self.values {
            Values::Nothing => out.extend_from_slice(&NULL),
            Values::Constant(bytes) => out.extend_from_slice(bytes),
            Values::Text(array) => text(out, array.value(row)),
            Values::Json(array) => {
                let json = array.value(row);
                length(out, json.len() + 1);
                out.push(JSONB_VERSION);
                out.extend_from_slice(json.as_bytes());
            }
            Values::Int(array) => eight(out, array.value(row).to_be_bytes()),
            Values::Float(array) => eight(out, array.value(row).to_be_bytes()),
            Values::Timestamp(array) => eight(out, (array.value(row) - EPOCH_US).to_be_bytes()),
            Values::Bool(array) => bool(out, array.value(row)),
            Values::TextList(lists, texts) => {
                list(out, lists, row, TEXT_OID, texts, |out, at| text(out, texts.value(at)));
            }
            Values::BoolList(lists, bools) => {
                list(out, lists, row, BOOL_OID, bools, |out, at| bool(out, bools.value(at)));
            }
        }
    }
}

#[inline]
fn length(out: &mut Vec<u8>, length: usize) {
    // Arrow's own offsets are 32-bit and signed.
    out.extend_from_slice(&(length as i32).to_be_bytes());
}

#[inline]
fn text(out: &mut Vec<u8>, text: &str) {
    length(out, text.len());
    out.extend_from_slice(text.as_bytes());
}

#[inline]
fn bool(out: &mut Vec<u8>, value: bool) {
    length(out, 1);
    out.push(u8::from(value));
}

#[inline]
fn eight(out: &mut Vec<u8>, bytes: [u8; 8]) {
    let mut field = [0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0];
    field[4..].copy_from_slice(&bytes);
    out.extend_from_slice(&field);
}

/// An array: dimensions, whether there are NULLs, the elements' type; then for each dimension its length and first index.
fn list(
    out: &mut Vec<u8>,
    lists: &ListArray,
    row: usize,
    oid: i32,
    elements: &dyn Array,
    element: impl Fn(&mut Vec<u8>, usize),
) {
    let (start, end) = (lists.value_offsets()[row] as usize, lists.value_offsets()[row + 1] as usize);
    let begin = out.len();
    length(out, 0);
    let has_nulls = (start..end).any(|at| elements.is_null(at));
    for number in [i32::from(start < end), i32::from(has_nulls), oid] {
        out.extend_from_slice(&number.to_be_bytes());
    }
    if start < end {
        for number in [(end - start) as i32, 1] {
            out.extend_from_slice(&number.to_be_bytes());
        }
    }
    for at in start..end {
        if elements.is_null(at) { out.extend_from_slice(&NULL) } else { element(out, at) }
    }
    let bytes = (out.len() - begin - 4) as i32;
    out[begin..begin + 4].copy_from_slice(&bytes.to_be_bytes());
}
