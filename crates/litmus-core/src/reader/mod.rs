//! The run reader: a sealed file of any generation as canonical tables.

use std::path::{Path, PathBuf};

use crate::digest::{Conversions, Digests};
use crate::{Attachment, Rank, RunId, Sha256, Summary, Table, TableStream};

/// Why a file is not a run that can be read. The text names the file, the thing and, after `hint:`, the remedy.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {message}")]
pub struct ReadError {
    path: String,
    message: String,
    transient: bool,
}

impl ReadError {
    /// The trouble may pass by itself (no permission, I/O error, too many open files), and says nothing about the file.
    pub fn is_transient(&self) -> bool {
        self.transient
    }
}

/// One sealed run file, opened once: seal check, sha256, summary and decoding use the same descriptor.
#[derive(Debug)]
pub struct RunFile {}

impl RunFile {
    /// Opens `data_dir/relative`, checks the seal, hashes, and reads the summary.
    pub fn open(_data_dir: &Path, _relative: &Path) -> Result<Self, ReadError> {
        todo!()
    }

    /// The open descriptor; read with `pread` only.
    pub fn file(&self) -> &std::fs::File {
        todo!()
    }

    /// What the run is.
    pub fn summary(&self) -> &Summary {
        todo!()
    }

    /// The run's identity.
    pub fn run_id(&self) -> RunId {
        self.summary().run_id
    }

    /// Of the file's bytes.
    pub fn sha256(&self) -> Sha256 {
        self.summary().sha256
    }

    /// The revision's rank.
    pub fn rank(&self) -> Rank {
        self.summary().rank()
    }

    /// A fresh stream of one table; an absent table is an empty stream with its schema.
    pub fn open_table(&self, _table: Table) -> Result<TableStream, ReadError> {
        todo!()
    }

    /// Row counts and digests of all five tables, as a destination under these conversions would hold them.
    pub fn digests(&self, _conversions: Conversions) -> Result<Digests, ReadError> {
        todo!()
    }

    /// What the run refers to, as found now.
    pub fn attachments(&self) -> Result<Vec<Attachment>, ReadError> {
        todo!()
    }
}

/// A file in the store, as `stat` sees it. Equal stamps mean: not looked at again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Stamp {
    /// In bytes.
    pub size: u64,
    /// Modification time, nanoseconds since the epoch.
    pub mtime_ns: i64,
    /// Change time, nanoseconds since the epoch.
    pub ctime_ns: i64,
    /// Inode.
    pub inode: u64,
}

/// What a walk over `<data_dir>/runs` yields.
#[derive(Clone, Debug)]
pub struct FoundFile {
    /// Relative to the data dir.
    pub path: PathBuf,
    /// As `stat` sees it.
    pub stamp: Stamp,
}

/// A data dir that is there: walks it, opens its files.
#[derive(Clone, Debug)]
pub struct Store {}

impl Store {
    /// A store over this data dir (canonicalised); an error says when it is not there or not a folder.
    pub fn open(_data_dir: &Path) -> Result<Self, ReadError> {
        todo!()
    }

    /// The data dir, canonical.
    pub fn data_dir(&self) -> &Path {
        todo!()
    }

    /// Every candidate under `runs/`, recursively, in path order: `*.parquet`, no dotfile, no `*.tmp.parquet`. A folder
    /// that cannot be read is returned as an error and does not stop the others. Links to folders are not followed.
    pub fn walk(&self) -> (Vec<FoundFile>, Vec<ReadError>) {
        todo!()
    }

    /// Opens one of them.
    pub fn open_run(&self, path: &Path) -> Result<RunFile, ReadError> {
        RunFile::open(self.data_dir(), path)
    }
}

/// Finds the data dir as Litmus does: the argument; `data_dir:` in `litmus.yaml` or `testerkit.yaml` of `start` or a parent,
/// relative to that file; `$LITMUS_HOME/data`, `$TESTERKIT_HOME/data`; the user data folder.
/// `environment` stands in for `std::env::var_os`.
pub fn resolve_data_dir(
    _argument: Option<&Path>,
    _start: &Path,
    _environment: &dyn Fn(&str) -> Option<std::ffi::OsString>,
) -> Result<DataDir, ReadError> {
    todo!()
}

/// A data dir, and how it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataDir {
    /// The folder.
    pub path: PathBuf,
    /// For messages: `--data-dir`, `/home/me/project/litmus.yaml`, `$LITMUS_HOME`, `the user data folder`.
    pub found_by: String,
}
