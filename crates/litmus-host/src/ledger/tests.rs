//! The ledger's edges: lineage, vanishing files, other destinations, and what a restart finds.

use std::path::PathBuf;

use litmus_core::reader::Stamp;
use litmus_core::{RunId, Sha256, Status, Summary};

use super::*;

/// A run's summary; `seed` makes the run, `revision` its bytes.
pub(crate) fn summary(seed: u8, revision: u8) -> Summary {
    Summary {
        run_id: RunId::from_bytes([seed; 16]),
        sha256: Sha256([revision; 32]),
        path: String::new(),
        generation: "flat".into(),
        run_started_at: Some(jiff::Timestamp::from_second(i64::from(seed) * 1000).unwrap()),
        run_ended_at: None,
        dut_serial: None,
        dut_part_number: None,
        station_id: None,
        run_outcome: None,
        outcome: "passed".into(),
        outcome_derived: true,
        steps: 1,
        vectors: 0,
        measurements: 1,
        rows: 3,
        columns: serde_json::Map::new(),
    }
}

/// A run found at a path.
pub(crate) fn found(path: &str, summary: Summary) -> ScanChange {
    let stamp = Stamp { size: 100, mtime_ns: 1, ctime_ns: i64::from(summary.sha256.0[0]), inode: 1 };
    ScanChange::Run { path: path.into(), stamp, summary: Box::new(summary) }
}

pub(crate) fn destination(name: &str) -> DestinationSpec {
    DestinationSpec { destination: name.into(), name: name.into(), plugin: "test 1".into(), start: None }
}

fn committed() -> Settled {
    Settled { to: Settlement::Committed, status: Status::Delivered, message: "delivered".into(), receipt: None }
}

fn deliver_all(ledger: &Ledger, id: i64) -> usize {
    let taken = ledger.take(id, &Selection::default(), 1000, u64::MAX, 1).unwrap();
    let ended: Vec<_> = taken.iter().map(|run| (run.revision, committed())).collect();
    ledger.settle(id, &ended, 1).unwrap();
    taken.len()
}

#[test]
fn a_new_destination_starts_with_every_run_and_an_old_one_with_none() {
    let ledger = Ledger::in_memory();
    ledger.record(&[found("a", summary(1, 1)), found("b", summary(2, 2))], 0).unwrap();
    let a = ledger.register(&destination("a.db"), 0).unwrap();
    assert_eq!(deliver_all(&ledger, a), 2);
    assert_eq!(deliver_all(&ledger, a), 0);
    let b = ledger.register(&destination("b.db"), 0).unwrap();
    assert_eq!(deliver_all(&ledger, b), 2);
    assert_eq!(ledger.register(&destination("a.db"), 0).unwrap(), a);
    assert_eq!(deliver_all(&ledger, a), 0);
}

#[test]
fn another_incarnation_makes_what_was_committed_unconfirmed() {
    let ledger = Ledger::in_memory();
    ledger.record(&[found("a", summary(1, 1)), found("b", summary(2, 2))], 0).unwrap();
    let id = ledger.register(&destination("a.db"), 0).unwrap();
    assert_eq!(ledger.confirm_incarnation(id, Some("first"), 0).unwrap(), 0);
    deliver_all(&ledger, id);
    assert_eq!(ledger.confirm_incarnation(id, Some("first"), 0).unwrap(), 0);
    assert_eq!(ledger.confirm_incarnation(id, Some("second"), 0).unwrap(), 2);
    assert_eq!(ledger.incarnation(id).as_deref(), Some("second"));
    let unconfirmed = ledger.unconfirmed(id, 10).unwrap();
    assert_eq!(unconfirmed.len(), 2);
    ledger
        .confirm(id, &[(unconfirmed[0].revision, Confirmed::Present), (unconfirmed[1].revision, Confirmed::Absent)], 0)
        .unwrap();
    let states: Vec<String> = ledger.states(id).into_iter().map(|(_, state)| state).collect();
    assert_eq!(states, ["committed", "pending"]);
    // A missing incarnation is another one too.
    assert_eq!(ledger.confirm_incarnation(id, None, 0).unwrap(), 1);
}

#[test]
fn a_replaced_file_is_lineage_and_a_copy_is_not() {
    let ledger = Ledger::in_memory();
    let id = ledger.register(&destination("a.db"), 0).unwrap();
    ledger.record(&[found("a", summary(1, 1))], 0).unwrap();
    ledger.record(&[found("a", summary(1, 2))], 0).unwrap();
    ledger.record(&[found("a", summary(1, 3))], 0).unwrap();
    ledger.record(&[found("elsewhere", summary(1, 4))], 0).unwrap();
    ledger.backfill(id, 0).unwrap();
    let take = || ledger.take(id, &Selection::default(), 10, u64::MAX, 0).unwrap();
    let mut taken = take();
    assert_eq!((taken.len(), take().len()), (1, 0), "of one run one revision is in flight at a time");
    let settled =
        Settled { to: Settlement::Committed, status: Status::Delivered, message: String::new(), receipt: None };
    ledger.settle(id, &[(taken[0].revision, settled)], 0).unwrap();
    taken.extend(take());
    let of = |sha: u8| {
        taken.iter().find(|run| run.sha256 == Sha256([sha; 32])).map(|run| {
            let mut earlier: Vec<u8> = run.supersedes.iter().map(|sha| sha.0[0]).collect();
            earlier.sort_unstable();
            earlier
        })
    };
    assert_eq!(of(3), Some(vec![1, 2]), "what stood there before");
    assert_eq!(of(4), Some(vec![]), "a file elsewhere is ranked, not lineage");
    assert_eq!((of(1), of(2)), (None, None), "their bytes are gone");
    assert_eq!(ledger.duplicates().unwrap().len(), 2);
}

