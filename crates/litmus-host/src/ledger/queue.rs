//! The lane's side of the ledger: what is pending at one destination, and how each delivery ended.

use jiff::Timestamp;
use litmus_core::{RunId, Sha256, Status};
use rusqlite::types::Type;
use rusqlite::{Row, Transaction, params};

use super::{Ledger, Result, State};

/// Which runs a destination wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StartDecision {
    /// All that are there.
    All,
    /// Those that are sealed from the first time on that this was said.
    Now,
    /// Those that started then or later.
    Since(Timestamp),
}

impl StartDecision {
    fn given(self) -> String {
        match self {
            Self::All => "all".to_owned(),
            Self::Now => "now".to_owned(),
            Self::Since(time) => time.to_string(),
        }
    }
}

/// A sink's destination as the ledger keeps it.
#[derive(Clone, Debug)]
pub(crate) struct DestinationSpec {
    /// The destination id; no secret in it.
    pub(crate) destination: String,
    /// The sink's name in the configuration.
    pub(crate) name: String,
    /// The plugin and its version.
    pub(crate) plugin: String,
    /// `None`: as it was the last time; all of them the first time.
    pub(crate) start: Option<StartDecision>,
}

/// Narrows one call of `forward` to some runs; the others stay as they are.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Selection {
    pub(crate) run: Option<RunId>,
    pub(crate) since: Option<Timestamp>,
}

impl Selection {
    fn run_text(&self) -> Option<String> {
        self.run.map(|run| run.to_string())
    }

    fn since_us(&self) -> Option<i64> {
        self.since.map(Timestamp::as_microsecond)
    }
}

/// A revision to deliver.
#[derive(Clone, Debug)]
pub(crate) struct Pending {
    pub(crate) revision: i64,
    pub(crate) run_id: RunId,
    pub sha256: Sha256,
    /// Of the sealed file.
    pub(crate) bytes: u64,
    pub(crate) tries: u32,
    pub(crate) strikes: u32,
    /// Calls that failed for it while nothing else passed.
    pub(crate) deferred: u32,
    /// Every revision that stood in this one's place earlier.
    pub(crate) supersedes: Vec<Sha256>,
    /// Where it was delivered: the receipt.
    pub(crate) receipt: Option<String>,
}

/// How a delivery ended, with what the ledger keeps of it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Settled {
    pub(crate) to: Settlement,
    /// What the sink answered, or what the host made of its silence.
    pub(crate) status: Status,
    /// The status and, for a failure, why.
    pub(crate) message: String,
    pub(crate) receipt: Option<String>,
}

/// Where a revision goes from in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Settlement {
    Committed,
    Superseded,
    /// The sink could not; says nothing about the run.
    Pending,
    /// The run waits by itself: a try.
    RetryWait,
    /// The run waits by itself and is suspected: a try and a strike.
    Struck,
    /// The call with it inside failed while nothing else passed: the run comes alone, after all others.
    Deferred,
    Quarantined,
    Gone,
    /// The sink says that it has it; its audit is to show that.
    Unconfirmed,
}

impl Settlement {
    fn state(self) -> State {
        match self {
            Self::Committed => State::Committed,
            Self::Superseded => State::Superseded,
            Self::Pending | Self::Deferred => State::Pending,
            Self::RetryWait | Self::Struck => State::RetryWait,
            Self::Quarantined => State::Quarantined,
            Self::Gone => State::Gone,
            Self::Unconfirmed => State::Unconfirmed,
        }
    }
}

