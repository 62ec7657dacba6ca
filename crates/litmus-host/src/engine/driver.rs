//! The driver of one sink: does for real what its lane decides. It owns the instance, calls the plugin from threads of its
//! own, and gives up on a call that does not come back.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use litmus_core::abi::host::{HostCall, Instance, Plugin, RunSource};
use litmus_core::{Audit, CheckAnswer, OpenMode, Report, RetryClass, RunId, SinkError, Status, failpoint};
use serde_json::{Value, json};

use super::decode::{DecodeCache, OpenRun};
use super::files::{NotOpened, OpenFiles};
use super::lane::{End, Ended, Failure, Health, Lane, Now, Outcome, RunReport, Step};
use super::queue::{Item, SinkQueue};
use super::sinks::shown_id;
use crate::config::{PluginConfig, Redactor};
use crate::engine_api::{Event, Level, Observer, Stop};
use crate::ledger::{LedgerError, Settlement};

/// How often a waiting driver looks whether it is to stop.
const LOOK: Duration = Duration::from_millis(200);
/// How long a cancelled call has to come back: a plugin polls `is_cancelled` every second.
const CANCELLED_WAIT: Duration = Duration::from_millis(1500);
/// How often progress is told.
const PROGRESS: Duration = Duration::from_millis(250);
/// A call's deadline is for this many sealed bytes; a larger batch gets more in proportion.
const DEADLINE_BYTES: u64 = 16 << 20;

/// What wakes a driver.
#[derive(Debug)]
pub(crate) enum Message {
    /// There may be something new in the ledger.
    Look,
    /// This batch's call came back.
    Done(u64),
}

/// What a driver needs.
pub(crate) struct DriverSpec {
    pub(crate) name: String,
    pub(crate) plugin: Plugin,
    pub(crate) config: PluginConfig,
    pub(crate) deadline: Duration,
    pub(crate) grace: Duration,
    pub(crate) dry_run: bool,
    pub(crate) files: Arc<OpenFiles>,
    pub(crate) cache: Option<Arc<DecodeCache>>,
    pub(crate) observer: Arc<dyn Observer>,
    pub(crate) stop: Arc<Stop>,
    /// This session ends and another begins.
    pub(crate) session_over: Arc<Stop>,
    pub(crate) redactor: Redactor,
    /// Whether the scan is still at it, or watches on.
    pub(crate) more_may_come: Arc<AtomicBool>,
}

/// What a sink did in this session.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) delivered: u64,
    pub(crate) already_present: u64,
    pub(crate) superseded: u64,
    /// Batches handed to the sink.
    pub(crate) batches: u64,
    /// In a dry run: the runs that would be delivered.
    pub(crate) would_deliver: Vec<RunId>,
    /// In a dry run: the statements that would come first.
    pub(crate) planned: Vec<String>,
}

/// One call of `deliver` under way.
struct Running {
    batch: u64,
    items: Vec<Item>,
    shared: Arc<Shared>,
    deadline: Instant,
    cancelled_at: Option<Instant>,
    started: Instant,
    bytes: u64,
}

/// What the calling thread and the driver share.
#[derive(Default)]
struct Shared {
    cancel: AtomicBool,
    reports: Mutex<Vec<Option<RunReport>>>,
    returned: Mutex<Option<Result<(), SinkError>>>,
    planned: Mutex<Vec<String>>,
}

/// Drives one sink until nothing more can be done.
pub(crate) struct Driver {
    spec: DriverSpec,
    lane: Lane,
    queue: SinkQueue,
    inbox: Receiver<Message>,
    outbox: Sender<Message>,
    epoch: Instant,
    instance: Option<Arc<Instance>>,
    running: Vec<Running>,
    next_batch: u64,
    tally: Tally,
    health: Health,
    /// Whether the ledger has heard from this process how the sink is.
    noted: bool,
    told: Instant,
    stopping_since: Option<Instant>,
}

