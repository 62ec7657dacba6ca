//! `file://`: objects as files, by hand.
//!
//! Invariants: a file under its final name is whole and on disk; none is ever replaced by accident. opendal's own service
//! for file systems renames over what is there, so that two hosts could overwrite each other. Here a copy in
//! `.litmus/tmp/` is synced, then given its name by `renameat2(RENAME_NOREPLACE)` (`link` where the file system lacks it),
//! then its folder is synced.
//!
//! `.litmus/<key>.json` holds the notes, written before the file. Each note names the size and the time of modification of
//! the file it is about, so that a crash between the two leaves no note that fits a file it was not written for; where
//! none fits (a folder that was copied), the file is hashed.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use litmus_core::{Sha256, SinkError, Status, failpoint};
use rustix::fs::{CWD, FlockOperation, RenameFlags, flock, renameat_with};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::note::Note;
use crate::sealed::{Body, blocking};
use crate::store::{OWN_FOLDER, Object, Onto, Put, Seen, identity};

/// Files that serialise writers of the same key.
const LOCKS: u8 = 16;
/// A copy that is this old was left by a host that died.
const STALE: Duration = Duration::from_hours(24);

/// A folder of objects.
#[derive(Debug)]
pub(crate) struct Folder {
    root: PathBuf,
}

/// Size and time of modification: by this a file is told from another one at its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stamp {
    size: u64,
    /// Since the epoch; enough until the year 2262.
    modified_ns: i64,
}

impl Stamp {
    fn of(metadata: &fs::Metadata) -> Self {
        let modified_ns = metadata.mtime().wrapping_mul(1_000_000_000).wrapping_add(metadata.mtime_nsec());
        Self { size: metadata.len(), modified_ns }
    }
}

/// One line of a notes file.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Entry {
    #[serde(flatten)]
    note: Note,
    #[serde(flatten)]
    stamp: Stamp,
}

/// What `.litmus/<key>.json` holds: the note of the file that is there, and of the one that is about to replace it.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Notes {
    revisions: Vec<Entry>,
}

impl Folder {
    pub(crate) fn new(root: PathBuf) -> Self {
        Self { root }
    }

    fn path(&self, key: &str) -> PathBuf {
        self.root.join(key)
    }

    fn own(&self, name: &str) -> PathBuf {
        self.root.join(OWN_FOLDER).join(name)
    }

    fn notes_path(&self, key: &str) -> PathBuf {
        self.own(&format!("{key}.json"))
    }

    pub(crate) async fn stat(self: &Arc<Self>, key: &str) -> Result<Option<Object>, SinkError> {
        let (folder, key) = (Arc::clone(self), key.to_owned());
        blocking(move || folder.look(&key)).await
    }

    fn look(&self, key: &str) -> Result<Option<Object>, SinkError> {
        let path = self.path(key);
        let metadata = match fs::symlink_metadata(&path) {
            Ok(metadata) if metadata.is_file() => metadata,
            Ok(_) => return Err(occupied(&path, "it is no file")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(&error, &path, "looking at it")),
        };
        let stamp = Stamp::of(&metadata);
        let note = self.note_of(key, &path, stamp)?;
        Ok(Some(Object { size: stamp.size, note, seen: Seen::Folder(stamp) }))
    }

    fn note_of(&self, key: &str, path: &Path, stamp: Stamp) -> Result<Option<Note>, SinkError> {
        let entries = self.notes(key)?.revisions;
        if entries.is_empty() {
            return Ok(None);
        }
        if let Some(entry) = entries.iter().find(|entry| entry.stamp == stamp) {
            return Ok(Some(entry.note.clone()));
        }
        let sha256 = hash(path)?;
        Ok(entries.into_iter().map(|entry| entry.note).find(|note| note.sha256 == sha256))
    }

    /// A notes file that cannot be read is as good as none: the file is then hashed, or left alone.
    fn notes(&self, key: &str) -> Result<Notes, SinkError> {
        let path = self.notes_path(key);
        match fs::read(&path) {
            Ok(bytes) => Ok(serde_json::from_slice(&bytes).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Notes::default()),
            Err(error) => Err(failed(&error, &path, "reading it")),
        }
    }

    pub(crate) async fn put(
        self: &Arc<Self>,
        key: &str,
        body: &Arc<Body>,
        note: &Note,
        onto: Onto<'_>,
    ) -> Result<Put, SinkError> {
        let old = match onto {
            Onto::Nothing => None,
            Onto::Old(Object { seen: Seen::Folder(stamp), .. }) => Some(*stamp),
            Onto::Old(_) => unreachable!("a folder's objects have stamps"),
        };
        let (folder, key, body, note) = (Arc::clone(self), key.to_owned(), Arc::clone(body), note.clone());
        blocking(move || folder.write(&key, &body, &note, old)).await
    }

