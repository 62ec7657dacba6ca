//! What a case stands on: the plugin, an empty folder for destinations, run files, and the calls it makes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use litmus_core::abi::host::{HostCall, Instance, Plugin, RunSource};
use litmus_core::digest::{Conversions, Digests};
use litmus_core::reader::Store;
use litmus_core::{Audit, Capabilities, OpenMode, Report, RunId, SinkError, Status};
use serde_json::Value;

use crate::case::Broken;
use crate::declaration::{Hand, name_of};
use crate::proxy::Proxy;
use crate::source::Source;
use crate::synth::{self, Plan};
use crate::{Declaration, Suite};

/// How long a call of a case may take before its case fails.
const CALL_MAX: Duration = Duration::from_secs(30);

/// What came of one `deliver`: a report a run, in the order of the batch, and how the call ended.
pub(crate) struct Delivered {
    pub(crate) reports: Vec<Option<Report>>,
    pub(crate) ended: Result<(), SinkError>,
    pub(crate) took: Duration,
}

/// What the plugin, and the host about it, said: level and text.
#[derive(Clone, Default)]
pub(crate) struct Logs(Arc<Mutex<Vec<(u32, String)>>>);

impl Logs {
    /// Keeps each line, and shows it to whoever reads the case's standard error.
    pub(crate) fn sink(&self) -> litmus_core::abi::host::LogFn {
        let kept = Arc::clone(&self.0);
        Arc::new(move |level, plugin: &str, message: &str| {
            eprintln!("{plugin} [{level}] {message}");
            kept.lock().unwrap_or_else(PoisonError::into_inner).push((level, format!("{plugin}: {message}")));
        })
    }

    pub(crate) fn all(&self) -> Vec<(u32, String)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The plugin under test, and all that a case needs to try it.
pub(crate) struct Bench {
    pub(crate) plugin: Plugin,
    pub(crate) logs: Logs,
    pub(crate) declaration: Declaration,
    pub(crate) suite: Suite,
    case: String,
    folder: PathBuf,
    backend: BTreeMap<String, String>,
}

impl Bench {
    /// The bench of one case; its destinations lie below `folder`.
    pub(crate) fn new(suite: &Suite, case: &str, folder: &Path, backend: &str) -> Result<Self, String> {
        let logs = Logs::default();
        Ok(Self {
            plugin: Plugin::load(&suite.plugin, logs.sink()).map_err(|error| error.to_string())?,
            logs,
            declaration: suite.declared()?,
            suite: suite.clone(),
            case: case.to_owned(),
            folder: folder.to_path_buf(),
            backend: serde_json::from_str(backend).map_err(|error| format!("the backend's values: {error}"))?,
        })
    }

    pub(crate) fn capabilities(&self) -> Capabilities {
        self.plugin.description().capabilities
    }

    /// A folder of the case's own, made when first asked for.
    pub(crate) fn folder(&self, name: &str) -> Result<PathBuf, Broken> {
        let folder = self.folder.join(name);
        fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        Ok(folder)
    }

    /// The configuration of the destination of this name; each name is another destination.
    pub(crate) fn config(&self, destination: &str) -> Result<Value, Broken> {
        Ok(self.declaration.config_in(&self.folder(destination)?, &self.backend))
    }

    /// The runs among these of which the backend shows that they arrived at the destination of this name.
    pub(crate) fn arrived(&self, destination: &str, runs: &[Source]) -> Result<BTreeSet<RunId>, Broken> {
        let folder = self.folder(destination)?;
        let file = self.declaration.read_back_in(&folder, &self.backend).ok_or("there is no read_back")?;
        let text = match fs::read(&file) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            read => read.map_err(|error| format!("{}: {error}", file.display()))?,
        };
        let text = String::from_utf8_lossy(&text);
        let name = name_of(&folder);
        let own = self.declaration.read_back_is_own();
        let lines: Vec<&str> = text.lines().filter(|line| own || line.contains(&name)).collect();
        let is_there = |run: &&Source| {
            let run_id = run.run_id().to_string();
            lines.iter().any(|line| line.contains(&run_id))
        };
        Ok(runs.iter().filter(is_there).map(RunSource::run_id).collect())
    }

