//! The scan: finds what is new in the stores, and writes it into the ledgers as pending.
//!
//! A pass stats every file and opens only those whose stamp changed. A file that is no run is noted with its reason and
//! looked at again when it changes; it is never in the way of others.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant, SystemTime};

use jiff::Timestamp;
use litmus_core::failpoint;
use litmus_core::reader::{FoundFile, RunFile, Stamp};

use super::driver::Message;
use super::files::{OpenFiles, OpenStore};
use super::queue::lock;
use crate::engine_api::{Event, Level, Observer, Stop};
use crate::ledger::{KnownFile, LedgerError, ScanChange};

/// Files recorded in one transaction; open until then.
const CHUNK_FILES: usize = 32;
/// And what they hold in memory until then; those past it are opened again when their turn comes.
const CHUNK_BYTES: usize = 32 << 20;
/// While watching, a file that is no run is given this long after its last change: it may be copied in just now.
pub(crate) const SETTLING: Duration = Duration::from_secs(2);
/// How long the scan lets the sinks catch up, so that they find its files still open.
const PATIENCE: Duration = Duration::from_millis(250);

/// One store in the scan's hands.
#[derive(Debug)]
struct ScannedStore {
    at: usize,
    open: Arc<OpenStore>,
    destinations: Vec<i64>,
    known: HashMap<PathBuf, KnownFile>,
    /// Whether a pass has seen all of it.
    seen: bool,
}

/// Walks the stores, again and again.
pub(crate) struct Scan {
    stores: Vec<ScannedStore>,
    files: Arc<OpenFiles>,
    lanes: Vec<Sender<Message>>,
    observer: Arc<dyn Observer>,
    stop: Arc<Stop>,
    /// Whether there will be another look soon, at what may still be on its way.
    watches: bool,
    /// Unreadable files that no earlier session told of.
    new_unreadable: HashSet<PathBuf>,
    /// A file may still be on its way: look again after [`SETTLING`].
    pub(crate) unsettled: bool,
    /// Stores and folders that could not be walked in the last pass.
    pub(crate) troubles: Vec<String>,
    /// How long the last pass took to walk, without what it did with the files it found.
    pub(crate) walked: Duration,
}

impl Scan {
    /// `destinations`: by store, the numbers of the destinations that want its runs.
    pub(crate) fn new(
        stores: &[(Arc<OpenStore>, Vec<i64>)],
        files: Arc<OpenFiles>,
        lanes: Vec<Sender<Message>>,
        observer: Arc<dyn Observer>,
        stop: Arc<Stop>,
        watches: bool,
    ) -> Result<Self, LedgerError> {
        let stores = stores
            .iter()
            .enumerate()
            .map(|(at, (open, destinations))| {
                let known = lock(&open.ledger).known_files()?;
                Ok(ScannedStore { at, open: Arc::clone(open), destinations: destinations.clone(), known, seen: false })
            })
            .collect::<Result<_, LedgerError>>()?;
        Ok(Self {
            stores,
            files,
            lanes,
            observer,
            stop,
            watches,
            new_unreadable: HashSet::new(),
            unsettled: false,
            troubles: Vec::new(),
            walked: Duration::ZERO,
        })
    }

    /// One pass over all stores.
    pub(crate) fn pass(&mut self) -> Result<(), LedgerError> {
        self.heed_requests()?;
        self.troubles.clear();
        self.unsettled = false;
        self.walked = Duration::ZERO;
        for at in 0..self.stores.len() {
            let is_whole = self.pass_store(at)? && !self.stop.is_stopping();
            let store = &mut self.stores[at];
            if is_whole && !store.seen {
                let ledger = lock(&store.open.ledger);
                store.destinations.iter().try_for_each(|destination| ledger.started(*destination))?;
                drop(ledger);
                store.seen = true;
            }
        }
        Ok(())
    }

