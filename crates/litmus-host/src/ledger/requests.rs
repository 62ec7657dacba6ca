//! What a person wants of deliveries that do not move by themselves: `retry` and `discard`.
//!
//! Whoever holds the store's lock does it: without a host the command itself, else the host, which finds a row for each
//! delivery in `requests`. A delivery in flight is left alone until it has ended.

use litmus_core::RunId;
use rusqlite::{OptionalExtension, Row, Transaction, params};

use super::queue::parsed;
use super::{Ledger, Result};

/// What a person wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    /// A quarantined run is sent again, as if it had never failed.
    Retry,
    /// A run that was not delivered never will be.
    Discard,
}

impl Wish {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::Discard => "discard",
        }
    }

    fn of_name(name: &str) -> Option<Self> {
        [Self::Retry, Self::Discard].into_iter().find(|wish| wish.name() == name)
    }

    /// Whether it makes sense for a delivery in this state, perhaps after a wait.
    pub(crate) fn is_for(self, state: &str) -> bool {
        match self {
            Self::Retry => state == "quarantined",
            Self::Discard => matches!(state, "quarantined" | "gone" | "pending" | "retry_wait" | "in_flight"),
        }
    }
}

/// Who wants what, and why.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) wish: Wish,
    /// A user's name.
    pub(crate) who: String,
    /// Empty for a retry.
    pub(crate) reason: String,
}

/// A delivery that a request may be about.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    destination: i64,
    revision: i64,
    pub(crate) run_id: RunId,
    /// The sink's name.
    pub(crate) sink: String,
    pub(crate) state: String,
}

fn asked(row: &Row<'_>) -> rusqlite::Result<Asked> {
    Ok(Asked {
        destination: row.get(0)?,
        revision: row.get(1)?,
        run_id: parsed(row, 2)?,
        sink: row.get(3)?,
        state: row.get(4)?,
    })
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Done,
    /// The delivery is in flight.
    Waits,
    /// The delivery has moved on by itself.
    Moot,
}

impl Ledger {
    /// The sinks that were ever used.
    pub(crate) fn sink_names(&self) -> Result<Vec<String>> {
        let read = || {
            let mut statement = self.connection.prepare("SELECT DISTINCT name FROM destinations ORDER BY name")?;
            let rows = statement.query_map([], |row| row.get(0))?;
            rows.collect::<rusqlite::Result<Vec<String>>>()
        };
        read().map_err(|error| self.error(error))
    }

    /// The deliveries of a run, or without one all that are quarantined; of one sink, or of all.
    pub(crate) fn asked(&self, run: Option<RunId>, sink: Option<&str>) -> Result<Vec<Asked>> {
        let read = || {
            let mut statement = self.connection.prepare(
                "SELECT x.destination, x.revision, r.run_id, d.name, x.state
                 FROM deliveries x JOIN revisions r ON r.seq = x.revision JOIN destinations d ON d.id = x.destination
                 WHERE (r.run_id = ?1 OR (?1 IS NULL AND x.state = 'quarantined')) AND (?2 IS NULL OR d.name = ?2)
                 ORDER BY x.destination, x.revision",
            )?;
            let rows = statement.query_map(params![run.map(|run| run.to_string()), sink], asked)?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        };
        read().map_err(|error| self.error(error))
    }

    /// Does what is wanted; for whoever holds the store's lock while no host is at work. What an earlier host left in flight
    /// is not in flight any more. Returns how many deliveries were moved.
    pub(crate) fn grant(&self, request: &Request, deliveries: &[Asked], now_ms: i64) -> Result<usize> {
        self.transaction(|t| {
            let mut done = 0;
            for delivery in deliveries {
                let answer = grant(t, request, (delivery.destination, delivery.revision), false, now_ms)?;
                done += usize::from(answer == Answer::Done);
            }
            Ok(done)
        })
    }

