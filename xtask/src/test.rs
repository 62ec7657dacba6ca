//! `cargo xtask test`: what CI runs. Every part runs even where an earlier one failed; none of them fails in silence.

use std::fmt;
use std::ops::AddAssign;
use std::time::Instant;

use crate::workspace::Profile;
use crate::{Result, build, lint, process, python, servers, test_plugins};

/// How often the kill loops of the end to end tests kill.
const KILL_ROUNDS: &str = "10";

/// How many tests ended how, over every runner.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) skipped: u64,
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped)
    }
}

type Part = (&'static str, fn(&mut Counts) -> Result<()>);

const PARTS: &[Part] = &[
    ("format", |_| lint::format()),
    ("servers", |_| servers::run()),
    ("build", |_| build::with_tests()),
    ("tests", tests),
    ("test-plugins", test_plugins::all),
    ("python", python::tests),
    ("lints", |_| lint::clippy()),
];

pub(crate) fn run() -> Result<()> {
    let started = Instant::now();
    let mut counts = Counts::default();
    let mut ended = Vec::new();
    for (name, part) in PARTS {
        println!("── {name}");
        let (started, failed_before) = (Instant::now(), counts.failed);
        let outcome = part(&mut counts);
        if let Err(error) = &outcome {
            println!("{name} FAILED: {error}");
            // A part can fail without a test of its own failing (a format, a lint, a build): it counts as one.
            counts.failed = counts.failed.max(failed_before + 1);
        }
        ended.push((*name, started.elapsed(), outcome.is_ok()));
    }

    println!("\nminutes per part:");
    for (name, took, ok) in &ended {
        println!("  {:>5.1}  {name}{}", took.as_secs_f64() / 60.0, if *ok { "" } else { "  FAILED" });
    }
    println!("  {:>5.1}  in all", started.elapsed().as_secs_f64() / 60.0);
    println!(
        "run by hand: cargo xtask torture, cargo xtask fuzz, cargo xtask bench, cargo xtask lint --full, cargo xtask dist"
    );

    let failed: Vec<_> = ended.iter().filter(|(_, _, ok)| !ok).map(|(name, ..)| *name).collect();
    println!("{counts}");
    if failed.is_empty() { Ok(()) } else { Err(format!("failed: {}", failed.join(", ")).into()) }
}

/// Unit, property, doc and end to end tests.
fn tests(counts: &mut Counts) -> Result<()> {
    let mut command = process::cargo(["test", "--workspace", "--no-fail-fast"]);
    command.env("LITMUS_ARTIFACTS", Profile::Debug.folder()).env("LITMUS_KILL_ROUNDS", KILL_ROUNDS);
    let mut seen = Counts::default();
    let outcome = process::run_seeing(&mut command, |line| {
        if let Some(counted) = parse(line) {
            seen += counted;
        }
    });
    *counts += seen;
    if outcome.is_ok() && seen.passed == 0 {
        return Err("cargo test ran no test".into());
    }
    outcome
}

/// The counts of a `test result: ok. 3 passed; 0 failed; 1 ignored; …` line.
fn parse(line: &str) -> Option<Counts> {
    let (_, numbers) = line.strip_prefix("test result: ")?.split_once(". ")?;
    let count = |what: &str| {
        let part = numbers.split("; ").find_map(|part| part.strip_suffix(what))?;
        part.trim().parse().ok()
    };
    Some(Counts { passed: count("passed")?, failed: count("failed")?, skipped: count("ignored")? })
}

#[cfg(test)]
mod tests {
    use super::{Counts, parse};

    #[test]
    fn counts_of_a_result_line_are_read_whatever_the_verdict() {
        let line = "test result: FAILED. 12 passed; 2 failed; 1 ignored; 0 measured; 3 filtered out; finished in 0.01s";
        assert_eq!(parse(line), Some(Counts { passed: 12, failed: 2, skipped: 1 }));
        assert_eq!(parse("test counts ... ok"), None);
    }
}
