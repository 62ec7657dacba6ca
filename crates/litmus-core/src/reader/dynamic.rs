//! Inputs, outputs and custom values as columns: nested files hold them as lists of (name, type, value) and in the footer.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Float64Array, Int64Array, ListArray, StringArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{Float64Type, Int64Type, TimestampMicrosecondType};
use serde_json::Value;

use super::catalog::Direction;
use super::convert::micros_text;
use super::json::{canonical, float_value};
use crate::tables::Kind;

/// Names past this many stay in the raw lists only, where they always are.
pub(super) const COLUMNS_MAX: usize = 1_000;
/// Integers up to here are exact as Float64.
const FLOAT_EXACT_MAX: u64 = 1 << 53;

/// A column made of the values under one name.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct DynamicColumn {
    pub(super) direction: Direction,
    pub(super) name: String,
    pub(super) found: Found,
    /// On rows of which types.
    pub(super) present: [bool; 4],
    /// On rows that own measurements.
    pub(super) on_measurements: bool,
}

/// Which classes of values were found under one name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Found(u8);

impl Found {
    const NUMBER: u8 = 1;
    /// An integer beyond ±2^53.
    const BIG: u8 = 2;
    const BOOL: u8 = 4;
    const TEXT: u8 = 8;
    const TIME: u8 = 16;
    const JSON: u8 = 32;

    fn see(&mut self, value: &DynamicValue<'_>) {
        self.0 |= match value {
            DynamicValue::Int(value) if value.unsigned_abs() > FLOAT_EXACT_MAX => Self::BIG,
            DynamicValue::Int(_) | DynamicValue::Float(_) => Self::NUMBER,
            DynamicValue::Bool(_) => Self::BOOL,
            DynamicValue::Text(_) => Self::TEXT,
            DynamicValue::Time(_) => Self::TIME,
            DynamicValue::Json(_) => Self::JSON,
        };
    }

    /// Kinds that mix become text, holding the canonical JSON of each value.
    fn is_mixed(self) -> bool {
        let numbers = u32::from(self.0 & (Self::NUMBER | Self::BIG) != 0);
        numbers + (self.0 & !(Self::NUMBER | Self::BIG)).count_ones() > 1
    }

    pub(super) fn kind(self) -> Kind {
        match self.0 {
            Self::NUMBER => Kind::Float,
            Self::BOOL => Kind::Bool,
            Self::TIME => Kind::Timestamp,
            Self::JSON => Kind::Json,
            _ => Kind::Text,
        }
    }
}

enum DynamicValue<'a> {
    Int(i64),
    Float(f64),
    Bool(bool),
    Text(&'a str),
    Time(i64),
    Json(Value),
}

impl DynamicValue<'_> {
    fn json(&self) -> Value {
        match self {
            Self::Int(value) => (*value).into(),
            Self::Float(value) => float_value(*value),
            Self::Bool(value) => (*value).into(),
            Self::Text(value) => (*value).into(),
            Self::Time(micros) => micros_text(*micros).into(),
            Self::Json(value) => value.clone(),
        }
    }

    fn text(&self, found: Found) -> String {
        match self {
            _ if found.is_mixed() => canonical(&self.json()),
            Self::Text(value) => (*value).to_owned(),
            Self::Json(value) => canonical(value),
            // Only numbers beyond Float64 are left: an integer is itself, NaN is not quoted.
            value => match value.json() {
                Value::String(text) => text,
                value => value.to_string(),
            },
        }
    }
}

/// One raw list column of inputs or outputs, downcast once for a batch.
pub(super) struct ValueLists<'a> {
    lists: &'a ListArray,
    names: Option<&'a StringArray>,
    types: Option<&'a StringArray>,
    ints: Option<&'a Int64Array>,
    floats: Option<&'a Float64Array>,
    bools: Option<&'a BooleanArray>,
    texts: Option<&'a StringArray>,
    times: Option<&'a TimestampMicrosecondArray>,
    jsons: Option<&'a StringArray>,
}

