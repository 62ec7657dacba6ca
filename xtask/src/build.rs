//! `cargo xtask build`: the host, and every plugin where the host beside it looks.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::workspace::{PluginFolder, Profile, plugins, root};
use crate::{Result, process};

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Optimised, into target/release
    #[arg(long)]
    release: bool,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let profile = if options.release { Profile::Release } else { Profile::Debug };
    all(profile)?;
    println!("{}", profile.folder().display());
    Ok(())
}

/// The host, the conformance suite and every plugin, in one call of cargo: apart, each would get its own choice of features
/// of the libraries below, and arrow would be compiled once for each. (What ships is built apart, see `dist`.)
pub(crate) fn all(profile: Profile) -> Result<()> {
    together(&["--workspace"], profile)
}

/// The same with every test, for which the libraries below get some more features.
pub(crate) fn with_tests() -> Result<()> {
    together(&["--workspace", "--all-targets"], Profile::Debug)
}

/// The host and the plugins that a user gets; the shortest way from a fresh clone to the main job.
pub(crate) fn shipped(profile: Profile) -> Result<()> {
    let mut packages = vec!["--package".to_owned(), "litmus-host".to_owned()];
    for folder in plugins()?.iter().filter(|folder| folder.is_shipped()) {
        packages.extend(["--package".to_owned(), folder.package()]);
    }
    together(&packages.iter().map(String::as_str).collect::<Vec<_>>(), profile)
}

/// What the benchmarks of sinks run; one set for all, or some libraries would be compiled twice.
pub(crate) fn measured(profile: Profile) -> Result<()> {
    let packages = ["litmus-host", "litmus-sink-cloud", "litmus-sink-postgres", "litmus-sink-syslog", "litmus-tests"];
    together(&packages.map(|name| ["--package", name]).concat(), profile)
}

fn together(what: &[&str], profile: Profile) -> Result<()> {
    process::run(process::cargo(["build", "--quiet"]).args(what).args(profile.arguments()))?;
    for folder in plugins()? {
        if let Some(source) = folder.c_source() {
            c_plugin(&folder, &source, profile)?;
        }
    }
    for folder in plugins()?.iter().filter(|folder| folder.built(profile).exists()) {
        lay_beside_the_host(folder, profile)?;
    }
    Ok(())
}

/// One package by itself, with the features that it asks for and no others.
pub(crate) fn package(name: &str, profile: Profile) -> Result<()> {
    process::run(process::cargo(["build", "--quiet", "--package", name]).args(profile.arguments()))
}

/// One plugin by itself, laid into `plugins/` beside the host.
pub(crate) fn plugin(folder: &PluginFolder, profile: Profile) -> Result<()> {
    package(&folder.package(), profile)?;
    lay_beside_the_host(folder, profile)
}

/// One plugin written in C, with the system's compiler.
fn c_plugin(folder: &PluginFolder, source: &Path, profile: Profile) -> Result<()> {
    let compiler = std::env::var_os("CC").unwrap_or_else(|| "cc".into());
    let mut command = Command::new(compiler);
    command.args(["-std=c11", "-Wall", "-Wextra", "-Werror", "-pedantic", "-O2", "-shared", "-fPIC", "-I"]);
    command.arg(root().join("crates/litmus-core/include")).arg("-o").arg(folder.built(profile)).arg(source);
    process::run(&mut command)
}

fn lay_beside_the_host(folder: &PluginFolder, profile: Profile) -> Result<()> {
    let (from, to) = (folder.built(profile), folder.installed(profile));
    install(&from, &to).map_err(|error| format!("{} to {}: {error}", from.display(), to.display()).into())
}

/// Copies by way of a rename: a host that has the old file mapped must not see it change. Leaves an equal file alone.
fn install(from: &Path, to: &Path) -> std::io::Result<()> {
    let bytes = fs::read(from)?;
    if fs::read(to).is_ok_and(|there| there == bytes) {
        return Ok(());
    }
    fs::create_dir_all(to.parent().expect("a plugin lies in a folder"))?;
    let temporary = to.with_extension(format!("so.{}", std::process::id()));
    fs::write(&temporary, bytes)?;
    fs::rename(temporary, to)
}
