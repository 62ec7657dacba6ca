//! The canonical tables every generation is read as: their names, columns, kinds and spellings.

mod columns;

use std::borrow::Cow;
use std::fmt;

use arrow::datatypes::{DataType, Field, TimeUnit};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One of the five canonical tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Table {
    /// One row: the run.
    Runs,
    /// One row a step.
    Steps,
    /// One row a vector; nested generations only.
    Vectors,
    /// One row a measurement.
    Measurements,
    /// One row a use of an instrument.
    Instruments,
}

impl Table {
    /// All of them, in the order of their ABI numbers.
    pub const ALL: [Self; 5] = [Self::Runs, Self::Steps, Self::Vectors, Self::Measurements, Self::Instruments];

    /// The canonical name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Runs => "runs",
            Self::Steps => "steps",
            Self::Vectors => "vectors",
            Self::Measurements => "measurements",
            Self::Instruments => "instruments",
        }
    }

    /// The number that crosses the ABI.
    pub const fn number(self) -> u32 {
        self as u32
    }

    /// The table of an ABI number.
    pub fn from_number(number: u32) -> Option<Self> {
        Self::ALL.get(number as usize).copied()
    }

    /// The columns that identify a row.
    pub const fn key(self) -> &'static [&'static str] {
        match self {
            Self::Runs => &["run_id"],
            Self::Steps | Self::Vectors => &["run_id", "row_index"],
            Self::Measurements => &["run_id", "row_index", "measurement_index"],
            Self::Instruments => &["run_id", "row_index", "instrument_index"],
        }
    }

    /// The columns that are always there, in their order; a run may add more after them.
    pub fn core_columns(self) -> &'static [Column] {
        match self {
            Self::Runs => columns::RUNS,
            Self::Steps => columns::STEPS,
            Self::Vectors => columns::VECTORS,
            Self::Measurements => columns::MEASUREMENTS,
            Self::Instruments => columns::INSTRUMENTS,
        }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a canonical column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Utf8.
    Text,
    /// Int64.
    Int,
    /// Float64.
    Float,
    /// Boolean.
    Bool,
    /// Timestamp in microseconds, UTC.
    Timestamp,
    /// Utf8 holding JSON; the Arrow field carries the metadata `litmus:kind` = `json`.
    Json,
    /// List of Utf8, elements may be null.
    TextList,
    /// List of Boolean, elements may be null.
    BoolList,
}

/// The metadata key that tells JSON from text, and its value.
const KIND_KEY: &str = "litmus:kind";
const KIND_JSON: &str = "json";

impl Kind {
    /// The Arrow field of a column of this kind; always nullable.
    pub fn field(self, name: &str) -> Field {
        let field = Field::new(name, self.data_type(), true);
        match self {
            Self::Json => field.with_metadata([(KIND_KEY.to_owned(), KIND_JSON.to_owned())].into()),
            _ => field,
        }
    }

    /// The kind of a canonical Arrow field; `None` if it is not one of ours.
    pub fn of(field: &Field) -> Option<Self> {
        Some(match field.data_type() {
            DataType::Utf8 if field.metadata().get(KIND_KEY).is_some_and(|kind| kind == KIND_JSON) => Self::Json,
            DataType::Utf8 => Self::Text,
            DataType::Int64 => Self::Int,
            DataType::Float64 => Self::Float,
            DataType::Boolean => Self::Bool,
            DataType::Timestamp(TimeUnit::Microsecond, Some(zone)) if matches!(&**zone, "UTC" | "+00:00") => {
                Self::Timestamp
            }
            DataType::List(element) if *element.data_type() == DataType::Utf8 => Self::TextList,
            DataType::List(element) if *element.data_type() == DataType::Boolean => Self::BoolList,
            _ => return None,
        })
    }

    /// The Arrow type of this kind.
    pub fn data_type(self) -> DataType {
        match self {
            Self::Text | Self::Json => DataType::Utf8,
            Self::Int => DataType::Int64,
            Self::Float => DataType::Float64,
            Self::Bool => DataType::Boolean,
            Self::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            Self::TextList => DataType::new_list(DataType::Utf8, true),
            Self::BoolList => DataType::new_list(DataType::Boolean, true),
        }
    }
}

