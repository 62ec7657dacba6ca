//! Which schedules are run, and that the simulation finds what is planted.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use super::{Bug, STEPS, Simulation};
use crate::engine::queue::SharedLedger;
use crate::ledger::Ledger;

fn ledger() -> SharedLedger {
    Arc::new(Mutex::new(Ledger::in_memory()))
}

fn simulate(seed: u64, bug: Bug, ledger: &SharedLedger) -> Result<(), String> {
    traced(seed, bug, ledger).0
}

/// How a seed ended, and what happened on the way, as a hash.
fn traced(seed: u64, bug: Bug, ledger: &SharedLedger) -> (Result<(), String>, u64) {
    let mut simulation = Simulation::new(seed, bug, Arc::clone(ledger));
    let mut run = || {
        for step in 0..STEPS {
            simulation.step().map_err(|why| format!("seed {seed}, step {step}: {why}"))?;
        }
        simulation.drain().map_err(|why| format!("seed {seed}, after the faults stopped: {why}"))
    };
    let ended = run();
    (ended, simulation.trace)
}

#[test]
fn no_schedule_of_faults_breaks_an_invariant() {
    let given = std::env::var("LITMUS_SIM_SEEDS").ok();
    let (from, to) = given
        .as_deref()
        .and_then(|given| given.split_once(".."))
        .map_or((0, 2000), |(from, to)| (from.parse().unwrap(), to.parse().unwrap()));
    let next = AtomicU64::new(from);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let broken = Mutex::new(None);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let ledger = ledger();
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= to {
                        return;
                    }
                    if let Err(why) = simulate(seed, Bug::None, &ledger) {
                        next.store(to, Ordering::Relaxed);
                        *broken.lock().unwrap() = Some((seed, why));
                    }
                }
            });
        }
    });
    if let Some((seed, why)) = broken.into_inner().unwrap() {
        panic!("{why}\nreplay: LITMUS_SIM_SEEDS={seed}..{} cargo test -p litmus-host simulation", seed + 1);
    }
    println!("{} schedules, {STEPS} steps each and then until the backlog is drained", to - from);
}

#[test]
fn planted_bugs_are_found() {
    let ledger = ledger();
    for bug in [Bug::ReportForgotten, Bug::ReceiptBeforeCommit, Bug::NeverHalfOpens] {
        let found = (0..2000).find_map(|seed| simulate(seed, bug, &ledger).err().map(|why| (seed, why)));
        let (seed, why) = found.unwrap_or_else(|| panic!("{bug:?} was not found in 2000 schedules"));
        println!("{bug:?}: {why}");
        assert!(why.starts_with(&format!("seed {seed}, ")), "{why}");
        assert_eq!(simulate(seed, bug, &ledger), Err(why), "a failing seed fails alike each time");
    }
}

#[test]
fn a_seed_replays_exactly() {
    let mut traces = BTreeSet::new();
    let used = ledger();
    for seed in 0..50 {
        // With what another schedule left in the ledger, and without.
        let first = traced(seed, Bug::None, &used);
        assert_eq!(first, traced(seed, Bug::None, &ledger()), "seed {seed}");
        traces.insert(first.1);
    }
    assert_eq!(traces.len(), 50, "each seed is a schedule of its own");
}
