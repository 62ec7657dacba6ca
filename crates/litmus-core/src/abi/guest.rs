//! What a Rust plugin sees of one call and one run.

use std::os::fd::BorrowedFd;
use std::time::Duration;

use crate::{Attachment, Rank, Report, RunId, Sha256, SinkError, Summary, Table, TableStream};

/// One call from the host: how long it may take, whether it still should, and where results go.
#[derive(Debug)]
pub struct Call<'a> {
    _raw: std::marker::PhantomData<&'a ()>,
}

impl Call<'_> {
    /// Which attempt this is, from 1.
    pub fn attempt(&self) -> u32 {
        todo!()
    }

    /// Whether to stop: poll it at least every second and before each commit.
    pub fn is_cancelled(&self) -> bool {
        todo!()
    }

    /// `Err(cancelled)` once the host asked to stop; for `?` between steps.
    pub fn check_cancelled(&self) -> Result<(), SinkError> {
        if self.is_cancelled() { Err(SinkError::cancelled()) } else { Ok(()) }
    }

    /// Time left; `None`: no deadline.
    pub fn remaining(&self) -> Option<Duration> {
        todo!()
    }

    /// Say what would be done (`Receipt::planned`) and change nothing.
    pub fn dry_run(&self) -> bool {
        todo!()
    }

    /// Reports how a run ended, by its place in the batch; from any thread; once a run.
    pub fn report(&self, _run: usize, _report: &Report) {
        todo!()
    }
}

/// One run of a batch; valid until `deliver` returns.
#[derive(Debug)]
pub struct Run<'a> {
    _raw: std::marker::PhantomData<&'a ()>,
}

impl Run<'_> {
    /// The run's identity.
    pub fn run_id(&self) -> RunId {
        todo!()
    }

    /// Of the sealed file's bytes.
    pub fn sha256(&self) -> Sha256 {
        todo!()
    }

    /// For settling two revisions; see [`crate::decide`].
    pub fn rank(&self) -> Rank {
        todo!()
    }

    /// The revisions of this run that the sender saw earlier.
    pub fn supersedes(&self) -> &[Sha256] {
        todo!()
    }

    /// Replace whatever is there.
    pub fn force(&self) -> bool {
        todo!()
    }

    /// What the run is.
    pub fn summary(&self) -> &Summary {
        todo!()
    }

    /// The sealed file, for `pread`; `None` where the host cannot lend it.
    pub fn sealed_fd(&self) -> Option<BorrowedFd<'_>> {
        todo!()
    }

    /// The sealed file's path, for messages.
    pub fn sealed_path(&self) -> &str {
        todo!()
    }

    /// What the run refers to.
    pub fn attachments(&self) -> &[Attachment] {
        todo!()
    }

    /// A fresh stream of one table, any number of times. Drop it before `deliver` returns.
    pub fn open_table(&self, _table: Table) -> Result<TableStream, SinkError> {
        todo!()
    }
}

/// Logs through the host; `level` is 1 error, 2 warn, 3 info, 4 debug.
pub fn log(_level: u32, _message: &str) {
    todo!()
}
