//! A data dir: walks its run files, opens them.

use std::collections::{BTreeSet, HashSet};
use std::fs::{self, Metadata};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::layout::Layouts;
use super::{ReadError, RunFile};

/// The folder of run files in a data dir.
const RUNS: &str = "runs";

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

    /// What is wrong where there is no `runs/` in the data dir: Litmus has not written a run yet, or this is another folder.
    pub fn missing_runs(&self) -> Option<ReadError> {
        if self.data_dir.join(RUNS).is_dir() {
            return None;
        }
        let inside = self.data_dir.ancestors().find(|folder| folder.file_name().is_some_and(|name| name == RUNS));
        let hint = match inside.and_then(Path::parent) {
            Some(parent) => format!("this lies in a runs/ folder; name the folder above that: {}", parent.display()),
            None => "name the folder that holds runs/; Litmus makes that with its first run".to_owned(),
        };
        Some(ReadError::new(&self.data_dir, "there is no runs/ in the data dir").with_hint(hint))
    }

    /// Every candidate under `runs/`, recursively, in path order: `*.parquet`, no dotfile, no `*.tmp.parquet`. A folder
    /// that cannot be read is returned as an error and does not stop the others. A folder named `x.parquet` is a candidate
    /// too, so that somebody hears of it, and is walked.
    ///
    /// Links to folders are followed after all that is really there, in path order, and none leads into a folder that was
    /// walked already: loops end, and a file has the same path in every walk.
    pub fn walk(&self) -> (Vec<FoundFile>, Vec<ReadError>) {
        let mut walk = Walk::new(&self.data_dir);
        if self.data_dir.join(RUNS).is_dir() {
            walk.tree(PathBuf::from(RUNS), false);
        }
        while let Some(link) = walk.links.pop_first() {
            walk.tree(link, true);
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
    /// Links to folders, not followed yet.
    links: BTreeSet<PathBuf>,
    /// Device and inode of every folder that was walked, or left out on purpose.
    seen: HashSet<(u64, u64)>,
}

impl<'a> Walk<'a> {
    fn new(data_dir: &'a Path) -> Self {
        Self { data_dir, found: Vec::new(), errors: Vec::new(), links: BTreeSet::new(), seen: HashSet::new() }
    }

    /// Walks a folder and all below it but for links. `linked`: only where nobody was yet. What is there without a link is
    /// walked whatever its inode: some network shares give none that can be relied on.
    fn tree(&mut self, root: PathBuf, linked: bool) {
        let mut folders = BTreeSet::from([root]);
        while let Some(folder) = folders.pop_first() {
            let is_new = match fs::metadata(self.data_dir.join(&folder)) {
                Ok(stat) => self.seen.insert((stat.dev(), stat.ino())),
                // Reading it says what is wrong.
                Err(_) => true,
            };
            if linked && !is_new {
                continue;
            }
            if let Err(error) = self.folder(&folder, &mut folders) {
                self.errors.push(ReadError::io(&folder, "cannot read the folder", &error));
            }
        }
    }

    fn folder(&mut self, folder: &Path, folders: &mut BTreeSet<PathBuf>) -> std::io::Result<()> {
        for entry in fs::read_dir(self.data_dir.join(folder))? {
            let entry = entry?;
            let path = folder.join(entry.file_name());
            let full = self.data_dir.join(&path);
            let kind = entry.file_type()?;
            let leads_to_folder = kind.is_symlink() && full.is_dir();
            if kind.is_dir() || leads_to_folder {
                if self.is_of_attachments(&path) {
                    // No link leads into it either.
                    self.seen.extend(fs::metadata(&full).map(|stat| (stat.dev(), stat.ino())));
                } else if leads_to_folder {
                    self.links.insert(path.clone());
                } else {
                    folders.insert(path.clone());
                }
            }
            if is_candidate(entry.file_name().as_bytes()) {
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
