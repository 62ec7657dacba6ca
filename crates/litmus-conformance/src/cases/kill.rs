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

pub(super) const CASES: &[Case] = &[Case {
    group: "exactly once",
    name: "killed_at_every_step",
    description: "kill -9 of the host where the plugin asks, opens, reads or reports; then each run is whole or absent, and arrives once",
    guarantee: "kill -9 at any point loses nothing, halves nothing and doubles nothing",
    needs: &[Need::Dedup, Need::Audit],
    run: killed_at_every_step,
}];

fn runs(bench: &Bench) -> Result<Vec<Source>, Broken> {
    bench.few_runs(3)
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

fn killed_at_every_step(bench: &Bench) -> Result<(), Broken> {
    let runs = runs(bench)?;
    let whole = bench.step(&[], "die-at:0", "whole")?;
    let said = String::from_utf8_lossy(&whole.stdout).trim().to_owned();
    let steps: u64 = said.parse().map_err(|_| format!("the delivery to be killed does not work: {said}"))?;
    if steps < runs.len() as u64 {
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
        let of_step = |why: Broken| format!("after a kill at step {place} of {steps}: {why}");
        let instance = bench.open(&destination).map_err(of_step)?;
        let there: Vec<_> = {
            let found = audits(&instance, &runs).map_err(of_step)?;
            let is_there = |run: &&Source| found.get(&run.run_id()).is_some_and(|audit| audit.sha256.is_some());
            runs.iter().filter(is_there).cloned().collect()
        };
        holds(&instance, &there).map_err(of_step)?;
        super::exactly_once::until_final(&instance, &runs).map_err(of_step)?;
        holds(&instance, &runs).map_err(of_step)?;
    }
    if killed > 0 { Ok(()) } else { Err("no kill was at a step: nothing was tried".into()) }
}
