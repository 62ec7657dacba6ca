//! A lane: the delivery rules of one sink, as a state machine.
//!
//! It decides what happens next and what an answer means; it never waits, calls a plugin or reads a clock. The driver does
//! that for real, a simulation may do it in its place. Invariants:
//! - a run leaves the lane through the ledger only: committed, superseded, quarantined, gone, or back in the queue;
//! - faults of the sink never count against a run; a run is quarantined for its own fault only;
//! - a batch that fails as a whole for a fault that a run may have is cut in two until the run at fault stands alone;
//! - while the destination is away, one call at a time asks whether it is back.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use litmus_core::{Audit, Capabilities, Receipt, RetryClass, RunId, Status};

use super::backoff;
use super::queue::{Item, SinkQueue};
pub(crate) use super::terms::{End, Ended, Failure, Health, Now, Outcome, Policy, RunReport, Step};
use crate::ledger::{Confirmed, Result, Settled, Settlement};

/// Transient failures in a row after which the breaker opens.
const BREAKER_FAILURES: u32 = 5;
/// A run that fails a sink alone this often is quarantined.
const STRIKES_MAX: u32 = 5;
/// How long after a hang a fresh instance is opened, at first and at most.
const HUNG_WAIT: Duration = Duration::from_mins(1);
const HUNG_WAIT_MAX: Duration = Duration::from_hours(1);
/// Runs in a row that a sink may refuse, while it takes none, before it counts as blocked.
const REFUSED_MAX: u32 = 20;
/// How often a sink may say that it has a run which its audit does not find.
const CLAIMS_MAX: u32 = 2;
/// Runs asked about in one `audit`.
const AUDIT_RUNS: usize = 200;

/// The delivery rules of one sink.
#[derive(Debug)]
pub(crate) struct Lane {
    policy: Policy,
    capabilities: Capabilities,
    random: fastrand::Rng,
    health: Health,
    connected: bool,
    failures: u32,
    not_before: Option<Duration>,
    /// Since when nothing got through.
    down_since: Option<Duration>,
    last_progress: Duration,
    in_flight: usize,
    /// Parts of batches that failed as a whole; in flight in the ledger.
    suspects: VecDeque<Vec<Item>>,
    /// Runs that wait by themselves, by when they are due.
    waiting: BTreeSet<(Duration, usize, i64)>,
    /// Instances given up since something got through.
    hangs: u32,
    /// Whether a run got through since the instance was opened.
    delivered_something: bool,
    /// Runs in a row that failed alone while nothing got through.
    refused: u32,
    /// Whether the destination was asked since it was opened if it still has the newest runs; whether that is being asked.
    sampled: bool,
    sampling: bool,
    /// How often a sink said of a run that it has it already.
    claimed: BTreeMap<(usize, i64), u32>,
    confirmed: bool,
    stopping: bool,
}

impl Lane {
    pub(crate) fn new(policy: Policy, capabilities: Capabilities, seed: u64) -> Self {
        Self {
            policy,
            capabilities,
            random: fastrand::Rng::with_seed(seed),
            health: Health::Up,
            connected: false,
            failures: 0,
            not_before: None,
            down_since: None,
            last_progress: Duration::ZERO,
            in_flight: 0,
            suspects: VecDeque::new(),
            waiting: BTreeSet::new(),
            hangs: 0,
            delivered_something: false,
            refused: 0,
            sampled: false,
            sampling: false,
            claimed: BTreeMap::new(),
            confirmed: false,
            stopping: false,
        }
    }

    pub(crate) fn health(&self) -> &Health {
        &self.health
    }

    /// Whether what was committed earlier is known to be there still.
    #[cfg(test)]
    pub(crate) fn is_confirmed(&self) -> bool {
        self.connected && self.confirmed
    }

    /// Whether an audit that is under way only looks at the newest runs.
    #[cfg(test)]
    pub(crate) fn is_sampling(&self) -> bool {
        self.sampling
    }

    /// No new batch; what is in flight may end.
    pub(crate) fn stop(&mut self) {
        self.stopping = true;
        if let Health::HalfOpen(why) = &self.health {
            // Nobody waits for that probe any more.
            self.health = Health::Open(why.clone());
        }
    }

