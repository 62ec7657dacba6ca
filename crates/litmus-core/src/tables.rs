//! The canonical tables every generation is read as: their names, columns, kinds and spellings.

use std::fmt;

use arrow::datatypes::{DataType, Field};
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
        todo!()
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

impl Kind {
    /// The Arrow field of a column of this kind; always nullable.
    pub fn field(self, _name: &str) -> Field {
        todo!()
    }

    /// The kind of a canonical Arrow field; `None` if it is not one of ours.
    pub fn of(_field: &Field) -> Option<Self> {
        todo!()
    }

    /// The Arrow type of this kind.
    pub fn data_type(self) -> DataType {
        todo!()
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
    pub fn spell(self, _canonical: &str) -> std::borrow::Cow<'_, str> {
        todo!()
    }
}

/// The canonical name of a column as any release spells it.
pub fn canonical_name(_stored: &str) -> std::borrow::Cow<'_, str> {
    todo!()
}