pub(super) fn parsed<T: std::str::FromStr>(row: &Row<'_>, at: usize) -> rusqlite::Result<T>
where
    T::Err: std::error::Error + Send + Sync + 'static,
{
    let text: String = row.get(at)?;
    text.parse().map_err(|error| rusqlite::Error::FromSqlConversionFailure(at, Type::Text, Box::new(error)))
}

impl Ledger {
    /// Whether this destination was ever used with this ledger.
    pub(crate) fn knows_destination(&self, destination: &str) -> Result<bool> {
        self.connection
            .prepare_cached("SELECT 1 FROM destinations WHERE destination = ?1")
            .and_then(|mut statement| statement.exists([destination]))
            .map_err(|error| self.error(error))
    }

    /// Makes a destination ready for use in this process: what an earlier process left in flight or waiting is pending
    /// again, and every revision has its row. Returns the destination's number.
    pub(crate) fn register(&self, spec: &DestinationSpec, now_ms: i64) -> Result<i64> {
        self.transaction(|t| {
            t.execute(
                "INSERT INTO destinations (destination, name, plugin) VALUES (?1, ?2, ?3)
                 ON CONFLICT (destination) DO UPDATE SET name = ?2, plugin = ?3",
                params![spec.destination, spec.name, spec.plugin],
            )?;
            let (id, given): (i64, String) = t.query_row(
                "SELECT id, start_given FROM destinations WHERE destination = ?1",
                [&spec.destination],
                |row| Ok((row.get(0)?, row.get(1)?)),
            )?;
            // The first pass of an earlier session was broken off: what it did not see is told by the clock.
            t.execute("UPDATE destinations SET starting = 1 WHERE id = ?1 AND starting = 2", [id])?;
            if let Some(start) = spec.start.filter(|start| start.given() != given) {
                let starting = if start == StartDecision::Now { 2 } else { 0 };
                let start_us = match start {
                    StartDecision::All => None,
                    StartDecision::Now => Some(now_ms * 1000),
                    StartDecision::Since(time) => Some(time.as_microsecond()),
                };
                t.execute(
                    "UPDATE destinations SET start_given = ?2, start_us = ?3, starting = ?4 WHERE id = ?1",
                    params![id, start.given(), start_us, starting],
                )?;
                t.execute(
                    &format!(
                        "UPDATE deliveries SET state = 'pending', changed_ms = ?2
                         WHERE destination = ?1 AND state = 'skipped'
                           AND NOT EXISTS (SELECT 1 FROM revisions r JOIN destinations d ON d.id = ?1
                                           WHERE r.seq = revision AND {BEFORE_START})"
                    ),
                    params![id, now_ms],
                )?;
            }
            t.execute("UPDATE destinations SET used_ms = ?2 WHERE id = ?1", params![id, now_ms])?;
            t.execute(
                "UPDATE deliveries INDEXED BY deliveries_unfinished SET state = 'pending'
                 WHERE destination = ?1 AND state IN ('in_flight', 'retry_wait')
                   AND state NOT IN ('committed', 'verified', 'superseded', 'skipped', 'discarded')",
                [id],
            )?;
            backfill(t, id, now_ms)?;
            Ok(id)
        })
    }

    /// The first pass is over: what comes from now on was not there when "now" was said.
    pub(crate) fn started(&self, id: i64) -> Result<()> {
        self.connection
            .prepare_cached("UPDATE destinations SET starting = 0 WHERE id = ?1 AND starting > 0")
            .and_then(|mut statement| statement.execute([id]))
            .map(drop)
            .map_err(|error| self.error(error))
    }

    /// Gives every revision that came since the last time its row at this destination.
    pub(crate) fn backfill(&self, id: i64, now_ms: i64) -> Result<()> {
        let behind = self
            .connection
            .prepare_cached(
                "SELECT attached_seq < (SELECT coalesce(max(seq), 0) FROM revisions) FROM destinations WHERE id = ?1",
            )
            .and_then(|mut statement| statement.query_row([id], |row| row.get(0)))
            .map_err(|error| self.error(error))?;
        if behind { self.transaction(|t| backfill(t, id, now_ms)) } else { Ok(()) }
    }

    /// Takes the next pending revisions, oldest first, and marks them in flight: up to `runs_max`, and up to `bytes_max`
    /// unless the first alone is larger. Of one run, one revision is in flight at a time: sinks may commit batches in any
    /// order, and an older revision must not come to stand above a newer one. A revision with a strike comes alone; one that a call hung with comes alone, and
    /// after all others.
    pub(crate) fn take(
        &self,
        id: i64,
        selection: &Selection,
        runs_max: usize,
        bytes_max: u64,
        now_ms: i64,
    ) -> Result<Vec<Pending>> {
        // An idle sink asks often: it must not write to the disk for that.
        let is_idle = self
            .connection
            .prepare_cached(
                "SELECT 1 FROM deliveries INDEXED BY deliveries_pending
                 WHERE destination = ?1 AND state = 'pending' LIMIT 1",
            )
            .and_then(|mut statement| statement.exists([id]).map(|exists| !exists))
            .map_err(|error| self.error(error))?;
        if is_idle {
            return Ok(Vec::new());
        }
        self.transaction(|t| {
            let mut taken: Vec<Pending> = Vec::new();
            let mut bytes = 0;
            {
                // Of the run's few revisions, whether one is in flight: left to itself, SQLite asks it the other way round, and
                // reads every delivery there ever was for each row.
                let mut statement = t.prepare_cached(
                    "SELECT d.revision, r.run_id, r.sha256, r.bytes, d.tries, d.strikes, d.deferred
                     FROM deliveries d INDEXED BY deliveries_pending JOIN revisions r ON r.seq = d.revision
                     WHERE d.destination = ?1 AND d.state = 'pending'
                       AND (?2 IS NULL OR r.run_id = ?2)
                       AND (?3 IS NULL OR r.run_started_us >= ?3)
                       AND NOT EXISTS (SELECT 1 FROM revisions other CROSS JOIN deliveries o ON o.revision = other.seq
                                       WHERE other.run_id = r.run_id AND o.destination = ?1 AND o.state = 'in_flight')
                     ORDER BY d.deferred, d.revision LIMIT ?4",
                )?;
                let mut rows =
                    statement.query(params![id, selection.run_text(), selection.since_us(), runs_max as i64])?;
                while let Some(row) = rows.next()? {
                    let next = pending(row)?;
                    if taken.iter().any(|run| run.run_id == next.run_id) {
                        continue;
                    }
                    let alone = next.strikes > 0 || next.deferred > 0;
                    let full = bytes + next.bytes > bytes_max || alone;
                    if full && !taken.is_empty() {
                        break;
                    }
                    bytes += next.bytes;
                    taken.push(next);
                    if alone {
                        break;
                    }
                }
            }
            for run in &mut taken {
                run.supersedes = supersedes(t, run.revision)?;
                t.prepare_cached(
                    "UPDATE deliveries SET state = 'in_flight', changed_ms = ?3 WHERE destination = ?1 AND revision = ?2",
                )?
                .execute(params![id, run.revision, now_ms])?;
            }
            Ok(taken)
        })
    }

    /// Whether a revision is pending that was not refused before.
    pub(crate) fn has_untried(&self, id: i64) -> Result<bool> {
        self.connection
            .prepare_cached(
                "SELECT 1 FROM deliveries INDEXED BY deliveries_pending
                 WHERE destination = ?1 AND state = 'pending' AND deferred = 0 LIMIT 1",
            )
            .and_then(|mut statement| statement.exists([id]))
            .map_err(|error| self.error(error))
    }

    /// Writes how deliveries ended, with their history, in one transaction.
    pub(crate) fn settle(&self, id: i64, ended: &[(i64, Settled)], now_ms: i64) -> Result<()> {
        self.transaction(|t| {
            for (revision, settled) in ended {
                let state = settled.to.state().name();
                let tries = i64::from(matches!(settled.to, Settlement::RetryWait | Settlement::Struck));
                let strikes = i64::from(settled.to == Settlement::Struck);
                let deferred = i64::from(settled.to == Settlement::Deferred);
                // A sink that refuses everything says the same of a run for days: once is enough for its history.
                let is_known = settled.to == Settlement::Deferred
                    && t.prepare_cached(
                        "SELECT 1 FROM deliveries
                         WHERE destination = ?1 AND revision = ?2 AND deferred > 0 AND message = ?3",
                    )?
                    .exists(params![id, revision, settled.message])?;
                let was_in_flight = t
                    .prepare_cached(
                        "UPDATE deliveries SET state = ?3, message = ?4, receipt = coalesce(?5, receipt),
                             tries = tries + ?6, strikes = strikes + ?7, changed_ms = ?8, deferred = deferred + ?9, told = 0
                         WHERE destination = ?1 AND revision = ?2 AND state = 'in_flight'",
                    )?
                    .execute(params![
                        id,
                        revision,
                        state,
                        settled.message,
                        settled.receipt,
                        tries,
                        strikes,
                        now_ms,
                        deferred
                    ])?;
                debug_assert_eq!(was_in_flight, 1, "revision {revision} was settled but not in flight");
                // A batch that only goes back into the queue has not happened to its runs.
                if settled.to != Settlement::Pending && !is_known {
                    t.prepare_cached(
                        "INSERT INTO history (at_ms, destination, revision, event, message, receipt)
                         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                    )?
                    .execute(params![
                        now_ms,
                        id,
                        revision,
                        state,
                        settled.message,
                        settled.receipt
                    ])?;
                }
            }
            Ok(())
        })
    }

    /// A run's wait is over.
    pub(crate) fn release(&self, id: i64, revision: i64, now_ms: i64) -> Result<()> {
        self.connection
            .prepare_cached(
                "UPDATE deliveries SET state = 'pending', changed_ms = ?3
                 WHERE destination = ?1 AND revision = ?2 AND state = 'retry_wait'",
            )
            .and_then(|mut statement| statement.execute(params![id, revision, now_ms]))
            .map(drop)
            .map_err(|error| self.error(error))
    }

    /// How many revisions of the selection are not where they should be.
    pub(crate) fn backlog(&self, id: i64, selection: &Selection) -> Result<Backlog> {
        let read = || -> rusqlite::Result<Backlog> {
            let mut statement = self.connection.prepare_cached(
                "SELECT state, count(*), sum(told) FROM deliveries d INDEXED BY deliveries_unfinished JOIN revisions r ON r.seq = d.revision
                 WHERE destination = ?1 AND state NOT IN ('committed', 'verified', 'superseded', 'skipped', 'discarded')
                   AND (?2 IS NULL OR r.run_id = ?2)
                   AND (?3 IS NULL OR r.run_started_us >= ?3)
                 GROUP BY state",
            )?;
            let mut rows = statement.query(params![id, selection.run_text(), selection.since_us()])?;
            let mut backlog = Backlog::default();
            while let Some(row) = rows.next()? {
                let count = row.get::<_, i64>(1)? as u64;
                match row.get_ref(0)?.as_str()? {
                    "pending" | "in_flight" | "unconfirmed" => backlog.pending += count,
                    "retry_wait" => backlog.waiting += count,
                    "quarantined" => backlog.quarantined += count,
                    "gone" => {
                        backlog.gone += count;
                        backlog.gone_untold += count - row.get::<_, i64>(2)? as u64;
                    }
                    _ => {}
                }
            }
            Ok(backlog)
        };
        read().map_err(|error| self.error(error))
    }

    /// Notes that these losses have made an exit code: the next one is for new losses.
    pub(crate) fn tell_gone(&self, id: i64, selection: &Selection) -> Result<()> {
        self.connection
            .prepare_cached(
                "UPDATE deliveries INDEXED BY deliveries_unfinished SET told = 1 WHERE destination = ?1 AND state = 'gone' AND told = 0
                   AND state NOT IN ('committed', 'verified', 'superseded', 'skipped', 'discarded')
                   AND EXISTS (SELECT 1 FROM revisions r WHERE r.seq = revision AND (?2 IS NULL OR r.run_id = ?2)
                                                           AND (?3 IS NULL OR r.run_started_us >= ?3))",
            )
            .and_then(|mut statement| statement.execute(params![id, selection.run_text(), selection.since_us()]))
            .map(drop)
            .map_err(|error| self.error(error))
    }

    /// Keeps a sink's state for `status` beside a running host.
    pub(crate) fn note_state(&self, id: i64, state: &str, why: &str, now_ms: i64) -> Result<()> {
        self.connection
            .prepare_cached("UPDATE destinations SET state = ?2, state_why = ?3, state_ms = ?4 WHERE id = ?1")
            .and_then(|mut statement| statement.execute(params![id, state, why, now_ms]))
            .map(drop)
            .map_err(|error| self.error(error))
    }

    /// The runs whose id starts so, with or without its hyphens.
    pub(crate) fn runs_starting_with(&self, prefix: &str, max: usize) -> Result<Vec<RunId>> {
        let read = || {
            let mut statement = self.connection.prepare(
                "SELECT DISTINCT run_id FROM revisions WHERE substr(replace(run_id, '-', ''), 1, length(?1)) = ?1
                 ORDER BY run_id LIMIT ?2",
            )?;
            let rows = statement.query_map(params![prefix.replace('-', ""), max as i64], |row| parsed(row, 0))?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        };
        read().map_err(|error| self.error(error))
    }

    /// The revisions at this destination that need a person, with why.
    pub(crate) fn problems(&self, id: i64, max: usize) -> Result<Vec<(RunId, State, String)>> {
        let read = || {
            let mut statement = self.connection.prepare_cached(
                "SELECT r.run_id, d.state, d.message
                 FROM deliveries d INDEXED BY deliveries_unfinished JOIN revisions r ON r.seq = d.revision
                 WHERE d.destination = ?1 AND d.state IN ('quarantined', 'gone', 'retry_wait')
                   AND d.state NOT IN ('committed', 'verified', 'superseded', 'skipped', 'discarded')
                 ORDER BY d.state, d.revision LIMIT ?2",
            )?;
            let rows = statement.query_map(params![id, max as i64], |row| {
                let state = match row.get_ref(1)?.as_str()? {
                    "quarantined" => State::Quarantined,
                    "gone" => State::Gone,
                    _ => State::RetryWait,
                };
                Ok((parsed(row, 0)?, state, row.get(2)?))
            })?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        };
        read().map_err(|error| self.error(error))
    }
}

/// What a destination still has to come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Backlog {
    pub(crate) pending: u64,
    pub(crate) waiting: u64,
    pub(crate) quarantined: u64,
    pub(crate) gone: u64,
    /// Of these, not in an exit code yet.
    pub(crate) gone_untold: u64,
}