#[test]
fn bytes_that_come_back_in_place_of_their_successor_are_delivered_again() {
    let ledger = Ledger::in_memory();
    let id = ledger.register(&destination("a.db"), 0).unwrap();
    for sha in [1, 2] {
        ledger.record(&[found("a", summary(1, sha))], 0).unwrap();
        ledger.backfill(id, 0).unwrap();
        assert_eq!(deliver_all(&ledger, id), 1);
    }
    ledger.record(&[found("a", summary(1, 1))], 0).unwrap();
    ledger.backfill(id, 0).unwrap();
    let taken = ledger.take(id, &Selection::default(), 10, u64::MAX, 0).unwrap();
    assert_eq!(taken.len(), 1);
    assert_eq!(taken[0].sha256, Sha256([1; 32]));
    assert_eq!(taken[0].supersedes, [Sha256([2; 32])]);
}

#[test]
fn a_pending_run_whose_file_vanishes_is_gone_until_it_is_back() {
    let ledger = Ledger::in_memory();
    let id = ledger.register(&destination("a.db"), 0).unwrap();
    ledger.record(&[found("a", summary(1, 1)), found("copy", summary(1, 1)), found("b", summary(2, 2))], 0).unwrap();
    ledger.backfill(id, 0).unwrap();
    let vanish = |path: &str| ledger.record(&[ScanChange::Vanished { path: path.into() }], 0).unwrap();
    vanish("a");
    assert_eq!(ledger.backlog(id, &Selection::default()).unwrap().gone, 0, "a copy is still there");
    assert_eq!(ledger.fate(1).unwrap(), Fate::At(PathBuf::from("copy")));
    vanish("copy");
    let backlog = ledger.backlog(id, &Selection::default()).unwrap();
    assert_eq!((backlog.gone, backlog.pending), (1, 1));
    assert_eq!(ledger.fate(1).unwrap(), Fate::Vanished);
    // A destination that comes while the file is away gets it when it is back, as the first one does.
    let late = ledger.register(&destination("late.db"), 0).unwrap();
    ledger.record(&[found("a", summary(1, 1))], 0).unwrap();
    for id in [id, late] {
        let backlog = ledger.backlog(id, &Selection::default()).unwrap();
        assert_eq!((backlog.gone, backlog.pending), (0, 2));
    }
}

#[test]
fn what_a_dead_host_left_in_flight_is_pending_again() {
    let ledger = Ledger::in_memory();
    ledger.record(&[found("a", summary(1, 1)), found("b", summary(2, 2))], 0).unwrap();
    let id = ledger.register(&destination("a.db"), 0).unwrap();
    assert_eq!(ledger.take(id, &Selection::default(), 10, u64::MAX, 0).unwrap().len(), 2);
    assert_eq!(ledger.take(id, &Selection::default(), 10, u64::MAX, 0).unwrap().len(), 0);
    ledger.register(&destination("a.db"), 0).unwrap();
    assert_eq!(deliver_all(&ledger, id), 2);
}

#[test]
fn batches_keep_to_their_limits_and_a_struck_run_comes_alone() {
    let ledger = Ledger::in_memory();
    let id = ledger.register(&destination("a.db"), 0).unwrap();
    let runs: Vec<_> = (1..=5).map(|n| found(&format!("{n}"), summary(n, n))).collect();
    ledger.record(&runs, 0).unwrap();
    ledger.backfill(id, 0).unwrap();
    // Each is 100 bytes.
    let first = ledger.take(id, &Selection::default(), 10, 250, 0).unwrap();
    assert_eq!(first.len(), 2);
    assert_eq!(ledger.take(id, &Selection::default(), 10, 1, 0).unwrap().len(), 1, "one is taken however large");
    let struck = Settled { to: Settlement::Struck, ..committed() };
    ledger.settle(id, &[(first[0].revision, struck), (first[1].revision, committed())], 0).unwrap();
    ledger.release(id, first[0].revision, 0).unwrap();
    let alone = ledger.take(id, &Selection::default(), 10, u64::MAX, 0).unwrap();
    assert_eq!(alone.iter().map(|run| run.revision).collect::<Vec<_>>(), [first[0].revision]);
    assert_eq!((alone[0].tries, alone[0].strikes), (1, 1));
    assert_eq!(ledger.take(id, &Selection::default(), 10, u64::MAX, 0).unwrap().len(), 2);
}

