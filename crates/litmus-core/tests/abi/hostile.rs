//! What a plugin can do to its host: nothing. Each misbehaviour is seen, said, and the next call works.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use litmus_core::abi::host::{HostCall, RunSource};
use litmus_core::{Grade, OpenMode, RunId, Sha256, SinkError, Status};
use serde_json::json;

use crate::fake::{Bench, Tables, call, deliver, run, runs, statuses};

const WELL: [(usize, Status); 2] = [(0, Status::Delivered), (1, Status::Delivered)];

fn assert_panicked(result: Result<(), SinkError>, entry: &str) {
    let error = result.expect_err("a panic is an error");
    assert_eq!(error.status(), Status::Panicked);
    let text = error.to_string();
    assert!(text.contains(&format!("hostile panic in {entry}")) && text.contains("sink.rs:"), "{text}");
}

#[test]
fn a_panic_in_any_entry_is_an_error_and_a_log_line() {
    let bench = Bench::new();
    for (entry, name) in [("configure", "Configure"), ("connect", "Connect")] {
        let opened = bench.plugin.open(&json!({ "panic_in": entry }), OpenMode::Live, &call());
        assert_panicked(opened.map(|_| ()), name);
    }
    let instance = |entry| bench.open(&json!({ "panic_in": entry }));
    assert_panicked(instance("check").check(&call()).map(|_| ()), "Check");
    assert_panicked(deliver(&instance("deliver"), &runs(2)).0, "Deliver");
    assert_panicked(instance("audit").audit(&call(), &[]).map(|_| ()), "Audit");
    assert_panicked(instance("flush").flush(&call()), "Flush");
    assert_panicked(instance("close").close(&call()), "Close");
    for entry in ["Configure", "Connect", "Check", "Deliver", "Audit", "Flush", "Close"] {
        let logged =
            |(level, text): &(u32, String)| *level == 1 && text.contains(&format!("hostile panic in {entry} (at"));
        assert!(bench.logs.all().iter().any(logged), "{entry}: {:?}", bench.logs.all());
    }
    bench.assert_well();
}

#[test]
fn a_panic_in_a_thread_of_the_plugin_is_logged() {
    let bench = Bench::new();
    let (result, reports) = deliver(&bench.open(&json!({ "deliver": ["panic_in_thread"] })), &runs(2));
    assert!(result.is_ok());
    assert_eq!(statuses(&reports), WELL);
    bench.logs.wait_for("hostile panic in a thread (at");
}

#[test]
fn a_run_that_makes_it_panic_keeps_what_was_done_before() {
    let bench = Bench::new();
    let instance = bench.open(&json!({ "panic_serials": ["SN2"] }));
    let (result, reports) = deliver(&instance, &runs(3));
    assert_eq!(result.unwrap_err().status(), Status::Panicked);
    assert_eq!(statuses(&reports), [(0, Status::Delivered)]);
    let (result, reports) = deliver(&instance, &[run(1, Tables::Whole), run(3, Tables::Whole)]);
    assert!(result.is_ok());
    assert_eq!(statuses(&reports), [(0, Status::AlreadyPresent), (1, Status::Delivered)]);
}

#[test]
fn a_second_report_and_one_for_no_run_are_ignored_and_said() {
    let bench = Bench::new();
    let instance = bench.open(&json!({ "deliver": ["report_twice", "report_out_of_range"] }));
    let (result, reports) = deliver(&instance, &runs(2));
    assert!(result.is_ok());
    assert_eq!(statuses(&reports), WELL);
    bench.logs.wait_for("reports run 9 of a batch of 2; ignored");
    bench.logs.wait_for("reports run 1 of the batch a second time; ignored");
    bench.assert_well();
}

#[test]
fn unreported_runs_stay_unreported_and_an_error_after_reports_comes_through() {
    let bench = Bench::new();
    let (result, reports) = deliver(&bench.open(&json!({ "deliver": ["report_nothing"] })), &runs(2));
    assert!(result.is_ok() && reports.is_empty());
    let (result, reports) = deliver(&bench.open(&json!({ "deliver": ["error_after_reports"] })), &runs(2));
    assert_eq!(result.unwrap_err().status(), Status::Transient);
    assert_eq!(statuses(&reports), WELL);
}

#[test]
fn an_unknown_status_is_transient_and_a_broken_receipt_is_none() {
    let bench = Bench::new();
    let (_, reports) = deliver(&bench.open(&json!({ "deliver": ["report_unknown_status"] })), &runs(1));
    assert_eq!(statuses(&reports), [(0, Status::Transient)]);
    bench.logs.wait_for("unknown status 4711");
    let (_, reports) = deliver(&bench.open(&json!({ "deliver": ["broken_receipt"] })), &runs(1));
    assert_eq!(statuses(&reports), [(0, Status::Delivered)]);
    assert!(reports[0].1.receipt.is_none());
    bench.logs.wait_for("a receipt for run 0 of the batch that is none");
}