    /// Leaves it to the host at work.
    pub(crate) fn request(&self, request: &Request, deliveries: &[Asked], now_ms: i64) -> Result<()> {
        self.transaction(|t| {
            for delivery in deliveries {
                t.prepare_cached(
                    "INSERT INTO requests (at_ms, wish, destination, revision, who, reason)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                )?
                .execute(params![
                    now_ms,
                    request.wish.name(),
                    delivery.destination,
                    delivery.revision,
                    request.who,
                    request.reason
                ])?;
            }
            Ok(())
        })
    }

    /// The host's part: does what was left to it, but for deliveries in flight. Returns how many deliveries were moved.
    pub(crate) fn heed_requests(&self, now_ms: i64) -> Result<usize> {
        // The host asks often: it must not write to the disk for that.
        let is_idle = self
            .connection
            .prepare_cached(
                "SELECT 1 FROM requests q WHERE NOT EXISTS (
                     SELECT 1 FROM deliveries x
                     WHERE x.destination = q.destination AND x.revision = q.revision AND x.state = 'in_flight') LIMIT 1",
            )
            .and_then(|mut statement| statement.exists([]).map(|exists| !exists))
            .map_err(|error| self.error(error))?;
        if is_idle {
            return Ok(0);
        }
        self.transaction(|t| {
            let waiting: Vec<(i64, Option<Request>, (i64, i64))> = t
                .prepare_cached("SELECT id, wish, who, reason, destination, revision FROM requests ORDER BY id")?
                .query_map([], |row| {
                    let wish = Wish::of_name(row.get_ref(1)?.as_str()?);
                    let (who, reason) = (row.get(2)?, row.get(3)?);
                    let request = wish.map(|wish| Request { wish, who, reason });
                    Ok((row.get(0)?, request, (row.get(4)?, row.get(5)?)))
                })?
                .collect::<rusqlite::Result<_>>()?;
            let mut done = 0;
            for (id, request, delivery) in waiting {
                let answer = match request {
                    Some(request) => grant(t, &request, delivery, true, now_ms)?,
                    // A wish that this host does not know is nobody's.
                    None => Answer::Moot,
                };
                done += usize::from(answer == Answer::Done);
                if answer != Answer::Waits {
                    t.prepare_cached("DELETE FROM requests WHERE id = ?1")?.execute([id])?;
                }
            }
            Ok(done)
        })
    }
}

/// Moves one delivery, with its history. `at_work`: a host may have it in flight.
fn grant(
    t: &Transaction<'_>,
    request: &Request,
    (destination, revision): (i64, i64),
    at_work: bool,
    now_ms: i64,
) -> rusqlite::Result<Answer> {
    let state: Option<String> = t
        .prepare_cached("SELECT state FROM deliveries WHERE destination = ?1 AND revision = ?2")?
        .query_row([destination, revision], |row| row.get(0))
        .optional()?;
    let Some(state) = state.filter(|state| request.wish.is_for(state)) else { return Ok(Answer::Moot) };
    if state == "in_flight" && at_work {
        return Ok(Answer::Waits);
    }
    let (event, message) = match request.wish {
        Wish::Retry => {
            t.prepare_cached(
                "UPDATE deliveries SET state = 'pending', message = '', tries = 0, strikes = 0, deferred = 0, told = 0,
                     changed_ms = ?3
                 WHERE destination = ?1 AND revision = ?2",
            )?
            .execute(params![destination, revision, now_ms])?;
            ("retried", format!("by {}", request.who))
        }
        Wish::Discard => {
            let message = format!("{} (by {})", request.reason, request.who);
            t.prepare_cached(
                "UPDATE deliveries SET state = 'discarded', message = ?3, changed_ms = ?4
                 WHERE destination = ?1 AND revision = ?2",
            )?
            .execute(params![destination, revision, message, now_ms])?;
            ("discarded", message)
        }
    };
    t.prepare_cached("INSERT INTO history (at_ms, destination, revision, event, message) VALUES (?1, ?2, ?3, ?4, ?5)")?
        .execute(params![now_ms, destination, revision, event, message])?;
    Ok(Answer::Done)
}

#[cfg(test)]
mod tests {
    use litmus_core::Status;

    use super::super::tests::{destination, found, summary};
    use super::super::{Selection, Settled, Settlement};
    use super::*;

    fn settled(to: Settlement) -> Settled {
        Settled { to, status: Status::Data, message: "no".into(), receipt: None }
    }

