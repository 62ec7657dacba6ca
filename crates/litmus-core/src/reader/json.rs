//! Arrow values as JSON text: raw lists of inputs and outputs, and nested columns the reader does not know.
//!
//! Members that are NULL are left out. Non-finite numbers are the strings "NaN", "Infinity", "-Infinity", since JSON has none.

use std::fmt;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array, PrimitiveArray, StringArray, StringBuilder};
use arrow::datatypes::{DataType, Float64Type, TimeUnit, TimestampMicrosecondType};
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use super::convert::{Shape, convert, micros_text, text_of};
use crate::tables::Kind;

/// A column downcast once, ready to be written row by row.
pub(super) struct JsonColumn {
    array: ArrayRef,
    values: Values,
}

enum Values {
    Text(StringArray),
    Int(Int64Array),
    Float(PrimitiveArray<Float64Type>),
    Bool(BooleanArray),
    Time(PrimitiveArray<TimestampMicrosecondType>),
    /// Offsets, elements.
    List(Vec<usize>, Box<JsonColumn>),
    /// Each member with its name as `"name":`.
    Struct(Vec<(String, JsonColumn)>),
}

impl JsonColumn {
    pub(super) fn new(array: &ArrayRef) -> Self {
        Self { array: array.clone(), values: Values::of(array) }
    }

    /// The whole column as JSON texts; NULL and empty lists are NULL.
    pub(super) fn texts(&self) -> ArrayRef {
        let mut builder = StringBuilder::with_capacity(self.array.len(), 0);
        let mut text = String::new();
        for row in 0..self.array.len() {
            if self.is_empty(row) {
                builder.append_null();
            } else {
                text.clear();
                self.write(row, &mut text);
                builder.append_value(&text);
            }
        }
        std::sync::Arc::new(builder.finish())
    }

    fn is_empty(&self, row: usize) -> bool {
        match &self.values {
            _ if self.array.is_null(row) => true,
            Values::List(offsets, _) => offsets[row] == offsets[row + 1],
            _ => false,
        }
    }

    fn write(&self, row: usize, out: &mut String) {
        if self.array.is_null(row) {
            return out.push_str("null");
        }
        match &self.values {
            Values::Text(values) => write_text(values.value(row), out),
            Values::Int(values) => out.push_str(&values.value(row).to_string()),
            Values::Float(values) => out.push_str(&float_value(values.value(row)).to_string()),
            Values::Bool(values) => out.push_str(if values.value(row) { "true" } else { "false" }),
            Values::Time(values) => write_text(&micros_text(values.value(row)), out),
            Values::List(offsets, elements) => {
                out.push('[');
                for (nth, at) in (offsets[row]..offsets[row + 1]).enumerate() {
                    if nth > 0 {
                        out.push(',');
                    }
                    elements.write(at, out);
                }
                out.push(']');
            }
            Values::Struct(members) => {
                out.push('{');
                let start = out.len();
                for (name, member) in members.iter().filter(|(_, member)| member.array.is_valid(row)) {
                    if out.len() > start {
                        out.push(',');
                    }
                    out.push_str(name);
                    member.write(row, out);
                }
                out.push('}');
            }
        }
    }
}

impl Values {
    fn of(array: &ArrayRef) -> Self {
        let lists = |offsets: &[i32]| offsets.iter().map(|offset| *offset as usize).collect();
        let is_micros = matches!(array.data_type(), DataType::Timestamp(TimeUnit::Microsecond, _));
        match array.data_type() {
            DataType::List(_) => {
                let array = array.as_list::<i32>();
                Self::List(lists(array.value_offsets()), Box::new(JsonColumn::new(array.values())))
            }
            DataType::Map(..) => {
                let array = array.as_map();
                let entries: ArrayRef = std::sync::Arc::new(array.entries().clone());
                Self::List(lists(array.value_offsets()), Box::new(JsonColumn::new(&entries)))
            }
            DataType::Struct(fields) => {
                let members = array.as_struct().columns();
                let member = |(field, column): (&std::sync::Arc<arrow::datatypes::Field>, &ArrayRef)| {
                    (format!("{}:", Value::from(field.name().as_str())), JsonColumn::new(column))
                };
                Self::Struct(fields.iter().zip(members).map(member).collect())
            }
            DataType::Null => Self::Text(StringArray::new_null(array.len())),
            data_type => {
                let shape = Shape::of(data_type);
                if shape == Shape::Nested {
                    return Self::Text(text_of(array).as_string().clone());
                }
                let inexact = !is_micros && shape.is_inexact(array, false);
                let kind = shape.kind(false, inexact);
                let array = convert(array, shape, kind);
                match kind {
                    Kind::Int => Self::Int(array.as_primitive().clone()),
                    Kind::Float => Self::Float(array.as_primitive().clone()),
                    Kind::Bool => Self::Bool(array.as_boolean().clone()),
                    Kind::Timestamp => Self::Time(array.as_primitive().clone()),
                    _ => Self::Text(array.as_string().clone()),
                }
            }
        }
    }
}

/// Whether a text is JSON that can be read into a [`Value`]; no value is made of it.
pub(super) fn is_json(text: &str) -> bool {
    let mut parser = serde_json::Deserializer::from_str(text);
    Parsed::deserialize(&mut parser).and_then(|Parsed| parser.end()).is_ok()
}

/// Any JSON, thrown away. `serde::de::IgnoredAny` lets pass what a [`Value`] cannot hold, such as 1e999 and half a surrogate.
struct Parsed;

impl<'de> Deserialize<'de> for Parsed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Self)
    }
}

impl<'de> Visitor<'de> for Parsed {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Self, A::Error> {
        while elements.next_element::<Self>()?.is_some() {}
        Ok(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self, A::Error> {
        while members.next_entry::<Self, Self>()?.is_some() {}
        Ok(self)
    }
}

fn write_text(text: &str, out: &mut String) {
    out.push_str(&Value::from(text).to_string());
}

/// A float as JSON; non-finite ones are strings.
pub(super) fn float_value(value: f64) -> Value {
    match serde_json::Number::from_f64(value) {
        Some(number) => Value::Number(number),
        None if value.is_nan() => "NaN".into(),
        None if value > 0.0 => "Infinity".into(),
        None => "-Infinity".into(),
    }
}

/// JSON with its keys sorted and without blanks, so that equal values are equal texts.
pub(super) fn canonical(value: &Value) -> String {
    let mut value = value.clone();
    value.sort_all_objects();
    value.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_json_means_that_a_value_can_hold_it() {
        let nested = |depth: usize| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
        let texts = [
            "{}",
            "[1, 2.5, -3, true, null, \"\\u00e9\"]",
            "{\"a\": {\"b\": []}, \"a\": 1}",
            "",
            "{} {}",
            "NaN",
            "1e999",
        ];
        let odd = ["\"\\ud800\"", "[1,]", "{1: 2}", "18446744073709551615", "99999999999999999999999999"];
        for text in texts.into_iter().chain(odd).map(str::to_owned).chain([nested(127), nested(128)]) {
            assert_eq!(is_json(&text), serde_json::from_str::<Value>(&text).is_ok(), "{text}");
        }
    }
}
