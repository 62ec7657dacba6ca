//! Rows of the canonical tables as JSON objects, as the host shows them.

use std::path::Path;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Float64Type, Int64Type, TimestampMicrosecondType};
use litmus_core::Table;
use litmus_core::reader::{RunFile, Store};
use serde_json::{Map, Value, json};

pub(crate) type Row = Map<String, Value>;

/// The one run in a data dir.
pub(crate) fn only_run(data_dir: &Path) -> RunFile {
    let mut runs = all_runs(data_dir);
    assert_eq!(runs.len(), 1, "runs in {}", data_dir.display());
    runs.remove(0)
}

/// Every run in a data dir; that nothing else lies there that could be taken for one is part of the promise.
pub(crate) fn all_runs(data_dir: &Path) -> Vec<RunFile> {
    let store = Store::open(data_dir).expect("a data dir");
    let (found, errors) = store.walk();
    assert!(errors.is_empty(), "{errors:?}");
    found.iter().map(|file| store.open_run(&file.path).expect("a readable run")).collect()
}

pub(crate) fn table(run: &RunFile, table: Table) -> Vec<Row> {
    let stream = run.open_table(table).expect("a table");
    stream.flat_map(|batch| rows(&batch.expect("a batch"))).collect()
}

fn rows(batch: &RecordBatch) -> Vec<Row> {
    (0..batch.num_rows())
        .map(|row| {
            let fields = batch.schema();
            let cell = |at: usize| (fields.field(at).name().clone(), cell(batch.column(at).as_ref(), row));
            (0..batch.num_columns()).map(cell).filter(|(_, value)| !value.is_null()).collect()
        })
        .collect()
}

fn cell(column: &dyn Array, row: usize) -> Value {
    if column.is_null(row) {
        return Value::Null;
    }
    match column.data_type() {
        DataType::Utf8 => json!(column.as_string::<i32>().value(row)),
        DataType::Int64 => json!(column.as_primitive::<Int64Type>().value(row)),
        DataType::Boolean => json!(column.as_boolean().value(row)),
        DataType::Float64 => number(column.as_primitive::<Float64Type>().value(row)),
        DataType::Timestamp(..) => {
            let micros = column.as_primitive::<TimestampMicrosecondType>().value(row);
            json!(jiff::Timestamp::from_microsecond(micros).expect("a time").to_string())
        }
        DataType::List(_) => {
            let list = column.as_list::<i32>().value(row);
            (0..list.len()).map(|at| cell(list.as_ref(), at)).collect()
        }
        other => panic!("the canonical tables have no {other}"),
    }
}

fn number(value: f64) -> Value {
    match value {
        _ if value.is_nan() => json!("NaN"),
        f64::INFINITY => json!("Infinity"),
        f64::NEG_INFINITY => json!("-Infinity"),
        // 1.0 and 1 are one number here, as they are in a file.
        _ => json!(value),
    }
}
