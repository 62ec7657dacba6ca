//! A data dir: walks its run files, opens them.

use std::fs::{self, Metadata};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::layout::Layouts;
use super::{ReadError, RunFile};

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

impl Stamp {
    /// The stamp of a file.
    pub fn of(stat: &Metadata) -> Self {
        const SECOND_NS: i64 = 1_000_000_000;
        let nanoseconds = |seconds: i64, rest: i64| seconds.saturating_mul(SECOND_NS).saturating_add(rest);
        Self {
            size: stat.size(),
            mtime_ns: nanoseconds(stat.mtime(), stat.mtime_nsec()),
            ctime_ns: nanoseconds(stat.ctime(), stat.ctime_nsec()),
            inode: stat.ino(),
        }
    }
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
pub struct Store {
    data_dir: PathBuf,
    /// Shared by all clones: the files of a store have few schemas.
    layouts: Arc<Layouts>,
}

impl Store {
    /// A store over this data dir (canonicalised); an error says when it is not there or not a folder.
    pub fn open(data_dir: &Path) -> Result<Self, ReadError> {
        let real =
            data_dir.canonicalize().map_err(|error| ReadError::io(data_dir, "cannot open the data dir", &error))?;
        if !real.is_dir() {
            let error = ReadError::new(data_dir, "the data dir is not a folder");
            return Err(error.with_hint("name the folder that holds runs/, not a file in it"));
        }
        Ok(Self { data_dir: real, layouts: Arc::default() })
    }

    /// The data dir, canonical.
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// Every candidate under `runs/`, recursively, in path order: `*.parquet`, no dotfile, no `*.tmp.parquet`. A folder
    /// that cannot be read is returned as an error and does not stop the others. Links to folders are not followed. A
    /// folder named `x.parquet` is a candidate too, so that somebody hears of it, and is walked.
    pub fn walk(&self) -> (Vec<FoundFile>, Vec<ReadError>) {
        let mut walk = Walk { data_dir: &self.data_dir, found: Vec::new(), errors: Vec::new(), folders: Vec::new() };
        if self.data_dir.join("runs").is_dir() {
            walk.folders.push(PathBuf::from("runs"));
        }
        while let Some(folder) = walk.folders.pop() {
            if let Err(error) = walk.folder(&folder) {
                walk.errors.push(ReadError::io(&folder, "cannot read the folder", &error));
            }
        }
        walk.found.sort_by(|a, b| a.path.cmp(&b.path));
        (walk.found, walk.errors)
    }

    /// Opens one of them.
    pub fn open_run(&self, path: &Path) -> Result<RunFile, ReadError> {
        RunFile::open_as(self.data_dir(), path, &self.layouts)
    }
}

struct Walk<'a> {
    data_dir: &'a Path,
    found: Vec<FoundFile>,
    errors: Vec<ReadError>,
    folders: Vec<PathBuf>,
}

impl Walk<'_> {
    fn folder(&mut self, folder: &Path) -> std::io::Result<()> {
        for entry in fs::read_dir(self.data_dir.join(folder))? {
            let entry = entry?;
            let path = folder.join(entry.file_name());
            let is_folder = entry.file_type()?.is_dir();
            if is_folder && !self.is_of_attachments(&path) {
                self.folders.push(path.clone());
            }
            if is_candidate(entry.file_name().as_bytes()) {
                let full = self.data_dir.join(&path);
                // A link that leads nowhere is a candidate, too: opening it says why it is unreadable.
                match fs::metadata(&full).or_else(|_| fs::symlink_metadata(&full)) {
                    Ok(stat) => self.found.push(FoundFile { path, stamp: Stamp::of(&stat) }),
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                    Err(error) => self.errors.push(ReadError::io(&path, "cannot stat", &error)),
                }
            }
        }
        Ok(())
    }

    /// `<stem>_ref` beside `<stem>.parquet` holds attachments, and one of those may be a Parquet file.
    fn is_of_attachments(&self, folder: &Path) -> bool {
        let stem = folder.file_name().and_then(|name| name.as_bytes().strip_suffix(b"_ref"));
        stem.is_some_and(|stem| {
            let sealed = std::ffi::OsString::from(std::ffi::OsStr::from_bytes(&[stem, b".parquet"].concat()));
            self.data_dir.join(folder.with_file_name(sealed)).is_file()
        })
    }
}

/// The platform writes `tmpXXXX.tmp` and, beside a file that it rewrites, `<stem>.tmp.parquet`.
fn is_candidate(name: &[u8]) -> bool {
    name.ends_with(b".parquet") && !name.ends_with(b".tmp.parquet") && !name.starts_with(b".")
}
