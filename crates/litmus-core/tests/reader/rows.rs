//! Tables as JSON rows, for comparing with what somebody else read of the same file.

use std::path::{Path, PathBuf};

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Float64Type, Int64Type, TimestampMicrosecondType};
use litmus_core::Table;
use litmus_core::reader::RunFile;
use litmus_core::tables::Kind;
use serde_json::{Map, Value};

pub(crate) type Row = Map<String, Value>;

/// Real run files: the subset in the repository.
pub(crate) fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/corpus")
}

/// Every data dir of a corpus, with its oracle.
pub(crate) fn data_dirs(corpus: &Path) -> Vec<(PathBuf, Value)> {
    let folders = |path: &Path| {
        let mut folders: Vec<_> = std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).collect();
        folders.sort();
        folders
    };
    let sources = folders(corpus).into_iter().filter(|path| path.is_dir()).flat_map(|release| folders(&release));
    let oracle = |source: PathBuf| {
        let text = std::fs::read_to_string(source.join("expected.json")).ok()?;
        Some((source.join("data"), serde_json::from_str(&text).unwrap()))
    };
    let found: Vec<_> = sources.filter_map(oracle).collect();
    assert!(!found.is_empty(), "no data dir in {}", corpus.display());
    found
}

pub(crate) fn batches(run: &RunFile, table: Table) -> Vec<RecordBatch> {
    run.open_table(table).unwrap().collect::<Result<_, _>>().unwrap()
}

/// Rows without their NULLs; floats as [`number`] writes them, JSON parsed, times in microseconds.
pub(crate) fn rows(run: &RunFile, table: Table) -> Vec<Row> {
    let mut rows = Vec::new();
    for batch in batches(run, table) {
        for row in 0..batch.num_rows() {
            let schema = batch.schema();
            let cells = schema.fields().iter().zip(batch.columns()).filter(|(_, column)| column.is_valid(row));
            let cell = |(field, column): (&std::sync::Arc<arrow::datatypes::Field>, &std::sync::Arc<dyn Array>)| {
                (field.name().clone(), cell(Kind::of(field).unwrap(), column, row))
            };
            rows.push(cells.map(cell).collect());
        }
    }
    rows
}

pub(crate) fn cell(kind: Kind, column: &dyn Array, row: usize) -> Value {
    match kind {
        Kind::Text => column.as_string::<i32>().value(row).into(),
        Kind::Json => serde_json::from_str(column.as_string::<i32>().value(row)).unwrap(),
        Kind::Int => column.as_primitive::<Int64Type>().value(row).into(),
        Kind::Float => number(column.as_primitive::<Float64Type>().value(row)).into(),
        Kind::Bool => column.as_boolean().value(row).into(),
        Kind::Timestamp => column.as_primitive::<TimestampMicrosecondType>().value(row).into(),
        Kind::TextList | Kind::BoolList => {
            let list = column.as_list::<i32>().value(row);
            let kind = if kind == Kind::TextList { Kind::Text } else { Kind::Bool };
            let element = |at| if list.is_valid(at) { cell(kind, &list, at) } else { Value::Null };
            (0..list.len()).map(element).collect()
        }
    }
}

/// A float by its bits: no tolerance, and -0 is not 0. Every NaN is one.
pub(crate) fn number(value: f64) -> String {
    if value.is_nan() { "float NaN".to_owned() } else { format!("float {:016x} ({value})", value.to_bits()) }
}
