//! What is sent: a file read by `pread` from a descriptor of its own, hashed on the way.

use std::fs::File;
use std::os::fd::BorrowedFd;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use litmus_core::{Sha256, SinkError};
use sha2::Digest;

/// How much is read at once where nothing else is asked for.
const CHUNK_BYTES: usize = 1 << 20;
/// Up to this size a file is read where it is needed.
const SMALL_BYTES: u64 = 256 << 10;

/// A file to send.
pub(crate) struct Body {
    file: File,
    size: u64,
    /// For messages.
    name: String,
    /// The host asked to stop: nothing more is read.
    cancelled: Arc<AtomicBool>,
}

impl Body {
    /// The sealed file that the host lends; the descriptor is duplicated, so that a task may outlive the call.
    pub(crate) fn lent(fd: BorrowedFd<'_>, name: &str, cancelled: &Arc<AtomicBool>) -> Result<Self, SinkError> {
        let failed = |error: std::io::Error| SinkError::transient(format!("{name} cannot be read")).with_source(error);
        let file = File::from(fd.try_clone_to_owned().map_err(failed)?);
        let size = file.metadata().map_err(failed)?.len();
        Ok(Self { file, size, name: name.to_owned(), cancelled: Arc::clone(cancelled) })
    }

    /// A file beside it.
    pub(crate) fn open(path: &Path, cancelled: &Arc<AtomicBool>) -> std::io::Result<Self> {
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(std::io::ErrorKind::NotFound.into());
        }
        let name = path.display().to_string();
        Ok(Self { file, size: metadata.len(), name, cancelled: Arc::clone(cancelled) })
    }

    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// Seconds since it was last written; 0 where that cannot be told.
    pub(crate) fn age_seconds(&self) -> u64 {
        let age = self.file.metadata().and_then(|metadata| metadata.modified()).map(|time| time.elapsed());
        age.ok().and_then(Result::ok).map_or(0, |age| age.as_secs())
    }

    /// Bytes from an offset: as many as asked for, or the rest.
    pub(crate) fn read(&self, offset: u64, bytes_max: usize) -> Result<Vec<u8>, SinkError> {
        if self.cancelled.load(Ordering::Relaxed) {
            return Err(SinkError::cancelled());
        }
        let length = usize::try_from(self.size.saturating_sub(offset)).unwrap_or(bytes_max).min(bytes_max);
        let mut bytes = vec![0; length];
        self.file.read_exact_at(&mut bytes, offset).map_err(|error| {
            SinkError::transient(format!("{}: cannot be read at byte {offset}", self.name)).with_source(error)
        })?;
        Ok(bytes)
    }

    /// The same on a thread that may block: a large file on a share can take long. A small one was just hashed by the host, and
    /// is in memory.
    pub(crate) async fn read_async(self: &Arc<Self>, offset: u64, bytes_max: usize) -> Result<Vec<u8>, SinkError> {
        if self.size <= SMALL_BYTES {
            return self.read(offset, bytes_max);
        }
        let body = Arc::clone(self);
        blocking(move || body.read(offset, bytes_max)).await
    }

    /// Gives every byte to `each`, in order, and the hash of all.
    pub(crate) fn copy(&self, mut each: impl FnMut(&[u8]) -> Result<(), SinkError>) -> Result<Sha256, SinkError> {
        let mut hasher = sha2::Sha256::new();
        let mut offset = 0;
        while offset < self.size {
            let bytes = self.read(offset, CHUNK_BYTES)?;
            hasher.update(&bytes);
            each(&bytes)?;
            offset += bytes.len() as u64;
        }
        Ok(Sha256(hasher.finalize().into()))
    }

    /// The error of a file that is not what it was when it was hashed first.
    pub(crate) fn changed(&self) -> SinkError {
        SinkError::transient(format!(
            "{}: its bytes changed while it was sent; nothing was stored\nhint: the next scan takes up what it is now",
            self.name
        ))
    }
}

/// Work on a thread that may block.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, SinkError> + Send + 'static,
) -> Result<T, SinkError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => Err(SinkError::cancelled()),
    }
}
