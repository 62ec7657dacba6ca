//! Recording and sealing a run of 40 measurements, beside the platform's own client, in turn.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::fresh;
use crate::compat::{RELEASES, Release};
use crate::workspace::{Profile, target};
use crate::{Result, process};

const PYTHON: &str = include_str!("record.py");
/// Runs of one turn.
const RUNS: u32 = 40;

/// Where files lie in memory, so that what is left is the programs' own time.
const MEMORY: &str = "/dev/shm";

pub(super) fn run(rounds: u32) -> Result<()> {
    process::run(&mut process::cargo(["build", "--release", "--package", "litmus-record", "--example", "timing"]))?;
    on("a disk: here with two syncs, there without", &target().join("bench/record"), rounds)?;
    if Path::new(MEMORY).is_dir() {
        let folder = Path::new(MEMORY).join(format!("litmus-bench-{}", std::process::id()));
        let result = on("memory", &folder, rounds);
        let removed = fs::remove_dir_all(&folder);
        result?;
        removed?;
    }
    Ok(())
}

fn on(what: &str, folder: &Path, rounds: u32) -> Result<()> {
    for release in RELEASES {
        let python = release.install()?;
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            fresh(folder)?;
            let mut timing = Command::new(Profile::Release.folder().join("examples/timing"));
            ours.push(answer(timing.arg(folder.join("ours")).args([release.format, &RUNS.to_string()]))?);
            theirs.push(client(release, &python, folder)?);
        }
        let of = |all: &[Value], name: &str| median(all.iter().filter_map(|one| one[name].as_f64()).collect());
        println!("{} runs of 40 measurements on {what}; {rounds} rounds in turn, medians:", release.format);
        for (what, name) in [("finish()", "seal"), ("the whole run", "whole")] {
            let (ours, theirs) = (of(&ours, name), of(&theirs, name));
            let (ours_ms, theirs_ms) = (ours * 1e3, theirs * 1e3);
            println!(
                "  {what}: {ours_ms:.2} ms; {}: {theirs_ms:.1} ms; {:.0} times faster",
                release.pin,
                theirs / ours
            );
        }
        println!("  the whole run with a journal: {:.2} ms", of(&ours, "journaled") * 1e3);
        let (ignored, kept) = (of(&ours, "ignored_ns"), of(&ours, "kept_ns"));
        println!("  a log record that fails nothing: {ignored:.0} ns; one that is kept: {kept:.0} ns");
    }
    Ok(())
}

fn client(release: &Release, python: &Path, folder: &Path) -> Result<Value> {
    let script = folder.join("record.py");
    fs::write(&script, PYTHON)?;
    answer(release.python(python).arg(&script).arg(folder.join("theirs")).arg(RUNS.to_string()))
}

fn answer(command: &mut Command) -> Result<Value> {
    let output = command.output()?;
    if !output.status.success() {
        return Err(format!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr)).into());
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

fn median(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    all.get(all.len() / 2).copied().unwrap_or(f64::NAN)
}
