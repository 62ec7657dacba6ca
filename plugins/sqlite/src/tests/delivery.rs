//! What a delivery leaves in the file.

use std::cell::Cell;

use litmus_core::tables::Kind;
use litmus_core::{Grade, Sha256, SinkError, Status, Table};
use proptest::prelude::*;

use super::made::{Bench, Made, TestRun, V, column, digests, text};
use crate::batch;
use crate::database::Patience;

const KINDS: [Kind; 8] =
    [Kind::Text, Kind::Int, Kind::Float, Kind::Bool, Kind::Timestamp, Kind::Json, Kind::TextList, Kind::BoolList];

fn string() -> impl Strategy<Value = String> {
    prop_oneof![
        "(?s).{0,12}",
        Just("a\0b".to_owned()),
        Just("NaN".to_owned()),
        Just("007".to_owned()),
        Just("1e5".to_owned()),
        Just("'; DROP TABLE steps; --".to_owned()),
        Just("2026-06-01T00:00:00.000000Z".to_owned()),
    ]
}

fn value(kind: Kind) -> BoxedStrategy<V> {
    let json = prop_oneof![
        string()
            .prop_map(|text| serde_json::json!({ "k": [text, null, 1.5, 12_345_678_901_234_567_890_u64] }).to_string()),
        Just("12345678901234567890".to_owned()),
        Just("1.50".to_owned()),
        string(),
    ];
    let known = match kind {
        Kind::Text => string().prop_map(V::Text).boxed(),
        Kind::Int => prop_oneof![any::<i64>(), Just(i64::MIN), Just(i64::MAX), -3..3i64].prop_map(V::Int).boxed(),
        Kind::Float => {
            prop_oneof![proptest::num::f64::ANY, Just(f64::NAN), Just(f64::INFINITY), Just(-0.0), Just(1e300)]
                .prop_map(V::Float)
                .boxed()
        }
        Kind::Bool => any::<bool>().prop_map(V::Bool).boxed(),
        Kind::Timestamp => {
            prop_oneof![any::<i64>(), Just(i64::MIN), 0..4_102_444_800_000_000_i64].prop_map(V::Time).boxed()
        }
        Kind::Json => json.prop_map(V::Json).boxed(),
        Kind::TextList => proptest::collection::vec(proptest::option::of(string()), 0..4).prop_map(V::Texts).boxed(),
        Kind::BoolList => proptest::collection::vec(any::<Option<bool>>(), 0..4).prop_map(V::Bools).boxed(),
    };
    prop_oneof![1 => Just(V::Null), 4 => known].boxed()
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        "in_[a-c]",
        "IN_[a-c]",
        "(?s).{0,10}",
        Just(String::new()),
        Just("extra".to_owned()),
        Just("record_type".to_owned()),
        Just("rowid".to_owned()),
        Just("out_\"; drop table steps; --".to_owned()),
        Just("in_\0\n".to_owned()),
    ]
}

