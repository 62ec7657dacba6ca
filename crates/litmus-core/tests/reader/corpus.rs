//! Real run files against what the platform's own reader says of them (`expected.json` beside each data dir).
//!
//! `LITMUS_CORPUS=DIR` runs the same tests over another corpus of that layout.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::PathBuf;

use crate::rows::{Row, data_dirs, number, rows};
use arrow::array::{Array, AsArray};
use litmus_core::reader::{RunFile, Store};
use litmus_core::tables::{Kind, canonical_name};
use litmus_core::{AttachmentState, Table};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::Value;

/// The platform's index refuses the names in these files: there the file itself is the oracle.
const EXEMPT: &[&str] = &["litmus-test-0.1.3/client_weird"];

fn corpus() -> PathBuf {
    std::env::var_os("LITMUS_CORPUS").map_or_else(crate::rows::corpus, PathBuf::from)
}

/// Calls `check` with every run and its entry in the oracle.
fn each_run(mut check: impl FnMut(&RunFile, &Value)) {
    let mut files = 0;
    for (data_dir, oracle) in data_dirs(&corpus()) {
        let store = Store::open(&data_dir).unwrap();
        let (found, errors) = store.walk();
        assert!(errors.is_empty(), "{errors:?}");
        let paths: HashSet<_> = found.iter().map(|file| file.path.to_str().unwrap().to_owned()).collect();
        let expected: HashSet<_> = oracle["files"].as_object().unwrap().keys().cloned().collect();
        assert_eq!(paths, expected, "{}", data_dir.display());
        for file in found {
            let run = store.open_run(&file.path).unwrap_or_else(|error| panic!("{error}"));
            check(&run, &oracle["files"][file.path.to_str().unwrap()]);
            files += 1;
        }
    }
    println!("{files} files");
}

fn is_exempt(expected: &Value) -> bool {
    // In an exempt data dir the platform found none of the measurements that its own files hold.
    let rows = &expected["rows_by_record_type"]["measurement"];
    expected["measurement_count"] == 0 && rows.as_u64() > Some(0)
}

#[test]
fn the_exempt_files_are_those_listed() {
    for (data_dir, oracle) in data_dirs(&corpus()) {
        let exempt = EXEMPT.iter().any(|exempt| data_dir.parent().unwrap().ends_with(exempt));
        for (path, expected) in oracle["files"].as_object().unwrap() {
            assert_eq!(is_exempt(expected), exempt, "{path}");
        }
    }
}

#[test]
fn summaries_are_as_the_platform_lists_and_reconstructs_them() {
    each_run(|run, expected| {
        let summary = run.summary();
        let listed = &expected["list_runs"];
        let serial = canonical(listed, "dut_serial");
        assert_eq!(summary.run_id.to_string(), expected["run_id"], "{run:?}");
        assert_eq!(summary.dut_serial.as_deref(), serial.as_str(), "{run:?}");
        assert_eq!(summary.run_outcome.as_deref(), listed["outcome"].as_str(), "{run:?}");
        assert_eq!(summary.outcome, expected["reconstruct"]["outcome"], "{run:?}");
        assert_eq!(summary.outcome_derived, listed["outcome"].is_null(), "{run:?}");
        assert_eq!(summary.station_id.as_deref(), listed["station_id"].as_str(), "{run:?}");
        let started = listed["started_at"].as_str().map(|text| text.parse::<jiff::Timestamp>().unwrap());
        assert_eq!(summary.run_started_at, started, "{run:?}");
        let (counts, count) =
            (&expected["rows_by_record_type"], |name: &str| expected["rows_by_record_type"][name].as_u64());
        assert_eq!(summary.steps, count("step").unwrap_or(0), "{run:?}");
        assert_eq!(summary.vectors, count("vector").unwrap_or(0), "{run:?}");
        assert_eq!(
            summary.rows,
            counts.as_object().unwrap().values().map(|count| count.as_u64().unwrap()).sum::<u64>()
        );
        let measurements = if is_exempt(expected) { &counts["measurement"] } else { &expected["measurement_count"] };
        assert_eq!(summary.measurements, measurements.as_u64().unwrap(), "{run:?}");
    });
}