fn held<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Driver {
    pub(crate) fn new(
        spec: DriverSpec,
        lane: Lane,
        queue: SinkQueue,
        inbox: Receiver<Message>,
        outbox: Sender<Message>,
        epoch: Instant,
    ) -> Self {
        Self {
            spec,
            lane,
            queue,
            inbox,
            outbox,
            epoch,
            instance: None,
            running: Vec::new(),
            next_batch: 0,
            tally: Tally::default(),
            health: Health::Up,
            noted: false,
            told: Instant::now(),
            stopping_since: None,
        }
    }

    fn now(&self) -> Now {
        Now { mono: self.epoch.elapsed(), wall_ms: Timestamp::now().as_millisecond() }
    }

    /// Runs to the end; an error is the host's own trouble.
    pub(crate) fn run(mut self) -> Result<(Tally, Health, SinkQueue), LedgerError> {
        loop {
            self.tell_health()?;
            self.heed_stop();
            let more_may_come = self.spec.more_may_come.load(Ordering::SeqCst);
            match self.lane.next(self.now(), &mut self.queue, more_may_come)? {
                Step::Connect => self.connect()?,
                Step::Audit(items) => self.audit(&items)?,
                Step::Deliver(items) => self.deliver(items)?,
                Step::Wait(until) => self.wait(until)?,
                Step::Finished => break,
            }
        }
        self.lane.put_back(self.now(), &self.queue)?;
        self.tell_health()?;
        self.close();
        Ok((self.tally, self.lane.health().clone(), self.queue))
    }

    /// The first stop lets calls end within the grace period, the second cancels them.
    fn heed_stop(&mut self) {
        if !self.is_stopping() {
            return;
        }
        self.lane.stop();
        let since = *self.stopping_since.get_or_insert_with(Instant::now);
        if self.spec.stop.is_cancelled() || since.elapsed() >= self.spec.grace {
            for running in &mut self.running {
                running.shared.cancel.store(true, Ordering::SeqCst);
                running.cancelled_at.get_or_insert_with(Instant::now);
            }
        }
    }

    fn tell_health(&mut self) -> Result<(), LedgerError> {
        let health = self.lane.health();
        // Before the first connection nothing is known; what an earlier process noted stands until then.
        let first = !self.noted && (self.instance.is_some() || *health != Health::Up);
        if *health == self.health && !first {
            return Ok(());
        }
        let why = self.spec.redactor.redact(health.why()).into_owned();
        self.queue.note_state(&health.name(), &why, Timestamp::now().as_millisecond())?;
        self.noted = true;
        // A probe is no news, and neither is a change of reason; a change of state is.
        if matches!(health, Health::HalfOpen(_)) {
            return Ok(());
        }
        if health.name() != self.health.name() {
            self.spec.observer.event(&Event::SinkState {
                sink: self.spec.name.clone(),
                from: self.health.name(),
                to: health.name(),
                why,
            });
        }
        self.health = health.clone();
        Ok(())
    }

    fn connect(&mut self) -> Result<(), LedgerError> {
        let (plugin, config, dry_run) = (self.spec.plugin.clone(), self.spec.config.clone(), self.spec.dry_run);
        // An instance that is offline has nothing that breaks, and knows what it planned for the batches before.
        let kept = self.instance.clone().filter(|_| dry_run);
        if kept.is_none() {
            self.close();
        }
        let opened = self.guarded("open", move |call| {
            let mode = if dry_run { OpenMode::Offline } else { OpenMode::Live };
            let instance = kept.map_or_else(|| plugin.open(config.expose(), mode, call).map(Arc::new), Ok)?;
            let incarnation = match mode {
                OpenMode::Live => instance.incarnation().map(str::to_owned),
                OpenMode::Offline => match instance.check(call) {
                    // What the tables lack is told of each run, with all that the others need.
                    Err(error) if error.status() == Status::Schema => None,
                    answer => answer?.incarnation,
                },
            };
            Ok((instance, incarnation))
        });
        let now = self.now();
        match opened {
            Some(Ok((instance, incarnation))) => {
                self.instance = Some(instance);
                let incarnation = incarnation.map(|incarnation| shown_id(&self.spec.redactor, &incarnation));
                let unconfirmed = self.lane.connected(now, &self.queue, incarnation.as_deref())?;
                if unconfirmed > 0 {
                    self.log(
                        Level::Warn,
                        format!("the destination is not the one of last time: {unconfirmed} runs are checked there"),
                    );
                }
            }
            Some(Err(error)) => self.lane.connect_failed(now, &self.failure(&error)),
            None => self.call_hung("open"),
        }
        Ok(())
    }

    fn audit(&mut self, items: &[Item]) -> Result<(), LedgerError> {
        let Some(instance) = self.instance.clone() else { return Ok(()) };
        // Several revisions of a run are one question.
        let run_ids: BTreeSet<RunId> = items.iter().map(|item| item.run.run_id).collect();
        let run_ids: Vec<RunId> = run_ids.into_iter().collect();
        let answer = self.guarded("audit", move |call| instance.audit(call, &run_ids));
        let now = self.now();
        match answer {
            Some(Ok(audits)) => {
                let held: BTreeMap<RunId, Audit> = audits.into_iter().map(|audit| (audit.run_id, audit)).collect();
                self.lane.audited(now, &self.queue, items, Ok(&held))
            }
            Some(Err(error)) => {
                let failure = self.failure(&error);
                self.lane.audited(now, &self.queue, items, Err(&failure))
            }
            None => {
                self.call_hung("audit");
                Ok(())
            }
        }
    }

    fn deliver(&mut self, items: Vec<Item>) -> Result<(), LedgerError> {
        let Some(instance) = self.instance.clone() else {
            // The lane connects before it delivers.
            unreachable!("no instance is open")
        };
        let mut sources: Vec<Arc<dyn RunSource>> = Vec::with_capacity(items.len());
        let mut handed: Vec<Item> = Vec::with_capacity(items.len());
        for item in items {
            let cache = self.spec.cache.clone();
            let opened = self.spec.files.open(&item).and_then(|file| OpenRun::new(file, &item, cache));
            let now = self.now();
            match opened {
                Ok(source) => {
                    sources.push(Arc::new(source));
                    handed.push(item);
                }
                Err(NotOpened::Gone) => {
                    let why = "its file vanished before it was delivered";
                    self.lane.not_handed_over(now, &self.queue, &item, Settlement::Gone, why)?;
                }
                Err(NotOpened::Replaced) => {
                    let why = "its file was replaced by a newer revision before it was delivered";
                    self.lane.not_handed_over(now, &self.queue, &item, Settlement::Superseded, why)?;
                }
                Err(NotOpened::Later(why)) => {
                    self.lane.not_handed_over(now, &self.queue, &item, Settlement::RetryWait, &why)?;
                }
                Err(NotOpened::Damaged(why)) => {
                    self.lane.not_handed_over(now, &self.queue, &item, Settlement::Quarantined, &why)?;
                }
                Err(NotOpened::Ledger(error)) => return Err(error),
            }
        }
        if handed.is_empty() {
            self.lane.nothing_handed_over();
            return Ok(());
        }
        let bytes: u64 = handed.iter().map(|item| item.run.bytes).sum();
        let started = Instant::now();
        let limit = self.spec.deadline.mul_f64((bytes as f64 / DEADLINE_BYTES as f64).max(1.0));
        let shared = Arc::new(Shared::default());
        *held(&shared.reports) = vec![None; handed.len()];
        self.next_batch += 1;
        let batch = self.next_batch;
        self.tally.batches += 1;
        let attempt = handed.iter().map(|item| item.run.tries + 1).max().unwrap_or(1);
        let stamps = Stamps {
            plugin: format!("{} {}", self.spec.plugin.description().name, self.spec.plugin.description().version),
            redactor: self.spec.redactor.clone(),
        };
        let (outbox, for_call, dry_run) = (self.outbox.clone(), Arc::clone(&shared), self.spec.dry_run);
        let deadline = started + limit;
        spawn(&self.spec.name, move || {
            let shared = &for_call;
            let is_cancelled = || shared.cancel.load(Ordering::SeqCst) || Instant::now() >= deadline;
            let call = HostCall { attempt, deadline: Some(deadline), is_cancelled: &is_cancelled, dry_run };
            let on_report = |run: usize, report: Report| {
                if dry_run && let Some(receipt) = &report.receipt {
                    held(&shared.planned).extend(receipt.planned.iter().cloned());
                }
                let report = stamps.stamp(&*sources[run], report);
                held(&shared.reports)[run] = Some(report);
            };
            let returned = instance.deliver(&call, &sources, &on_report);
            *held(&shared.returned) = Some(returned);
            // Who hears that the call is over may close the instance, and must find nobody else holding it.
            drop(instance);
            // The driver has ended: nobody waits for this call any more.
            let _ = outbox.send(Message::Done(batch));
        });
        self.running.push(Running { batch, items: handed, shared, deadline, cancelled_at: None, started, bytes });
        Ok(())
    }

    /// Waits for a message, a deadline, or `until`.
    fn wait(&mut self, until: Option<Duration>) -> Result<(), LedgerError> {
        let mut timeout = LOOK;
        if let Some(until) = until {
            timeout = timeout.min(until.saturating_sub(self.epoch.elapsed()));
        }
        match self.inbox.recv_timeout(timeout) {
            Ok(Message::Done(batch)) => self.done(batch)?,
            Ok(Message::Look) | Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
        }
        let (grace, now) = (self.spec.grace, Instant::now());
        let hangs = |running: &Running| now >= running.deadline + grace;
        let is_left = |running: &Running| running.cancelled_at.is_some_and(|at| now >= at + CANCELLED_WAIT);
        while let Some(at) = self.running.iter().position(|running| hangs(running) || is_left(running)) {
            let running = self.running.swap_remove(at);
            // A call that the host could not wait for is not the sink's fault.
            let end = if hangs(&running) { End::Abandoned } else { End::Stopped };
            self.finish(running, end)?;
        }
        self.tell_progress()
    }

    fn done(&mut self, batch: u64) -> Result<(), LedgerError> {
        // A call that was abandoned may still come back: it is settled already.
        let Some(at) = self.running.iter().position(|running| running.batch == batch) else { return Ok(()) };
        let running = self.running.swap_remove(at);
        let returned = held(&running.shared.returned).take();
        let cancelled = running.shared.cancel.load(Ordering::SeqCst);
        let end = match returned {
            _ if cancelled => End::Stopped,
            None | Some(Ok(())) => End::Returned,
            Some(Err(error)) => {
                let mut failure = self.failure(&error);
                if failure.status == Status::Cancelled && Instant::now() >= running.deadline {
                    failure.status = Status::Deadline;
                    "the time allowed for the batch ran out\nhint: raise the sink's `deadline`, or lower its `batch_runs_max`"
                        .clone_into(&mut failure.message);
                }
                let sink_well = failure.status.class() == RetryClass::Suspect && self.is_well();
                End::Failed { failure, sink_well }
            }
        };
        self.finish(running, end)
    }

    fn is_well(&self) -> bool {
        let Some(instance) = self.instance.clone() else { return false };
        let answer: Option<Result<CheckAnswer, SinkError>> = self.guarded("check", move |call| instance.check(call));
        matches!(answer, Some(Ok(_)))
    }

    fn finish(&mut self, running: Running, end: End) -> Result<(), LedgerError> {
        let reports = std::mem::take(&mut *held(&running.shared.reports));
        failpoint("between_report_and_receipt");
        let ended = self.lane.delivered(self.now(), &self.queue, running.items, Outcome { reports, end })?;
        self.tally.planned.append(&mut held(&running.shared.planned));
        let runs = ended.iter().filter(|run| run.settled.to == Settlement::Committed).count() as u64;
        for run in ended {
            self.tell_run(run);
        }
        if runs > 0 && !self.spec.dry_run {
            let (sink, elapsed) = (self.spec.name.clone(), running.started.elapsed());
            self.spec.observer.event(&Event::BatchDone { sink, runs, bytes: running.bytes, elapsed });
        }
        self.tell_progress()
    }

    fn tell_run(&mut self, run: Ended) {
        match (run.settled.to, run.settled.status) {
            (Settlement::Pending | Settlement::Deferred, _) => return,
            (Settlement::Committed | Settlement::Unconfirmed, Status::AlreadyPresent) => {
                self.tally.already_present += 1;
            }
            (Settlement::Committed, _) => {
                self.tally.delivered += 1;
                if self.spec.dry_run {
                    self.tally.would_deliver.push(run.run_id);
                }
            }
            (Settlement::Superseded, _) => self.tally.superseded += 1,
            _ => {}
        }
        self.spec.observer.event(&Event::RunDone {
            sink: self.spec.name.clone(),
            run_id: run.run_id,
            status: run.settled.status,
            message: run.settled.message,
        });
    }

    fn tell_progress(&mut self) -> Result<(), LedgerError> {
        if self.told.elapsed() < PROGRESS || self.tally.batches == 0 {
            return Ok(());
        }
        self.told = Instant::now();
        let backlog = self.queue.backlog()?;
        self.spec.observer.event(&Event::Progress {
            sink: self.spec.name.clone(),
            pending: backlog.pending + backlog.waiting,
            committed: self.tally.delivered + self.tally.already_present,
        });
        Ok(())
    }

    fn close(&mut self) {
        let Some(instance) = self.instance.take() else { return };
        // While an abandoned call is inside, the instance is not touched again.
        let Some(instance) = Arc::into_inner(instance) else { return };
        let closed = self.guarded("close", move |call| {
            let flushed = instance.flush(call);
            flushed.and(instance.close(call))
        });
        match closed {
            Some(Ok(())) => {}
            Some(Err(error)) => self.log(Level::Warn, format!("closing: {error}")),
            None => self.log(Level::Warn, "closing: it did not return in time and was left alone".to_owned()),
        }
    }

    /// A call that did not come back is the sink's fault, unless it was the host that could not wait.
    fn call_hung(&mut self, call: &str) {
        if !self.is_stopping() {
            self.lane.hung(self.now(), call);
        }
    }

    fn is_stopping(&self) -> bool {
        self.spec.stop.is_stopping() || self.spec.session_over.is_stopping()
    }

    /// Calls the plugin on a thread of its own and waits: until the deadline and the grace period are over; while stopping, for
    /// the grace period, and after a second signal no longer than a plugin has to notice that it is cancelled.
    fn guarded<T: Send + 'static>(
        &self,
        name: &str,
        work: impl FnOnce(&HostCall<'_>) -> T + Send + 'static,
    ) -> Option<T> {
        let deadline = Instant::now() + self.spec.deadline;
        let mut give_up_at = deadline + self.spec.grace;
        let cancel = Arc::new(AtomicBool::new(false));
        let for_call = Arc::clone(&cancel);
        let (answer, came) = channel();
        spawn(&format!("{} {name}", self.spec.name), move || {
            let is_cancelled = || for_call.load(Ordering::SeqCst) || Instant::now() >= deadline;
            let call = HostCall { attempt: 1, deadline: Some(deadline), is_cancelled: &is_cancelled, dry_run: false };
            // Nobody waits any more: the call was abandoned.
            let _ = answer.send(work(&call));
        });
        let mut stopping_since = self.stopping_since;
        loop {
            match came.recv_timeout(LOOK) {
                Ok(answer) => return Some(answer),
                Err(RecvTimeoutError::Disconnected) => return None,
                Err(RecvTimeoutError::Timeout) => {}
            }
            let now = Instant::now();
            if self.is_stopping() {
                give_up_at = give_up_at.min(*stopping_since.get_or_insert(now) + self.spec.grace);
            }
            let cancelled = self.spec.stop.is_cancelled();
            if (cancelled || now >= give_up_at) && !cancel.swap(true, Ordering::SeqCst) {
                give_up_at = now + CANCELLED_WAIT;
            } else if now >= give_up_at {
                return None;
            }
        }
    }

    fn failure(&self, error: &SinkError) -> Failure {
        Failure {
            status: error.status(),
            message: self.spec.redactor.redact(&error.to_string()).into_owned(),
            retry_after: error.retry_after(),
        }
    }

    fn log(&self, level: Level, message: String) {
        let message = self.spec.redactor.redact(&message).into_owned();
        self.spec.observer.event(&Event::Log { level, target: self.spec.name.clone(), message });
    }
}