    /// What to do next. `more_may_come` says whether the scan is still at it, or watches on.
    pub(crate) fn next(&mut self, now: Now, queue: &mut SinkQueue, more_may_come: bool) -> Result<Step> {
        if self.stopping || self.gives_up(now) {
            return Ok(if self.in_flight == 0 { Step::Finished } else { Step::Wait(None) });
        }
        if let Some(until) = self.not_before {
            if now.mono < until && !self.has_other_evidence(queue)? {
                return Ok(Step::Wait(Some(self.capped(until))));
            }
            self.not_before = None;
        }
        self.release_due(now, queue)?;
        if !self.connected {
            if self.in_flight > 0 {
                return Ok(Step::Wait(None));
            }
            // A destination is opened even with nothing pending: it may be another one than before.
            if let Health::Degraded(why) | Health::Open(why) | Health::Blocked(_, why) | Health::Down(why) =
                &self.health
            {
                self.health = Health::HalfOpen(why.clone());
            }
            return Ok(Step::Connect);
        }
        let probing = matches!(self.health, Health::HalfOpen(_));
        if self.in_flight >= if probing { 1 } else { self.policy.concurrency } {
            return Ok(Step::Wait(None));
        }
        if !self.confirmed {
            if self.in_flight > 0 {
                return Ok(Step::Wait(None));
            }
            let items = queue.unconfirmed(AUDIT_RUNS)?;
            if !items.is_empty() && self.audits() {
                return Ok(Step::Audit(items));
            }
            // A sink that cannot say is given the runs again; one that dedups takes them as already present.
            queue.confirm(&items.iter().map(|item| (item, Confirmed::Absent)).collect::<Vec<_>>(), now.wall_ms)?;
            if !items.is_empty() {
                return self.next(now, queue, more_may_come);
            }
            self.confirmed = true;
        }
        if !self.sampled && self.in_flight == 0 && self.audits() {
            self.sampled = true;
            let items = queue.latest()?;
            if !items.is_empty() {
                self.sampling = true;
                return Ok(Step::Audit(items));
            }
        }
        let batch = match self.suspects.pop_front() {
            Some(part) => part,
            None => queue.take(self.policy.batch_runs, self.policy.batch_bytes, now.wall_ms)?,
        };
        if !batch.is_empty() {
            self.in_flight += 1;
            return Ok(Step::Deliver(batch));
        }
        if self.in_flight > 0 {
            return Ok(Step::Wait(None));
        }
        if probing {
            // Connected, and nothing to probe with: that was the probe.
            self.progressed(now);
        }
        if let Some((due, ..)) = self.waiting.first() {
            return Ok(Step::Wait(Some(self.capped(*due))));
        }
        Ok(if more_may_come { Step::Wait(None) } else { Step::Finished })
    }

    /// Whether the sink is blocked by runs that it refused while nothing else passed, and there is one it has not seen: that
    /// tells whose fault it is, and waits for nothing.
    fn has_other_evidence(&self, queue: &SinkQueue) -> Result<bool> {
        let by_runs =
            matches!(&self.health, Health::Blocked(status, _) if matches!(status.class(), RetryClass::Suspect));
        Ok(by_runs && queue.has_untried()?)
    }

    /// Whether the destination is asked what it has. A dry run asks run by run.
    fn audits(&self) -> bool {
        self.capabilities.audit && !self.policy.dry_run
    }

    /// The instance is open.
    pub(crate) fn connected(&mut self, now: Now, queue: &SinkQueue, incarnation: Option<&str>) -> Result<u64> {
        self.connected = true;
        (self.delivered_something, self.sampled, self.sampling) = (false, false, false);
        let unconfirmed = queue.confirm_incarnation(incarnation, now.wall_ms)?;
        self.confirmed = false;
        if self.health == Health::Up {
            self.last_progress = now.mono;
        }
        Ok(unconfirmed)
    }

    /// The instance could not be opened.
    pub(crate) fn connect_failed(&mut self, now: Now, failure: &Failure) {
        match failure.status.class() {
            RetryClass::BlocksSink => self.block(now, failure),
            _ => self.fail(now, failure),
        }
    }