    fn take(ledger: &Ledger, id: i64) -> Vec<i64> {
        let taken = ledger.take(id, &Selection::default(), 10, u64::MAX, 0).unwrap();
        taken.iter().map(|run| run.revision).collect()
    }

    fn request(wish: Wish) -> Request {
        Request { wish, who: "ann".into(), reason: "scrap".into() }
    }

    fn history(ledger: &Ledger) -> Vec<(String, String)> {
        let mut statement = ledger.connection.prepare("SELECT event, message FROM history ORDER BY id").unwrap();
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        rows.collect::<rusqlite::Result<_>>().unwrap()
    }

    #[test]
    fn a_retried_run_starts_over_and_a_discarded_one_is_settled() {
        let ledger = Ledger::in_memory();
        let id = ledger.register(&destination("db"), 0).unwrap();
        ledger.record(&[found("a", summary(1, 1)), found("b", summary(2, 2))], 0).unwrap();
        ledger.backfill(id, 0).unwrap();
        assert_eq!(take(&ledger, id), [1, 2]);
        ledger.settle(id, &[(1, settled(Settlement::Struck)), (2, settled(Settlement::Quarantined))], 0).unwrap();
        ledger.release(id, 1, 0).unwrap();
        assert_eq!(take(&ledger, id), [1]);
        ledger.settle(id, &[(1, settled(Settlement::Quarantined))], 0).unwrap();
        let all = ledger.asked(None, None).unwrap();
        assert_eq!(all.len(), 2);
        assert_eq!(ledger.asked(None, Some("other")).unwrap().len(), 0);

        ledger.request(&request(Wish::Retry), &all[..1], 7).unwrap();
        ledger.request(&request(Wish::Discard), &all[1..], 7).unwrap();
        assert_eq!(ledger.heed_requests(8).unwrap(), 2);
        assert_eq!(ledger.heed_requests(8).unwrap(), 0, "each is done once");
        let told = history(&ledger).split_off(3);
        let told: Vec<_> = told.iter().map(|(event, message)| (event.as_str(), message.as_str())).collect();
        assert_eq!(told, [("retried", "by ann"), ("discarded", "scrap (by ann)")]);
        let again = ledger.take(id, &Selection::default(), 10, u64::MAX, 0).unwrap();
        assert_eq!(again.iter().map(|run| (run.revision, run.tries, run.strikes)).collect::<Vec<_>>(), [(1, 0, 0)]);
        assert_eq!(ledger.states(id)[1].1, "discarded");
    }

    #[test]
    fn what_is_in_flight_is_discarded_only_once_it_has_ended() {
        let ledger = Ledger::in_memory();
        let id = ledger.register(&destination("db"), 0).unwrap();
        let runs: Vec<_> = (1..=3).map(|n| found(&n.to_string(), summary(n, n))).collect();
        ledger.record(&runs, 0).unwrap();
        ledger.backfill(id, 0).unwrap();
        assert_eq!(take(&ledger, id), [1, 2, 3]);
        for seed in 1..=2 {
            let run = ledger.asked(Some(RunId::from_bytes([seed; 16])), None).unwrap();
            ledger.request(&request(Wish::Discard), &run, 0).unwrap();
        }
        assert_eq!(ledger.heed_requests(0).unwrap(), 0);
        let states = |ledger: &Ledger| ledger.states(id).into_iter().map(|(_, state)| state).collect::<Vec<_>>();
        assert_eq!(states(&ledger), ["in_flight", "in_flight", "in_flight"]);
        ledger.settle(id, &[(1, settled(Settlement::Pending)), (2, settled(Settlement::Committed))], 0).unwrap();
        assert_eq!(ledger.heed_requests(0).unwrap(), 1, "what has arrived is not discarded");
        assert_eq!(states(&ledger), ["discarded", "committed", "in_flight"]);
        // Without a host nothing is in flight, whatever a dead one left behind.
        let left = ledger.asked(Some(RunId::from_bytes([3; 16])), None).unwrap();
        assert_eq!(ledger.grant(&request(Wish::Discard), &left, 0).unwrap(), 1);
        assert_eq!(states(&ledger)[2], "discarded");
    }
}
