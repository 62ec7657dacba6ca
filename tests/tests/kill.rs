//! kill -9 of the host, at every phase of a delivery and at random moments: nothing lost, nothing doubled.
//!
//! `LITMUS_KILL_ROUNDS` says how often (10; `cargo xtask torture` kills 100 times), `LITMUS_KILL_SEED` repeats a run.

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use litmus_tests::database;
use litmus_tests::generate::{Generated, Plan, write};
use litmus_tests::project::{Ended, Project, Running};

/// The phases of a delivery, as the fail points of the host and the sink name them.
const PHASES: [&str; 6] =
    ["pending", "pulling", "before_commit", "between_commit_and_report", "between_report_and_receipt", "replacing"];
/// Runs sealed in each round, one of which is replaced.
const RUNS_PER_ROUND: u64 = 6;
/// Kills at random moments fall within this.
const RANDOM_KILL_MS_MAX: u64 = 400;

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable)
        .ok()
        .map(|text| text.parse().unwrap_or_else(|_| panic!("{variable} is a number, not {text}")))
}

#[test]
fn nothing_is_lost_or_doubled_wherever_the_host_dies() {
    let rounds = number("LITMUS_KILL_ROUNDS").unwrap_or(10).max(PHASES.len() as u64);
    let seed = number("LITMUS_KILL_SEED").unwrap_or_else(|| fastrand::u64(..));
    println!("LITMUS_KILL_SEED={seed}, {rounds} rounds");
    let mut rng = fastrand::Rng::with_seed(seed);
    let project = Project::new();
    let arguments = ["--plugin", "sqlite.so", "--set", "path=out.db"];
    let mut sealed: BTreeMap<u64, Generated> = BTreeMap::new();
    let mut hits: BTreeMap<&str, u32> = BTreeMap::new();

    for round in 0..rounds {
        // Half of them aborted, to be replaced in a later round.
        for run in 0..RUNS_PER_ROUND {
            let plan = Plan { aborted: run % 2 == 0, ..Plan::new(round * RUNS_PER_ROUND + run, rng.usize(1..60)) };
            sealed.insert(plan.number, write(&project.data_dir(), &plan));
        }
        // A revision can only be replaced at the destination once it is there.
        let earlier: Vec<_> = sealed.keys().copied().filter(|number| number / RUNS_PER_ROUND < round).collect();
        for _ in 0..2.min(earlier.len()) {
            let number = earlier[rng.usize(..earlier.len())];
            let plan = Plan { revision: 1 + round, ..Plan::new(number, rng.usize(1..60)) };
            sealed.insert(number, write(&project.data_dir(), &plan));
        }

        // In the first round there is nothing to replace yet.
        let phase = PHASES[((round + PHASES.len() as u64 - 1) % PHASES.len() as u64) as usize];
        let phase = if round == 0 { "pending" } else { phase };
        // Tables are asked for several times a pass; the other places are certain to be reached once only.
        let nth = if phase == "pulling" { rng.u32(1..=8) } else { 1 };
        let ended = Ended::of(project.command(arguments).env("LITMUS_FAILPOINT", format!("{phase}:{nth}")));
        if ended.status.signal().is_some() {
            *hits.entry(phase).or_default() += 1;
        } else {
            ended.exits(0);
        }

        // And once more, at no particular moment, on the way out of the first one.
        let mut running = Running::start(&project, &mut project.command(arguments));
        std::thread::sleep(Duration::from_millis(rng.u64(..RANDOM_KILL_MS_MAX)));
        running.kill();
        if running.wait(Duration::from_secs(10)).is_some_and(|status| status.signal() == Some(9)) {
            *hits.entry("a random moment").or_default() += 1;
        }

        project.run(arguments).exits(0);
        compare(&project, &sealed, round);
    }

    println!("killed at: {hits:?}");
    for phase in PHASES {
        assert!(hits.contains_key(phase), "no kill hit the phase {phase} in {rounds} rounds: {hits:?}");
    }
}

/// An independent client, and the truth as it was written.
fn compare(project: &Project, sealed: &BTreeMap<u64, Generated>, round: u64) {
    let connection = database::open(&project.path("out.db"));
    let runs = database::runs(&connection);
    let mut measurements = database::measurements(&connection);
    assert_eq!(runs.len(), sealed.len(), "round {round}: runs there, runs sealed");
    for run in sealed.values() {
        let there = runs.get(&run.run_id).unwrap_or_else(|| panic!("round {round}: {} is lost", run.run_id));
        assert_eq!(there.run_outcome.as_deref(), Some(run.outcome), "round {round}: {}", run.run_id);
        assert_eq!(there.serial.as_ref(), Some(&run.serial), "round {round}: {}", run.run_id);
        let found = measurements.remove(&run.run_id).unwrap_or_default();
        assert_eq!(found, run.measurements, "round {round}: measurements of {}", run.run_id);
    }
    assert_eq!(measurements.keys().next(), None, "round {round}: measurements of no run");
    for (table, key) in [
        ("measurements", "run_id, row_index, measurement_index"),
        ("steps", "run_id, row_index"),
        ("litmus_deliveries", "run_id"),
    ] {
        let doubled = format!("SELECT count(*) FROM (SELECT 1 FROM {table} GROUP BY {key} HAVING count(*) > 1)");
        assert_eq!(database::count(&connection, &doubled), 0, "round {round}: keys doubled in {table}");
    }
}
