//! The host's side: load a plugin, call it.

mod active;
mod check;
mod import;
mod load;
mod log;
mod out;
mod precheck;
mod stream;

use std::time::Instant;

pub use import::Instance;
pub use load::{LoadError, Plugin};
pub use log::LogFn;
pub use precheck::{TagInfo, precheck};

use crate::{Attachment, Rank, RunId, Sha256, Table, TableStream};

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
