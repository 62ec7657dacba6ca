//! The ledger: what is known of each sealed file, and how far each revision got at each destination.
//!
//! One SQLite file per store, WAL, `synchronous=FULL`, under `<state dir>/<store id>/ledger.db`. Invariants:
//! - it never holds a run's data, only references; losing it costs a look at the destinations, never a run;
//! - it is written at two places: the scan (files, revisions, what is pending, what a person asked for) and the lane (in
//!   flight, receipts);
//! - a delivery's state moves only along the edges named at [`State`];
//! - a transaction is durable before anybody acts on it;
//! - what a pass asks costs what is new, not what is there: a million deliveries that are done are not read again. So a question
//!   about unfinished ones names their index and repeats its condition (SQLite proves nothing from `state = 'gone'`, and takes the
//!   key where it has the choice), and one about a revision names the destinations first, as the key does.

mod confirm;
mod files;
mod lock;
mod queue;
mod requests;
mod status;
#[cfg(test)]
pub(crate) mod tests;

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags};

pub(crate) use confirm::Confirmed;
pub(crate) use files::{Fate, KnownFile, ScanChange};
pub(crate) use lock::{Lock, NotTaken};
pub(crate) use queue::{Backlog, DestinationSpec, Pending, Selection, Settled, Settlement, StartDecision};
pub(crate) use requests::{Asked, Request, Wish};
pub(crate) use status::{
    DuplicateStatus, GoneStatus, SinkStatus, StoreFiles, StoreStatus, UnreadableStatus, read_status,
};

/// The newest layout this host writes; see `schema.sql`.
const SCHEMA_VERSION: i64 = 1;
const SCHEMA: &str = include_str!("schema.sql");
/// How long a reader beside a writer, or the reverse, waits for SQLite's lock.
const BUSY_TIMEOUT: Duration = Duration::from_secs(30);

/// The ledger could not be read or written: the host's own trouble, never a run's.
#[derive(Debug, thiserror::Error)]
#[error("ledger {path}: {message}\nhint: {hint}")]
pub(crate) struct LedgerError {
    path: String,
    message: String,
    hint: &'static str,
}

pub(crate) type Result<T> = std::result::Result<T, LedgerError>;

/// Where a delivery that is settled by the host stands. The others (pending, in flight, verified, skipped, discarded,
/// unconfirmed) are spelled in the SQL that moves them:
///
/// pending → in flight → committed → verified; from in flight also back to pending or to retry wait, quarantined,
/// superseded; a pending one may be skipped or gone; a committed one becomes unconfirmed when the destination turns out to be
/// another one than before. By hand, a quarantined one becomes pending again, and whatever did not arrive discarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum State {
    Pending,
    Committed,
    RetryWait,
    Quarantined,
    Superseded,
    Gone,
    Unconfirmed,
}

impl State {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Committed => "committed",
            Self::RetryWait => "retry_wait",
            Self::Quarantined => "quarantined",
            Self::Superseded => "superseded",
            Self::Gone => "gone",
            Self::Unconfirmed => "unconfirmed",
        }
    }
}

/// The ledger of one store.
#[derive(Debug)]
pub(crate) struct Ledger {
    connection: Connection,
    path: PathBuf,
}

/// The folder of a store's state: named by a hash of its canonical data dir, so that one store has one ledger however it
/// is spelled.
pub(crate) fn store_folder(state_dir: &Path, data_dir: &Path) -> PathBuf {
    use std::os::unix::ffi::OsStrExt;
    let canonical = data_dir.canonicalize().unwrap_or_else(|_| data_dir.to_owned());
    let hash = blake3::hash(canonical.as_os_str().as_bytes()).to_hex();
    state_dir.join(&hash.as_str()[..16])
}

impl Ledger {
    /// Opens or creates the ledger in a store's state folder.
    pub(crate) fn open(folder: &Path, data_dir: &Path) -> Result<Self> {
        let path = folder.join("ledger.db");
        let fail = |message: String| LedgerError {
            path: path.display().to_string(),
            message,
            hint: "the state folder must be writable and on a local disk; `--state-dir` names another",
        };
        std::fs::create_dir_all(folder).map_err(|error| fail(error.to_string()))?;
        let connection = Connection::open(&path).map_err(|error| fail(error.to_string()))?;
        let ledger = Self { connection, path };
        ledger.prepare().map_err(|error| ledger.error(error))?;
        if ledger.version()? == 0 {
            ledger.transaction(|t| {
                t.execute_batch(SCHEMA)?;
                let data_dir = data_dir.display().to_string();
                t.execute("INSERT INTO meta VALUES ('data_dir', ?1)", [data_dir])?;
                Ok(())
            })?;
        }
        Ok(ledger)
    }

