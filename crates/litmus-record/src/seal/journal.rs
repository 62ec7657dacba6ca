//! The journal: `<data_dir>/recording/<run id>.jsonl`, a line for each event, as it comes.
//!
//! The first line is `{"litmus_journal": 1, "header": {…}}`. A line that a crash cut off is the last one, and has no newline.
//! The program that records holds a lock on the file; when it is gone, so is the lock.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};

use super::{RECORDING, durable, name};
use crate::RecordError;
use crate::data::{Event, Header, RunData};

const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
struct First<H> {
    litmus_journal: u32,
    header: H,
}

#[derive(Serialize, Deserialize)]
struct Line<E> {
    at: Timestamp,
    #[serde(flatten)]
    event: E,
}

/// The journal of a run that is being recorded.
#[derive(Debug)]
pub(crate) struct JournalFile {
    file: File,
    path: PathBuf,
    is_synced: bool,
    line: Vec<u8>,
}

impl JournalFile {
    pub(crate) fn create(data_dir: &Path, header: &Header, is_synced: bool) -> Result<Self, RecordError> {
        let folder = data_dir.join(RECORDING);
        durable::create_folders(data_dir, &folder)?;
        let path = folder.join(format!("{}.jsonl", header.run_id));
        let temporary = folder.join(format!("{}.tmp", header.run_id));
        let cannot = |error: io::Error| RecordError::io(&path, "the journal cannot be made", &error);
        let mut line = serde_json::to_vec(&First { litmus_journal: VERSION, header })
            .map_err(|error| RecordError::new(format!("{}: {error}", path.display())))?;
        line.push(b'\n');
        let mut file = OpenOptions::new().append(true).create(true).open(&temporary).map_err(cannot)?;
        // Locked before it has its name, so that `recover` never finds it free.
        rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).map_err(|error| cannot(error.into()))?;
        file.set_len(0).and_then(|()| file.write_all(&line)).and_then(|()| file.sync_all()).map_err(cannot)?;
        durable::rename_new(&temporary, &path).map_err(cannot)?;
        durable::sync_folder(&folder)?;
        Ok(Self { file, path, is_synced, line })
    }

    /// Writes one event down, in one write.
    pub(crate) fn append(&mut self, at: Timestamp, event: &Event) -> Result<(), RecordError> {
        self.line.clear();
        let cannot = |error: io::Error| RecordError::io(&self.path, "the journal cannot be written", &error);
        serde_json::to_writer(&mut self.line, &Line { at, event }).map_err(|error| cannot(error.into()))?;
        self.line.push(b'\n');
        self.file.write_all(&self.line).map_err(cannot)?;
        if self.is_synced {
            self.file.sync_data().map_err(cannot)?;
        }
        Ok(())
    }

    /// The run is sealed, or was not to be saved. If the file cannot be removed, `recover` finds the run sealed.
    pub(crate) fn remove(self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// What a journal says.
#[derive(Debug)]
pub(crate) struct Replay {
    pub(crate) run: RunData,
    /// When the last event happened.
    pub(crate) last: Timestamp,
    journal: JournalFile,
}

impl Replay {
    /// Reads a journal whose program is gone; `None` where it lives.
    pub(crate) fn read(path: &Path) -> Result<Option<Self>, RecordError> {
        let cannot = |error: io::Error| RecordError::io(path, "the journal cannot be read", &error);
        let file = OpenOptions::new().read(true).append(true).open(path).map_err(cannot)?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Ok(None),
            Err(error) => return Err(cannot(error.into())),
        }
        let bytes = fs::read(path).map_err(cannot)?;
        let damaged = |number: usize, what: &dyn std::fmt::Display| {
            RecordError::new(format!("{}: line {number}: {what}", path.display())).with_hint(
                "the journal is damaged; cut it off before that line to seal what came before, or move it away",
            )
        };
        // What has no newline was cut off: the test had not gone on from there.
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let mut lines = bytes[..whole].split_inclusive(|byte| *byte == b'\n').enumerate();
        let Some((_, first)) = lines.next() else {
            let empty = RecordError::new(format!("{}: the journal holds nothing", path.display()));
            return Err(empty.with_hint("remove it: no run can be made of it"));
        };
        let first: First<Header> = serde_json::from_slice(first).map_err(|error| damaged(1, &error))?;
        if first.litmus_journal != VERSION {
            return Err(damaged(1, &format!("the journal is of version {}", first.litmus_journal))
                .with_hint("recover it with the release that wrote it"));
        }
        if !name::is_plain(&first.header.stem) {
            return Err(damaged(1, &format!("{:?} cannot be the name of its file", first.header.stem)));
        }
        let mut last = first.header.started_at;
        let mut run = RunData::new(first.header);
        for (at, line) in lines {
            let line: Line<Event> = serde_json::from_slice(line).map_err(|error| damaged(at + 1, &error))?;
            let what = line.event.what();
            last = last.max(line.at);
            run.apply(line.at, line.event)
                .map_err(|_| damaged(at + 1, &format!("{what} speaks of a step that is not there")))?;
        }
        let journal = JournalFile { file, path: path.to_owned(), is_synced: false, line: Vec::new() };
        Ok(Some(Self { run, last, journal }))
    }

    /// The run is sealed.
    pub(crate) fn done(self) {
        self.journal.remove();
    }
}

/// How long nobody takes to make a journal.
const ABANDONED: std::time::Duration = std::time::Duration::from_mins(1);

/// The journals of a data dir, in the order of their names. One that a crash left before it had its name holds nothing, and is
/// removed.
pub(crate) fn journals(data_dir: &Path) -> Result<Vec<PathBuf>, RecordError> {
    let folder = data_dir.join(RECORDING);
    let entries = match fs::read_dir(&folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(|error| RecordError::io(&folder, "the journals cannot be read", &error))?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|error| RecordError::io(&folder, "the journals cannot be read", &error))?;
        let path = entry.path();
        let age = || entry.metadata()?.modified()?.elapsed().map_err(io::Error::other);
        match path.extension() {
            Some(extension) if extension == "jsonl" => found.push(path),
            Some(extension) if extension == "tmp" && age().is_ok_and(|age| age > ABANDONED) => {
                let _ = fs::remove_file(path);
            }
            _ => {}
        }
    }
    found.sort();
    Ok(found)
}
