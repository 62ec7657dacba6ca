//! The delivery rules, driven by hand against a real ledger in memory.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use litmus_core::digest::TableDigest;
use litmus_core::{Audit, Capabilities, Grade, Status};

use super::lane::{End, Failure, Health, Lane, Now, Outcome, Policy, RunReport, Step};
use super::queue::{Item, SharedLedger, SinkQueue, StoreQueue, lock};
use crate::ledger::tests::{destination, found, summary};
use crate::ledger::{Ledger, Selection, Settlement};

const CAPABILITIES: Capabilities = Capabilities {
    dedup: true,
    audit: true,
    moves_file: false,
    dry_run: true,
    grade_max: Grade::Committed,
    max_concurrent_delivers: 1,
    batch_bytes: 1 << 20,
    batch_runs: 100,
};

/// A lane over `runs` runs, and a clock.
struct Bench {
    lane: Lane,
    queue: SinkQueue,
    ledger: SharedLedger,
    id: i64,
    clock: Duration,
}

impl Bench {
    fn new(runs: u8, give_up_after: Option<Duration>) -> Self {
        let ledger = Ledger::in_memory();
        let found: Vec<_> = (1..=runs).map(|n| found(&format!("{n:03}"), summary(n, n))).collect();
        ledger.record(&found, 0).unwrap();
        let id = ledger.register(&destination("test"), 0).unwrap();
        let ledger = Arc::new(Mutex::new(ledger));
        let queue =
            SinkQueue::new(vec![StoreQueue { store: 0, ledger: Arc::clone(&ledger), id }], Selection::default());
        let policy = Policy { batch_runs: 100, batch_bytes: 1 << 30, concurrency: 1, give_up_after, dry_run: false };
        Self { lane: Lane::new(policy, CAPABILITIES, 7), queue, ledger, id, clock: Duration::ZERO }
    }

    fn now(&self) -> Now {
        Now { mono: self.clock, wall_ms: self.clock.as_millis() as i64 }
    }

    fn next(&mut self) -> Step {
        let now = self.now();
        self.lane.next(now, &mut self.queue, false).unwrap()
    }

    /// The next step that is no wait, connecting as asked.
    fn act(&mut self) -> Step {
        loop {
            match self.next() {
                Step::Wait(Some(until)) => self.clock = until,
                Step::Connect => self.connect(),
                Step::Audit(items) if self.lane.is_sampling() => {
                    let there = items.iter().map(|item| (item.run.run_id, held(item, 0))).collect();
                    let now = self.now();
                    self.lane.audited(now, &self.queue, &items, Ok(&there)).unwrap();
                }
                step => return step,
            }
        }
    }

    fn connect(&mut self) {
        let now = self.now();
        self.lane.connected(now, &self.queue, Some("one")).unwrap();
    }

    fn deliver(&mut self, items: Vec<Item>, end: End, report: impl Fn(u8) -> Option<Status>) {
        let reports = items
            .iter()
            .map(|item| {
                report(item.run.sha256.0[0]).map(|status| RunReport {
                    status,
                    message: String::new(),
                    retry_after: None,
                    receipt: None,
                })
            })
            .collect();
        let now = self.now();
        self.lane.delivered(now, &self.queue, items, Outcome { reports, end }).unwrap();
    }

    /// A run is sealed.
    fn seal(&mut self, n: u8) {
        let ledger = lock(&self.ledger);
        ledger.record(&[found(&format!("{n:03}"), summary(n, n))], 0).unwrap();
        ledger.backfill(self.id, 0).unwrap();
    }

    fn states(&self) -> Vec<String> {
        lock(&self.ledger).states(self.id).into_iter().map(|(_, state)| state).collect()
    }
}

/// What an audit says of a run that is there, with so many rows of measurements.
fn held(item: &Item, rows: u64) -> Audit {
    let digest = TableDigest { rows, ..TableDigest::default() };
    Audit {
        run_id: item.run.run_id,
        sha256: Some(item.run.sha256),
        tables: [("measurements".to_owned(), digest)].into(),
        conversions: [].into(),
    }
}