/// A canonical column.
#[derive(Debug)]
pub struct Column {
    /// Its canonical name: as the Litmus 0.1 documentation spells it, newer columns under their own name.
    pub name: &'static str,
    /// What it holds.
    pub kind: Kind,
    /// One line for comments on columns and for the docs.
    pub doc: &'static str,
}

/// Which spelling of the column names a sink uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Vocabulary {
    /// The canonical one: `dut_serial`, `product_id`, `measurement_units`.
    #[default]
    Litmus,
    /// The newer one: `uut_serial_number`, `part_id`, `measurement_unit`.
    Testerkit,
}

impl Vocabulary {
    /// This vocabulary's spelling of a canonical name.
    pub fn spell(self, canonical: &str) -> Cow<'_, str> {
        match (self, canonical) {
            (Self::Litmus, _) => Cow::Borrowed(canonical),
            (Self::Testerkit, "dut_serial") => Cow::Borrowed("uut_serial_number"),
            (Self::Testerkit, "measurement_units") => Cow::Borrowed("measurement_unit"),
            (Self::Testerkit, name) => respell(name, &[("dut_", "uut_"), ("product_", "part_")]),
        }
    }
}

/// The canonical name of a column as any release spells it.
pub fn canonical_name(stored: &str) -> Cow<'_, str> {
    match stored {
        "uut_serial" | "uut_serial_number" => Cow::Borrowed("dut_serial"),
        "measurement_unit" => Cow::Borrowed("measurement_units"),
        name => respell(name, &[("uut_", "dut_"), ("part_", "product_")]),
    }
}

/// Names of inputs, outputs and custom values carry a prefix of their own, so a prefix here is never part of one.
fn respell<'a>(name: &'a str, prefixes: &[(&str, &str)]) -> Cow<'a, str> {
    for (from, to) in prefixes {
        if let Some(rest) = name.strip_prefix(from) {
            return Cow::Owned(format!("{to}{rest}"));
        }
    }
    Cow::Borrowed(name)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn core_columns_are_unique_and_begin_with_what_identifies_a_row() {
        for table in Table::ALL {
            let names: Vec<_> = table.core_columns().iter().map(|column| column.name).collect();
            assert_eq!(names.iter().collect::<HashSet<_>>().len(), names.len(), "{table}");
            assert!(names.starts_with(&["run_id", "row_index"]), "{table}");
            assert!(table.key().iter().all(|key| names.contains(key)), "{table}");
        }
    }

    #[test]
    fn the_docs_list_every_core_column() {
        let docs = include_str!("../../../docs/tables.md");
        for table in Table::ALL {
            let (_, section) = docs.split_once(&format!("\n## {table}\n")).expect("each table has its section");
            let rows = section.split("\n## ").next().unwrap().lines().filter(|line| line.starts_with("| `"));
            let kind = |kind: Kind| serde_json::to_value(kind).unwrap().as_str().unwrap().to_owned();
            let columns = table.core_columns().iter();
            let expected =
                columns.map(|column| format!("| `{}` | {} | {} |", column.name, kind(column.kind), column.doc));
            assert_eq!(rows.collect::<Vec<_>>(), expected.collect::<Vec<_>>(), "{table}");
        }
    }

    #[test]
    fn every_kind_survives_its_arrow_field() {
        use Kind::{Bool, BoolList, Float, Int, Json, Text, TextList, Timestamp};
        for kind in [Text, Int, Float, Bool, Timestamp, Json, TextList, BoolList] {
            assert_eq!(Kind::of(&kind.field("x")), Some(kind));
        }
        assert_eq!(Kind::of(&Field::new("x", DataType::Int32, true)), None);
    }

    #[test]
    fn the_newer_vocabulary_comes_back_to_the_canonical_one() {
        for column in Table::ALL.iter().flat_map(|table| table.core_columns()) {
            let spelled = Vocabulary::Testerkit.spell(column.name);
            assert_eq!(canonical_name(&spelled), column.name);
            assert_eq!(canonical_name(column.name), column.name, "a canonical name is its own canonical name");
        }
        assert_eq!(canonical_name("uut_serial"), "dut_serial");
        assert_eq!(canonical_name("part_colour"), "product_colour");
        assert_eq!(canonical_name("custom_part_id"), "custom_part_id");
        assert_eq!(Vocabulary::Testerkit.spell("dut_serial"), "uut_serial_number");
    }
}
