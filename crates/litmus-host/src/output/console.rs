//! The log on stderr, and the progress bars that stand below it on a terminal.

use std::collections::HashMap;
use std::io::{self, Write};
use std::sync::Mutex;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use litmus_core::{RetryClass, Status};
use serde_json::{Map, Value, json};

use super::style::{Style, Tone, printable};
use crate::config::{Redactor, format_duration};
use crate::engine_api::{Event, Level, Observer};

/// How the log looks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ConsoleSettings {
    /// Lines above this level are not printed.
    pub(crate) level: Level,
    /// One JSON object a line.
    pub(crate) json: bool,
    /// Colour, or none.
    pub(crate) style: Style,
    /// Somebody is watching: no timestamps, and bars if asked for.
    pub(crate) terminal: bool,
}

/// Prints events. Every text passes the redactor: a plugin may quote its configuration.
pub(crate) struct Console {
    settings: ConsoleSettings,
    redactor: Redactor,
    bars: Option<Bars>,
}

struct Bars {
    all: MultiProgress,
    by_sink: Mutex<HashMap<String, ProgressBar>>,
}

impl Console {
    /// Log lines only.
    pub(crate) fn new(settings: ConsoleSettings, redactor: Redactor) -> Self {
        Self { settings, redactor, bars: None }
    }

    /// Log lines, and on a terminal a bar for each sink below them.
    pub(crate) fn with_bars(settings: ConsoleSettings, redactor: Redactor) -> Self {
        let wanted = settings.terminal && !settings.json && settings.level > Level::Error;
        let bars = wanted.then(|| Bars {
            all: MultiProgress::with_draw_target(ProgressDrawTarget::stderr()),
            by_sink: Mutex::default(),
        });
        Self { settings, redactor, bars }
    }

    /// What the redactor leaves of a text.
    pub(crate) fn redact(&self, text: &str) -> String {
        self.redactor.redact(text).into_owned()
    }

    /// Takes the bars away; what follows is printed in their place.
    pub(crate) fn finish(&self) {
        if let Some(bars) = &self.bars {
            let _ = bars.all.clear();
        }
    }

    /// Prints a line if its level is wanted. `fields` are for programs; the message says all to people.
    pub(crate) fn log(&self, level: Level, target: &str, message: &str, fields: &[(&str, Value)]) {
        if level > self.settings.level {
            return;
        }
        let message = self.redactor.redact(message);
        let line = self.line(level, target, &message, fields);
        match &self.bars {
            Some(bars) => bars.all.suspend(|| say(&line)),
            None => say(&line),
        }
    }

    fn line(&self, level: Level, target: &str, message: &str, fields: &[(&str, Value)]) -> String {
        if self.settings.json {
            let mut line = Map::new();
            line.insert("timestamp".to_owned(), json!(jiff::Timestamp::now().to_string()));
            line.insert("level".to_owned(), json!(level));
            line.insert("target".to_owned(), json!(target));
            line.insert("message".to_owned(), json!(message));
            for (name, value) in fields {
                let value = value.as_str().map_or_else(|| value.clone(), |text| json!(self.redactor.redact(text)));
                line.insert((*name).to_owned(), value);
            }
            return Value::Object(line).to_string();
        }
        let message = printable(message);
        let target = printable(target);
        let tone = match level {
            Level::Error => Tone::Bad,
            Level::Warn => Tone::Warn,
            Level::Info => Tone::Strong,
            Level::Debug => Tone::Faint,
        };
        let name = self.settings.style.paint(tone, level.name());
        if self.settings.terminal {
            return format!("{name}: {target}: {message}");
        }
        let now = jiff::Timestamp::now();
        format!("{now:.3} {name} {target}: {message}")
    }

    fn progress(&self, sink: &str, pending: u64, committed: u64) {
        let Some(bars) = &self.bars else { return };
        let mut by_sink = bars.by_sink.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let bar = by_sink.entry(sink.to_owned()).or_insert_with(|| {
            let style = ProgressStyle::with_template("{prefix:>16} {bar:30} {pos}/{len} runs {rate} {wide_msg}")
                .expect("a fixed template")
                .with_key("rate", |state: &ProgressState, out: &mut dyn std::fmt::Write| {
                    // A rate that cannot be written is not shown.
                    let _ = write!(out, "{:.0}/s", state.per_sec());
                });
            bars.all.add(ProgressBar::new(0).with_style(style).with_prefix(printable(sink).into_owned()))
        });
        bar.set_length(pending + committed);
        bar.set_position(committed);
    }

