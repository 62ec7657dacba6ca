//! Both generations of every kind of run, read back by the reader.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use litmus_core::digest::Conversions;
use litmus_core::reader::RunFile;
use litmus_core::{AttachmentState, Table};
use litmus_record::{Client, Format};
use serde_json::{Value, json};

use crate::rows::{self, Row};
use crate::runs;

fn record(format: Format, data_dir: &Path) -> BTreeMap<String, Value> {
    let client = Client::new(data_dir).format(format);
    let scenarios = runs::all();
    let noted: Vec<_> = scenarios.iter().map(|scenario| runs::record(&client, scenario)).collect();
    noted.into_iter().map(|noted| (noted["run_id"].as_str().expect("an id").to_owned(), noted)).collect()
}

#[test]
fn flat_files_hold_what_was_recorded() {
    both_ways(Format::Flat, "flat");
}

#[test]
fn nested_files_hold_what_was_recorded() {
    both_ways(Format::Nested, "nested2");
}

fn both_ways(format: Format, generation: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    let mut noted = record(format, folder.path());
    for run in rows::all_runs(folder.path()) {
        let noted = noted.remove(&run.run_id().to_string()).expect("a run that was recorded");
        same_run(&run, &noted, generation);
    }
    assert!(noted.is_empty(), "not found: {:?}", noted.keys());
    let left: Vec<_> = fs::read_dir(folder.path().join("recording")).map_or_else(|_| Vec::new(), Iterator::collect);
    assert!(left.is_empty(), "left behind: {left:?}");
}

/// A run as the reader reads it, beside what was recorded.
pub(crate) fn same_run(run: &RunFile, noted: &Value, generation: &str) {
    let summary = run.summary();
    let scenario = noted["scenario"].as_str().expect("a name");
    assert_eq!(summary.generation, generation);
    assert_eq!(json!(summary.dut_serial), noted["serial"], "{scenario}");
    assert_eq!(json!(summary.run_outcome), noted["outcome"], "{scenario}");
    assert_eq!(json!(summary.run_started_at.map(|at| at.to_string())), noted["started_at"], "{scenario}");
    assert_eq!(json!(summary.run_ended_at.map(|at| at.to_string())), noted["ended_at"], "{scenario}");
    same_steps(scenario, noted, &rows::table(run, Table::Steps));
    same_measurements(scenario, noted, &rows::table(run, Table::Measurements));
    let columns = rows::table(run, Table::Runs).remove(0);
    for (name, column) in [("operator", "operator_id"), ("test_phase", "test_phase"), ("lot_number", "dut_lot_number")]
    {
        assert_eq!(columns.get(column).unwrap_or(&Value::Null), &noted[name], "{scenario}: {column}");
    }
    let digests = run.digests(Conversions::default()).expect("digests");
    assert_eq!(digests.len(), Table::ALL.len(), "{scenario}");
}

/// In the order of their names: flat files list a step once for each vector, nested ones the innermost where it started.
fn same_steps(scenario: &str, noted: &Value, rows: &[Row]) {
    let step = |path: &Value, name: &Value, outcome: &Value| json!([path, name, outcome]);
    let none = Value::Null;
    let mut found: Vec<_> = rows
        .iter()
        .map(|row| step(&row["step_path"], &row["step_name"], row.get("step_outcome").unwrap_or(&none)))
        .collect();
    let steps = noted["steps"].as_array().expect("steps");
    let mut wanted: Vec<_> = steps.iter().map(|one| step(&one["path"], &one["name"], &one["outcome"])).collect();
    for steps in [&mut found, &mut wanted] {
        steps.sort_by_key(ToString::to_string);
        steps.dedup();
    }
    assert_eq!(found, wanted, "{scenario}");
}

fn same_measurements(scenario: &str, noted: &Value, rows: &[Row]) {
    let noted = noted["measurements"].as_array().expect("measurements");
    assert_eq!(rows.len(), noted.len(), "{scenario}");
    for (row, noted) in rows.iter().zip(noted) {
        for (name, column) in [
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
        ] {
            assert_eq!(row.get(column).unwrap_or(&Value::Null), &noted[name], "{scenario}: {column} of {noted}");
        }
        for (name, value) in noted["inputs"].as_object().expect("inputs") {
            let found = &row[&format!("in_{name}")];
            match value.as_f64() {
                Some(number) => assert_eq!(found.as_f64(), Some(number), "{scenario}: {name}"),
                None => assert_eq!(found, value, "{scenario}: {name}"),
            }
        }
    }
}

fn only(format: Format, scenario: &str, data_dir: &Path) -> RunFile {
    let scenarios = runs::all();
    let scenario = scenarios.iter().find(|one| one.name == scenario).expect("a scenario");
    runs::record(&Client::new(data_dir).format(format), scenario);
    rows::only_run(data_dir)
}

