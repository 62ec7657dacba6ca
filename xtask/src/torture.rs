//! `cargo xtask torture`: the kill loops by the hundred, and the simulation by the million. `test` runs the same ones, fewer.

use crate::workspace::Profile;
use crate::{Result, build, process};

#[derive(clap::Args)]
pub(crate) struct Options {
    /// How often the host is killed
    #[arg(long, default_value_t = 200)]
    rounds: u32,
    /// How often the server of the postgres sink is
    #[arg(long, default_value_t = 50)]
    server_rounds: u32,
    /// Start of the random numbers; a failing round prints its own
    #[arg(long)]
    seed: Option<u64>,
    /// Schedules of the simulation, in an optimised build
    #[arg(long, default_value_t = 1_000_000)]
    schedules: u64,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    build::with_tests()?;
    // The tests of the postgres sink are one program; only its kill loops are wanted here.
    for (tests, filter) in [(&["kill", "syslog_kill", "cloud_kill"][..], ""), (&["postgres"], "kills::")] {
        let tests = tests.iter().flat_map(|test| ["--test", test]);
        let mut command = process::cargo(["test", "--workspace"]);
        command.args(tests).arg("--").arg("--nocapture").args((!filter.is_empty()).then_some(filter));
        command.env("LITMUS_ARTIFACTS", Profile::Debug.folder()).env("LITMUS_KILL_ROUNDS", options.rounds.to_string());
        command.env("LITMUS_SERVER_KILL_ROUNDS", options.server_rounds.to_string());
        if let Some(seed) = options.seed {
            command.env("LITMUS_KILL_SEED", seed.to_string());
        }
        process::run(&mut command)?;
    }
    simulate(options)
}

fn simulate(options: &Options) -> Result<()> {
    let from = options.seed.unwrap_or(0);
    let mut command =
        process::cargo(["test", "--release", "--package", "litmus-host", "simulation", "--", "--nocapture"]);
    command.env("LITMUS_SIM_SEEDS", format!("{from}..{}", from + options.schedules));
    process::run(&mut command)
}
