//! Files that go with a run. While it is recorded they lie in `<data_dir>/recording/<run id>_ref/`, where no reader takes one
//! for a run; sealing moves them to where the format has them.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use litmus_core::RunId;

use super::{RECORDING, durable, name};
use crate::data::Header;
use crate::{Format, RecordError};

/// The files of one run.
#[derive(Debug)]
pub(crate) struct Attachments {
    data_dir: PathBuf,
    folder: PathBuf,
    /// What stands before the file's name in a reference.
    prefix: String,
    /// Whether what was never sealed is thrown away with the run.
    forget: AtomicBool,
    /// Who records: a child that it forks has the same handles, and must not throw anything away.
    process: u32,
    /// Whether something was stored that is not yet where the sealed file refers to it.
    waits: AtomicBool,
}

impl Attachments {
    pub(crate) fn new(data_dir: &Path, header: &Header) -> Self {
        let prefix = match header.format {
            Format::Flat => "file://_ref/".to_owned(),
            Format::Nested => format!("file://{}/{}/", name::date(header.started_at), header.session_id),
        };
        let folder = data_dir.join(RECORDING).join(format!("{}_ref", header.run_id));
        let [forget, waits] = [const { AtomicBool::new(false) }; 2];
        Self { data_dir: data_dir.to_owned(), folder, prefix, forget, process: std::process::id(), waits }
    }

    /// Without a journal, nobody can seal the run once its handles are gone.
    pub(crate) fn forget_when_dropped(&self, forget: bool) {
        self.forget.store(forget, Ordering::Relaxed);
    }

    /// Stores bytes; gives the reference.
    pub(crate) fn write(&self, name: &str, bytes: &[u8]) -> Result<String, RecordError> {
        self.store(name, |file, path| {
            file.write_all(bytes).map_err(|error| RecordError::io(path, "the attachment cannot be written", &error))
        })
    }

    /// Stores a copy of a file; gives the reference.
    pub(crate) fn copy(&self, name: &str, from: &Path) -> Result<String, RecordError> {
        let cannot_read = |error: io::Error| RecordError::io(from, "the attachment cannot be read", &error);
        let mut source = File::open(from).map_err(cannot_read)?;
        if !source.metadata().map_err(cannot_read)?.is_file() {
            return Err(RecordError::new(format!("{}: only a file can be attached", from.display())));
        }
        self.store(name, |file, path| {
            io::copy(&mut source, file)
                .map(drop)
                .map_err(|error| RecordError::io(path, &format!("{} cannot be copied there", from.display()), &error))
        })
    }

    fn store(
        &self,
        name: &str,
        fill: impl FnOnce(&mut File, &Path) -> Result<(), RecordError>,
    ) -> Result<String, RecordError> {
        durable::create_folders(&self.data_dir, &self.folder)?;
        // As the platform: eight digits before the name, so that every vector may have its `wave.csv`.
        let unique = uuid::Uuid::new_v4().simple().to_string();
        let name = format!("{}_{}", &unique[..8], name::safe(name));
        let path = self.folder.join(&name);
        let opened = OpenOptions::new().write(true).create_new(true).open(&path);
        let mut file = opened.map_err(|error| RecordError::io(&path, "the attachment cannot be made", &error))?;
        match fill(&mut file, &path) {
            Ok(()) => {
                self.waits.store(true, Ordering::Relaxed);
                Ok(format!("{}{name}", self.prefix))
            }
            Err(error) => {
                // A half one that nothing refers to.
                let _ = fs::remove_file(&path);
                Err(error)
            }
        }
    }

    /// Moves them to where the sealed file refers to them: a folder beside it, or the data dir's `files/`.
    pub(super) fn publish(&self, runs: &Path, header: &Header) -> Result<(), RecordError> {
        if !self.folder.is_dir() {
            // Nothing was attached, or a try before this one came so far.
            if !self.waits.load(Ordering::Relaxed) {
                return Ok(());
            }
            let gone = RecordError::new(format!("{}: the run's attachments are gone", self.folder.display()));
            return Err(gone.with_hint("put the folder back, and finish the run again"));
        }
        let names = self.synced()?;
        match header.format {
            Format::Flat => {
                let beside = runs.join(format!("{}_ref", header.stem));
                if beside.is_dir() {
                    // A try before this one came so far, and then the log of a step was added.
                    self.move_into(&beside, &names, |_, _| Ok(()))
                } else {
                    durable::rename_new(&self.folder, &beside)
                        .map_err(|error| RecordError::io(&beside, "the attachments cannot be moved there", &error))?;
                    self.waits.store(false, Ordering::Relaxed);
                    durable::sync_folder(runs)
                }
            }
            Format::Nested => {
                let session = header.session_id.to_string();
                let files = self.data_dir.join("files").join(name::date(header.started_at)).join(session);
                durable::create_folders(&self.data_dir, &files)?;
                self.move_into(&files, &names, |from, to| describe(from, to, header.run_id))
            }
        }
    }

    /// The names of all files, every byte of which is on the disk.
    fn synced(&self) -> Result<Vec<String>, RecordError> {
        let cannot = |error: io::Error| RecordError::io(&self.folder, "the attachments cannot be read", &error);
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.folder).map_err(cannot)? {
            let entry = entry.map_err(cannot)?;
            let sync = || File::open(entry.path())?.sync_all();
            sync().map_err(|error| RecordError::io(&entry.path(), "the attachment cannot be synced", &error))?;
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
        durable::sync_folder(&self.folder)?;
        Ok(names)
    }

    fn move_into(
        &self,
        folder: &Path,
        names: &[String],
        describe: impl Fn(&Path, &Path) -> Result<(), RecordError>,
    ) -> Result<(), RecordError> {
        for name in names {
            let to = folder.join(name);
            let from = self.folder.join(name);
            describe(&from, &to)?;
            durable::rename_new(&from, &to)
                .map_err(|error| RecordError::io(&to, "the attachment cannot be moved there", &error))?;
        }
        self.waits.store(false, Ordering::Relaxed);
        durable::sync_folder(folder)?;
        // Empty now; if not, somebody else put something there.
        let _ = fs::remove_dir(&self.folder);
        Ok(())
    }
}

impl Drop for Attachments {
    fn drop(&mut self) {
        if self.forget.load(Ordering::Relaxed) && std::process::id() == self.process {
            let _ = fs::remove_dir_all(&self.folder);
        }
    }
}

/// The description that TesterKit has beside every file (`testerkit/data/files/models.py`); it is there before the file is.
fn describe(from: &Path, to: &Path, run_id: RunId) -> Result<(), RecordError> {
    let stat = fs::metadata(from).map_err(|error| RecordError::io(from, "the attachment cannot be read", &error))?;
    let extension = to.extension().unwrap_or_default().to_string_lossy();
    let mime = match &*extension {
        "csv" => "text/csv",
        "json" => "application/json",
        "jsonl" => "application/x-ndjson",
        "npy" => "application/x-numpy-npy",
        "npz" => "application/x-numpy-npz",
        "png" => "image/png",
        "txt" => "text/plain",
        _ => "application/octet-stream",
    };
    let meta = serde_json::json!({
        "mime": mime,
        "extension": if extension.is_empty() { String::new() } else { format!(".{extension}") },
        "size_bytes": stat.len(),
        "attributes": {},
        "instrument_role": "",
        "resource": "",
        "run_id": run_id.to_string(),
        "schema_version": "0.1",
    });
    let mut beside = to.as_os_str().to_owned();
    beside.push(".meta.json");
    durable::write_new(Path::new(&beside), meta.to_string().as_bytes())
}
