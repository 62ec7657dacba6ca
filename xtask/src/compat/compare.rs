//! What a release says of a run, beside what was recorded.

use serde_json::{Map, Value, json};

use super::Release;
use crate::Result;

/// Compares every run; gives the number of measurements compared, or all that differs.
pub(super) fn all(release: &Release, expected: &[Value], answers: &Value) -> Result<usize> {
    let mut differences = Vec::new();
    let mut count = 0;
    for run in expected {
        let id = run["run_id"].as_str().unwrap_or_default();
        let mut run = Run { expected: run, said: &answers["runs"][id], differences: &mut differences };
        run.summaries();
        count += run.measurements();
        run.show();
    }
    if answers["listed"].as_u64() != Some(expected.len() as u64) {
        differences.push(format!("{} runs are listed, {} were recorded", answers["listed"], expected.len()));
    }
    if differences.is_empty() && count > 0 {
        return Ok(count);
    }
    let shown: Vec<_> = differences.iter().take(40).map(String::as_str).collect();
    Err(format!("{}: {} differences:\n  {}", release.pin, differences.len(), shown.join("\n  ")).into())
}

/// What is kept beside the golden files: without paths of this machine, and without the rest of what releases compute.
pub(super) fn kept(said: &Value) -> Value {
    let measurements = said["measurements"].as_array().into_iter().flatten();
    let mut kept: Vec<Value> =
        measurements.map(|one| MEASUREMENT.iter().map(|(_, name)| pair(one, name)).collect()).collect();
    kept.sort_by_key(Value::to_string);
    let summary: Map<_, _> = ["outcome", "station_id", "total_measurements", "started_at", "ended_at"]
        .iter()
        .map(|name| pair(&said["get_run"], name))
        .collect();
    json!({"get_run": summary, "measurements": kept})
}

fn pair(of: &Value, name: &str) -> (String, Value) {
    (name.to_owned(), newest(of, name).clone())
}

/// What a name of the older release is called in the newer one.
const NEWER: &[(&str, &str)] = &[
    ("dut_serial", "uut_serial_number"),
    ("dut_part_number", "uut_part_number"),
    ("product_id", "part_id"),
    ("measurement_units", "measurement_unit"),
    ("dut_pin", "uut_pin"),
    ("units", "unit"),
    ("dut", "uut"),
];

fn newest<'a>(of: &'a Value, name: &str) -> &'a Value {
    let newer = NEWER.iter().find(|(older, _)| *older == name).map(|(_, newer)| &of[*newer]);
    newer.filter(|value| !value.is_null()).unwrap_or(&of[name])
}

/// What was recorded, and what it is called in `get_measurements`.
const MEASUREMENT: &[(&str, &str)] = &[
    ("step_path", "step_path"),
    ("name", "measurement_name"),
    ("value", "measurement_value"),
    ("units", "measurement_units"),
    ("outcome", "measurement_outcome"),
    ("limit_low", "limit_low"),
    ("limit_high", "limit_high"),
    ("limit_nominal", "limit_nominal"),
    ("limit_comparator", "limit_comparator"),
    ("spec_ref", "spec_ref"),
    ("characteristic_id", "characteristic_id"),
    ("dut_pin", "dut_pin"),
    ("instrument_name", "instrument_name"),
    ("instrument_channel", "instrument_channel"),
];

struct Run<'a> {
    expected: &'a Value,
    said: &'a Value,
    differences: &'a mut Vec<String>,
}