    /// Opens a ledger beside a running host, or as a user who may not write to it; `None` where there is none yet.
    pub(crate) fn open_to_read(folder: &Path) -> Result<Option<Self>> {
        let path = folder.join("ledger.db");
        if !path.exists() {
            return Ok(None);
        }
        let usual = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let read = |name: &str, flags: OpenFlags, alone: bool| -> rusqlite::Result<Option<Connection>> {
            let connection = Connection::open_with_flags(name, flags)?;
            connection.busy_timeout(BUSY_TIMEOUT)?;
            if alone {
                connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
                connection.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
            }
            // Only a read shows whether it can be read. A host that is about to make it has made the file first.
            let objects: i64 = connection.query_row("SELECT count(*) FROM sqlite_master", [], |row| row.get(0))?;
            Ok((objects > 0).then_some(connection))
        };
        let name = path.display().to_string();
        let connection = read(&name, usual, false).or_else(|error| {
            if path.with_extension("db-wal").exists() {
                // On a full disk there is no room for the index of a WAL that a host left. Whoever has the ledger to himself
                // keeps that index in memory.
                return match error.sqlite_error_code() {
                    Some(ErrorCode::SystemIoFailure | ErrorCode::DiskFull) => read(&name, usual, true),
                    _ => Err(error),
                };
            }
            // In a folder that cannot be written SQLite reads a WAL ledger only beside a host; after it there is no WAL left.
            let escaped = name.replace('%', "%25").replace('?', "%3f").replace('#', "%23");
            let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
            read(&format!("file:{escaped}?immutable=1"), flags, false)
        });
        let connection = connection.map_err(|error| LedgerError {
            path: name,
            message: error.to_string(),
            hint: match hint(&error) {
                UNWRITABLE => "the ledger must be readable by this user",
                hint => hint,
            },
        })?;
        let Some(connection) = connection else { return Ok(None) };
        let ledger = Self { connection, path };
        ledger.version()?;
        Ok(Some(ledger))
    }

    /// The layout's number; an error where it is one that this host does not know.
    fn version(&self) -> Result<i64> {
        let version = self
            .connection
            .pragma_query_value(None, "user_version", |row| row.get(0))
            .map_err(|error| self.error(error))?;
        if version > SCHEMA_VERSION {
            return Err(LedgerError {
                path: self.path.display().to_string(),
                message: format!("written by a newer litmus-host (layout {version}, this one knows {SCHEMA_VERSION})"),
                hint: "use the newer litmus-host, or another `--state-dir`",
            });
        }
        Ok(version)
    }

    /// A ledger that lives in memory, for tests and the simulation.
    #[cfg(test)]
    pub(crate) fn in_memory() -> Self {
        let ledger = Self {
            connection: Connection::open_in_memory().expect("SQLite opens in memory"),
            path: PathBuf::from(":memory:"),
        };
        ledger.prepare().expect("SQLite is ready");
        ledger.connection.execute_batch(SCHEMA).expect("the schema is valid");
        ledger
    }

    /// Forgets everything but its layout, as a new one.
    #[cfg(test)]
    pub(crate) fn empty(&self) {
        let emptied = self.transaction(|t| {
            t.prepare_cached("UPDATE revisions SET replaced_by = NULL")?.execute([])?;
            let tables = ["history", "requests", "deliveries", "files", "revisions", "destinations"];
            tables.iter().try_for_each(|table| t.prepare_cached(&format!("DELETE FROM {table}"))?.execute([]).map(drop))
        });
        emptied.expect("a ledger in memory can be written");
    }

    /// A copy of this ledger in `folder`, for a dry run to write into.
    pub(crate) fn copy_to(&self, folder: &Path) -> Result<()> {
        let target = folder.join("ledger.db").display().to_string();
        self.connection.execute("VACUUM INTO ?1", [target]).map(drop).map_err(|error| self.error(error))
    }

    fn prepare(&self) -> rusqlite::Result<()> {
        self.connection.busy_timeout(BUSY_TIMEOUT)?;
        self.connection.pragma_update(None, "journal_mode", "wal")?;
        self.connection.pragma_update(None, "synchronous", "full")?;
        self.connection.set_prepared_statement_cache_capacity(64);
        // A statement is planned once. Without this SQLite plans anew whenever a value is bound that might decide whether an
        // index with a condition applies: half of what a schedule of the simulation cost. Our questions spell those conditions out.
        self.connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
        Ok(())
    }

    fn transaction<T>(&self, work: impl FnOnce(&rusqlite::Transaction<'_>) -> rusqlite::Result<T>) -> Result<T> {
        let run = || -> rusqlite::Result<T> {
            let transaction =
                rusqlite::Transaction::new_unchecked(&self.connection, rusqlite::TransactionBehavior::Immediate)?;
            let answer = work(&transaction)?;
            transaction.commit()?;
            Ok(answer)
        };
        run().map_err(|error| self.error(error))
    }

    fn error(&self, error: rusqlite::Error) -> LedgerError {
        LedgerError { path: self.path.display().to_string(), message: error.to_string(), hint: hint(&error) }
    }
}

const UNWRITABLE: &str = "the state folder must be writable; `--state-dir` names another";

/// What to do about an error of SQLite's.
fn hint(error: &rusqlite::Error) -> &'static str {
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => "the disk is full; nothing is lost, free space and start again",
        Some(ErrorCode::SystemIoFailure) => {
            "the disk may be full (free space) or broken; nothing is lost, start again once it can be written"
        }
        Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => UNWRITABLE,
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            "move the file away: a new ledger asks the destinations what they hold"
        }
        _ => "nothing is lost; start again, or move the file away: a new ledger asks the destinations what they hold",
    }
}
