//! `cargo xtask mutants`: for each case of the conformance suite a plugin that breaks its promise. The case has to notice; what
//! else fails has to be what `plugins/hostile/mutants.toml` says. `--quick` tries the one case of each mutant alone.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use toml::{Table, Value};

use crate::workspace::{Profile, root, target};
use crate::{Result, build, process};

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Try just the case that each mutant is for
    #[arg(long)]
    quick: bool,
    /// Only mutants of cases whose name contains this
    #[arg(long, value_name = "TEXT")]
    filter: Option<String>,
    /// What was built is up to date
    #[arg(long, hide = true)]
    built: bool,
}

/// One entry of the file.
struct Mutant {
    case: String,
    how: How,
    /// Cases that fail too; `None`: any may.
    also: Option<BTreeSet<String>>,
    because: String,
}

enum How {
    /// A value of `mutant` in the configuration of plugins/hostile.
    Hostile(String),
    /// A text of the C plugin, and what stands in its place.
    C(String, String),
}

pub(crate) fn run(options: &Options) -> Result<()> {
    if !options.built {
        build::all(Profile::Debug)?;
    }
    let mutants = read()?;
    covers_every_case(&mutants)?;
    let chosen = |mutant: &&Mutant| options.filter.as_ref().is_none_or(|text| mutant.case.contains(text.as_str()));
    let (mut caught, mut wrong) = (0, Vec::new());
    for mutant in mutants.iter().filter(chosen) {
        let started = Instant::now();
        let failed = failed_cases(mutant, options.quick)?;
        let seconds = started.elapsed().as_secs_f64();
        match verdict(mutant, &failed) {
            Ok(()) => {
                caught += 1;
                println!("caught   {} by {} ({seconds:.1} s)", mutant.name(), mutant.case);
            }
            Err(why) => {
                println!("MISSED   {}: {why} ({seconds:.1} s)", mutant.name());
                wrong.push(format!("{}: {why}", mutant.case));
            }
        }
        let others: Vec<_> = failed.iter().filter(|case| **case != mutant.case).map(String::as_str).collect();
        if !others.is_empty() {
            println!("         so do {}\n         because {}", others.join(", "), mutant.because);
        }
    }
    println!("{caught} mutants caught, {} not", wrong.len());
    if caught == 0 {
        return Err("no mutant was tried".into());
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n").into()) }
}

impl Mutant {
    fn name(&self) -> String {
        match &self.how {
            How::Hostile(name) => format!("hostile {name}"),
            How::C(from, _) => format!("C without {:?}", from.trim().chars().take(40).collect::<String>()),
        }
    }
}

fn verdict(mutant: &Mutant, failed: &BTreeSet<String>) -> Result<(), String> {
    if !failed.contains(&mutant.case) {
        return Err(format!("{} passes", mutant.case));
    }
    let Some(also) = &mutant.also else { return Ok(()) };
    let unexpected: Vec<_> =
        failed.iter().filter(|case| **case != mutant.case && !also.contains(*case)).map(String::as_str).collect();
    if unexpected.is_empty() { Ok(()) } else { Err(format!("fails too, and is not listed: {}", unexpected.join(", "))) }
}

fn read() -> Result<Vec<Mutant>> {
    let path = root().join("plugins/hostile/mutants.toml");
    let text = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let table: Table = toml::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))?;
    let entries = table.get("mutant").and_then(Value::as_array).ok_or("mutants.toml has no [[mutant]]")?;
    entries.iter().map(|entry| one(entry).ok_or_else(|| format!("mutants.toml: {entry}").into())).collect()
}