impl<'a> ValueLists<'a> {
    pub(super) fn new(column: &'a ArrayRef) -> Self {
        let lists = column.as_list::<i32>();
        let members = lists.values().as_struct();
        let member = |name: &str| members.column_by_name(name);
        Self {
            lists,
            names: member("name").and_then(|array| array.as_string_opt()),
            types: member("value_type").and_then(|array| array.as_string_opt()),
            ints: member("value_int").and_then(|array| array.as_primitive_opt::<Int64Type>()),
            floats: member("value_double").and_then(|array| array.as_primitive_opt::<Float64Type>()),
            bools: member("value_bool").and_then(|array| array.as_boolean_opt()),
            texts: member("value_text").and_then(|array| array.as_string_opt()),
            times: member("value_timestamp").and_then(|array| array.as_primitive_opt::<TimestampMicrosecondType>()),
            jsons: member("value_json").and_then(|array| array.as_string_opt()),
        }
    }

    /// Positions of a row's entries.
    pub(super) fn entries(&self, row: usize) -> std::ops::Range<usize> {
        let offsets = self.lists.value_offsets();
        if self.lists.is_valid(row) { offsets[row] as usize..offsets[row + 1] as usize } else { 0..0 }
    }

    fn name(&self, entry: usize) -> Option<&'a str> {
        self.names.filter(|names| names.is_valid(entry)).map(|names| names.value(entry))
    }

    /// The text of an entry, for references to files.
    pub(super) fn text(&self, entry: usize) -> Option<&'a str> {
        self.texts.filter(|texts| texts.is_valid(entry)).map(|texts| texts.value(entry))
    }

    /// The value that `value_type` selects; where that is NULL, the first there is.
    fn value(&self, entry: usize) -> Option<DynamicValue<'a>> {
        let int = || Some(DynamicValue::Int(self.ints.filter(|array| array.is_valid(entry))?.value(entry)));
        let float = || Some(DynamicValue::Float(self.floats.filter(|array| array.is_valid(entry))?.value(entry)));
        let bool = || Some(DynamicValue::Bool(self.bools.filter(|array| array.is_valid(entry))?.value(entry)));
        let text = || self.text(entry).map(DynamicValue::Text);
        let time = || Some(DynamicValue::Time(self.times.filter(|array| array.is_valid(entry))?.value(entry)));
        let json = || {
            let text = self.jsons.filter(|array| array.is_valid(entry))?.value(entry);
            // Python writes NaN into JSON, which is none then.
            Some(serde_json::from_str(text).map_or(DynamicValue::Text(text), DynamicValue::Json))
        };
        let selected = match self.types.filter(|types| types.is_valid(entry)).map_or("", |types| types.value(entry)) {
            "scalar:int" => int(),
            "scalar:float" => float(),
            "scalar:bool" => bool(),
            "scalar:datetime" => time(),
            "list" | "dict" => json(),
            _ => text(),
        };
        selected.or_else(int).or_else(float).or_else(bool).or_else(text).or_else(time).or_else(json)
    }
}

/// The first pass over lists of inputs and outputs.
#[derive(Default)]
pub(super) struct DynamicSurvey {
    /// By direction, then name.
    columns: [BTreeMap<String, DynamicColumn>; 2],
}

impl DynamicSurvey {
    pub(super) fn see(&mut self, direction: Direction, lists: &ValueLists<'_>, row: usize, code: u8, measures: bool) {
        for entry in lists.entries(row) {
            let (Some(name), Some(value)) = (lists.name(entry), lists.value(entry)) else { continue };
            let columns = &mut self.columns[direction as usize];
            if !columns.contains_key(name) {
                if columns.len() >= COLUMNS_MAX {
                    continue;
                }
                columns.insert(name.to_owned(), DynamicColumn::new(direction, name));
            }
            if let Some(column) = columns.get_mut(name) {
                column.found.see(&value);
                column.present[code as usize] = true;
                column.on_measurements |= measures;
            }
        }
    }

