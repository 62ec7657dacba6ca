//! The delivery engine: scan → ledger → lane → sink → ledger. One engine for one pass and for `--watch`.
//!
//! One scan over all stores, one [`driver`] with its [`lane`] for each sink; they share the ledgers and the open files, and
//! no sink waits for another.

mod backoff;
mod decode;
mod descriptors;
mod driver;
mod files;
mod lane;
#[cfg(test)]
mod lane_tests;
mod queue;
mod scan;
#[cfg(test)]
mod simulation;
mod sinks;
mod terms;
mod watch;

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use jiff::Timestamp;
use litmus_core::RunId;
use litmus_core::reader::Store;

use self::decode::DecodeCache;
use self::driver::{Driver, DriverSpec, Message, Tally};
use self::files::{OpenFiles, OpenStore};
use self::lane::{Health, Lane, Policy};
use self::queue::{SharedLedger, SinkQueue, StoreQueue, lock};
use self::scan::{SETTLING, Scan};
use self::sinks::{ReadySink, ready_sink};
use self::watch::Watcher;
use crate::engine_api::{
    Event, ForwardError, ForwardOutcome, ForwardRequest, Level, Observer, SinkOutcome, Start, Stop,
};
use crate::ledger::{
    Backlog, DestinationSpec, Ledger, LedgerError, Lock, NotTaken, Selection, StartDecision, store_folder,
};

/// The truth while watching: every store is walked this often, whatever inotify says.
const RESCAN: Duration = Duration::from_secs(30);
/// Walks that hints asked for take at most this share of the time, but a hint never waits longer than that.
const HINTED_SHARE: u32 = 5;
const REST_MAX: Duration = Duration::from_secs(1);
/// How often the watching scan looks whether it is to stop.
const LOOK: Duration = Duration::from_millis(200);
/// A new ledger over a store older than this, at a sink that cannot tell what it has, needs to be told where to start.
const OLD_STORE: Duration = Duration::from_hours(24);
/// Problems listed for each sink.
const PROBLEMS_MAX: usize = 50;

/// A store whose data dir is there.
struct ReadyStore {
    open: Arc<OpenStore>,
    /// Held until the end; a dry run holds none.
    lock: Option<Lock>,
}

/// Forwards what is pending, once or until stopped.
pub(crate) fn forward<O: Observer + 'static>(
    request: &ForwardRequest,
    observer: &Arc<O>,
    stop: &Arc<Stop>,
) -> Result<ForwardOutcome, ForwardError> {
    let observer: &Arc<dyn Observer> = &(Arc::clone(observer) as Arc<dyn Observer>);
    let dry_folder = request.dry_run.then(tempfile::tempdir).transpose().map_err(|error| ForwardError::Host {
        message: format!("no temporary folder for the dry run: {error}"),
        hint: "set TMPDIR to a folder that can be written".into(),
    })?;
    let sinks = request.sinks.iter().map(|spec| ready_sink(spec, request, observer)).collect::<Result<Vec<_>, _>>()?;
    for (at, sink) in sinks.iter().enumerate() {
        if let Some(other) = sinks[..at].iter().find(|other| other.destination == sink.destination) {
            return Err(ForwardError::Config {
                message: format!(
                    "the sinks \"{}\" and \"{}\" have one destination: {}",
                    other.spec.name, sink.spec.name, sink.destination
                ),
                hint: "remove one of them, or send it elsewhere".into(),
            });
        }
    }
    let descriptors = descriptors::raise();
    let mut again = false;
    loop {
        let dry_folder = dry_folder.as_ref().map(tempfile::TempDir::path);
        let (stores, away) = ready_stores(request, dry_folder, observer, again)?;
        again = true;
        let session = Session { request, observer, stop, sinks: &sinks, stores, away, descriptors };
        // Without an outcome, a store that was away is back: all over again, with it.
        if let Some(outcome) = session.run()? {
            return Ok(outcome);
        }
    }
}