#[test]
fn a_grade_beyond_the_promise_is_cut_to_it() {
    let bench = Bench::new();
    let (_, reports) = deliver(&bench.open(&json!({ "deliver": ["claim_grade"] })), &runs(1));
    assert_eq!(reports[0].1.receipt.as_ref().unwrap().grade, Some(Grade::Committed));
    bench.logs.wait_for("claims grade Verified where it promises Committed");
}

#[test]
fn a_leaked_stream_answers_and_is_released_safely() {
    let bench = Bench::new();
    let instance = bench.open(&json!({ "deliver": ["leak_stream"] }));
    assert_eq!(statuses(&deliver(&instance, &runs(1)).1), [(0, Status::Delivered)]);
    bench.logs.wait_for("kept 1 streams past the end of its call");
    deliver(&instance, &runs(1)).0.unwrap();
    bench.logs.wait_for(
        "the leaked stream answers: Some(Err(CDataInterface(\"the call that this stream belonged to has ended",
    );
    bench.assert_well();
}

#[test]
fn a_call_back_after_the_return_finds_nobody() {
    let bench = Bench::new();
    let instance = bench.open(&json!({ "deliver": ["call_back_late"] }));
    let (result, reports) = deliver(&instance, &runs(1));
    assert!(result.is_ok());
    bench.logs.wait_for("called back late: cancelled is true");
    assert_eq!(statuses(&reports), [(0, Status::Delivered)]);
    bench.assert_well();
}

#[test]
fn a_gigabyte_of_log_and_a_flood_of_it_are_cut() {
    let bench = Bench::new();
    deliver(&bench.open(&json!({ "deliver": ["log_gigabyte"] })), &runs(1)).0.unwrap();
    bench.logs.wait_for("(cut: 1073741824 bytes in all)");
    deliver(&bench.open(&json!({ "deliver": ["log_flood"] })), &runs(1)).0.unwrap();
    bench.logs.wait_for("logs too much");
    let bytes: usize = bench.logs.all().iter().map(|(_, text)| text.len()).sum();
    assert!(bytes < 4 << 20, "{bytes} bytes of log came through");
}

#[test]
fn a_lie_in_an_audit_comes_through_as_it_is_and_a_wrong_answer_is_dropped() {
    let bench = Bench::new();
    let ids = [RunId::from_bytes([1; 16]), RunId::from_bytes([9; 16])];
    let audit = |lie: Option<&str>| {
        let instance = bench.open(&json!({ "audit": lie }));
        deliver(&instance, &runs(1)).0.unwrap();
        let held = instance.audit(&call(), &ids).unwrap();
        held.iter().map(|audit| (audit.run_id, audit.sha256)).collect::<Vec<_>>()
    };
    let honest = [(ids[0], Some(Sha256([1; 32]))), (ids[1], None)];
    assert_eq!(audit(None), honest);
    assert_eq!(audit(Some("absent")), [(ids[0], None), (ids[1], None)]);
    assert_eq!(audit(Some("other_revision"))[0].1, Some(Sha256([0; 32])));
    assert_eq!(audit(Some("stranger")), honest);
    bench.logs.wait_for("answers audit twice, or for a run not asked about");
    assert_eq!(audit(Some("twice")), honest);
}

#[test]
fn faults_carry_their_status_message_and_wait() {
    let bench = Bench::new();
    for (fault, status) in [
        ("transient", Status::Transient),
        ("auth", Status::Auth),
        ("config", Status::Config),
        ("schema", Status::Schema),
        ("conflict", Status::Conflict),
        ("data", Status::Data),
    ] {
        let instance = bench.open(&json!({ "fault": fault, "check_fault": fault }));
        let error = deliver(&instance, &runs(1)).0.unwrap_err();
        assert_eq!((error.status(), error.retry_after()), (status, None));
        assert!(error.to_string().contains("as asked"));
        assert_eq!(instance.check(&call()).unwrap_err().status(), status);
    }
    let instance = bench.open(&json!({ "fault": "throttled", "fault_times": 1 }));
    let error = deliver(&instance, &runs(1)).0.unwrap_err();
    assert_eq!((error.status(), error.retry_after()), (Status::Throttled, Some(Duration::from_millis(50))));
    assert!(deliver(&instance, &runs(1)).0.is_ok());
}

