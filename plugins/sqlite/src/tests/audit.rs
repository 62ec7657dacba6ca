//! Whatever is changed in a run's rows behind our back is found.

use litmus_core::Table;
use litmus_core::tables::Kind;

use super::made::{Bench, TestRun, V, column, digests, text};

/// Two rows that differ in a column of each kind, and cells of each kind in `extra`.
fn delivered() -> (Bench, TestRun) {
    let bench = Bench::with(serde_json::json!({ "columns_max": Table::Steps.core_columns().len() + 8 }));
    let columns = |prefix: &str| {
        let name = |name: &str| format!("{prefix}_{name}");
        let list = |text: &str| V::Texts(vec![Some(text.to_owned()), None]);
        [
            column(&name("text"), Kind::Text, [text("a"), text("b")]),
            column(&name("float"), Kind::Float, [V::Float(1.5), V::Float(f64::NAN)]),
            column(&name("bool"), Kind::Bool, [V::Bool(true), V::Bool(false)]),
            column(&name("time"), Kind::Timestamp, [V::Time(1), V::Time(2)]),
            column(&name("json"), Kind::Json, [V::Json("[1]".to_owned()), V::Json("[2]".to_owned())]),
            column(&name("texts"), Kind::TextList, [list("a"), list("b")]),
            column(&name("bools"), Kind::BoolList, [V::Bools(vec![Some(true)]), V::Bools(vec![None])]),
            column(&name("int"), Kind::Int, [V::Int(1), V::Int(2)]),
        ]
    };
    let own = column("step_index", Kind::Int, [V::Int(1), V::Int(2)]);
    let all: Vec<_> = columns("in").into_iter().chain(columns("out")).chain([own]).collect();
    let run = TestRun::new(1, 1).with(Table::Steps, &all);
    let neighbour = TestRun::new(2, 1).with(Table::Steps, &all);
    let receipt = bench.deliver_one(&run).receipt.unwrap();
    assert_eq!(receipt.extra.len(), 8, "eight columns have no room: {:?}", receipt.extra);
    bench.deliver_one(&neighbour);
    bench.assert_holds(&neighbour);
    (bench, run)
}

/// One statement on the run's rows; the audit must differ from the source in `steps` alone.
fn found(statement: &str) {
    let (bench, run) = delivered();
    bench.assert_holds(&run);
    let changed = bench.sql().execute(&statement.replace("RUN", &format!("run_id = '{}'", run.run_id)), []).unwrap();
    assert!(changed > 0, "{statement}");
    let audit = bench.audit(&run);
    let source = digests(&run);
    assert_ne!(audit.tables["steps"], source["steps"], "{statement}");
    assert_eq!(audit.tables["runs"], source["runs"]);
}

#[test]
fn a_changed_cell_of_any_kind() {
    for (column, value) in [
        ("in_text", "'A'"),
        ("in_text", "x'61'"),
        ("in_text", "CAST(x'ff' AS TEXT)"),
        ("in_float", "1.5000000000000002"),
        ("in_float", "'1.5V'"),
        ("in_float", "'Infinity'"),
        ("in_bool", "NOT in_bool"),
        ("in_bool", "2"),
        ("in_time", "'1970-01-01T00:00:00.000003Z'"),
        ("in_time", "'1970-01-01T00:00:00.000001z'"),
        ("in_json", "'[1.5]'"),
        ("in_json", "'[1'"),
        ("in_texts", "'[\"a\"]'"),
        ("in_texts", "'a'"),
        ("in_bools", "'[false]'"),
        ("in_int", "1.5"),
        ("step_index", "step_index + 1"),
        ("step_index", "1.5"),
        ("run_id", "upper(run_id) || 'x'"),
    ] {
        found(&format!("UPDATE steps SET {column} = {value} WHERE RUN AND row_index = 0"));
    }
}

#[test]
fn a_cell_made_null_or_not_null() {
    for column in ["in_text", "in_float", "in_bool", "in_time", "in_json", "in_texts", "in_bools", "in_int", "extra"] {
        found(&format!("UPDATE steps SET {column} = NULL WHERE RUN AND row_index = 1"));
    }
    found("UPDATE steps SET step_name = '' WHERE RUN AND row_index = 1");
}

#[test]
fn two_values_swapped_between_rows() {
    for column in [
        "in_text",
        "in_float",
        "in_bool",
        "in_time",
        "in_json",
        "in_texts",
        "in_bools",
        "in_int",
        "step_index",
        "extra",
    ] {
        found(&format!(
            "UPDATE steps SET {column} = (SELECT {column} FROM steps other WHERE other.run_id = steps.run_id AND other.row_index = 1 - steps.row_index) WHERE RUN"
        ));
    }
    found("UPDATE steps SET in_text = step_path, step_path = in_text WHERE RUN");
}

#[test]
fn a_changed_cell_in_extra() {
    for (column, value) in [
        ("out_text", "'A'"),
        ("out_float", "1.25"),
        ("out_bool", "json('false')"),
        ("out_time.timestamp", "'1970-01-01T00:00:00.000002Z'"),
        ("out_json.json", "'[3]'"),
        ("out_texts[0]", "'z'"),
        ("out_bools[0]", "json('false')"),
        ("out_int", "3"),
        ("out_new", "1"),
        ("out_text", "json('{}')"),
    ] {
        found(&format!("UPDATE steps SET extra = json_set(extra, '$.{column}', {value}) WHERE RUN AND row_index = 0"));
    }
    found("UPDATE steps SET extra = json_remove(extra, '$.out_bool') WHERE RUN AND row_index = 0");
    found("UPDATE steps SET extra = 'oops' WHERE RUN AND row_index = 0");
}

#[test]
fn a_row_deleted_or_added() {
    found("DELETE FROM steps WHERE RUN AND row_index = 1");
    found("DELETE FROM steps WHERE RUN");
    found("INSERT INTO steps (run_id, row_index) SELECT run_id, 7 FROM steps WHERE RUN LIMIT 1");
}

#[test]
fn a_dropped_column() {
    let (bench, run) = delivered();
    bench.sql().execute_batch("DROP VIEW run_rows; ALTER TABLE steps DROP COLUMN in_time").unwrap();
    assert_ne!(bench.audit(&run).tables, digests(&run));
}

#[test]
fn a_run_that_is_not_there_is_absent() {
    let (bench, _) = delivered();
    let audit = bench.audit(&TestRun::new(9, 9));
    assert_eq!((audit.sha256, audit.tables.len()), (None, 0));
}
