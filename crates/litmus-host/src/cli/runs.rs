//! `runs`: what lies in the stores, one line a run file.

use std::io::{self, Write};

use jiff::Timestamp;
use litmus_core::{RunId, Sha256, Summary};
use serde::Serialize;

use super::args::RunsArgs;
use super::failure::{Failure, INCOMPLETE};
use super::printed;
use super::session::Session;
use super::stores::Stores;
use crate::output::{Align, Cell, Style, TableWriter, outcome_tone};

/// One run file; serialises as scripts rely on.
#[derive(Serialize)]
struct RunLine {
    run_id: RunId,
    sha256: Sha256,
    path: String,
    generation: String,
    run_started_at: Option<Timestamp>,
    run_ended_at: Option<Timestamp>,
    dut_serial: Option<String>,
    dut_part_number: Option<String>,
    station_id: Option<String>,
    run_outcome: Option<String>,
    outcome: String,
    outcome_derived: bool,
    steps: u64,
    vectors: u64,
    measurements: u64,
    /// With several stores only.
    #[serde(skip_serializing_if = "Option::is_none")]
    store: Option<String>,
}

impl RunLine {
    fn new(summary: &Summary, store: Option<String>) -> Self {
        let summary = summary.clone();
        Self {
            run_id: summary.run_id,
            sha256: summary.sha256,
            path: summary.path,
            generation: summary.generation,
            run_started_at: summary.run_started_at,
            run_ended_at: summary.run_ended_at,
            dut_serial: summary.dut_serial,
            dut_part_number: summary.dut_part_number,
            station_id: summary.station_id,
            run_outcome: summary.run_outcome,
            outcome: summary.outcome,
            outcome_derived: summary.outcome_derived,
            steps: summary.steps,
            vectors: summary.vectors,
            measurements: summary.measurements,
            store,
        }
    }
}

pub(super) fn run(session: &Session, args: &RunsArgs) -> Result<u8, Failure> {
    let mut stores = Stores::open(session)?;
    let several = stores.several();
    let mut lines = Vec::new();
    stores.each(|store, run| {
        let summary = run.summary();
        if args.since.is_none_or(|since| summary.run_started_at.is_some_and(|started| started >= since)) {
            lines.push(RunLine::new(summary, several.then(|| store.name.clone())));
        }
    });
    lines.sort_by(|a, b| (a.run_started_at, &a.path).cmp(&(b.run_started_at, &b.path)));

    let mut out = Session::out();
    let written = if session.is_json() {
        write_json(&mut out, &lines)
    } else {
        write_table(&mut out, &lines, several, session.style)
    };
    printed(written.and_then(|()| out.flush()))?;
    Ok(if stores.unreadable > 0 { INCOMPLETE } else { 0 })
}

/// An array with one object a line.
fn write_json(out: &mut impl Write, lines: &[RunLine]) -> io::Result<()> {
    out.write_all(b"[")?;
    for (at, line) in lines.iter().enumerate() {
        out.write_all(if at == 0 { b"\n" } else { b",\n" })?;
        serde_json::to_writer(&mut *out, line)?;
    }
    out.write_all(b"\n]\n")
}

fn write_table(out: &mut impl Write, lines: &[RunLine], several: bool, style: Style) -> io::Result<()> {
    let mut columns = vec![
        ("RUN", Align::Left),
        ("STARTED", Align::Left),
        ("SERIAL", Align::Left),
        ("PART", Align::Left),
        ("STATION", Align::Left),
        ("OUTCOME", Align::Left),
        ("STEPS", Align::Right),
        ("MEASUREMENTS", Align::Right),
        ("PATH", Align::Left),
    ];
    if several {
        columns.push(("STORE", Align::Left));
    }
    let id_len = unique_prefix_len(lines);
    let mut table = TableWriter::new(out, style, &columns);
    for line in lines {
        let text = |text: &Option<String>| Cell::from(text.as_deref().unwrap_or_default());
        let mut cells = vec![
            Cell::from(&line.run_id.to_string()[..id_len]),
            Cell::from(line.run_started_at.map(|time| format!("{time:.0}")).unwrap_or_default()),
            text(&line.dut_serial),
            text(&line.dut_part_number),
            text(&line.station_id),
            Cell::toned(&line.outcome, outcome_tone(&line.outcome)),
            Cell::from(line.steps.to_string()),
            Cell::from(line.measurements.to_string()),
            Cell::from(&line.path),
        ];
        if several {
            cells.push(text(&line.store));
        }
        table.row(cells)?;
    }
    table.finish()
}

/// How much of an id tells all of them apart: what is printed here must do for `show`.
fn unique_prefix_len(lines: &[RunLine]) -> usize {
    let mut ids: Vec<String> = lines.iter().map(|line| line.run_id.to_string()).collect();
    ids.sort_unstable();
    ids.dedup();
    let common = |pair: &[String]| pair[0].bytes().zip(pair[1].bytes()).take_while(|(a, b)| a == b).count();
    let needed = ids.windows(2).map(|pair| common(pair) + 1).max().unwrap_or(0);
    needed.max(8)
}
