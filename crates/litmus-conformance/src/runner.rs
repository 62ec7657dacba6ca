//! Runs cases: each in a child process of its own, so that a crash or a hang is a result.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use litmus_core::Description;
use litmus_core::abi::host::{LogFn, Plugin};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::bench::Bench;
use crate::declaration::{Backend, lay_over};
use crate::{Case, Declaration, Outcome, Report, Subject, Verdict, cases};

/// Lines of a child's standard error that a failure quotes.
const QUOTED_LINES_MAX: usize = 12;

/// What to run, and with what.
#[derive(Clone, Debug)]
pub struct Suite {
    /// The plugin's file.
    pub plugin: PathBuf,
    /// Its `conformance.toml`.
    pub declaration: PathBuf,
    /// Real run files: `RELEASE/SOURCE/data`, or one data dir.
    pub corpus: PathBuf,
    /// The program that runs one case when told `--case NAME`: the binary `litmus-conformance`, or a test that calls
    /// [`main_for`](crate::main_for).
    pub executable: PathBuf,
    /// Only cases whose name contains this; with `=` before it, the case of this name.
    pub filter: Option<String>,
    /// Keys laid over the declaration's `config`, each as `key=value`; the value is TOML where it parses as TOML, else text.
    pub set: Vec<String>,
}

impl Suite {
    /// The declaration, with what was set laid over its configuration.
    pub fn declared(&self) -> Result<Declaration, String> {
        let mut declaration = Declaration::read(&self.declaration).map_err(|error| error.to_string())?;
        for text in &self.set {
            let (key, value) = text.split_once('=').ok_or(format!("--set {text}: there is no \"=\" in it"))?;
            let parsed = toml::from_str::<toml::Table>(&format!("value = {value}")).ok();
            let parsed = parsed.and_then(|mut table| table.remove("value"));
            let value = match parsed {
                Some(value) => serde_json::to_value(value).map_err(|error| error.to_string())?,
                None => serde_json::Value::from(value),
            };
            let over = key.rsplit('.').fold(value, |value, key| serde_json::json!({ key: value }));
            lay_over(&mut declaration.config, &over);
        }
        Ok(declaration)
    }

    fn chosen(&self, case: &Case) -> bool {
        self.filter.as_ref().is_none_or(|filter| match filter.strip_prefix('=') {
            Some(name) => case.name == name,
            None => case.name.contains(filter.as_str()),
        })
    }

    /// What tells the executable to run one case.
    pub(crate) fn case_arguments(&self, case: &str, folder: &Path, backend: &str) -> Vec<OsString> {
        let mut words: Vec<OsString> = ["--case", case, "--plugin"].map(Into::into).to_vec();
        words.extend([self.plugin.clone().into(), "--config".into(), self.declaration.clone().into()]);
        words.extend(["--corpus".into(), self.corpus.clone().into(), "--folder".into(), folder.into()]);
        words.extend(["--backend", backend].map(Into::into));
        for text in &self.set {
            words.extend(["--set".into(), text.into()]);
        }
        words
    }
}

/// Runs every case, each in a child; `see` is told of each as it ends. An error says why nothing could be run.
pub fn run_all(suite: &Suite, mut see: impl FnMut(&Outcome)) -> Result<Report, String> {
    let declaration = suite.declared()?;
    let described = describe(suite)?;
    let backend = declaration.backend.as_ref().map(|backend| Running::start(backend, suite)).transpose()?;
    let values = backend.as_ref().map_or("{}", |backend| backend.values.as_str());
    let mut outcomes = Vec::new();
    for case in cases().into_iter().filter(|case| suite.chosen(case)) {
        let started = Instant::now();
        let verdict = match case.lacks(&described.description.capabilities, &declaration) {
            Some(need) => Verdict::Skipped(need),
            None => child(suite, &case, values, Duration::from_secs(declaration.case_seconds_max))?,
        };
        let outcome = Outcome { case, verdict, took: started.elapsed() };
        see(&outcome);
        outcomes.push(outcome);
    }
    let subject = Subject {
        file: suite.plugin.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        sha256: sha256_of(&suite.plugin)?,
        abi: described.abi,
        host_version: env!("CARGO_PKG_VERSION").to_owned(),
        backend: declaration.backend.as_ref().map(|backend| backend.command.join(" ")),
        backend_version: backend.as_ref().and_then(Running::version).or(declaration.backend_version),
        tested_at_unix: std::time::SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs()),
    };
    let floor = if suite.filter.is_none() { declaration.floor } else { 0 };
    Ok(Report { description: described.description, subject, outcomes, floor })
}

/// Hex digits of a file's SHA-256.
fn sha256_of(path: &Path) -> Result<String, String> {
    let bytes = fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(litmus_core::Sha256(Sha256::digest(bytes).into()).to_string())
}

/// Runs one case in this process, with an empty folder for its destinations and what the backend said of itself; the error
/// says which promise is broken.
pub fn run_case(suite: &Suite, name: &str, folder: &Path, backend: &str) -> Result<(), String> {
    let case = named(name)?;
    (case.run)(&Bench::new(suite, name, folder, backend)?)
}

/// Runs the part of a case that it wants in a process of its own.
pub(crate) fn run_step(
    suite: &Suite,
    name: &str,
    folder: &Path,
    backend: &str,
    step: &str,
    destination: &str,
) -> Result<(), String> {
    let case = named(name)?;
    cases::step(&Bench::new(suite, case.name, folder, backend)?, step, destination)
}

fn named(name: &str) -> Result<Case, String> {
    cases().into_iter().find(|case| case.name == name).ok_or(format!("there is no case \"{name}\""))
}

/// The backend while the suite runs; ended when dropped.
struct Running {
    child: Child,
    values: String,
}

