//! `cargo xtask torture`: the kill loops by the hundred, and the simulation by the million. `test` runs the same ones, fewer.

use crate::workspace::Profile;
use crate::{Result, build, process};

#[derive(clap::Args)]
pub(crate) struct Options {
    /// How often the host is killed
    #[arg(long, default_value_t = 100)]
    rounds: u32,
    /// Start of the random numbers; a failing round prints its own
    #[arg(long)]
    seed: Option<u64>,
    /// Schedules of the simulation, in an optimised build
    #[arg(long, default_value_t = 1_000_000)]
    schedules: u64,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    build::with_tests()?;
    let mut command =
        process::cargo(["test", "--workspace", "--test", "kill", "--test", "cloud_kill", "--", "--nocapture"]);
    command.env("LITMUS_ARTIFACTS", Profile::Debug.folder()).env("LITMUS_KILL_ROUNDS", options.rounds.to_string());
    if let Some(seed) = options.seed {
        command.env("LITMUS_KILL_SEED", seed.to_string());
    }
    process::run(&mut command)?;
    simulate(options)
}

fn simulate(options: &Options) -> Result<()> {
    let from = options.seed.unwrap_or(0);
    let mut command =
        process::cargo(["test", "--release", "--package", "litmus-host", "simulation", "--", "--nocapture"]);
    command.env("LITMUS_SIM_SEEDS", format!("{from}..{}", from + options.schedules));
    process::run(&mut command)
}
