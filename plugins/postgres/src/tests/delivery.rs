//! What a delivery leaves in the schema.

use std::sync::atomic::{AtomicU32, Ordering};

use litmus_core::tables::Kind;
use litmus_core::{Grade, Sha256, SinkError, Status, Table};

use proptest::prelude::*;

use super::made::{Bench, Made, TestRun, V, column, digests, text};

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
        Just("[1e400, -1E-400, 1e2]".to_owned()),
        Just("[9.223372036854775e18, -9.223372036854775e+18, 9223372036854775000.0]".to_owned()),
        Just("{\"a\\u0000\": \"\\ud800\"}".to_owned()),
        Just("{\"a\\u0000\": \"b\\u0000\", \"c\": 1e5}".to_owned()),
        Just("\"a\0\"".to_owned()),
        string(),
    ];
    let known = match kind {
        Kind::Text => string().prop_map(V::Text).boxed(),
        Kind::Int => prop_oneof![any::<i64>(), Just(i64::MIN), Just(i64::MAX), -3..3i64].prop_map(V::Int).boxed(),
        Kind::Float => prop_oneof![
            proptest::num::f64::ANY,
            Just(f64::NAN),
            Just(f64::INFINITY),
            Just(-0.0),
            Just(1e300),
            Just(9.223_372_036_854_775e18)
        ]
        .prop_map(V::Float)
        .boxed(),
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
        Just("xmin".to_owned()),
        Just("in_\\0".to_owned()),
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
        let steps = bench.psql("SELECT COUNT(*) FROM run_rows WHERE record_type = 'step'");
        prop_assert_eq!(steps, "6");
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
    let receipt = bench.deliver_one(&run).receipt.unwrap();
    assert_eq!(receipt.conversions.into_iter().collect::<Vec<_>>(), [("nul_to_replacement".to_owned(), 1)]);
    let sql = "SET timezone = 'UTC'; SELECT run_id, in_text, in_int, in_float, in_bool, in_time, in_json, in_texts, in_bools, step_index, extra \
               FROM steps ORDER BY row_index";
    assert_eq!(
        bench.psql(sql),
        "01010101-0101-0101-0101-010101010101|007|5|NaN|t|2026-06-01 01:30:00.000001+00|1.50|{dmm,NULL}|{t,NULL}|-9223372036854775808|\n\
         01010101-0101-0101-0101-010101010101|a\u{fffd}b|-7|-Infinity|f||{\"a\": 1}|{}||9223372036854775807|"
    );
    let types = "SELECT string_agg(data_type, ',' ORDER BY column_name) FROM information_schema.columns \
                 WHERE table_schema = current_schema AND table_name = 'steps' AND column_name ~ '^in_|^run_id'";
    assert_eq!(
        bench.psql(types),
        "boolean,ARRAY,double precision,double precision,jsonb,text,ARRAY,timestamp with time zone,uuid"
    );
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
    assert!(receipt.location.unwrap().ends_with(&format!("?schema={}", bench.schema)));
    let all = "SELECT xmin, * FROM litmus_deliveries";
    let before = bench.psql(all);
    let again = bench.deliver(std::slice::from_ref(&run)).remove(0);
    assert_eq!(again.status, Status::AlreadyPresent);
    let noted = again.receipt.unwrap();
    assert_eq!((noted.grade, noted.tables), (None, digests(&run)));
    assert_eq!(bench.psql(all), before, "not even the time of delivery");
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
        assert_eq!(bench.psql("SELECT step_name FROM steps ORDER BY row_index"), "new\nboth");
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
    says(1, &["run 02020202-", "table steps, row_index 4", "column row_index is 4", "23505"]);
    says(2, &["table measurements", "cannot be read", "page 7 is damaged"]);
    says(3, &["table instruments", "row 0: its run_id is \"someone else\""]);
    says(4, &["table steps, row 0", "column row_index is NULL", "23502"]);
    for table in ["test_runs", "litmus_deliveries"] {
        assert_eq!(bench.psql(&format!("SELECT COUNT(*) FROM {table}")), "2", "{table}");
    }
    assert_eq!(bench.psql("SELECT COUNT(*) FROM steps"), "4");
    bench.assert_holds(&runs[0]);
    bench.assert_holds(&runs[5]);
    assert_eq!(bench.audit(&runs[2]).sha256, None);
}