/// A value of an oracle under any spelling of its name.
fn canonical(object: &Value, name: &str) -> Value {
    let found = object.as_object().unwrap().iter().find(|(key, _)| canonical_name(key) == name);
    found.map_or(Value::Null, |(_, value)| value.clone())
}

/// A measurement as both sides write it: names canonical, floats by bits, times in microseconds.
fn expected_measurement(measurement: &Value) -> BTreeMap<String, Value> {
    let mut row = BTreeMap::new();
    for (name, value) in measurement.as_object().unwrap() {
        let name = canonical_name(name).into_owned();
        let value = match name.as_str() {
            "inputs" => {
                row.extend(value.as_object().unwrap().iter().map(|(key, value)| (format!("in_{key}"), plain(value))));
                continue;
            }
            "outputs" => {
                row.extend(value.as_object().unwrap().iter().map(|(key, value)| (format!("out_{key}"), plain(value))));
                continue;
            }
            "measurement_value" | "limit_low" | "limit_high" | "limit_nominal" => match value.as_str() {
                Some(text) => number(text.replace("Infinity", "inf").parse().unwrap()).into(),
                None => number(value.as_f64().unwrap()).into(),
            },
            "measurement_timestamp" => {
                value.as_str().unwrap().parse::<jiff::Timestamp>().unwrap().as_microsecond().into()
            }
            name if is_dynamic(name) => plain(value),
            _ => value.clone(),
        };
        row.insert(name, value);
    }
    row
}

fn is_dynamic(name: &str) -> bool {
    ["in_", "out_", "custom_"].iter().any(|prefix| name.starts_with(prefix))
}

/// A dynamic value: numbers by bits, and text that is JSON by value, since both sides write lists as text. Of flat files the
/// platform returns every truth value as text.
fn plain(value: &Value) -> Value {
    match value {
        Value::Bool(value) => value.to_string().into(),
        Value::Number(value) => number(value.as_f64().unwrap()).into(),
        Value::String(text) if text.starts_with("float ") => value.clone(),
        Value::String(text) => match serde_json::from_str::<Value>(text) {
            Ok(value @ (Value::Array(_) | Value::Object(_))) => value,
            _ => value.clone(),
        },
        value => value.clone(),
    }
}

/// Our rows in the same form, with the outcome of the step joined in, as the platform does for its newest generation.
fn our_measurements(run: &RunFile) -> Vec<BTreeMap<String, Value>> {
    let step_key = |row: &Row| ["step_path", "step_index", "step_retry"].map(|name| row.get(name).cloned());
    let steps = rows(run, Table::Steps);
    let outcomes: HashMap<_, _> = steps.iter().map(|row| (step_key(row), row.get("step_outcome").cloned())).collect();
    let mixed: HashSet<String> = mixed_columns(run);
    rows(run, Table::Measurements)
        .into_iter()
        .map(|mut row| {
            if run.summary().generation == "nested2"
                && row["owner"] == "vector"
                && let Some(Some(outcome)) = outcomes.get(&step_key(&row))
            {
                row.insert("step_outcome".to_owned(), outcome.clone());
            }
            let unmix = |name: &str, value: Value| match value.as_str().filter(|_| mixed.contains(name)) {
                Some(text) => plain(&serde_json::from_str(text).expect("a column of mixed kinds holds JSON")),
                None if is_dynamic(name) => plain(&value),
                None => value,
            };
            let skipped = ["run_id", "row_index", "measurement_index", "owner", "parent_path"];
            let kept = row.into_iter().filter(|(name, _)| {
                !skipped.contains(&name.as_str())
                    && (!name.starts_with("step_")
                        || ["step_name", "step_path", "step_index", "step_retry", "step_outcome"]
                            .contains(&name.as_str()))
                    && !["vector_started_at", "vector_ended_at"].contains(&name.as_str())
            });
            kept.map(|(name, value)| (name.clone(), unmix(&name, value))).collect()
        })
        .collect()
}

