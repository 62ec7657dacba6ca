//! A run as the suite hands it to a plugin: a real file, with what a case wants changed about it.

use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::record_batch::{RecordBatch, RecordBatchReader};
use litmus_core::abi::host::RunSource;
use litmus_core::digest::{Conversions, Digests};
use litmus_core::reader::{RunFile, Store};
use litmus_core::{Attachment, Rank, RunId, Sha256, Table, TableStream};

/// What is wrong with a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// No table can be opened.
    Unopenable,
    /// The stream of `measurements` ends in an error after its rows.
    BreaksOff,
}

/// A run to deliver.
#[derive(Clone)]
pub(crate) struct Source {
    file: Arc<RunFile>,
    summary_json: String,
    attachments: Vec<Attachment>,
    supersedes: Vec<Sha256>,
    force: bool,
    fault: Option<Fault>,
    on_step: Option<Step>,
}

/// Called whenever the plugin asks for something of the run.
pub(crate) type Step = Arc<dyn Fn() + Send + Sync>;

impl Source {
    /// The run in this file, below a data dir.
    pub(crate) fn open(store: &Store, path: &Path) -> Result<Self, String> {
        let file = store.open_run(path).map_err(|error| error.to_string())?;
        let attachments = file.attachments().map_err(|error| error.to_string())?;
        let summary_json = serde_json::to_string(file.summary()).map_err(|error| error.to_string())?;
        Ok(Self {
            file: Arc::new(file),
            summary_json,
            attachments,
            supersedes: Vec::new(),
            force: false,
            fault: None,
            on_step: None,
        })
    }

    pub(crate) fn superseding(mut self, earlier: &Self) -> Self {
        self.supersedes = vec![earlier.sha256()];
        self
    }

    pub(crate) fn forced(mut self) -> Self {
        self.force = true;
        self
    }

    /// Tells each time that the plugin opens a table or takes a batch.
    pub(crate) fn telling(mut self, step: Step) -> Self {
        self.on_step = Some(step);
        self
    }

    /// The serial of the unit, where there is one.
    pub(crate) fn serial(&self) -> Option<&str> {
        self.file.summary().dut_serial.as_deref()
    }

    /// Bytes of the sealed file.
    pub(crate) fn sealed_bytes(&self) -> u64 {
        self.file.file().metadata().map_or(0, |stat| stat.len())
    }

    pub(crate) fn with_fault(mut self, fault: Fault) -> Self {
        self.fault = Some(fault);
        self
    }

    /// What a destination under these conversions must hold.
    pub(crate) fn digests(&self, conversions: Conversions) -> Result<Digests, String> {
        self.file.digests(conversions).map_err(|error| error.to_string())
    }

    /// Copies the sealed bytes.
    pub(crate) fn copy_to(&self, path: &Path) -> Result<(), String> {
        let copy = || -> std::io::Result<()> {
            let mut bytes = vec![0; self.file.file().metadata()?.len() as usize];
            self.file.file().read_exact_at(&mut bytes, 0)?;
            std::fs::write(path, bytes)
        };
        copy().map_err(|error| format!("{}: {error}", path.display()))
    }

    /// For messages.
    pub(crate) fn name(&self) -> String {
        format!("{} ({})", self.run_id(), self.file.summary().path)
    }
}

impl RunSource for Source {
    fn run_id(&self) -> RunId {
        self.file.run_id()
    }

    fn sha256(&self) -> Sha256 {
        self.file.sha256()
    }

    fn rank(&self) -> Rank {
        self.file.rank()
    }

    fn supersedes(&self) -> &[Sha256] {
        &self.supersedes
    }

    fn force(&self) -> bool {
        self.force
    }

    fn summary_json(&self) -> &str {
        &self.summary_json
    }

    fn sealed_path(&self) -> &str {
        &self.file.summary().path
    }

    fn sealed_fd(&self) -> Option<BorrowedFd<'_>> {
        // A sink that moves the file reads it here: a run at fault must not get past it.
        self.fault.is_none().then(|| self.file.file().as_fd())
    }

    fn attachments(&self) -> &[Attachment] {
        &self.attachments
    }

    fn open_table(&self, table: Table) -> Result<TableStream, String> {
        let stream = || -> Result<TableStream, String> {
            let stream = self.file.open_table(table).map_err(|error| error.to_string())?;
            let Some(step) = &self.on_step else { return Ok(stream) };
            step();
            Ok(Box::new(Telling { stream, step: Arc::clone(step) }))
        };
        match self.fault {
            Some(Fault::Unopenable) => Err("the suite made this run unreadable".into()),
            Some(Fault::BreaksOff) if table == Table::Measurements => {
                Ok(Box::new(BreaksOff { stream: stream()?, broken: false }))
            }
            _ => stream(),
        }
    }
}

/// A stream that tells of each batch.
struct Telling {
    stream: TableStream,
    step: Step,
}

impl Iterator for Telling {
    type Item = Result<RecordBatch, ArrowError>;

    fn next(&mut self) -> Option<Self::Item> {
        (self.step)();
        self.stream.next()
    }
}

impl RecordBatchReader for Telling {
    fn schema(&self) -> SchemaRef {
        self.stream.schema()
    }
}

/// A stream that ends in an error.
struct BreaksOff {
    stream: TableStream,
    broken: bool,
}

impl Iterator for BreaksOff {
    type Item = Result<RecordBatch, ArrowError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.broken {
            return None;
        }
        self.stream.next().or_else(|| {
            self.broken = true;
            Some(Err(ArrowError::ExternalError("the suite broke this stream off".into())))
        })
    }
}

impl RecordBatchReader for BreaksOff {
    fn schema(&self) -> SchemaRef {
        self.stream.schema()
    }
}