    /// What the destination says it has; the revisions it does not have are pending again.
    pub(crate) fn audited(
        &mut self,
        now: Now,
        queue: &SinkQueue,
        items: &[Item],
        answer: std::result::Result<&BTreeMap<RunId, Audit>, &Failure>,
    ) -> Result<()> {
        match answer {
            Ok(held) if std::mem::take(&mut self.sampling) => {
                let is_lost = |item: &Item| match held.get(&item.run.run_id) {
                    None | Some(Audit { sha256: None, .. }) => true,
                    // Another revision may have come from another host.
                    Some(_) => matches!(compare(item, held.get(&item.run.run_id)), Confirmed::Differs(_)),
                };
                if items.iter().any(is_lost) {
                    // As after the restore of an older backup: what else is missing only a look at everything shows.
                    queue.doubt(now.wall_ms)?;
                    self.confirmed = false;
                }
            }
            Ok(held) => {
                let mut answers: Vec<(&Item, Confirmed)> = Vec::with_capacity(items.len());
                for item in items {
                    let mut answer = compare(item, held.get(&item.run.run_id));
                    let key = (item.store, item.run.revision);
                    // Told once that it is there and once that it is not: something may have come in between. Told so again and
                    // again, it would be sent for ever.
                    let is_claimed = self.claimed.get(&key).is_some_and(|claims| *claims > CLAIMS_MAX);
                    if answer == Confirmed::Absent && is_claimed {
                        let why = "the sink says that the run is already present, and its audit says that it is not";
                        answer = Confirmed::Differs(why.to_owned());
                    }
                    answers.push((item, answer));
                }
                queue.confirm(&answers, now.wall_ms)?;
                // A long confirmation is not given up in the middle. That the destination can be read does not say that it
                // can be written: the breaker closes when a run gets through.
                self.last_progress = now.mono;
                self.down_since = self.down_since.map(|_| now.mono);
            }
            Err(_) if self.stopping => {}
            Err(failure) if failure.status.class() == RetryClass::BlocksSink => self.block(now, failure),
            Err(failure) => self.fail(now, failure),
        }
        Ok(())
    }

    /// Settles a batch. Returns how each run of it ended, for whoever watches; runs that stay in the lane are left out.
    pub(crate) fn delivered(
        &mut self,
        now: Now,
        queue: &SinkQueue,
        batch: Vec<Item>,
        mut outcome: Outcome,
    ) -> Result<Vec<Ended>> {
        self.in_flight -= 1;
        outcome.reports.resize(batch.len(), None);
        let mut settled: Vec<(&Item, Settled)> = Vec::with_capacity(batch.len());
        let mut later: Vec<(&Item, Failure)> = Vec::new();
        let mut silent: Vec<&Item> = Vec::new();
        let mut block: Option<Failure> = None;
        let mut progress = false;
        let (mut hung, mut taken) = (false, false);
        let mut faults: Vec<(&Item, Failure)> = Vec::new();
        for (item, report) in batch.iter().zip(outcome.reports) {
            let Some(report) = report else {
                silent.push(item);
                continue;
            };
            let failure = Failure { status: report.status, message: report.message, retry_after: report.retry_after };
            match failure.status.class() {
                RetryClass::Final => {
                    (progress, taken) = (true, true);
                    let to = match failure.status {
                        Status::Superseded => Settlement::Superseded,
                        // A note that it was delivered once is no proof that it is still there.
                        Status::AlreadyPresent if self.audits() => {
                            *self.claimed.entry((item.store, item.run.revision)).or_default() += 1;
                            self.confirmed = false;
                            Settlement::Unconfirmed
                        }
                        _ => Settlement::Committed,
                    };
                    let message = match failure.message.as_str() {
                        "" => failure.status.name().to_owned(),
                        note => format!("{}: {note}", failure.status),
                    };
                    settled.push((item, Settled { to, status: failure.status, message, receipt: report.receipt }));
                }
                RetryClass::Suspect => {
                    progress = true;
                    faults.push((item, failure));
                }
                RetryClass::Retry => later.push((item, failure)),
                RetryClass::BlocksSink => {
                    settled.push((item, back(&failure)));
                    block = Some(failure);
                }
            }
        }
        let others_pass = self.delivered_something || taken;
        match outcome.end {
            End::Stopped => settled.extend(silent.iter().map(|item| (*item, back(&stopped())))),
            End::Abandoned => {
                let failure = Failure {
                    status: Status::Deadline,
                    message: "the sink did not return in time and was abandoned".to_owned(),
                    retry_after: None,
                };
                // A sink that hangs with everything is at fault itself. A run is suspected where the call hung with it alone
                // once more, while this same instance took others.
                settled.extend(silent.iter().map(|item| match &batch[..] {
                    [_] if item.run.deferred > 0 && others_pass => (*item, suspect(item, &failure)),
                    _ => (*item, Settled { to: Settlement::Deferred, ..back(&failure) }),
                }));
                hung = true;
            }
            End::Returned => later.extend(silent.iter().map(|item| (*item, unreported()))),
            End::Failed { failure, sink_well } => match failure.status.class() {
                RetryClass::BlocksSink => {
                    settled.extend(silent.iter().map(|item| (*item, back(&failure))));
                    block = Some(failure);
                }
                // Data is the run's fault however the sink is; the rest may be the sink's.
                RetryClass::Suspect if failure.status == Status::Data || sink_well => match silent.as_slice() {
                    [] => {}
                    [item] => faults.push((item, failure)),
                    many => {
                        let half = many.len() / 2;
                        for part in [&many[half..], &many[..half]] {
                            self.suspects.push_front(part.iter().map(|item| (*item).clone()).collect());
                        }
                    }
                },
                _ if silent.is_empty() && !progress => self.fail(now, &failure),
                _ => later.extend(silent.iter().map(|item| (*item, failure.clone()))),
            },
        }
        // A run is blamed where others get through. Where none does, it may be any fault of the destination (a constraint, a
        // trigger, a full partition): the run comes again alone, after all others; if it is refused even then, it is the sink.
        let mut refused: Option<Failure> = None;
        for (item, failure) in faults {
            if others_pass {
                settled.push((item, suspect(item, &failure)));
                continue;
            }
            self.refused += 1;
            if item.run.deferred > 0 || self.refused >= REFUSED_MAX {
                let message = format!("run {}: {}", item.run.run_id, failure.message);
                refused = Some(Failure { message, ..failure.clone() });
            }
            settled.push((item, Settled { to: Settlement::Deferred, ..back(&failure) }));
        }
        // Where others got through, a run that did not waits by itself; where none did, it is the sink.
        let sink_failure = (!progress).then(|| later.first().map(|(_, failure)| failure.clone())).flatten();
        for (item, failure) in &later {
            settled.push((item, if progress { self.wait_alone(now, item, failure) } else { back(failure) }));
        }
        queue.settle(&settled, now.wall_ms)?;
        for (item, settled) in &mut settled {
            if settled.to == Settlement::Struck {
                self.wait(now, item, item.run.strikes + 1, None);
            }
        }
        if taken {
            (self.delivered_something, self.refused) = (true, 0);
        }
        if progress {
            self.progressed(now);
        }
        if hung {
            self.hung(now, "deliver");
        } else if let Some(failure) = block.or(refused) {
            self.block(now, &failure);
        } else if let Some(failure) = sink_failure
            && !self.stopping
        {
            self.fail(now, &failure);
        }
        Ok(settled.into_iter().map(|(item, settled)| Ended { run_id: item.run.run_id, settled }).collect())
    }