/// Paths that several steps of a file of the newest generation share.
fn ambiguous_paths(run: &RunFile) -> HashSet<String> {
    let mut indices: HashMap<String, HashSet<String>> = HashMap::new();
    for step in rows(run, Table::Steps).iter().filter(|_| run.summary().generation == "nested2") {
        let path = step["step_path"].as_str().unwrap().to_owned();
        indices.entry(path).or_default().insert(step["step_index"].to_string());
    }
    indices.into_iter().filter(|(_, indices)| indices.len() > 1).map(|(path, _)| path).collect()
}

/// Dynamic columns of the measurements whose values were of several types in the file's own lists.
fn mixed_columns(run: &RunFile) -> HashSet<String> {
    let mut types: HashMap<String, HashSet<String>> = HashMap::new();
    for row in rows(run, Table::Vectors).iter().chain(&rows(run, Table::Steps)) {
        for (list, prefix) in [("inputs", "in_"), ("outputs", "out_")] {
            for entry in row.get(list).and_then(Value::as_array).into_iter().flatten() {
                let class = match entry["value_type"].as_str().unwrap() {
                    "scalar:int" | "scalar:float" => "number",
                    "scalar:str" | "uri" => "text",
                    other if other.starts_with("other:") => "text",
                    "list" | "dict" => "json",
                    other => other,
                };
                types
                    .entry(format!("{prefix}{}", entry["name"].as_str().unwrap()))
                    .or_default()
                    .insert(class.to_owned());
            }
        }
    }
    types.into_iter().filter(|(_, classes)| classes.len() > 1).map(|(name, _)| name).collect()
}

/// The platform returns measurements in an order of its own (by its index, not by the file), so both sides are compared as
/// multisets of whole measurements.
#[test]
fn measurements_are_as_the_platform_reads_them() {
    let mut compared = 0;
    each_run(|run, expected| {
        if is_exempt(expected) {
            return;
        }
        let mut ours = our_measurements(run);
        // The platform's measurements carry the custom values in the flat generation only.
        if run.summary().generation != "flat" {
            for row in &mut ours {
                row.retain(|name, _| !name.starts_with("custom_"));
            }
        }
        // The platform finds a vector's step by its path alone. Where planned steps that never ran share the path (a killed
        // session), it takes name and outcome of any of them: there these two are not compared.
        let ambiguous = ambiguous_paths(run);
        let text = |row: &BTreeMap<String, Value>| {
            let is_told = !ambiguous.contains(row["step_path"].as_str().unwrap());
            let told =
                row.iter().filter(|(name, _)| is_told || !["step_name", "step_outcome"].contains(&name.as_str()));
            serde_json::to_string(&told.collect::<BTreeMap<_, _>>()).unwrap()
        };
        let mut ours: Vec<_> = ours.iter().map(text).collect();
        ours.sort_unstable();
        let theirs = |key: &str| {
            let rows = expected[key].as_array();
            let mut rows: Vec<_> = rows?.iter().map(|row| text(&expected_measurement(row))).collect();
            rows.sort_unstable();
            Some(rows)
        };
        if let Some(theirs) = theirs("measurements") {
            for (ours, theirs) in ours.iter().zip(&theirs) {
                assert_eq!(ours, theirs, "{run:?}");
            }
            assert_eq!(ours.len(), theirs.len(), "{run:?}");
            compared += ours.len();
            return;
        }
        // Of the largest files the oracle has the ends, a histogram and a sum.
        for row in [theirs("measurements_first_20").unwrap(), theirs("measurements_last_20").unwrap()].concat() {
            assert!(ours.binary_search(&row).is_ok(), "{run:?}: no {row}");
            compared += 1;
        }
        let (mut outcomes, mut sum) = (HashMap::<String, u64>::new(), 0.0);
        for batch in crate::rows::batches(run, Table::Measurements) {
            let column = |name: &str| batch.column_by_name(name).unwrap().clone();
            let values = column("measurement_value");
            sum += arrow::compute::sum(values.as_primitive::<arrow::datatypes::Float64Type>()).unwrap();
            let column = column("measurement_outcome");
            for outcome in column.as_string::<i32>().iter().flatten() {
                *outcomes.entry(outcome.to_owned()).or_default() += 1;
            }
        }
        assert_eq!(serde_json::to_value(outcomes).unwrap(), expected["outcome_counts"], "{run:?}");
        assert!((sum - expected["sum_value"].as_f64().unwrap()).abs() < 1e-6, "{run:?}: {sum}");
    });
    println!("{compared} measurements compared");
    assert!(compared > 100);
}