/// Columns of one table, three rows each, no name twice.
fn columns() -> impl Strategy<Value = Vec<Made>> {
    let kind = proptest::sample::select(&KINDS[..]);
    let one = (name(), kind).prop_flat_map(|(name, kind)| {
        proptest::collection::vec(value(kind), 3).prop_map(move |cells| (name.clone(), kind, cells))
    });
    proptest::collection::vec(one, 1..8).prop_map(|mut columns| {
        let mut seen = std::collections::HashSet::new();
        columns.retain(|(name, ..)| seen.insert(name.clone()));
        columns
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// Two runs that share names, kinds or neither, under every policy: what is read back is what was given.
    #[test]
    fn any_names_and_values_come_back(
        first in columns(), second in columns(), policy in proptest::sample::select(&["evolve", "ignore"][..]),
    ) {
        let bench = Bench::with(serde_json::json!({ "schema_policy": policy, "columns_max": 40 }));
        let runs = [
            TestRun::new(1, 1).with(Table::Steps, &first).with(Table::Measurements, &second),
            TestRun::new(2, 1).with(Table::Steps, &second).with(Table::Vectors, &first),
        ];
        for (run, report) in runs.iter().zip(bench.deliver(&runs)) {
            prop_assert_eq!(report.status, Status::Delivered, "{}", report.message);
            prop_assert_eq!(report.receipt.unwrap().tables, digests(run));
            bench.assert_holds(run);
        }
        let steps = bench.query("SELECT COUNT(*) FROM run_rows WHERE record_type = 'step'");
        prop_assert_eq!(steps, vec![vec!["6".to_owned()]]);
    }
}

#[test]
fn every_kind_is_what_the_documentation_says() {
    let bench = Bench::new();
    let columns = [
        column("in_text", Kind::Text, [text("007"), text("a\0b")]),
        column("in_int", Kind::Int, [V::Int(5), V::Int(-7)]),
        column("in_float", Kind::Float, [V::Float(f64::NAN), V::Float(f64::NEG_INFINITY)]),
        column("in_bool", Kind::Bool, [V::Bool(true), V::Bool(false)]),
        column("in_time", Kind::Timestamp, [V::Time(1_780_277_400_000_001), V::Null]),
        column("in_json", Kind::Json, [V::Json("1.50".to_owned()), V::Json("{\"a\":1}".to_owned())]),
        column("in_texts", Kind::TextList, [V::Texts(vec![Some("dmm".to_owned()), None]), V::Texts(vec![])]),
        column("in_bools", Kind::BoolList, [V::Bools(vec![Some(true), None]), V::Null]),
        column("step_index", Kind::Int, [V::Int(i64::MIN), V::Int(i64::MAX)]),
    ];
    let run = TestRun::new(1, 1).with(Table::Steps, &columns);
    bench.deliver_one(&run);
    let rows = bench.query(
        "SELECT in_text, in_int, in_float, in_bool, in_time, in_json, in_texts, in_bools, step_index, extra FROM steps",
    );
    let expected = [
        [
            "007",
            "5.0",
            "NaN",
            "1",
            "2026-06-01T01:30:00.000001Z",
            "1.50",
            "[\"dmm\",null]",
            "[true,null]",
            "-9223372036854775808",
            "NULL",
        ],
        ["a\0b", "-7.0", "-Infinity", "0", "NULL", "{\"a\":1}", "[]", "NULL", "9223372036854775807", "NULL"],
    ];
    assert_eq!(rows, expected);
    bench.assert_holds(&run);
}

#[test]
fn a_run_arrives_with_its_receipt_and_again_changes_nothing() {
    let bench = Bench::new();
    let run = TestRun::new(1, 1).with(Table::Steps, &[column("step_name", Kind::Text, [text("a"), text("b")])]);
    let receipt = bench.deliver_one(&run).receipt.unwrap();
    assert_eq!(receipt.grade, Some(Grade::Committed));
    assert_eq!(receipt.tables["steps"].rows, 2);
    assert_eq!(receipt.tables["vectors"].rows, 0);
    assert!(receipt.location.unwrap().starts_with("sqlite:///"));
    let all = "SELECT * FROM litmus_deliveries";
    let before = bench.query(all);
    let again = bench.deliver(std::slice::from_ref(&run)).remove(0);
    assert_eq!(again.status, Status::AlreadyPresent);
    let noted = again.receipt.unwrap();
    assert_eq!((noted.grade, noted.tables), (None, digests(&run)));
    assert_eq!(bench.query(all), before, "not even the time of delivery");
    bench.assert_holds(&run);
}

#[test]
fn two_revisions_settle_in_either_order_and_never_mix() {
    let step = |name: &str| [column("step_name", Kind::Text, [text(name), text("both")])];
    let old = TestRun::new(1, 1).with(Table::Steps, &step("old"));
    let new = TestRun::new(1, 2)
        .with(Table::Steps, &step("new"))
        .with(Table::Vectors, &[column("vector_index", Kind::Int, [V::Int(1)])]);
    for order in [[&old, &new], [&new, &old]] {
        let bench = Bench::new();
        let reports: Vec<_> = order.map(|run| bench.deliver(std::slice::from_ref(run)).remove(0).status).into();
        let last = if order[0].rank < order[1].rank { Status::Delivered } else { Status::Superseded };
        assert_eq!(reports, [Status::Delivered, last]);
        bench.assert_holds(&new);
        assert_eq!(bench.query("SELECT step_name FROM steps ORDER BY row_index"), [["new"], ["both"]]);
    }
    // Both at once: the batch settles as two batches would.
    let bench = Bench::new();
    let reports = bench.deliver(&[new.clone(), old.clone()]);
    assert_eq!([reports[0].status, reports[1].status], [Status::Delivered, Status::Superseded]);
    bench.assert_holds(&new);
}

#[test]
fn lineage_and_force_beat_rank() {
    let bench = Bench::new();
    let (high, low) = (TestRun::new(1, 9), TestRun::new(1, 3));
    bench.deliver_one(&high);
    let known = TestRun { supersedes: vec![Sha256([9; 32])], ..low.clone() };
    bench.deliver_one(&known);
    bench.assert_holds(&low);
    // Whoever still has the older one does not bring it back, however it ranks; what nobody knows to be older does.
    assert_eq!(bench.deliver(std::slice::from_ref(&high))[0].status, Status::Superseded);
    bench.assert_holds(&low);
    let higher = TestRun::new(1, 12);
    bench.deliver_one(&higher);
    bench.assert_holds(&higher);
    bench.deliver_one(&TestRun { force: true, ..low.clone() });
    bench.assert_holds(&low);
}

#[test]
fn a_run_at_fault_leaves_its_neighbours_alone() {
    let bench = Bench::new();
    let steps = [column("step_name", Kind::Text, [text("a"), text("b")])];
    let twice =
        [column("row_index", Kind::Int, [V::Int(4), V::Int(4)]), column("in_new", Kind::Text, [text("x"), V::Null])];
    let foreign = [column("run_id", Kind::Text, [text("someone else")])];
    let runs = [
        TestRun::new(1, 1).with(Table::Steps, &steps),
        TestRun::new(2, 1).with(Table::Steps, &twice),
        TestRun { breaks: Some(Table::Measurements), ..TestRun::new(3, 1).with(Table::Steps, &steps) },
        TestRun::new(4, 1).with(Table::Instruments, &foreign),
        TestRun::new(5, 1).with(Table::Steps, &[column("row_index", Kind::Int, [V::Null])]),
        TestRun::new(6, 1).with(Table::Steps, &steps),
    ];
    let reports = bench.deliver(&runs);
    let statuses: Vec<_> = reports.iter().map(|report| report.status).collect();
    use Status::{Data, Delivered};
    assert_eq!(statuses, [Delivered, Data, Data, Data, Data, Delivered]);
    let says = |at: usize, words: &[&str]| {
        let message = &reports[at].message;
        assert!(words.iter().all(|word| message.contains(word)), "{message}");
    };
    says(1, &["run 02020202-", "table steps, row_index 4", "UNIQUE"]);
    says(2, &["table measurements", "cannot be read", "page 7 is damaged"]);
    says(3, &["table instruments", "row 0: its run_id is \"someone else\""]);
    says(4, &["table steps, row 0", "NOT NULL"]);
    for table in ["test_runs", "litmus_deliveries"] {
        assert_eq!(bench.query(&format!("SELECT COUNT(*) FROM {table}")), [["2"]], "{table}");
    }
    assert_eq!(bench.query("SELECT COUNT(*) FROM steps"), [["4"]]);
    bench.assert_holds(&runs[0]);
    bench.assert_holds(&runs[5]);
    assert_eq!(bench.audit(&runs[2]).sha256, None);
}

#[test]
fn rows_left_without_their_note_do_not_stand_in_the_way() {
    let bench = Bench::new();
    let run = TestRun::new(1, 1).with(Table::Steps, &[column("step_name", Kind::Text, [text("a")])]);
    bench.deliver_one(&run);
    bench.sql().execute("DELETE FROM litmus_deliveries", []).unwrap();
    bench.deliver_one(&run);
    bench.assert_holds(&run);
}

#[test]
fn a_cancelled_batch_leaves_nothing() {
    let bench = Bench::new();
    let database = bench.open();
    let calls = Cell::new(0);
    let cancelled = || {
        calls.set(calls.get() + 1);
        if calls.get() > 4 { Err(SinkError::cancelled()) } else { Ok(()) }
    };
    let step = [column("step_name", Kind::Text, [text("a")])];
    let runs = [1, 2, 3].map(|id| TestRun::new(id, 1).with(Table::Steps, &step));
    let patience = Patience::new(&bench.settings, None, &cancelled);
    let error = batch::deliver(&database, &bench.settings, &runs, &patience).unwrap_err();
    assert_eq!(error.status(), Status::Cancelled);
    assert_eq!(bench.query("SELECT COUNT(*) FROM litmus_deliveries"), [["0"]]);
    assert_eq!(bench.query("SELECT COUNT(*) FROM sqlite_master WHERE name = 'steps'"), [["0"]]);
    // The same connection goes on.
    let patience = Patience::new(&bench.settings, None, &|| Ok(()));
    let reports = batch::deliver(&database, &bench.settings, &runs, &patience).unwrap();
    assert!(reports.iter().all(|report| report.status == Status::Delivered));
}

#[test]
fn a_run_in_many_batches_is_one_run() {
    let bench = Bench::new();
    let names =
        |names: &[&str]| [column("step_name", Kind::Text, names.iter().map(|name| text(name)).collect::<Vec<_>>())];
    // A column that is NULL in one batch and not in the next must not keep the value bound before.
    let run = TestRun::new(1, 1)
        .with(Table::Steps, &names(&["a", "b"]))
        .with(Table::Steps, &[column("step_path", Kind::Text, [text("p"), V::Null])])
        .with(Table::Steps, &names(&["c"]));
    bench.deliver_one(&run);
    bench.assert_holds(&run);
    assert_eq!(
        bench.query("SELECT step_name, step_path FROM steps ORDER BY row_index"),
        [["a", "NULL"], ["b", "NULL"], ["NULL", "p"], ["NULL", "NULL"], ["c", "NULL"]]
    );
}