    /// Connects to the destination of this name.
    pub(crate) fn open(&self, destination: &str) -> Result<Instance, Broken> {
        self.open_with(&self.config(destination)?, OpenMode::Live).map_err(|error| format!("open: {error}"))
    }

    /// The configuration with some keys laid over it.
    pub(crate) fn config_with(&self, destination: &str, over: &Value, more: &[(&str, &str)]) -> Result<Value, Broken> {
        Ok(self.declaration.config_with(over, &self.folder(destination)?, &self.backend, more))
    }

    /// A proxy before the backend, and the configuration that leads through it.
    pub(crate) fn through_proxy(&self, destination: &str) -> Result<(Proxy, Value), Broken> {
        let proxied = self.declaration.backend.as_ref().and_then(|backend| backend.proxy.as_deref());
        let key = proxied.ok_or("conformance.toml has no backend.proxy")?;
        let value = self.backend.get(key).ok_or(format!("the backend says no \"{key}\", which backend.proxy names"))?;
        let (proxy, through) = Proxy::before(value)?;
        let mut backend = self.backend.clone();
        backend.insert(key.to_owned(), through);
        Ok((proxy, self.declaration.config_in(&self.folder(destination)?, &backend)))
    }

    /// Changes or removes a run at the destination, without the sink.
    pub(crate) fn behind_its_back(&self, destination: &str, run: &Source, remove: bool) -> Result<(), Broken> {
        let declared = self.declaration.behind_its_back.as_ref().ok_or(
            "the plugin declares `audit`, and its conformance.toml does not say how to change a run behind its back\n\
             hint: add [behind_its_back] with change and remove; see docs/writing-a-plugin.md",
        )?;
        let hand = if remove { &declared.remove } else { &declared.change };
        let (folder, run_id) = (self.folder(destination)?, run.run_id().to_string());
        let filled = |text: &str| Declaration::text_in(text, &folder, &self.backend, &[("run_id", &run_id)]);
        match hand {
            Hand { file: Some(file), command: None } => {
                let file = crate::hand::found(Path::new(&filled(file)))?;
                if remove { crate::hand::remove(&file) } else { crate::hand::change(&file, run.serial()) }
            }
            Hand { file: None, command: Some(command) } => {
                let (program, arguments) = command.split_first().ok_or("a command of [behind_its_back] is empty")?;
                let beside = self.suite.executable.with_file_name(program);
                let program = if beside.is_file() { beside } else { program.into() };
                let arguments: Vec<_> = arguments.iter().map(|argument| filled(argument)).collect();
                let output = Command::new(&program).args(&arguments).output();
                let output = output.map_err(|error| format!("{}: {error}", program.display()))?;
                let said = String::from_utf8_lossy(&output.stderr).into_owned();
                if output.status.success() {
                    Ok(())
                } else {
                    Err(format!("{} {arguments:?}: {said}", program.display()))
                }
            }
            _ => Err("[behind_its_back] wants a file or a command, one of the two".into()),
        }
    }

    /// Runs a step of this case in a process of its own, which it may end; `first` are words before the program.
    pub(crate) fn step(&self, first: &[&str], step: &str, destination: &str) -> Result<std::process::Output, Broken> {
        let mut words: Vec<std::ffi::OsString> = first.iter().map(Into::into).collect();
        words.push(self.suite.executable.clone().into());
        let backend = serde_json::to_string(&self.backend).map_err(|error| error.to_string())?;
        words.extend(self.suite.case_arguments(&self.case, &self.folder, &backend));
        words.extend(["--step", step, "--destination", destination].map(Into::into));
        let output = Command::new(&words[0]).args(&words[1..]).stdin(std::process::Stdio::null()).output();
        output.map_err(|error| format!("{}: {error}", words[0].display()))
    }