#[test]
fn every_row_of_the_file_is_in_one_table() {
    each_run(|run, expected| {
        let counts = &expected["rows_by_record_type"];
        let count = |name: &str| counts[name].as_u64().unwrap_or(0);
        let rows_of = |table| crate::rows::batches(run, table).iter().map(|batch| batch.num_rows() as u64).sum::<u64>();
        let summary = run.summary();
        assert_eq!(rows_of(Table::Runs), count("run"), "{run:?}");
        assert_eq!(rows_of(Table::Steps), count("step"), "{run:?}");
        assert_eq!(rows_of(Table::Vectors), count("vector"), "{run:?}");
        assert_eq!(rows_of(Table::Measurements), summary.measurements, "{run:?}");
        // No position is there twice, and those of all tables together are those of the file.
        let mut positions = HashSet::new();
        for table in [Table::Runs, Table::Steps, Table::Vectors] {
            assert!(rows(run, table).iter().all(|row| positions.insert(row["row_index"].as_u64().unwrap())), "{run:?}");
        }
        if summary.generation == "flat" {
            let own = rows(run, Table::Measurements);
            assert!(own.iter().all(|row| positions.insert(row["row_index"].as_u64().unwrap())), "{run:?}");
        }
        assert_eq!(positions, (0..summary.rows).collect(), "{run:?}");
        let digests = run.digests(litmus_core::digest::Conversions::default()).unwrap();
        for table in Table::ALL {
            assert_eq!(digests[table.name()].rows, rows_of(table), "{run:?}: {table}");
        }
    });
}

#[test]
fn core_columns_come_first_and_alike_in_every_generation() {
    let mut generations = HashSet::new();
    each_run(|run, _| {
        generations.insert(run.summary().generation.clone());
        for table in Table::ALL {
            let schema = run.open_table(table).unwrap().schema();
            let core = table.core_columns();
            for (field, column) in schema.fields().iter().zip(core) {
                assert_eq!(
                    (field.name().as_str(), Kind::of(field)),
                    (column.name, Some(column.kind)),
                    "{run:?}: {table}"
                );
            }
            let names: HashSet<_> = schema.fields().iter().map(|field| field.name()).collect();
            assert_eq!(names.len(), schema.fields().len(), "{run:?}: {table}: a name is there twice");
            assert!(schema.fields().len() >= core.len(), "{run:?}: {table}");
            assert!(schema.fields().iter().all(|field| field.is_nullable() && Kind::of(field).is_some()), "{run:?}");
            for batch in crate::rows::batches(run, table) {
                assert_eq!(batch.schema(), schema, "{run:?}: {table}");
            }
        }
    });
    assert_eq!(generations, ["flat", "nested", "nested2"].map(String::from).into());
}

#[test]
fn inputs_and_outputs_stand_in_columns_and_in_the_raw_lists() {
    let mut seen = 0;
    each_run(|run, _| {
        for table in [Table::Steps, Table::Vectors] {
            for row in rows(run, table) {
                for (list, prefix) in [("inputs", "in_"), ("outputs", "out_")] {
                    for entry in row.get(list).and_then(Value::as_array).into_iter().flatten() {
                        assert!(row.contains_key(&format!("{prefix}{}", entry["name"].as_str().unwrap())), "{row:?}");
                        assert!(
                            entry
                                .as_object()
                                .unwrap()
                                .keys()
                                .any(|key| key.starts_with("value_") && key != "value_type")
                        );
                        seen += 1;
                    }
                }
            }
        }
    });
    assert!(seen > 100, "{seen}");
}