#[test]
fn start_skips_older_runs_and_a_change_of_mind_brings_them_back() {
    let ledger = Ledger::in_memory();
    ledger.record(&[found("a", summary(1, 1)), found("b", summary(9, 2))], 0).unwrap();
    let since = jiff::Timestamp::from_second(5000).unwrap();
    let mut spec = DestinationSpec { start: Some(StartDecision::Since(since)), ..destination("a.db") };
    let id = ledger.register(&spec, 0).unwrap();
    assert_eq!(deliver_all(&ledger, id), 1);
    spec.start = None;
    ledger.register(&spec, 0).unwrap();
    assert_eq!(deliver_all(&ledger, id), 0, "as it was said the last time");
    spec.start = Some(StartDecision::All);
    ledger.register(&spec, 0).unwrap();
    assert_eq!(deliver_all(&ledger, id), 1);
}

#[test]
fn now_means_what_the_first_pass_did_not_find_whatever_a_clock_says() {
    let ledger = Ledger::in_memory();
    let sealed_at = |path: &str, seconds: i64, summary| match found(path, summary) {
        ScanChange::Run { path, stamp, summary } => {
            ScanChange::Run { path, stamp: Stamp { mtime_ns: seconds * 1_000_000_000, ..stamp }, summary }
        }
        other => other,
    };
    ledger.record(&[sealed_at("known", 50, summary(1, 1))], 0).unwrap();
    let spec = DestinationSpec { start: Some(StartDecision::Now), ..destination("a.db") };
    let id = ledger.register(&spec, 100_000).unwrap();
    // The clock of who sealed it is ahead of ours.
    ledger.record(&[sealed_at("there", 500, summary(2, 2))], 0).unwrap();
    ledger.backfill(id, 0).unwrap();
    ledger.started(id).unwrap();
    assert_eq!(deliver_all(&ledger, id), 0);
    // A copy keeps its old time, and a clock may have been set back.
    ledger.record(&[sealed_at("copied", 20, summary(3, 3))], 0).unwrap();
    ledger.backfill(id, 0).unwrap();
    assert_eq!(deliver_all(&ledger, id), 1);
    // Saying it again does not move it.
    ledger.register(&spec, 200_000).unwrap();
    ledger.record(&[sealed_at("later", 150, summary(4, 4))], 0).unwrap();
    ledger.backfill(id, 0).unwrap();
    assert_eq!(deliver_all(&ledger, id), 1);

    // A first pass that was broken off: only the clock can tell what came since.
    let spec = DestinationSpec { start: Some(StartDecision::Now), ..destination("b.db") };
    let id = ledger.register(&spec, 300_000).unwrap();
    ledger.register(&spec, 400_000).unwrap();
    ledger.record(&[sealed_at("before", 299, summary(5, 5)), sealed_at("since", 301, summary(6, 6))], 0).unwrap();
    ledger.backfill(id, 0).unwrap();
    assert_eq!(deliver_all(&ledger, id), 1);
}

#[test]
fn a_selection_narrows_what_is_taken() {
    let ledger = Ledger::in_memory();
    let id = ledger.register(&destination("a.db"), 0).unwrap();
    ledger.record(&[found("a", summary(1, 1)), found("b", summary(2, 2))], 0).unwrap();
    ledger.backfill(id, 0).unwrap();
    let only = Selection { run: Some(RunId::from_bytes([2; 16])), since: None };
    let taken = ledger.take(id, &only, 10, u64::MAX, 0).unwrap();
    assert_eq!(taken.iter().map(|run| run.run_id).collect::<Vec<_>>(), [RunId::from_bytes([2; 16])]);
    assert_eq!(ledger.runs_starting_with("0202", 10).unwrap(), [RunId::from_bytes([2; 16])]);
}

#[test]
fn what_a_take_costs_does_not_grow_with_what_was_delivered() {
    let cost = |delivered: usize| {
        let ledger = Ledger::in_memory();
        let run = |number: usize| {
            let run_id = RunId::from_bytes((number as u128).to_be_bytes());
            found(&number.to_string(), Summary { run_id, ..summary(1, 1) })
        };
        ledger.record(&(0..delivered + 40).map(run).collect::<Vec<_>>(), 0).unwrap();
        let id = ledger.register(&destination("a.db"), 0).unwrap();
        let deliver = |runs_max| {
            let taken = ledger.take(id, &Selection::default(), runs_max, u64::MAX, 1).unwrap();
            let ended: Vec<_> = taken.iter().map(|run| (run.revision, committed())).collect();
            ledger.settle(id, &ended, 1).unwrap();
            assert_eq!(taken.len(), runs_max);
        };
        deliver(delivered);
        let started = std::time::Instant::now();
        (0..5).for_each(|_| deliver(8));
        started.elapsed()
    };
    let (few, many) = (cost(100), cost(5000));
    assert!(many < few * 8, "{few:?} after 100 runs, {many:?} after 5000");
}
