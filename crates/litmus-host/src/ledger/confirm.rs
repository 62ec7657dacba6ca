//! Whether a destination still has what was committed there.

use rusqlite::{Row, Transaction, params};

use super::queue::pending;
use super::{Ledger, Pending, Result};

/// Larger runs are not read back only to see whether they are there; but for the last one.
const SAMPLE_BYTES_MAX: u64 = 1 << 20;

/// What an audit says of a committed revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Confirmed {
    Present,
    Absent,
    /// The destination holds something else than was delivered: why.
    Differs(String),
}

impl Ledger {
    /// Notes which incarnation of the destination answers. If it is another one than before, what was committed there is
    /// unconfirmed: how many runs that are.
    pub(crate) fn confirm_incarnation(&self, id: i64, incarnation: Option<&str>, now_ms: i64) -> Result<u64> {
        self.transaction(|t| {
            let before: Option<String> =
                t.query_row("SELECT incarnation FROM destinations WHERE id = ?1", [id], |row| row.get(0))?;
            if before.as_deref() == incarnation {
                return Ok(0);
            }
            t.execute("UPDATE destinations SET incarnation = ?2 WHERE id = ?1", params![id, incarnation])?;
            doubt(t, id, now_ms)
        })
    }

    /// Committed revisions of which it is not known whether the destination still has them.
    pub(crate) fn unconfirmed(&self, id: i64, max: usize) -> Result<Vec<Pending>> {
        let read = || {
            let mut statement = self.connection.prepare_cached(
                "SELECT d.revision, r.run_id, r.sha256, r.bytes, d.tries, d.strikes, d.deferred, d.receipt
                 FROM deliveries d INDEXED BY deliveries_unfinished JOIN revisions r ON r.seq = d.revision
                 WHERE d.destination = ?1 AND d.state = 'unconfirmed'
                   AND d.state NOT IN ('committed', 'verified', 'superseded', 'skipped', 'discarded')
                 ORDER BY d.revision LIMIT ?2",
            )?;
            let rows = statement.query_map(params![id, max as i64], delivered)?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        };
        read().map_err(|error| self.error(error))
    }

    /// The newest committed revisions, for a look whether the destination still has them: the last, and small ones before it.
    pub(crate) fn latest(&self, id: i64) -> Result<Vec<Pending>> {
        let read = || {
            let mut statement = self.connection.prepare_cached(
                "SELECT d.revision, r.run_id, r.sha256, r.bytes, d.tries, d.strikes, d.deferred, d.receipt
                 FROM deliveries d JOIN revisions r ON r.seq = d.revision
                 WHERE d.destination = ?1 AND d.state IN ('committed', 'verified') AND r.replaced_by IS NULL
                 ORDER BY d.revision DESC LIMIT 3",
            )?;
            let rows = statement.query_map([id], delivered)?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        };
        let mut latest = read().map_err(|error| self.error(error))?;
        let mut first = true;
        latest.retain(|run| std::mem::take(&mut first) || run.bytes <= SAMPLE_BYTES_MAX);
        Ok(latest)
    }

    /// The destination does not have all that was committed there: everything is to be asked about.
    pub(crate) fn doubt(&self, id: i64, now_ms: i64) -> Result<u64> {
        self.transaction(|t| doubt(t, id, now_ms))
    }

    /// Settles unconfirmed revisions: those the destination has are committed, the others pending; one that has no file any
    /// more is gone; one that the destination holds otherwise than it was delivered needs a person.
    pub(crate) fn confirm(&self, id: i64, answers: &[(i64, Confirmed)], now_ms: i64) -> Result<()> {
        self.transaction(|t| {
            for (revision, answer) in answers {
                if let Confirmed::Differs(why) = answer {
                    let moved = t
                        .prepare_cached(
                            "UPDATE deliveries SET state = 'quarantined', message = ?3, changed_ms = ?4
                             WHERE destination = ?1 AND revision = ?2 AND state = 'unconfirmed'",
                        )?
                        .execute(params![id, revision, why, now_ms])?;
                    if moved > 0 {
                        t.prepare_cached(
                            "INSERT INTO history (at_ms, destination, revision, event, message)
                             VALUES (?1, ?2, ?3, 'quarantined', ?4)",
                        )?
                        .execute(params![now_ms, id, revision, why])?;
                    }
                    continue;
                }
                let present = *answer == Confirmed::Present;
                t.prepare_cached(
                    "UPDATE deliveries SET changed_ms = ?4, told = 0, message = CASE WHEN ?3 THEN message
                                        WHEN EXISTS (SELECT 1 FROM files f WHERE f.revision = ?2)
                                        THEN 'the destination does not have it any more' ELSE ?5 END,
                         state = CASE WHEN ?3 THEN 'committed'
                                      WHEN EXISTS (SELECT 1 FROM files f WHERE f.revision = ?2) THEN 'pending'
                                      WHEN EXISTS (SELECT 1 FROM revisions r WHERE r.seq = ?2
                                                   AND r.replaced_by IS NOT NULL) THEN 'superseded'
                                      ELSE 'gone' END
                     WHERE destination = ?1 AND revision = ?2 AND state = 'unconfirmed'",
                )?
                .execute(params![
                    id,
                    revision,
                    present,
                    now_ms,
                    "the destination does not have it any more, and its file vanished"
                ])?;
            }
            Ok(())
        })
    }
}

/// One that was delivered, with its receipt.
fn delivered(row: &Row<'_>) -> rusqlite::Result<Pending> {
    Ok(Pending { receipt: row.get(7)?, ..pending(row)? })
}

fn doubt(t: &Transaction<'_>, id: i64, now_ms: i64) -> rusqlite::Result<u64> {
    let unconfirmed = t.execute(
        "UPDATE deliveries SET state = 'unconfirmed', changed_ms = ?2
         WHERE destination = ?1 AND state IN ('committed', 'verified')",
        params![id, now_ms],
    )?;
    // What stood above these is unconfirmed as well; if it is gone for good, they are the best there is.
    t.execute(
        "UPDATE deliveries SET state = 'pending', changed_ms = ?2
         WHERE destination = ?1 AND state = 'superseded'
           AND EXISTS (SELECT 1 FROM files f WHERE f.revision = deliveries.revision)",
        params![id, now_ms],
    )?;
    Ok(unconfirmed as u64)
}
