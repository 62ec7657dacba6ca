//! Exactly once in effect: repetition, revisions, several at once.

use std::thread;

use litmus_core::abi::host::{Instance, RunSource};
use litmus_core::reader::Store;
use litmus_core::{RetryClass, Status};

use crate::bench::{Bench, Delivered, call, deliver, holds};
use crate::case::{Broken, Case, Need};
use crate::rewrite;
use crate::source::Source;

/// Threads that deliver the same runs at once, where the plugin allows as many.
const THREADS_MAX: u32 = 8;
/// How often a delivery that met another one is tried again.
const TRIES_MAX: usize = 20;

const ONCE: &str = "a run that arrives again, for whatever reason, leaves one: exactly once in effect";
const SETTLE: &str = "two revisions of a run settle on the same one in either order";

pub(super) const CASES: &[Case] = &[
    Case {
        group: "exactly once",
        name: "redeliver_is_already_present",
        description: "the same batch again changes nothing and says so",
        guarantee: ONCE,
        needs: &[Need::Dedup],
        run: redeliver,
    },
    Case {
        group: "exactly once",
        name: "redeliver_after_reopen_is_already_present",
        description: "the same batch again after close and open, as after a lost ledger",
        guarantee: ONCE,
        needs: &[Need::Dedup],
        run: redeliver_after_reopen,
    },
    Case {
        group: "exactly once",
        name: "redeliver_from_threads",
        description: "the same runs from several threads of one instance: each is delivered once",
        guarantee: ONCE,
        needs: &[Need::Dedup, Need::Concurrent],
        run: redeliver_from_threads,
    },
    Case {
        group: "exactly once",
        name: "redeliver_from_two_instances",
        description: "the same runs from two instances at once, in one order and in opposite ones, as two hosts would: each is delivered once",
        guarantee: ONCE,
        needs: &[Need::Dedup],
        run: redeliver_from_two_instances,
    },
    Case {
        group: "exactly once",
        name: "run_twice_in_a_batch",
        description: "one run twice in one batch is delivered once",
        guarantee: ONCE,
        needs: &[Need::Dedup],
        run: twice_in_a_batch,
    },
    Case {
        group: "exactly once",
        name: "higher_revision_replaces",
        description: "the real end replaces the aborted revision, rows and all",
        guarantee: SETTLE,
        needs: &[Need::Dedup, Need::Audit],
        run: higher_replaces,
    },
    Case {
        group: "exactly once",
        name: "lower_revision_is_superseded",
        description: "the aborted revision after the real end is answered `superseded` and changes nothing",
        guarantee: SETTLE,
        needs: &[Need::Dedup, Need::Audit],
        run: lower_is_superseded,
    },
    Case {
        group: "exactly once",
        name: "lineage_beats_rank",
        description: "a revision that names the one held as its predecessor replaces it, whatever its rank",
        guarantee: "a file replaced at its path replaces its rows",
        needs: &[Need::Dedup, Need::Audit],
        run: lineage_beats_rank,
    },
    Case {
        group: "exactly once",
        name: "older_revision_stays_away",
        description: "a revision that was named as the predecessor of what is there does not come back, whatever its rank",
        guarantee: SETTLE,
        needs: &[Need::Dedup, Need::Audit],
        run: older_stays_away,
    },
    Case {
        group: "exactly once",
        name: "force_replaces",
        description: "`force` replaces a higher revision",
        guarantee: "an operator can put a revision back",
        needs: &[Need::Dedup, Need::Audit],
        run: force_replaces,
    },
];

fn older_stays_away(bench: &Bench) -> Result<(), Broken> {
    let [aborted, ended] = revisions(bench)?;
    let instance = bench.open("destination")?;
    // One host saw the file replaced by a revision of lower rank; another one still has the older file, of higher rank.
    let replacing = [aborted.superseding(&ended)];
    deliver(&instance, std::slice::from_ref(&ended)).all(Status::Delivered, std::slice::from_ref(&ended))?;
    deliver(&instance, &replacing).all(Status::Delivered, &replacing)?;
    deliver(&instance, std::slice::from_ref(&ended)).all(Status::Superseded, std::slice::from_ref(&ended))?;
    holds(&instance, &replacing)
}

