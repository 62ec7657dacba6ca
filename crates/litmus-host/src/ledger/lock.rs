//! One delivering host per store: a lock file that says who holds it. Readers need no lock.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Held as long as this value lives; the kernel lets go of it when the process ends, however it ends.
#[derive(Debug)]
pub(crate) struct Lock {
    file: File,
    path: PathBuf,
}

/// Why a store cannot be had; the text holds a remedy.
#[derive(Debug)]
pub(crate) enum NotTaken {
    /// Another host has it.
    Held(String),
    /// The state folder cannot be used.
    Unusable(String),
}

impl Lock {
    /// Who holds the lock of a store's state folder now; `None`: nobody.
    pub(crate) fn holder(folder: &Path) -> Option<String> {
        let mut file = File::open(folder.join("lock")).ok()?;
        match file.try_lock_shared() {
            Err(std::fs::TryLockError::WouldBlock) => {
                let mut holder = String::new();
                // Who holds it is for the message only.
                let _ = file.read_to_string(&mut holder);
                Some(holder.trim().to_owned())
            }
            // Ours for a moment: nobody delivers.
            _ => None,
        }
    }

    /// Takes the lock of a store's state folder, or says who has it.
    pub(crate) fn take(folder: &Path) -> Result<Self, NotTaken> {
        let path = folder.join("lock");
        let fail = |error: std::io::Error| {
            let hint = match error.kind() {
                ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
                    "the disk is full; nothing is lost, free space and start again"
                }
                _ if error.raw_os_error().is_some_and(is_out_of_descriptors) => {
                    "too few files may be open; raise the limit (ulimit -n, LimitNOFILE=)"
                }
                _ => "the state folder must be writable; `--state-dir` names another",
            };
            NotTaken::Unusable(format!("{}: {error}\nhint: {hint}", path.display()))
        };
        std::fs::create_dir_all(folder).map_err(fail)?;
        let mut file =
            OpenOptions::new().create(true).truncate(false).read(true).write(true).open(&path).map_err(fail)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(std::fs::TryLockError::WouldBlock) => {
                let mut holder = String::new();
                // Who holds it is for the message only.
                let _ = file.read_to_string(&mut holder);
                return Err(NotTaken::Held(format!(
                    "another litmus-host delivers from this store: {}\nhint: stop that one, or let it do the work; \
                     `litmus-host status` works beside it ({})",
                    if holder.trim().is_empty() { "it has not said who it is" } else { holder.trim() },
                    path.display()
                )));
            }
            Err(std::fs::TryLockError::Error(error)) => return Err(fail(error)),
        }
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let holder = format!("pid {} on {host}, since {}\n", std::process::id(), jiff::Timestamp::now());
        file.set_len(0).and_then(|()| file.rewind()).and_then(|()| file.write_all(holder.as_bytes())).map_err(fail)?;
        Ok(Self { file, path })
    }

    /// The lock file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the file that we hold is the one that others find.
    pub(crate) fn is_in_place(&self) -> bool {
        let (Ok(held), Ok(found)) = (self.file.metadata(), self.path.metadata()) else { return false };
        (held.dev(), held.ino()) == (found.dev(), found.ino())
    }
}

/// EMFILE and ENFILE.
fn is_out_of_descriptors(code: i32) -> bool {
    [24, 23].contains(&code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_one_is_told_who_holds_it() {
        let folder = tempfile::tempdir().unwrap();
        let first = Lock::take(folder.path()).unwrap();
        let NotTaken::Held(refusal) = Lock::take(folder.path()).unwrap_err() else { panic!() };
        assert!(refusal.contains(&format!("pid {}", std::process::id())), "{refusal}");
        assert!(Lock::holder(folder.path()).unwrap().contains(&format!("pid {}", std::process::id())));
        drop(first);
        assert_eq!(Lock::holder(folder.path()), None);
        let again = Lock::take(folder.path()).unwrap();
        assert!(again.is_in_place());
        std::fs::remove_file(folder.path().join("lock")).unwrap();
        assert!(!again.is_in_place());
    }
}
