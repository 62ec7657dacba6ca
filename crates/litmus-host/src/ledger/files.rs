//! The scan's side of the ledger: files and the revisions in them.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use litmus_core::reader::Stamp;
use litmus_core::{RunId, Summary};
use rusqlite::types::{Value, ValueRef};
use rusqlite::{OptionalExtension, Transaction, params};

use super::{Ledger, Result};

/// A file as the ledger knows it from an earlier look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KnownFile {
    pub(crate) stamp: Stamp,
    /// The revision in it; `None`: unreadable.
    pub(crate) revision: Option<i64>,
    /// Why it is unreadable.
    pub(crate) reason: Option<String>,
}

/// What a look at one path found; written in one transaction with others.
#[derive(Debug)]
pub(crate) enum ScanChange {
    /// A run, new or replaced.
    Run { path: PathBuf, stamp: Stamp, summary: Box<Summary> },
    /// No run that can be read.
    Unreadable { path: PathBuf, stamp: Stamp, reason: String },
    /// The file is not there any more.
    Vanished { path: PathBuf },
}

fn path_value(path: &Path) -> Value {
    match path.to_str() {
        Some(text) => Value::Text(text.to_owned()),
        None => Value::Blob(path.as_os_str().as_bytes().to_vec()),
    }
}

pub(super) fn value_path(value: ValueRef<'_>) -> PathBuf {
    match value {
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => PathBuf::from(OsStr::from_bytes(bytes)),
        // The column holds nothing else; a file of an empty name is never found.
        _ => PathBuf::new(),
    }
}

impl Ledger {
    /// Every file of the last look.
    pub(crate) fn known_files(&self) -> Result<HashMap<PathBuf, KnownFile>> {
        let read = || {
            let mut statement =
                self.connection.prepare("SELECT path, size, mtime_ns, ctime_ns, inode, revision, reason FROM files")?;
            let rows = statement.query_map([], |row| {
                let stamp = Stamp {
                    size: row.get::<_, i64>(1)? as u64,
                    mtime_ns: row.get(2)?,
                    ctime_ns: row.get(3)?,
                    inode: row.get::<_, i64>(4)? as u64,
                };
                Ok((value_path(row.get_ref(0)?), KnownFile { stamp, revision: row.get(5)?, reason: row.get(6)? }))
            })?;
            rows.collect::<rusqlite::Result<HashMap<_, _>>>()
        };
        read().map_err(|error| self.error(error))
    }

    /// Writes what a look found. Returns the revision of each change, in order; `None` where there is none.
    pub(crate) fn record(&self, changes: &[ScanChange], now_ms: i64) -> Result<Vec<Option<i64>>> {
        self.transaction(|t| {
            changes
                .iter()
                .map(|change| match change {
                    ScanChange::Run { path, stamp, summary } => {
                        let revision = revision(t, summary, stamp, now_ms)?;
                        let before = put_file(t, path, stamp, Some(revision), None)?;
                        if let Some(before) = before.filter(|before| *before != revision) {
                            leave(t, before, Left::For(revision, summary.run_id), now_ms)?;
                        }
                        arrive(t, revision, now_ms)?;
                        Ok(Some(revision))
                    }
                    ScanChange::Unreadable { path, stamp, reason } => {
                        if let Some(before) = put_file(t, path, stamp, None, Some(reason))? {
                            leave(t, before, Left::Unreadable, now_ms)?;
                        }
                        Ok(None)
                    }
                    ScanChange::Vanished { path } => {
                        let before = t
                            .prepare_cached("DELETE FROM files WHERE path = ?1 RETURNING revision")?
                            .query_row([path_value(path)], |row| row.get::<_, Option<i64>>(0))
                            .optional()?;
                        if let Some(before) = before.flatten() {
                            leave(t, before, Left::Vanished, now_ms)?;
                        }
                        Ok(None)
                    }
                })
                .collect()
        })
    }

    /// Where a revision's bytes lie, or what became of them.
    pub(crate) fn fate(&self, revision: i64) -> Result<Fate> {
        let read = || -> rusqlite::Result<Fate> {
            let path = self
                .connection
                .prepare_cached("SELECT path FROM files WHERE revision = ?1 ORDER BY path LIMIT 1")?
                .query_row([revision], |row| Ok(value_path(row.get_ref(0)?)))
                .optional()?;
            if let Some(path) = path {
                return Ok(Fate::At(path));
            }
            let replaced = self
                .connection
                .prepare_cached("SELECT replaced_by IS NOT NULL FROM revisions WHERE seq = ?1")?
                .query_row([revision], |row| row.get(0))?;
            Ok(if replaced { Fate::Replaced } else { Fate::Vanished })
        };
        read().map_err(|error| self.error(error))
    }

    /// The runs that have more than one revision on disk now, with their paths.
    pub(crate) fn duplicates(&self) -> Result<Vec<(String, PathBuf)>> {
        let read = || -> rusqlite::Result<Vec<_>> {
            let mut statement = self.connection.prepare(
                "SELECT r.run_id, f.path FROM files f JOIN revisions r ON r.seq = f.revision
                 WHERE r.run_id IN (SELECT r.run_id FROM files f JOIN revisions r ON r.seq = f.revision
                                    GROUP BY r.run_id HAVING count(DISTINCT r.seq) > 1)
                 ORDER BY r.run_id, f.path",
            )?;
            let rows = statement.query_map([], |row| Ok((row.get(0)?, value_path(row.get_ref(1)?))))?;
            rows.collect()
        };
        read().map_err(|error| self.error(error))
    }
}

