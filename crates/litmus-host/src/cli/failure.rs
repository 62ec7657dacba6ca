//! How a command fails: an exit code, one message, one remedy.

use litmus_core::reader::ReadError;

use crate::config::ConfigError;
use crate::engine_api::ForwardError;
use crate::ledger::LedgerError;

/// Exit code: some runs could not be delivered, some files could not be read.
pub(super) const INCOMPLETE: u8 = 1;
/// Exit code: the command or its configuration is wrong.
pub(super) const WRONG: u8 = 2;
/// Exit code: the host itself failed.
pub(super) const HOST: u8 = 3;

/// Why a command could not do its work.
#[derive(Debug)]
pub(super) struct Failure {
    /// For the shell.
    pub(super) code: u8,
    /// Printed after `error:`.
    pub(super) message: String,
    /// Printed after `hint:`.
    pub(super) hint: Option<String>,
}

impl Failure {
    /// The command or its configuration is wrong.
    pub(super) fn wrong(message: impl Into<String>) -> Self {
        Self { code: WRONG, message: message.into(), hint: None }
    }

    /// The host itself failed.
    pub(super) fn host(message: impl Into<String>) -> Self {
        Self { code: HOST, message: message.into(), hint: None }
    }

    /// With the remedy; an empty one is none.
    #[must_use]
    pub(super) fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into()).filter(|hint| !hint.is_empty());
        self
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self { code: WRONG, message: error.to_string(), hint: error.hint().map(str::to_owned) }
    }
}

impl From<ReadError> for Failure {
    fn from(error: ReadError) -> Self {
        let (message, hint) = split_hint(&error.to_string());
        Self { code: WRONG, message, hint }
    }
}

impl From<LedgerError> for Failure {
    fn from(error: LedgerError) -> Self {
        let (message, hint) = split_hint(&error.to_string());
        Self { hint, ..Self::host(message) }
    }
}

impl From<ForwardError> for Failure {
    fn from(error: ForwardError) -> Self {
        match error {
            ForwardError::Config { message, hint } => Self::wrong(message).with_hint(hint),
            ForwardError::Host { message, hint } => Self::host(message).with_hint(hint),
        }
    }
}

/// What stands before and after `hint:` in an error of the core.
pub(super) fn split_hint(text: &str) -> (String, Option<String>) {
    match text.split_once("hint:") {
        Some((message, hint)) => (message.trim_end_matches([' ', '\n', '(']).to_owned(), Some(hint.trim().to_owned())),
        None => (text.to_owned(), None),
    }
}
