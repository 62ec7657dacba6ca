//! Columns of a batch by name and kind, and the names that values have in structured data.

use std::collections::HashSet;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Float64Array, Int64Array, ListArray, StringArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{Float64Type, Int64Type, TimestampMicrosecondType};
use arrow::record_batch::RecordBatch;
use litmus_core::tables::Kind;
use litmus_core::{SinkError, Table, Vocabulary};
use serde_json::Value;

use crate::config::Settings;
use crate::message::{Composer, param};
use crate::text::{escaped, sd_name_beside, timestamp};

/// A column that may be absent, or hold nothing in a row.
pub(crate) struct Cells<'a, A>(Option<&'a A>);

macro_rules! cells {
    ($function:ident, $array:ty, $value:ty, $kind:literal, $downcast:expr) => {
        #[doc = concat!("The column of this name, which holds ", $kind, "; absent is empty, another type an error.")]
        pub(crate) fn $function<'a>(batch: &'a RecordBatch, name: &str) -> Result<Cells<'a, $array>, SinkError> {
            let Some(column) = batch.column_by_name(name) else { return Ok(Cells(None)) };
            let downcast: fn(&'a dyn Array) -> Option<&'a $array> = $downcast;
            match downcast(column.as_ref()) {
                Some(array) => Ok(Cells(Some(array))),
                None => Err(SinkError::data(format!(
                    "column \"{name}\" is {} where {} was expected",
                    column.data_type(),
                    $kind
                ))),
            }
        }

        impl<'a> Cells<'a, $array> {
            /// What stands in a row.
            #[inline]
            pub(crate) fn at(&self, row: usize) -> Option<$value> {
                self.0.filter(|array| array.is_valid(row)).map(|array| array.value(row))
            }
        }
    };
}

cells!(texts, StringArray, &'a str, "text", |column| column.as_string_opt::<i32>());
cells!(floats, Float64Array, f64, "Float64", |column| column.as_primitive_opt::<Float64Type>());
cells!(integers, Int64Array, i64, "Int64", |column| column.as_primitive_opt::<Int64Type>());
cells!(times, TimestampMicrosecondArray, i64, "a timestamp in microseconds", |column| {
    column.as_primitive_opt::<TimestampMicrosecondType>()
});

/// What stands before each value, in the vocabulary that the user chose.
pub(crate) struct Named {
    pub(crate) measurement_name: Vec<u8>,
    pub(crate) measurement_value: Vec<u8>,
    pub(crate) measurement_units: Vec<u8>,
    pub(crate) measurement_outcome: Vec<u8>,
    pub(crate) limit_low: Vec<u8>,
    pub(crate) limit_high: Vec<u8>,
    pub(crate) limit_nominal: Vec<u8>,
    pub(crate) step_path: Vec<u8>,
    pub(crate) step_outcome: Vec<u8>,
    pub(crate) step_retry: Vec<u8>,
    pub(crate) vector_index: Vec<u8>,
}

impl Named {
    pub(crate) fn new(vocabulary: Vocabulary) -> Self {
        let spelled = |name: &str| param(&vocabulary.spell(name));
        Self {
            measurement_name: spelled("measurement_name"),
            measurement_value: spelled("measurement_value"),
            measurement_units: spelled("measurement_units"),
            measurement_outcome: spelled("measurement_outcome"),
            limit_low: spelled("limit_low"),
            limit_high: spelled("limit_high"),
            limit_nominal: spelled("limit_nominal"),
            step_path: spelled("step_path"),
            step_outcome: spelled("step_outcome"),
            step_retry: spelled("step_retry"),
            vector_index: spelled("vector_index"),
        }
    }
}

/// Columns that are in the messages anyway, or would only repeat what is.
const ALWAYS: &[&str] = &[
    "run_id",
    "row_index",
    "measurement_index",
    "measurement_name",
    "measurement_value",
    "measurement_units",
    "measurement_outcome",
    "limit_low",
    "limit_high",
    "limit_nominal",
    "step_path",
    "vector_index",
];
const ALWAYS_OF_STEPS: &[&str] = &["run_id", "row_index", "step_path", "step_outcome", "vector_index", "step_retry"];
/// What every message has besides, or may have.
const OF_MESSAGES: &[&str] = &["msg_id", "run_id", "dut_serial", "station_id", "truncated"];

/// The names that values of a message have in structured data, as columns are added to them.
pub(crate) struct Names<'a> {
    settings: &'a Settings,
    taken: HashSet<String>,
}