impl Running {
    fn start(backend: &Backend, suite: &Suite) -> Result<Self, String> {
        let (program, arguments) = backend.command.split_first().ok_or("backend.command is empty")?;
        let beside = suite.executable.with_file_name(program);
        let program = if beside.is_file() { beside } else { program.into() };
        let error = |why: String| format!("the backend {}: {why}", program.display());
        let mut child = Command::new(&program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|io| error(io.to_string()))?;
        let mut values = String::new();
        let read = BufReader::new(child.stdout.take().expect("it is a pipe")).read_line(&mut values);
        let running = Self { child, values };
        read.map_err(|io| error(io.to_string()))?;
        if !running.values.ends_with('\n') {
            return Err(error("it could not be started; what it said is above".into()));
        }
        Ok(running)
    }

    /// What it says of its own version.
    fn version(&self) -> Option<String> {
        serde_json::from_str::<BTreeMap<String, String>>(&self.values).ok()?.remove("version")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        self.child.wait().ok();
    }
}

/// A plugin's word on itself, and the loader's on its ABI.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Described {
    /// What it says.
    pub description: Description,
    /// Its ABI, and whether its layout was compared.
    pub abi: String,
}

/// What the plugin says of itself, asked in a child: loading it can crash.
fn describe(suite: &Suite) -> Result<Described, String> {
    let mut command = Command::new(&suite.executable);
    let output = command.arg("--describe").arg("--plugin").arg(&suite.plugin).output();
    let output = output.map_err(|error| format!("{}: {error}", suite.executable.display()))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{} cannot be loaded ({}): {said}", suite.plugin.display(), output.status));
    }
    serde_json::from_slice(&output.stdout)
        .map_err(|error| format!("{}: its description: {error}", suite.plugin.display()))
}

/// What a plugin says of itself, asked in this process.
pub fn description(plugin: &Path) -> Result<Described, String> {
    let plugin = Plugin::load(plugin, log_to_stderr()).map_err(|error| error.to_string())?;
    Ok(Described { description: plugin.description().clone(), abi: plugin.abi() })
}

fn log_to_stderr() -> LogFn {
    Arc::new(|level, plugin, message| eprintln!("{plugin} [{level}] {message}"))
}

fn child(suite: &Suite, case: &Case, backend: &str, at_most: Duration) -> Result<Verdict, String> {
    let work = tempfile::Builder::new().prefix("litmus-conformance-").tempdir().map_err(|error| error.to_string())?;
    let said = |name: &str| File::create(work.path().join(name)).map_err(|error| error.to_string());
    let mut child = Command::new(&suite.executable)
        .args(suite.case_arguments(case.name, &work.path().join("destinations"), backend.trim_end()))
        .stdin(Stdio::null())
        // Files, not pipes: a plugin that logs a lot must not stand still because nobody reads.
        .stdout(said("stdout")?)
        .stderr(said("stderr")?)
        .spawn()
        .map_err(|error| format!("{}: {error}", suite.executable.display()))?;
    let until = Instant::now() + at_most;
    loop {
        if let Some(status) = child.try_wait().map_err(|error| error.to_string())? {
            let text =
                |name| String::from_utf8_lossy(&fs::read(work.path().join(name)).unwrap_or_default()).into_owned();
            return Ok(verdict(status, &text("stdout"), &text("stderr")));
        }
        if Instant::now() >= until {
            child.kill().and_then(|()| child.wait()).map_err(|error| error.to_string())?;
            return Ok(Verdict::TimedOut);
        }
        thread::sleep(Duration::from_millis(10));
    }
}

fn verdict(status: ExitStatus, stdout: &str, stderr: &str) -> Verdict {
    let lines: Vec<_> = stderr.lines().collect();
    let quoted = lines[lines.len().saturating_sub(QUOTED_LINES_MAX)..].join("\n");
    match (status.code(), status.signal()) {
        (Some(0), _) => Verdict::Passed,
        (Some(1), _) => Verdict::Failed(stdout.trim_end().to_owned()),
        (Some(code), _) => Verdict::Failed(format!("exit code {code}\n{quoted}")),
        (None, Some(signal)) => Verdict::Crashed(format!("killed by signal {signal}\n{quoted}")),
        (None, None) => Verdict::Crashed(quoted),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backend_that_does_not_start_is_an_error_and_one_that_does_says_its_values() {
        let suite = Suite {
            plugin: "x.so".into(),
            declaration: "x.toml".into(),
            corpus: "corpus".into(),
            executable: "/nowhere/suite".into(),
            filter: None,
            set: Vec::new(),
        };
        let start = |command: &[&str]| {
            let command = command.iter().map(|word| (*word).to_owned()).collect();
            Running::start(&Backend { command, proxy: None, busy: None }, &suite).map(|running| running.values.clone())
        };
        assert!(start(&["false"]).unwrap_err().contains("could not be started"));
        assert!(start(&["there-is-no-such-program"]).unwrap_err().contains("there-is-no-such-program"));
        assert_eq!(start(&["sh", "-c", "echo '{}'; cat"]).unwrap(), "{}\n");
    }

    #[test]
    fn an_exit_is_a_result_and_a_signal_is_a_crash() {
        assert_eq!(verdict(ExitStatus::from_raw(0), "", "noise"), Verdict::Passed);
        assert_eq!(verdict(ExitStatus::from_raw(1 << 8), "row lost\n", ""), Verdict::Failed("row lost".into()));
        assert_eq!(verdict(ExitStatus::from_raw(11), "", "boom"), Verdict::Crashed("killed by signal 11\nboom".into()));
        assert_eq!(verdict(ExitStatus::from_raw(101 << 8), "", "p"), Verdict::Failed("exit code 101\np".into()));
    }
}