pub(super) fn pending(row: &Row<'_>) -> rusqlite::Result<Pending> {
    Ok(Pending {
        revision: row.get(0)?,
        run_id: parsed(row, 1)?,
        sha256: parsed(row, 2)?,
        bytes: row.get::<_, i64>(3)? as u64,
        tries: row.get(4)?,
        strikes: row.get(5)?,
        deferred: row.get(6)?,
        supersedes: Vec::new(),
        receipt: None,
    })
}

fn supersedes(t: &Transaction<'_>, revision: i64) -> rusqlite::Result<Vec<Sha256>> {
    let mut statement = t.prepare_cached(
        "WITH RECURSIVE earlier (seq, sha256) AS (
             SELECT seq, sha256 FROM revisions WHERE replaced_by = ?1
             UNION SELECT r.seq, r.sha256 FROM revisions r JOIN earlier e ON r.replaced_by = e.seq)
         SELECT sha256 FROM earlier",
    )?;
    let rows = statement.query_map([revision], |row| parsed(row, 0))?;
    rows.collect()
}

/// Whether a revision `r` is too old for a destination `d`. "Now": what the first pass finds is; a copy with an old time that
/// comes later is not, nor is anything because a clock was wrong. NULL, where nothing was said or the run does not say when it
/// started, is no.
const BEFORE_START: &str = "CASE WHEN d.start_given = 'now'
          THEN d.starting = 2 OR (d.starting = 1 AND r.sealed_us < d.start_us)
          ELSE r.run_started_us < d.start_us END";