    pub(crate) fn open_with(&self, config: &Value, mode: OpenMode) -> Result<Instance, SinkError> {
        self.plugin.open(config, mode, &call(&|| false))
    }

    /// Every run of the corpus, in order of its data dir and path.
    pub(crate) fn runs(&self) -> Result<Vec<Source>, Broken> {
        let mut runs = Vec::new();
        for data_dir in data_dirs(&self.suite.corpus)? {
            let store = Store::open(&data_dir).map_err(|error| error.to_string())?;
            let (files, errors) = store.walk();
            if let Some(error) = errors.first() {
                return Err(error.to_string());
            }
            for file in files {
                runs.push(Source::open(&store, &file.path)?);
            }
        }
        if runs.is_empty() { Err(format!("{} holds no run file", self.suite.corpus.display())) } else { Ok(runs) }
    }

    /// Runs made up for the case, sealed in a data dir of its own.
    pub(crate) fn made(&self, plans: &[Plan]) -> Result<Vec<Source>, Broken> {
        let sealed = std::path::absolute(self.folder("sealed")?).map_err(|error| error.to_string())?;
        for plan in plans {
            synth::write(&sealed, plan);
        }
        self.made_before(plans)
    }

    /// The same runs, once they are sealed.
    pub(crate) fn made_before(&self, plans: &[Plan]) -> Result<Vec<Source>, Broken> {
        let sealed = std::path::absolute(self.folder("sealed")?).map_err(|error| error.to_string())?;
        let store = Store::open(&sealed).map_err(|error| error.to_string())?;
        plans.iter().map(|plan| Source::open(&store, &synth::path(plan))).collect()
    }

    /// A few small ones.
    pub(crate) fn few_runs(&self, count: usize) -> Result<Vec<Source>, Broken> {
        let mut runs = self.runs()?;
        // A bigger file proves no more here, and a case should take a second.
        runs.sort_by_key(|run| run.rank().rows);
        runs.retain(|run| run.rank().rows > 2);
        runs.truncate(count);
        if runs.len() == count { Ok(runs) } else { Err(format!("the corpus has fewer than {count} runs")) }
    }
}

/// `CORPUS/RELEASE/SOURCE/data`, or the folder itself where it holds `runs/`.
fn data_dirs(corpus: &Path) -> Result<Vec<PathBuf>, Broken> {
    if corpus.join("runs").is_dir() {
        return Ok(vec![corpus.to_path_buf()]);
    }
    let folders = |path: &Path| -> Result<Vec<PathBuf>, Broken> {
        let entries = fs::read_dir(path).map_err(|error| format!("{}: {error}", path.display()))?;
        let mut found: Vec<_> = entries.filter_map(|entry| entry.ok().map(|entry| entry.path())).collect();
        found.retain(|path| path.is_dir());
        found.sort();
        Ok(found)
    };
    let mut found = Vec::new();
    for release in folders(corpus)? {
        found.extend(folders(&release)?.into_iter().map(|source| source.join("data")).filter(|path| path.is_dir()));
    }
    Ok(found)
}

/// A first attempt with a deadline.
pub(crate) fn call(is_cancelled: &(dyn Fn() -> bool + Sync)) -> HostCall<'_> {
    HostCall { attempt: 1, deadline: Some(Instant::now() + CALL_MAX), is_cancelled, dry_run: false }
}

/// Delivers a batch and gathers its reports.
pub(crate) fn deliver(instance: &Instance, runs: &[Source]) -> Delivered {
    deliver_in(instance, runs, &call(&|| false))
}

/// The same in a call of the case's own.
pub(crate) fn deliver_in(instance: &Instance, runs: &[Source], call: &HostCall<'_>) -> Delivered {
    let sources: Vec<Arc<dyn RunSource>> = runs.iter().map(|run| Arc::new(run.clone()) as Arc<dyn RunSource>).collect();
    let reports = Mutex::new(vec![None; runs.len()]);
    let started = Instant::now();
    let ended = instance.deliver(call, &sources, &|at, report| {
        reports.lock().expect("no report panics")[at] = Some(report);
    });
    let reports = reports.into_inner().expect("no report panics");
    Delivered { reports, ended, took: started.elapsed() }
}

