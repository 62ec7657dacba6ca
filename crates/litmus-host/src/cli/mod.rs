//! The commands of litmus-host, and how they end.

mod args;
mod check;
mod failure;
mod forward;
mod plugins;
mod recover;
mod requests;
mod runs;
mod session;
mod show;
mod show_table;
mod status;
mod stores;

use std::io;
use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;

use args::{Cli, Command, ForwardArgs};
use failure::Failure;
use session::Session;

use crate::output::say;

/// Runs the command line of the process.
pub(crate) fn run() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return ExitCode::from(report_usage(&error)),
    };
    match execute(cli) {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            report(&failure);
            ExitCode::from(failure.code)
        }
    }
}

fn execute(cli: Cli) -> Result<u8, Failure> {
    if cli.command.is_some() && cli.forward != ForwardArgs::default() {
        return Err(Failure::wrong("options of forward stand before the command")
            .with_hint("put the command first, as in litmus-host forward --watch"));
    }
    let session = Session::open(&cli)?;
    match cli.command {
        None => forward::run(&session, &cli.forward),
        Some(Command::Forward(args)) => forward::run(&session, &args),
        Some(Command::Runs(args)) => runs::run(&session, &args),
        Some(Command::Show(args)) => show::run(&session, &args),
        Some(Command::Status(args)) => status::run(&session, &args),
        Some(Command::Retry(args)) => requests::retry(&session, &args),
        Some(Command::Discard(args)) => requests::discard(&session, &args),
        Some(Command::Recover) => recover::run(&session),
        Some(Command::Plugins) => plugins::run(&session),
        Some(Command::Check(args)) => check::run(&session, &args),
    }
}

fn report(failure: &Failure) {
    say(&format!("error: {}", failure.message));
    if let Some(hint) = &failure.hint {
        say(&format!("hint: {hint}"));
    }
}

/// Prints help and version as clap does, and errors as we do everywhere: `error:`, then `hint:`.
fn report_usage(error: &clap::Error) -> u8 {
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        // That nobody reads the help is no failure.
        let _ = error.print();
        return 0;
    }
    let text = error.render().to_string();
    let mut hinted = false;
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with("Usage:")) {
        if let Some(tip) = line.strip_prefix("  tip: ") {
            hinted = true;
            say(&format!("hint: {tip}"));
        } else if !line.starts_with("For more information") {
            say(line);
        }
    }
    if !hinted {
        say("hint: litmus-host --help lists commands and options");
    }
    failure::WRONG
}

/// The end of a command that prints data: a reader that went away (`| head`) is no failure.
fn printed(result: io::Result<()>) -> Result<(), Failure> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Err(error) => Err(Failure::host(format!("the output cannot be written: {error}"))),
        Ok(()) => Ok(()),
    }
}
