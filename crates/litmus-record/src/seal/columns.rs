//! Arrow columns out of what was recorded: one for each name, all of one length.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Float64Array, Int32Array, Int64Array, ListArray, StringArray, StructArray,
    TimestampMicrosecondArray, new_null_array,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, Fields};
use jiff::Timestamp;

use crate::Value;

/// pyarrow calls it so.
const ELEMENT: &str = "element";
const UTC: &str = "UTC";
/// Beyond this, not every integer is a double.
const EXACT_INT_MAX: u64 = 1 << 53;

/// Columns in their order.
pub(super) struct Columns {
    rows: usize,
    pub(super) named: Vec<(String, ArrayRef)>,
    /// Names that could not be a column's, by the column that stands for each.
    pub(super) renamed: Vec<(String, String)>,
    /// Names of columns made of free names, in lower case.
    taken: HashSet<String>,
}

impl Columns {
    pub(super) fn new(rows: usize) -> Self {
        Self { rows, named: Vec::with_capacity(128), renamed: Vec::new(), taken: HashSet::new() }
    }

    /// A column for a name of the test's own. The index of litmus-test 0.1 writes such names into its SQL as they are: one that
    /// is no identifier would take every run that is indexed with it out of `get_measurements`. Names that differ in case
    /// only are one to it, too.
    pub(super) fn push_free(&mut self, prefix: &str, name: &str, column: ArrayRef) {
        let plain: String = name.chars().map(|letter| if is_plain(letter) { letter } else { '_' }).collect();
        let numbered = (2..).map(|number| format!("{prefix}{plain}_{number}"));
        let mut candidates = std::iter::once(format!("{prefix}{plain}")).chain(numbered);
        let free = candidates.find(|candidate| self.taken.insert(candidate.to_lowercase())).expect("numbers go on");
        if free.strip_prefix(prefix) != Some(name) {
            self.renamed.push((free.clone(), name.to_owned()));
        }
        self.push(&free, column);
    }

    pub(super) fn push(&mut self, name: &str, column: ArrayRef) {
        debug_assert_eq!(column.len(), self.rows, "{name}");
        self.named.push((name.to_owned(), column));
    }

    /// The same text on every row.
    pub(super) fn same(&mut self, name: &str, text: Option<&str>) {
        let column: ArrayRef = match text {
            Some(text) => Arc::new(StringArray::from_iter_values(std::iter::repeat_n(text, self.rows))),
            None => new_null_array(&DataType::Utf8, self.rows),
        };
        self.push(name, column);
    }

    pub(super) fn same_int(&mut self, name: &str, value: Option<i64>) {
        self.push(name, ints(std::iter::repeat_n(value, self.rows)));
    }

    pub(super) fn same_time(&mut self, name: &str, value: Option<Timestamp>) {
        self.push(name, times(std::iter::repeat_n(value, self.rows)));
    }
}

/// What an unquoted name of DuckDB may hold. Beyond ASCII that is everything but blanks, of which it knows more than Unicode does.
fn is_plain(letter: char) -> bool {
    match letter {
        '\u{2000}'..='\u{200f}' | '\u{2028}'..='\u{202f}' | '\u{205f}'..='\u{206f}' | '\u{feff}' => false,
        letter if letter.is_ascii() => letter.is_ascii_alphanumeric() || letter == '_',
        letter => !letter.is_whitespace(),
    }
}

pub(super) fn texts<'a>(values: impl Iterator<Item = Option<&'a str>>) -> ArrayRef {
    Arc::new(values.collect::<StringArray>())
}

pub(super) fn floats(values: impl Iterator<Item = Option<f64>>) -> ArrayRef {
    Arc::new(values.collect::<Float64Array>())
}

pub(super) fn ints(values: impl Iterator<Item = Option<i64>>) -> ArrayRef {
    Arc::new(values.collect::<Int64Array>())
}

pub(super) fn small_ints(values: impl Iterator<Item = Option<i32>>) -> ArrayRef {
    Arc::new(values.collect::<Int32Array>())
}

pub(super) fn bools(values: impl Iterator<Item = Option<bool>>) -> ArrayRef {
    Arc::new(values.collect::<BooleanArray>())
}

