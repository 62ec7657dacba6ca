//! What each root column of a file is: its generation, its canonical name, its part in the tables.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, FieldRef, Fields, TimeUnit};

use super::convert::Shape;
use super::error::ReadError;
use super::footer::Footer;
use super::layout::Layout;
use crate::tables::{Table, canonical_name};

/// A generation of the file format, told by its columns: `schema_version` was reset once and cannot tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Generation {
    /// litmus-test 0.1: measurements are rows.
    Flat,
    /// litmus-test 0.2: measurements are a list on vector rows.
    Nested,
    /// litmus-test 0.3 and testerkit: lists on step and vector rows.
    Nested2,
}

impl Generation {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Flat => "flat",
            Self::Nested => "nested",
            Self::Nested2 => "nested2",
        }
    }
}

/// What a root column is to the reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    RecordType,
    RunId,
    /// Repeated on every row; belongs to `runs`.
    Run,
    /// Raw list of inputs (`in_`) or outputs (`out_`) of a nested file.
    Values(Direction),
    Measurements,
    /// List of structs, one for each use of an instrument.
    Instruments,
    /// One of the parallel lists `step_instruments_*`.
    InstrumentList,
    /// `in_*`, `out_*` or `custom_*` of a flat file.
    Dynamic,
    /// Columns of steps, vectors and measurements, and what the reader does not know.
    Other,
}

/// Inputs or outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Direction {
    In,
    Out,
}

impl Direction {
    pub(super) fn prefix(self) -> &'static str {
        match self {
            Self::In => "in_",
            Self::Out => "out_",
        }
    }
}

/// A root column.
#[derive(Clone, Debug)]
pub(super) struct Root {
    /// Canonical, and the only one of its name in the file.
    pub(super) name: Arc<str>,
    pub(super) field: FieldRef,
    pub(super) shape: Shape,
    pub(super) class: Class,
    /// No value in the whole file.
    pub(super) is_empty: bool,
    /// The same value in every row.
    pub(super) is_constant: bool,
    /// For a column of the run that has the same value in every row: that value, as a column of one row. It stands in the
    /// statistics, so such a column is never decoded.
    pub(super) constant: Option<ArrayRef>,
    /// A value in every row.
    pub(super) is_full: bool,
}

impl Root {
    pub(super) fn is_dynamic(&self) -> bool {
        self.class == Class::Dynamic
    }
}

/// All root columns, in file order.
#[derive(Debug)]
pub(super) struct Catalog {
    pub(super) generation: Generation,
    pub(super) roots: Vec<Root>,
}

/// Columns of `runs` that the reader makes; a stored column of that name keeps to the side.
const COMPUTED: &[&str] = &[
    "run_id",
    "row_index",
    "measurement_index",
    "instrument_index",
    "owner",
    "outcome",
    "outcome_derived",
    "schema_version",
    "generation",
    "environment_json",
    "custom_metadata",
    "step_results",
];

/// The generation of files with these columns, and what each column is.
pub(super) fn classified(fields: &Fields, label: &str) -> Result<(Generation, Vec<Root>), ReadError> {
    let generation = generation(fields, label)?;
    let root = |(field, name): (&FieldRef, String)| Root {
        class: class(generation, field, &name),
        shape: Shape::of(field.data_type()),
        name: name.into(),
        field: Arc::clone(field),
        is_empty: false,
        is_constant: false,
        constant: None,
        is_full: false,
    };
    let roots: Vec<_> = fields.iter().zip(unique_names(fields)).map(root).collect();
    for name in ["record_type", "run_id"] {
        let column = roots.iter().find(|root| root.field.name() == name);
        let column = column.ok_or_else(|| not_a_run(label, &format!("it has no column \"{name}\"")))?;
        if column.shape != Shape::Text {
            return Err(not_a_run(
                label,
                &format!("column \"{name}\" is {} where Utf8 was expected", column.field.data_type()),
            ));
        }
    }
    Ok((generation, roots))
}

impl Catalog {
    pub(super) fn new(layout: &Layout, footer: &Footer) -> Self {
        let mut roots = layout.roots.clone();
        for (root, leaves) in roots.iter_mut().zip(&layout.leaves) {
            let found = Statistics::of(footer, leaves);
            let is_list = root.field.data_type().is_nested();
            // Lengths of the list of measurements are counted even where every member is NULL.
            root.is_empty =
                *root.field.data_type() == DataType::Null || found.is_empty && root.class != Class::Measurements;
            root.is_full = found.is_full && !is_list;
            root.is_constant = found.constant.is_some() && root.is_full;
            if root.is_constant && matches!(root.class, Class::Run | Class::RunId) {
                root.constant = found.constant.and_then(|bytes| constant_column(root.field.data_type(), bytes));
            }
        }
        // Parallel lists are one thing: a list that only holds NULLs still has the length of the others.
        let lists_used = roots.iter().any(|root| root.class == Class::InstrumentList && !root.is_empty);
        for root in roots.iter_mut().filter(|root| root.class == Class::InstrumentList) {
            root.is_empty = !lists_used;
        }
        Self { generation: layout.generation, roots }
    }

    /// The column of a class that a file has at most once.
    pub(super) fn only(&self, class: Class) -> Option<usize> {
        self.roots.iter().position(|root| root.class == class)
    }

    /// The column of a canonical name.
    pub(super) fn named(&self, name: &str) -> Option<usize> {
        self.roots.iter().position(|root| &*root.name == name)
    }

    /// Columns that have values.
    pub(super) fn filled(&self) -> impl Iterator<Item = usize> {
        (0..self.roots.len()).filter(|at| !self.roots[*at].is_empty)
    }