    /// Does what people asked for with `retry` and `discard`.
    pub(crate) fn heed_requests(&self) -> Result<(), LedgerError> {
        let now_ms = Timestamp::now().as_millisecond();
        let mut moved = 0;
        for store in &self.stores {
            moved += lock(&store.open.ledger).heed_requests(now_ms)?;
        }
        if moved > 0 {
            let message = format!("{moved} deliveries were retried or discarded by hand");
            self.observer.event(&Event::Log { level: Level::Info, target: "scan".into(), message });
            self.poke();
        }
        Ok(())
    }

    /// Every unreadable file known now, with its reason.
    pub(crate) fn unreadable(&self) -> Vec<(String, String)> {
        let mut all: Vec<(String, String)> = self
            .stores
            .iter()
            .flat_map(|store| &store.known)
            .filter_map(|(path, known)| Some((path.display().to_string(), known.reason.clone()?)))
            .collect();
        all.sort();
        all
    }

    /// How many of them no earlier session told of.
    pub(crate) fn new_unreadable(&self) -> usize {
        let still = |path: &&PathBuf| {
            self.stores.iter().any(|store| store.known.get(*path).is_some_and(|known| known.reason.is_some()))
        };
        self.new_unreadable.iter().filter(still).count()
    }

    /// The folders to watch.
    pub(crate) fn run_folders(&self) -> Vec<PathBuf> {
        self.stores.iter().map(|store| store.open.store.data_dir().join("runs")).collect()
    }

    /// Whether all of the store was seen.
    fn pass_store(&mut self, at: usize) -> Result<bool, LedgerError> {
        let store = &self.stores[at];
        let runs = store.open.store.data_dir().join("runs");
        if !store.known.is_empty() && !runs.is_dir() {
            // An unmounted share looks like this: nothing is given up for it.
            self.trouble(format!("{}: the folder is away; its runs wait until it is back", runs.display()));
            return Ok(false);
        }
        let started = Instant::now();
        let (found, errors) = store.open.store.walk();
        self.walked += started.elapsed();
        let blind = !errors.is_empty();
        for error in errors {
            self.trouble(error.to_string());
        }
        let files = found.len() as u64;
        // After an error, a file that was not found may lie in the folder that could not be read.
        let vanished = if blind { Vec::new() } else { self.vanished(at, &found) };
        let known = &self.stores[at].known;
        let changed: Vec<FoundFile> =
            found.into_iter().filter(|file| known.get(&file.path).is_none_or(|k| k.stamp != file.stamp)).collect();
        let new = changed.len() as u64;
        let mut unreadable = 0;
        self.record(at, vanished, Vec::new())?;
        let mut patience = PATIENCE;
        for chunk in changed.chunks(CHUNK_FILES.min(self.files.open_max())) {
            if self.stop.is_stopping() {
                return Ok(false);
            }
            if !self.files.wait_for_room(chunk.len(), patience) {
                // The sinks are slower than that: the rest of the pass does not wait for them.
                patience = Duration::ZERO;
            }
            unreadable += self.look_at(at, chunk)?;
        }
        let store = self.stores[at].open.name.clone();
        self.observer.event(&Event::ScanFinished { store, files, new, unreadable });
        Ok(!blind)
    }

    fn vanished(&self, at: usize, found: &[FoundFile]) -> Vec<ScanChange> {
        let known = &self.stores[at].known;
        if known.len() <= found.len() && found.iter().all(|file| known.contains_key(&file.path)) {
            return Vec::new();
        }
        let there: HashSet<&Path> = found.iter().map(|file| file.path.as_path()).collect();
        let gone = known.keys().filter(|path| !there.contains(path.as_path()));
        gone.map(|path| ScanChange::Vanished { path: path.clone() }).collect()
    }

