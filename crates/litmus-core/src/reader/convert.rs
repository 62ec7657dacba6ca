//! From any Arrow type a file may hold to the canonical kinds, without losing a value: what a kind cannot hold exactly makes
//! the whole column text.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array, ListArray, StringArray, new_null_array};
use arrow::buffer::NullBuffer;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Float64Type, Int64Type, TimeUnit, TimestampMicrosecondType, UInt64Type};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use jiff::Timestamp;

use super::json::JsonColumn;
use crate::tables::Kind;

/// Integers up to here are exact as Float64.
const FLOAT_EXACT_MAX: i64 = 1 << 53;

/// What the reader makes of an Arrow type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// The type of a column without values.
    Null,
    Bool,
    Int,
    /// `UInt64`: may exceed Int64.
    Unsigned,
    Float,
    /// Any timestamp or date; may be finer than a microsecond, or out of its range.
    Time,
    Text,
    Binary,
    /// Decimals, durations, times of day, intervals: kept as text.
    Opaque,
    TextList,
    BoolList,
    /// Other lists, structs, maps: kept as JSON.
    Nested,
}

impl Shape {
    pub(super) fn of(data_type: &DataType) -> Self {
        match data_type {
            DataType::Null => Self::Null,
            DataType::Boolean => Self::Bool,
            DataType::UInt64 => Self::Unsigned,
            data_type if data_type.is_integer() => Self::Int,
            data_type if data_type.is_floating() => Self::Float,
            DataType::Timestamp(..) | DataType::Date32 | DataType::Date64 => Self::Time,
            DataType::Utf8 => Self::Text,
            DataType::Binary | DataType::FixedSizeBinary(_) => Self::Binary,
            DataType::List(element) if *element.data_type() == DataType::Utf8 => Self::TextList,
            DataType::List(element) if *element.data_type() == DataType::Boolean => Self::BoolList,
            data_type if data_type.is_nested() => Self::Nested,
            _ => Self::Opaque,
        }
    }

    /// The kind of a column; `inexact`: values were found that the natural kind cannot hold. Numbers of inputs, outputs and
    /// custom values (`dynamic`) are Float64 in every file, so that a column has one type from run to run.
    pub(super) fn kind(self, dynamic: bool, inexact: bool) -> Kind {
        match self {
            Self::Unsigned | Self::Time if inexact => Kind::Text,
            Self::Int if dynamic && inexact => Kind::Text,
            Self::Int | Self::Unsigned if dynamic => Kind::Float,
            Self::Int | Self::Unsigned => Kind::Int,
            Self::Float => Kind::Float,
            Self::Bool => Kind::Bool,
            Self::Time => Kind::Timestamp,
            Self::TextList => Kind::TextList,
            Self::BoolList => Kind::BoolList,
            Self::Nested => Kind::Json,
            Self::Null | Self::Text | Self::Binary | Self::Opaque => Kind::Text,
        }
    }

    /// Whether the kind depends on the values: the first pass has to look at them.
    pub(super) fn depends(self, data_type: &DataType, dynamic: bool) -> bool {
        match self {
            Self::Unsigned => true,
            Self::Int => dynamic,
            Self::Time => !matches!(data_type, DataType::Timestamp(TimeUnit::Microsecond, _)),
            _ => false,
        }
    }

    /// Whether there is a value that the natural kind cannot hold exactly.
    pub(super) fn is_inexact(self, array: &ArrayRef, dynamic: bool) -> bool {
        let beyond = |value: i64| dynamic && value.unsigned_abs() > FLOAT_EXACT_MAX as u64;
        match self {
            Self::Int => cast(array, &DataType::Int64)
                .is_ok_and(|array| array.as_primitive::<Int64Type>().iter().flatten().any(beyond)),
            Self::Unsigned => array
                .as_primitive::<UInt64Type>()
                .iter()
                .flatten()
                .any(|value| i64::try_from(value).map_or(true, beyond)),
            Self::Time => exact_micros(array).null_count() > array.null_count(),
            _ => false,
        }
    }
}

/// Whether arrays of a type are columns of this kind as they are; false for lists, whose elements have to be looked at.
fn is_stored_as(kind: Kind, data_type: &DataType) -> bool {
    match (kind, data_type) {
        (Kind::Text | Kind::Json, DataType::Utf8)
        | (Kind::Int, DataType::Int64)
        | (Kind::Float, DataType::Float64)
        | (Kind::Bool, DataType::Boolean) => true,
        (Kind::Timestamp, DataType::Timestamp(TimeUnit::Microsecond, Some(zone))) => &**zone == "UTC",
        _ => false,
    }
}

/// An array of a shape as a column of this kind: the shape's natural kind, or text.
pub(super) fn convert(array: &ArrayRef, shape: Shape, kind: Kind) -> ArrayRef {
    if is_stored_as(kind, array.data_type()) {
        return Arc::clone(array);
    }
    let target = kind.data_type();
    match (shape, kind) {
        (Shape::Time, Kind::Timestamp) => Arc::new(exact_micros(array).with_timezone("UTC")),
        (Shape::Time, Kind::Text) => {
            let (ticks, unit) = (ticks(array), unit(array.data_type()));
            texts(array, |at| Some(time_text(ticks.value(at), unit)))
        }
        (_, Kind::Json) => JsonColumn::new(array).texts(),
        (Shape::TextList | Shape::BoolList, Kind::TextList | Kind::BoolList) => {
            let lists = array.as_list::<i32>();
            list(lists, Arc::clone(lists.values()))
        }
        (Shape::Binary, _) => texts(array, |at| Some(hex(array, at))),
        (_, Kind::Text) if shape != Shape::Text => text_of(array),
        _ => cast(array, &target).unwrap_or_else(|_| new_null_array(&target, array.len())),
    }
}

