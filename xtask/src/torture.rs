//! `cargo xtask torture`: the kill loops by the hundred, the simulation by the million, generated stores by the hundred, runs of
//! millions of rows. `test` runs the same ones, fewer and smaller.

use std::process::Command;

use crate::workspace::Profile;
use crate::{Result, build, process};

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// kill -9 of the host and of servers
    Kills,
    /// Generated stores through the host into SQLite
    Generated,
    /// Runs, stores and ledgers as large as docs/performance.md says, in an optimised build
    Size,
    /// Schedules of the simulation, in an optimised build
    Simulation,
}

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Only these parts [default: all]
    #[arg(value_enum)]
    parts: Vec<Part>,
    /// How often the host is killed
    #[arg(long, default_value_t = 200)]
    rounds: u32,
    /// How often the server of the postgres sink is
    #[arg(long, default_value_t = 50)]
    server_rounds: u32,
    /// Start of the random numbers; a failing round prints its own
    #[arg(long)]
    seed: Option<u64>,
    /// Generated stores
    #[arg(long, default_value_t = 500)]
    stores: u64,
    /// Schedules of the simulation
    #[arg(long, default_value_t = 1_000_000)]
    schedules: u64,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let is_wanted = |part: Part| options.parts.is_empty() || options.parts.contains(&part);
    if is_wanted(Part::Kills) || is_wanted(Part::Generated) {
        build::with_tests()?;
    }
    type Run = fn(&Options) -> Result<()>;
    let parts: [(Part, Run); 4] =
        [(Part::Kills, kill), (Part::Generated, generate), (Part::Size, size), (Part::Simulation, simulate)];
    parts.iter().filter(|(part, _)| is_wanted(*part)).try_for_each(|(_, run)| run(options))
}

fn kill(options: &Options) -> Result<()> {
    // The tests of the postgres sink are one program; only its kill loops are wanted here.
    for (tests, filter) in [(&["kill", "syslog_kill", "cloud_kill"][..], ""), (&["postgres"], "kills::")] {
        let mut command = tests_of(tests, Profile::Debug);
        command.args((!filter.is_empty()).then_some(filter));
        command.env("LITMUS_KILL_ROUNDS", options.rounds.to_string());
        command.env("LITMUS_SERVER_KILL_ROUNDS", options.server_rounds.to_string());
        if let Some(seed) = options.seed {
            command.env("LITMUS_KILL_SEED", seed.to_string());
        }
        process::run(&mut command)?;
    }
    Ok(())
}

fn generate(options: &Options) -> Result<()> {
    let from = options.seed.unwrap_or(0);
    let mut command = tests_of(&["generated"], Profile::Debug);
    process::run(command.env("LITMUS_GENERATED_SEEDS", format!("{from}..{}", from + options.stores)))
}

fn size(_: &Options) -> Result<()> {
    build::all(Profile::Release)?;
    // One after the other: each is measured.
    let mut command = tests_of(&["size"], Profile::Release);
    process::run(command.arg("--test-threads=1").env("LITMUS_SIZE", "full"))
}

/// These end to end tests, against what was built with a profile.
fn tests_of(tests: &[&str], profile: Profile) -> Command {
    let mut command = process::cargo(["test", "--workspace"]);
    command.args(tests.iter().flat_map(|test| ["--test", test])).args(["--", "--nocapture"]);
    command.env("LITMUS_ARTIFACTS", profile.folder());
    command
}

fn simulate(options: &Options) -> Result<()> {
    let from = options.seed.unwrap_or(0);
    let mut command =
        process::cargo(["test", "--release", "--package", "litmus-host", "simulation", "--", "--nocapture"]);
    command.env("LITMUS_SIM_SEEDS", format!("{from}..{}", from + options.schedules));
    process::run(&mut command)
}
