//! `cargo xtask wheel`: the Python package with litmus-host and the plugins in it, so that `pip install` is all. maturin comes
//! from PyPI into a folder below `target/`; the finished wheel is installed beside it and asked to forward a run.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::workspace::{Profile, plugins, root, target};
use crate::{Result, build, process, python, servers};

const MATURIN: &str = "maturin>=1.9,<2";

#[derive(clap::Args)]
pub(crate) struct Options {
    /// From the debug build: quickly made, and large
    #[arg(long)]
    debug: bool,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let profile = if options.debug { Profile::Debug } else { Profile::Release };
    let bundled = python::source().join("python/litmus_host/dist");
    let made = bundle(profile, &bundled).and_then(|glibc| maturin(profile, glibc));
    // What is built lies in target/ only.
    if bundled.exists() {
        fs::remove_dir_all(&bundled)?;
    }
    let wheel = made?;
    try_out(&wheel)?;
    println!("{}: {} KB", wheel.display(), fs::metadata(&wheel)?.len() / 1000);
    Ok(())
}

/// Lays host and plugins into the package; says which glibc they need.
fn bundle(profile: Profile, into: &Path) -> Result<(u32, u32)> {
    if into.exists() {
        fs::remove_dir_all(into)?;
    }
    if profile == Profile::Debug {
        build::all(profile)?;
    } else {
        // Each by itself, as `cargo xtask dist` does: with the features that it asks for and no others.
        build::package("litmus-host", profile)?;
    }
    let mut files = vec![(profile.folder().join("litmus-host"), into.join("bin/litmus-host"))];
    for folder in plugins()?.iter().filter(|folder| folder.is_shipped()) {
        if profile == Profile::Release {
            build::plugin(folder, profile)?;
        }
        files.push((folder.installed(profile), into.join(format!("lib/litmus/plugins/{}.so", folder.name))));
    }
    let mut needed = (0, 0);
    for (from, to) in &files {
        fs::create_dir_all(to.parent().expect("a bundled file lies in a folder"))?;
        fs::copy(from, to).map_err(|error| format!("{} to {}: {error}", from.display(), to.display()))?;
        process::run(Command::new("strip").arg("--strip-unneeded").arg(to))?;
        needed = needed.max(glibc_of(to)?);
    }
    Ok(needed)
}

/// The newest `GLIBC_2.x` that a file asks for. maturin looks at the module only, so the wheel's tag would promise too much.
fn glibc_of(file: &Path) -> Result<(u32, u32)> {
    let output = Command::new("objdump").arg("-T").arg(file).output().map_err(|error| format!("objdump: {error}"))?;
    if !output.status.success() {
        return Err(format!("objdump: {}", String::from_utf8_lossy(&output.stderr).trim()).into());
    }
    newest_glibc(&String::from_utf8_lossy(&output.stdout))
        .ok_or_else(|| format!("{} asks for no glibc at all", file.display()).into())
}

fn newest_glibc(symbols: &str) -> Option<(u32, u32)> {
    let version = |text: &str| {
        let text: String = text.chars().take_while(|c| c.is_ascii_digit() || *c == '.').collect();
        let mut parts = text.split('.').map(str::parse);
        Some((parts.next()?.ok()?, parts.next()?.ok()?))
    };
    symbols.split("GLIBC_").skip(1).filter_map(version).max()
}

fn maturin(profile: Profile, glibc: (u32, u32)) -> Result<PathBuf> {
    let tools = target().join("python/maturin");
    if !tools.join("bin/maturin").is_file() {
        let arguments = ["-m", "pip", "install", "--quiet", "--target"];
        process::run(servers::python().args(arguments).arg(&tools).arg(MATURIN))?;
    }
    let wheels = target().join("wheels");
    if wheels.exists() {
        fs::remove_dir_all(&wheels)?;
    }
    let mut command = Command::new(tools.join("bin/maturin"));
    command.args(["build", "--locked", "--quiet", "--out"]).arg(&wheels).args(profile.arguments());
    command.arg("--compatibility").arg(format!("manylinux_{}_{}", glibc.0, glibc.1));
    command.current_dir(python::source()).env("PYTHONPATH", &tools);
    process::run(&mut command)?;
    let mut found = fs::read_dir(&wheels)?.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>()?;
    match (found.pop(), found.pop()) {
        (Some(wheel), None) => Ok(wheel),
        _ => Err(format!("maturin left not one wheel in {}", wheels.display()).into()),
    }
}

/// Installs the wheel as a user does and forwards a run of the corpus with nothing but what is in it.
fn try_out(wheel: &Path) -> Result<()> {
    let folder = target().join("python/installed");
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    let arguments = ["-m", "pip", "install", "--quiet", "--no-index", "--target"];
    process::run(servers::python().args(arguments).arg(&folder).arg(wheel))?;
    let mut command = servers::python();
    command.arg(python::source().join("tests/try_wheel.py")).arg(root().join("tests/corpus"));
    command.env("PYTHONPATH", &folder).env_remove("LITMUS_HOST_PROGRAM").env_remove("LITMUS_PLUGIN_PATH");
    process::run(&mut command)
}

#[cfg(test)]
mod tests {
    use super::newest_glibc;

    #[test]
    fn versions_compare_as_numbers() {
        let symbols = "\
0000000000000000      DF *UND*  0000000000000000 (GLIBC_2.9) pipe2
0000000000000000      DF *UND*  0000000000000000 (GLIBC_2.2.5) read
0000000000000000      DF *UND*  0000000000000000 (GLIBC_2.34) dlsym
0000000000000000  w   DF *UND*  0000000000000000 (GLIBC_PRIVATE) x";
        assert_eq!(newest_glibc(symbols), Some((2, 34)));
        assert_eq!(newest_glibc("nothing"), None);
    }
}