fn failed(status: Status) -> End {
    End::Failed { failure: Failure { status, message: "no".into(), retry_after: None }, sink_well: true }
}

#[test]
fn a_batch_that_goes_well_is_committed_and_the_lane_ends() {
    let mut bench = Bench::new(3, Some(Duration::from_mins(1)));
    let Step::Deliver(items) = bench.act() else { panic!() };
    assert_eq!(items.len(), 3);
    bench.deliver(items, End::Returned, |_| Some(Status::Delivered));
    assert_eq!(bench.states(), ["committed"; 3]);
    assert!(matches!(bench.act(), Step::Finished));
}

/// As with a full disk: it opens, and answers what is asked of it, and takes nothing.
#[test]
fn a_sink_that_answers_questions_and_takes_nothing_is_given_up() {
    let mut bench = Bench::new(3, Some(Duration::from_secs(30)));
    let Step::Deliver(items) = bench.act() else { panic!() };
    bench.deliver(items, End::Returned, |_| Some(Status::Delivered));
    lock(&bench.ledger).record(&[found("new", summary(9, 9))], 0).unwrap();
    lock(&bench.ledger).backfill(bench.id, 0).unwrap();
    let (began, mut calls, mut opened) = (bench.clock, 0, false);
    while let Step::Deliver(items) = bench.act() {
        let failure = Failure { status: Status::Transient, message: "full".into(), retry_after: None };
        bench.deliver(items, End::Failed { failure, sink_well: false }, |_| None);
        opened |= matches!(bench.lane.health(), Health::Open(_));
        calls += 1;
        assert!(calls < 100, "it is tried for ever: {:?}", bench.lane.health());
    }
    assert!(opened, "the breaker opened after {calls} calls");
    assert!(
        bench.clock.checked_sub(began).unwrap() <= Duration::from_secs(31),
        "{:?}",
        bench.clock.checked_sub(began).unwrap()
    );
    assert_eq!(bench.states(), ["committed", "committed", "committed", "pending"], "and no run is blamed");
}

#[test]
fn bisection_finds_the_poison_run_and_delivers_its_neighbours() {
    let mut bench = Bench::new(50, Some(Duration::from_mins(1)));
    let mut calls = 0;
    while let Step::Deliver(items) = bench.act() {
        calls += 1;
        if items.iter().any(|item| item.run.sha256.0[0] == 17) {
            bench.deliver(items, failed(Status::Data), |_| None);
        } else {
            bench.deliver(items, End::Returned, |_| Some(Status::Delivered));
        }
    }
    let states = bench.states();
    assert_eq!(states[16], "quarantined");
    assert_eq!(states.iter().filter(|state| *state == "committed").count(), 49);
    assert!(calls <= 13, "{calls} calls for one poison run among fifty");
}

