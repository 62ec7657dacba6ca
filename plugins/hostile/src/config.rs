//! What the plugin can be told to do wrong.

use schemars::JsonSchema;
use serde::Deserialize;

/// A function of the sink.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Entry {
    /// `open`, offline too.
    Configure,
    /// `open`, where it connects.
    Connect,
    /// `check`.
    Check,
    /// `deliver`.
    Deliver,
    /// `audit`.
    Audit,
    /// `flush`.
    Flush,
    /// `close`.
    Close,
}

/// A way to misbehave inside `deliver`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Mischief {
    /// Reports every run a second time, as failed.
    ReportTwice,
    /// Reports a run past the end of the batch.
    ReportOutOfRange,
    /// Delivers, reports nothing and returns well.
    ReportNothing,
    /// Reports a status that does not exist.
    ReportUnknownStatus,
    /// Sends a receipt that is no JSON.
    BrokenReceipt,
    /// Keeps a stream past the return; the next `deliver` reads from it and logs the answer, then releases it.
    LeakStream,
    /// Reports, opens nothing, and asks for cancellation from a thread after the return.
    CallBackLate,
    /// Logs a gigabyte in one message.
    LogGigabyte,
    /// Logs a hundred thousand messages.
    LogFlood,
    /// Claims `verified` where the capabilities promise `committed`.
    ClaimGrade,
    /// Returns an error although every run was reported as delivered.
    ErrorAfterReports,
    /// Panics in a thread of its own, and goes on.
    PanicInThread,
}

/// One way in which `audit` lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Lie {
    /// Every run is there, under a sha256 of zeros.
    OtherRevision,
    /// No run is there.
    Absent,
    /// Answers for a run that nobody asked about.
    Stranger,
    /// Answers for each run twice.
    Twice,
}

/// A fault of the destination, for the engine's tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Fault {
    /// Away.
    Transient,
    /// Asks to wait 50 ms.
    Throttled,
    /// Wrong credentials.
    Auth,
    /// A configuration that cannot work.
    Config,
    /// A schema that does not fit.
    Schema,
    /// Another thing in the place.
    Conflict,
    /// A run that it cannot take.
    Data,
}

/// Without any of it: a sink that delivers to `log`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    /// The destination's name: equal ones are one destination.
    #[serde(default = "default_name")]
    pub(crate) name: String,
    /// A file of JSON lines `{"run_id", "sha256", "status"}`, one for each run reported as final; what is in it is "there".
    /// Without it the sink remembers in memory.
    pub(crate) log: Option<std::path::PathBuf>,
    /// The incarnation it answers with; none without it.
    pub(crate) incarnation: Option<String>,
    /// Reads every table of each run before it reports.
    #[serde(default)]
    pub(crate) read_tables: bool,
    /// Panics there.
    pub(crate) panic_in: Option<Entry>,
    /// Sleeps there for `hang_ms`, and does not look whether it is cancelled.
    pub(crate) hang_in: Option<Entry>,
    /// How long.
    #[serde(default = "default_hang_ms")]
    pub(crate) hang_ms: u64,
    /// What goes wrong in `deliver`.
    #[serde(default)]
    pub(crate) deliver: Vec<Mischief>,
    /// What goes wrong in `audit`.
    pub(crate) audit: Option<Lie>,
    /// Runs of these serials get a data error.
    #[serde(default)]
    pub(crate) data_error_serials: Vec<String>,
    /// A batch with a run of these serials panics.
    #[serde(default)]
    pub(crate) panic_serials: Vec<String>,
    /// A batch with a run of these serials fails as a whole with this fault, at whatever place the run stands.
    #[serde(default)]
    pub(crate) batch_error_serials: Vec<String>,
    /// Each of the first `fault_times` delivers (counted in memory) fails with it.
    pub(crate) fault: Option<Fault>,
    /// How often.
    #[serde(default = "default_fault_times")]
    pub(crate) fault_times: u64,
    /// `check` fails with this fault.
    pub(crate) check_fault: Option<Fault>,
}

fn default_name() -> String {
    "hostile".to_owned()
}

fn default_hang_ms() -> u64 {
    60_000
}

fn default_fault_times() -> u64 {
    u64::MAX
}
