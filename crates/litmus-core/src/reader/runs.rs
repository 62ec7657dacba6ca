//! The table `runs` of a file, which is one row, and the summary made of it.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, StringArray, new_null_array};
use arrow::datatypes::{Int64Type, Schema, TimestampMicrosecondType};
use jiff::Timestamp;
use serde_json::{Map, Value};

use super::catalog::{Catalog, Class};
use super::convert::{convert, scalar_json};
use super::dynamic::custom_columns;
use super::footer::Footer;
use super::head::Head;
use super::json::is_json;
use super::plan::Custom;
use super::source::Raw;
use super::survey::has_value;
use crate::tables::{Kind, Table};
use crate::{Sha256, Summary};

/// Footer keys that are columns of `runs`.
const FOOTER_JSON: [&str; 3] = ["environment_json", "custom_metadata", "step_results"];
/// Footer keys that speak of the file format, or have a column of their own.
const FOOTER_PLAIN: [&str; 5] = ["schema_version", "litmus_version", "testerkit_version", "ARROW:schema", "pandas"];

/// Custom values of a nested file.
pub(super) fn custom(footer: &Footer) -> Custom {
    let document = footer.get("custom_metadata").and_then(|text| serde_json::from_str::<Value>(text).ok());
    custom_columns(document.as_ref())
}

/// The one row of `runs`.
pub(super) struct RunRow {
    columns: Vec<(String, Kind, ArrayRef)>,
}

fn text(value: Option<&str>) -> ArrayRef {
    Arc::new(StringArray::from(vec![value]))
}

impl RunRow {
    pub(super) fn new(catalog: &Catalog, head: &Head, raw: &Raw, footer: &Footer, custom: &Custom) -> Self {
        let mut row = Self { columns: Vec::new() };
        let mut used = Vec::new();
        for core in Table::Runs.core_columns() {
            let computed = match core.name {
                "run_id" => Some((Kind::Text, text(Some(&head.run_id.to_string())))),
                "row_index" => Some((Kind::Int, Arc::new(Int64Array::from(vec![head.run_row as i64])) as ArrayRef)),
                "generation" => Some((Kind::Text, text(Some(catalog.generation.name())))),
                "schema_version" => Some((Kind::Text, text(footer.get("schema_version")))),
                name if FOOTER_JSON.contains(&name) => {
                    let value = footer.get(name);
                    let is_json = value.is_none_or(is_json);
                    Some((if is_json { Kind::Json } else { Kind::Text }, text(value)))
                }
                _ => None,
            };
            let (kind, array) = computed.unwrap_or_else(|| {
                let root = catalog.named(core.name).filter(|root| catalog.roots[*root].class == Class::Run);
                used.extend(root);
                let stored = root.and_then(|root| stored(catalog, raw, root));
                match (stored, footer.get(core.name)) {
                    (Some(column), _) => column,
                    // A run written through the client has its release in the footer only.
                    (None, Some(value)) if FOOTER_PLAIN.contains(&core.name) => (Kind::Text, text(Some(value))),
                    (None, _) => (core.kind, new_null_array(&core.kind.data_type(), 1)),
                }
            });
            row.add(core.name.to_owned(), kind, array);
        }
        for root in catalog.filled() {
            let is_extra =
                matches!(catalog.roots[root].class, Class::Run | Class::Other | Class::Dynamic | Class::Values(_));
            if is_extra
                && !used.contains(&root)
                && let Some((kind, array)) = stored(catalog, raw, root)
                && !is_placeholder(&catalog.roots[root].name, &array)
            {
                row.add(catalog.roots[root].name.to_string(), kind, array);
            }
        }
        for (name, kind, value) in custom {
            row.add(name.clone(), *kind, Arc::clone(value));
        }
        for (key, value) in footer.pairs().filter(|(_, value)| value.is_some()) {
            if !FOOTER_JSON.contains(&key) && !FOOTER_PLAIN.contains(&key) {
                row.add(format!("footer_{key}"), Kind::Text, text(value));
            }
        }
        row
    }

