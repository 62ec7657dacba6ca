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

/// Reading and writing small runs is to a third allocation, in the plugins as much as here. The `override` feature makes
/// the program's `malloc` this one, so that plugins and the C libraries in them share it without knowing.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    cli::run()
}