    /// Sorted by direction and name.
    pub(super) fn finish(self) -> Vec<DynamicColumn> {
        self.columns.into_iter().flat_map(BTreeMap::into_values).collect()
    }
}

impl DynamicColumn {
    fn new(direction: Direction, name: &str) -> Self {
        let (found, present) = (Found::default(), [false; 4]);
        Self { direction, name: name.to_owned(), found, present, on_measurements: false }
    }
}

/// The columns of a table that are made of inputs and outputs.
pub(super) struct Expansion {
    columns: Vec<DynamicColumn>,
    /// By direction, then name.
    slots: [HashMap<String, usize>; 2],
}

impl Expansion {
    pub(super) fn new(columns: Vec<DynamicColumn>) -> Self {
        let mut slots = [HashMap::new(), HashMap::new()];
        for (slot, column) in columns.iter().enumerate() {
            slots[column.direction as usize].insert(column.name.clone(), slot);
        }
        Self { columns, slots }
    }

    /// One array a column, as long as the batch; the last of several values of one name in a row wins.
    pub(super) fn arrays(&self, rows: usize, lists: &[(Direction, ValueLists<'_>)]) -> Vec<ArrayRef> {
        const NONE: u32 = u32::MAX;
        let mut chosen = vec![NONE; rows * self.columns.len()];
        for (direction, lists) in lists {
            let slots = &self.slots[*direction as usize];
            for row in 0..rows {
                for entry in lists.entries(row) {
                    if let Some(slot) = lists.name(entry).and_then(|name| slots.get(name)) {
                        chosen[slot * rows + row] = entry as u32;
                    }
                }
            }
        }
        let array = |(slot, column): (usize, &DynamicColumn)| {
            let lists = lists.iter().find(|(direction, _)| *direction == column.direction).map(|(_, lists)| lists);
            let value = |entry: &u32| lists.filter(|_| *entry != NONE).and_then(|lists| lists.value(*entry as usize));
            column.found.array(chosen[slot * rows..(slot + 1) * rows].iter().map(value))
        };
        self.columns.iter().enumerate().map(array).collect()
    }
}

impl Found {
    fn array<'a>(self, values: impl Iterator<Item = Option<DynamicValue<'a>>>) -> ArrayRef {
        match self.kind() {
            Kind::Float => Arc::new(
                values
                    .map(|value| match value? {
                        DynamicValue::Float(value) => Some(value),
                        DynamicValue::Int(value) => Some(value as f64),
                        _ => None,
                    })
                    .collect::<Float64Array>(),
            ),
            Kind::Bool => Arc::new(
                values
                    .map(|value| if let DynamicValue::Bool(value) = value? { Some(value) } else { None })
                    .collect::<BooleanArray>(),
            ),
            Kind::Timestamp => {
                let micros =
                    values.map(|value| if let DynamicValue::Time(value) = value? { Some(value) } else { None });
                Arc::new(micros.collect::<TimestampMicrosecondArray>().with_timezone("UTC"))
            }
            _ => Arc::new(values.map(|value| Some(value?.text(self))).collect::<StringArray>()),
        }
    }
}

/// The custom values of a nested file's footer, as one-row columns.
pub(super) fn custom_columns(footer: Option<&Value>) -> Vec<(String, Kind, ArrayRef)> {
    let Some(Value::Object(members)) = footer else { return Vec::new() };
    let column = |(name, value): (&String, &Value)| {
        let value = match value {
            Value::Null => return None,
            Value::Bool(value) => DynamicValue::Bool(*value),
            Value::Number(number) => match number.as_i64() {
                Some(value) => DynamicValue::Int(value),
                None => DynamicValue::Float(number.as_f64()?),
            },
            Value::String(value) => DynamicValue::Text(value),
            value => DynamicValue::Json(value.clone()),
        };
        let mut found = Found::default();
        found.see(&value);
        Some((format!("custom_{name}"), found.kind(), found.array(std::iter::once(Some(value)))))
    };
    members.iter().filter_map(column).take(COLUMNS_MAX).collect()
}
