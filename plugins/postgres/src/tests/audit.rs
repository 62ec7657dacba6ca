//! Whatever is changed in a run's rows behind our back is found.

use litmus_core::tables::Kind;
use litmus_core::{Status, Table};

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

fn found(statement: &str) {
    let (bench, run) = delivered();
    found_in(&bench, &run, statement);
}

/// One statement on the run's rows; the audit must differ from the source in `steps` alone. The run is whole afterwards.
fn found_in(bench: &Bench, run: &TestRun, statement: &str) {
    bench.assert_holds(run);
    let statement = statement.replace("RUN", &format!("run_id = '{}'", run.run_id));
    let changed = bench.psql(&format!("WITH changed AS ({statement} RETURNING 1) SELECT count(*) FROM changed"));
    assert_ne!(changed, "0", "{statement}");
    let audit = bench.audit(run);
    let source = digests(run);
    assert_ne!(audit.tables["steps"], source["steps"], "{statement}");
    assert_eq!(audit.tables["runs"], source["runs"]);
    bench.deliver_one(&TestRun { force: true, ..run.clone() });
}

#[test]
fn a_changed_cell_of_any_kind() {
    let (bench, run) = delivered();
    for (column, value) in [
        ("in_text", "'A'"),
        ("in_text", "in_text || ' '"),
        ("in_float", "1.5000000000000002"),
        ("in_float", "'Infinity'"),
        ("in_bool", "NOT in_bool"),
        ("in_time", "in_time + interval '1 microsecond'"),
        ("in_time", "'infinity'"),
        ("in_json", "'[1.5]'"),
        ("in_json", "'[\"1\"]'"),
        ("in_texts", "'{a}'"),
        ("in_texts", "'{{a},{NULL}}'"),
        ("in_texts", "'[0:1]={a,NULL}'"),
        ("in_texts", "'{a,\"NULL\"}'"),
        ("in_bools", "'{f}'"),
        ("in_int", "1.5"),
        ("step_index", "step_index + 1"),
        ("row_index", "7"),
    ] {
        found_in(&bench, &run, &format!("UPDATE steps SET {column} = {value} WHERE RUN AND row_index = 0"));
    }
}

#[test]
fn a_column_of_another_type() {
    for (column, data_type) in [
        ("in_text", "bytea USING in_text::bytea"),
        ("in_float", "numeric"),
        ("in_int", "integer"),
        ("in_json", "json"),
        ("in_time", "timestamp"),
        ("in_texts", "text USING in_texts::text"),
        ("in_bools", "int[] USING '{1}'"),
    ] {
        let (bench, run) = delivered();
        bench.psql(&format!("DROP VIEW run_rows; ALTER TABLE steps ALTER {column} TYPE {data_type}"));
        assert_ne!(bench.audit(&run).tables["steps"], digests(&run)["steps"], "{column}");
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
    let (bench, run) = delivered();
    for (path, value) in [
        ("{out_text}", "\"A\""),
        ("{out_float}", "1.25"),
        ("{out_bool}", "false"),
        ("{out_time,timestamp}", "\"1970-01-01T00:00:00.000002Z\""),
        ("{out_json,json}", "\"[3]\""),
        ("{out_texts,0}", "\"z\""),
        ("{out_bools,0}", "false"),
        ("{out_int}", "3"),
        ("{out_new}", "1"),
        ("{out_text}", "{}"),
    ] {
        let set = format!("UPDATE steps SET extra = jsonb_set(extra, '{path}', '{value}') WHERE RUN AND row_index = 0");
        found_in(&bench, &run, &set);
    }
    found_in(&bench, &run, "UPDATE steps SET extra = extra - 'out_bool' WHERE RUN AND row_index = 0");
    found_in(&bench, &run, "UPDATE steps SET extra = '\"oops\"' WHERE RUN AND row_index = 0");
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
    bench.psql("DROP VIEW run_rows; ALTER TABLE steps DROP COLUMN in_time");
    assert_ne!(bench.audit(&run).tables, digests(&run));
}

#[test]
fn a_run_that_is_not_there_is_absent() {
    let (bench, _) = delivered();
    let audit = bench.audit(&TestRun::new(9, 9));
    assert_eq!((audit.sha256, audit.tables.len()), (None, 0));
}

/// Somebody holds a table: an audit, and a look at the tables, end as a delivery does.
#[test]
fn the_limit_of_a_statement_holds_for_reading_too() {
    let bench = Bench::with(serde_json::json!({ "statement_timeout_ms": 300 }));
    let run = TestRun::new(1, 1);
    bench.deliver_one(&run);
    let mut locker = bench
        .server
        .command("psql")
        .args(["-X", "-q", "-U", "litmus", "-d", "postgres", "-h"])
        .arg(bench.server.socket_folder())
        .args(["-p", &bench.server.port().to_string(), "-c"])
        .arg(format!(
            "BEGIN; LOCK TABLE {0}.steps, {0}.litmus_columns, {0}.litmus_deliveries; SELECT pg_sleep(600)",
            bench.schema
        ))
        .spawn()
        .unwrap();
    let locked = format!(
        "SELECT count(*) FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND granted AND relation = '{}.litmus_deliveries'::regclass",
        bench.schema
    );
    assert!(litmus_tests::project::wait_until(std::time::Duration::from_secs(20), || bench.psql(&locked) == "1"));
    let audited = bench.sink.within(&|| Ok(()), |session| {
        bench.sink.pool.with(session, |link| crate::audit::audit(session, link, &[run.run_id]))
    });
    let delivered = bench.try_deliver(&[TestRun::new(2, 1)]).1;
    for error in [audited.unwrap_err(), delivered.unwrap_err(), bench.connect().unwrap_err()] {
        assert!(error.status() == Status::Transient && error.to_string().contains("[57014]"), "{error}");
    }
    locker.kill().unwrap();
    locker.wait().unwrap();
    bench.server.psql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(600)%' AND pid <> pg_backend_pid()");
    bench.connect().unwrap();
    bench.assert_holds(&run);
}
