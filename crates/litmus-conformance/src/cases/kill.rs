//! The host is killed at every step of a delivery.

use std::os::unix::process::ExitStatusExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use litmus_core::abi::host::{HostCall, RunSource};

use crate::bench::{Bench, audits, call, holds};
use crate::case::{Broken, Case, Need};
use crate::source::Source;

/// Kills of one case: spread over all steps, the first and the last among them.
const KILLS: u64 = 10;
const SIGKILL: i32 = 9;
/// In the batch that is killed.
const RUNS: usize = 3;

pub(super) const CASES: &[Case] = &[
    Case {
        group: "exactly once",
        name: "killed_at_every_step",
        description: "kill -9 of the host where the plugin asks, opens, reads or reports; then each run is whole or absent, and arrives once",
        guarantee: "kill -9 at any point loses nothing, halves nothing and doubles nothing",
        needs: &[Need::Dedup, Need::Audit],
        run: killed_at_every_step,
    },
    Case {
        group: "exactly once",
        name: "killed_and_every_run_shows",
        description: "kill -9 of the host where the plugin asks, opens, reads or reports; delivered again, every run shows at the backend",
        guarantee: "kill -9 at any point loses nothing",
        needs: &[Need::ReadBack],
        run: killed_and_shown,
    },
];

fn runs(bench: &Bench) -> Result<Vec<Source>, Broken> {
    bench.few_runs(RUNS)
}

/// Delivers, and dies at a step; at 0 it lives, and prints how many steps there were.
pub(super) fn step(bench: &Bench, destination: &str, die_at: u64) -> Result<(), Broken> {
    let steps = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&steps);
    let step = Arc::new(move || {
        if counted.fetch_add(1, Ordering::SeqCst) + 1 == die_at {
            let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        }
    });
    let instance = bench.open(destination)?;
    let told: crate::source::Step = step.clone();
    let batch: Vec<Arc<dyn RunSource>> =
        runs(bench)?.into_iter().map(|run| Arc::new(run.telling(Arc::clone(&told))) as Arc<dyn RunSource>).collect();
    let asked = || {
        step();
        false
    };
    let host = HostCall { is_cancelled: &asked, ..call(&|| false) };
    instance.deliver(&host, &batch, &|_, _| step()).map_err(|error| error.to_string())?;
    println!("{}", steps.load(Ordering::SeqCst));
    Ok(())
}

/// Kills the host at steps from the first to the last, each time at a destination of its own, and looks what that left.
fn each_kill(bench: &Bench, look: impl Fn(&str) -> Result<(), Broken>) -> Result<(), Broken> {
    let whole = bench.step(&[], "die-at:0", "whole")?;
    let said = String::from_utf8_lossy(&whole.stdout).trim().to_owned();
    let steps: u64 = said.parse().map_err(|_| format!("the delivery to be killed does not work: {said}"))?;
    if steps < RUNS as u64 {
        return Err(format!("the plugin asked, opened, read and reported {steps} times in all"));
    }
    let mut places: Vec<u64> = (0..KILLS).map(|nth| 1 + nth * (steps - 1) / (KILLS - 1)).collect();
    places.dedup();
    let mut killed = 0;
    for place in places {
        let destination = format!("killed-{place}");
        let ended = bench.step(&[], &format!("die-at:{place}"), &destination)?;
        match ended.status.signal() {
            Some(SIGKILL) => killed += 1,
            // It took fewer steps this time.
            None if ended.status.success() => (),
            _ => return Err(format!("killed at step {place}: {}", String::from_utf8_lossy(&ended.stdout))),
        }
        look(&destination).map_err(|why| format!("after a kill at step {place} of {steps}: {why}"))?;
    }
    if killed > 0 { Ok(()) } else { Err("no kill was at a step: nothing was tried".into()) }
}

fn killed_at_every_step(bench: &Bench) -> Result<(), Broken> {
    let runs = runs(bench)?;
    each_kill(bench, |destination| {
        let instance = bench.open(destination)?;
        let there: Vec<_> = {
            let found = audits(&instance, &runs)?;
            let is_there = |run: &&Source| found.get(&run.run_id()).is_some_and(|audit| audit.sha256.is_some());
            runs.iter().filter(is_there).cloned().collect()
        };
        holds(&instance, &there)?;
        super::exactly_once::until_final(&instance, &runs)?;
        holds(&instance, &runs)
    })
}

/// The host that was killed has noted nothing, so the next one delivers every run.
fn killed_and_shown(bench: &Bench) -> Result<(), Broken> {
    let runs = runs(bench)?;
    each_kill(bench, |destination| {
        let instance = bench.open(destination)?;
        super::exactly_once::until_final(&instance, &runs)?;
        instance.close(&call(&|| false)).map_err(|error| format!("close: {error}"))?;
        super::read_back::show(bench, destination, &runs, &[])
    })
}
