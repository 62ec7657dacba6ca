//! The one error a sink returns.

use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

use crate::Status;

/// Why a sink could not do what was asked: a status that decides what the host does next, a message for a person, the
/// cause, and how long to wait where the destination said so. The retry policy reads the status only.
#[derive(Debug)]
pub struct SinkError {
    status: Status,
    message: String,
    retry_after: Option<Duration>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl SinkError {
    /// An error of this status. The message names the thing and the remedy, and holds no secret.
    pub fn new(status: Status, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), retry_after: None, source: None }
    }

    /// [`Status::Transient`]: the destination is away or busy.
    pub fn transient(message: impl Into<String>) -> Self {
        Self::new(Status::Transient, message)
    }

    /// [`Status::Config`]: the configuration cannot work.
    pub fn config(message: impl Into<String>) -> Self {
        Self::new(Status::Config, message)
    }

    /// [`Status::Data`]: the destination cannot take this run.
    pub fn data(message: impl Into<String>) -> Self {
        Self::new(Status::Data, message)
    }

    /// [`Status::Schema`]: the destination's schema does not fit.
    pub fn schema(message: impl Into<String>) -> Self {
        Self::new(Status::Schema, message)
    }

    /// [`Status::Cancelled`]: the host asked to stop.
    pub fn cancelled() -> Self {
        Self::new(Status::Cancelled, "cancelled by the host")
    }

    /// With the error that caused it; its text is appended when printed.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// With the time the destination asked for.
    #[must_use]
    pub fn with_retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    /// What the host goes by.
    pub fn status(&self) -> Status {
        self.status
    }

    /// How long the destination asked to wait.
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }
}

impl fmt::Display for SinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        let mut cause = self.source.as_deref().map(|source| source as &dyn StdError);
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

impl StdError for SinkError {}