#[test]
fn a_run_that_makes_the_sink_panic_alone_five_times_is_quarantined() {
    let mut bench = Bench::new(4, None);
    let mut alone = 0;
    loop {
        match bench.act() {
            Step::Deliver(items) => {
                if items.iter().any(|item| item.run.sha256.0[0] == 2) {
                    alone += usize::from(items.len() == 1);
                    bench.deliver(items, failed(Status::Panicked), |_| None);
                } else {
                    bench.deliver(items, End::Returned, |_| Some(Status::Delivered));
                }
            }
            Step::Finished => break,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(alone, 5);
    assert_eq!(bench.states(), ["committed", "quarantined", "committed", "committed"]);
}

#[test]
fn faults_of_the_sink_never_count_against_a_run() {
    let mut bench = Bench::new(2, None);
    for round in 1..=20 {
        let Step::Deliver(items) = bench.act() else { panic!() };
        assert!(items.iter().all(|item| item.run.tries == 0 && item.run.strikes == 0), "round {round}");
        let end = if round % 2 == 0 { failed(Status::Transient) } else { End::Returned };
        bench.deliver(items, end, |_| None);
        assert_eq!(bench.states(), ["pending"; 2]);
        match bench.lane.health() {
            Health::Degraded(_) => assert!(round < 5),
            Health::Open(_) => assert!(round >= 5),
            other => panic!("{other:?}"),
        }
    }
    let Step::Deliver(items) = bench.act() else { panic!() };
    assert!(matches!(bench.lane.health(), Health::HalfOpen(_)), "one probe");
    bench.deliver(items, End::Returned, |_| Some(Status::Delivered));
    assert_eq!(*bench.lane.health(), Health::Up);
}

#[test]
fn a_suspect_failure_of_a_sink_that_is_not_well_is_the_sinks() {
    let mut bench = Bench::new(1, None);
    for _ in 0..10 {
        let Step::Deliver(items) = bench.act() else { panic!() };
        let failure = Failure { status: Status::Panicked, message: "no".into(), retry_after: None };
        bench.deliver(items, End::Failed { failure, sink_well: false }, |_| None);
    }
    assert_eq!(bench.states(), ["pending"]);
}

#[test]
fn without_watch_a_sink_that_stays_down_is_given_up_after_the_time_said() {
    let mut bench = Bench::new(1, Some(Duration::from_mins(1)));
    while let Step::Deliver(items) = bench.act() {
        bench.deliver(items, failed(Status::Transient), |_| None);
    }
    assert_eq!(bench.clock, Duration::from_mins(1));
    assert_eq!(bench.states(), ["pending"]);
}

#[test]
fn without_watch_a_blocked_sink_ends_at_once_and_with_watch_it_recovers() {
    let mut once = Bench::new(1, Some(Duration::from_mins(1)));
    let Step::Deliver(items) = once.act() else { panic!() };
    once.deliver(items, failed(Status::Auth), |_| None);
    assert!(matches!(once.next(), Step::Finished));

    let mut watching = Bench::new(1, None);
    for _ in 0..3 {
        let Step::Deliver(items) = watching.act() else { panic!() };
        watching.deliver(items, failed(Status::Auth), |_| None);
        assert!(matches!(watching.lane.health(), Health::Blocked(Status::Auth, _)));
    }
    let Step::Deliver(items) = watching.act() else { panic!() };
    assert_eq!((items[0].run.tries, items[0].run.strikes), (0, 0));
    watching.deliver(items, End::Returned, |_| Some(Status::Delivered));
    assert_eq!(*watching.lane.health(), Health::Up);
    assert_eq!(watching.states(), ["committed"]);
}

#[test]
fn a_run_that_is_told_to_wait_waits_alone() {
    let mut bench = Bench::new(3, None);
    let Step::Deliver(items) = bench.act() else { panic!() };
    bench.deliver(items, End::Returned, |run| Some(if run == 2 { Status::Transient } else { Status::Delivered }));
    assert_eq!(bench.states(), ["committed", "retry_wait", "committed"]);
    assert_eq!(*bench.lane.health(), Health::Up);
    let Step::Deliver(items) = bench.act() else { panic!() };
    assert_eq!((items.len(), items[0].run.tries), (1, 1));
}

#[test]
fn what_was_reported_before_a_call_was_abandoned_is_kept() {
    let mut bench = Bench::new(3, None);
    let Step::Deliver(items) = bench.act() else { panic!() };
    bench.deliver(items, End::Abandoned, |run| (run == 1).then_some(Status::Delivered));
    assert_eq!(bench.states(), ["committed", "pending", "pending"]);
    assert!(matches!(bench.lane.health(), Health::Down(_)));
    // Without --watch the lane ends; the next process tries each of them alone, after all others.
    bench.lane.stop();
    assert!(matches!(bench.next(), Step::Finished));
    lock(&bench.ledger).record(&[found("new", summary(9, 9))], 0).unwrap();
    lock(&bench.ledger).register(&destination("test"), 0).unwrap();
    let take = || {
        let taken = lock(&bench.ledger).take(bench.id, &Selection::default(), 10, u64::MAX, 0).unwrap();
        taken.iter().map(|run| (run.sha256.0[0], run.strikes)).collect::<Vec<_>>()
    };
    assert_eq!([take(), take(), take()], [[(9, 0)], [(2, 0)], [(3, 0)]]);
}

#[test]
fn a_sink_that_hangs_with_everything_never_costs_a_run_anything_and_is_opened_again() {
    let mut bench = Bench::new(3, None);
    for round in 0..20 {
        let Step::Deliver(items) = bench.act() else { panic!() };
        assert!(items.iter().all(|item| item.run.strikes == 0), "round {round}");
        bench.deliver(items, End::Abandoned, |_| None);
        assert!(matches!(bench.lane.health(), Health::Down(_)));
    }
    while let Step::Deliver(items) = bench.act() {
        bench.deliver(items, End::Returned, |_| Some(Status::Delivered));
    }
    assert_eq!(*bench.lane.health(), Health::Up);
    assert_eq!(bench.states(), ["committed"; 3]);
}

#[test]
fn a_run_that_hangs_a_sink_that_takes_others_is_quarantined() {
    let mut bench = Bench::new(2, None);
    let (mut alone, mut n) = (0, 10);
    while bench.states()[1] != "quarantined" {
        match bench.act() {
            Step::Deliver(items) if items.iter().any(|item| item.run.sha256.0[0] == 2) => {
                alone += usize::from(items.len() == 1);
                bench.deliver(items, End::Abandoned, |_| None);
                // Meanwhile the bench seals another run, which passes once the sink is opened again.
                n += 1;
                bench.seal(n);
            }
            Step::Deliver(items) => bench.deliver(items, End::Returned, |_| Some(Status::Delivered)),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(alone, 5);
    assert!(bench.states().iter().enumerate().all(|(at, state)| at == 1 || state == "committed" || state == "pending"));
}

#[test]
fn after_another_incarnation_the_destination_is_asked_and_gets_what_it_lacks() {
    let mut bench = Bench::new(3, None);
    let Step::Deliver(items) = bench.act() else { panic!() };
    bench.deliver(items, failed(Status::Transient), |run| (run != 3).then_some(Status::Delivered));
    let Step::Deliver(items) = bench.act() else { panic!() };
    bench.deliver(items, failed(Status::Transient), |_| None);
    // The connection is built up again, and it is another database.
    while !matches!(bench.next(), Step::Connect) {
        bench.clock += Duration::from_secs(1);
    }
    let now = bench.now();
    assert_eq!(bench.lane.connected(now, &bench.queue, Some("another")).unwrap(), 2);
    let Step::Audit(items) = bench.next() else { panic!() };
    let present = [(items[0].run.run_id, held(&items[0], 1))].into();
    bench.lane.audited(now, &bench.queue, &items, Ok(&present)).unwrap();
    let Step::Deliver(items) = bench.act() else { panic!() };
    let runs: Vec<u8> = items.iter().map(|item| item.run.sha256.0[0]).collect();
    assert_eq!(runs, [2, 3]);
    bench.deliver(items, End::Returned, |_| Some(Status::Delivered));
    assert_eq!(bench.states(), ["committed"; 3]);
}

#[test]
fn a_stop_puts_back_what_the_lane_holds() {
    let mut bench = Bench::new(4, None);
    let Step::Deliver(items) = bench.act() else { panic!() };
    bench.deliver(items, failed(Status::Data), |_| None);
    bench.lane.stop();
    assert!(matches!(bench.next(), Step::Finished));
    let now = bench.now();
    bench.lane.put_back(now, &bench.queue).unwrap();
    assert_eq!(bench.states(), ["pending"; 4]);
}

#[test]
fn a_run_replaced_before_it_could_be_handed_over_is_superseded_not_gone() {
    let mut bench = Bench::new(2, None);
    let Step::Deliver(items) = bench.act() else { panic!() };
    let now = bench.now();
    let not_handed = |bench: &mut Bench, item: &Item, to| {
        bench.lane.not_handed_over(now, &bench.queue, item, to, "why").unwrap();
    };
    not_handed(&mut bench, &items[0], Settlement::Superseded);
    not_handed(&mut bench, &items[1], Settlement::Gone);
    bench.lane.nothing_handed_over();
    assert_eq!(bench.states(), ["superseded", "gone"]);
    assert!(matches!(bench.act(), Step::Finished));
}

#[test]
fn a_sink_that_refuses_every_run_is_blocked_and_no_run_is_blamed() {
    let mut bench = Bench::new(40, None);
    for _ in 0..3 {
        let mut calls = 0;
        while !matches!(bench.lane.health(), Health::Blocked(..)) {
            let Step::Deliver(items) = bench.act() else { panic!() };
            calls += 1;
            bench.deliver(items, failed(Status::Data), |_| None);
        }
        assert!(calls <= 50, "{calls} calls to find out that nothing passes");
        assert!(bench.states().iter().all(|state| state == "pending" || state == "in_flight"), "{:?}", bench.states());
    }
    // The owner of the database has dropped the constraint.
    while let Step::Deliver(items) = bench.act() {
        bench.deliver(items, End::Returned, |_| Some(Status::Delivered));
    }
    assert_eq!(bench.states(), vec!["committed"; 40]);
}

#[test]
fn a_run_that_is_refused_alone_is_blamed_once_another_passes() {
    let mut bench = Bench::new(1, None);
    let Step::Deliver(items) = bench.act() else { panic!() };
    bench.deliver(items, End::Returned, |_| Some(Status::Data));
    assert_eq!(bench.states(), ["pending"]);
    lock(&bench.ledger).record(&[found("new", summary(9, 9))], 0).unwrap();
    lock(&bench.ledger).backfill(bench.id, 0).unwrap();
    let Step::Deliver(items) = bench.act() else { panic!() };
    assert_eq!(items[0].run.sha256.0[0], 9, "what was not refused yet comes first");
    bench.deliver(items, End::Returned, |_| Some(Status::Delivered));
    let Step::Deliver(items) = bench.act() else { panic!() };
    bench.deliver(items, End::Returned, |_| Some(Status::Data));
    assert_eq!(bench.states(), ["quarantined", "committed"]);
}

#[test]
fn a_destination_that_lost_its_newest_runs_is_asked_about_all_of_them() {
    let mut bench = Bench::new(5, None);
    let Step::Deliver(items) = bench.act() else { panic!() };
    bench.deliver(items, End::Returned, |_| Some(Status::Delivered));
    // The next process connects; it is the same database, restored from a backup that has the first three.
    let policy = Policy { batch_runs: 100, batch_bytes: 1 << 30, concurrency: 1, give_up_after: None, dry_run: false };
    bench.lane = Lane::new(policy, CAPABILITIES, 8);
    bench.connect();
    for asked in [3, 5] {
        let Step::Audit(items) = bench.next() else { panic!() };
        assert_eq!(items.len(), asked);
        let there: std::collections::BTreeMap<_, _> = items
            .iter()
            .filter(|item| item.run.sha256.0[0] <= 3)
            .map(|item| (item.run.run_id, Audit { tables: [].into(), ..held(item, 0) }))
            .collect();
        let now = bench.now();
        bench.lane.audited(now, &bench.queue, &items, Ok(&there)).unwrap();
    }
    let Step::Deliver(items) = bench.act() else { panic!() };
    assert_eq!(items.iter().map(|item| item.run.sha256.0[0]).collect::<Vec<_>>(), [4, 5]);
}

#[test]
fn a_run_whose_rows_were_changed_at_the_destination_needs_a_person() {
    let mut bench = Bench::new(1, None);
    let Step::Deliver(items) = bench.act() else { panic!() };
    let report = RunReport {
        status: Status::AlreadyPresent,
        message: String::new(),
        retry_after: None,
        receipt: Some(serde_json::json!({ "tables": held(&items[0], 40).tables }).to_string()),
    };
    let now = bench.now();
    bench
        .lane
        .delivered(now, &bench.queue, items, Outcome { reports: vec![Some(report)], end: End::Returned })
        .unwrap();
    assert_eq!(bench.states(), ["unconfirmed"], "that the sink noted it is no proof");
    let Step::Audit(items) = bench.act() else { panic!() };
    let there = [(items[0].run.run_id, held(&items[0], 39))].into();
    bench.lane.audited(now, &bench.queue, &items, Ok(&there)).unwrap();
    assert_eq!(bench.states(), ["quarantined"]);
    let problems = lock(&bench.ledger).problems(bench.id, 9).unwrap();
    assert!(problems[0].2.contains("measurements holds 39 rows where 40 were delivered"), "{problems:?}");
}

/// What a sink would be blocked for is told of every run, and nothing is taken for delivered.
#[test]
fn a_dry_run_goes_on_where_a_delivery_would_be_blocked() {
    let mut bench = Bench::new(5, Some(Duration::from_secs(1)));
    let policy = Policy {
        batch_runs: 2,
        batch_bytes: 1 << 30,
        concurrency: 1,
        give_up_after: Some(Duration::from_secs(1)),
        dry_run: true,
    };
    bench.lane = Lane::new(policy, CAPABILITIES, 7);
    let mut asked = 0;
    while let Step::Deliver(items) = bench.act() {
        asked += items.len();
        bench.deliver(items, End::Returned, |_| Some(Status::Schema));
    }
    let now = bench.now();
    bench.lane.put_back(now, &bench.queue).unwrap();
    assert_eq!(asked, 5);
    assert!(matches!(bench.lane.health(), Health::Blocked(Status::Schema, _)));
    assert_eq!(bench.queue.backlog().unwrap().pending, 5);
}

#[test]
fn a_destination_that_can_be_read_but_not_written_opens_the_breaker_and_is_given_up() {
    let mut bench = Bench::new(1, Some(Duration::from_mins(1)));
    let Step::Deliver(items) = bench.act() else { panic!() };
    bench.deliver(items, End::Returned, |_| Some(Status::Delivered));
    bench.seal(2);
    let began = bench.clock;
    let mut seen = Vec::new();
    // Each time the newest runs are looked for, and found; that is no delivery.
    while let Step::Deliver(items) = bench.act() {
        bench.deliver(items, failed(Status::Transient), |_| None);
        seen.push(bench.lane.health().name());
        assert!(seen.len() < 20, "it waits longer and longer: {seen:?}");
    }
    assert_eq!(seen[..5], ["degraded", "degraded", "degraded", "degraded", "open"]);
    assert!(
        bench.clock.checked_sub(began).unwrap() <= Duration::from_secs(61),
        "{:?}",
        bench.clock.checked_sub(began).unwrap()
    );
    assert_eq!(bench.states(), ["committed", "pending"]);
}

#[test]
fn a_run_refused_alone_holds_up_no_new_one_and_fills_no_history() {
    let mut bench = Bench::new(1, None);
    let mut refused = 0;
    // Nothing else is there to tell whether it is the run or the sink: it is asked again, ever less often.
    while bench.clock < Duration::from_hours(1) {
        let Step::Deliver(items) = bench.act() else { panic!() };
        bench.deliver(items, failed(Status::Data), |_| None);
        refused += 1;
    }
    assert!((12..60).contains(&refused), "{refused} times in an hour");
    assert_eq!(bench.lane.health().name(), "blocked on data");
    assert_eq!(lock(&bench.ledger).history_rows(), 1, "the same answer is kept once");
    let Step::Wait(Some(_)) = bench.next() else { panic!("nothing new, nothing to do") };

    bench.seal(2);
    let Step::Connect = bench.next() else { panic!("a new run does not wait") };
    let Step::Deliver(items) = bench.act() else { panic!() };
    assert_eq!(items.iter().map(|item| item.run.sha256.0[0]).collect::<Vec<_>>(), [2]);
    bench.deliver(items, End::Returned, |_| Some(Status::Delivered));
    let Step::Deliver(items) = bench.act() else { panic!() };
    bench.deliver(items, failed(Status::Data), |_| None);
    assert_eq!(bench.states(), ["quarantined", "committed"]);
}
