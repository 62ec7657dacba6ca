//! `show` for people: what the run was, then its steps, measurements and instruments.

use std::io::Write;

use arrow::array::RecordBatch;
use litmus_core::Table;
use litmus_core::reader::RunFile;

use super::show::{ShowError, each_instrument, each_row};
use crate::output::{Align, Cell, Style, TableWriter, Tone, json, outcome_tone, printable};

/// Columns of the run that are documents, not facts to read at a glance; `--format json` has them.
const DOCUMENTS: &[&str] = &["row_index", "environment_json", "custom_metadata", "step_results"];

/// A column of a printed table: its heading, its alignment, and the canonical column it shows.
type Shown = (&'static str, Align, &'static str);

const STEPS: &[Shown] = &[
    ("#", Align::Right, "row_index"),
    ("STEP", Align::Left, "step_path"),
    ("VECTOR", Align::Right, "vector_index"),
    ("STARTED", Align::Left, "step_started_at"),
    ("OUTCOME", Align::Left, "step_outcome"),
];
const MEASUREMENTS: &[Shown] = &[
    ("STEP", Align::Left, "step_path"),
    ("VECTOR", Align::Right, "vector_index"),
    ("MEASUREMENT", Align::Left, "measurement_name"),
    ("VALUE", Align::Right, "measurement_value"),
    ("UNIT", Align::Left, "measurement_units"),
    ("LOW", Align::Right, "limit_low"),
    ("HIGH", Align::Right, "limit_high"),
    ("OUTCOME", Align::Left, "measurement_outcome"),
];
const INSTRUMENTS: &[Shown] = &[
    ("INSTRUMENT", Align::Left, "instrument_name"),
    ("MANUFACTURER", Align::Left, "instrument_manufacturer"),
    ("MODEL", Align::Left, "instrument_model"),
    ("SERIAL", Align::Left, "instrument_serial"),
    ("RESOURCE", Align::Left, "instrument_resource"),
    ("CALIBRATION DUE", Align::Left, "instrument_cal_due"),
    ("SIMULATED", Align::Left, "instrument_mocked"),
];

pub(super) fn write(out: &mut impl Write, run: &RunFile, style: Style) -> Result<(), ShowError> {
    let summary = run.summary();
    each_row(run, Table::Runs, |batch, row| {
        for (at, field) in batch.schema_ref().fields().iter().enumerate() {
            let value = json::display(field, batch.column(at), row);
            if value.is_empty() || DOCUMENTS.contains(&field.name().as_str()) {
                continue;
            }
            let value = printable(&value).into_owned();
            let tone = if field.name() == "outcome" { outcome_tone(&value) } else { None };
            let value = tone.map_or_else(|| value.clone(), |tone| style.paint(tone, &value));
            writeln!(out, "{:<24}{value}", printable(field.name()))?;
        }
        Ok(())
    })?;
    writeln!(out, "{:<24}{}", "file", printable(&summary.path))?;
    writeln!(out, "{:<24}{}", "sha256", summary.sha256)?;

    heading(out, style, "Steps", summary.steps)?;
    table(out, style, STEPS, |row| each_row(run, Table::Steps, row))?;
    heading(out, style, "Measurements", summary.measurements)?;
    table(out, style, MEASUREMENTS, |row| each_row(run, Table::Measurements, row))?;
    let mut count = 0;
    each_instrument(run, |_, _, _| {
        count += 1;
        Ok(())
    })?;
    heading(out, style, "Instruments", count)?;
    table(out, style, INSTRUMENTS, |row| each_instrument(run, |batch, at, _| row(batch, at)))
}

fn heading(out: &mut impl Write, style: Style, name: &str, count: u64) -> std::io::Result<()> {
    writeln!(out, "\n{}", style.paint(Tone::Strong, &format!("{name} ({count})")))
}

fn table<W: Write>(
    out: &mut W,
    style: Style,
    shown: &[Shown],
    rows: impl FnOnce(&mut dyn FnMut(&RecordBatch, usize) -> std::io::Result<()>) -> Result<(), ShowError>,
) -> Result<(), ShowError> {
    let columns: Vec<_> = shown.iter().map(|(heading, align, _)| (*heading, *align)).collect();
    let mut table = TableWriter::new(out, style, &columns);
    rows(&mut |batch, row| {
        let cell = |(_, _, name): &Shown| {
            let Some((at, field)) = batch.schema_ref().column_with_name(name) else { return Cell::default() };
            let text = json::display(field, batch.column(at), row);
            Cell::toned(&text, if name.ends_with("outcome") { outcome_tone(&text) } else { None })
        };
        table.row(shown.iter().map(cell).collect())
    })?;
    Ok(table.finish()?)
}
