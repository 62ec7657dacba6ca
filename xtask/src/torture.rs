//! `cargo xtask torture`: the kill loops, by the hundred. `test` runs the same ones ten times.

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
}

pub(crate) fn run(options: &Options) -> Result<()> {
    build::with_tests()?;
    let mut command =
        process::cargo(["test", "--workspace", "--test", "kill", "--test", "syslog_kill", "--", "--nocapture"]);
    command.env("LITMUS_ARTIFACTS", Profile::Debug.folder()).env("LITMUS_KILL_ROUNDS", options.rounds.to_string());
    if let Some(seed) = options.seed {
        command.env("LITMUS_KILL_SEED", seed.to_string());
    }
    process::run(&mut command)
}
