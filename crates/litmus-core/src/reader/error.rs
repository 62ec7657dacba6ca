//! Why a file is not a run that can be read.

use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use parquet::errors::ParquetError;

/// Why a file is not a run that can be read. Prints as `path: message`, and where there is a remedy, a second line
/// `hint: …`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadError {
    path: String,
    message: String,
    hint: Option<String>,
    transient: bool,
}

impl ReadError {
    /// A file or folder, and what is wrong with it.
    pub fn new(path: impl AsRef<Path>, message: impl Into<String>) -> Self {
        Self { path: path.as_ref().display().to_string(), message: message.into(), hint: None, transient: false }
    }

    /// An operating system's error, met while `doing`.
    pub fn io(path: impl AsRef<Path>, doing: &str, error: &io::Error) -> Self {
        let error_of_path = Self::new(path, format!("{doing}: {error}"));
        let transient = is_transient(error);
        let hint = match error.kind() {
            io::ErrorKind::PermissionDenied => Some("let the user that runs litmus-host read it"),
            io::ErrorKind::NotFound => Some("it was moved or deleted, or the share is not mounted"),
            io::ErrorKind::InvalidFilename => Some("shorten the path: move the data dir up, or rename its folders"),
            _ if error.raw_os_error() == Some(ELOOP) => Some("the link leads back to itself; remove it"),
            _ if transient => Some("it is looked at again in the next pass"),
            _ => None,
        };
        Self { transient, hint: hint.map(str::to_owned), ..error_of_path }
    }

    /// With what to do about it.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    pub(super) fn that_may_pass(self) -> Self {
        Self { transient: true, ..self }
    }

    /// The trouble may pass by itself (no permission, I/O error, too many open files), and says nothing about the file.
    pub fn is_transient(&self) -> bool {
        self.transient
    }

    /// The file or folder it is about.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// What is wrong, without path and hint.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// What to do about it, where that is known.
    pub fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.message)?;
        self.hint.iter().try_for_each(|hint| write!(f, "\nhint: {hint}"))
    }
}

impl std::error::Error for ReadError {}

/// "Too many levels of symbolic links" on Linux; std has no stable kind for it.
const ELOOP: i32 = 40;

/// An error about the way to the file or about its being short speaks of the file; any other may pass.
fn is_transient(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidData, InvalidFilename, InvalidInput, IsADirectory, NotADirectory, UnexpectedEof};
    let lasting = [InvalidData, InvalidFilename, InvalidInput, IsADirectory, NotADirectory, UnexpectedEof];
    !lasting.contains(&error.kind()) && error.raw_os_error() != Some(ELOOP)
}

/// In a message about a page that is laid out as Parquet allows, and as nobody writes run files.
pub(super) const NOT_READ: &str = "which is not read";

/// What damaged files get told.
pub(super) const DAMAGED: &str =
    "the file is damaged; restore it from the bench that wrote it, or move it out of runs/";

/// Calls into the decoder. It can panic on damaged input: that becomes an error like any other.
pub(super) fn guard<T>(label: &str, call: impl FnOnce() -> Result<T, ParquetError>) -> Result<T, ReadError> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(ParquetError::External(source))) => match source.downcast::<io::Error>() {
            Ok(error) if is_transient(&error) => Err(ReadError::io(label, "cannot read", &error)),
            Ok(error) => Err(damaged(label, &error.to_string())),
            Err(source) => Err(damaged(label, &source.to_string())),
        },
        Ok(Err(error)) => Err(damaged(label, &error.to_string())),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
            Err(damaged(label, &format!("the decoder panicked: {text}")))
        }
    }
}

fn damaged(label: &str, what: &str) -> ReadError {
    let hint = if what.contains(NOT_READ) {
        "write the file with dictionaries or in plain encoding, as the platform does"
    } else {
        DAMAGED
    };
    ReadError::new(label, format!("cannot decode: {what}")).with_hint(hint)
}