    fn add(&mut self, mut name: String, kind: Kind, array: ArrayRef) {
        while self.columns.iter().any(|(taken, ..)| *taken == name) {
            name.push_str("_stored");
        }
        self.columns.push((name, kind, array));
    }

    fn get(&self, name: &str) -> Option<&ArrayRef> {
        self.columns
            .iter()
            .find(|(column, ..)| column == name)
            .map(|(.., array)| array)
            .filter(|array| array.is_valid(0))
    }

    pub(super) fn text(&self, name: &str) -> Option<String> {
        self.get(name).and_then(|array| array.as_string_opt::<i32>()).map(|array| array.value(0).to_owned())
    }

    fn time(&self, name: &str) -> Option<Timestamp> {
        let micros = self.get(name).and_then(|array| array.as_primitive_opt::<TimestampMicrosecondType>())?.value(0);
        Timestamp::from_microsecond(micros).ok()
    }

    /// Sets how the run ended, as stored or derived.
    pub(super) fn set_outcome(&mut self, outcome: &str, derived: bool) {
        for (name, _, array) in &mut self.columns {
            match name.as_str() {
                "outcome" => *array = text(Some(outcome)),
                "outcome_derived" => *array = Arc::new(BooleanArray::from(vec![derived])),
                _ => {}
            }
        }
    }

    pub(super) fn batch(&self) -> RecordBatch {
        let schema = Schema::new(self.columns.iter().map(|(name, kind, _)| kind.field(name)).collect::<Vec<_>>());
        let columns = self.columns.iter().map(|(.., array)| Arc::clone(array)).collect();
        RecordBatch::try_new(Arc::new(schema), columns).expect("each column is of its kind and one row long")
    }

    pub(super) fn summary(&self, catalog: &Catalog, head: &Head, sha256: Sha256, path: String, rows: u64) -> Summary {
        let [_, steps, vectors, measurement_rows] = head.counts;
        let mut summary = Summary {
            run_id: head.run_id,
            sha256,
            path,
            generation: catalog.generation.name().to_owned(),
            run_started_at: self.time("run_started_at"),
            run_ended_at: self.time("run_ended_at"),
            dut_serial: self.text("dut_serial"),
            dut_part_number: self.text("dut_part_number"),
            station_id: self.text("station_id"),
            run_outcome: self.text("run_outcome"),
            outcome: self.text("outcome").unwrap_or_default(),
            outcome_derived: self.get("outcome_derived").is_some_and(|array| array.as_boolean().value(0)),
            steps,
            vectors,
            measurements: measurement_rows + head.listed,
            rows,
            columns: Map::new(),
        };
        // The other columns stand beside these fields in JSON, so a column of the same name gives way.
        let fields = serde_json::to_value(&summary).expect("a summary is JSON");
        for (name, kind, array) in &self.columns {
            if *kind != Kind::Json
                && name != "row_index"
                && fields.get(name).is_none()
                && let Some(value) = scalar_json(array, *kind)
            {
                summary.columns.insert(name.clone(), value);
            }
        }
        summary
    }
}

/// A column of the run row; `None` where it has no value.
fn stored(catalog: &Catalog, raw: &Raw, at: usize) -> Option<(Kind, ArrayRef)> {
    let root = &catalog.roots[at];
    let array = root.constant.as_ref().or_else(|| raw.root(at)).filter(|array| has_value(array, 0))?;
    let inexact = root.shape.is_inexact(array, root.is_dynamic());
    let kind = match root.class {
        Class::Values(_) => Kind::Json,
        _ => root.shape.kind(root.is_dynamic(), inexact),
    };
    Some((kind, convert(array, root.shape, kind)))
}

/// The run row has no step; older releases write these in its place.
fn is_placeholder(name: &str, array: &ArrayRef) -> bool {
    match name {
        "step_name" | "step_path" | "parent_path" => {
            array.as_string_opt::<i32>().is_some_and(|text| text.value(0).is_empty())
        }
        "step_index" | "vector_index" => {
            array.as_primitive_opt::<Int64Type>().is_some_and(|number| number.value(0) == 0)
        }
        _ => false,
    }
}