    /// A run of a batch that could not even be handed over: its file is gone, was replaced, or cannot be read just now.
    pub(crate) fn not_handed_over(
        &mut self,
        now: Now,
        queue: &SinkQueue,
        item: &Item,
        to: Settlement,
        why: &str,
    ) -> Result<()> {
        let failure = Failure { status: Status::Transient, message: why.to_owned(), retry_after: None };
        let settled = match to {
            Settlement::RetryWait => self.wait_alone(now, item, &failure),
            Settlement::Quarantined => {
                let failure = Failure { status: Status::Data, ..failure };
                Settled { to, status: failure.status, message: said(&failure), receipt: None }
            }
            _ => Settled { to, status: failure.status, message: failure.message, receipt: None },
        };
        queue.settle(&[(item, settled)], now.wall_ms)
    }

    /// A batch of which no run could be handed over.
    pub(crate) fn nothing_handed_over(&mut self) {
        self.in_flight -= 1;
    }

    /// A call did not come back: the instance is left alone, and a fresh one is opened after a long wait. Each hang costs a
    /// thread for as long as the call lasts, so that the wait is long and doubles.
    pub(crate) fn hung(&mut self, now: Now, call: &str) {
        let wait = (HUNG_WAIT * 2_u32.saturating_pow(self.hangs)).min(HUNG_WAIT_MAX);
        self.hangs = (self.hangs + 1).min(16);
        self.connected = false;
        self.down_since.get_or_insert(now.mono);
        self.not_before = Some(now.mono + wait);
        self.health = Health::Down(format!("its {call} did not return in time and was given up"));
    }

    /// Puts back what the lane still holds; the last thing before the driver ends.
    pub(crate) fn put_back(&mut self, now: Now, queue: &SinkQueue) -> Result<()> {
        for part in std::mem::take(&mut self.suspects) {
            let settled: Vec<(&Item, Settled)> = part.iter().map(|item| (item, back(&stopped()))).collect();
            queue.settle(&settled, now.wall_ms)?;
        }
        Ok(())
    }

    fn release_due(&mut self, now: Now, queue: &SinkQueue) -> Result<()> {
        while let Some((due, store, revision)) = self.waiting.first() {
            if *due > now.mono {
                break;
            }
            queue.release(*store, *revision, now.wall_ms)?;
            self.waiting.pop_first();
        }
        Ok(())
    }