/// What the host adds to a sink's report.
struct Stamps {
    plugin: String,
    redactor: Redactor,
}

impl Stamps {
    /// Takes secrets out of every text of the plugin's, keys included. Digests are none: a short secret may well occur in one by
    /// chance, and an audit compares them.
    fn redact(&self, value: &mut Value) {
        match value {
            Value::String(text) => *text = self.redactor.redact(text).into_owned(),
            Value::Array(values) => values.iter_mut().for_each(|value| self.redact(value)),
            Value::Object(members) => {
                let redacted = std::mem::take(members).into_iter().map(|(key, mut value)| {
                    if !["grade", "sha256", "tables"].contains(&key.as_str()) {
                        self.redact(&mut value);
                    }
                    (self.redactor.redact(&key).into_owned(), value)
                });
                *members = redacted.collect();
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    fn stamp(&self, run: &dyn RunSource, report: Report) -> RunReport {
        let receipt = report.receipt.map(|receipt| {
            let mut whole = json!({
                "run_id": run.run_id(),
                "sha256": run.sha256(),
                "status": report.status.name(),
                "at": Timestamp::now(),
                "host": concat!("litmus-host ", env!("CARGO_PKG_VERSION")),
                "plugin": self.plugin,
            });
            if let Ok(mut said) = serde_json::to_value(&receipt) {
                self.redact(&mut said);
                if let (Value::Object(whole), Value::Object(said)) = (&mut whole, said) {
                    whole.extend(said);
                }
            }
            whole.to_string()
        });
        RunReport {
            status: report.status,
            message: self.redactor.redact(&report.message).into_owned(),
            retry_after: report.retry_after,
            receipt,
        }
    }
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) {
    // Without a thread nothing can go on; the system is out of them.
    std::thread::Builder::new().name(name.to_owned()).spawn(work).expect("a thread can be started");
}
