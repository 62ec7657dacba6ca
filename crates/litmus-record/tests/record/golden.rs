//! Golden files: runs of our recorder that the real releases have read (`cargo xtask compat --write-golden`). `platform.json`
//! beside them is what the release said. What is written today must still be of their shape.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use litmus_record::{Client, Format};
use parquet::file::reader::{FileReader, SerializedFileReader};
use serde_json::Value;

use crate::{rows, runs, sealed};

fn golden(format: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(format)
}

fn json(path: &Path) -> Value {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).expect("JSON")
}

/// Columns with their types, keys of the footer, codecs: all that a reader could trip over but for the values.
fn shape(path: &Path) -> Vec<String> {
    let reader = SerializedFileReader::new(File::open(path).expect("a file")).expect("a Parquet file");
    let metadata = reader.metadata();
    let columns = metadata
        .file_metadata()
        .schema_descr()
        .columns()
        .iter()
        .map(|column| format!("{} {} {:?}", column.path(), column.physical_type(), column.logical_type_ref()));
    let codecs = metadata.row_groups().iter().flat_map(|group| {
        group.columns().iter().map(|column| format!("{} {}", column.column_path(), column.compression()))
    });
    let footer = metadata.file_metadata().key_value_metadata().into_iter().flatten();
    let footer = footer.map(|pair| match pair.key.as_str() {
        "schema_version" => format!("footer schema_version {:?}", pair.value),
        key => format!("footer {key}"),
    });
    let groups = format!("{} row groups", metadata.num_row_groups());
    columns.chain(codecs).chain(footer).chain([groups]).collect()
}

fn by_scenario(noted: &[Value]) -> BTreeMap<&str, &Value> {
    noted.iter().map(|one| (one["scenario"].as_str().expect("a name"), one)).collect()
}

fn check(format: Format, name: &str, generation: &str, release: &str) {
    let golden = golden(name);
    let expected = json(&golden.join("expected.json"));
    let expected = by_scenario(expected.as_array().expect("runs"));
    let said = json(&golden.join("platform.json"));
    assert_eq!(said["release"], release);

    let mut read = 0;
    for run in rows::all_runs(&golden.join("data")) {
        let is_it = |noted: &&&Value| noted["run_id"] == run.run_id().to_string();
        let noted = expected.values().find(is_it).expect("a run that was recorded");
        sealed::same_run(&run, noted, generation);
        let theirs = said["runs"][&run.run_id().to_string()]["measurements"].as_array().expect("the release's word");
        let names = |of: &[Value], name: &str| {
            let mut names: Vec<_> =
                of.iter().map(|one| (one[name].to_string(), one["limit_high"].to_string())).collect();
            names.sort();
            names
        };
        let ours = noted["measurements"].as_array().expect("measurements");
        assert_eq!(names(theirs, "measurement_name"), names(ours, "name"), "{}", noted["scenario"]);
        read += 1;
    }
    assert_eq!(read, expected.len());

    let folder = tempfile::tempdir().expect("a folder");
    let client = Client::new(folder.path()).format(format);
    for scenario in runs::all() {
        if let Some(kept) = expected.get(scenario.name) {
            let today = runs::record(&client, &scenario);
            let path = |noted: &Value| PathBuf::from(noted["path"].as_str().expect("a path"));
            let (then, now) = (golden.join("data").join(path(kept)), folder.path().join(path(&today)));
            assert_eq!(shape(&now), shape(&then), "{}", scenario.name);
        }
    }
}

#[test]
fn flat_files_are_as_litmus_0_1_3_has_read_them() {
    check(Format::Flat, "flat", "flat", "litmus 0.1.3");
}

#[test]
fn nested_files_are_as_testerkit_0_6_0_has_read_them() {
    check(Format::Nested, "nested", "nested2", "testerkit 0.6.0");
}
