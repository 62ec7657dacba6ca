//! The real run files, and what the platform's own reader says of each (`expected.json`).

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::artifacts::root;
use crate::database::Measurement;

/// One data dir that one release of the platform wrote.
#[derive(Clone, Debug)]
pub struct Source {
    /// `litmus-test-0.1.3/client`.
    pub name: String,
    /// Its data dir.
    pub data_dir: PathBuf,
    /// What the platform says, by path relative to the data dir.
    pub files: BTreeMap<String, Expected>,
}

/// What the platform's own reader says of one file.
#[derive(Clone, Debug)]
pub struct Expected {
    /// Lower-case and hyphenated.
    pub run_id: String,
    /// Of the unit under test.
    pub serial: Option<String>,
    /// As stored.
    pub run_outcome: Option<String>,
    /// As derived by the platform.
    pub outcome: Option<String>,
    /// How many there are.
    pub count: usize,
    /// Each of them; `None` where the oracle carries a summary only.
    pub measurements: Option<Vec<Measurement>>,
    /// How many measurements ended how; only where `measurements` is absent.
    pub outcome_counts: BTreeMap<String, u64>,
}

/// Where the platform's own reader cannot read its file, the file is the oracle.
pub const EXEMPT: &[&str] = &["client_weird"];

/// The corpus of this repository, or another one that `LITMUS_CORPUS` names.
pub fn folder() -> PathBuf {
    std::env::var_os("LITMUS_CORPUS").map_or_else(|| root().join("tests/corpus"), PathBuf::from)
}

/// Every source, in order.
pub fn sources() -> Vec<Source> {
    let mut sources = Vec::new();
    for release in folders(&folder()) {
        for source in folders(&release) {
            let data_dir = source.join("data");
            if data_dir.is_dir() {
                let name = source.strip_prefix(folder()).expect("below the corpus").display().to_string();
                sources.push(Source { name, data_dir, files: expected(&source.join("expected.json")) });
            }
        }
    }
    assert!(!sources.is_empty(), "{} holds no run files", folder().display());
    sources
}

/// Whether the oracle may be believed about this source.
pub fn is_exempt(source: &Source) -> bool {
    EXEMPT.iter().any(|name| source.name.ends_with(name))
}

fn folders(path: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut found: Vec<_> =
        entries.map(|entry| entry.expect("a folder's entry").path()).filter(|path| path.is_dir()).collect();
    found.sort();
    found
}

/// The files of the oracle that are in this corpus: the repository carries a subset.
fn expected(path: &Path) -> BTreeMap<String, Expected> {
    let text = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let oracle: Value = serde_json::from_slice(&text).expect("expected.json is JSON");
    let data_dir = path.with_file_name("data");
    let files = oracle["files"].as_object().expect("files by path");
    files
        .iter()
        .filter(|(path, _)| data_dir.join(path).is_file())
        .map(|(path, file)| (path.clone(), one(file)))
        .collect()
}

fn one(file: &Value) -> Expected {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let list = &file["list_runs"];
    let serial = ["dut_serial", "uut_serial", "uut_serial_number"].iter().find_map(|key| text(&list[*key]));
    let histogram = file["outcome_counts"].as_object().into_iter().flatten();
    Expected {
        run_id: text(&file["run_id"]).expect("a run_id"),
        serial,
        run_outcome: text(&list["outcome"]),
        outcome: text(&file["reconstruct"]["outcome"]),
        count: file["measurement_count"].as_u64().expect("a count") as usize,
        measurements: file["measurements"].as_array().map(|all| all.iter().map(measurement).collect()),
        outcome_counts: histogram.map(|(name, count)| (name.clone(), count.as_u64().expect("a count"))).collect(),
    }
}

fn measurement(value: &Value) -> Measurement {
    let text = |key: &str| value[key].as_str().map(str::to_owned);
    let number = |key: &str| match &value[key] {
        Value::Null => None,
        Value::String(text) => Some(text.parse().expect("NaN, Infinity or -Infinity")),
        number => Some(number.as_f64().expect("a number")),
    };
    Measurement {
        step_path: text("step_path"),
        name: text("measurement_name"),
        value: number("measurement_value").map(Measurement::bits),
        units: text("measurement_units").or_else(|| text("measurement_unit")),
        outcome: text("measurement_outcome"),
        limit_low: number("limit_low").map(Measurement::bits),
        limit_high: number("limit_high").map(Measurement::bits),
        limit_nominal: number("limit_nominal").map(Measurement::bits),
        limit_comparator: text("limit_comparator"),
    }
}
