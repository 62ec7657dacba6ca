//! Outcomes and how they add up.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::RecordError;

/// The outcome of a measurement, vector, step or run; a later one is worse, as on the platform (`escalate_outcome`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Left out on purpose.
    Skipped,
    /// Recorded, not judged: there was no limit.
    Done,
    /// Met its limits.
    Passed,
    /// Violated a limit, or was failed by hand or by a log record.
    Failed,
    /// The test itself broke.
    Errored,
    /// Stopped by the operator, and cleaned up.
    Terminated,
    /// Stopped without cleaning up, or abandoned.
    Aborted,
}

impl Outcome {
    /// All of them, from the mildest to the worst.
    pub const ALL: [Self; 7] =
        [Self::Skipped, Self::Done, Self::Passed, Self::Failed, Self::Errored, Self::Terminated, Self::Aborted];

    /// As it stands in the file.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Skipped => "skipped",
            Self::Done => "done",
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::Errored => "errored",
            Self::Terminated => "terminated",
            Self::Aborted => "aborted",
        }
    }

    /// The worse of two; none at all is milder than any.
    pub fn worse(one: Option<Self>, other: Option<Self>) -> Option<Self> {
        one.max(other)
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Outcome {
    type Err = RecordError;
    fn from_str(text: &str) -> Result<Self, RecordError> {
        Self::ALL.into_iter().find(|outcome| outcome.as_str() == text).ok_or_else(|| {
            RecordError::new(format!("\"{text}\" is no outcome"))
                .with_hint("one of passed, failed, skipped, errored, done, terminated, aborted")
        })
    }
}