/// A list column with the offsets of `lists` over `values`; an empty list counts as NULL, as files of one release write
/// the one where another writes the other.
pub(super) fn list(lists: &ListArray, values: ArrayRef) -> ArrayRef {
    let filled: Vec<bool> = (0..lists.len()).map(|row| lists.is_valid(row) && lists.value_length(row) > 0).collect();
    let field = Arc::new(Field::new_list_field(values.data_type().clone(), true));
    Arc::new(ListArray::new(field, lists.offsets().clone(), values, Some(NullBuffer::from(filled))))
}

/// Text of each value that is there.
pub(super) fn texts(array: &dyn Array, text: impl Fn(usize) -> Option<String>) -> ArrayRef {
    let text = |at| if array.is_valid(at) { text(at) } else { None };
    Arc::new((0..array.len()).map(text).collect::<StringArray>())
}

/// Any array as Arrow itself prints it.
pub(super) fn text_of(array: &ArrayRef) -> ArrayRef {
    let options = FormatOptions::default();
    match ArrayFormatter::try_new(array, &options) {
        Ok(formatter) => texts(array, |at| Some(formatter.value(at).to_string())),
        Err(_) => new_null_array(&DataType::Utf8, array.len()),
    }
}

fn hex(array: &ArrayRef, at: usize) -> String {
    use std::fmt::Write;
    let bytes = match array.data_type() {
        DataType::Binary => array.as_binary::<i32>().value(at),
        _ => array.as_fixed_size_binary().value(at),
    };
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// A unit of time as a fraction of microseconds: multiply, then divide.
fn unit(data_type: &DataType) -> (i64, i64) {
    match data_type {
        DataType::Timestamp(TimeUnit::Second, _) => (1_000_000, 1),
        DataType::Timestamp(TimeUnit::Millisecond, _) | DataType::Date64 => (1_000, 1),
        DataType::Timestamp(TimeUnit::Nanosecond, _) => (1, 1_000),
        DataType::Date32 => (86_400_000_000, 1),
        _ => (1, 1),
    }
}

fn ticks(array: &ArrayRef) -> Int64Array {
    let wide = match array.data_type() {
        DataType::Date32 => cast(array, &DataType::Int32).and_then(|days| cast(&days, &DataType::Int64)),
        _ => cast(array, &DataType::Int64),
    };
    wide.map_or_else(|_| Int64Array::new_null(array.len()), |array| array.as_primitive::<Int64Type>().clone())
}

/// Microseconds since the epoch; NULL where that is not exact. A time without a zone is UTC.
fn exact_micros(array: &ArrayRef) -> arrow::array::PrimitiveArray<TimestampMicrosecondType> {
    let (multiply, divide) = unit(array.data_type());
    ticks(array).unary_opt(|ticks| (ticks % divide == 0).then(|| (ticks / divide).checked_mul(multiply)).flatten())
}

/// RFC 3339, UTC; outside of the years it can name, the number of units.
fn time_text(ticks: i64, (multiply, divide): (i64, i64)) -> String {
    let nanos = i128::from(ticks) * i128::from(multiply) * 1_000 / i128::from(divide);
    Timestamp::from_nanosecond(nanos).map_or_else(|_| ticks.to_string(), |time| time.to_string())
}

/// RFC 3339, UTC, of microseconds since the epoch.
pub(super) fn micros_text(micros: i64) -> String {
    Timestamp::from_microsecond(micros).map_or_else(|_| micros.to_string(), |time| time.to_string())
}

/// The only value of a one-row column as JSON; `None` where it is NULL. Non-finite numbers are strings.
pub(super) fn scalar_json(array: &ArrayRef, kind: Kind) -> Option<serde_json::Value> {
    if array.is_empty() || array.is_null(0) {
        return None;
    }
    Some(match kind {
        Kind::Text | Kind::Json => array.as_string::<i32>().value(0).into(),
        Kind::Int => array.as_primitive::<Int64Type>().value(0).into(),
        Kind::Float => super::json::float_value(array.as_primitive::<Float64Type>().value(0)),
        Kind::Bool => array.as_any().downcast_ref::<BooleanArray>()?.value(0).into(),
        Kind::Timestamp => micros_text(array.as_primitive::<TimestampMicrosecondType>().value(0)).into(),
        Kind::TextList | Kind::BoolList => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_of_a_kind_is_taken_as_it_is() {
        use Kind::{Bool, BoolList, Float, Int, Json, Text, TextList, Timestamp};
        for kind in [Text, Int, Float, Bool, Timestamp, Json, TextList, BoolList] {
            assert_eq!(is_stored_as(kind, &kind.data_type()), !matches!(kind, TextList | BoolList));
        }
    }
}