impl Delivered {
    /// How a run of the batch ended; an error of the call speaks for those not reported.
    pub(crate) fn status(&self, at: usize) -> Option<Status> {
        let of_call = || self.ended.as_ref().err().map(SinkError::status);
        self.reports[at].as_ref().map(|report| report.status).or_else(of_call)
    }

    /// Broken unless every run ended so.
    pub(crate) fn all(&self, expected: Status, runs: &[Source]) -> Result<(), Broken> {
        for (at, run) in runs.iter().enumerate() {
            let found = self.status(at);
            if found != Some(expected) {
                let found = found.map_or("not reported".to_owned(), |status| status.to_string());
                let message = self.reports[at].as_ref().map_or(String::new(), |report| report.message.clone());
                let of_call = self.ended.as_ref().err().map_or(String::new(), ToString::to_string);
                return Err(format!("{}: {found} where {expected} was promised {message} {of_call}", run.name()));
            }
        }
        Ok(())
    }
}

/// Broken unless the destination holds exactly these runs' rows, read back by the plugin's audit.
pub(crate) fn holds(instance: &Instance, runs: &[Source]) -> Result<(), Broken> {
    let audits = audits(instance, runs)?;
    for run in runs {
        let audit = audits.get(&run.run_id()).ok_or(format!("{}: the audit does not mention it", run.name()))?;
        match audit.sha256 {
            None => return Err(format!("{}: the audit says that it is absent", run.name())),
            Some(held) if held != run.sha256() => {
                return Err(format!("{}: the audit names revision {held}, not {}", run.name(), run.sha256()));
            }
            Some(_) => (),
        }
        // Who keeps the sealed bytes themselves has proved every row with their sha256.
        if instance.capabilities().moves_file && audit.tables.is_empty() {
            continue;
        }
        let conversions = Conversions::from_names(audit.conversions.keys().map(String::as_str))?;
        equal(&run.digests(conversions)?, &audit.tables).map_err(|why| format!("{}: {why}", run.name()))?;
    }
    Ok(())
}

/// Broken unless the destination holds none of these runs.
pub(crate) fn holds_none(instance: &Instance, runs: &[Source]) -> Result<(), Broken> {
    let audits = audits(instance, runs)?;
    for run in runs {
        let audit = audits.get(&run.run_id()).ok_or(format!("{}: the audit does not mention it", run.name()))?;
        let rows: u64 = audit.tables.values().map(|table| table.rows).sum();
        if audit.sha256.is_some() || rows > 0 {
            return Err(format!("{}: the destination holds {rows} rows of it", run.name()));
        }
    }
    Ok(())
}

/// What the audit says of each run.
pub(crate) fn audits(instance: &Instance, runs: &[Source]) -> Result<BTreeMap<RunId, Audit>, Broken> {
    let ids: Vec<_> = runs.iter().map(RunSource::run_id).collect();
    let audits = instance.audit(&call(&|| false), &ids).map_err(|error| format!("audit: {error}"))?;
    let count = audits.len();
    let by_id: BTreeMap<_, _> = audits.into_iter().map(|audit| (audit.run_id, audit)).collect();
    if by_id.len() == count { Ok(by_id) } else { Err("the audit answers twice for one run".into()) }
}

/// Compares what was sent with what is there, table by table.
pub(crate) fn equal(source: &Digests, found: &Digests) -> Result<(), Broken> {
    for (table, sent) in source {
        let there = found.get(table).copied().unwrap_or_default();
        if *sent != there {
            return Err(format!(
                "table {table}: {} rows, digest {} were sent; {} rows, digest {} are there",
                sent.rows, sent.digest, there.rows, there.digest
            ));
        }
    }
    match found.keys().find(|table| !source.contains_key(*table)) {
        Some(unknown) => Err(format!("there is a table {unknown} that nobody sent")),
        None => Ok(()),
    }
}