#[test]
fn tables_arrive_whole_and_what_the_decoder_does_wrong_is_an_error() {
    let bench = Bench::new();
    let instance = bench.open(&json!({ "read_tables": true }));
    let (result, reports) = deliver(&instance, &runs(1));
    assert!(result.is_ok(), "{result:?}");
    let rows = &reports[0].1.receipt.as_ref().unwrap().extra;
    assert_eq!((rows["measurements"], rows["steps"], rows.len()), (6, 0, 5));
    for (tables, text) in [
        (Tables::FailToOpen, "runs/fake.parquet: cannot read the table runs: the footer is damaged"),
        (Tables::PanicToOpen, "the host could not open the table"),
        (Tables::FailInTheMiddle, "page 2 is damaged"),
        (Tables::PanicInTheMiddle, "page 2 makes the decoder panic"),
    ] {
        let error = deliver(&instance, &[run(3, tables)]).0.unwrap_err();
        assert_eq!(error.status(), Status::Data);
        assert!(error.to_string().contains(text), "{error}");
    }
    bench.assert_well();
}

#[test]
fn deadline_cancellation_and_dry_run_reach_the_plugin() {
    let bench = Bench::new();
    let instance = bench.open(&json!({}));
    let reports = Mutex::new(Vec::new());
    let asked = AtomicBool::new(false);
    let cancelled = HostCall {
        is_cancelled: &|| asked.swap(true, Ordering::Relaxed),
        deadline: Some(Instant::now() + Duration::from_secs(9)),
        ..call()
    };
    let result = instance.deliver(&cancelled, &runs(2), &|run, report| reports.lock().unwrap().push((run, report)));
    assert_eq!(result.unwrap_err().status(), Status::Cancelled);
    assert_eq!(statuses(&reports.lock().unwrap()), [(0, Status::Delivered)]);
    let dry = HostCall { dry_run: true, ..call() };
    let planned = Mutex::new(Vec::new());
    instance
        .deliver(&dry, &runs(1), &|_, report| planned.lock().unwrap().extend(report.receipt.unwrap().planned))
        .unwrap();
    assert_eq!(*planned.lock().unwrap(), [format!("append {}", RunId::from_bytes([1; 16]))]);
}

#[test]
fn several_threads_deliver_at_once_and_each_hears_of_its_own_runs() {
    let bench = Bench::new();
    let instance = bench.open(&json!({ "read_tables": true }));
    std::thread::scope(|scope| {
        for thread in 0..4u8 {
            let instance = &instance;
            scope.spawn(move || {
                for round in 0..25u8 {
                    let batch: Vec<Arc<dyn RunSource>> =
                        (0..2).map(|n| run(thread * 60 + round * 2 + n, Tables::Whole)).collect();
                    let (result, reports) = deliver(instance, &batch);
                    assert!(result.is_ok());
                    assert_eq!(statuses(&reports), WELL);
                }
            });
        }
    });
    let last = instance.audit(&call(), &[RunId::from_bytes([3 * 60 + 49; 16])]).unwrap();
    assert_eq!(last[0].sha256, Some(Sha256([3 * 60 + 49; 32])));
}

#[test]
fn a_panic_in_the_hosts_own_callbacks_stays_there() {
    let bench = Bench::new();
    let instance = bench.open(&json!({}));
    let result = instance.deliver(&call(), &runs(1), &|_, _| panic!("the ledger panics"));
    assert!(result.is_ok());
    let panics = HostCall { is_cancelled: &|| panic!("the clock panics"), ..call() };
    let result = instance.deliver(&panics, &runs(1), &|_, _| {});
    assert_eq!(result.unwrap_err().status(), Status::Cancelled);
    bench.assert_well();
}

#[test]
fn a_wrong_configuration_names_its_key_and_offline_touches_nothing() {
    let bench = Bench::new();
    let open = |config, mode| bench.plugin.open(&config, mode, &call());
    let error = open(json!({ "incarnatoin": "x" }), OpenMode::Offline).err().unwrap();
    assert_eq!(error.status(), Status::Config);
    assert_eq!(error.to_string(), "unknown key \"incarnatoin\"; did you mean \"incarnation\"?");
    let error = open(json!({ "hang_ms": "secret" }), OpenMode::Offline).err().unwrap();
    assert_eq!(error.to_string(), "\"hang_ms\": invalid type: a string, expected u64");
    let instance = open(json!({ "incarnation": "x", "panic_in": "connect" }), OpenMode::Offline).unwrap();
    assert_eq!((instance.destination_id(), instance.incarnation()), ("hostile://hostile", None));
}

#[test]
fn an_instance_that_hangs_holds_up_no_other() {
    let bench = Bench::new();
    let slow = bench.open(&json!({ "name": "slow", "hang_in": "deliver", "hang_ms": 600 }));
    let began = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(|| assert!(deliver(&slow, &runs(1)).0.is_ok()));
        std::thread::sleep(Duration::from_millis(50));
        bench.assert_well();
        assert!(began.elapsed() < Duration::from_millis(600), "the other one waited");
    });
    assert!(began.elapsed() >= Duration::from_millis(600));
}
