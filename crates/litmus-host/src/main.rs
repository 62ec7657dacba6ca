//! litmus-host: forwards finished Litmus test runs to databases, cloud storage and syslog.
//!
//! - [`cli`]: the commands. [`config`]: flags over environment over file. [`plugins`]: where plugins are looked for.
//! - [`engine`]: delivery; [`engine_api`]: what the commands and the engine say to each other.
//! - [`within`]: calls that may not come back. [`ledger`]: what is known of each file and delivery. [`output`]: tables, JSON, log, progress.

mod cli;
mod config;
mod engine;
mod engine_api;
mod ledger;
mod output;
mod plugins;
mod trust;
mod within;

fn main() -> std::process::ExitCode {
    cli::run()
}
