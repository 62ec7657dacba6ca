//! `cargo xtask compat`: what our recorder writes, read by the real releases of the platform.
//!
//! Each release is installed from PyPI into a folder of its own below `target/compat`. It reads one run of every kind, just
//! recorded, and the golden files of the tests; what it says of them is compared with what was recorded. It also judges every
//! comparator again.

mod compare;
mod release;

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::workspace::{Profile, root, target};
use crate::{Result, process, python};

pub(crate) use release::{RELEASES, Release};

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Only this release: litmus or testerkit
    #[arg(long)]
    release: Option<String>,
    /// Make the golden files of crates/litmus-record/tests/golden anew, of runs that the releases have just read
    #[arg(long)]
    write_golden: bool,
}

/// Kinds of runs that the tests keep files of.
const GOLDEN: &[&str] = &[
    "passes",
    "by_hand",
    "panics",
    "numbers",
    "sweep",
    "nested_steps",
    "everything",
    "attachments",
    "log",
    "slash_serial",
];

pub(crate) fn run(options: &Options) -> Result<()> {
    process::run(&mut process::cargo(["build", "--package", "litmus-record", "--example", "scenarios"]))?;
    process::run(&mut process::cargo(["build", "--package", "litmus-python"]))?;
    let mut compared = 0;
    for release in RELEASES {
        if options.release.as_ref().is_some_and(|name| *name != release.command) {
            continue;
        }
        let python = release.install()?;
        let comparators = comparators(release, &python)?;
        println!("{}: every one of {comparators} verdicts is ours", release.pin);
        python::platform(&python)?;

        let work = target().join("compat/work").join(release.format);
        let _ = fs::remove_dir_all(&work);
        fs::create_dir_all(&work)?;
        let expected = work.join("expected.json");
        let mut record = std::process::Command::new(Profile::Debug.folder().join("examples/scenarios"));
        process::run(record.arg(work.join("data")).arg(release.format).arg(&expected))?;
        let expected = array(&expected)?;
        let answers = release.ask(&python, &work.join("data"), &expected, &work)?;
        let count = compare::all(release, &expected, &answers)?;
        println!("{}: {} runs of ours read as recorded, {count} measurements", release.pin, expected.len());
        compared += expected.len();
        if options.write_golden {
            write_golden(release, &work, &expected, &answers)?;
        }
        compared += golden(release, &python, &work)?;
    }
    if compared == 0 {
        return Err("no release was asked".into());
    }
    Ok(())
}

fn golden_folder() -> PathBuf {
    root().join("crates/litmus-record/tests/golden")
}

fn array(path: &Path) -> Result<Vec<Value>> {
    let text = fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(serde_json::from_str(&text)?)
}

/// The release's verdicts beside those that the tests hold us to.
fn comparators(release: &Release, python: &Path) -> Result<usize> {
    let file = target().join("compat").join(format!("{}-comparators.json", release.command));
    process::run(release.python(python).arg(golden_folder().join("comparators.py")).arg(&file))?;
    let kept: Value = serde_json::from_str(&fs::read_to_string(golden_folder().join("comparators.json"))?)?;
    let theirs: Value = serde_json::from_str(&fs::read_to_string(&file)?)?;
    if kept != theirs {
        return Err(format!("{} judges otherwise than the tests say: {}", release.pin, file.display()).into());
    }
    let outcomes = theirs["outcomes"].as_object().into_iter().flat_map(serde_json::Map::values);
    Ok(outcomes.filter_map(Value::as_str).map(str::len).sum())
}

/// The committed files, read again.
fn golden(release: &Release, python: &Path, work: &Path) -> Result<usize> {
    let golden = golden_folder().join(release.format);
    // A copy: the release keeps its index in the data dir.
    let data = work.join("golden/data");
    copy_tree(&golden.join("data"), &data)?;
    let expected = array(&golden.join("expected.json"))?;
    let answers = release.ask(python, &data, &expected, &work.join("golden"))?;
    let count = compare::all(release, &expected, &answers)?;
    println!("{}: {} golden runs read as recorded, {count} measurements", release.pin, expected.len());
    Ok(expected.len())
}

fn write_golden(release: &Release, work: &Path, expected: &[Value], answers: &Value) -> Result<()> {
    let golden = golden_folder().join(release.format);
    let _ = fs::remove_dir_all(&golden);
    let is_kept = |one: &&Value| one["scenario"].as_str().is_some_and(|name| GOLDEN.contains(&name));
    let kept: Vec<_> = expected.iter().filter(is_kept).collect();
    let mut said = serde_json::Map::new();
    for one in &kept {
        let path = one["path"].as_str().ok_or("a run without a path")?;
        let to = golden.join("data").join(path);
        fs::create_dir_all(to.parent().unwrap_or(&golden))?;
        fs::copy(work.join("data").join(path), &to)?;
        let beside = Path::new(path).with_extension("");
        let refs = format!("{}_ref", beside.display());
        if work.join("data").join(&refs).is_dir() {
            copy_tree(&work.join("data").join(&refs), &golden.join("data").join(&refs))?;
        }
        let id = one["run_id"].as_str().ok_or("a run without an id")?;
        said.insert(id.to_owned(), compare::kept(&answers["runs"][id]));
    }
    if work.join("data/files").is_dir() {
        copy_tree(&work.join("data/files"), &golden.join("data/files"))?;
    }
    let platform = json!({"release": answers["release"], "runs": said});
    fs::write(golden.join("expected.json"), format!("{:#}\n", json!(kept)))?;
    fs::write(golden.join("platform.json"), format!("{platform:#}\n"))?;
    println!("{}: {} golden runs written", release.pin, kept.len());
    Ok(())
}

fn copy_tree(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from).map_err(|error| format!("{}: {error}", from.display()))? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_tree(&entry.path(), &to)?;
        } else {
            fs::copy(entry.path(), to)?;
        }
    }
    Ok(())
}