    /// Those of them whose values are to be read from the file.
    pub(super) fn decoded(&self) -> Vec<usize> {
        self.filled().filter(|at| self.roots[*at].constant.is_none()).collect()
    }

    /// Columns of a class, in file order.
    pub(super) fn all(&self, class: Class) -> impl Iterator<Item = usize> {
        (0..self.roots.len()).filter(move |at| self.roots[*at].class == class)
    }
}

fn not_a_run(label: &str, why: &str) -> ReadError {
    ReadError::new(label, format!("not a Litmus run: {why}"))
        .with_hint("keep other Parquet files out of runs/; if a newer release of the platform wrote it, a newer litmus-host may read it")
}

fn generation(fields: &Fields, label: &str) -> Result<Generation, ReadError> {
    let has = |name: &str| fields.iter().any(|field| field.name() == name);
    let nested = fields.iter().any(|field| field.name() == "measurements" && members(field).is_some());
    match () {
        () if has("measurement_name") => Ok(Generation::Flat),
        () if nested && (has("uut_serial_number") || has("site_index") || has("step_retry")) => Ok(Generation::Nested2),
        () if nested && has("uut_serial") => Ok(Generation::Nested),
        () => Err(not_a_run(
            label,
            "it has neither a column \"measurement_name\" nor a list \"measurements\" as any known release writes it",
        )),
    }
}

/// The members of a list of structs.
pub(super) fn members(field: &Field) -> Option<&Fields> {
    match field.data_type() {
        DataType::List(element) => match element.data_type() {
            DataType::Struct(members) => Some(members),
            _ => None,
        },
        _ => None,
    }
}

fn class(generation: Generation, field: &Field, name: &str) -> Class {
    let has = |wanted: &[&str]| {
        members(field)
            .is_some_and(|members| wanted.iter().all(|name| members.iter().any(|member| member.name() == name)))
    };
    let is_list_of = |shape: Shape| Shape::of(field.data_type()) == shape;
    let nested = generation != Generation::Flat;
    match field.name().as_str() {
        "record_type" => Class::RecordType,
        "run_id" => Class::RunId,
        "inputs" if nested && has(&["name", "value_type"]) => Class::Values(Direction::In),
        "outputs" if nested && has(&["name", "value_type"]) => Class::Values(Direction::Out),
        "measurements" if nested => Class::Measurements,
        "instruments" if nested && has(&["name"]) => Class::Instruments,
        stored
            if stored.starts_with("step_instruments_")
                && (is_list_of(Shape::TextList) || is_list_of(Shape::BoolList)) =>
        {
            Class::InstrumentList
        }
        stored if ["in_", "out_", "custom_"].iter().any(|prefix| stored.starts_with(prefix)) => Class::Dynamic,
        _ if !COMPUTED.contains(&name) && Table::Runs.core_columns().iter().any(|column| column.name == name) => {
            Class::Run
        }
        _ => Class::Other,
    }
}

/// Canonical names. Where two columns map onto one name, the one stored under it wins and the other keeps its own name.
fn unique_names(fields: &Fields) -> Vec<String> {
    let computed = COMPUTED.iter().filter(|name| **name != "run_id").map(|name| (*name).to_owned());
    let mut taken: HashSet<String> = computed.collect();
    let mut names = vec![None; fields.len()];
    for (at, field) in fields.iter().enumerate() {
        if canonical_name(field.name()) == field.name().as_str() && taken.insert(field.name().clone()) {
            names[at] = Some(field.name().clone());
        }
    }
    for (at, field) in fields.iter().enumerate().filter(|(at, _)| names[*at].is_none()).collect::<Vec<_>>() {
        let mut name = canonical_name(field.name()).into_owned();
        if !taken.insert(name.clone()) {
            name.clone_from(field.name());
            while !taken.insert(name.clone()) {
                name.push_str("_stored");
            }
        }
        names[at] = Some(name);
    }
    names.into_iter().flatten().collect()
}

/// A value as statistics write it (plain encoding), as a column of one row; `None` for types that are better decoded.
fn constant_column(data_type: &DataType, bytes: &[u8]) -> Option<ArrayRef> {
    Some(match data_type {
        DataType::Utf8 => Arc::new(StringArray::from(vec![std::str::from_utf8(bytes).ok()?])),
        DataType::Int64 => Arc::new(Int64Array::from(vec![i64::from_le_bytes(bytes.try_into().ok()?)])),
        DataType::Timestamp(TimeUnit::Microsecond, zone) => {
            let times = TimestampMicrosecondArray::from(vec![i64::from_le_bytes(bytes.try_into().ok()?)]);
            Arc::new(times.with_timezone_opt(zone.clone()))
        }
        _ => return None,
    })
}

/// What the statistics of all column chunks of a root column say; nothing where a chunk has none.
struct Statistics<'a> {
    is_empty: bool,
    is_full: bool,
    /// The value that all values are, NULL aside, as statistics write it.
    constant: Option<&'a [u8]>,
}

impl<'a> Statistics<'a> {
    fn of(footer: &'a Footer, leaves: &Range<usize>) -> Self {
        let (mut is_empty, mut is_full, mut is_constant, mut constant) = (true, true, true, None);
        for chunk in footer.groups.iter().flat_map(|group| &group[leaves.clone()]) {
            is_empty &= chunk.nulls == Some(chunk.values);
            is_full &= chunk.nulls == Some(0);
            is_constant &= footer.constant(chunk).is_some_and(|value| *constant.get_or_insert(value) == value);
        }
        Self { is_empty, is_full, constant: constant.filter(|_| is_constant) }
    }
}
