//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};
use jiff::Timestamp;

use crate::config::{Flags, parse_date, parse_duration, parse_start};
use crate::engine_api::Start;

const AFTER_HELP: &str = "\
Without a command, litmus-host forwards:
  litmus-host --plugin sqlite.so --set path=out.db          all that is pending, then ends
  litmus-host --plugin sqlite.so --set path=out.db --watch  and goes on as runs are sealed
  litmus-host --config litmus-host.toml                     several stores, several sinks

Without --config and --plugin, litmus-host.toml of the working folder is read if it is there.
Environment variables (LITMUS_HOST_CONFIG, LITMUS_HOST_DATA_DIR, LITMUS_PLUGIN_PATH, …)
stand below flags and above the file; docs/configuration.md lists them.

Exit codes: 0 all done; 1 some runs could not be delivered; 2 the command or its configuration
is wrong; 3 the host itself failed.";

/// Forwards finished Litmus test runs to databases, cloud storage and syslog.
#[derive(Debug, Parser)]
#[command(name = "litmus-host", version, after_help = AFTER_HELP, max_term_width = 120)]
#[command(subcommand_help_heading = "Commands", disable_help_subcommand = true)]
pub(super) struct Cli {
    #[command(flatten)]
    pub(super) global: GlobalArgs,
    #[command(flatten)]
    pub(super) forward: ForwardArgs,
    #[command(subcommand)]
    pub(super) command: Option<Command>,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Send pending runs to the sinks (the default)
    Forward(ForwardArgs),
    /// List the runs in the data dir
    Runs(RunsArgs),
    /// Show one run whole: steps, measurements, instruments
    Show(ShowArgs),
    /// Say where each sink stands
    Status(StatusArgs),
    /// Send quarantined runs again, as if they had never failed
    Retry(RetryArgs),
    /// Give a run up: it is not sent any more
    Discard(DiscardArgs),
    /// Seal the runs that a program left in its journal when it died, as aborted
    Recover,
    /// List the plugins that are found, and say why one cannot be used
    Plugins,
    /// Check the configuration, and with --live each destination
    Check(CheckArgs),
}

/// For every command.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Global options")]
pub(super) struct GlobalArgs {
    /// The data dir of Litmus [default: as Litmus finds it]
    #[arg(long, global = true, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// The configuration file
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// A plugin to forward to; a value with a / in it is a path [may be repeated]
    #[arg(long, global = true, value_name = "NAME|PATH")]
    plugin: Vec<String>,
    /// A setting of the plugin; NAME.key=value where there are several sinks [may be repeated]
    #[arg(long, global = true, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// A folder to look for plugins in, before all others [may be repeated]
    #[arg(long, global = true, value_name = "DIR")]
    plugin_dir: Vec<PathBuf>,
    /// The folder for the ledger [default: the user's state folder]
    #[arg(long, global = true, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// How to print data
    #[arg(long, global = true, value_name = "FORMAT", value_enum, default_value_t)]
    pub(super) format: Format,
    /// How to print log lines [default: text]
    #[arg(long, global = true, value_name = "FORMAT", value_enum)]
    pub(super) log_format: Option<LogFormat>,
    /// When to use colour
    #[arg(long, global = true, value_name = "WHEN", value_enum, default_value_t)]
    pub(super) color: ColorWhen,
    /// Say more
    #[arg(short, long, global = true, action = ArgAction::Count, conflicts_with = "quiet")]
    pub(super) verbose: u8,
    /// Say less: errors and the result only
    #[arg(short, long, global = true)]
    pub(super) quiet: bool,
}

/// What to print data as.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    #[default]
    Table,
    Json,
}

/// What to print log lines as; `json`: one object a line, for collectors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum LogFormat {
    #[default]
    Text,
    Json,
}

/// When to use colour; `auto`: on a terminal, unless `NO_COLOR` is set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum ColorWhen {
    #[default]
    Auto,
    Always,
    Never,
}

#[derive(Clone, Debug, Default, PartialEq, Args)]
#[command(next_help_heading = "Options of forward")]
pub(super) struct ForwardArgs {
    /// Keep forwarding as runs are sealed
    #[arg(long)]
    pub(super) watch: bool,
    /// Say what would go where, and change nothing
    #[arg(long, conflicts_with = "watch")]
    pub(super) dry_run: bool,
    /// Only the run whose id starts so
    #[arg(long, value_name = "ID")]
    pub(super) run: Option<String>,
    /// Only runs that started then or later (UTC unless it says otherwise)
    #[arg(long, value_name = "DATE", value_parser = parse_date)]
    pub(super) since: Option<Timestamp>,
    /// What a new ledger does with runs sealed before it: now (skip them), all, or a date
    #[arg(long, value_name = "now|all|DATE", value_parser = parse_start)]
    pub(super) start: Option<Start>,
    /// End when a sink has been down for so long [default: 60s]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, conflicts_with = "watch")]
    pub(super) give_up_after: Option<Duration>,
}

#[derive(Clone, Debug, Args)]
pub(super) struct RunsArgs {
    /// Only runs that started then or later (UTC unless it says otherwise)
    #[arg(long, value_name = "DATE", value_parser = parse_date)]
    pub(super) since: Option<Timestamp>,
}

#[derive(Clone, Debug, Args)]
pub(super) struct ShowArgs {
    /// The run's id, or as much of its beginning as is unique
    #[arg(value_name = "RUN")]
    pub(super) run: String,
}

#[derive(Clone, Debug, Args)]
pub(super) struct StatusArgs {
    /// Exit with 1 when a run has been waiting for longer
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, default_value = "1h")]
    pub(super) max_age: Duration,
}

#[derive(Clone, Debug, Args)]
pub(super) struct RetryArgs {
    /// The run's id, or as much of its beginning as is unique
    #[arg(value_name = "RUN", required_unless_present = "all_quarantined")]
    pub(super) run: Option<String>,
    /// Every quarantined run
    #[arg(long, conflicts_with = "run")]
    pub(super) all_quarantined: bool,
    /// Only at this sink
    #[arg(long, value_name = "NAME")]
    pub(super) sink: Option<String>,
}

#[derive(Clone, Debug, Args)]
pub(super) struct DiscardArgs {
    /// The run's id, or as much of its beginning as is unique
    #[arg(value_name = "RUN")]
    pub(super) run: String,
    /// Why; it is kept with the run
    #[arg(long, value_name = "TEXT", value_parser = parse_reason)]
    pub(super) reason: String,
    /// Only at this sink
    #[arg(long, value_name = "NAME")]
    pub(super) sink: Option<String>,
}

fn parse_reason(text: &str) -> Result<String, String> {
    let text = text.trim();
    if text.is_empty() { Err("a reason is needed".to_owned()) } else { Ok(text.to_owned()) }
}

#[derive(Clone, Debug, Args)]
pub(super) struct CheckArgs {
    /// Ask each destination too
    #[arg(long)]
    pub(super) live: bool,
}

impl Cli {
    /// What the configuration needs of it.
    pub(super) fn flags(&self) -> Flags {
        let forward = match &self.command {
            Some(Command::Forward(forward)) => forward,
            _ => &self.forward,
        };
        Flags {
            config: self.global.config.clone(),
            data_dir: self.global.data_dir.clone(),
            state_dir: self.global.state_dir.clone(),
            plugin_dirs: self.global.plugin_dir.clone(),
            plugins: self.global.plugin.clone(),
            set: self.global.set.clone(),
            give_up_after: forward.give_up_after,
            start: forward.start,
        }
    }
}