fn one(entry: &Value) -> Option<Mutant> {
    let text = |key: &str| entry.get(key).and_then(Value::as_str).map(str::to_owned);
    let texts = |value: &Value| -> Option<Vec<String>> {
        value.as_array()?.iter().map(|item| item.as_str().map(str::to_owned)).collect()
    };
    let how = match (text("hostile"), entry.get("c")) {
        (Some(name), None) => How::Hostile(name),
        (None, Some(c)) => {
            let [from, to]: [String; 2] = texts(c)?.try_into().ok()?;
            How::C(from, to)
        }
        _ => return None,
    };
    let also = match entry.get("also") {
        None => Some(BTreeSet::new()),
        Some(Value::String(all)) if all == "*" => None,
        Some(list) => Some(texts(list)?.into_iter().collect()),
    };
    let because = text("because").unwrap_or_default();
    // Whatever fails too is explained.
    if because.is_empty() != also.as_ref().is_some_and(BTreeSet::is_empty) {
        return None;
    }
    Some(Mutant { case: text("case")?, how, also, because })
}

/// Each case has a mutant, and each mutant a case.
fn covers_every_case(mutants: &[Mutant]) -> Result<()> {
    let output = suite().arg("--list").output()?;
    let listed = String::from_utf8(output.stdout)?;
    let lines = listed.lines().filter(|line| !line.starts_with(' '));
    let cases: BTreeSet<_> =
        lines.filter_map(|line| line.split_once(": ")?.1.split(' ').next().map(str::to_owned)).collect();
    let tried: BTreeSet<_> = mutants.iter().map(|mutant| mutant.case.clone()).collect();
    if cases == tried && !cases.is_empty() {
        return Ok(());
    }
    let without: Vec<_> = cases.difference(&tried).collect();
    let unknown: Vec<_> = tried.difference(&cases).collect();
    Err(format!("cases without a mutant: {without:?}; mutants of no case: {unknown:?}").into())
}

/// The names of the cases that a mutant fails.
fn failed_cases(mutant: &Mutant, quick: bool) -> Result<BTreeSet<String>> {
    let report = target().join("mutant.json");
    fs::remove_file(&report).ok();
    let (plugin, config, set) = match &mutant.how {
        How::Hostile(name) => {
            let config = root().join("plugins/hostile/conformance.toml");
            (Profile::Debug.folder().join("plugins/hostile.so"), config, Some(format!("mutant='{name}'")))
        }
        How::C(from, to) => (c_mutant(from, to)?, root().join("plugins/jsonl-c/conformance.toml"), None),
    };
    let mut command = suite();
    command.arg("--plugin").arg(plugin).arg("--config").arg(config).arg("--report").arg(&report);
    if let Some(set) = set {
        command.args(["--set", &set]);
    }
    if quick {
        command.args(["--filter", &format!("={}", mutant.case)]);
    }
    command.stdout(Stdio::null()).stderr(Stdio::null()).status()?;
    let text = fs::read(&report).map_err(|_| format!("{}: the suite ended without a report", mutant.name()))?;
    let report: serde_json::Value = serde_json::from_slice(&text)?;
    let cases = report["cases"].as_array().ok_or("a report has no cases")?;
    let failed =
        cases.iter().filter(|case| !["passed", "skipped"].contains(&case["outcome"].as_str().unwrap_or_default()));
    Ok(failed.filter_map(|case| case["name"].as_str().map(str::to_owned)).collect())
}

/// The C plugin with one text replaced, built.
fn c_mutant(from: &str, to: &str) -> Result<PathBuf> {
    let source = root().join("plugins/jsonl-c/jsonl_sink.c");
    let text = fs::read_to_string(&source)?;
    if text.matches(from).count() != 1 {
        return Err(format!("{}: {from:?} stands there {} times", source.display(), text.matches(from).count()).into());
    }
    let folder = target().join("mutant");
    fs::create_dir_all(&folder)?;
    let changed: &Path = &folder.join("jsonl_sink.c");
    fs::write(changed, text.replace(from, to))?;
    let library = folder.join("jsonl.so");
    let mut command = Command::new(std::env::var_os("CC").unwrap_or_else(|| "cc".into()));
    command.args(["-std=c11", "-w", "-O2", "-shared", "-fPIC", "-I"]).arg(root().join("crates/litmus-core/include"));
    process::run(command.arg("-o").arg(&library).arg(changed))?;
    Ok(library)
}

fn suite() -> Command {
    let mut command = Command::new(Profile::Debug.folder().join("litmus-conformance"));
    command.arg("--corpus").arg(root().join("tests/corpus"));
    command
}
