//! A destination that is full; and, after everything, whether the destination is the source.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use litmus_core::abi::host::Instance;
use litmus_core::{RetryClass, Status};
use serde_json::json;

use crate::bench::{Bench, call, deliver, deliver_in, holds};
use crate::case::{Broken, Case, Need};
use crate::source::Source;
use crate::synth::Plan;

/// Room for files beyond the largest one there is, in the unit of `ulimit -f`: 512 bytes.
const ROOM_BLOCKS: u64 = 64;

pub(super) const CASES: &[Case] = &[
    Case {
        group: "faults",
        name: "destination_is_full",
        description: "files cannot grow: no run is blamed or half there, and once they can everything arrives",
        guarantee: "a destination that is full holds runs up, blames none and loses none",
        needs: &[Need::WritesFiles, Need::Dedup, Need::Audit],
        run: is_full,
    },
    Case {
        group: "final",
        name: "final_destination_is_the_source",
        description: "every real run file, sent by two instances with cancellations and repetitions, is there once and whole",
        guarantee: "after everything, the destination is the source",
        needs: &[Need::Dedup, Need::Audit],
        run: destination_is_the_source,
    },
];

fn large() -> [Plan; 3] {
    let plan = |number| {
        Plan::new(number, 20_000).with_numbers("out_noise", move |row| {
            Some(((row as u64 + number as u64) | 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) as f64)
        })
    };
    [plan(11), plan(12), plan(13)]
}

/// Delivers where the suite has set a limit, and prints each status.
pub(super) fn step(bench: &Bench, destination: &str) -> Result<(), Broken> {
    let instance = bench.open(destination)?;
    // Sealed before there was a limit.
    let runs = bench.made_before(&large())?;
    let delivered = deliver(&instance, &runs);
    let statuses: Vec<_> = (0..runs.len()).map(|at| delivered.status(at).map(Status::number)).collect();
    println!("{}", json!(statuses));
    Ok(())
}

fn is_full(bench: &Bench) -> Result<(), Broken> {
    let (first, runs) = (bench.few_runs(1)?, bench.made(&large())?);
    let instance = bench.open("destination")?;
    deliver(&instance, &first).all(Status::Delivered, &first)?;
    instance.close(&call(&|| false)).map_err(|error| format!("close: {error}"))?;
    let mut files: Vec<PathBuf> = Vec::new();
    crate::hand::below(&bench.folder("destination")?, &mut files).map_err(|error| error.to_string())?;
    let largest = files.iter().filter_map(|file| file.metadata().ok()).map(|stat| stat.len()).max().unwrap_or(0);
    let blocks = largest / 512 + ROOM_BLOCKS;
    if runs.iter().all(|run| run.sealed_bytes() < blocks * 512) {
        return Err(format!("the suite's own runs fit into {blocks} blocks: nothing would be tried"));
    }
    // A write past the limit is an error and not a signal: an ignored signal stays ignored in the program that follows.
    let limit = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$@\"");
    let ended = bench.step(&["sh", "-c", &limit, "sh"], "limited", "destination")?;
    let said = String::from_utf8_lossy(&ended.stdout).trim().to_owned();
    let statuses: Vec<Option<u32>> =
        serde_json::from_str(&said).map_err(|_| format!("with files that cannot grow: {said} ({})", ended.status))?;
    let mut held_up = 0;
    for (run, number) in runs.iter().zip(statuses) {
        let status = number.and_then(Status::from_number);
        match status.map(Status::class) {
            Some(RetryClass::Final) => (),
            Some(RetryClass::Retry) => held_up += 1,
            _ => return Err(format!("{}: {status:?} at a destination that is full", run.name())),
        }
    }
    if held_up == 0 {
        return Err("every run was delivered to a destination that was full".into());
    }
    let instance = bench.open("destination")?;
    holds(&instance, &first)?;
    super::exactly_once::until_final(&instance, &runs)?;
    holds(&instance, &runs)
}

fn destination_is_the_source(bench: &Bench) -> Result<(), Broken> {
    let runs = bench.runs()?;
    let turned: Vec<_> = runs.iter().rev().cloned().collect();
    let (a, b) = (bench.open("destination")?, bench.open("destination")?);
    let in_batches = |instance: &Instance, runs: &[Source], size: usize| -> Result<(), Broken> {
        for (nth, batch) in runs.chunks(size).enumerate() {
            if nth % 3 == 0 {
                let asked = AtomicU32::new(0);
                let soon = || asked.fetch_add(1, Ordering::Relaxed) >= 3;
                deliver_in(instance, batch, &call(&soon));
            }
            super::exactly_once::until_final(instance, batch)?;
        }
        Ok(())
    };
    thread::scope(|scope| {
        let other = scope.spawn(|| in_batches(&b, &turned, 7));
        in_batches(&a, &runs, 16).and(other.join().expect("no delivery panics"))
    })?;
    a.close(&call(&|| false)).map_err(|error| format!("close: {error}"))?;
    b.close(&call(&|| false)).map_err(|error| format!("close: {error}"))?;
    let instance = bench.open("destination")?;
    deliver(&instance, &runs).all(Status::AlreadyPresent, &runs)?;
    holds(&instance, &runs)
}