impl Run<'_> {
    fn same(&mut self, what: &str, wanted: &Value, found: &Value) {
        if plain(wanted) != plain(found) {
            let scenario = &self.expected["scenario"];
            self.differences.push(format!("{scenario}: {what}: {wanted} was recorded, {found} is said"));
        }
    }

    fn summaries(&mut self) {
        let measurements = self.expected["measurements"].as_array().map_or(0, Vec::len);
        for (summary, more) in [("list_runs", &[][..]), ("get_run", &[("part_number", "dut_part_number")][..])] {
            let said = &self.said[summary];
            for (name, theirs) in [
                ("run_id", "test_run_id"),
                ("serial", "dut_serial"),
                ("station_id", "station_id"),
                ("outcome", "outcome"),
                ("operator", "operator"),
                ("test_phase", "test_phase"),
                ("product_id", "product_id"),
                ("project_name", "project_name"),
                ("started_at", "started_at"),
            ]
            .iter()
            .chain(more)
            {
                self.same(&format!("{summary}.{theirs}"), &self.expected[*name], newest(said, theirs));
            }
            self.same(&format!("{summary}.total_measurements"), &json!(measurements), &said["total_measurements"]);
            let path = self.expected["path"].as_str().unwrap_or_default();
            if !said["file_path"].as_str().is_some_and(|theirs| theirs.ends_with(path)) {
                self.same(&format!("{summary}.file_path"), &self.expected["path"], &said["file_path"]);
            }
        }
        self.same("get_run.ended_at", &self.expected["ended_at"], &self.said["get_run"]["ended_at"]);
        self.same("get_run.station_type", &self.expected["station_type"], &self.said["get_run"]["station_type"]);
    }

    /// In no order: a release sorts them as it likes.
    fn measurements(&mut self) -> usize {
        let mut wanted: Vec<_> = list(&self.expected["measurements"])
            .map(|one| MEASUREMENT.iter().map(|(name, _)| plain(&one[*name])).collect::<Vec<_>>())
            .collect();
        let mut found: Vec<_> = list(&self.said["measurements"])
            .map(|one| MEASUREMENT.iter().map(|(_, name)| plain(newest(one, name))).collect::<Vec<_>>())
            .collect();
        wanted.sort();
        found.sort();
        for (wanted, found) in wanted.iter().zip(&found) {
            self.same("get_measurements", &json!(wanted), &json!(found));
        }
        self.same("get_measurements", &json!(wanted.len()), &json!(found.len()));
        self.inputs();
        wanted.len()
    }

    fn inputs(&mut self) {
        let of = |one: &Value| -> Vec<String> {
            let inputs = one["inputs"].as_object().into_iter().flatten();
            let flat = one
                .as_object()
                .into_iter()
                .flatten()
                .filter_map(|(name, value)| Some((name.strip_prefix("in_")?, value)));
            let all = inputs.map(|(name, value)| (name.as_str(), value)).chain(flat);
            let mut all: Vec<_> = all
                .filter(|(name, value)| *name != "setting" && !value.is_null())
                .map(|(name, value)| format!("{name}={}", plain(value)))
                .collect();
            all.sort();
            all
        };
        let mut wanted: Vec<_> = list(&self.expected["measurements"]).map(of).collect();
        let mut found: Vec<_> = list(&self.said["measurements"]).map(of).collect();
        wanted.sort();
        found.sort();
        self.same("inputs", &json!(wanted), &json!(found));
    }

    fn show(&mut self) {
        let shown = &self.said["show"];
        self.same("show.run_id", &self.expected["run_id"], &shown["run_id"]);
        self.same("show.serial", &self.expected["serial"], &newest(shown, "dut")["serial"]);
        self.same("show.outcome", &self.expected["outcome"], &shown["outcome"]);
        self.same("show.station", &self.expected["station_id"], &shown["station"]["id"]);
        let fields = ["step_path", "name", "value", "units", "outcome", "limit_low", "limit_high"];
        let mut wanted: Vec<_> =
            list(&self.expected["measurements"]).map(|one| fields.map(|name| plain(&one[name]))).collect();
        let mut found: Vec<_> = list(&shown["measurements"])
            .map(|one| fields.map(|name| plain(newest(one, if name == "name" { "measurement_name" } else { name }))))
            .collect();
        for all in [&mut wanted, &mut found] {
            all.sort();
            // litmus 0.1.3 shows a measurement of a sweep once for each vector of its step.
            all.dedup();
        }
        self.same("show.measurements", &json!(wanted), &json!(found));
    }
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// A value as text, with what releases spell otherwise spelled one way: numbers by their value, times by the microsecond,
/// nothing and the empty text alike, truth values as words.
fn plain(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::Bool(truth) => truth.to_string(),
        Value::Number(number) => number.as_f64().map_or_else(|| number.to_string(), |number| format!("{number:?}")),
        Value::String(text) => time(text).unwrap_or_else(|| text.clone()),
        other => other.to_string(),
    }
}

/// `2026-06-01T01:30:00.5Z` and `2026-06-01T01:30:00.500000+00:00` are one time.
fn time(text: &str) -> Option<String> {
    let (date, rest) = text.split_once('T')?;
    let rest = rest.strip_suffix('Z').or_else(|| rest.strip_suffix("+00:00"))?;
    let is_time =
        date.len() == 10 && rest.len() >= 8 && rest.bytes().all(|byte| byte.is_ascii_digit() || b":.".contains(&byte));
    let (seconds, fraction) = rest.split_once('.').unwrap_or((rest, ""));
    is_time.then(|| format!("{date}T{seconds}.{fraction:0<6}"))
}
