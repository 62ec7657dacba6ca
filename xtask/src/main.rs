//! Every developer command, as `cargo xtask COMMAND`. Knows no crate of ours: it builds them and runs what comes out.

mod bench;
mod build;
mod compat;
mod demo;
mod dist;
mod fuzz;
mod header;
mod lint;
mod mutants;
mod new_plugin;
mod process;
mod python;
mod servers;
mod test;
mod test_plugins;
mod torture;
mod wheel;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// What went wrong, for a person; the commands print it once, at the top.
type Result<T, E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

#[derive(Parser)]
#[command(bin_name = "cargo xtask", about = "Every developer command of litmus-host", disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Forward the real run files of tests/corpus into target/demo/litmus.db and show the result
    Demo,
    /// Everything CI runs: format, lints, build, tests, conformance; minutes per part and one line of counts
    Test,
    /// Put plugins through the conformance suite, through the built .so and against the real backend
    TestPlugins(test_plugins::Options),
    /// Break each promise of the conformance suite once, and see that its case notices
    Mutants(mutants::Options),
    /// Write a plugin crate that builds and passes the suite, ready to edit
    NewPlugin(new_plugin::Options),
    /// Build litmus-host and every plugin, and lay the plugins beside it as plugins/NAME.so
    Build(build::Options),
    /// Get the servers that tests start: those not installed are unpacked into target/servers
    Servers,
    /// Format and lints; with --full also cargo-deny and typos
    Lint(lint::Options),
    /// Write crates/litmus-core/include/litmus_sink.h from the ABI
    Header,
    /// kill -9 by the hundred, schedules by the million, runs and ledgers of millions of rows
    Torture(torture::Options),
    /// Fuzz the reader, from real files on; needs a nightly toolchain
    Fuzz(fuzz::Options),
    /// Measure a release build
    Bench(bench::Options),
    /// The real releases of Litmus and TesterKit read what our recorder writes
    Compat(compat::Options),
    /// A release build laid out as it installs: target/dist and a .tar.gz
    Dist,
    /// The tests of the Python package, on a debug build
    TestPython(python::Options),
    /// The Python package as a wheel, with litmus-host and the plugins in it: target/wheels
    Wheel(wheel::Options),
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Demo => demo::run(),
        Command::Test => test::run(),
        Command::TestPlugins(options) => test_plugins::run(&options),
        Command::Mutants(options) => mutants::run(&options),
        Command::NewPlugin(options) => new_plugin::run(&options),
        Command::Build(options) => build::run(&options),
        Command::Servers => servers::run(),
        Command::Lint(options) => lint::run(&options),
        Command::Header => header::run(),
        Command::Torture(options) => torture::run(&options),
        Command::Fuzz(options) => fuzz::run(&options),
        Command::Bench(options) => bench::run(&options),
        Command::Compat(options) => compat::run(&options),
        Command::Dist => dist::run(),
        Command::TestPython(options) => python::run(&options),
        Command::Wheel(options) => wheel::run(&options),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
