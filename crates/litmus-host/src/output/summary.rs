//! How `forward` ended, on stdout.

use std::io::{self, Write};

use serde::Serialize;

use super::style::{Style, Tone, printable, printable_lines};
use super::table::{Align, Cell, TableWriter};
use crate::engine_api::{ForwardOutcome, SinkOutcome};

/// For people: one line a sink, then what stays behind and why.
pub(crate) fn write_outcome_table(out: &mut impl Write, outcome: &ForwardOutcome, style: Style) -> io::Result<()> {
    let gone = outcome.sinks.iter().any(|sink| sink.gone > 0);
    let mut columns = vec![("SINK", Align::Left), ("DESTINATION", Align::Left), ("STATE", Align::Left)];
    let delivered = if outcome.dry_run { "WOULD DELIVER" } else { "DELIVERED" };
    columns.extend(
        [delivered, "ALREADY PRESENT", "SUPERSEDED", "QUARANTINED", "PENDING"].map(|name| (name, Align::Right)),
    );
    if gone {
        columns.push(("GONE", Align::Right));
    }
    let mut table = TableWriter::new(&mut *out, style, &columns);
    for sink in &outcome.sinks {
        let state = if sink.state == "up" { Tone::Good } else { Tone::Bad };
        let mut cells =
            vec![Cell::from(&sink.name), Cell::from(&sink.destination), Cell::toned(&sink.state, Some(state))];
        cells.push(count(sink.delivered, Some(Tone::Good)));
        cells.push(count(sink.already_present, None));
        cells.push(count(sink.superseded, None));
        cells.push(count(sink.quarantined, Some(Tone::Bad)));
        cells.push(count(sink.pending, Some(Tone::Warn)));
        if gone {
            cells.push(count(sink.gone, Some(Tone::Bad)));
        }
        table.row(cells)?;
    }
    table.finish()?;
    for sink in &outcome.sinks {
        for problem in &sink.problems {
            writeln!(out, "{}: {}", printable(&sink.name), printable_lines(problem))?;
        }
    }
    for sink in &outcome.sinks {
        if !sink.would_deliver.is_empty() {
            writeln!(out, "{} would get:", printable(&sink.name))?;
        }
        for run_id in &sink.would_deliver {
            writeln!(out, "  {run_id}")?;
        }
        if !sink.planned.is_empty() {
            writeln!(out, "{} would first run:", printable(&sink.name))?;
        }
        for statement in &sink.planned {
            writeln!(out, "  {};", printable(statement))?;
        }
    }
    if !outcome.unreadable.is_empty() {
        let (count, new) = (outcome.unreadable.len(), outcome.new_unreadable);
        writeln!(out, "{}", style.paint(Tone::Warn, &format!("{count} unreadable files, {new} of them new:")))?;
        for (path, reason) in &outcome.unreadable {
            // The reason of a read error names its file.
            let path = if reason.contains(path.as_str()) { String::new() } else { format!("{}: ", printable(path)) };
            writeln!(out, "  {path}{}", printable(reason))?;
        }
    }
    for trouble in &outcome.troubles {
        writeln!(out, "{}", style.paint(Tone::Bad, &printable(trouble)))?;
    }
    if outcome.nothing_pending {
        writeln!(out, "nothing was pending")?;
    }
    Ok(())
}

fn count(count: u64, tone: Option<Tone>) -> Cell {
    Cell::toned(&count.to_string(), tone.filter(|_| count > 0))
}

#[derive(Serialize)]
struct OutcomeJson<'a> {
    complete: bool,
    dry_run: bool,
    nothing_pending: bool,
    sinks: &'a [SinkOutcome],
    unreadable: Vec<UnreadableJson<'a>>,
    new_unreadable: usize,
    troubles: &'a [String],
}

#[derive(Serialize)]
struct UnreadableJson<'a> {
    path: &'a str,
    reason: &'a str,
}

/// The same for programs.
pub(crate) fn write_outcome_json(out: &mut impl Write, outcome: &ForwardOutcome) -> io::Result<()> {
    let unreadable = outcome.unreadable.iter().map(|(path, reason)| UnreadableJson { path, reason }).collect();
    let json = OutcomeJson {
        complete: outcome.is_complete(),
        dry_run: outcome.dry_run,
        nothing_pending: outcome.nothing_pending,
        sinks: &outcome.sinks,
        unreadable,
        new_unreadable: outcome.new_unreadable,
        troubles: &outcome.troubles,
    };
    serde_json::to_writer_pretty(&mut *out, &json)?;
    writeln!(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn outcome() -> ForwardOutcome {
        ForwardOutcome {
            sinks: vec![SinkOutcome {
                name: "db".into(),
                destination: "sqlite:/srv/out.db".into(),
                state: "up".into(),
                delivered: 167,
                pending: 2,
                problems: vec!["run 0198…: data: no\x1b way".into()],
                ..SinkOutcome::default()
            }],
            unreadable: vec![("runs/a.parquet".into(), "torn".into())],
            new_unreadable: 1,
            troubles: vec!["bench-8: the data dir is not there".into()],
            nothing_pending: false,
            dry_run: false,
        }
    }

    #[test]
    fn people_see_a_table_and_what_stays_behind() {
        let mut out = Vec::new();
        write_outcome_table(&mut out, &outcome(), Style::new(false)).unwrap();
        insta::assert_snapshot!(String::from_utf8(out).unwrap(), @r"
        SINK  DESTINATION         STATE  DELIVERED  ALREADY PRESENT  SUPERSEDED  QUARANTINED  PENDING
        db    sqlite:/srv/out.db  up           167                0           0            0        2
        db: run 0198…: data: no\u{1b} way
        1 unreadable files, 1 of them new:
          runs/a.parquet: torn
        bench-8: the data dir is not there
        ");
    }

    #[test]
    fn programs_get_the_same_numbers() {
        let mut out = Vec::new();
        write_outcome_json(&mut out, &outcome()).unwrap();
        let value: Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(value["complete"], json!(false));
        assert_eq!(value["sinks"][0]["delivered"], json!(167));
        assert_eq!(value["unreadable"], json!([{"path": "runs/a.parquet", "reason": "torn"}]));
    }
}
