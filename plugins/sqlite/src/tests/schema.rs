//! How tables grow, and what happens where they must not.

use litmus_core::tables::Kind;
use litmus_core::{Report, Status, Table};
use serde_json::json;

use super::made::{Bench, Made, TestRun, V, column, text};
use crate::batch;
use crate::database::open_read_only;

fn steps(id: u8, columns: &[Made]) -> TestRun {
    TestRun::new(id, 1).with(Table::Steps, columns)
}

fn extra(bench: &Bench) -> Vec<Vec<String>> {
    bench.query("SELECT extra FROM steps WHERE extra IS NOT NULL ORDER BY run_id, row_index")
}

#[test]
fn a_column_that_came_first_as_another_kind_sends_cells_to_extra() {
    let bench = Bench::new();
    bench.deliver_one(&steps(1, &[column("in_x", Kind::Float, [V::Float(1.5)])]));
    let conflict = steps(2, &[column("in_x", Kind::Text, [text("n/a"), V::Null, text("1.5")])]);
    let receipt = bench.deliver_one(&conflict).receipt.unwrap();
    assert_eq!(receipt.extra.into_iter().collect::<Vec<_>>(), [("steps.in_x".to_owned(), 2)]);
    assert_eq!(extra(&bench), [[r#"{"in_x":"n/a"}"#], [r#"{"in_x":"1.5"}"#]]);
    bench.assert_holds(&conflict);
}

#[test]
fn whole_numbers_go_into_a_float_column_where_that_is_exact() {
    let bench = Bench::new();
    let exact = 1i64 << 53;
    let run = steps(1, &[column("in_n", Kind::Int, [V::Int(7), V::Int(exact), V::Int(exact + 1), V::Int(i64::MIN)])]);
    let receipt = bench.deliver_one(&run).receipt.unwrap();
    assert_eq!(receipt.extra["steps.in_n"], 2);
    assert_eq!(
        bench.query("SELECT in_n, extra FROM steps ORDER BY row_index"),
        [
            ["7.0", "NULL"],
            ["9007199254740992.0", "NULL"],
            ["NULL", r#"{"in_n":9007199254740993}"#],
            ["NULL", r#"{"in_n":-9223372036854775808}"#],
        ]
    );
    bench.assert_holds(&run);
}

#[test]
fn times_that_have_no_text_go_to_extra() {
    let bench = Bench::new();
    let run = steps(1, &[column("step_started_at", Kind::Timestamp, [V::Time(i64::MAX), V::Time(0)])]);
    bench.deliver_one(&run);
    assert_eq!(extra(&bench), [[r#"{"step_started_at":{"timestamp_us":9223372036854775807}}"#]]);
    bench.assert_holds(&run);
}

#[test]
fn ignore_keeps_unknown_columns_in_extra() {
    let bench = Bench::with(json!({ "schema_policy": "ignore" }));
    let columns = [
        column("in_f", Kind::Float, [V::Float(f64::NAN), V::Float(2.5)]),
        column("in_t", Kind::Timestamp, [V::Time(0), V::Null]),
        column("in_l", Kind::BoolList, [V::Null, V::Bools(vec![Some(true), None])]),
    ];
    let run = steps(1, &columns);
    let receipt = bench.deliver_one(&run).receipt.unwrap();
    assert_eq!(receipt.extra.len(), 3);
    assert_eq!(
        extra(&bench),
        [
            [r#"{"in_f":{"number":"NaN"},"in_t":{"timestamp":"1970-01-01T00:00:00.000000Z"}}"#],
            [r#"{"in_f":2.5,"in_l":[true,null]}"#]
        ]
    );
    bench.assert_holds(&run);
}

#[test]
fn columns_past_the_limit_go_to_extra() {
    let core = Table::Steps.core_columns().len();
    let bench = Bench::with(json!({ "columns_max": core + 1 }));
    let run = steps(1, &[column("in_a", Kind::Text, [text("a")]), column("in_b", Kind::Text, [text("b")])]);
    assert_eq!(bench.deliver_one(&run).receipt.unwrap().extra["steps.in_b"], 1);
    assert_eq!(bench.query("SELECT in_a, extra FROM steps"), [["a", r#"{"in_b":"b"}"#]]);
    bench.assert_holds(&run);
}

#[test]
fn a_thousand_columns_fit_if_they_may_and_the_view_still_works() {
    let bench = Bench::with(json!({ "columns_max": 1900 }));
    let wide: Vec<_> = (0..1850).map(|at| column(&format!("in_{at}"), Kind::Text, [text("x")])).collect();
    let wider: Vec<_> = (0..1850).map(|at| column(&format!("out_{at}"), Kind::Text, [text("y")])).collect();
    let run = steps(1, &wide).with(Table::Measurements, &wider);
    bench.deliver_one(&run);
    bench.assert_holds(&run);
    assert_eq!(bench.query("SELECT record_type, in_7 FROM run_rows WHERE in_7 IS NOT NULL"), [["step", "x"]]);
}

#[test]
fn freeze_stops_with_statements_that_somebody_can_run() {
    let bench = Bench::with(json!({ "schema_policy": "freeze" }));
    let runs = [
        steps(1, &[column("in_it's", Kind::Text, [text("a")])]),
        steps(2, &[column("in_a\0", Kind::Float, [V::Float(1.0)])]),
    ];
    let error = bench.try_deliver(&runs).unwrap_err();
    assert_eq!(error.status(), Status::Schema);
    let message = error.to_string();
    assert!(message.contains("schema_policy is \"freeze\"\nhint: run these statements"), "{message}");
    assert!(
        message.contains("CREATE TABLE \"steps\"") && message.contains(", \"in_it's\" TEXT, \"in_a__"),
        "{message}"
    );
    assert_eq!(bench.query("SELECT COUNT(*) FROM sqlite_master WHERE name = 'steps'"), [["0"]], "nothing was made");

    let (_, statements) = message.split_once(":\nCREATE").unwrap();
    bench.sql().execute_batch(&format!("CREATE{statements}")).unwrap();
    for (run, report) in runs.iter().zip(bench.deliver(&runs)) {
        assert_eq!(report.status, Status::Delivered, "{}", report.message);
        assert!(report.receipt.unwrap().extra.is_empty());
        bench.assert_holds(run);
    }
    // Known runs need nothing, and a conflict of kinds no statement: it goes to extra.
    assert_eq!(bench.deliver(&runs[..1])[0].status, Status::AlreadyPresent);
    let conflict = steps(3, &[column("in_it's", Kind::Bool, [V::Bool(true)])]);
    assert_eq!(bench.deliver_one(&conflict).receipt.unwrap().extra["steps.in_it's"], 1);
}

#[test]
fn a_long_list_of_statements_is_cut_and_says_where_the_whole_is() {
    let bench = Bench::with(json!({ "schema_policy": "freeze" }));
    let many: Vec<_> = (0..300).map(|at| column(&format!("in_{at:0>200}"), Kind::Text, [text("x")])).collect();
    let message = bench.try_deliver(&[steps(1, &many)]).unwrap_err().to_string();
    assert!(message.len() < 40_000, "{}", message.len());
    assert!(message.ends_with("statements more: `litmus-host forward --dry-run` prints them all"), "{message}");
}

#[test]
fn names_are_spelled_as_asked_and_stay_so() {
    let bench = Bench::with(json!({ "vocabulary": "testerkit" }));
    bench.deliver_one(&TestRun::new(1, 1));
    assert_eq!(bench.query("SELECT uut_serial_number, part_id FROM test_runs"), [["SN1", "NULL"]]);
    let mut other = Bench::new();
    other.settings.path = bench.path();
    let run = TestRun::new(2, 1).with(Table::Steps, &[column("step_name", Kind::Text, [text("a")])]);
    other.deliver_one(&run);
    other.assert_holds(&run);
    assert_eq!(bench.query("SELECT uut_serial_number FROM test_runs ORDER BY 1"), [["SN1"], ["SN2"]]);
}

#[test]
fn a_column_of_the_users_own_stays_and_is_not_taken() {
    let bench = Bench::new();
    bench.deliver_one(&steps(1, &[column("step_name", Kind::Text, [text("a")])]));
    bench.sql().execute_batch("ALTER TABLE steps ADD COLUMN In_Note TEXT; UPDATE steps SET In_Note = 'mine'").unwrap();
    let run = steps(2, &[column("in_note", Kind::Text, [text("theirs")])]);
    bench.deliver_one(&run);
    bench.assert_holds(&run);
    assert_eq!(bench.query("SELECT In_Note FROM steps ORDER BY run_id"), [["mine"], ["NULL"]]);
}

#[test]
fn a_dropped_column_is_named() {
    let bench = Bench::new();
    bench.deliver_one(&steps(1, &[column("in_x", Kind::Text, [text("a")])]));
    bench.sql().execute_batch("DROP VIEW run_rows; ALTER TABLE steps DROP COLUMN in_x").unwrap();
    let error = bench.try_deliver(&[TestRun::new(2, 1)]).unwrap_err();
    assert_eq!(error.status(), Status::Schema);
    assert!(error.to_string().contains("\"steps\".\"in_x\" was dropped"), "{error}");
}

#[test]
fn a_dry_run_says_what_it_would_do_and_does_nothing() {
    let bench = Bench::new();
    let runs = [steps(1, &[column("in_x", Kind::Text, [text("a")])]), TestRun::new(2, 1)];
    let dry = |bench: &Bench, runs: &[TestRun]| dry_runs(bench, &[runs]);
    let reports = dry(&bench, &runs);
    let planned = |at: usize| reports[at].receipt.as_ref().unwrap().planned.clone();
    assert_eq!([reports[0].status, reports[1].status], [Status::Delivered; 2]);
    assert!(planned(0)[0].starts_with("CREATE TABLE IF NOT EXISTS \"litmus_meta\""), "{:?}", planned(0));
    assert!(planned(0).iter().any(|statement| statement.starts_with("CREATE TABLE \"steps\"")));
    assert!(planned(1).is_empty(), "the first run's statements are enough for both");
    assert_eq!(std::fs::read_dir(bench.folder.path()).unwrap().count(), 0, "no file was made");

    bench.deliver_one(&runs[0]);
    let before = std::fs::read(bench.path()).unwrap();
    let more = steps(3, &[column("out_y", Kind::Bool, [V::Bool(true)])]);
    let reports = dry(&bench, &[runs[0].clone(), more.clone()]);
    assert_eq!([reports[0].status, reports[1].status], [Status::AlreadyPresent, Status::Delivered]);
    assert_eq!(reports[1].receipt.as_ref().unwrap().planned[0], "ALTER TABLE \"steps\" ADD COLUMN \"out_y\" BOOLEAN");
    assert_eq!(std::fs::read(bench.path()).unwrap(), before);
    assert_eq!(std::fs::read_dir(bench.folder.path()).unwrap().count(), 1, "no log was left");

    let mut frozen = Bench::with(json!({ "schema_policy": "freeze" }));
    frozen.settings.path = bench.path();
    let report = dry(&frozen, &[more]).remove(0);
    assert_eq!(report.status, Status::Schema);
    assert!(report.message.contains("schema_policy is \"freeze\""), "{}", report.message);
    assert!(report.receipt.unwrap().planned[0].ends_with("ADD COLUMN \"out_y\" BOOLEAN"));
}

/// In several calls, as the host cuts batches.
fn dry_runs(bench: &Bench, batches: &[&[TestRun]]) -> Vec<Report> {
    let connection = open_read_only(&bench.settings).unwrap();
    let mut rehearsal = batch::rehearse(connection.as_ref(), &bench.settings).unwrap();
    let of_batch = |runs: &&[TestRun]| {
        batch::dry_run(&mut rehearsal, connection.as_ref(), &bench.settings, runs, &|| Ok(())).unwrap()
    };
    batches.iter().flat_map(of_batch).collect()
}

/// Names that a terminal does not show as they are, in a dry run of several batches: what it lists is run by SQLite, and is
/// then enough under `freeze`.
#[test]
fn what_a_dry_run_lists_can_be_run_and_is_enough() {
    let names = ["in_a\nb", "in_tab\tx", "in_e\u{1b}[31m", "in_rtl\u{202e}y", "in_\0", "in_it's\\"];
    let runs: Vec<_> =
        (1..).zip(names).map(|(id, name)| steps(id, &[column(name, Kind::Text, [text(name)])])).collect();
    let batches: Vec<&[TestRun]> = runs.chunks(2).collect();
    for there in [false, true] {
        let frozen = Bench::with(json!({ "schema_policy": "freeze" }));
        let mut evolving = Bench::new();
        evolving.settings.path = frozen.path();
        if there {
            evolving.deliver_one(&TestRun::new(99, 1));
        }
        let listed = |reports: &[Report]| -> Vec<String> {
            reports.iter().flat_map(|report| report.receipt.as_ref().unwrap().planned.clone()).collect()
        };
        let reports = dry_runs(&frozen, &batches);
        assert!(reports.iter().all(|report| report.status == Status::Schema), "{reports:?}");
        let statements = listed(&reports);
        assert_eq!(statements, listed(&dry_runs(&evolving, &batches)), "the policy does not change what is needed");
        assert!(!statements.iter().any(|statement| statement.contains(litmus_sql::is_unprintable)), "{statements:?}");
        frozen.sql().execute_batch(&statements.join(";\n")).unwrap();
        for (run, report) in runs.iter().zip(frozen.deliver(&runs)) {
            assert_eq!(report.status, Status::Delivered, "{}", report.message);
            assert!(report.receipt.unwrap().extra.is_empty());
            frozen.assert_holds(run);
        }
        assert!(listed(&dry_runs(&frozen, &batches)).is_empty());
    }
}

#[test]
fn a_dropped_view_is_made_again_and_a_dropped_table_is_named_as_one() {
    let bench = Bench::new();
    let run = steps(1, &[column("in_x", Kind::Text, [text("a")]), column("in_y", Kind::Text, [text("b")])]);
    bench.deliver_one(&run);
    bench.sql().execute_batch("DROP VIEW run_rows").unwrap();
    let planned = dry_runs(&bench, &[&[TestRun::new(2, 1)]]).remove(0).receipt.unwrap().planned;
    assert!(planned[1].starts_with("CREATE VIEW \"run_rows\""), "{planned:?}");
    bench.deliver_one(&TestRun::new(2, 1));
    assert_eq!(bench.query("SELECT in_x, in_y FROM run_rows WHERE record_type = 'step'"), [["a", "b"]]);

    bench.sql().execute_batch("DROP VIEW run_rows; DROP TABLE steps").unwrap();
    let error = bench.try_deliver(&[TestRun::new(3, 1)]).unwrap_err();
    assert_eq!(error.status(), Status::Schema);
    let error = error.to_string();
    assert!(error.contains("the table \"steps\" was dropped") && !error.contains("in_x"), "{error}");
    // As the hint says.
    bench.sql().execute_batch("DELETE FROM litmus_columns WHERE table_name = 'steps'").unwrap();
    bench.deliver_one(&TestRun::new(3, 1));
    assert_eq!(bench.query("SELECT COUNT(*) FROM run_rows WHERE record_type = 'run'"), [["3"]]);
}