    /// Opens files and records what they are; returns how many are unreadable.
    fn look_at(&mut self, at: usize, files: &[FoundFile]) -> Result<u64, LedgerError> {
        let mut changes = Vec::with_capacity(files.len());
        let mut opened: Vec<Option<RunFile>> = Vec::with_capacity(files.len());
        let (mut unreadable, mut held_bytes) = (0, 0);
        for FoundFile { path, stamp } in files {
            match self.stores[at].open.store.open_run(path) {
                Ok(run) => {
                    let summary = Box::new(run.summary().clone());
                    changes.push(ScanChange::Run { path: path.clone(), stamp: *stamp, summary });
                    held_bytes += run.held_bytes();
                    opened.push((held_bytes <= CHUNK_BYTES).then_some(run));
                }
                Err(error) => {
                    let is_there = self.stores[at].open.store.data_dir().join(path).symlink_metadata().is_ok();
                    if !is_there {
                        continue;
                    }
                    if self.watches && changed_just_now(stamp) {
                        self.unsettled = true;
                        continue;
                    }
                    // The file of a run that is known is not given up for trouble that may pass by itself.
                    if error.is_transient() && self.stores[at].known.get(path).is_some_and(|k| k.revision.is_some()) {
                        self.trouble(error.to_string());
                        continue;
                    }
                    // Trouble that may pass by itself is looked at again in the next pass: no file has this stamp.
                    let stamp = if error.is_transient() { Stamp { ctime_ns: -1, ..*stamp } } else { *stamp };
                    let reason = error.to_string();
                    let said = self.stores[at].known.get(path).and_then(|known| known.reason.as_ref()) == Some(&reason);
                    if !said {
                        self.new_unreadable.insert(path.clone());
                        let path = path.display().to_string();
                        self.observer.event(&Event::Unreadable { path, reason: reason.clone() });
                    }
                    unreadable += 1;
                    changes.push(ScanChange::Unreadable { path: path.clone(), stamp, reason });
                    opened.push(None);
                }
            }
        }
        self.record(at, changes, opened)?;
        Ok(unreadable)
    }

    fn record(&mut self, at: usize, changes: Vec<ScanChange>, opened: Vec<Option<RunFile>>) -> Result<(), LedgerError> {
        if changes.is_empty() {
            return Ok(());
        }
        let store = &mut self.stores[at];
        let now_ms = Timestamp::now().as_millisecond();
        let revisions = {
            let ledger = lock(&store.open.ledger);
            let revisions = ledger.record(&changes, now_ms)?;
            for destination in &store.destinations {
                ledger.backfill(*destination, now_ms)?;
            }
            revisions
        };
        failpoint("pending");
        for (run, revision) in opened.into_iter().zip(&revisions) {
            if let (Some(run), Some(revision)) = (run, revision) {
                self.files.keep(store.at, *revision, run);
            }
        }
        for (change, revision) in changes.into_iter().zip(revisions) {
            match change {
                ScanChange::Run { path, stamp, .. } => {
                    store.known.insert(path, KnownFile { stamp, revision, reason: None });
                }
                ScanChange::Unreadable { path, stamp, reason } => {
                    store.known.insert(path, KnownFile { stamp, revision: None, reason: Some(reason) });
                }
                ScanChange::Vanished { path } => {
                    store.known.remove(&path);
                }
            }
        }
        self.poke();
        Ok(())
    }

    fn trouble(&mut self, message: String) {
        self.observer.event(&Event::Log { level: Level::Error, target: "scan".into(), message: message.clone() });
        self.troubles.push(message);
    }

    /// Tells the lanes to look at the ledger.
    pub(crate) fn poke(&self) {
        for lane in &self.lanes {
            // A lane that has ended does not listen any more.
            let _ = lane.send(Message::Look);
        }
    }

    /// Ends the scan's part: what is in the ledgers now is all there is.
    pub(crate) fn finish(&self, more_may_come: &AtomicBool) {
        more_may_come.store(false, Ordering::SeqCst);
        self.poke();
    }
}

fn changed_just_now(stamp: &Stamp) -> bool {
    let now_ns = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_nanos() as i64);
    (0..SETTLING.as_nanos() as i64).contains(&(now_ns - stamp.mtime_ns))
}