/// The revision's number, new or known.
fn revision(t: &Transaction<'_>, summary: &Summary, stamp: &Stamp, now_ms: i64) -> rusqlite::Result<i64> {
    let (run_id, sha256) = (summary.run_id.to_string(), summary.sha256.to_string());
    let known = t
        .prepare_cached("SELECT seq FROM revisions WHERE run_id = ?1 AND sha256 = ?2")?
        .query_row([&run_id, &sha256], |row| row.get(0))
        .optional()?;
    if let Some(seq) = known {
        return Ok(seq);
    }
    t.prepare_cached(
        "INSERT INTO revisions (run_id, sha256, rank, bytes, run_started_us, sealed_us, seen_ms)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?
    .insert(params![
        run_id,
        sha256,
        summary.rank().encode(),
        stamp.size as i64,
        summary.run_started_at.map(jiff::Timestamp::as_microsecond),
        stamp.mtime_ns / 1000,
        now_ms
    ])
}

/// Writes a file's row; returns the revision that stood there before.
fn put_file(
    t: &Transaction<'_>,
    path: &Path,
    stamp: &Stamp,
    revision: Option<i64>,
    reason: Option<&str>,
) -> rusqlite::Result<Option<i64>> {
    let path = path_value(path);
    let before = t
        .prepare_cached("SELECT revision FROM files WHERE path = ?1")?
        .query_row([&path], |row| row.get::<_, Option<i64>>(0))
        .optional()?
        .flatten();
    t.prepare_cached("INSERT OR REPLACE INTO files VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")?.execute(params![
        path,
        stamp.size as i64,
        stamp.mtime_ns,
        stamp.ctime_ns,
        stamp.inode as i64,
        revision,
        reason
    ])?;
    Ok(before)
}

/// What stands where a revision's file stood.
#[derive(Clone, Copy)]
enum Left {
    /// This revision, of this run.
    For(i64, RunId),
    /// A file that is no run.
    Unreadable,
    /// Nothing.
    Vanished,
}

/// A revision lost one of its files. Replaced by another revision of the same run, it is lineage; with no file left, what
/// was not delivered yet cannot be any more.
fn leave(t: &Transaction<'_>, revision: i64, left: Left, now_ms: i64) -> rusqlite::Result<()> {
    let mut successor = None;
    if let Left::For(new, run_id) = left {
        let same_run = t
            .prepare_cached("UPDATE revisions SET replaced_by = ?2 WHERE seq = ?1 AND run_id = ?3")?
            .execute(params![revision, new, run_id.to_string()])?
            > 0;
        if same_run {
            t.prepare_cached("UPDATE revisions SET replaced_by = NULL WHERE seq = ?1")?.execute([new])?;
            successor = Some(new);
        }
    }
    let still_there = t.prepare_cached("SELECT 1 FROM files WHERE revision = ?1 LIMIT 1")?.exists([revision])?;
    if still_there {
        return Ok(());
    }
    let (state, message) = match (successor, left) {
        (Some(_), _) => ("superseded", "its file was replaced by a newer revision before it was delivered"),
        (None, Left::Vanished) => ("gone", "its file vanished before it was delivered"),
        (None, Left::Unreadable) => {
            ("gone", "its file was replaced by one that cannot be read before it was delivered")
        }
        (None, Left::For(..)) => ("gone", "its file was replaced by another run before it was delivered"),
    };
    t.prepare_cached(
        "UPDATE deliveries SET state = ?2, message = ?3, changed_ms = ?4, told = told * (state = 'gone')
         WHERE destination IN (SELECT id FROM destinations) AND revision = ?1
           AND state IN ('pending', 'retry_wait', 'quarantined', 'gone', 'unconfirmed')",
    )?
    .execute(params![revision, state, message, now_ms])?;
    // A lower one of the same run that stepped aside for this is the best that is left, where nothing else stands for it.
    t.prepare_cached(
        "UPDATE deliveries SET state = 'pending', changed_ms = ?2
         WHERE destination IN (SELECT id FROM destinations) AND state = 'superseded'
           AND revision IN (SELECT other.seq FROM revisions this JOIN revisions other ON other.run_id = this.run_id
                            WHERE this.seq = ?1 AND EXISTS (SELECT 1 FROM files f WHERE f.revision = other.seq))
           AND NOT EXISTS (SELECT 1 FROM revisions this JOIN revisions other ON other.run_id = this.run_id
                           JOIN deliveries d ON d.revision = other.seq
                           WHERE this.seq = ?1 AND d.destination = deliveries.destination
                             AND d.state IN ('pending', 'in_flight', 'retry_wait', 'committed', 'verified', 'unconfirmed'))",
    )?
    .execute(params![revision, now_ms])?;
    Ok(())
}

/// A revision has a file (again). What was given up for want of it is pending again; so is a revision that stands again
/// where its successor stood.
fn arrive(t: &Transaction<'_>, revision: i64, now_ms: i64) -> rusqlite::Result<()> {
    t.prepare_cached(
        "UPDATE deliveries SET state = 'pending', message = '', changed_ms = ?2
         WHERE destination IN (SELECT id FROM destinations) AND revision = ?1
           AND (state = 'gone'
                OR (state IN ('superseded', 'committed', 'verified')
                    AND EXISTS (SELECT 1 FROM revisions WHERE replaced_by = ?1 AND seq > ?1)))",
    )?
    .execute(params![revision, now_ms])?;
    // A destination that was attached while the file was away has no row for it yet.
    t.prepare_cached(
        "INSERT OR IGNORE INTO deliveries (destination, revision, state, changed_ms)
         SELECT id, ?1, 'pending', ?2 FROM destinations WHERE attached_seq >= ?1",
    )?
    .execute(params![revision, now_ms])?;
    Ok(())
}

/// What became of a revision's file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It lies there, relative to the data dir.
    At(PathBuf),
    /// A newer revision of the run stands in its place.
    Replaced,
    /// It is not there any more.
    Vanished,
}
