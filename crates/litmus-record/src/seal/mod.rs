//! Sealing: what was recorded becomes one file, which is on the disk, whole, or not there at all.
//!
//! Invariants:
//! - The file appears under its final name by a rename, after its bytes were synced; the folder is synced after the rename.
//! - Its attachments lie where it refers to them before it appears.
//! - Nothing that stands there already is replaced.
//! - Every step can be done again: a crash in between, and the run is sealed by `recover`, to the same name.

mod attachments;
mod columns;
mod durable;
mod flat;
mod footer;
mod journal;
mod name;
mod nested;
mod small;
mod write;

use std::path::{Path, PathBuf};

use crate::data::RunData;
use crate::{Format, RecordError};

pub(crate) use attachments::Attachments;
pub(crate) use journal::{JournalFile, Replay, journals};
pub(crate) use name::{output_name, stem};

/// Below the data dir: journals, and attachments of runs that are not sealed yet.
const RECORDING: &str = "recording";

/// Ends the run, and seals it.
pub(crate) fn seal(data_dir: &Path, attachments: &Attachments, run: &mut RunData) -> Result<PathBuf, RecordError> {
    run.end(crate::run::now());
    keep_logs(attachments, run)?;
    let folder = data_dir.join("runs").join(name::date(run.header.started_at));
    let (columns, footer) = match run.header.format {
        Format::Flat => {
            let columns = flat::columns(run);
            let footer = footer::flat(run, &columns.renamed);
            (columns, footer)
        }
        Format::Nested => (nested::columns(run), footer::nested(run)),
    };
    let bytes = write::parquet(columns, footer)?;
    durable::create_folders(data_dir, &folder)?;
    attachments.publish(&folder, &run.header)?;
    durable::seal(&folder, &run.header, &bytes)
}

/// The path that the run has once sealed.
pub(crate) fn sealed_path(data_dir: &Path, header: &crate::data::Header) -> PathBuf {
    data_dir.join("runs").join(name::date(header.started_at)).join(format!("{}.parquet", header.stem))
}

/// A log is kept when its step ends; what is still there belongs to a step that did not end by itself, or came after it did.
fn keep_logs(attachments: &Attachments, run: &mut RunData) -> Result<(), RecordError> {
    for step in 0..run.steps.len() {
        let log = std::mem::take(&mut run.steps[step].log);
        if log.is_empty() {
            continue;
        }
        let reference = match attachments.write("log.jsonl", log.as_bytes()) {
            Ok(reference) => reference,
            Err(error) => {
                run.steps[step].log = log;
                return Err(error);
            }
        };
        let outputs = &mut run.steps[step].outputs;
        let key = output_name("log.jsonl", |key| outputs.iter().any(|(known, _)| known == key));
        outputs.push((key, crate::Value::Text(reference)));
    }
    Ok(())
}
