//! `check`: the configuration, the plugins, and with `--live` each destination.

use std::io::{self, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use litmus_core::OpenMode;
use litmus_core::abi::host::{HostCall, Plugin};
use litmus_core::reader::Store;
use serde::Serialize;

use super::args::CheckArgs;
use super::failure::{Failure, INCOMPLETE, WRONG};
use super::session::Session;
use super::{plugins, printed};
use crate::config::Redactor;
use crate::engine_api::{SinkSpec, StoreSpec};
use crate::output::{Console, Style, Tone, printable};
use crate::within::within;

/// How long a destination may take to answer.
const LIVE_DEADLINE: Duration = Duration::from_secs(30);
/// And how much longer its plugin to notice that the time is up.
const GRACE: Duration = Duration::from_secs(2);

#[derive(Serialize)]
struct Findings {
    ok: bool,
    stores: Vec<StoreFinding>,
    sinks: Vec<SinkFinding>,
}

#[derive(Serialize)]
struct StoreFinding {
    name: String,
    data_dir: String,
    found_by: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

#[derive(Clone, Default, Serialize)]
struct SinkFinding {
    name: String,
    plugin: String,
    file: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    /// With its secrets masked.
    config: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    destination: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    incarnation: Option<String>,
    notes: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(skip)]
    code: u8,
}

pub(super) fn run(session: &Session, args: &CheckArgs) -> Result<u8, Failure> {
    let (sinks, redactor) = session.config.sinks()?;
    let console = Arc::new(Console::new(session.console, redactor.clone()));
    session.tell_notes(&console);
    let stores: Vec<StoreFinding> = session.config.stores()?.iter().map(check_store).collect();
    let sinks: Vec<SinkFinding> = sinks.iter().map(|sink| check_sink(sink, args.live, &console, &redactor)).collect();
    // What can never work outweighs what does not work now.
    let store_code = if stores.iter().any(|store| store.error.is_some()) { WRONG } else { 0 };
    let code = sinks.iter().map(|sink| sink.code).max().unwrap_or(0).max(store_code);
    let findings = Findings { ok: code == 0, stores, sinks };

    let mut out = Session::out();
    let written = if session.is_json() {
        serde_json::to_writer_pretty(&mut out, &findings).map_err(io::Error::from).and_then(|()| writeln!(out))
    } else {
        write_text(&mut out, &findings, session.style)
    };
    printed(written.and_then(|()| out.flush()))?;
    Ok(code)
}

fn check_store(store: &StoreSpec) -> StoreFinding {
    let error = match Store::open(&store.data_dir) {
        Ok(store) => store.missing_runs(),
        Err(error) => Some(error),
    };
    StoreFinding {
        name: store.name.clone(),
        data_dir: store.data_dir.display().to_string(),
        found_by: store.found_by.clone(),
        error: error.map(|error| error.to_string()),
    }
}

fn check_sink(sink: &SinkSpec, live: bool, console: &Arc<Console>, redactor: &Redactor) -> SinkFinding {
    let mut finding = SinkFinding {
        name: sink.name.clone(),
        plugin: sink.plugin_given.clone(),
        file: sink.plugin_path.display().to_string(),
        config: redactor.redact(&format!("{:?}", sink.config)).into_owned(),
        ..SinkFinding::default()
    };
    let allowed = sink.deadline.min(LIVE_DEADLINE);
    let (for_call, console, mut found) = (sink.clone(), Arc::clone(console), finding.clone());
    let examined = within(allowed + GRACE, &sink.name, move || {
        let result = examine(&for_call, live, allowed, &console, &mut found);
        (found, result)
    });
    let result = match examined {
        Ok(Some((found, result))) => {
            finding = found;
            result
        }
        Ok(None) => Err(("the plugin did not return in time".to_owned(), INCOMPLETE)),
        Err(error) => Err((format!("a thread: {error}"), INCOMPLETE)),
    };
    let (error, code) = match result {
        Ok(()) => (None, 0),
        Err((error, code)) => (Some(error), code),
    };
    finding.error = error.map(|error| redactor.redact(&error).into_owned());
    finding.code = code;
    for text in [&mut finding.destination, &mut finding.incarnation, &mut finding.version].into_iter().flatten() {
        *text = redactor.redact(text).into_owned();
    }
    finding.notes.iter_mut().for_each(|note| *note = redactor.redact(note).into_owned());
    finding
}

fn examine(
    sink: &SinkSpec,
    live: bool,
    allowed: Duration,
    console: &Arc<Console>,
    finding: &mut SinkFinding,
) -> Result<(), (String, u8)> {
    let wrong = |error: &dyn std::fmt::Display| (error.to_string(), WRONG);
    let away = |error: &dyn std::fmt::Display| (error.to_string(), INCOMPLETE);
    let plugin = Plugin::load(&sink.plugin_path, plugins::log_to(console)).map_err(|error| wrong(&error))?;
    finding.version = Some(plugin.description().version.clone());
    let deadline = Instant::now() + allowed;
    let is_cancelled = move || Instant::now() >= deadline;
    let call = HostCall { attempt: 1, deadline: Some(deadline), is_cancelled: &is_cancelled, dry_run: false };

    // Opened offline also to look at what is there: opening live would make tables, and a check changes nothing.
    let instance =
        plugin.open(sink.config.expose(), OpenMode::Offline, &call).map_err(|error| wrong(&sink.complaint(&error)))?;
    finding.destination = Some(instance.destination_id().to_owned());
    if live {
        let answer = instance.check(&call).map_err(|error| away(&error))?;
        finding.incarnation = answer.incarnation;
        finding.notes = answer.notes;
    }
    instance.close(&call).map_err(|error| away(&error))
}

fn write_text(out: &mut impl Write, findings: &Findings, style: Style) -> io::Result<()> {
    let mark = |error: &Option<String>| match error {
        None => style.paint(Tone::Good, "ok  "),
        Some(_) => style.paint(Tone::Bad, "FAIL"),
    };
    let complain = |out: &mut dyn Write, error: &Option<String>| {
        error.iter().flat_map(|error| error.lines()).try_for_each(|line| writeln!(out, "     {}", printable(line)))
    };
    for store in &findings.stores {
        let (name, data_dir) = (printable(&store.name), printable(&store.data_dir));
        writeln!(out, "{} store {name}: {data_dir} (found by {})", mark(&store.error), printable(&store.found_by))?;
        complain(out, &store.error)?;
    }
    for sink in &findings.sinks {
        let version = sink.version.as_ref().map(|version| format!(" {version}")).unwrap_or_default();
        writeln!(out, "{} sink {}: {}{version}", mark(&sink.error), printable(&sink.name), printable(&sink.plugin))?;
        writeln!(out, "     file: {}", printable(&sink.file))?;
        writeln!(out, "     config: {}", printable(&sink.config))?;
        if let Some(destination) = &sink.destination {
            writeln!(out, "     destination: {}", printable(destination))?;
        }
        for note in &sink.notes {
            writeln!(out, "     {}", printable(note))?;
        }
        complain(out, &sink.error)?;
    }
    Ok(())
}