fn redeliver(bench: &Bench) -> Result<(), Broken> {
    let (instance, runs) = (bench.open("destination")?, bench.few_runs(12)?);
    deliver(&instance, &runs).all(Status::Delivered, &runs)?;
    deliver(&instance, &runs).all(Status::AlreadyPresent, &runs)?;
    holds_where_audited(bench, &instance, &runs)
}

fn redeliver_after_reopen(bench: &Bench) -> Result<(), Broken> {
    let (instance, runs) = (bench.open("destination")?, bench.few_runs(12)?);
    deliver(&instance, &runs).all(Status::Delivered, &runs)?;
    instance.close(&call(&|| false)).map_err(|error| format!("close: {error}"))?;
    let instance = bench.open("destination")?;
    deliver(&instance, &runs).all(Status::AlreadyPresent, &runs)?;
    holds_where_audited(bench, &instance, &runs)
}

fn redeliver_from_threads(bench: &Bench) -> Result<(), Broken> {
    let (instance, runs) = (bench.open("destination")?, bench.few_runs(12)?);
    let threads = bench.capabilities().max_concurrent_delivers.min(THREADS_MAX);
    let statuses = thread::scope(|scope| {
        let started: Vec<_> = (0..threads).map(|_| scope.spawn(|| until_final(&instance, &runs))).collect();
        started.into_iter().map(|thread| thread.join().expect("no delivery panics")).collect::<Result<Vec<_>, _>>()
    })?;
    once_each(&statuses, &runs)?;
    holds_where_audited(bench, &instance, &runs)
}

fn redeliver_from_two_instances(bench: &Bench) -> Result<(), Broken> {
    let runs = bench.few_runs(12)?;
    // In one order they meet at every run; in opposite ones each can hold what the other waits for.
    for (destination, turned) in [("in-order", false), ("turned", true)] {
        let (a, b) = (bench.open(destination)?, bench.open(destination)?);
        let mut of_b_runs = runs.clone();
        if turned {
            of_b_runs.reverse();
        }
        let (of_a, of_b) = thread::scope(|scope| {
            let of_b = scope.spawn(|| until_final(&b, &of_b_runs));
            (until_final(&a, &runs), of_b.join().expect("no delivery panics"))
        });
        let mut of_b = of_b?;
        if turned {
            of_b.reverse();
        }
        once_each(&[of_a?, of_b], &runs).map_err(|why| format!("{destination}: {why}"))?;
        holds_where_audited(bench, &a, &runs)?;
    }
    Ok(())
}

/// Delivers until every run has a final status, as the host would.
pub(super) fn until_final(instance: &Instance, runs: &[Source]) -> Result<Vec<Status>, Broken> {
    let mut statuses = vec![None; runs.len()];
    for _ in 0..TRIES_MAX {
        let open: Vec<_> = (0..runs.len()).filter(|at| statuses[*at].is_none()).collect();
        let batch: Vec<_> = open.iter().map(|at| runs[*at].clone()).collect();
        let delivered = deliver(instance, &batch);
        for (at, place) in open.into_iter().enumerate() {
            match delivered.status(at) {
                Some(status) if status.class() == RetryClass::Final => statuses[place] = Some(status),
                Some(status) if status.class() != RetryClass::Retry => {
                    return Err(format!("{}: {status} beside another delivery", batch[at].name()));
                }
                _ => (),
            }
        }
        if statuses.iter().all(Option::is_some) {
            return Ok(statuses.into_iter().flatten().collect());
        }
        thread::sleep(std::time::Duration::from_millis(50));
    }
    Err(format!("after {TRIES_MAX} tries beside another delivery, runs are not delivered"))
}