    fn wait_alone(&mut self, now: Now, item: &Item, failure: &Failure) -> Settled {
        self.wait(now, item, item.run.tries + 1, failure.retry_after);
        Settled { to: Settlement::RetryWait, status: failure.status, message: said(failure), receipt: None }
    }

    fn wait(&mut self, now: Now, item: &Item, tries: u32, asked: Option<Duration>) {
        let wait = asked.map_or_else(|| backoff::wait(tries, &mut self.random), backoff::asked);
        self.waiting.insert((now.mono + wait, item.store, item.run.revision));
    }

    fn progressed(&mut self, now: Now) {
        self.last_progress = now.mono;
        if matches!(self.health, Health::Down(_)) {
            // Another call into an instance that was given up came back; that does not mend it.
            return;
        }
        self.failures = 0;
        self.hangs = 0;
        self.down_since = None;
        self.health = Health::Up;
    }

    fn fail(&mut self, now: Now, failure: &Failure) {
        self.failures += 1;
        self.down_since.get_or_insert(now.mono);
        if failure.status != Status::Throttled {
            self.connected = false;
        }
        let wait = failure.retry_after.map_or_else(|| backoff::wait(self.failures, &mut self.random), backoff::asked);
        self.not_before = Some(now.mono + wait);
        self.health = if self.failures >= BREAKER_FAILURES {
            Health::Open(failure.message.clone())
        } else {
            Health::Degraded(failure.message.clone())
        };
    }

    fn block(&mut self, now: Now, failure: &Failure) {
        self.fail(now, failure);
        self.health = Health::Blocked(failure.status, failure.message.clone());
    }

    /// Whether nothing can make progress any more; only without `--watch`.
    fn gives_up(&self, now: Now) -> bool {
        let Some(give_up_after) = self.policy.give_up_after else { return false };
        if matches!(self.health, Health::Blocked(..) | Health::Down(_)) {
            return true;
        }
        let stuck_since = match self.down_since {
            Some(since) => since,
            None if !self.waiting.is_empty() && self.in_flight == 0 => self.last_progress,
            None => return false,
        };
        now.mono >= stuck_since + give_up_after
    }

    /// A wait never passes the moment at which the lane gives up.
    fn capped(&self, until: Duration) -> Duration {
        match self.policy.give_up_after {
            Some(give_up_after) => until.min(self.down_since.unwrap_or(self.last_progress) + give_up_after),
            None => until,
        }
    }
}

/// What an audit's answer says of a revision: whether it is there, and as it was delivered.
fn compare(item: &Item, held: Option<&Audit>) -> Confirmed {
    let Some(held) = held.filter(|held| held.sha256 == Some(item.run.sha256)) else { return Confirmed::Absent };
    let receipt: Receipt =
        item.run.receipt.as_deref().and_then(|receipt| serde_json::from_str(receipt).ok()).unwrap_or_default();
    if held.tables.is_empty() {
        // A sink that keeps the file itself has no tables; the sha256 is of the bytes that it read back.
        return Confirmed::Present;
    }
    for (table, delivered) in &receipt.tables {
        let found = held.tables.get(table).copied().unwrap_or_default();
        if found != *delivered {
            let what = if found.rows == delivered.rows {
                format!("other values than were delivered in {} rows", found.rows)
            } else {
                format!("{} rows where {} were delivered", found.rows, delivered.rows)
            };
            return Confirmed::Differs(format!(
                "the destination was changed by somebody else: table {table} holds {what}\nhint: delete the run's row in \
                 litmus_deliveries there and `litmus-host retry` it to have it written again"
            ));
        }
    }
    Confirmed::Present
}

/// What is said of a failure, in the ledger and to a person.
fn said(failure: &Failure) -> String {
    let status = failure.status.name();
    // A plugin may have named the status itself.
    if failure.message.starts_with(status) { failure.message.clone() } else { format!("{status}: {}", failure.message) }
}

fn back(failure: &Failure) -> Settled {
    Settled { to: Settlement::Pending, status: failure.status, message: said(failure), receipt: None }
}

/// A run that failed on its own: data at once, the rest after some strikes.
fn suspect(item: &Item, failure: &Failure) -> Settled {
    let quarantine = failure.status == Status::Data || item.run.strikes + 1 >= STRIKES_MAX;
    let to = if quarantine { Settlement::Quarantined } else { Settlement::Struck };
    Settled { to, status: failure.status, message: said(failure), receipt: None }
}

fn stopped() -> Failure {
    Failure { status: Status::Cancelled, message: "the host stopped".to_owned(), retry_after: None }
}

fn unreported() -> Failure {
    Failure {
        status: Status::Transient,
        message: "the plugin returned without a report for this run".to_owned(),
        retry_after: None,
    }
}
