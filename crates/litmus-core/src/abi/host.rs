//! The host's side: load a plugin, call it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use serde_json::Value;

use crate::{
    Attachment, Audit, CheckAnswer, Description, OpenMode, Rank, Report, RunId, Sha256, SinkError, Table, TableStream,
};

/// Why a file is not a plugin that can be used: one line that names file and remedy.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct LoadError(String);

/// What a plugin logs, as it reaches the host. Level: 1 error, 2 warn, 3 info, 4 debug.
pub type LogFn = Arc<dyn Fn(u32, &str, &str) + Send + Sync>;

/// A loaded plugin; never unloaded.
#[derive(Clone)]
pub struct Plugin {}

impl Plugin {
    /// Reads the tag from the file, checks it, and only then loads the library.
    pub fn load(_path: &Path, _log: LogFn) -> Result<Self, LoadError> {
        todo!()
    }

    /// Where it was loaded from, absolute.
    pub fn path(&self) -> &PathBuf {
        todo!()
    }

    /// What it says of itself.
    pub fn description(&self) -> &Description {
        todo!()
    }

    /// `1.0 (layout checked)`, or `1.0 (C, no layout)`.
    pub fn abi(&self) -> String {
        todo!()
    }

    /// Opens an instance with this configuration.
    pub fn open(&self, _config: &Value, _mode: OpenMode, _call: &HostCall<'_>) -> Result<Instance, SinkError> {
        todo!()
    }
}

/// One open sink.
pub struct Instance {}

/// What the host gives to a call.
pub struct HostCall<'a> {
    /// From 1.
    pub attempt: u32,
    /// When the host will give up waiting; `None`: never.
    pub deadline: Option<Instant>,
    /// Asked from any thread of the plugin.
    pub is_cancelled: &'a (dyn Fn() -> bool + Sync),
    /// See `Call::dry_run`.
    pub dry_run: bool,
}

/// A run as the host hands it out; implemented by the engine over a `RunFile` or a cache.
pub trait RunSource: Send + Sync {
    /// The run's identity.
    fn run_id(&self) -> RunId;
    /// Of the sealed bytes.
    fn sha256(&self) -> Sha256;
    /// The revision's rank.
    fn rank(&self) -> Rank;
    /// Earlier revisions seen.
    fn supersedes(&self) -> &[Sha256];
    /// Replace whatever is there.
    fn force(&self) -> bool;
    /// The summary as JSON.
    fn summary_json(&self) -> &str;
    /// For messages.
    fn sealed_path(&self) -> &str;
    /// Borrowed for the length of the call.
    fn sealed_fd(&self) -> Option<std::os::fd::BorrowedFd<'_>>;
    /// What the run refers to.
    fn attachments(&self) -> &[Attachment];
    /// A fresh stream of a table.
    fn open_table(&self, table: Table) -> Result<TableStream, String>;
}

impl Instance {
    /// No secret in it.
    pub fn destination_id(&self) -> &str {
        todo!()
    }

    /// As `open` found it; `None` offline, or where the destination has none.
    pub fn incarnation(&self) -> Option<&str> {
        todo!()
    }

    /// Would deliveries work?
    pub fn check(&self, _call: &HostCall<'_>) -> Result<CheckAnswer, SinkError> {
        todo!()
    }

    /// Delivers; `on_report` is called as reports arrive, from any thread, at most once a run (a second report of a run,
    /// or one for a run that is not in the batch, is logged and dropped).
    pub fn deliver(
        &self,
        _call: &HostCall<'_>,
        _runs: &[Arc<dyn RunSource>],
        _on_report: &(dyn Fn(usize, Report) + Sync),
    ) -> Result<(), SinkError> {
        todo!()
    }

    /// What the destination holds.
    pub fn audit(&self, _call: &HostCall<'_>, _run_ids: &[RunId]) -> Result<Vec<Audit>, SinkError> {
        todo!()
    }

    /// Pushes out what is buffered.
    pub fn flush(&self, _call: &HostCall<'_>) -> Result<(), SinkError> {
        todo!()
    }

    /// The last call.
    pub fn close(self, _call: &HostCall<'_>) -> Result<(), SinkError> {
        todo!()
    }
}