    fn write(&self, key: &str, body: &Body, note: &Note, old: Option<Stamp>) -> Result<Put, SinkError> {
        let temporary = Temporary::new(self.own("tmp"))?;
        let stamp = temporary.fill(body, note)?;
        let path = self.path(key);
        let parent = path.parent().unwrap_or(&self.root);
        make_folders(parent)?;
        make_folders(self.notes_path(key).parent().unwrap_or(&self.root))?;

        let _locked = self.lock(key)?;
        let there = match fs::symlink_metadata(&path) {
            Ok(metadata) => Some(Stamp::of(&metadata)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(failed(&error, &path, "looking at it")),
        };
        if there != old {
            return Ok(Put::Taken);
        }
        let mut notes = self.notes(key)?;
        notes.revisions.retain(|entry| Some(entry.stamp) == there);
        notes.revisions.push(Entry { note: note.clone(), stamp });
        self.write_notes(key, &notes)?;
        failpoint("before_commit");
        if old.is_some() {
            failpoint("replacing");
            fs::rename(&temporary.path, &path).map_err(|error| failed(&error, &path, "replacing it"))?;
        } else if !name(&temporary.path, &path)? {
            return Ok(Put::Taken);
        }
        sync_folder(parent)?;
        let found = fs::symlink_metadata(&path).map_err(|error| failed(&error, &path, "looking at it"))?;
        if Stamp::of(&found) != stamp {
            return Err(SinkError::transient(format!("{}: it changed while it was written", path.display())));
        }
        Ok(Put::Stored)
    }

    fn write_notes(&self, key: &str, notes: &Notes) -> Result<(), SinkError> {
        let path = self.notes_path(key);
        let temporary = Temporary::new(self.own("tmp"))?;
        let text = serde_json::to_vec(notes).unwrap_or_default();
        temporary.write(|file| file.write_all(&text))?;
        fs::rename(&temporary.path, &path).map_err(|error| failed(&error, &path, "writing it"))?;
        sync_folder(path.parent().unwrap_or(&self.root))
    }

    /// Keeps other writers of this key out until it is dropped. A file system without locks goes without: what names a file
    /// is atomic all the same, only a note could be about another host's file, and then the file is hashed.
    fn lock(&self, key: &str) -> Result<Option<File>, SinkError> {
        let folder = self.own("locks");
        make_folders(&folder)?;
        let sum = key.bytes().fold(0u8, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte));
        let path = folder.join(format!("{:02}", sum % LOCKS));
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
        let file = file.map_err(|error| failed(&error, &path, "opening it"))?;
        match flock(&file, FlockOperation::LockExclusive) {
            Ok(()) => Ok(Some(file)),
            Err(Errno::NOLCK | Errno::NOTSUP | Errno::NOSYS | Errno::INVAL) => Ok(None),
            Err(error) => Err(failed(&error.into(), &path, "locking it")),
        }
    }

    pub(crate) async fn sha256(self: &Arc<Self>, key: &str) -> Result<Option<Sha256>, SinkError> {
        let path = self.path(key);
        blocking(move || if path.is_file() { hash(&path).map(Some) } else { Ok(None) }).await
    }

    pub(crate) fn keys(&self, each: &mut (dyn FnMut(String) + Send)) -> Result<(), SinkError> {
        let mut folders = vec![self.root.clone()];
        while let Some(folder) = folders.pop() {
            let entries = match fs::read_dir(&folder) {
                Ok(entries) => entries,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(failed(&error, &folder, "listing it")),
            };
            for entry in entries {
                let entry = entry.map_err(|error| failed(&error, &folder, "listing it"))?;
                let kind = entry.file_type().map_err(|error| failed(&error, &entry.path(), "looking at it"))?;
                let path = entry.path();
                let relative = path.strip_prefix(&self.root).unwrap_or(&path);
                if kind.is_dir() && !relative.starts_with(OWN_FOLDER) {
                    folders.push(path);
                } else if kind.is_file()
                    && let Some(key) = relative.to_str()
                {
                    each(key.to_owned());
                }
            }
        }
        Ok(())
    }

    pub(crate) fn incarnation(&self, make: bool) -> Result<Option<String>, SinkError> {
        let path = self.own("id");
        for _ in 0..2 {
            match fs::read(&path) {
                Ok(text) => return identity(&text, &path.display().to_string()).map(Some),
                Err(error) if error.kind() == io::ErrorKind::NotFound => (),
                Err(error) => return Err(failed(&error, &path, "reading it")),
            }
            if !make {
                return Ok(None);
            }
            make_folders(&self.own(""))?;
            let temporary = Temporary::new(self.own("tmp"))?;
            temporary.write(|file| writeln!(file, "{}", uuid::Uuid::new_v4()))?;
            // Another host may have been first: then its identity is the folder's.
            name(&temporary.path, &path)?;
            sync_folder(&self.own(""))?;
            self.sweep();
        }
        Err(SinkError::transient(format!("{}: it cannot be kept", path.display())))
    }

