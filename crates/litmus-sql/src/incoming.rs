//! What is asked of a run that is to be written.

use arrow::record_batch::RecordBatchReader as _;
use litmus_core::{Rank, Run, RunId, Sha256, SinkError, Table, TableStream};

use crate::Wanted;

/// A run as a SQL sink needs it; tests bring their own.
pub trait Incoming {
    /// Its identity.
    fn run_id(&self) -> RunId;
    /// The revision.
    fn sha256(&self) -> Sha256;
    /// Where the revision stands among those of the run.
    fn rank(&self) -> Rank;
    /// The revisions that the sender saw it replace.
    fn supersedes(&self) -> &[Sha256];
    /// Whether it replaces whatever is there.
    fn force(&self) -> bool;
    /// A fresh stream of one table.
    fn open_table(&self, table: Table) -> Result<TableStream, SinkError>;
}

impl Incoming for Run<'_> {
    fn run_id(&self) -> RunId {
        self.run_id()
    }
    fn sha256(&self) -> Sha256 {
        self.sha256()
    }
    fn rank(&self) -> Rank {
        self.rank()
    }
    fn supersedes(&self) -> &[Sha256] {
        self.supersedes()
    }
    fn force(&self) -> bool {
        self.force()
    }
    fn open_table(&self, table: Table) -> Result<TableStream, SinkError> {
        self.open_table(table)
    }
}

/// All tables of a run.
pub fn open_tables(run: &impl Incoming) -> Result<Vec<(Table, TableStream)>, SinkError> {
    Table::ALL.into_iter().map(|table| Ok((table, run.open_table(table)?))).collect()
}

/// What writing these streams needs.
pub fn wanted(streams: &[(Table, TableStream)]) -> Vec<Wanted> {
    streams.iter().map(|(table, stream)| (*table, stream.schema())).collect()
}