/// Broken unless every run was delivered by exactly one, and found there by the others.
fn once_each(by_deliverer: &[Vec<Status>], runs: &[Source]) -> Result<(), Broken> {
    for (at, run) in runs.iter().enumerate() {
        let statuses: Vec<_> = by_deliverer.iter().map(|statuses| statuses[at]).collect();
        let delivered = statuses.iter().filter(|status| **status == Status::Delivered).count();
        let present = statuses.iter().filter(|status| **status == Status::AlreadyPresent).count();
        if delivered != 1 || delivered + present != statuses.len() {
            return Err(format!("{}: its deliveries ended as {statuses:?}", run.name()));
        }
    }
    Ok(())
}

fn twice_in_a_batch(bench: &Bench) -> Result<(), Broken> {
    let (instance, runs) = (bench.open("destination")?, bench.few_runs(3)?);
    let batch = [&runs[..], &runs[..1]].concat();
    let delivered: Delivered = deliver(&instance, &batch);
    let mut of_first = [delivered.status(0), delivered.status(3)];
    of_first.sort_by_key(|status| status.map(Status::number));
    if of_first != [Some(Status::Delivered), Some(Status::AlreadyPresent)] {
        return Err(format!("{}: its two places ended as {of_first:?}", runs[0].name()));
    }
    holds_where_audited(bench, &instance, &runs)
}

/// A run as it was sealed `aborted`, and as it ended, at the same path.
fn revisions(bench: &Bench) -> Result<[Source; 2], Broken> {
    let original = bench.few_runs(1)?.remove(0);
    let sealed = std::path::absolute(bench.folder("revisions")?).map_err(|error| error.to_string())?;
    let copy = sealed.join("original.parquet");
    original.copy_to(&copy)?;
    let revision = |outcome: &str| {
        let path = std::path::PathBuf::from(format!("runs/{outcome}.parquet"));
        rewrite::with_texts(&copy, &sealed.join(&path), &[("run_outcome", outcome)]);
        Source::open(&Store::open(&sealed).map_err(|error| error.to_string())?, &path)
    };
    let [aborted, ended] = [revision("aborted")?, revision("failed")?];
    assert!(ended.rank() > aborted.rank() && ended.run_id() == aborted.run_id(), "the suite's own revisions rank");
    Ok([aborted, ended])
}

/// Delivers one revision after the other and looks which one is there.
fn settle(bench: &Bench, first: &Source, then: &Source, expected: Status, held: &Source) -> Result<(), Broken> {
    let instance = bench.open("destination")?;
    let batch = std::slice::from_ref(first);
    deliver(&instance, batch).all(Status::Delivered, batch)?;
    let batch = std::slice::from_ref(then);
    deliver(&instance, batch).all(expected, batch)?;
    holds(&instance, std::slice::from_ref(held))
}

fn higher_replaces(bench: &Bench) -> Result<(), Broken> {
    let [aborted, ended] = revisions(bench)?;
    settle(bench, &aborted, &ended, Status::Delivered, &ended)
}

fn lower_is_superseded(bench: &Bench) -> Result<(), Broken> {
    let [aborted, ended] = revisions(bench)?;
    settle(bench, &ended, &aborted, Status::Superseded, &ended)
}

fn lineage_beats_rank(bench: &Bench) -> Result<(), Broken> {
    let [aborted, ended] = revisions(bench)?;
    let aborted = aborted.superseding(&ended);
    settle(bench, &ended, &aborted, Status::Delivered, &aborted)
}

fn force_replaces(bench: &Bench) -> Result<(), Broken> {
    let [aborted, ended] = revisions(bench)?;
    let aborted = aborted.forced();
    settle(bench, &ended, &aborted, Status::Delivered, &aborted)
}

/// The rows are counted by the audit where there is one.
fn holds_where_audited(bench: &Bench, instance: &Instance, runs: &[Source]) -> Result<(), Broken> {
    if bench.capabilities().audit { holds(instance, runs) } else { Ok(()) }
}