#[test]
fn what_only_the_commit_refuses_is_found_run_by_run() {
    let bench = Bench::new();
    bench.psql(
        "CREATE TABLE serials (serial text PRIMARY KEY); INSERT INTO serials VALUES ('SN1'), ('SN2'), ('SN4'); \
         ALTER TABLE test_runs ADD FOREIGN KEY (dut_serial) REFERENCES serials DEFERRABLE INITIALLY DEFERRED",
    );
    let reports = bench.deliver(&[1, 2, 3, 4].map(|id| TestRun::new(id, 1)));
    let statuses: Vec<_> = reports.iter().map(|report| report.status).collect();
    use Status::{Data, Delivered};
    assert_eq!(statuses, [Delivered, Delivered, Data, Delivered]);
    assert!(
        reports[2].message.contains("run 03030303-") && reports[2].message.contains("SN3"),
        "{}",
        reports[2].message
    );
    assert_eq!(bench.psql("SELECT count(*) FROM test_runs"), "3");
}

#[test]
fn a_text_too_long_for_the_index_is_the_runs_own_fault() {
    let bench = Bench::new();
    let long: String =
        (0..20_000u32).map(|at| char::from_u32(0x4e00 + at.wrapping_mul(2_654_435_761) % 20_000).unwrap()).collect();
    let runs = [TestRun::new(1, 1), TestRun::of(2, 1, &[column("dut_serial", Kind::Text, [text(&long)])])];
    let reports = bench.deliver(&runs);
    assert_eq!([reports[0].status, reports[1].status], [Status::Delivered, Status::Data], "{}", reports[1].message);
    let told = &reports[1].message;
    assert!(told.contains("run 02020202-") && told.contains("54000"), "{told}");
}

#[test]
fn rows_left_without_their_note_do_not_stand_in_the_way() {
    let bench = Bench::new();
    let run = TestRun::new(1, 1).with(Table::Steps, &[column("step_name", Kind::Text, [text("a")])]);
    bench.deliver_one(&run);
    bench.psql("DELETE FROM litmus_deliveries");
    bench.deliver_one(&run);
    bench.assert_holds(&run);
}

#[test]
fn a_note_that_is_none_concerns_its_run_alone() {
    let bench = Bench::new();
    let runs = [1, 2].map(|id| TestRun::new(id, 1));
    bench.deliver(&runs);
    bench.psql("UPDATE litmus_deliveries SET rank = 'high' WHERE run_id::text LIKE '01%'");
    let reports = bench.deliver(&runs);
    assert_eq!([reports[0].status, reports[1].status], [Status::Conflict, Status::AlreadyPresent]);
    assert!(reports[0].message.contains("hint: delete that row"), "{}", reports[0].message);
}

#[test]
fn wherever_a_batch_is_cancelled_it_leaves_all_or_nothing() {
    let bench = Bench::new();
    let step = [column("step_name", Kind::Text, [text("a")])];
    let runs: Vec<_> = (1..4).map(|id| TestRun::new(id, 1).with(Table::Steps, &step)).collect();
    let mut cancelled = 0;
    for polls in 0..40 {
        let calls = AtomicU32::new(0);
        let check = || match calls.fetch_add(1, Ordering::Relaxed) {
            so_far if so_far >= polls => Err(SinkError::cancelled()),
            _ => Ok(()),
        };
        let (reports, ended) = bench.deliver_while(&runs, &check);
        let there = bench.psql("SELECT count(*) || '/' || (SELECT count(*) FROM steps) FROM litmus_deliveries");
        match ended {
            Ok(()) => assert_eq!(there, "3/3"),
            Err(error) => {
                assert_eq!(error.status(), Status::Cancelled, "{error}");
                assert!(reports.iter().all(Option::is_none));
                assert_eq!(there, "0/0", "after {polls} polls");
                cancelled += 1;
            }
        }
    }
    assert!(cancelled > 3, "only {cancelled} were cancelled");
}

#[test]
fn a_run_in_many_batches_and_columns_that_come_late_are_one_run() {
    let bench = Bench::new();
    let names =
        |names: &[&str]| [column("step_name", Kind::Text, names.iter().map(|name| text(name)).collect::<Vec<_>>())];
    let run = TestRun::new(1, 1)
        .with(Table::Steps, &names(&["a", "b"]))
        .with(Table::Steps, &[column("step_path", Kind::Text, [text("p"), V::Null])])
        .with(Table::Steps, &names(&["c"]));
    bench.deliver_one(&run);
    bench.assert_holds(&run);
    assert_eq!(bench.psql("SELECT step_name, step_path FROM steps ORDER BY row_index"), "a|\nb|\n|p\n|\nc|");
}