fn backfill(t: &Transaction<'_>, id: i64, now_ms: i64) -> rusqlite::Result<()> {
    t.prepare_cached(&format!(
        "INSERT OR IGNORE INTO deliveries (destination, revision, state, changed_ms)
         SELECT d.id, r.seq, CASE WHEN {BEFORE_START} THEN 'skipped' ELSE 'pending' END, ?2
         FROM destinations d JOIN revisions r ON r.seq > d.attached_seq
         WHERE d.id = ?1 AND EXISTS (SELECT 1 FROM files f WHERE f.revision = r.seq)"
    ))?
    .execute(params![id, now_ms])?;
    t.prepare_cached(
        "UPDATE destinations SET attached_seq = (SELECT coalesce(max(seq), 0) FROM revisions) WHERE id = ?1",
    )?
    .execute([id])?;
    Ok(())
}

/// What tests look at.
#[cfg(test)]
impl Ledger {
    /// A number that grows with every row written.
    pub(crate) fn changes(&self) -> u64 {
        self.connection.total_changes()
    }

    pub(crate) fn states(&self, id: i64) -> Vec<(i64, String)> {
        let mut statement = self
            .connection
            .prepare_cached("SELECT revision, state FROM deliveries WHERE destination = ?1 ORDER BY revision")
            .unwrap();
        let rows = statement.query_map([id], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        rows.collect::<rusqlite::Result<_>>().unwrap()
    }

    pub(crate) fn history_rows(&self) -> u64 {
        let count: i64 = self.connection.query_row("SELECT count(*) FROM history", [], |row| row.get(0)).unwrap();
        count as u64
    }

    pub(crate) fn incarnation(&self, id: i64) -> Option<String> {
        self.connection.query_row("SELECT incarnation FROM destinations WHERE id = ?1", [id], |row| row.get(0)).unwrap()
    }

    /// Every delivery at a destination: revision, state, run, sha256, strikes.
    pub(crate) fn deliveries(&self, id: i64) -> Vec<(i64, String, RunId, Sha256, u32)> {
        let mut statement = self
            .connection
            .prepare_cached(
                "SELECT d.revision, d.state, r.run_id, r.sha256, d.strikes
                 FROM deliveries d JOIN revisions r ON r.seq = d.revision WHERE d.destination = ?1 ORDER BY d.revision",
            )
            .unwrap();
        let rows = statement
            .query_map([id], |row| Ok((row.get(0)?, row.get(1)?, parsed(row, 2)?, parsed(row, 3)?, row.get(4)?)))
            .unwrap();
        rows.collect::<rusqlite::Result<_>>().unwrap()
    }
}
