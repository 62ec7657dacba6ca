//! A deterministic simulation: the real lane and the real ledger through a schedule of faults that a seed gives.
//!
//! Runs are sealed, replaced and deleted; sinks fail, block, hang, are full, lie about how long to wait, lose the answer after a commit, are
//! wiped; the wall clock is set back and forth; the host crashes and starts again. After every step the invariants of DESIGN section 5 are checked; at the end the faults stop and the
//! backlog must drain. `LITMUS_SIM_SEEDS=from..to` runs other seeds; a failing one names itself.

mod seeds;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use litmus_core::{Audit, Capabilities, Decision, Grade, Held, Rank, RunId, Sha256, Status, Summary, decide};

use super::lane::{End, Failure, Health, Lane, Now, Outcome, Policy, RunReport, Step};
use super::queue::{Item, SharedLedger, SinkQueue, StoreQueue, lock};
use crate::ledger::tests::{destination, found, summary};
use crate::ledger::{ScanChange, Selection};

const STEPS: usize = 120;
/// In 2026, so that a clock may go back.
const WALL_START_MS: i64 = 1_772_344_800_000;
/// Somebody sets the wall clock by up to an hour and a bit.
const WALL_SKEW_MS_MAX: i64 = 4_000_000;
/// More steps than any backlog of a schedule needs once the faults stop.
const DRAIN_STEPS: usize = 4000;

const CAPABILITIES: Capabilities = Capabilities {
    dedup: true,
    audit: true,
    moves_file: false,
    dry_run: true,
    grade_max: Grade::Committed,
    max_concurrent_delivers: 2,
    batch_bytes: 1 << 20,
    batch_runs: 4,
};

/// A bug planted on purpose, to show that the simulation finds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bug {
    None,
    /// The host forgets a report that came after the commit.
    ReportForgotten,
    /// The host writes the receipt, then the sink commits.
    ReceiptBeforeCommit,
    /// The breaker, once open, stays open.
    NeverHalfOpens,
}

/// A destination in the simulated world.
struct World {
    held: BTreeMap<RunId, Held>,
    incarnation: u32,
    /// The one that the open connection leads to; a connection does not survive a wipe.
    connection: u32,
    /// What every call answers, while a fault lasts.
    fault: Option<Status>,
    /// Answers get lost after the commit.
    loses_answers: bool,
    /// Calls do not come back.
    hangs: bool,
    /// It opens and answers, and takes nothing, as with a full disk.
    full: bool,
}

impl World {
    /// The failure that a call meets now.
    fn answers(&self) -> Option<Status> {
        self.fault.or((self.connection != self.incarnation).then_some(Status::Transient))
    }
}

/// A batch under way.
struct Call {
    items: Vec<Item>,
    /// Receipts are written before the commit: the planted bug.
    settled: bool,
}

struct SimSink {
    world: World,
    lane: Lane,
    queue: SinkQueue,
    id: i64,
    calls: Vec<Call>,
    waits_until: Option<Duration>,
    /// As of the last check: revision, state, run, sha256, strikes.
    deliveries: Vec<(i64, String, RunId, Sha256, u32)>,
}

struct Simulation {
    random: fastrand::Rng,
    clock: Duration,
    /// How far the wall clock is from the other: it is set back and forth.
    wall_skew_ms: i64,
    ledger: SharedLedger,
    sinks: Vec<SimSink>,
    /// What lies in the store, by path.
    disk: BTreeMap<PathBuf, Summary>,
    /// What the last scan saw.
    scanned: BTreeMap<PathBuf, Summary>,
    ranks: BTreeMap<Sha256, (RunId, Rank)>,
    /// Runs that a sink cannot take: the answer to a batch with one of them in it.
    poison: BTreeMap<RunId, Status>,
    /// How often a call with just this run hung, by sink, although the run was not at fault: all that the host can see of one
    /// that is.
    hung_alone: BTreeMap<(usize, RunId), u32>,
    next: u8,
    /// How far the ledger had changed at the last check.
    checked: u64,
    /// A hash of all states that were seen, for comparing two runs of one seed.
    trace: u64,
    bug: Bug,
}