/// Opens the stores that are there, and names those that are not. At the start a store that another host serves, or whose
/// ledger cannot be opened, is an error for whoever starts; `again`, with others to serve, it is away like any other.
fn ready_stores(
    request: &ForwardRequest,
    dry_folder: Option<&Path>,
    observer: &Arc<dyn Observer>,
    again: bool,
) -> Result<(Vec<ReadyStore>, Vec<String>), ForwardError> {
    let (mut stores, mut away): (Vec<ReadyStore>, Vec<String>) = (Vec::new(), Vec::new());
    let mut is_away = |name: &str, why: String| {
        let message = format!("store \"{name}\": {why}");
        observer.event(&Event::Log { level: Level::Error, target: "scan".into(), message: message.clone() });
        away.push(message);
    };
    for spec in &request.stores {
        let store = match Store::open(&spec.data_dir) {
            Ok(store) => store,
            Err(error) if request.stores.len() > 1 || request.watch => {
                is_away(&spec.name, error.to_string());
                continue;
            }
            Err(error) => {
                let hint = format!("found by {}; `--data-dir` names another", spec.found_by);
                return Err(ForwardError::Config { message: error.to_string(), hint });
            }
        };
        let folder = store_folder(&request.state_dir, store.data_dir());
        if let Some(other) = stores.iter().find(|other| other.open.store.data_dir() == store.data_dir()) {
            return Err(ForwardError::Config {
                message: format!("the stores \"{}\" and \"{}\" are one folder", other.open.name, spec.name),
                hint: "remove one of them".into(),
            });
        }
        let opened = match dry_folder {
            None => deliverable(&folder, store.data_dir()).map(|(lock, ledger)| (Some(lock), ledger)),
            // A dry run writes into a copy, beside a host that may be at work.
            Some(dry) => {
                let copy = dry.join(stores.len().to_string());
                std::fs::create_dir_all(&copy).map_err(|error| host_failed(&copy, &error))?;
                if let Some(ledger) = Ledger::open_to_read(&folder).map_err(host)? {
                    ledger.copy_to(&copy).map_err(host)?;
                }
                Ledger::open(&copy, store.data_dir()).map(|ledger| (None, ledger)).map_err(host)
            }
        };
        let (lock, ledger) = match opened {
            Ok(opened) => opened,
            Err(error) if again => {
                is_away(&spec.name, error.to_string());
                continue;
            }
            Err(error) => return Err(error),
        };
        let ledger: SharedLedger = Arc::new(Mutex::new(ledger));
        let open = Arc::new(OpenStore { name: spec.name.clone(), store, ledger });
        stores.push(ReadyStore { open, lock });
    }
    if stores.is_empty() && !request.watch {
        return Err(ForwardError::Config {
            message: format!("no store is there:\n{}", away.join("\n")),
            hint: "mount or create the data dirs".into(),
        });
    }
    Ok((stores, away))
}

/// The lock and the ledger of a store that we are to deliver from.
fn deliverable(folder: &Path, data_dir: &Path) -> Result<(Lock, Ledger), ForwardError> {
    let lock = Lock::take(folder).map_err(|why| match why {
        NotTaken::Held(message) => ForwardError::Config { message, hint: String::new() },
        NotTaken::Unusable(message) => ForwardError::Host { message, hint: String::new() },
    })?;
    Ok((lock, Ledger::open(folder, data_dir).map_err(host)?))
}

/// One run of the engine over the stores that are there.
struct Session<'a> {
    request: &'a ForwardRequest,
    observer: &'a Arc<dyn Observer>,
    stop: &'a Arc<Stop>,
    sinks: &'a [ReadySink],
    stores: Vec<ReadyStore>,
    away: Vec<String>,
    /// How many files the process may have open.
    descriptors: usize,
}

