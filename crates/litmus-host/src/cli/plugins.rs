//! `plugins`: what is found where, and why one cannot be used.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use litmus_core::Sha256;
use litmus_core::abi::host::Plugin;
use serde::Serialize;

use super::failure::{Failure, WRONG};
use super::printed;
use super::session::Session;
use crate::config::Redactor;
use crate::engine_api::Level;
use crate::output::{Align, Cell, Console, Style, TableWriter, Tone, printable};
use crate::trust;

#[derive(Serialize)]
struct PluginLine {
    file: PathBuf,
    found_by: String,
    /// A file of the same name in an earlier folder is used instead.
    shadowed: bool,
    /// Of the file: what `sha256` in the configuration pins.
    #[serde(skip_serializing_if = "Option::is_none")]
    sha256: Option<Sha256>,
    #[serde(flatten)]
    loaded: Loaded,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Loaded {
    Yes(Box<Usable>),
    No { error: String },
}

#[derive(Serialize)]
struct Usable {
    name: String,
    version: String,
    abi: String,
    capabilities: litmus_core::Capabilities,
}

pub(super) fn run(session: &Session) -> Result<u8, Failure> {
    let console = Arc::new(Console::new(session.console, Redactor::default()));
    session.tell_notes(&console);
    let mut lines = Vec::new();
    let mut given_failed = false;
    if session.plugins_given() {
        for sink in session.config.sink_names() {
            let path = session.config.find_plugin(sink)?;
            let loaded = load(session, &path, Some(sink), &console);
            given_failed |= matches!(loaded, Loaded::No { .. });
            let sha256 = sha256(&path);
            lines.push(PluginLine { file: path, found_by: "--plugin".to_owned(), shadowed: false, sha256, loaded });
        }
    }
    for found in session.config.search.list() {
        if lines.iter().all(|line| line.file != found.path) {
            let loaded = load(session, &found.path, None, &console);
            lines.push(PluginLine {
                sha256: sha256(&found.path),
                file: found.path,
                found_by: found.because.to_owned(),
                shadowed: found.shadowed,
                loaded,
            });
        }
    }
    let mut out = Session::out();
    let written = if session.is_json() {
        serde_json::to_writer_pretty(&mut out, &lines).map_err(io::Error::from).and_then(|()| writeln!(out))
    } else {
        write_table(&mut out, &lines, session)
    };
    printed(written.and_then(|()| out.flush()))?;
    Ok(if given_failed { WRONG } else { 0 })
}

fn sha256(path: &Path) -> Option<Sha256> {
    trust::sha256(path).ok()
}

/// Loads what the configuration trusts: listing a file must not run its code where forwarding would not.
fn load(session: &Session, path: &Path, sink: Option<&str>, console: &Arc<Console>) -> Loaded {
    if let Err(why) = session.config.trust(path, sink) {
        return Loaded::No { error: why.told() };
    }
    match Plugin::load(path, log_to(console)) {
        Ok(plugin) => {
            let description = plugin.description();
            Loaded::Yes(Box::new(Usable {
                name: description.name.clone(),
                version: description.version.clone(),
                abi: plugin.abi(),
                capabilities: description.capabilities,
            }))
        }
        Err(error) => Loaded::No { error: error.to_string() },
    }
}

/// A plugin's log as lines of ours.
pub(super) fn log_to(console: &Arc<Console>) -> litmus_core::abi::host::LogFn {
    let console = Arc::clone(console);
    Arc::new(move |level, target: &str, message: &str| console.log(Level::from_number(level), target, message, &[]))
}

fn write_table(out: &mut impl Write, lines: &[PluginLine], session: &Session) -> io::Result<()> {
    let columns = ["NAME", "VERSION", "ABI", "CAN", "FILE", "FOUND BY", "SHA256"].map(|name| (name, Align::Left));
    let mut table = TableWriter::new(&mut *out, session.style, &columns);
    for line in lines {
        if let Loaded::Yes(plugin) = &line.loaded {
            let shadowed = if line.shadowed { " (another of this name comes first)" } else { "" };
            table.row(vec![
                Cell::from(&plugin.name),
                Cell::from(&plugin.version),
                Cell::from(&plugin.abi),
                Cell::from(abilities(&plugin.capabilities)),
                Cell::from(line.file.to_string_lossy()),
                Cell::from(format!("{}{shadowed}", line.found_by)),
                Cell::from(line.sha256.map(|sha256| sha256.to_string()).unwrap_or_default()),
            ])?;
        }
    }
    table.finish()?;
    for line in lines {
        if let Loaded::No { error } = &line.loaded {
            writeln!(out, "{} {}", session.style.paint(Tone::Bad, "cannot be used:"), indented(error))?;
        }
    }
    if lines.is_empty() {
        write_folders(out, session, session.style)?;
    }
    Ok(())
}

/// A hint on a second line stays with its error.
fn indented(text: &str) -> String {
    text.lines().map(printable).collect::<Vec<_>>().join("\n  ")
}

fn write_folders(out: &mut impl Write, session: &Session, style: Style) -> io::Result<()> {
    writeln!(out, "{}", style.paint(Tone::Warn, "no plugin was found; these folders were searched:"))?;
    for folder in session.config.search.folders() {
        writeln!(out, "  {} ({})", printable(&folder.path.to_string_lossy()), folder.because)?;
    }
    writeln!(out, "--plugin-dir names another one")
}

fn abilities(capabilities: &litmus_core::Capabilities) -> String {
    let flags = [
        (capabilities.dedup, "dedup"),
        (capabilities.audit, "audit"),
        (capabilities.moves_file, "moves files"),
        (capabilities.dry_run, "dry run"),
    ];
    let mut names: Vec<String> = flags.iter().filter(|(can, _)| *can).map(|(_, name)| (*name).to_owned()).collect();
    names.push(format!("{:?}", capabilities.grade_max).to_lowercase());
    if capabilities.max_concurrent_delivers > 1 {
        names.push(format!("{} at once", capabilities.max_concurrent_delivers));
    }
    names.join(", ")
}