#[test]
fn instruments_have_a_row_for_each_use() {
    let mut seen = 0;
    each_run(|run, _| {
        let instruments = rows(run, Table::Instruments);
        seen += instruments.len();
        for step in rows(run, Table::Steps) {
            let uses: Vec<_> = instruments.iter().filter(|row| row["row_index"] == step["row_index"]).collect();
            let names = step.get("step_instruments_name").and_then(Value::as_array).cloned().unwrap_or_default();
            assert_eq!(uses.len(), names.len(), "{run:?}");
            for (at, (row, name)) in uses.iter().zip(&names).enumerate() {
                assert_eq!(row.get("instrument_name").unwrap_or(&Value::Null), name);
                assert_eq!((&row["owner"], &row["instrument_index"]), (&"step".into(), &at.into()));
                assert_eq!(row["instrument_mocked"], step["step_instruments_mocked"][at]);
            }
        }
    });
    assert!(seen > 10, "{seen}");
}

#[test]
fn attachments_are_found_where_the_references_lead() {
    let (mut present, mut channels, mut descriptions) = (0, 0, 0);
    each_run(|run, _| {
        for attachment in run.attachments().unwrap() {
            match attachment.state {
                AttachmentState::Present { path, file, size } => {
                    assert_eq!(std::fs::metadata(&file).unwrap().len(), size, "{path}");
                    assert!(size > 0, "{path}");
                    present += 1;
                    descriptions += usize::from(path.ends_with(".meta.json"));
                }
                AttachmentState::Channel => channels += 1,
                other => panic!("{run:?}: {}: {other:?}", attachment.reference),
            }
        }
    });
    assert!(present > 10 && channels > 0 && descriptions > 0, "{present} {channels} {descriptions}");
}

/// Every cell of every scalar column of the file, read by the Parquet crate alone, is in a table: under its canonical name on
/// its row, or on the run's row where it is the same.
#[test]
fn no_cell_of_a_file_is_lost() {
    let mut cells = 0;
    each_run(|run, _| {
        let by_position = |table| -> HashMap<u64, Row> {
            rows(run, table).into_iter().map(|row| (row["row_index"].as_u64().unwrap(), row)).collect()
        };
        let tables = HashMap::from([
            ("step", by_position(Table::Steps)),
            ("vector", by_position(Table::Vectors)),
            ("measurement", by_position(Table::Measurements)),
        ]);
        let runs = &rows(run, Table::Runs)[0];
        let reader =
            ParquetRecordBatchReaderBuilder::try_new(run.file().try_clone().unwrap()).unwrap().build().unwrap();
        let mut first = 0;
        for batch in reader.map(Result::unwrap) {
            let types = batch.column_by_name("record_type").unwrap().as_string::<i32>().clone();
            for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
                if field.data_type().is_nested() || field.name() == "record_type" {
                    continue;
                }
                let (column, kind) = match Kind::of(field) {
                    Some(kind) => (column.clone(), kind),
                    None => (arrow::compute::cast(column, &Kind::Int.data_type()).unwrap(), Kind::Int),
                };
                let name = canonical_name(field.name());
                for at in (0..batch.num_rows()).filter(|at| column.is_valid(*at)) {
                    let stored = crate::rows::cell(kind, &column, at);
                    let row = tables.get(types.value(at)).map(|table| &table[&(first + at as u64)]);
                    let found = row.and_then(|row| row.get(&*name)).or_else(|| runs.get(&*name));
                    let is_placeholder = row.is_none() && (stored == "" || stored == 0);
                    assert!(
                        found == Some(&stored) || is_placeholder,
                        "{run:?}: row {at}, {name}: {stored}, not {found:?}"
                    );
                    cells += 1;
                }
            }
            first += batch.num_rows() as u64;
        }
    });
    println!("{cells} cells");
    assert!(cells > 10_000);
}
