//! Seals what a program that died left in its journal.

use std::path::{Path, PathBuf};

use litmus_core::RunId;
use litmus_core::reader::RunFile;

use crate::seal::{self, Attachments, Replay};
use crate::{Outcome, RecordError, Sealed};

/// What became of one journal.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Recovered {
    /// The journal.
    pub journal: PathBuf,
    /// The run, where the journal says which.
    pub run_id: Option<RunId>,
    /// The sealed run, or why there is none; the journal is then still there.
    pub result: Result<Sealed, RecordError>,
}

/// Seals every run in the data dir's journals whose program is gone, as `aborted`; those of living programs are left alone.
///
/// A step that was open ends with the last thing that was recorded, and so does the run. Calling it again does no harm, nor do
/// two who call it at once: a journal is locked.
pub fn recover(data_dir: &Path) -> Result<Vec<Recovered>, RecordError> {
    if !data_dir.is_dir() {
        let error = RecordError::new(format!("{}: the data dir is not there, or no folder", data_dir.display()));
        return Err(error.with_hint("name the folder that holds runs/ and recording/"));
    }
    let mut all = Vec::new();
    for journal in seal::journals(data_dir)? {
        match Replay::read(&journal) {
            Ok(None) => {}
            Ok(Some(replay)) => {
                let run_id = Some(replay.run.header.run_id);
                all.push(Recovered { journal, run_id, result: seal_replayed(data_dir, replay) });
            }
            // Another has sealed it since it was listed.
            Err(_) if !journal.exists() => {}
            Err(error) => all.push(Recovered { journal, run_id: None, result: Err(error) }),
        }
    }
    Ok(all)
}

fn seal_replayed(data_dir: &Path, mut replay: Replay) -> Result<Sealed, RecordError> {
    let header = replay.run.header.clone();
    let path = seal::sealed_path(data_dir, &header);
    let (outcome, ended_at) = if let Some(sealed) = sealed_before(data_dir, &path, header.run_id) {
        // The program died between sealing the run and removing its journal.
        sealed
    } else {
        replay.run.end(replay.last);
        replay.run.outcome = Some(Outcome::Aborted);
        let attachments = Attachments::new(data_dir, &header);
        seal::seal(data_dir, &attachments, &mut replay.run)?;
        (replay.run.outcome, replay.last)
    };
    replay.done();
    let run_id = header.run_id;
    Ok(Sealed { run_id, path, outcome, started_at: header.started_at, ended_at, late: 0, journal_error: None })
}

fn sealed_before(data_dir: &Path, path: &Path, run_id: RunId) -> Option<(Option<Outcome>, jiff::Timestamp)> {
    let relative = path.strip_prefix(data_dir).ok()?;
    let file = RunFile::open(data_dir, relative).ok().filter(|file| file.run_id() == run_id)?;
    let summary = file.summary();
    let outcome = summary.run_outcome.as_deref().and_then(|outcome| outcome.parse().ok());
    Some((outcome, summary.run_ended_at?))
}
