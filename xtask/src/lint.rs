//! `cargo xtask lint`: what a reviewer should not have to say.

use crate::{Result, process};

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Also licences and advisories (cargo-deny) and spelling (typos); both must be installed
    #[arg(long)]
    full: bool,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    format()?;
    clippy()?;
    if options.full {
        if !process::is_installed("cargo", &["deny", "--version"]) || !process::is_installed("typos", &["--version"]) {
            return Err("cargo-deny and typos are needed\nhint: cargo install --locked cargo-deny typos-cli".into());
        }
        process::run(&mut process::cargo(["deny", "check"]))?;
        process::run(std::process::Command::new("typos").current_dir(crate::workspace::root()))?;
    }
    Ok(())
}

/// `cargo fmt --check`.
pub(crate) fn format() -> Result<()> {
    process::run(&mut process::cargo(["fmt", "--all", "--check"]))
}

/// Clippy over everything, warnings as errors.
pub(crate) fn clippy() -> Result<()> {
    let arguments = ["clippy", "--quiet", "--workspace", "--all-targets", "--", "--deny", "warnings"];
    process::run(&mut process::cargo(arguments))
}
