//! The trait a Rust plugin implements, and what it is handed. `export_sink!` puts the C ABI around it.

use std::time::Duration;

use arrow::record_batch::RecordBatchReader;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

pub use crate::abi::guest::{Call, Run};
use crate::{Grade, Receipt, RunId, Sha256, SinkError, Status, digest::TableDigest};

/// A sink: somewhere finished runs are sent. One value is one destination; the host calls it from plain threads.
///
/// An implementation owns its runtime, never blocks past `Call::is_cancelled` for more than a second, and reports each
/// run as soon as it is durable, so that a crash in the middle of a batch keeps what was done.
pub trait Sink: Sized + Send + Sync + 'static {
    /// The configuration, checked once at the door. `#[serde(deny_unknown_fields)]` and a doc comment on every field.
    type Config: DeserializeOwned + schemars::JsonSchema;

    /// The plugin's name as used in `--plugin NAME.so`.
    const NAME: &'static str;

    /// What the sink can do; the host relies on each.
    const CAPABILITIES: Capabilities;

    /// Checks the configuration and builds the sink. No connection, no file, no network: an offline `check` ends here.
    fn configure(config: Self::Config) -> Result<Self, SinkError>;

    /// Where the runs go, with no secret in it: equal ids share a ledger, different ids start empty.
    fn destination_id(&self) -> String;

    /// Connects, prepares what must exist, and returns the destination's incarnation: a UUID kept there, `None` where the
    /// destination cannot hold one. The host calls it before the first delivery and again after each outage.
    fn connect(&self, call: &Call<'_>) -> Result<Option<String>, SinkError>;

    /// Looks whether deliveries would work now, and changes nothing.
    fn check(&self, call: &Call<'_>) -> Result<CheckAnswer, SinkError>;

    /// Delivers runs; each result goes through [`Call::report`]. An error speaks for all runs not reported.
    fn deliver(&self, call: &Call<'_>, runs: &[Run<'_>]) -> Result<(), SinkError>;

    /// Says of each run what the destination holds, computed from the data read back.
    fn audit(&self, _call: &Call<'_>, _run_ids: &[RunId]) -> Result<Vec<Audit>, SinkError> {
        Err(SinkError::new(Status::Unsupported, "this sink cannot audit"))
    }

    /// Pushes out what is buffered.
    fn flush(&self, _call: &Call<'_>) -> Result<(), SinkError> {
        Ok(())
    }

    /// The last call.
    fn close(self, _call: &Call<'_>) -> Result<(), SinkError> {
        Ok(())
    }
}

/// What a sink can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capabilities {
    /// Delivering a revision twice leaves one: exactly once in effect.
    pub dedup: bool,
    /// `audit` works, by reading the data back.
    pub audit: bool,
    /// The sealed file itself is sent, and its attachments with it.
    pub moves_file: bool,
    /// `deliver` understands a dry run and reports what it would do.
    pub dry_run: bool,
    /// The highest grade a receipt of this sink reaches.
    pub grade_max: Grade,
    /// How many threads may be inside `deliver` at once.
    pub max_concurrent_delivers: u32,
    /// Preferred batch: sealed bytes.
    pub batch_bytes: u64,
    /// Preferred batch: runs.
    pub batch_runs: u32,
}

/// What `describe` returns, as JSON across the ABI.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Description {
    /// The plugin's name.
    pub name: String,
    /// The plugin's version.
    pub version: String,
    /// What it can do.
    pub capabilities: Capabilities,
    /// JSON Schema of its configuration.
    pub config_schema: serde_json::Value,
}

/// Whether `open` may touch the destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// Check the configuration only.
    Offline,
    /// Connect; the answer carries the incarnation.
    Live,
}

/// What `check` found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckAnswer {
    /// The destination's incarnation now; absent where it has none or does not exist yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incarnation: Option<String>,
    /// One line each for a person: server version, what would be created.
    #[serde(default)]
    pub notes: Vec<String>,
}

/// How one run of a batch ended.
#[derive(Clone, Debug)]
pub struct Report {
    /// How it ended.
    pub status: Status,
    /// For a person; empty where there is nothing to say.
    pub message: String,
    /// How long the destination asked to wait.
    pub retry_after: Option<Duration>,
    /// The proof; present with delivered, already present and superseded.
    pub receipt: Option<Receipt>,
}

impl Report {
    /// A final report with its receipt.
    pub fn done(status: Status, receipt: Receipt) -> Self {
        Self { status, message: String::new(), retry_after: None, receipt: Some(receipt) }
    }

    /// A run that failed on its own.
    pub fn failed(error: &SinkError) -> Self {
        Self { status: error.status(), message: error.to_string(), retry_after: error.retry_after(), receipt: None }
    }
}

/// What a destination holds of one run, read back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Audit {
    /// The run asked about.
    pub run_id: RunId,
    /// The revision held, as noted there; `None`: the run is absent.
    pub sha256: Option<Sha256>,
    /// Row count and digest by table, computed from the rows read back.
    #[serde(default)]
    pub tables: std::collections::BTreeMap<String, TableDigest>,
    /// Conversions noted at delivery, to be applied to the source before comparing.
    #[serde(default)]
    pub conversions: std::collections::BTreeMap<String, u64>,
}

/// A table of a run as Arrow batches. It must be dropped before `deliver` returns; batches taken from it may outlive it.
pub type TableStream = Box<dyn RecordBatchReader + Send>;
