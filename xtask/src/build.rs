//! `cargo xtask build`: the host, and every plugin where the host beside it looks.

use std::fs;
use std::path::Path;

use crate::workspace::{PluginFolder, Profile, plugins};
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

/// The host and every plugin.
pub(crate) fn all(profile: Profile) -> Result<()> {
    package("litmus-host", profile)?;
    plugins()?.iter().try_for_each(|folder| plugin(folder, profile))
}

/// One package. Each is built by a call of its own: together, cargo would give the plugins the features that only the
/// host wants of litmus-core.
pub(crate) fn package(name: &str, profile: Profile) -> Result<()> {
    process::run(process::cargo(["build", "--quiet", "--package", name]).args(profile.arguments()))
}

/// One plugin, built and laid into `plugins/` beside the host.
pub(crate) fn plugin(folder: &PluginFolder, profile: Profile) -> Result<()> {
    package(&folder.package(), profile)?;
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
