//! `recover`: the one command that writes into a data dir. It seals what our own recorder left in its journals.

use std::io::{self, Write};
use std::path::PathBuf;

use jiff::Timestamp;
use litmus_core::RunId;
use litmus_record::{Recovered, recover};
use serde::Serialize;

use super::failure::{Failure, INCOMPLETE};
use super::printed;
use super::session::Session;
use crate::output::say;

/// One run that was sealed; serialises as scripts rely on.
#[derive(Serialize)]
struct SealedLine {
    run_id: RunId,
    path: PathBuf,
    outcome: Option<&'static str>,
    run_started_at: Timestamp,
    run_ended_at: Timestamp,
}

pub(super) fn run(session: &Session) -> Result<u8, Failure> {
    let mut sealed = Vec::new();
    let mut failed = false;
    for store in session.config.stores()? {
        match recover(&store.data_dir) {
            Ok(all) => all.into_iter().for_each(|one| match line(one) {
                Ok(line) => sealed.push(line),
                Err(error) => {
                    failed = true;
                    tell(&error);
                }
            }),
            // Of several stores, one that is away does not stop the others.
            Err(error) => {
                failed = true;
                tell(&error);
            }
        }
    }
    let mut out = Session::out();
    let written = if session.is_json() { write_json(&mut out, &sealed) } else { write_lines(&mut out, &sealed) };
    printed(written.and_then(|()| out.flush()))?;
    Ok(if failed { INCOMPLETE } else { 0 })
}

fn line(one: Recovered) -> Result<SealedLine, litmus_record::RecordError> {
    let sealed = one.result?;
    Ok(SealedLine {
        run_id: sealed.run_id,
        path: sealed.path,
        outcome: sealed.outcome.map(litmus_record::Outcome::as_str),
        run_started_at: sealed.started_at,
        run_ended_at: sealed.ended_at,
    })
}

fn tell(error: &litmus_record::RecordError) {
    say(&format!("not recovered: {error}"));
    if let Some(hint) = error.hint() {
        say(&format!("hint: {hint}"));
    }
}

fn write_json(out: &mut impl Write, sealed: &[SealedLine]) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, sealed)?;
    out.write_all(b"\n")
}

fn write_lines(out: &mut impl Write, sealed: &[SealedLine]) -> io::Result<()> {
    for line in sealed {
        writeln!(out, "{}  {}  {}", line.run_id, line.outcome.unwrap_or("-"), line.path.display())?;
    }
    match sealed.len() {
        0 => writeln!(out, "nothing to recover"),
        1 => writeln!(out, "1 run sealed"),
        count => writeln!(out, "{count} runs sealed"),
    }
}
