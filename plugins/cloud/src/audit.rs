//! What the destination holds of runs that are asked about by id only: their keys are found in a listing, then each
//! object is looked at.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use litmus_core::{Audit, Held, RunId, SinkError};

use crate::config::{AuditBy, Settings};
use crate::note::Note;

/// A listing is used again while its age is below its cost times this: asking for many runs, batch by batch, costs a
/// tenth more at most.
const AGE_FOR_COST: u32 = 10;
/// A UUID as text.
const RUN_ID_BYTES: usize = 36;

/// Where the objects of each run are, as of the last listing and of what was delivered since.
#[derive(Debug, Default)]
pub(crate) struct Index(Mutex<Listing>);

#[derive(Debug, Default)]
struct Listing {
    keys: HashMap<RunId, BTreeSet<String>>,
    taken: Option<(Instant, Duration)>,
}

impl Index {
    fn listing(&self) -> MutexGuard<'_, Listing> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A run was delivered there.
    pub(crate) fn add(&self, run_id: RunId, key: String) {
        self.listing().keys.entry(run_id).or_default().insert(key);
    }

    fn keys_of(&self, run_id: RunId) -> Vec<String> {
        self.listing().keys.get(&run_id).into_iter().flatten().cloned().collect()
    }

    fn is_fresh(&self) -> bool {
        self.listing().taken.is_some_and(|(at, cost)| at.elapsed() < cost * AGE_FOR_COST)
    }

    /// A new listing where one of these runs is not in the old one.
    pub(crate) async fn look_up(&self, settings: &Settings, run_ids: &[RunId]) -> Result<(), SinkError> {
        let is_known = |run_id: &RunId| self.listing().keys.contains_key(run_id);
        if self.is_fresh() || run_ids.iter().all(is_known) { Ok(()) } else { self.renew(settings).await }
    }

    async fn renew(&self, settings: &Settings) -> Result<(), SinkError> {
        let began = Instant::now();
        let mut keys: HashMap<RunId, BTreeSet<String>> = HashMap::new();
        let mut unnamed = Vec::new();
        let names_the_run = settings.template.names_the_run();
        settings
            .store
            .keys(&mut |key| {
                if !names_the_run {
                    return unnamed.push(key);
                }
                for run_id in named_in(&key) {
                    keys.entry(run_id).or_default().insert(key.clone());
                }
            })
            .await?;
        // Without the run's id in its key, every object has to be asked.
        for key in unnamed {
            if let Some(note) = settings.store.stat(&key).await?.and_then(|object| object.note)
                && note.rank.is_some()
            {
                keys.entry(note.run_id).or_default().insert(key);
            }
        }
        *self.listing() = Listing { keys, taken: Some((Instant::now(), began.elapsed())) };
        Ok(())
    }
}

/// The run ids in a key; not those of the folders of attachments.
fn named_in(key: &str) -> Vec<RunId> {
    let is_start = |at: usize| key.as_bytes()[at + 8] == b'-' && key.as_bytes()[at + 13] == b'-';
    let starts =
        (0..=key.len().saturating_sub(RUN_ID_BYTES)).filter(|at| at + RUN_ID_BYTES <= key.len() && is_start(*at));
    starts
        .filter_map(|at| {
            let run_id = key.get(at..at + RUN_ID_BYTES)?.parse().ok()?;
            let rest = &key[at + RUN_ID_BYTES..];
            (!rest.contains("_ref/") && !rest.contains("_files/")).then_some(run_id)
        })
        .collect()
}

/// What is there of one run that was looked up: of several revisions the one that ranks highest.
pub(crate) async fn audit_run(settings: &Settings, index: &Index, run_id: RunId) -> Result<Audit, SinkError> {
    let mut best: Option<(Held, String)> = None;
    for key in index.keys_of(run_id) {
        let note = settings.store.stat(&key).await?.and_then(|object| object.note);
        let held = note.filter(|note| note.run_id == run_id).as_ref().and_then(Note::held);
        if let Some(held) = held
            && best.as_ref().is_none_or(|(there, _)| held.rank > there.rank)
        {
            best = Some((held, key));
        }
    }
    let sha256 = match best {
        None => None,
        Some((held, _)) if settings.audit == AuditBy::Stat => Some(held.sha256),
        Some((_, key)) => settings.store.sha256(&key).await?,
    };
    Ok(Audit { run_id, sha256, tables: BTreeMap::new(), conversions: BTreeMap::new() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn run_ids_are_found_wherever_the_template_put_them() {
        let id = "0b54660c-1111-4222-8333-123456789abc";
        let found = |key: &str| named_in(key).iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(found(&format!("test_results/SN/{id}.parquet")), [id]);
        assert_eq!(found(id), [id]);
        assert_eq!(found(&format!("x-{id}-y/{id}.{}.parquet", "a".repeat(64))), [id, id]);
        assert_eq!(found(&format!("t/SN/{id}_ref/wave.npz")), Vec::<String>::new());
        assert_eq!(found("short"), Vec::<String>::new());
        assert_eq!(found("éééééééééééééééééééé-ééé-ééé-é"), Vec::<String>::new());
    }
}
