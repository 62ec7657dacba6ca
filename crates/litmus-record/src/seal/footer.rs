//! What stands in the footer beside the rows.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Map;

use super::columns;
use crate::data::{RunData, StepData};
use crate::{Outcome, Value};

/// A step manifest that is longer is left out.
const MANIFEST_BYTES_MAX: usize = 8 << 20;

/// Keys and values.
pub(super) type Footer = Vec<(&'static str, String)>;

/// Who wrote the file; the platform's own version stands only in files of the platform.
fn recorder() -> (&'static str, String) {
    ("recorder", concat!("litmus-host ", env!("CARGO_PKG_VERSION")).to_owned())
}

pub(super) fn flat(run: &RunData, renamed: &[(String, String)]) -> Footer {
    let mut footer = Vec::new();
    if !renamed.is_empty() {
        let names = renamed.iter().map(|(column, name)| (column.clone(), name.as_str().into())).collect::<Map<_, _>>();
        footer.push(("column_names", serde_json::Value::from(names).to_string()));
    }
    footer.extend(run.header.options.environment_json.clone().map(|text| ("environment_json", text)));
    if !run.steps.is_empty() {
        let manifest = step_results(run);
        // It only repeats what the rows say, and readers take the footer into memory: ours refuses one beyond 32 MB.
        if manifest.len() <= MANIFEST_BYTES_MAX {
            footer.push(("step_results", manifest));
        }
    }
    footer.extend([("schema_version", "1.0".to_owned()), recorder()]);
    footer
}

pub(super) fn nested(run: &RunData) -> Footer {
    let mut footer = Vec::new();
    footer.extend(run.header.options.environment_json.clone().map(|text| ("environment_json", text)));
    if !run.custom.is_empty() {
        footer.push(("custom_metadata", object(&run.custom).to_string()));
    }
    footer.extend([("schema_version", "0.1".to_owned()), recorder()]);
    footer
}

/// Three values of the environment are columns, too (`_env_columns` of the platform).
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Environment {
    pub(super) python_version: Option<String>,
    pub(super) litmus_version: Option<String>,
    pub(super) testerkit_version: Option<String>,
    pub(super) lockfile_hash: Option<String>,
}

impl Environment {
    pub(super) fn of(run: &RunData) -> Self {
        let text = run.header.options.environment_json.as_deref();
        text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
    }
}

fn object(values: &[(String, Value)]) -> serde_json::Value {
    values.iter().map(|(name, value)| (name.clone(), columns::json(value))).collect::<Map<_, _>>().into()
}

/// An entry of the step manifest of flat files (`step_entry_dict` of the platform), with the messages, for which it has no place.
#[derive(Serialize)]
struct StepEntry<'a> {
    index: usize,
    name: &'a str,
    node_id: Option<&'a str>,
    file: Option<&'a str>,
    function: Option<&'a str>,
    class_name: Option<&'a str>,
    module: Option<&'a str>,
    step_path: &'a str,
    parent_path: &'a str,
    description: Option<&'a str>,
    markers: Option<&'a str>,
    outcome: Option<&'static str>,
    started_at: String,
    ended_at: Option<String>,
    duration_s: Option<f64>,
    vector_index: usize,
    inputs: serde_json::Value,
    outputs: serde_json::Value,
    has_measurements: bool,
    measurement_count: usize,
    vector_count: usize,
    error_message: Option<String>,
}

fn step_results(run: &RunData) -> String {
    let mut entries = Vec::new();
    for (index, step) in run.steps.iter().enumerate() {
        let vectors = super::flat::vectors(step);
        let options = &step.options;
        entries.extend(vectors.iter().map(|vector| StepEntry {
            index,
            name: &options.name,
            node_id: options.node_id.as_deref(),
            file: options.file.as_deref(),
            function: options.function.as_deref(),
            class_name: options.class_name.as_deref(),
            module: options.module.as_deref(),
            step_path: &step.path,
            parent_path: super::flat::parent_path(run, step),
            description: options.description.as_deref(),
            markers: options.markers.as_deref(),
            outcome: step.outcome.map(Outcome::as_str),
            started_at: time(step.started_at),
            ended_at: step.ended_at.map(time),
            duration_s: duration(step),
            vector_index: vector.index,
            inputs: object(vector.data.map_or(&[], |data| &data.params)),
            outputs: object(vector.data.map_or(&step.outputs, |data| &data.outputs)),
            has_measurements: !vector.measurements.is_empty(),
            measurement_count: vector.measurements.len(),
            vector_count: vectors.len(),
            error_message: vector.data.map_or_else(|| step.messages.text(), |data| data.messages.text()),
        }));
    }
    serde_json::to_string(&entries).expect("keys are texts, and numbers are finite")
}

/// As Python's `isoformat` gives it.
fn time(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S%.6f+00:00").to_string()
}

fn duration(step: &StepData) -> Option<f64> {
    let micros = step.ended_at?.as_microsecond() - step.started_at.as_microsecond();
    Some(micros as f64 / 1e6)
}