pub(super) fn times(values: impl Iterator<Item = Option<Timestamp>>) -> ArrayRef {
    let micros = values.map(|value| value.map(Timestamp::as_microsecond));
    Arc::new(micros.collect::<TimestampMicrosecondArray>().with_timezone(UTC))
}

/// Lists, one a row, of the elements that follow one another in `elements`.
pub(super) fn lists(lengths: impl IntoIterator<Item = usize>, elements: ArrayRef) -> ArrayRef {
    let field = Arc::new(Field::new(ELEMENT, elements.data_type().clone(), true));
    Arc::new(ListArray::new(field, OffsetBuffer::from_lengths(lengths), elements, None))
}

/// Structs of these members.
pub(super) fn structs(members: Vec<(&str, ArrayRef)>) -> ArrayRef {
    let field = |(name, column): &(&str, ArrayRef)| Field::new(*name, column.data_type().clone(), true);
    let fields: Fields = members.iter().map(field).collect();
    Arc::new(StructArray::new(fields, members.into_iter().map(|(_, column)| column).collect(), None))
}

/// A column of values of any kind. Numbers are doubles, as the platform writes them; if one would not be exact, or kinds are
/// mixed, the column is text that holds the JSON of each value, which is how docs/tables.md has it.
pub(super) fn values(values: &[Option<&Value>]) -> ArrayRef {
    let given = || values.iter().copied().flatten().filter(|value| !matches!(value, Value::Null));
    let all = |is: fn(&Value) -> bool| given().all(is);
    if all(|value| matches!(value, Value::Text(_))) {
        return texts(values.iter().map(|value| match value {
            Some(Value::Text(text)) => Some(text.as_str()),
            _ => None,
        }));
    }
    if all(|value| matches!(value, Value::Bool(_))) {
        return bools(values.iter().map(|value| match value {
            Some(Value::Bool(value)) => Some(*value),
            _ => None,
        }));
    }
    if all(|value| matches!(value, Value::Time(_))) {
        return times(values.iter().map(|value| match value {
            Some(Value::Time(time)) => Some(*time),
            _ => None,
        }));
    }
    let exact = |value: &Value| match value {
        Value::Int(int) => int.unsigned_abs() <= EXACT_INT_MAX,
        value => matches!(value, Value::Float(_)),
    };
    if all(exact) {
        return floats(values.iter().map(|value| match value {
            Some(Value::Int(int)) => Some(*int as f64),
            Some(Value::Float(float)) => Some(*float),
            _ => None,
        }));
    }
    let json: Vec<Option<String>> = values
        .iter()
        .map(|value| value.filter(|value| !matches!(value, Value::Null)).map(|value| json(value).to_string()))
        .collect();
    texts(json.iter().map(Option::as_deref))
}

/// A value as JSON, objects with their keys sorted.
pub(super) fn json(value: &Value) -> serde_json::Value {
    match value {
        Value::Null => serde_json::Value::Null,
        Value::Bool(value) => (*value).into(),
        Value::Int(value) => (*value).into(),
        Value::Float(value) => match crate::value::number::text(*value) {
            Some(text) => text.into(),
            None => (*value).into(),
        },
        Value::Text(value) => value.as_str().into(),
        Value::Time(value) => value.to_string().into(),
        Value::Json(value) => sorted(value),
    }
}

fn sorted(value: &serde_json::Value) -> serde_json::Value {
    match value {
        serde_json::Value::Object(object) => {
            let mut entries: Vec<_> = object.iter().map(|(key, value)| (key.clone(), sorted(value))).collect();
            entries.sort_by(|(one, _), (other, _)| one.cmp(other));
            entries.into_iter().collect::<serde_json::Map<_, _>>().into()
        }
        serde_json::Value::Array(elements) => elements.iter().map(sorted).collect::<Vec<_>>().into(),
        scalar => scalar.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tried with DuckDB 1.5.5: each of the first kind makes a run's columns unreadable to litmus-test 0.1.3.
    #[test]
    fn a_name_has_no_blank_of_any_kind() {
        let blanks = "\u{a0}\u{2007}\u{2009}\u{200b}\u{202f}\u{205f}\u{2060}\u{3000}\u{feff} \t";
        assert!(!blanks.chars().any(is_plain));
        assert!(!"-.\"';$%".chars().any(is_plain));
        assert!("aZ09_°µéΩ温度🔥".chars().all(is_plain));
    }
}
