//! `show`: one run whole, streamed: a run can have millions of measurements.

use std::collections::HashSet;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use arrow::array::RecordBatch;
use litmus_core::reader::{ReadError, RunFile};
use litmus_core::{Rank, RunId, Table};

use super::args::ShowArgs;
use super::failure::{Failure, INCOMPLETE, split_hint};
use super::session::Session;
use super::stores::Stores;
use super::{printed, show_table};
use crate::output::{json, say};

/// Where an instrument is listed, not what it is.
const USE_OF_INSTRUMENT: &[&str] = &["run_id", "row_index", "instrument_index", "owner"];
/// An ambiguous prefix lists so many runs.
const CANDIDATES_MAX: usize = 10;

pub(super) fn run(session: &Session, args: &ShowArgs) -> Result<u8, Failure> {
    let run = find(session, &args.run)?;
    let mut out = Session::out();
    let shown =
        if session.is_json() { write_json(&mut out, &run) } else { show_table::write(&mut out, &run, session.style) };
    match shown.and_then(|()| Ok(out.flush()?)) {
        Ok(()) => Ok(0),
        Err(ShowError::Out(error)) => printed(Err(error)).map(|()| 0),
        Err(ShowError::Read(message)) => {
            let (message, hint) = split_hint(&message);
            Err(Failure { code: INCOMPLETE, message, hint })
        }
    }
}

/// What stopped the output.
#[derive(Debug)]
pub(super) enum ShowError {
    /// It cannot be written.
    Out(io::Error),
    /// The file cannot be read to its end.
    Read(String),
}

impl From<io::Error> for ShowError {
    fn from(error: io::Error) -> Self {
        Self::Out(error)
    }
}

impl From<ReadError> for ShowError {
    fn from(error: ReadError) -> Self {
        Self::Read(error.to_string())
    }
}

struct Candidate {
    run_id: RunId,
    rank: Rank,
    data_dir: PathBuf,
    path: String,
    line: String,
}

/// The run whose id starts so; of several revisions the one that wins.
fn find(session: &Session, given: &str) -> Result<RunFile, Failure> {
    let wanted = id_prefix(given)?;
    let mut stores = Stores::open(session)?;
    let mut candidates: Vec<Candidate> = Vec::new();
    stores.each(|store, run| {
        let summary = run.summary();
        if normal(&summary.run_id.to_string()).starts_with(&wanted) {
            let started = summary.run_started_at.map(|time| format!("{time:.0}")).unwrap_or_default();
            let serial = summary.dut_serial.as_deref().unwrap_or("no serial");
            candidates.push(Candidate {
                run_id: summary.run_id,
                rank: summary.rank(),
                data_dir: store.data_dir.clone(),
                path: summary.path.clone(),
                line: format!("{}  {started}  {serial}  {}", summary.run_id, summary.outcome),
            });
        }
    });
    candidates.sort_by(|a, b| (a.run_id, b.rank).cmp(&(b.run_id, a.rank)));
    let Some(first) = candidates.first() else {
        let also = match stores.unreadable {
            0 => String::new(),
            count => format!(" ({count} files could not be read)"),
        };
        return Err(Failure::wrong(format!("no run's id starts with \"{given}\"{also}"))
            .with_hint("litmus-host runs lists them; --data-dir names another data dir"));
    };
    let mut ids: Vec<&Candidate> = candidates.iter().collect();
    ids.dedup_by_key(|candidate| candidate.run_id);
    if ids.len() > 1 {
        let mut list: Vec<String> =
            ids.iter().take(CANDIDATES_MAX).map(|one| format!("\n  {}", crate::output::printable(&one.line))).collect();
        if ids.len() > CANDIDATES_MAX {
            list.push(format!("\n  and {} more", ids.len() - CANDIDATES_MAX));
        }
        let message = format!("{} runs' ids start with \"{given}\":{}", ids.len(), list.concat());
        return Err(Failure::wrong(message).with_hint("give more of the id"));
    }
    for other in &candidates[1..] {
        say(&format!("note: {} holds the same run; {} is shown", other.path, first.path));
    }
    Ok(RunFile::open(&first.data_dir, Path::new(&first.path))?)
}

/// The beginning of an id as it is compared.
pub(super) fn id_prefix(given: &str) -> Result<String, Failure> {
    let wanted = normal(given);
    if wanted.is_empty() || !wanted.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(Failure::wrong(format!("\"{given}\" is not the beginning of a run's id"))
            .with_hint("ids are UUIDs, such as 0198c2d4-…; litmus-host runs lists them"));
    }
    Ok(wanted)
}

/// Ids compare without case and hyphens.
fn normal(id: &str) -> String {
    id.chars().filter(|c| *c != '-').flat_map(char::to_lowercase).collect()
}

/// Calls `visit` for each row of a table, in order.
pub(super) fn each_row(
    run: &RunFile,
    table: Table,
    mut visit: impl FnMut(&RecordBatch, usize) -> io::Result<()>,
) -> Result<(), ShowError> {
    for batch in run.open_table(table)? {
        let batch = batch.map_err(|error| ShowError::Read(format!("{}: {table}: {error}", run.summary().path)))?;
        for row in 0..batch.num_rows() {
            visit(&batch, row)?;
        }
    }
    Ok(())
}

/// Calls `visit` for each instrument once, however often it is listed.
pub(super) fn each_instrument(
    run: &RunFile,
    mut visit: impl FnMut(&RecordBatch, usize, &str) -> io::Result<()>,
) -> Result<(), ShowError> {
    let mut seen = HashSet::new();
    each_row(run, Table::Instruments, |batch, row| {
        let mut text = Vec::new();
        json::write_row(&mut text, batch, row, USE_OF_INSTRUMENT)?;
        let text = String::from_utf8(text).map_err(io::Error::other)?;
        if seen.contains(&text) {
            return Ok(());
        }
        visit(batch, row, &text)?;
        seen.insert(text);
        Ok(())
    })
}

/// One object; within the tables, one row a line.
fn write_json(out: &mut impl Write, run: &RunFile) -> Result<(), ShowError> {
    let summary = run.summary();
    write!(out, "{{\"run\":{{\"run_id\":\"{}\",\"sha256\":\"{}\",\"path\":", summary.run_id, summary.sha256)?;
    json::write_text(out, &summary.path)?;
    out.write_all(b",\"generation\":")?;
    json::write_text(out, &summary.generation)?;
    each_row(run, Table::Runs, |batch, row| {
        json::write_members(out, batch, row, &["run_id", "sha256", "path", "generation"], false)
    })?;
    out.write_all(b"}")?;
    for table in [Table::Steps, Table::Vectors, Table::Measurements] {
        write!(out, ",\n\"{table}\":[")?;
        let mut first = true;
        each_row(run, table, |batch, row| {
            out.write_all(if first { b"\n" } else { b",\n" })?;
            first = false;
            json::write_row(out, batch, row, &[])
        })?;
        out.write_all(b"]")?;
    }
    write!(out, ",\n\"{}\":[", Table::Instruments)?;
    let mut first = true;
    each_instrument(run, |_, _, text| {
        out.write_all(if first { b"\n" } else { b",\n" })?;
        first = false;
        out.write_all(text.as_bytes())
    })?;
    out.write_all(b"]}\n")?;
    Ok(())
}
