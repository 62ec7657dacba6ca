//! The plugin written in C: every value that it writes is the source's, read back without a line of it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;

use arrow::record_batch::RecordBatchReader;
use litmus_core::RunId;
use litmus_core::digest::{Cell, Conversions, Digests, RowDigester};
use litmus_core::reader::{RunFile, Store};
use litmus_core::tables::Kind;
use litmus_core::{Table, TableStream};
use litmus_tests::corpus;
use litmus_tests::project::Project;
use serde_json::Value;

#[test]
fn every_value_of_the_corpus_is_in_the_lines() {
    let project = Project::new();
    let sources = corpus::sources();
    let mut toml = String::new();
    for (nth, source) in sources.iter().enumerate() {
        writeln!(toml, "[[store]]\nname = 's{nth}'\npath = '{}'", source.data_dir.display()).unwrap();
    }
    toml += "[[sink]]\nname = 'lines'\nplugin = 'jsonl.so'\nconfig = { path = 'runs.jsonl' }\n";
    fs::write(project.path("litmus-host.toml"), toml).unwrap();
    let total: usize = sources.iter().map(|source| source.files.len()).sum();
    project.run(["--config", "litmus-host.toml", "--format", "json"]).delivered(total, 0);
    let once = fs::read_to_string(project.path("runs.jsonl")).unwrap();
    project.run(["--config", "litmus-host.toml", "--format", "json"]).delivered(0, 0);
    assert_eq!(fs::read_to_string(project.path("runs.jsonl")).unwrap(), once, "a second forward writes nothing");

    let mut lines: BTreeMap<RunId, Vec<Value>> = BTreeMap::new();
    for line in once.lines() {
        let line: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        if let Some(run_id) = line["run_id"].as_str() {
            lines.entry(run_id.parse().unwrap()).or_default().push(line);
        }
    }
    let mut seen = 0;
    for source in &sources {
        let store = Store::open(&source.data_dir).unwrap();
        for path in source.files.keys() {
            let run = store.open_run(path.as_ref()).unwrap();
            let written = &lines[&run.run_id()];
            assert_eq!(digests(&run, written), run.digests(Conversions::default()).unwrap(), "{path}");
            seen += 1;
        }
    }
    assert_eq!(seen, total);
}

/// The digests of a run's lines; of what kind a column is, only the source knows.
fn digests(run: &RunFile, lines: &[Value]) -> Digests {
    let of_table = |table: Table| {
        let stream: TableStream = run.open_table(table).unwrap();
        let kinds: BTreeMap<String, Kind> =
            stream.schema().fields().iter().map(|field| (field.name().clone(), Kind::of(field).unwrap())).collect();
        let mut digester = RowDigester::default();
        for line in lines.iter().filter(|line| line["table"] == table.name()) {
            let row = line["row"].as_object().unwrap();
            digester.row(row.iter().map(|(name, value)| (name.as_str(), cell(kinds[name], value))));
        }
        (table.to_string(), digester.finish())
    };
    Table::ALL.into_iter().map(of_table).collect()
}

fn cell(kind: Kind, value: &Value) -> Cell<'_> {
    match kind {
        Kind::Text => Cell::Text(value.as_str().unwrap()),
        Kind::Json => Cell::Json(value.as_str().unwrap()),
        Kind::Int => Cell::Int(value.as_i64().unwrap()),
        Kind::Timestamp => Cell::Timestamp(value.as_i64().unwrap()),
        Kind::Bool => Cell::Bool(value.as_bool().unwrap()),
        Kind::Float => Cell::Float(match value.as_str() {
            Some("NaN") => f64::NAN,
            Some("Infinity") => f64::INFINITY,
            Some("-Infinity") => f64::NEG_INFINITY,
            Some(other) => panic!("{other} is no number"),
            None => value.as_f64().unwrap(),
        }),
        Kind::TextList | Kind::BoolList => {
            let item = if kind == Kind::TextList { Kind::Text } else { Kind::Bool };
            let items = value.as_array().unwrap().iter();
            Cell::List(items.map(|one| (!one.is_null()).then(|| cell(item, one))).collect())
        }
    }
}
