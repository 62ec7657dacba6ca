//! One sink's view of the ledgers: what is pending for it in every store.

use std::sync::{Arc, Mutex, MutexGuard};

use crate::ledger::{Backlog, Confirmed, Ledger, Pending, Result, Selection, Settled};

/// A ledger that the scan and the lanes share.
pub(crate) type SharedLedger = Arc<Mutex<Ledger>>;

/// Locks a ledger. A thread that panicked in a transaction has rolled it back: the ledger is whole.
pub(super) fn lock(ledger: &SharedLedger) -> MutexGuard<'_, Ledger> {
    ledger.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// A revision to deliver, and the store it lies in.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    /// Place in the list of stores.
    pub(crate) store: usize,
    pub(crate) run: Pending,
}

/// A sink's destination in one store's ledger.
#[derive(Debug)]
pub(crate) struct StoreQueue {
    /// Place in the list of stores.
    pub(crate) store: usize,
    pub(crate) ledger: SharedLedger,
    /// The destination's number there.
    pub(crate) id: i64,
}

/// What is pending for one sink, over all stores.
#[derive(Debug)]
pub(crate) struct SinkQueue {
    pub(crate) stores: Vec<StoreQueue>,
    pub(crate) selection: Selection,
    /// Stores take turns, so that a bench with a backlog does not hold up the others.
    turn: usize,
}

impl SinkQueue {
    pub(crate) fn new(stores: Vec<StoreQueue>, selection: Selection) -> Self {
        Self { stores, selection, turn: 0 }
    }

    /// Takes the next batch; all of it from one store.
    pub(crate) fn take(&mut self, runs_max: usize, bytes_max: u64, now_ms: i64) -> Result<Vec<Item>> {
        for _ in 0..self.stores.len() {
            let at = self.turn % self.stores.len();
            self.turn = at + 1;
            let queue = &self.stores[at];
            let runs = lock(&queue.ledger).take(queue.id, &self.selection, runs_max, bytes_max, now_ms)?;
            if !runs.is_empty() {
                return Ok(runs.into_iter().map(|run| Item { store: queue.store, run }).collect());
            }
        }
        Ok(Vec::new())
    }

    /// Writes how deliveries ended: one transaction a store.
    pub(crate) fn settle(&self, ended: &[(&Item, Settled)], now_ms: i64) -> Result<()> {
        for queue in &self.stores {
            let of_store: Vec<(i64, Settled)> = ended
                .iter()
                .filter(|(item, _)| item.store == queue.store)
                .map(|(item, settled)| (item.run.revision, settled.clone()))
                .collect();
            if !of_store.is_empty() {
                lock(&queue.ledger).settle(queue.id, &of_store, now_ms)?;
            }
        }
        Ok(())
    }

    /// Ends a run's own wait.
    pub(crate) fn release(&self, store: usize, revision: i64, now_ms: i64) -> Result<()> {
        match self.stores.iter().find(|queue| queue.store == store) {
            Some(queue) => lock(&queue.ledger).release(queue.id, revision, now_ms),
            None => Ok(()),
        }
    }

    /// Notes the destination's incarnation in every ledger; how many runs that made unconfirmed.
    pub(crate) fn confirm_incarnation(&self, incarnation: Option<&str>, now_ms: i64) -> Result<u64> {
        self.stores
            .iter()
            .try_fold(0, |sum, queue| Ok(sum + lock(&queue.ledger).confirm_incarnation(queue.id, incarnation, now_ms)?))
    }

    /// The next unconfirmed revisions; all of them from one store.
    pub(crate) fn unconfirmed(&self, max: usize) -> Result<Vec<Item>> {
        for queue in &self.stores {
            let runs = lock(&queue.ledger).unconfirmed(queue.id, max)?;
            if !runs.is_empty() {
                return Ok(runs.into_iter().map(|run| Item { store: queue.store, run }).collect());
            }
        }
        Ok(Vec::new())
    }

    /// The newest of what was committed, from every store.
    pub(crate) fn latest(&self) -> Result<Vec<Item>> {
        let mut latest = Vec::new();
        for queue in &self.stores {
            let runs = lock(&queue.ledger).latest(queue.id)?;
            latest.extend(runs.into_iter().map(|run| Item { store: queue.store, run }));
        }
        Ok(latest)
    }

    /// Everything that was committed is to be asked about; how many runs that are.
    pub(crate) fn doubt(&self, now_ms: i64) -> Result<u64> {
        self.stores.iter().try_fold(0, |sum, queue| Ok(sum + lock(&queue.ledger).doubt(queue.id, now_ms)?))
    }

    /// Whether a revision is pending that this sink never refused.
    pub(crate) fn has_untried(&self) -> Result<bool> {
        for queue in &self.stores {
            if lock(&queue.ledger).has_untried(queue.id)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Settles unconfirmed revisions.
    pub(crate) fn confirm(&self, answers: &[(&Item, Confirmed)], now_ms: i64) -> Result<()> {
        for queue in &self.stores {
            let of_store: Vec<(i64, Confirmed)> = answers
                .iter()
                .filter(|(item, _)| item.store == queue.store)
                .map(|(item, answer)| (item.run.revision, answer.clone()))
                .collect();
            if !of_store.is_empty() {
                lock(&queue.ledger).confirm(queue.id, &of_store, now_ms)?;
            }
        }
        Ok(())
    }

    /// What is left, over all stores.
    pub(crate) fn backlog(&self) -> Result<Backlog> {
        self.stores.iter().try_fold(Backlog::default(), |sum, queue| {
            let one = lock(&queue.ledger).backlog(queue.id, &self.selection)?;
            Ok(Backlog {
                pending: sum.pending + one.pending,
                waiting: sum.waiting + one.waiting,
                quarantined: sum.quarantined + one.quarantined,
                gone: sum.gone + one.gone,
                gone_untold: sum.gone_untold + one.gone_untold,
            })
        })
    }

    /// Notes in every ledger that the selection's losses have made an exit code.
    pub(crate) fn tell_gone(&self) -> Result<()> {
        self.stores.iter().try_for_each(|queue| lock(&queue.ledger).tell_gone(queue.id, &self.selection))
    }

    /// Keeps the sink's state for `status`.
    pub(crate) fn note_state(&self, state: &str, why: &str, now_ms: i64) -> Result<()> {
        self.stores.iter().try_for_each(|queue| lock(&queue.ledger).note_state(queue.id, state, why, now_ms))
    }
}
