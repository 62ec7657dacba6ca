//! Files that are on the disk when we say so.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags};

use crate::RecordError;
use crate::data::Header;

/// Makes `folder` below `root`, and sees to it that a power cut does not take the new ones away.
pub(super) fn create_folders(root: &Path, folder: &Path) -> Result<(), RecordError> {
    let cannot = |error: io::Error| RecordError::io(folder, "the folder cannot be made", &error);
    let missing: Vec<&Path> = folder.ancestors().take_while(|ancestor| !ancestor.is_dir()).collect();
    fs::create_dir_all(folder).map_err(cannot)?;
    for made in missing {
        // Above the data dir, and of a relative one in the working folder, nothing of ours is at stake.
        if let Some(parent) = made.parent()
            && parent.starts_with(root)
        {
            sync_folder(parent)?;
        }
    }
    Ok(())
}

pub(super) fn sync_folder(folder: &Path) -> Result<(), RecordError> {
    let cannot = |error: io::Error| RecordError::io(folder, "the folder cannot be synced", &error);
    let opened = File::open(folder).map_err(cannot)?;
    match opened.sync_all() {
        // Some network shares cannot sync a folder; their renames are as durable as they get.
        Err(error) if error.kind() == io::ErrorKind::InvalidInput || error.kind() == io::ErrorKind::Unsupported => {
            Ok(())
        }
        result => result.map_err(cannot),
    }
}

/// Moves without ever replacing: `AlreadyExists` where something stands at `to`.
pub(super) fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    match rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(()),
        // The file system has no such rename: a hard link cannot replace either; a share without those is looked at first.
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS | rustix::io::Errno::OPNOTSUPP) => {
            if from.is_file() && fs::hard_link(from, to).is_ok() {
                return fs::remove_file(from);
            }
            if fs::symlink_metadata(to).is_ok() {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            fs::rename(from, to)
        }
        Err(error) => Err(error.into()),
    }
}

/// Writes the sealed file: a temporary name that no reader looks at, sync, rename, sync of the folder.
pub(super) fn seal(folder: &Path, header: &Header, bytes: &[u8]) -> Result<PathBuf, RecordError> {
    let temporary = folder.join(format!("tmp-{}.tmp", header.run_id));
    let sealed = folder.join(format!("{}.parquet", header.stem));
    write_new(&temporary, bytes)?;
    rename_new(&temporary, &sealed).map_err(|error| {
        let failed = RecordError::io(&sealed, "the sealed run cannot be put there", &error);
        match error.kind() {
            io::ErrorKind::AlreadyExists => failed
                .with_hint("a child of this process has sealed the run, or another has its name: move that file away and finish the run again"),
            _ => failed,
        }
    })?;
    sync_folder(folder)?;
    Ok(sealed)
}

/// A new file with these bytes, synced. What an earlier try left under the name is replaced.
pub(super) fn write_new(path: &Path, bytes: &[u8]) -> Result<(), RecordError> {
    let cannot = |error: io::Error| RecordError::io(path, "cannot be written", &error);
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(cannot(error)),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).open(path).map_err(cannot)?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(|error| {
        // Half a file that nobody would sweep.
        let _ = fs::remove_file(path);
        cannot(error)
    })
}