fn policy() -> Policy {
    Policy { batch_runs: 4, batch_bytes: 1 << 30, concurrency: 2, give_up_after: None, dry_run: false }
}

impl Simulation {
    /// `ledger` is emptied: making one, and its statements, costs a third of a schedule.
    fn new(seed: u64, bug: Bug, ledger: SharedLedger) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        lock(&ledger).empty();
        let sinks = (0..random.usize(1..=3))
            .map(|n| {
                let (lane, queue, id) = start(&ledger, n, random.u64(..));
                let world = World {
                    held: BTreeMap::new(),
                    incarnation: 1,
                    connection: 1,
                    fault: None,
                    loses_answers: false,
                    hangs: false,
                    full: false,
                };
                SimSink { world, lane, queue, id, calls: vec![], waits_until: None, deliveries: vec![] }
            })
            .collect();
        Self {
            random,
            clock: Duration::ZERO,
            wall_skew_ms: 0,
            ledger,
            sinks,
            disk: BTreeMap::new(),
            scanned: BTreeMap::new(),
            ranks: BTreeMap::new(),
            poison: BTreeMap::new(),
            hung_alone: BTreeMap::new(),
            next: 0,
            checked: u64::MAX,
            trace: 0,
            bug,
        }
    }

    fn now(&self) -> Now {
        Now { mono: self.clock, wall_ms: self.wall_ms() }
    }

    fn wall_ms(&self) -> i64 {
        WALL_START_MS + self.clock.as_millis() as i64 + self.wall_skew_ms
    }

    fn step(&mut self) -> Result<(), String> {
        match self.random.u32(0..100) {
            0..12 => self.seal(),
            12..16 => self.replace(),
            16..18 => self.delete(),
            18..32 => self.scan(),
            32..39 => self.clock += Duration::from_millis(self.random.u64(0..20_000)),
            39 => self.wall_skew_ms = self.random.i64(-WALL_SKEW_MS_MAX..=WALL_SKEW_MS_MAX),
            40..42 => self.crash(),
            42..50 => self.change_fault(),
            50..75 => {
                let at = self.random.usize(0..self.sinks.len());
                self.drive(at)?;
            }
            _ => {
                let at = self.random.usize(0..self.sinks.len());
                self.return_call(at)?;
            }
        }
        self.check()
    }

    fn new_revision(&mut self, run: u8) -> Summary {
        self.next = self.next.wrapping_add(1);
        let mut new = summary(run, self.next);
        if self.random.u8(0..4) == 0 {
            new.run_outcome = Some("aborted".into());
        }
        self.ranks.insert(new.sha256, (new.run_id, new.rank()));
        new
    }

    fn seal(&mut self) {
        if self.next > 240 {
            return;
        }
        // Now and then a second file of a run that is there already.
        let run = if self.random.u8(0..8) == 0 && self.next > 0 { self.random.u8(0..self.next) } else { self.next };
        let new = self.new_revision(run);
        if self.random.u8(0..12) == 0 {
            // Deadline: the call with it inside does not come back.
            let faults = [Status::Data, Status::Panicked, Status::Conflict, Status::Deadline];
            let status = faults[self.random.usize(0..faults.len())];
            self.poison.insert(new.run_id, status);
        }
        self.disk.insert(PathBuf::from(format!("{:03}", self.next)), new);
    }

    fn replace(&mut self) {
        if self.next > 240 || self.disk.is_empty() {
            return;
        }
        let at = self.random.usize(0..self.disk.len());
        let (path, old) = self.disk.iter().nth(at).map(|(path, old)| (path.clone(), old.clone())).unwrap();
        let run = old.run_id.as_bytes()[0];
        let new = self.new_revision(run);
        self.disk.insert(path, new);
    }

    fn delete(&mut self) {
        if !self.disk.is_empty() {
            let at = self.random.usize(0..self.disk.len());
            let path = self.disk.keys().nth(at).cloned().unwrap();
            self.disk.remove(&path);
        }
    }

    fn scan(&mut self) {
        let mut changes: Vec<ScanChange> = self
            .scanned
            .keys()
            .filter(|path| !self.disk.contains_key(*path))
            .map(|path| ScanChange::Vanished { path: path.clone() })
            .collect();
        for (path, run) in &self.disk {
            if self.scanned.get(path) != Some(run) {
                changes.push(found(path.to_str().unwrap(), run.clone()));
            }
        }
        let wall_ms = self.wall_ms();
        let ledger = lock(&self.ledger);
        ledger.record(&changes, wall_ms).unwrap();
        for sink in &mut self.sinks {
            ledger.backfill(sink.id, wall_ms).unwrap();
            sink.waits_until = None;
        }
        drop(ledger);
        self.scanned = self.disk.clone();
    }

    /// kill -9 and start again: lanes and calls are forgotten; what a call was about to commit may or may not be committed.
    fn crash(&mut self) {
        for at in 0..self.sinks.len() {
            for call in std::mem::take(&mut self.sinks[at].calls) {
                if self.random.bool() && self.bug != Bug::ReceiptBeforeCommit {
                    self.commit(at, &call.items);
                }
            }
            let (lane, queue, _) = start(&self.ledger, at, self.random.u64(..));
            let sink = &mut self.sinks[at];
            (sink.lane, sink.queue, sink.waits_until) = (lane, queue, None);
        }
    }

    fn change_fault(&mut self) {
        let at = self.random.usize(0..self.sinks.len());
        let faults = [Status::Transient, Status::Auth, Status::Throttled, Status::Schema];
        let fault = (self.random.u8(0..3) == 0).then(|| faults[self.random.usize(0..faults.len())]);
        let (loses, hangs, wiped) = (self.random.u8(0..6) == 0, self.random.u8(0..25) == 0, self.random.u8(0..25) == 0);
        let full = self.random.u8(0..10) == 0;
        let world = &mut self.sinks[at].world;
        (world.fault, world.loses_answers, world.hangs, world.full) = (fault, loses, hangs, full);
        if wiped {
            world.held.clear();
            world.incarnation += 1;
        }
    }

    fn failure(&mut self, status: Status) -> Failure {
        // A destination may say anything about how long to wait, a lie included.
        let retry_after = match self.random.u8(0..16) {
            0..3 => Some(Duration::from_millis(self.random.u64(0..600_000))),
            3 => Some([Duration::ZERO, Duration::from_millis(u64::MAX)][self.random.usize(0..2)]),
            _ => None,
        };
        Failure { status, message: "simulated".into(), retry_after }
    }

    /// One step of a lane.
    fn drive(&mut self, at: usize) -> Result<(), String> {
        let now = self.now();
        if self.sinks[at].waits_until.is_some_and(|until| until > self.clock) {
            return Ok(());
        }
        if self.bug == Bug::NeverHalfOpens && matches!(self.sinks[at].lane.health(), Health::Open(_)) {
            return Ok(());
        }
        let sink = &mut self.sinks[at];
        match sink.lane.next(now, &mut sink.queue, true).unwrap() {
            Step::Connect => {
                if let Some(status) = sink.world.fault {
                    let failure = self.failure(status);
                    self.sinks[at].lane.connect_failed(now, &failure);
                } else {
                    sink.world.connection = sink.world.incarnation;
                    let incarnation = sink.world.incarnation.to_string();
                    sink.lane.connected(now, &sink.queue, Some(&incarnation)).unwrap();
                }
            }
            Step::Audit(items) => {
                if let Some(status) = sink.world.answers() {
                    let failure = self.failure(status);
                    let sink = &mut self.sinks[at];
                    sink.lane.audited(now, &sink.queue, &items, Err(&failure)).unwrap();
                } else {
                    let audit = |run: &RunId, sha256| Audit {
                        run_id: *run,
                        sha256: Some(sha256),
                        tables: BTreeMap::new(),
                        conversions: BTreeMap::new(),
                    };
                    let held = sink.world.held.iter().map(|(run, held)| (*run, audit(run, held.sha256))).collect();
                    let tried = matches!(sink.lane.health(), Health::HalfOpen(_));
                    sink.lane.audited(now, &sink.queue, &items, Ok(&held)).unwrap();
                    if tried && sink.world.full && *sink.lane.health() == Health::Up {
                        return Err(format!("sink {at} answers, takes nothing, and counts as well"));
                    }
                }
            }
            Step::Deliver(items) => {
                let is_out =
                    |run: &RunId| sink.calls.iter().flat_map(|call| &call.items).any(|item| item.run.run_id == *run);
                if let Some(item) = items.iter().find(|item| is_out(&item.run.run_id)) {
                    return Err(format!("sink {at}: {} is sent while another call has it", item.run.run_id));
                }
                sink.calls.push(Call { items, settled: false });
                if self.bug == Bug::ReceiptBeforeCommit && self.random.bool() {
                    let sink = &mut self.sinks[at];
                    let call = sink.calls.last_mut().unwrap();
                    call.settled = true;
                    let reports = call.items.iter().map(|_| Some(report(Status::Delivered))).collect();
                    let outcome = Outcome { reports, end: End::Returned };
                    sink.lane.delivered(now, &sink.queue, call.items.clone(), outcome).unwrap();
                }
            }
            Step::Wait(until) => {
                sink.waits_until = until;
                let backlog = sink.queue.backlog().unwrap();
                let busy = !sink.calls.is_empty() || !matches!(sink.lane.health(), Health::Up);
                if until.is_none() && !busy && self.takeable(at) > 0 {
                    return Err(format!("sink {at} is well and waits with {backlog:?}"));
                }
            }
            Step::Finished => return Err(format!("sink {at} ended while watching")),
        }
        Ok(())
    }

    fn takeable(&self, at: usize) -> usize {
        lock(&self.ledger).states(self.sinks[at].id).iter().filter(|(_, state)| state == "pending").count()
    }

    /// Writes a batch into the destination, as every sink does.
    fn commit(&mut self, at: usize, items: &[Item]) -> Vec<Option<RunReport>> {
        let world = &mut self.sinks[at].world;
        items
            .iter()
            .map(|item| {
                let (_, rank) = self.ranks[&item.run.sha256];
                let held = world.held.get(&item.run.run_id);
                let new = Held::new(item.run.sha256, rank, &item.run.supersedes, held);
                let decision = decide(held, &item.run.sha256, &rank, &item.run.supersedes, false);
                if matches!(decision, Decision::Insert | Decision::Replace) {
                    world.held.insert(item.run.run_id, new);
                }
                Some(report(match decision {
                    Decision::Insert | Decision::Replace => Status::Delivered,
                    Decision::AlreadyPresent => Status::AlreadyPresent,
                    Decision::Superseded => Status::Superseded,
                }))
            })
            .collect()
    }

    /// A call of `deliver` comes back.
    fn return_call(&mut self, at: usize) -> Result<(), String> {
        let now = self.now();
        if self.sinks[at].calls.is_empty() {
            return Ok(());
        }
        let which = self.random.usize(0..self.sinks[at].calls.len());
        let Call { items, settled } = self.sinks[at].calls.swap_remove(which);
        if settled {
            if self.sinks[at].world.answers().is_none() {
                self.commit(at, &items);
            }
            return Ok(());
        }
        let poison = items.iter().find_map(|item| self.poison.get(&item.run.run_id)).copied();
        let (reports, end) = if let Some(status) = self.sinks[at].world.answers() {
            let failure = self.failure(status);
            (vec![], End::Failed { failure, sink_well: false })
        } else if self.sinks[at].world.full {
            let failure = self.failure(Status::Transient);
            (vec![], End::Failed { failure, sink_well: false })
        } else if self.sinks[at].world.hangs {
            self.sinks[at].world.hangs = false;
            if let [alone] = &items[..] {
                *self.hung_alone.entry((at, alone.run.run_id)).or_default() += 1;
            }
            (vec![], End::Abandoned)
        } else if poison == Some(Status::Deadline) {
            (vec![], End::Abandoned)
        } else if let Some(status) = poison {
            let failure = self.failure(status);
            (vec![], End::Failed { failure, sink_well: true })
        } else {
            let reports = self.commit(at, &items);
            if self.sinks[at].world.loses_answers || self.bug == Bug::ReportForgotten {
                (vec![], End::Returned)
            } else {
                (reports, End::Returned)
            }
        };
        let sink = &mut self.sinks[at];
        sink.lane.delivered(now, &sink.queue, items, Outcome { reports, end }).unwrap();
        sink.waits_until = None;
        Ok(())
    }

    /// The invariants; they can break only where the ledger has changed.
    fn check(&mut self) -> Result<(), String> {
        let changes = lock(&self.ledger).changes();
        if std::mem::replace(&mut self.checked, changes) == changes {
            return Ok(());
        }
        for (at, sink) in self.sinks.iter_mut().enumerate() {
            let ledger = lock(&self.ledger);
            let same_world = ledger.incarnation(sink.id) == Some(sink.world.incarnation.to_string());
            let states: BTreeMap<i64, String> =
                sink.deliveries.drain(..).map(|(revision, state, ..)| (revision, state)).collect();
            let deliveries = ledger.deliveries(sink.id);
            for (revision, state, run_id, sha256, strikes) in &deliveries {
                self.trace = (self.trace.rotate_left(5) ^ *revision as u64 ^ u64::from(*strikes))
                    .wrapping_mul(0x517c_c1b7_2722_0a95)
                    .wrapping_add(state.bytes().map(u64::from).sum());
                let by_chance = self.hung_alone.get(&(at, *run_id)).copied().unwrap_or_default();
                if *strikes > by_chance && !self.poison.contains_key(run_id) {
                    return Err(format!("sink {at}: {run_id} has {strikes} strikes without a fault of its own"));
                }
                let before = states.get(revision).map_or("", String::as_str);
                if before != state && !edge(before, state) {
                    return Err(format!("sink {at}, revision {revision}: {before} → {state} is no edge"));
                }
                match state.as_str() {
                    "committed" if same_world => {
                        let Some(held) = sink.world.held.get(run_id) else {
                            return Err(format!("sink {at}: {run_id} is committed and not there"));
                        };
                        // Another revision stands there only if it is newer, by lineage or by rank.
                        if held.sha256 != *sha256 && !deliveries.iter().any(|other| other.3 == held.sha256) {
                            return Err(format!("sink {at}: {run_id} holds a revision that this host never sent"));
                        }
                    }
                    "quarantined" if !self.poison.contains_key(run_id) => {
                        return Err(format!("sink {at}: {run_id} is quarantined without a fault of its own"));
                    }
                    _ => {}
                }
            }
            sink.deliveries = deliveries;
        }
        Ok(())
    }

    /// The faults stop; everything that can arrive must arrive.
    fn drain(&mut self) -> Result<(), String> {
        for sink in &mut self.sinks {
            let world = &mut sink.world;
            (world.fault, world.loses_answers, world.hangs, world.full) = (None, false, false, false);
        }
        // An idle sink notices at its next call only that its destination was wiped.
        let stale = |sink: &SimSink| sink.world.connection != sink.world.incarnation;
        if self.bug != Bug::NeverHalfOpens && self.sinks.iter().any(stale) {
            self.crash();
        }
        self.scan();
        self.check()?;
        for _ in 0..DRAIN_STEPS {
            for at in 0..self.sinks.len() {
                self.drive(at)?;
                self.check()?;
                self.return_call(at)?;
                self.check()?;
            }
            self.clock += Duration::from_secs(7);
            if (0..self.sinks.len()).all(|at| self.is_drained(at)) {
                return self.arrived();
            }
        }
        let stuck: Vec<_> = self.sinks.iter().map(|sink| (sink.lane.health(), &sink.deliveries)).collect();
        Err(format!("the backlog does not drain: {stuck:?}"))
    }

    /// Whether a sink has nothing open any more. A run that cannot be taken may stay open: it comes last, and while nothing else
    /// passes it may as well be the sink that is at fault.
    fn is_drained(&self, at: usize) -> bool {
        let sink = &self.sinks[at];
        let hangs = |run: &RunId| self.poison.contains_key(run);
        let is_open = |state: &str| matches!(state, "pending" | "in_flight" | "retry_wait" | "unconfirmed");
        let mut open = sink.deliveries.iter().filter(|(_, state, ..)| is_open(state)).peekable();
        match open.peek() {
            None => sink.lane.is_confirmed() || matches!(sink.lane.health(), Health::Down(_)),
            Some(_) => open.all(|(_, state, run, ..)| hangs(run) && state != "unconfirmed"),
        }
    }

    /// Every run on disk is at every destination, but for those that are set aside.
    fn arrived(&self) -> Result<(), String> {
        let mut expected: BTreeMap<RunId, BTreeSet<Sha256>> = BTreeMap::new();
        for run in self.disk.values() {
            expected.entry(run.run_id).or_default().insert(run.sha256);
        }
        for (at, sink) in self.sinks.iter().enumerate() {
            for (run, revisions) in &expected {
                let of_run = || sink.deliveries.iter().filter(|delivery| delivery.2 == *run);
                if of_run().any(|delivery| delivery.1 == "quarantined") || self.poison.contains_key(run) {
                    continue;
                }
                // A run with one file must be there as that file, unless a newer one was delivered and then deleted: newer by
                // rank, or by lineage than one that is newer by rank (decision 4).
                match sink.world.held.get(run) {
                    None => {
                        return Err(format!("sink {at}: {run} is lost: {:?}", of_run().collect::<Vec<_>>()));
                    }
                    Some(held) if revisions.len() == 1 && !revisions.contains(&held.sha256) => {
                        let only = revisions.first().expect("there is one");
                        let older = held.supersedes.iter().map(|older| self.ranks[older].1);
                        if older.chain([held.rank]).all(|rank| rank < self.ranks[only].1) {
                            return Err(format!("sink {at}: {run} is an older revision than the one that is there"));
                        }
                    }
                    Some(_) => {}
                }
            }
        }
        Ok(())
    }
}