    /// Removes what hosts that died have left; a failure does no harm.
    fn sweep(&self) {
        for entry in fs::read_dir(self.own("tmp")).into_iter().flatten().flatten() {
            let modified = entry.metadata().and_then(|metadata| metadata.modified());
            if modified.is_ok_and(|time| SystemTime::now().duration_since(time).is_ok_and(|age| age > STALE)) {
                fs::remove_file(entry.path()).ok();
            }
        }
    }

    /// Whether the host's user may write there, and what would be made; changes nothing.
    pub(crate) fn check(&self) -> Result<Vec<String>, SinkError> {
        let there = self.root.ancestors().find(|folder| folder.exists()).unwrap_or(Path::new("/"));
        rustix::fs::access(there, rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK)
            .map_err(|error| failed(&error.into(), there, "writing into it"))?;
        let made = there != self.root;
        Ok(vec![if made { format!("would make {}", self.root.display()) } else { self.root.display().to_string() }])
    }
}

/// A file in `.litmus/tmp/`, removed when dropped unless it was given another name.
struct Temporary {
    path: PathBuf,
}

impl Temporary {
    fn new(folder: PathBuf) -> Result<Self, SinkError> {
        make_folders(&folder)?;
        Ok(Self { path: folder.join(uuid::Uuid::new_v4().to_string()) })
    }

    fn write(&self, fill: impl FnOnce(&mut File) -> io::Result<()>) -> Result<Stamp, SinkError> {
        let write = || -> io::Result<Stamp> {
            let mut file = OpenOptions::new().create_new(true).write(true).open(&self.path)?;
            fill(&mut file)?;
            file.sync_all()?;
            Ok(Stamp::of(&file.metadata()?))
        };
        write().map_err(|error| failed(&error, &self.path, "writing it"))
    }

    /// Copies the body, checked against the hash in its note on the way.
    fn fill(&self, body: &Body, note: &Note) -> Result<Stamp, SinkError> {
        let mut sent = Ok(note.sha256);
        let stamp = self.write(|file| {
            sent = body.copy(|bytes| file.write_all(bytes).map_err(|error| failed(&error, &self.path, "writing it")));
            Ok(())
        })?;
        if sent? == note.sha256 { Ok(stamp) } else { Err(body.changed()) }
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        fs::remove_file(&self.path).ok();
    }
}

/// Gives a file its name unless something has that name: whether it did.
fn name(from: &Path, to: &Path) -> Result<bool, SinkError> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(true),
        Err(Errno::EXIST) => Ok(false),
        // FUSE, NFS and old kernels do not know the flag.
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => match fs::hard_link(from, to) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            Err(error) if matches!(Errno::from_io_error(&error), Some(Errno::PERM | Errno::NOTSUP | Errno::NOSYS)) => {
                Err(SinkError::config(format!(
                    "{}: its file system can neither link nor rename without replacing, so that two hosts could overwrite each other\nhint: use a folder on another file system",
                    to.display()
                )))
            }
            Err(error) => Err(failed(&error, to, "giving it its name")),
        },
        Err(error) => Err(failed(&error.into(), to, "giving it its name")),
    }
}

fn hash(path: &Path) -> Result<Sha256, SinkError> {
    let body = Body::open(path, &Arc::default()).map_err(|error| failed(&error, path, "reading it"))?;
    body.copy(|_| Ok(()))
}

/// Makes a folder and those above it, each synced into the one above.
fn make_folders(folder: &Path) -> Result<(), SinkError> {
    if folder.is_dir() {
        return Ok(());
    }
    let parent = folder.parent().unwrap_or(Path::new("/"));
    make_folders(parent)?;
    match fs::create_dir(folder) {
        Ok(()) => sync_folder(parent),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && folder.is_dir() => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(occupied(folder, "it is no folder")),
        Err(error) => Err(failed(&error, folder, "making the folder")),
    }
}

fn sync_folder(folder: &Path) -> Result<(), SinkError> {
    File::open(folder).and_then(|file| file.sync_all()).map_err(|error| failed(&error, folder, "syncing it"))
}

fn occupied(path: &Path, why: &str) -> SinkError {
    SinkError::new(
        Status::Conflict,
        format!("{}: {why}, and a run belongs there\nhint: move it away, or set another key template", path.display()),
    )
}

fn failed(error: &io::Error, path: &Path, doing: &str) -> SinkError {
    let (status, hint) = match error.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            (Status::Config, "\nhint: the host's user needs to write there")
        }
        // Of this run alone: its values are what makes the name long.
        io::ErrorKind::InvalidFilename => {
            (Status::Data, "\nhint: a name can have 255 bytes: a key template with fewer fields between two `/`")
        }
        io::ErrorKind::NotADirectory => (Status::Conflict, "\nhint: a file stands where a folder is needed"),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            (Status::Transient, "\nhint: make room; delivery goes on by itself")
        }
        _ => (Status::Transient, ""),
    };
    SinkError::new(status, format!("{}: {doing} failed: {error}{hint}", path.display()))
}