    fn bar_message(&self, sink: &str, message: String) {
        let Some(bars) = &self.bars else { return };
        let by_sink = bars.by_sink.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(bar) = by_sink.get(sink) {
            bar.set_message(message);
        }
    }
}

impl Observer for Console {
    fn event(&self, event: &Event) {
        match event {
            Event::ScanFinished { store, files, new, unreadable } => {
                // A watching host scans every few seconds; only news is told.
                let level = if *new > 0 { Level::Info } else { Level::Debug };
                let message = format!("{files} files, {new} new, {unreadable} unreadable");
                let fields = [("files", json!(files)), ("new", json!(new)), ("unreadable", json!(unreadable))];
                self.log(level, store, &message, &fields);
            }
            Event::SinkState { sink, from, to, why } => {
                let level = if to == "up" { Level::Info } else { Level::Warn };
                let message =
                    if why.is_empty() { format!("{from} → {to}") } else { format!("{from} → {to}: {why}") };
                self.log(level, sink, &message, &[("from", json!(from)), ("to", json!(to)), ("why", json!(why))]);
                self.bar_message(sink, if to == "up" { String::new() } else { to.clone() });
            }
            Event::RunDone { sink, run_id, status, message } => {
                let text = if message.is_empty() { String::new() } else { format!(": {message}") };
                let fields = [("run_id", json!(run_id)), ("status", json!(status.name()))];
                self.log(level_of(*status), sink, &format!("run {run_id}: {status}{text}"), &fields);
            }
            // A bar says the same.
            Event::BatchDone { .. } if self.bars.is_some() => {}
            Event::BatchDone { sink, runs, bytes, elapsed } => {
                let message = format!("{runs} runs ({} kB) in {}", bytes.div_ceil(1000), format_duration(*elapsed));
                let elapsed_ms = json!(elapsed.as_millis() as u64);
                self.log(
                    Level::Info,
                    sink,
                    &message,
                    &[("runs", json!(runs)), ("bytes", json!(bytes)), ("elapsed_ms", elapsed_ms)],
                );
            }
            Event::Unreadable { path, reason } => {
                let message = if reason.contains(path.as_str()) { reason.clone() } else { format!("{path}: {reason}") };
                self.log(
                    Level::Warn,
                    "store",
                    &message.replace('\n', " "),
                    &[("path", json!(path)), ("reason", json!(reason))],
                );
            }
            Event::Progress { sink, pending, committed } => self.progress(sink, *pending, *committed),
            Event::Log { level, target, message } => self.log(*level, target, message, &[]),
        }
    }
}

/// A run that arrived is a detail, one that will be tried again is told by its sink's state; one at fault is news.
fn level_of(status: Status) -> Level {
    match status.class() {
        RetryClass::Final | RetryClass::Retry | RetryClass::BlocksSink => Level::Debug,
        RetryClass::Suspect => Level::Warn,
    }
}

/// Lines on stderr, without what could move the cursor; that nobody reads them is no reason to stop.
pub(crate) fn say(lines: &str) {
    let mut out = io::stderr().lock();
    for line in lines.split('\n') {
        let _ = writeln!(out, "{}", printable(line));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn console(json: bool, terminal: bool) -> Console {
        let settings = ConsoleSettings { level: Level::Info, json, style: Style::new(false), terminal };
        Console::new(settings, Redactor::new(["s3cr3t".to_owned()]))
    }

    #[test]
    fn lines_for_people_have_no_control_characters_and_no_secrets() {
        let console = console(false, true);
        let message = console.redact("cannot log in as bench:s3cr3t\x1b[2J");
        assert_eq!(console.line(Level::Warn, "db", &message, &[]), "warn: db: cannot log in as bench:***\\u{1b}[2J");
    }

    #[test]
    fn lines_for_programs_are_json_with_their_fields_redacted() {
        let line =
            console(true, false).line(Level::Info, "db", "hello", &[("why", json!("s3cr3t")), ("runs", json!(3))]);
        let line: Value = serde_json::from_str(&line).unwrap();
        assert!(line["timestamp"].as_str().unwrap().parse::<jiff::Timestamp>().is_ok());
        assert_eq!(line["level"], "info");
        assert_eq!(line["why"], "***");
        assert_eq!(line["runs"], 3);
    }

    #[test]
    fn a_run_at_fault_is_news_and_a_delivered_one_is_not() {
        assert_eq!(level_of(Status::Delivered), Level::Debug);
        assert_eq!(level_of(Status::Transient), Level::Debug);
        assert_eq!(level_of(Status::Data), Level::Warn);
    }
}