impl Session<'_> {
    /// `None`: a store that was away is back, start again.
    fn run(self) -> Result<Option<ForwardOutcome>, ForwardError> {
        let numbers = self.register()?;
        let files = Arc::new(OpenFiles::new(
            self.stores.iter().map(|store| Arc::clone(&store.open)).collect(),
            self.sinks.len(),
            self.descriptors,
        ));
        let channels: Vec<(Sender<Message>, Receiver<Message>)> = self.sinks.iter().map(|_| channel()).collect();
        let scanned: Vec<(Arc<OpenStore>, Vec<i64>)> = self
            .stores
            .iter()
            .enumerate()
            .map(|(at, store)| (Arc::clone(&store.open), numbers.iter().map(|ids| ids[at]).collect()))
            .collect();
        let lanes = channels.iter().map(|(sender, _)| sender.clone()).collect();
        let mut scan = Scan::new(
            &scanned,
            Arc::clone(&files),
            lanes,
            Arc::clone(self.observer),
            Arc::clone(self.stop),
            self.request.watch,
        )
        .map_err(host)?;

        let mut selection = Selection { run: None, since: self.request.since };
        if let Some(prefix) = &self.request.run {
            // Which run that is shows after a pass only.
            scan.pass().map_err(host)?;
            selection.run = Some(self.run_named(prefix)?);
        }
        let more_may_come = Arc::new(AtomicBool::new(true));
        let session_over = Arc::new(Stop::default());
        let epoch = Instant::now();
        // One sink alone decodes each table once anyway.
        let cache = (self.sinks.len() > 1).then(|| Arc::new(DecodeCache::new(self.request.decode_cache_bytes_max)));
        let drivers: Vec<_> = channels
            .into_iter()
            .enumerate()
            .map(|(at, (sender, receiver))| {
                let driver = self.driver(
                    at,
                    self.queue(&numbers[at], selection),
                    &files,
                    cache.as_ref(),
                    &more_may_come,
                    &session_over,
                    (sender, receiver),
                    epoch,
                );
                let (stop, session_over) = (Arc::clone(self.stop), Arc::clone(&session_over));
                std::thread::Builder::new()
                    .name(self.sinks[at].spec.name.clone())
                    .spawn(move || {
                        let end = driver.run();
                        if end.is_err() {
                            // The ledger cannot be written: nobody can go on.
                            stop.request();
                            session_over.request();
                        }
                        end
                    })
                    .map_err(|error| host_failed(Path::new("a thread"), &error))
            })
            .collect::<Result<_, _>>()?;

        let scan_end = self.scan(&mut scan, &more_may_come, &session_over, &drivers);
        if scan_end.is_err() {
            self.stop.request();
            session_over.request();
        }
        let mut ends = Vec::with_capacity(drivers.len());
        for driver in drivers {
            let end = driver.join().map_err(|_| ForwardError::Host {
                message: "a sink's thread panicked".into(),
                hint: "nothing is lost; start again, and report the panic above".into(),
            })?;
            ends.push(end.map_err(host)?);
        }
        if scan_end?.restart {
            return Ok(None);
        }
        self.outcome(&scan, ends).map(Some)
    }

    /// Makes the destinations ready in every ledger: their numbers, by sink and store.
    fn register(&self) -> Result<Vec<Vec<i64>>, ForwardError> {
        let now_ms = Timestamp::now().as_millisecond();
        self.sinks
            .iter()
            .map(|sink| {
                self.stores
                    .iter()
                    .map(|store| {
                        let ledger = lock(&store.open.ledger);
                        let known = ledger.knows_destination(&sink.destination).map_err(host)?;
                        if !known && needs_start(sink) && is_old(&store.open.store) {
                            return Err(ForwardError::Config {
                                message: format!(
                                    "sink \"{}\" cannot tell what it already has, this ledger is new to it, and the store \
                                     {} is older than a day",
                                    sink.spec.name,
                                    store.open.store.data_dir().display()
                                ),
                                hint: "say where to start: `--start all`, `--start now` or `--start 2026-01-31`".into(),
                            });
                        }
                        let spec = DestinationSpec {
                            destination: sink.destination.clone(),
                            name: sink.spec.name.clone(),
                            plugin: format!(
                                "{} {}",
                                sink.plugin.description().name,
                                sink.plugin.description().version
                            ),
                            start: sink.spec.start.map(|start| match start {
                                Start::All => StartDecision::All,
                                Start::Now => StartDecision::Now,
                                Start::Since(time) => StartDecision::Since(time),
                            }),
                        };
                        ledger.register(&spec, now_ms).map_err(host)
                    })
                    .collect()
            })
            .collect()
    }

    fn queue(&self, numbers: &[i64], selection: Selection) -> SinkQueue {
        let stores = self
            .stores
            .iter()
            .zip(numbers)
            .enumerate()
            .map(|(at, (store, id))| StoreQueue { store: at, ledger: Arc::clone(&store.open.ledger), id: *id })
            .collect();
        SinkQueue::new(stores, selection)
    }

    #[allow(clippy::too_many_arguments, reason = "each is a part of the session that the driver shares")]
    fn driver(
        &self,
        at: usize,
        queue: SinkQueue,
        files: &Arc<OpenFiles>,
        cache: Option<&Arc<DecodeCache>>,
        more_may_come: &Arc<AtomicBool>,
        session_over: &Arc<Stop>,
        (outbox, inbox): (Sender<Message>, Receiver<Message>),
        epoch: Instant,
    ) -> Driver {
        let ReadySink { spec, plugin, capabilities, .. } = &self.sinks[at];
        let share = (self.request.in_flight_bytes_max / self.sinks.len() as u64).max(1);
        let concurrency = capabilities.max_concurrent_delivers.clamp(1, 16) as usize;
        let batch_bytes = spec.batch_bytes_max.unwrap_or(capabilities.batch_bytes).max(1);
        let batch_runs = spec.batch_runs_max.unwrap_or(capabilities.batch_runs) as usize;
        let policy = Policy {
            batch_runs: batch_runs.min(descriptors::for_batch(self.descriptors, self.sinks.len() * concurrency)).max(1),
            batch_bytes: batch_bytes.min((share / concurrency as u64).max(1)),
            concurrency,
            give_up_after: (!self.request.watch).then_some(self.request.give_up_after),
            dry_run: self.request.dry_run,
        };
        let driver = DriverSpec {
            name: spec.name.clone(),
            plugin: plugin.clone(),
            config: spec.config.clone(),
            deadline: spec.deadline,
            grace: self.request.grace,
            dry_run: self.request.dry_run,
            files: Arc::clone(files),
            cache: cache.cloned(),
            observer: Arc::clone(self.observer),
            stop: Arc::clone(self.stop),
            session_over: Arc::clone(session_over),
            redactor: self.request.redactor.clone(),
            more_may_come: Arc::clone(more_may_come),
        };
        Driver::new(driver, Lane::new(policy, *capabilities, fastrand::u64(..)), queue, inbox, outbox, epoch)
    }

    /// Scans once, or until stopped.
    fn scan<T>(
        &self,
        scan: &mut Scan,
        more_may_come: &AtomicBool,
        session_over: &Stop,
        drivers: &[std::thread::JoinHandle<T>],
    ) -> Result<ScanEnd, ForwardError> {
        // The watches come first: what is sealed during the first pass is then seen by one of the two.
        let mut watcher = self.request.watch.then(|| {
            let (watcher, trouble) = Watcher::new(scan.run_folders());
            if let Some(message) = trouble {
                self.observer.event(&Event::Log { level: Level::Warn, target: "watch".into(), message });
            }
            watcher
        });
        loop {
            let passed = scan.pass();
            if passed.is_err() || watcher.is_none() {
                scan.finish(more_may_come);
            }
            passed.map_err(host)?;
            self.still_ours()?;
            let Some(watcher) = &mut watcher else { return Ok(ScanEnd { restart: false }) };
            let (passed_at, rest) = (Instant::now(), (scan.walked * (HINTED_SHARE - 1)).min(REST_MAX));
            let mut changed = false;
            loop {
                if self.stop.is_stopping() {
                    scan.finish(more_may_come);
                    return Ok(ScanEnd { restart: false });
                }
                if drivers.iter().any(std::thread::JoinHandle::is_finished) {
                    // A watching driver ends by itself only when the ledger cannot be written, or in a panic: the process ends,
                    // and whoever supervises it hears of it.
                    self.stop.request();
                    scan.finish(more_may_come);
                    return Ok(ScanEnd { restart: false });
                }
                scan.heed_requests().map_err(host)?;
                let until_rested = rest.saturating_sub(passed_at.elapsed());
                changed |= watcher.wait(if changed { until_rested.min(LOOK) } else { LOOK });
                let waited = passed_at.elapsed();
                if (changed && waited >= rest) || waited >= if scan.unsettled { SETTLING } else { RESCAN } {
                    break;
                }
            }
            if !self.away.is_empty() && self.is_back() {
                session_over.request();
                scan.finish(more_may_come);
                return Ok(ScanEnd { restart: true });
            }
        }
    }

    /// A state folder that was taken away under us leaves nothing to keep others out with, and no ledger for who comes next.
    fn still_ours(&self) -> Result<(), ForwardError> {
        match self.stores.iter().filter_map(|store| store.lock.as_ref()).find(|lock| !lock.is_in_place()) {
            None => Ok(()),
            Some(lock) => Err(ForwardError::Host {
                message: format!("{}: it was deleted or replaced while this host held it", lock.path().display()),
                hint: "start again: a new ledger asks the destinations what they hold".into(),
            }),
        }
    }

    /// Whether a store that was away at the start is there now.
    fn is_back(&self) -> bool {
        self.request.stores.iter().filter(|spec| !self.stores.iter().any(|store| store.open.name == spec.name)).any(
            |spec| {
                let Ok(store) = Store::open(&spec.data_dir) else { return false };
                deliverable(&store_folder(&self.request.state_dir, store.data_dir()), store.data_dir()).is_ok()
            },
        )
    }

    fn run_named(&self, prefix: &str) -> Result<RunId, ForwardError> {
        let mut found: Vec<RunId> = Vec::new();
        for store in &self.stores {
            found.extend(lock(&store.open.ledger).runs_starting_with(&prefix.to_ascii_lowercase(), 10).map_err(host)?);
        }
        found.sort_unstable();
        found.dedup();
        match found.as_slice() {
            [run] => Ok(*run),
            [] => Err(ForwardError::Config {
                message: format!("no run's id starts with \"{prefix}\""),
                hint: "`litmus-host runs` lists the runs that are there".into(),
            }),
            many => Err(ForwardError::Config {
                message: format!(
                    "several runs' ids start with \"{prefix}\": {}",
                    many.iter().map(RunId::to_string).collect::<Vec<_>>().join(", ")
                ),
                hint: "give more of the id".into(),
            }),
        }
    }

    fn outcome(&self, scan: &Scan, ends: Vec<(Tally, Health, SinkQueue)>) -> Result<ForwardOutcome, ForwardError> {
        let mut nothing_pending = true;
        let mut sinks = Vec::with_capacity(ends.len());
        for (sink, (tally, health, queue)) in self.sinks.iter().zip(ends) {
            let Backlog { pending, waiting, quarantined, gone_untold, .. } = queue.backlog().map_err(host)?;
            queue.tell_gone().map_err(host)?;
            nothing_pending &= tally.batches == 0 && pending + waiting == 0;
            let mut problems = Vec::new();
            if !health.why().is_empty() && pending > 0 {
                problems.push(self.request.redactor.redact(health.why()).into_owned());
            }
            for store in &queue.stores {
                for (run_id, state, why) in lock(&store.ledger).problems(store.id, PROBLEMS_MAX).map_err(host)? {
                    problems.push(format!("{run_id} {}: {why}", state.name()));
                }
            }
            sinks.push(SinkOutcome {
                name: sink.spec.name.clone(),
                destination: sink.destination.clone(),
                state: health.name(),
                delivered: tally.delivered,
                already_present: tally.already_present,
                superseded: tally.superseded,
                quarantined,
                pending: pending + waiting,
                gone: gone_untold,
                problems,
                would_deliver: tally.would_deliver,
                planned: tally.planned,
            });
        }
        let mut troubles = self.away.clone();
        troubles.extend(scan.troubles.iter().cloned());
        Ok(ForwardOutcome {
            sinks,
            unreadable: scan.unreadable(),
            new_unreadable: scan.new_unreadable(),
            troubles,
            nothing_pending,
            dry_run: self.request.dry_run,
        })
    }
}

/// How the scan ended.
struct ScanEnd {
    restart: bool,
}

/// A sink that neither dedups nor can say what it has sends everything again to whoever lost the ledger.
fn needs_start(sink: &ReadySink) -> bool {
    !sink.capabilities.audit && !sink.capabilities.dedup && sink.spec.start.is_none()
}

fn is_old(store: &Store) -> bool {
    let now_ns = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_nanos() as i64);
    let (files, _) = store.walk();
    files.iter().any(|file| file.stamp.mtime_ns < now_ns - OLD_STORE.as_nanos() as i64)
}

fn host(error: LedgerError) -> ForwardError {
    ForwardError::Host { message: error.to_string(), hint: String::new() }
}

fn host_failed(what: &Path, error: &std::io::Error) -> ForwardError {
    let what: PathBuf = what.to_owned();
    ForwardError::Host { message: format!("{}: {error}", what.display()), hint: String::new() }
}
