//! What `status` reads beside a running host, without its lock.

use std::path::Path;

use rusqlite::{Connection, OpenFlags};
use serde::Serialize;

use super::files::value_path;
use super::{BUSY_TIMEOUT, Ledger, Result};

/// One sink as the ledgers know it. Serialises as DESIGN section 7 fixes it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct SinkStatus {
    pub(crate) name: String,
    pub(crate) destination: String,
    /// `up`, `degraded`, `open`, `half_open`, `blocked`, `down`.
    pub(crate) state: String,
    /// Why it is not up.
    pub(crate) why: String,
    pub(crate) pending: u64,
    pub(crate) committed: u64,
    pub(crate) verified: u64,
    pub(crate) retrying: u64,
    pub(crate) quarantined: u64,
    pub(crate) skipped: u64,
    pub(crate) gone: u64,
    /// Since the oldest undelivered run was first seen.
    pub(crate) oldest_pending_seconds: Option<u64>,
}

/// A file that is no run that can be read.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct UnreadableStatus {
    /// Relative to the data dir.
    pub(crate) path: String,
    pub(crate) reason: String,
}

/// A run with several revisions on disk.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct DuplicateStatus {
    pub(crate) run_id: String,
    /// Relative to the data dir.
    pub(crate) path: String,
}

/// A run whose file vanished before it was delivered.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct GoneStatus {
    pub(crate) run_id: String,
    pub(crate) destination: String,
}

/// Everything one store's ledger has to say.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct StoreStatus {
    pub(crate) sinks: Vec<SinkStatus>,
    pub(crate) unreadable: Vec<UnreadableStatus>,
    pub(crate) duplicates: Vec<DuplicateStatus>,
    pub(crate) gone: Vec<GoneStatus>,
}

/// Reads a store's ledger; `None` where there is none yet. Destinations not used for a long time are listed too: what is
/// pending there is pending.
pub(crate) fn read_status(folder: &Path, now_ms: i64) -> Result<Option<StoreStatus>> {
    let path = folder.join("ledger.db");
    if !path.exists() {
        return Ok(None);
    }
    let open = || {
        let connection =
            Connection::open_with_flags(&path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)
                .or_else(|_| Connection::open_with_flags(&path, OpenFlags::SQLITE_OPEN_READ_ONLY))?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        Ok(connection)
    };
    let connection = open().map_err(|error: rusqlite::Error| super::LedgerError {
        path: path.display().to_string(),
        message: error.to_string(),
        hint: "the ledger must be readable by this user",
    })?;
    let ledger = Ledger { connection, path };
    let status = ledger.status(now_ms).map_err(|error| ledger.error(error))?;
    Ok(Some(StoreStatus {
        duplicates: ledger
            .duplicates()?
            .into_iter()
            .map(|(run_id, path)| DuplicateStatus { run_id, path: path.display().to_string() })
            .collect(),
        ..status
    }))
}

impl Ledger {
    fn status(&self, now_ms: i64) -> rusqlite::Result<StoreStatus> {
        let mut sinks = self.connection.prepare("SELECT id, name, destination, state, state_why FROM destinations")?;
        let sinks = sinks.query_map([], |row| {
            let mut sink = SinkStatus {
                name: row.get(1)?,
                destination: row.get(2)?,
                state: row.get(3)?,
                why: row.get(4)?,
                pending: 0,
                committed: 0,
                verified: 0,
                retrying: 0,
                quarantined: 0,
                skipped: 0,
                gone: 0,
                oldest_pending_seconds: None,
            };
            self.count(row.get(0)?, now_ms, &mut sink)?;
            Ok(sink)
        })?;
        let sinks = sinks.collect::<rusqlite::Result<_>>()?;

        let mut unreadable =
            self.connection.prepare("SELECT path, reason FROM files WHERE reason IS NOT NULL ORDER BY path")?;
        let unreadable = unreadable.query_map([], |row| {
            Ok(UnreadableStatus { path: value_path(row.get_ref(0)?).display().to_string(), reason: row.get(1)? })
        })?;

        let mut gone = self.connection.prepare(
            "SELECT r.run_id, d.destination FROM deliveries x JOIN revisions r ON r.seq = x.revision
             JOIN destinations d ON d.id = x.destination
             WHERE x.state = 'gone' AND x.state NOT IN ('committed', 'verified', 'superseded', 'skipped', 'discarded')",
        )?;
        let gone = gone.query_map([], |row| Ok(GoneStatus { run_id: row.get(0)?, destination: row.get(1)? }))?;
        Ok(StoreStatus {
            sinks,
            unreadable: unreadable.collect::<rusqlite::Result<_>>()?,
            duplicates: Vec::new(),
            gone: gone.collect::<rusqlite::Result<_>>()?,
        })
    }

    fn count(&self, id: i64, now_ms: i64, sink: &mut SinkStatus) -> rusqlite::Result<()> {
        let mut states = self.connection.prepare_cached(
            "SELECT d.state, count(*), min(r.seen_ms) FROM deliveries d JOIN revisions r ON r.seq = d.revision
             WHERE d.destination = ?1 GROUP BY d.state",
        )?;
        let mut rows = states.query([id])?;
        let mut oldest: Option<i64> = None;
        while let Some(row) = rows.next()? {
            let count = row.get::<_, i64>(1)? as u64;
            let waiting = match row.get_ref(0)?.as_str()? {
                "pending" | "in_flight" | "unconfirmed" => {
                    sink.pending += count;
                    true
                }
                "retry_wait" => {
                    sink.retrying += count;
                    true
                }
                "committed" => {
                    sink.committed += count;
                    false
                }
                "verified" => {
                    sink.verified += count;
                    false
                }
                "quarantined" => {
                    sink.quarantined += count;
                    false
                }
                "skipped" => {
                    sink.skipped += count;
                    false
                }
                "gone" => {
                    sink.gone += count;
                    false
                }
                _ => false,
            };
            if waiting {
                let seen: i64 = row.get(2)?;
                oldest = Some(oldest.map_or(seen, |oldest| oldest.min(seen)));
            }
        }
        sink.oldest_pending_seconds = oldest.map(|seen| ((now_ms - seen).max(0) / 1000) as u64);
        Ok(())
    }
}
