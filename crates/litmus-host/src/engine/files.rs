//! Sealed files that are open: the scan opens each once, and the sinks that take it soon use that descriptor.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use litmus_core::reader::{ReadError, RunFile, Store};

use super::queue::{Item, SharedLedger, lock};
use crate::ledger::{Fate, LedgerError};

/// Files kept open for sinks that have not taken them yet, where the system allows for that many.
const OPEN_MAX: usize = 64;
/// And what they hold in memory: most hold some 100 kB, one with a footer of megabytes as much as that.
const OPEN_BYTES_MAX: usize = 64 << 20;
/// A file that nobody took by then is closed; it is opened again when its turn comes.
const KEPT: Duration = Duration::from_secs(10);

/// Why a run cannot be handed to a sink.
#[derive(Debug)]
pub(crate) enum NotOpened {
    /// Its file is not there any more.
    Gone,
    /// A newer revision of the run stands in its place.
    Replaced,
    /// Not just now.
    Later(String),
    /// It never can, as it is.
    Damaged(String),
    /// The host's own trouble.
    Ledger(LedgerError),
}

/// A store as the engine uses it.
#[derive(Debug)]
pub(crate) struct OpenStore {
    pub(crate) name: String,
    pub(crate) store: Store,
    pub(crate) ledger: SharedLedger,
}

/// The open files of all stores.
#[derive(Debug)]
pub(crate) struct OpenFiles {
    stores: Vec<Arc<OpenStore>>,
    /// How many sinks take each file.
    takers: usize,
    open_max: usize,
    kept: Mutex<HashMap<(usize, i64), Kept>>,
    room: Condvar,
}

#[derive(Debug)]
struct Kept {
    file: Arc<RunFile>,
    bytes: usize,
    takers_left: usize,
    since: Instant,
}

impl OpenFiles {
    /// `takers`: how many sinks take each file. `descriptors`: how many the process may have open.
    pub(crate) fn new(stores: Vec<Arc<OpenStore>>, takers: usize, descriptors: usize) -> Self {
        let open_max = OPEN_MAX.min(descriptors / 8).max(1);
        Self { stores, takers, open_max, kept: Mutex::default(), room: Condvar::new() }
    }

    /// How many files are kept open at most.
    pub(crate) fn open_max(&self) -> usize {
        self.open_max
    }

    fn kept(&self) -> MutexGuard<'_, HashMap<(usize, i64), Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a file that the scan has just opened, if there is room.
    pub(crate) fn keep(&self, store: usize, revision: i64, file: RunFile) {
        let mut kept = self.kept();
        let bytes = file.held_bytes();
        let is_full = |kept: &HashMap<_, Kept>| {
            let held: usize = kept.values().map(|one| one.bytes).sum();
            kept.len() >= self.open_max || held + bytes > OPEN_BYTES_MAX
        };
        if is_full(&kept) {
            kept.retain(|_, one| one.since.elapsed() < KEPT);
        }
        if !is_full(&kept) {
            let one = Kept { file: Arc::new(file), bytes, takers_left: self.takers, since: Instant::now() };
            kept.insert((store, revision), one);
        }
    }

    /// Waits until there is room for `files` more, or for so long in vain: whether there is.
    pub(crate) fn wait_for_room(&self, files: usize, patience: Duration) -> bool {
        let full = |kept: &mut HashMap<_, _>| kept.len() + files > self.open_max;
        let (kept, _) =
            self.room.wait_timeout_while(self.kept(), patience, full).unwrap_or_else(PoisonError::into_inner);
        kept.len() + files <= self.open_max
    }

    /// The sealed file of a revision, checked to be just that.
    pub(crate) fn open(&self, item: &Item) -> Result<Arc<RunFile>, NotOpened> {
        if let Some(file) = self.taken(item) {
            return Ok(file);
        }
        let store = &self.stores[item.store];
        let path: PathBuf = match lock(&store.ledger).fate(item.run.revision).map_err(NotOpened::Ledger)? {
            Fate::At(path) => path,
            Fate::Replaced => return Err(NotOpened::Replaced),
            Fate::Vanished => return Err(NotOpened::Gone),
        };
        // A file that is no run any more is settled by the next scan.
        let file = store.store.open_run(&path).map_err(|error: ReadError| NotOpened::Later(error.to_string()))?;
        if file.sha256() != item.run.sha256 {
            let path = path.display();
            return Err(NotOpened::Later(format!("{path}: the file was replaced just now; the next scan settles it")));
        }
        Ok(Arc::new(file))
    }

    fn taken(&self, item: &Item) -> Option<Arc<RunFile>> {
        let mut kept = self.kept();
        let one = kept.get_mut(&(item.store, item.run.revision))?;
        one.takers_left -= 1;
        let file = Arc::clone(&one.file);
        if one.takers_left == 0 {
            kept.remove(&(item.store, item.run.revision));
            self.room.notify_all();
        }
        Some(file)
    }
}