impl<'a> Names<'a> {
    /// After those of every message, and these.
    pub(crate) fn after(settings: &'a Settings, names: &[&str]) -> Self {
        let names = OF_MESSAGES.iter().chain(names);
        Self { settings, taken: names.map(|name| settings.vocabulary.spell(name).into_owned()).collect() }
    }

    /// The next one: of this column, and of no other.
    pub(crate) fn next(&mut self, column: &str) -> String {
        let name = sd_name_beside(&self.settings.vocabulary.spell(column), |name| self.taken.contains(name));
        self.taken.insert(name.clone());
        name
    }
}

/// Whether one of the patterns that the user set names this column.
pub(crate) fn is_wanted(patterns: &[String], name: &str) -> bool {
    patterns.iter().any(|pattern| match pattern.strip_suffix('*') {
        Some(beginning) => name.starts_with(beginning),
        None => name == pattern,
    })
}

/// The columns of a batch that the user asked for besides those that are always sent.
pub(crate) struct Extra<'a>(Vec<(Vec<u8>, ExtraColumn<'a>)>);

enum ExtraColumn<'a> {
    Text(&'a StringArray),
    Int(&'a Int64Array),
    Float(&'a Float64Array),
    Bool(&'a BooleanArray),
    Time(&'a TimestampMicrosecondArray),
    List(&'a ListArray),
}

impl<'a> Extra<'a> {
    pub(crate) fn of(batch: &'a RecordBatch, settings: &Settings, table: Table) -> Result<Self, SinkError> {
        let always = if table == Table::Steps { ALWAYS_OF_STEPS } else { ALWAYS };
        let schema = batch.schema_ref();
        let (mut columns, mut names) = (Vec::new(), Names::after(settings, always));
        for (field, column) in schema.fields().iter().zip(batch.columns()) {
            let name = field.name();
            if always.contains(&name.as_str()) || !is_wanted(&settings.columns, name) {
                continue;
            }
            let column = typed(Kind::of(field), column).ok_or_else(|| {
                SinkError::data(format!("column \"{name}\" is {}, which no canonical column is", column.data_type()))
            })?;
            columns.push((param(&names.next(name)), column));
        }
        Ok(Self(columns))
    }

    /// Adds what stands in a row.
    pub(crate) fn add(&self, composer: &mut Composer, row: usize) {
        for (param, column) in &self.0 {
            match column {
                ExtraColumn::Text(array) if array.is_valid(row) => composer.text(param, Some(array.value(row))),
                ExtraColumn::Int(array) if array.is_valid(row) => composer.int(param, Some(array.value(row))),
                ExtraColumn::Float(array) if array.is_valid(row) => composer.float(param, Some(array.value(row))),
                ExtraColumn::Bool(array) if array.is_valid(row) => {
                    composer.text(param, Some(if array.value(row) { "true" } else { "false" }));
                }
                ExtraColumn::Time(array) if array.is_valid(row) => {
                    composer.raw(param, |out| timestamp(out, Some(array.value(row))));
                }
                ExtraColumn::List(array) if array.is_valid(row) => {
                    composer.raw(param, |out| escaped(out, &list(&array.value(row)).to_string()));
                }
                _ => (),
            }
        }
    }
}

fn typed(kind: Option<Kind>, column: &ArrayRef) -> Option<ExtraColumn<'_>> {
    Some(match kind? {
        Kind::Text | Kind::Json => ExtraColumn::Text(column.as_string_opt()?),
        Kind::Int => ExtraColumn::Int(column.as_primitive_opt()?),
        Kind::Float => ExtraColumn::Float(column.as_primitive_opt()?),
        Kind::Bool => ExtraColumn::Bool(column.as_boolean_opt()?),
        Kind::Timestamp => ExtraColumn::Time(column.as_primitive_opt()?),
        Kind::TextList | Kind::BoolList => ExtraColumn::List(column.as_list_opt()?),
    })
}

/// A list as JSON.
fn list(items: &ArrayRef) -> Value {
    let texts = items.as_string_opt::<i32>();
    let bools = items.as_boolean_opt();
    let item = |at: usize| match (texts, bools) {
        _ if items.is_null(at) => Value::Null,
        (Some(texts), _) => texts.value(at).into(),
        (_, Some(bools)) => bools.value(at).into(),
        _ => Value::Null,
    };
    (0..items.len()).map(item).collect()
}
