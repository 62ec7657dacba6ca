//! inotify as a hint that something changed under the run folders. The periodic rescan is the truth: network shares do not
//! send events, and the number of watches is limited.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use inotify::{EventMask, Inotify, WatchDescriptor, WatchMask, Watches};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// After the first event, others of the same seal follow at once.
const SETTLE: Duration = Duration::from_millis(2);
/// Enough for some hundred events a read.
const BUFFER_BYTES: usize = 64 * 1024;

/// Watches folders, as far as the system lets it.
pub(crate) struct Watcher {
    inotify: Option<Inotify>,
    folders: Vec<(WatchDescriptor, PathBuf)>,
    roots: Vec<PathBuf>,
}

impl Watcher {
    /// Watches these folders and all below them; returns what cannot be watched and why.
    pub(crate) fn new(roots: Vec<PathBuf>) -> (Self, Option<String>) {
        let (inotify, trouble) = match Inotify::init() {
            Ok(inotify) => (Some(inotify), None),
            Err(error) => (None, Some(format!("inotify is not available ({error}): new runs are found by the rescan"))),
        };
        let mut watcher = Self { inotify, folders: Vec::new(), roots };
        let trouble = trouble.or_else(|| watcher.cover_roots().err());
        (watcher, trouble)
    }

    fn cover_roots(&mut self) -> Result<(), String> {
        for root in self.roots.clone() {
            self.cover(&root)?;
            // A store without its `runs` folder yet: the parent tells when it comes.
            if let Some(parent) = root.parent().filter(|_| !root.is_dir()) {
                self.add(parent)?;
            }
        }
        Ok(())
    }

    /// Watches a folder and all below it; a folder that is not there is no trouble.
    fn cover(&mut self, folder: &Path) -> Result<(), String> {
        if !folder.is_dir() {
            return Ok(());
        }
        self.add(folder)?;
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                self.cover(&entry.path())?;
            }
        }
        Ok(())
    }

    fn add(&mut self, folder: &Path) -> Result<(), String> {
        let Some(inotify) = &self.inotify else { return Ok(()) };
        let mask = WatchMask::CLOSE_WRITE
            | WatchMask::MOVED_TO
            | WatchMask::MOVED_FROM
            | WatchMask::DELETE
            | WatchMask::CREATE
            | WatchMask::ATTRIB
            | WatchMask::ONLYDIR;
        let mut watches: Watches = inotify.watches();
        match watches.add(folder, mask) {
            Ok(descriptor) => {
                if !self.folders.iter().any(|(known, _)| *known == descriptor) {
                    self.folders.push((descriptor, folder.to_owned()));
                }
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) => Err(format!(
                "{}: cannot be watched ({error}): new runs are found by the rescan; hint: raise fs.inotify.max_user_watches",
                folder.display()
            )),
        }
    }

    /// Waits for a change or for so long: whether something changed.
    pub(crate) fn wait(&mut self, timeout: Duration) -> bool {
        let Some(inotify) = &self.inotify else {
            std::thread::sleep(timeout);
            return false;
        };
        if !readable(inotify, timeout) {
            return false;
        }
        let mut changed = false;
        let mut new_folders = Vec::new();
        let mut buffer = vec![0; BUFFER_BYTES];
        while let Some(inotify) = &mut self.inotify {
            let Ok(events) = inotify.read_events(&mut buffer) else { break };
            for event in events {
                changed = true;
                if event.mask.contains(EventMask::ISDIR)
                    && let Some(name) = event.name
                    && let Some((_, parent)) = self.folders.iter().find(|(known, _)| *known == event.wd)
                {
                    new_folders.push(parent.join(name));
                }
            }
            if !readable(inotify, SETTLE) {
                break;
            }
        }
        self.folders.retain(|(_, folder)| folder.is_dir());
        for folder in new_folders {
            // What cannot be watched was said at the start; the rescan finds it.
            let _ = self.cover(&folder);
        }
        changed
    }
}

fn readable(inotify: &Inotify, timeout: Duration) -> bool {
    let timeout = Timespec {
        tv_sec: timeout.as_secs().try_into().unwrap_or(i64::MAX),
        tv_nsec: i64::from(timeout.subsec_nanos()),
    };
    let mut fds = [PollFd::new(inotify, PollFlags::IN)];
    matches!(poll(&mut fds, Some(&timeout)), Ok(ready) if ready > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_file_in_a_new_folder_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let runs = folder.path().join("runs");
        std::fs::create_dir(&runs).unwrap();
        let (mut watcher, trouble) = Watcher::new(vec![runs.clone()]);
        assert_eq!(trouble, None);
        assert!(!watcher.wait(Duration::from_millis(20)));
        let day = runs.join("2026-06-01");
        std::fs::create_dir(&day).unwrap();
        assert!(watcher.wait(Duration::from_secs(5)));
        std::fs::write(day.join("tmp1.tmp"), b"x").unwrap();
        while watcher.wait(Duration::from_millis(50)) {}
        std::fs::rename(day.join("tmp1.tmp"), day.join("a.parquet")).unwrap();
        assert!(watcher.wait(Duration::from_secs(5)), "the rename in the new folder");
    }
}
