//! Why a run could not be recorded.

use std::fmt;
use std::io;
use std::path::Path;

/// What went wrong, and what to do about it. Prints as the message alone; the remedy is [`hint`](Self::hint).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordError {
    message: String,
    hint: Option<String>,
}

impl RecordError {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None }
    }

    pub(crate) fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    pub(crate) fn io(path: &Path, doing: &str, error: &io::Error) -> Self {
        let hint = match error.kind() {
            io::ErrorKind::StorageFull => Some("free some space; the run is still there to be finished".to_owned()),
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                Some("let this user write into the data dir, or name another".to_owned())
            }
            _ => None,
        };
        Self { message: format!("{}: {doing}: {error}", path.display()), hint }
    }

    pub(crate) fn finished(what: &str) -> Self {
        Self::new(format!("{what} came after the run was finished or aborted"))
            .with_hint("record before finish(); what comes after is not in the sealed file")
    }

    /// The remedy, where one is known.
    pub fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }
}

impl fmt::Display for RecordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for RecordError {}
