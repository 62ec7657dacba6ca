//! What `status` reads beside a running host, without its lock.

use std::collections::HashMap;
use std::path::Path;

use litmus_core::reader::{FoundFile, Store};
use serde::Serialize;

use super::files::value_path;
use super::{Ledger, Lock, Result};

/// One sink as the ledgers know it. Serialises as DESIGN section 7 fixes it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct SinkStatus {
    pub(crate) name: String,
    pub(crate) destination: String,
    /// `up`, `degraded`, `open`, `half_open`, `blocked`, `down`; `never used` of a configured sink that no host has opened.
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
    /// By hand.
    pub(crate) discarded: u64,
    /// Of the delivered ones: without a file that they refer to.
    pub(crate) attachments_missing: u64,
    /// Since the oldest undelivered run was first seen.
    pub(crate) oldest_pending_seconds: Option<u64>,
    /// Since a host last delivered, or tried to, there.
    pub(crate) unused_seconds: Option<u64>,
    /// Whether the exit code speaks for it: not for one that is used no more.
    pub(crate) is_current: bool,
}

impl SinkStatus {
    /// A configured sink that no ledger knows: what waits for it shows only when a host opens it.
    pub(crate) fn never_used(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            destination: String::new(),
            state: NEVER_USED.to_owned(),
            why: String::new(),
            pending: 0,
            committed: 0,
            verified: 0,
            retrying: 0,
            quarantined: 0,
            skipped: 0,
            gone: 0,
            discarded: 0,
            attachments_missing: 0,
            oldest_pending_seconds: None,
            unused_seconds: None,
            is_current: false,
        }
    }
}

/// The state of a sink that no host has opened.
const NEVER_USED: &str = "never used";

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

/// A store and what no host has looked at yet.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct StoreFiles {
    pub(crate) data_dir: String,
    /// The host that delivers from it now.
    pub(crate) host: Option<String>,
    /// Files that are new or changed since the last look of a host.
    pub(crate) new_files: u64,
    /// Since the oldest of them was written.
    pub(crate) oldest_new_seconds: Option<u64>,
    /// Why it cannot be looked at.
    pub(crate) trouble: Option<String>,
}

/// Everything one store's ledger has to say.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct StoreStatus {
    pub(crate) stores: Vec<StoreFiles>,
    pub(crate) sinks: Vec<SinkStatus>,
    pub(crate) unreadable: Vec<UnreadableStatus>,
    pub(crate) duplicates: Vec<DuplicateStatus>,
    pub(crate) gone: Vec<GoneStatus>,
}

/// Reads a store's ledger, and looks what lies in the store that the ledger does not know. Destinations not used for a long
/// time are listed too: what is pending there is pending. `configured`: the names of the sinks that are in use by what the
/// configuration says.
pub(crate) fn read_status(folder: &Path, data_dir: &Path, configured: &[&str], now_ms: i64) -> Result<StoreStatus> {
    let (mut status, known) = match Ledger::open_to_read(folder)? {
        None => (StoreStatus::default(), HashMap::new()),
        Some(ledger) => {
            let mut status = ledger.status(configured, now_ms).map_err(|error| ledger.error(error))?;
            let duplicates = ledger.duplicates()?.into_iter();
            status.duplicates =
                duplicates.map(|(run_id, path)| DuplicateStatus { run_id, path: path.display().to_string() }).collect();
            (status, ledger.known_files()?)
        }
    };
    let mut files =
        StoreFiles { data_dir: data_dir.display().to_string(), host: Lock::holder(folder), ..StoreFiles::default() };
    match Store::open(data_dir) {
        Err(error) => files.trouble = Some(error.to_string()),
        Ok(store) => {
            let (found, errors) = store.walk();
            let trouble = store.missing_runs();
            files.trouble = trouble.as_ref().or(errors.first()).map(ToString::to_string);
            // A file whose last look ended in passing trouble keeps a stamp that none has; it is listed as unreadable.
            let is_new = |file: &&FoundFile| {
                known.get(&file.path).is_none_or(|known| known.reason.is_none() && known.stamp != file.stamp)
            };
            // A file that was copied here keeps its old mtime.
            let came_ms = |file: &FoundFile| file.stamp.mtime_ns.max(file.stamp.ctime_ns) / 1_000_000;
            let ages = found.iter().filter(is_new).map(|file| now_ms - came_ms(file));
            let oldest = ages.inspect(|_| files.new_files += 1).max();
            files.oldest_new_seconds = oldest.map(|age| (age.max(0) / 1000) as u64);
        }
    }
    status.stores.push(files);
    Ok(status)
}

impl Ledger {
    fn status(&self, configured: &[&str], now_ms: i64) -> rusqlite::Result<StoreStatus> {
        // A destination that is not used any more is shown and not judged: one that the last session did not use and that never
        // took a run (a mistyped path), or that was not used for a week while others were. The last one of a sink that is
        // configured is in use, whoever else used the ledger since.
        let mut sinks = self.connection.prepare(
            "SELECT id, name, destination, state, state_why, used_ms,
                    used_ms = latest OR (used_ms > latest - ?1 AND EXISTS (
                        SELECT 1 FROM deliveries WHERE destination = id AND state IN ('committed', 'verified', 'superseded'))),
                    used_ms = (SELECT max(used_ms) FROM destinations same WHERE same.name = destinations.name)
             FROM destinations, (SELECT max(used_ms) AS latest FROM destinations) ORDER BY used_ms DESC, id",
        )?;
        let week_ms: i64 = 7 * 24 * 60 * 60 * 1000;
        let sinks = sinks.query_map([week_ms], |row| {
            let name: String = row.get(1)?;
            let is_last_of_configured = configured.contains(&name.as_str()) && row.get(7)?;
            let mut sink = SinkStatus {
                destination: row.get(2)?,
                state: row.get(3)?,
                why: row.get(4)?,
                unused_seconds: Some(((now_ms - row.get::<_, i64>(5)?).max(0) / 1000) as u64),
                is_current: row.get::<_, bool>(6)? || is_last_of_configured,
                ..SinkStatus::never_used(&name)
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
            stores: Vec::new(),
            sinks,
            unreadable: unreadable.collect::<rusqlite::Result<_>>()?,
            duplicates: Vec::new(),
            gone: gone.collect::<rusqlite::Result<_>>()?,
        })
    }

    fn count(&self, id: i64, now_ms: i64, sink: &mut SinkStatus) -> rusqlite::Result<()> {
        let mut states = self.connection.prepare_cached(
            "SELECT d.state, count(*), min(r.seen_ms), sum(instr(coalesce(d.receipt, ''), '\"attachments_missing\"') > 0)
             FROM deliveries d JOIN revisions r ON r.seq = d.revision
             WHERE d.destination = ?1 GROUP BY d.state",
        )?;
        let mut rows = states.query([id])?;
        let mut oldest: Option<i64> = None;
        while let Some(row) = rows.next()? {
            let count = row.get::<_, i64>(1)? as u64;
            sink.attachments_missing += row.get::<_, i64>(3)? as u64;
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
                "discarded" => {
                    sink.discarded += count;
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