#[test]
fn instruments_and_custom_values_are_kept() {
    for format in [Format::Flat, Format::Nested] {
        let folder = tempfile::tempdir().expect("a folder");
        let run = only(format, "everything", folder.path());
        let mut found: Vec<_> = rows::table(&run, Table::Instruments);
        found.retain(|row| row["owner"] == "step");
        assert_eq!(found.len(), 2, "{format:?}");
        assert_eq!(found[0]["instrument_cal_certificate"], "C1");
        assert_eq!(found[0]["instrument_mocked"], false);
        assert_eq!(found[1]["instrument_name"], "psu");
        assert!(!found[1].contains_key("instrument_model"));
        let columns = rows::table(&run, Table::Runs).remove(0);
        for (name, value) in [
            ("custom_work_order", json!("WO-17")),
            ("custom_count", json!(3.0)),
            ("custom_ratio", json!(0.5)),
            ("custom_ok", json!(true)),
            ("python_version", json!("3.11.7")),
            ("env_fingerprint", json!("00ff")),
            ("station_hostname", json!("bench-one")),
            ("operator_name", json!("Jane Doe")),
            ("product_revision", json!("C")),
            ("fixture_id", json!("fx-7")),
        ] {
            assert_eq!(columns.get(name), Some(&value), "{format:?}: {name}");
        }
    }
}

#[test]
fn attachments_lie_where_the_file_refers_to_them() {
    for format in [Format::Flat, Format::Nested] {
        let folder = tempfile::tempdir().expect("a folder");
        let run = only(format, "attachments", folder.path());
        let data_dir = folder.path();
        let mut contents = Vec::new();
        for attachment in run.attachments().expect("attachments") {
            let AttachmentState::Present { path, .. } = &attachment.state else { panic!("{attachment:?}") };
            if !attachment.reference.ends_with(".meta.json") {
                contents.push(fs::read(data_dir.join(path)).expect("the file"));
            } else {
                let meta: Value =
                    serde_json::from_slice(&fs::read(data_dir.join(path)).expect("the file")).expect("JSON");
                assert_eq!(meta["run_id"], run.run_id().to_string());
                assert_eq!(meta["schema_version"], "0.1");
            }
        }
        contents.sort();
        let mut wanted = [&b"t,v\n0,1\n1,2\n"[..], b"\x89PNG\r\n\x1a\n fake", b"of the step"];
        wanted.sort_unstable();
        assert_eq!(contents, wanted, "{format:?}");
        let measurement = rows::table(&run, Table::Measurements).remove(0);
        assert_eq!(measurement["out_temp_c"], 24.5);
        assert!(measurement["out_scope"].as_str().expect("a reference").starts_with("file://"));
    }
}

#[test]
fn a_column_of_many_kinds_reads_alike_in_both_generations() {
    let found = [Format::Flat, Format::Nested].map(|format| {
        let folder = tempfile::tempdir().expect("a folder");
        let run = only(format, "sweep", folder.path());
        let rows = rows::table(&run, Table::Measurements);
        let of_mixed = rows.iter().filter(|row| row["step_path"] == "mixed");
        of_mixed.map(|row| row["in_setting"].as_str().expect("a text").to_owned()).collect::<Vec<_>>()
    });
    assert_eq!(found[0], ["1.5", "\"auto\"", "true", "7"]);
    assert_eq!(found[0], found[1]);
}

#[test]
fn why_it_failed_stands_in_the_file() {
    for format in [Format::Flat, Format::Nested] {
        let folder = tempfile::tempdir().expect("a folder");
        let run = only(format, "fails", folder.path());
        let steps = rows::table(&run, Table::Steps);
        let visual = steps.iter().find(|row| row["step_name"] == "visual").expect("the step");
        assert_eq!(visual["step_error_message"], "visual defect: \"scratch\"\nat R7", "{format:?}");
        let other = steps.iter().find(|row| row["step_name"] == "voltage_check").expect("the step");
        assert!(!other.contains_key("step_error_message"));
    }
}

#[test]
fn a_name_that_is_no_identifier_is_one_in_flat_files_and_stands_in_the_footer() {
    let folder = tempfile::tempdir().expect("a folder");
    let run = Client::new(folder.path()).start_run(litmus_record::RunOptions::new("S", "b")).expect("a run");
    {
        let step = run.step("s");
        let params = [("in °C", 1.0), ("a.b", 2.0), ("A_B", 3.0), ("", 4.0), ("x); DROP TABLE runs; --", 5.0)];
        step.vector(params).measure("v", 1.0);
    }
    run.finish().expect("sealed");
    let run = rows::only_run(folder.path());
    let row = rows::table(&run, Table::Measurements).remove(0);
    let names = ["in_in_°C", "in_a_b_2", "in_A_B", "in_", "in_x___DROP_TABLE_runs____"];
    let values: Vec<_> = names.iter().map(|name| row[*name].as_f64()).collect();
    assert_eq!(values, [Some(1.0), Some(2.0), Some(3.0), Some(4.0), Some(5.0)], "{row:#?}");
    let columns = rows::table(&run, Table::Runs).remove(0);
    let names: Value = serde_json::from_str(columns["footer_column_names"].as_str().expect("a footer")).expect("JSON");
    assert_eq!((&names["in_a_b_2"], &names["in_in_°C"]), (&"a.b".into(), &"in °C".into()));
    assert!(names.get("in_A_B").is_none());
}
