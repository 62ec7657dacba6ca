//! `cargo xtask test-python`: the tests of the Python package. The package is laid out as a wheel has it, from the debug build,
//! and found by `PYTHONPATH`; what the tests need besides is in `target/servers/python`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::test::Counts;
use crate::workspace::{Profile, root, target};
use crate::{Result, build, process, servers};

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Instead: our handler on the platform's own client, by the interpreter of a venv that has a release of it
    #[arg(long, value_name = "PYTHON")]
    platform: Option<PathBuf>,
    /// Handed to pytest
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    if let Some(interpreter) = &options.platform {
        build::all(Profile::Debug)?;
        return platform(interpreter);
    }
    servers::run()?;
    build::all(Profile::Debug)?;
    pytest(&options.arguments, &mut Counts::default())
}

/// The part of `cargo xtask test`.
pub(crate) fn tests(counts: &mut Counts) -> Result<()> {
    pytest(&[], counts)
}

/// The crate's folder.
pub(crate) fn source() -> PathBuf {
    root().join("crates/litmus-python")
}

/// The part of `cargo xtask compat`: the client of a release of the platform, with our handler and our reader.
pub(crate) fn platform(interpreter: &Path) -> Result<()> {
    let package = lay_out(&target().join("python"))?;
    let mut command = Command::new(interpreter);
    command.arg(source().join("tests/compat.py")).env("PYTHONPATH", package).env("PYTHONDONTWRITEBYTECODE", "1");
    process::run(&mut command)
}

fn pytest(arguments: &[String], counts: &mut Counts) -> Result<()> {
    let work = target().join("python");
    let package = lay_out(&work)?;
    let pages = pages(&work)?;
    let found = std::env::join_paths([package, root().join("target/servers/python")])?;
    let mut command = servers::python();
    command.args(["-m", "pytest", "-p", "no:cacheprovider"]).args(arguments).arg(source().join("tests"));
    command.current_dir(&work).env("PYTHONPATH", found).env("PYTHONDONTWRITEBYTECODE", "1");
    command.env("LITMUS_PAGES", pages);
    command.env("LITMUS_HOST_PROGRAM", Profile::Debug.folder().join("litmus-host"));
    command.env("LITMUS_TEST_SERVER", Profile::Debug.folder().join("test-server"));
    let mut seen = Counts::default();
    let outcome = process::run_seeing(&mut command, |line| {
        if let Some(counted) = parse(line) {
            seen += counted;
        }
    });
    *counts += seen;
    if outcome.is_ok() && seen.passed == 0 {
        return Err("pytest ran no test".into());
    }
    outcome
}

/// The releases of the platform whose documentation the tests run; they are unpacked by nobody.
fn pages(work: &Path) -> Result<PathBuf> {
    let folder = work.join("pages");
    for (release, wheel) in [("litmus-test==0.1.3", "litmus_test-0.1.3-"), ("testerkit==0.6.0", "testerkit-0.6.0-")] {
        let mut there = fs::read_dir(&folder).into_iter().flatten().flatten();
        if there.any(|file| file.file_name().to_string_lossy().starts_with(wheel)) {
            continue;
        }
        let arguments = ["-m", "pip", "download", "--quiet", "--quiet", "--no-deps", "--dest"];
        process::run(servers::python().args(arguments).arg(&folder).arg(release))?;
    }
    Ok(folder)
}

/// The package out of the debug build.
fn lay_out(work: &Path) -> Result<PathBuf> {
    let (from, folder) = (source().join("python/litmus_host"), work.join("debug"));
    let into = folder.join("litmus_host");
    if into.exists() {
        fs::remove_dir_all(&into)?;
    }
    fs::create_dir_all(&into)?;
    for file in fs::read_dir(&from)? {
        let file = file?;
        if file.path().is_file() {
            fs::copy(file.path(), into.join(file.file_name()))?;
        }
    }
    let built = Profile::Debug.folder().join("liblitmus_python.so");
    fs::copy(&built, into.join("_native.abi3.so")).map_err(|error| format!("{}: {error}", built.display()))?;
    Ok(folder)
}

/// The counts of pytest's last line: `== 2 failed, 40 passed, 1 skipped in 3.21s ==`.
fn parse(line: &str) -> Option<Counts> {
    let (counted, _) = line.trim_matches(['=', ' ']).rsplit_once(" in ")?;
    let mut counts = Counts::default();
    for part in counted.split(", ") {
        let (number, what) = part.split_once(' ')?;
        let number: u64 = number.parse().ok()?;
        match what {
            "passed" => counts.passed += number,
            "failed" | "error" | "errors" => counts.failed += number,
            "skipped" | "deselected" | "xfailed" => counts.skipped += number,
            "warning" | "warnings" => {}
            _ => return None,
        }
    }
    Some(counts)
}

#[cfg(test)]
mod tests {
    use super::{Counts, parse};

    #[test]
    fn counts_of_the_last_line_are_read_whatever_the_verdict() {
        let line = "=========== 2 failed, 40 passed, 1 skipped, 3 warnings, 1 error in 3.21s ===========";
        assert_eq!(parse(line), Some(Counts { passed: 40, failed: 3, skipped: 1 }));
        assert_eq!(parse("40 passed in 62.10s (0:01:02)"), Some(Counts { passed: 40, failed: 0, skipped: 0 }));
        assert_eq!(parse("FAILED tests/test_a.py::test_b - it was 3 in 2"), None);
        assert_eq!(parse("collected 41 items"), None);
    }
}
