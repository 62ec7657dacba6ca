//! Cells out of Arrow arrays.

use arrow::array::{Array, AsArray, BooleanArray, ListArray, PrimitiveArray, StringArray};
use arrow::datatypes::{Float64Type, Int64Type, TimestampMicrosecondType};
use litmus_core::digest::Cell;
use litmus_core::tables::Kind;

/// A canonical column of a batch, downcast once.
#[derive(Debug)]
pub enum Values<'a> {
    /// [`Kind::Text`].
    Text(&'a StringArray),
    /// [`Kind::Int`].
    Int(&'a PrimitiveArray<Int64Type>),
    /// [`Kind::Float`].
    Float(&'a PrimitiveArray<Float64Type>),
    /// [`Kind::Bool`].
    Bool(&'a BooleanArray),
    /// [`Kind::Timestamp`].
    Timestamp(&'a PrimitiveArray<TimestampMicrosecondType>),
    /// [`Kind::Json`].
    Json(&'a StringArray),
    /// [`Kind::TextList`], with the elements of all its lists.
    TextList(&'a ListArray, &'a StringArray),
    /// [`Kind::BoolList`], with the elements of all its lists.
    BoolList(&'a ListArray, &'a BooleanArray),
}

impl<'a> Values<'a> {
    /// The values of an array of this kind, as [`Kind::of`] told it from the field.
    pub fn of(kind: Kind, array: &'a dyn Array) -> Self {
        match kind {
            Kind::Text => Self::Text(array.as_string()),
            Kind::Int => Self::Int(array.as_primitive()),
            Kind::Float => Self::Float(array.as_primitive()),
            Kind::Bool => Self::Bool(array.as_boolean()),
            Kind::Timestamp => Self::Timestamp(array.as_primitive()),
            Kind::Json => Self::Json(array.as_string()),
            Kind::TextList => Self::TextList(array.as_list(), array.as_list::<i32>().values().as_string()),
            Kind::BoolList => Self::BoolList(array.as_list(), array.as_list::<i32>().values().as_boolean()),
        }
    }

    /// The cell of a row; `None` is NULL.
    pub fn cell(&self, row: usize) -> Option<Cell<'a>> {
        match *self {
            Self::Text(array) => array.is_valid(row).then(|| Cell::Text(array.value(row))),
            Self::Int(array) => array.is_valid(row).then(|| Cell::Int(array.value(row))),
            Self::Float(array) => array.is_valid(row).then(|| Cell::Float(array.value(row))),
            Self::Bool(array) => array.is_valid(row).then(|| Cell::Bool(array.value(row))),
            Self::Timestamp(array) => array.is_valid(row).then(|| Cell::Timestamp(array.value(row))),
            Self::Json(array) => array.is_valid(row).then(|| Cell::Json(array.value(row))),
            Self::TextList(lists, texts) => {
                list(lists, row, |at| texts.is_valid(at).then(|| Cell::Text(texts.value(at))))
            }
            Self::BoolList(lists, bools) => {
                list(lists, row, |at| bools.is_valid(at).then(|| Cell::Bool(bools.value(at))))
            }
        }
    }
}

fn list<'a>(lists: &ListArray, row: usize, element: impl Fn(usize) -> Option<Cell<'a>>) -> Option<Cell<'a>> {
    let offsets = lists.value_offsets();
    lists.is_valid(row).then(|| Cell::List((offsets[row] as usize..offsets[row + 1] as usize).map(element).collect()))
}
