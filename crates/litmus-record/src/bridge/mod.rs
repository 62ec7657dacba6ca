//! Log records become failures of the step they belong to.
//!
//! A [`Bridge`] decides by the record's level; [`BridgeLayer`] (feature `tracing`) and [`BridgeLogger`] (feature `log`) feed it.
//! It never blocks on the disk, never panics, and hears nothing of what is logged while it, or the recorder, is at work.

#[cfg(feature = "log")]
mod log;
#[cfg(feature = "tracing")]
mod tracing;

use std::cell::Cell;
use std::fmt;

use jiff::Timestamp;

use crate::active::{self, Active};
use crate::{Step, Vector};

#[cfg(feature = "log")]
pub use self::log::BridgeLogger;
#[cfg(feature = "tracing")]
pub use self::tracing::BridgeLayer;

/// How grave a log record is; a graver one is greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Level {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
    Critical,
}

impl Level {
    /// As it stands in `log.jsonl`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Trace => "TRACE",
            Self::Debug => "DEBUG",
            Self::Info => "INFO",
            Self::Warn => "WARNING",
            Self::Error => "ERROR",
            Self::Critical => "CRITICAL",
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What became of a log record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing: it was not grave enough, or no step was active.
    None,
    /// It was kept with the step.
    Kept,
    /// It failed the step.
    Failed,
}

/// Which log records fail the step they belong to, and which are kept with it.
#[derive(Clone, Copy, Debug)]
pub struct Bridge {
    fail_at: Level,
    keep_at: Option<Level>,
}

impl Default for Bridge {
    fn default() -> Self {
        Self { fail_at: Level::Warn, keep_at: None }
    }
}

impl Bridge {
    /// Warnings and graver records fail the step; nothing is kept.
    pub fn new() -> Self {
        Self::default()
    }

    /// Records at this level and above fail the step.
    #[must_use]
    pub fn fail_at(mut self, level: Level) -> Self {
        self.fail_at = level;
        self
    }

    /// Records at this level and above are kept with the step, as its attachment `log.jsonl`.
    #[must_use]
    pub fn keep_at(mut self, level: Level) -> Self {
        self.keep_at = Some(level);
        self
    }

    /// Whether records of this level are of interest at all.
    pub fn wants(&self, level: Level) -> bool {
        level >= self.fail_at || self.keep_at.is_some_and(|keep_at| level >= keep_at)
    }

    /// A record of the active step of this thread or task; the message is asked for only where it is used.
    pub fn emit(&self, level: Level, target: &str, message: impl FnOnce() -> String) -> Effect {
        if !self.wants(level) || Busy::is_busy() {
            return Effect::None;
        }
        let _busy = Busy::enter();
        active::active().map_or(Effect::None, |active| self.deliver(&active, level, target, message))
    }

    /// A record of a certain step.
    pub fn emit_to(&self, step: &Step, level: Level, target: &str, message: impl FnOnce() -> String) -> Effect {
        self.emit_to_active(Active::Step(step.clone()), level, target, message)
    }

    /// A record of a certain vector, and of its step.
    pub fn emit_to_vector(
        &self,
        vector: &Vector,
        level: Level,
        target: &str,
        message: impl FnOnce() -> String,
    ) -> Effect {
        self.emit_to_active(Active::Vector(vector.clone()), level, target, message)
    }

    pub(crate) fn emit_to_active(
        &self,
        active: Active,
        level: Level,
        target: &str,
        message: impl FnOnce() -> String,
    ) -> Effect {
        if !self.wants(level) || Busy::is_busy() {
            return Effect::None;
        }
        let _busy = Busy::enter();
        self.deliver(&active, level, target, message)
    }

    fn deliver(&self, active: &Active, level: Level, target: &str, message: impl FnOnce() -> String) -> Effect {
        // What cannot be turned into text fails the step all the same.
        let message = std::panic::catch_unwind(std::panic::AssertUnwindSafe(message))
            .unwrap_or_else(|_| format!("(a record of {target} panicked while it was formatted)"));
        if self.keep_at.is_some_and(|keep_at| level >= keep_at) {
            active.step().log(level, target, &message);
        }
        if level < self.fail_at {
            return Effect::Kept;
        }
        active.fail(message);
        Effect::Failed
    }
}

/// One line of `log.jsonl`.
pub(crate) fn line(at: Timestamp, level: Level, target: &str, message: &str) -> String {
    serde_json::json!({
        "timestamp": at.to_string(), "level": level.as_str(), "target": target, "message": message,
    })
    .to_string()
}

thread_local! {
    static BUSY: Cell<u32> = const { Cell::new(0) };
}

/// While one lives on a thread, what is logged there is the recorder's own and is not listened to.
pub(crate) struct Busy(());

impl Busy {
    pub(crate) fn enter() -> Self {
        let _ = BUSY.try_with(|busy| busy.set(busy.get() + 1));
        Self(())
    }

    pub(crate) fn is_busy() -> bool {
        BUSY.try_with(|busy| busy.get() > 0).unwrap_or(true)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let _ = BUSY.try_with(|busy| busy.set(busy.get().saturating_sub(1)));
    }
}