fn report(status: Status) -> RunReport {
    RunReport { status, message: String::new(), retry_after: None, receipt: None }
}

fn start(ledger: &SharedLedger, n: usize, seed: u64) -> (Lane, SinkQueue, i64) {
    let id = lock(ledger).register(&destination(&format!("sink {n}")), 0).unwrap();
    let queue = SinkQueue::new(vec![StoreQueue { store: 0, ledger: Arc::clone(ledger), id }], Selection::default());
    (Lane::new(policy(), CAPABILITIES, seed), queue, id)
}

/// The edges between states; "" is not there yet.
fn edge(from: &str, to: &str) -> bool {
    let may: &[&str] = match from {
        // Between two looks a revision may pass through several states.
        "" => &["pending", "in_flight", "superseded", "gone", "unconfirmed"],
        "pending" => &["in_flight", "gone", "superseded"],
        "in_flight" => &["committed", "superseded", "pending", "retry_wait", "quarantined", "gone", "unconfirmed"],
        "retry_wait" => &["pending", "in_flight", "gone", "superseded"],
        "committed" => &["unconfirmed", "pending", "gone", "superseded"],
        "unconfirmed" => &["committed", "pending", "gone", "superseded", "quarantined"],
        "quarantined" => &["gone", "superseded"],
        // Gone: in one scan it was the best that was left, and then its own file had vanished, too.
        "superseded" => &["pending", "gone"],
        "gone" => &["pending"],
        _ => &[],
    };
    may.contains(&to)
}