/// A run that is streamed: many batches, columns that come late, cells in `extra`.
fn large(id: u8, revision: u8) -> TestRun {
    let mut run = TestRun::new(id, revision);
    for batch in 0..12 {
        let rows = 0..1_000;
        let value = |row: usize| V::Float((batch * 1_000 + row) as f64 / 7.0 + f64::from(revision));
        let late = |row: usize| if batch > 6 && row.is_multiple_of(3) { text("late") } else { V::Null };
        let odd = |row: usize| if row == 5 { V::Time(i64::MAX) } else { V::Time(row as i64) };
        run = run.with(
            Table::Measurements,
            &[
                column("measurement_value", Kind::Float, rows.clone().map(value).collect::<Vec<_>>()),
                column("spec_ref", Kind::Text, rows.clone().map(late).collect::<Vec<_>>()),
                column("measurement_timestamp", Kind::Timestamp, rows.map(odd).collect::<Vec<_>>()),
            ],
        );
    }
    run.rank.rows = 12_000;
    run
}

#[test]
fn a_large_run_is_streamed_and_replaced_like_a_small_one() {
    let bench = Bench::new();
    let small = TestRun::new(2, 1);
    let (first, second) = (large(1, 1), large(1, 2));
    for report in bench.deliver(&[first.clone(), small.clone()]) {
        assert_eq!(report.status, Status::Delivered, "{}", report.message);
    }
    bench.assert_holds(&first);
    bench.assert_holds(&small);
    let receipt = bench.deliver_one(&second).receipt.unwrap();
    assert_eq!(receipt.extra["measurements.measurement_timestamp"], 12);
    bench.assert_holds(&second);
    assert_eq!(bench.psql("SELECT count(*) FROM measurements"), "12000");
    assert_eq!(bench.deliver(std::slice::from_ref(&second))[0].status, Status::AlreadyPresent);

    let broken = TestRun { breaks: Some(Table::Measurements), ..large(3, 1) };
    let reports = bench.deliver(&[broken, TestRun::new(4, 1)]);
    assert_eq!([reports[0].status, reports[1].status], [Status::Data, Status::Delivered]);
    assert_eq!(bench.psql("SELECT count(*) FROM measurements"), "12000");

    bench.psql("ALTER TABLE measurements ADD CONSTRAINT plausible CHECK (measurement_value < 1700) NOT VALID");
    let refused = bench.deliver(&[large(5, 1)]).remove(0);
    assert_eq!(refused.status, Status::Data);
    let told = &refused.message;
    // 11,893 / 7 + 1 is the first beyond.
    assert!(told.contains("table measurements, row_index 11893, column measurement_value is 1700"), "{told}");
}

#[test]
fn a_run_of_few_rows_and_long_texts_is_streamed_after_all() {
    let bench = Bench::new();
    let long = "µ".repeat(1 << 20);
    let mut run = TestRun::new(1, 1);
    for _ in 0..5 {
        run = run.with(Table::Steps, &[column("step_path", Kind::Text, [text(&long), text(&long)])]);
    }
    let (before, after) = (TestRun::new(0, 1), TestRun::new(2, 1));
    for report in bench.deliver(&[before.clone(), run.clone(), after.clone()]) {
        assert_eq!(report.status, Status::Delivered, "{}", report.message);
    }
    for run in [before, run, after] {
        bench.assert_holds(&run);
    }
}

#[test]
fn two_hosts_with_the_same_runs_deliver_each_once() {
    let bench = Bench::new();
    let step = [column("step_name", Kind::Text, [text("a"), text("b")])];
    let runs: Vec<_> = (1..60).map(|id| TestRun::new(id, 1).with(Table::Steps, &step)).collect();
    let hosts: Vec<_> = (0..4).map(|_| bench.another(serde_json::json!({}))).collect();
    let statuses: Vec<Vec<Status>> = std::thread::scope(|scope| {
        let threads: Vec<_> = hosts.iter().map(|host| scope.spawn(|| host.deliver(&runs))).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap().into_iter().map(|report| report.status).collect())
            .collect()
    });
    for (at, run) in runs.iter().enumerate() {
        let delivered = statuses.iter().filter(|of_host| of_host[at] == Status::Delivered).count();
        assert_eq!(delivered, 1, "run {at}: {:?}", statuses.iter().map(|of_host| of_host[at]).collect::<Vec<_>>());
        bench.assert_holds(run);
    }
    assert_eq!(bench.psql("SELECT count(*) FROM steps"), "118");
}
