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
    /// Instead of all that: a sink that does everything right, into files of this folder, but for `mutant`.
    pub(crate) folder: Option<std::path::PathBuf>,
    /// The promise that is broken in `folder`.
    pub(crate) mutant: Option<Mutant>,
    /// `HOST:PORT` of a server that echoes lines: asked before each run is written to `folder`.
    pub(crate) server: Option<String>,
    /// What it says to the server; one that begins with `wrong` is refused. Stands in no message.
    pub(crate) password: Option<String>,
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

/// A promise that the sink into a folder breaks; `mutants.toml` says which case of the suite must see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Mutant {
    /// Makes a file in the folder although it was opened offline.
    OfflineTouches,
    /// Has one destination id for every folder.
    OneId,
    /// Answers with another incarnation at each open.
    NewIncarnation,
    /// Says its password where it says what it found.
    TellPassword,
    /// All instances of the process write where the first one does.
    StaticFolder,
    /// Refuses to be open in a process where another copy of the library is.
    OneCopyAProcess,
    /// Works on the thread that opened it only.
    ThreadBound,
    /// All deliveries write one temporary file.
    SharedScratch,
    /// Cannot close after a delivery that was cancelled.
    CloseNeedsPeace,
    /// Keeps a stream past the return.
    KeepStream,
    /// The receipt's digests are of nothing that was sent.
    WrongReceipt,
    /// The last row of the measurements is left out.
    DropLastRow,
    /// What an earlier delivery wrote is removed by the next one.
    KeepLastBatch,
    /// An empty batch is an error.
    EmptyBatchFails,
    /// `close` removes what the instance wrote.
    LoseAtClose,
    /// A dry run writes.
    DryRunWrites,
    /// A number that is not finite becomes null.
    NanToNull,
    /// An empty text becomes null.
    EmptyTextToNull,
    /// Times are kept by the second.
    TimesToSeconds,
    /// Names of columns are kept in lower case.
    LowerCaseNames,
    /// Columns past the three hundredth are left out.
    ColumnsMax,
    /// The serial is the file's name.
    SerialAsName,
    /// A run without measurements is refused.
    EmptyRunFails,
    /// A run is held in memory many times over.
    Hoard,
    /// Runs past the hundredth of a batch are reported and not written.
    FirstHundred,
    /// A run that is there is reported as delivered again.
    AlwaysDelivered,
    /// What is there is known from memory alone.
    DedupInMemory,
    /// Looks, waits, writes: without a lock.
    NoLock,
    /// The lock is one of the instance.
    LockPerInstance,
    /// Looks at all runs of a batch before it writes any.
    BatchBlind,
    /// Never replaces what is there.
    KeepFirst,
    /// Always replaces what is there.
    LastWins,
    /// Does not know `supersedes`.
    RankOnly,
    /// Does not know `force`.
    NoForce,
    /// Forgets which revisions are older than the one it holds.
    ForgetLineage,
    /// Notes a run as held before its rows are written.
    NoteFirst,
    /// A table that cannot be opened is taken as empty.
    SwallowOpenError,
    /// A stream that breaks off is taken as ended.
    SwallowStreamError,
    /// A run that cannot be read is reported at the next place.
    BlameTheNext,
    /// Does not ask whether it is cancelled.
    Deaf,
    /// Stops when asked, after eight seconds.
    SlowToStop,
    /// A cancelled run is the run's own fault.
    CancelledIsData,
    /// Every run that it is asked about is there.
    AuditSaysPresent,
    /// The audit answers with the note that was taken at delivery.
    AuditFromNotes,
    /// The audit answers from memory.
    AuditFromMemory,
    /// A server that is away is the run's own fault.
    AwayIsData,
    /// What the server answers is not looked at.
    ServerUnheard,
    /// Waits for the server without an end.
    WaitForever,
    /// Half of each file that a run refers to is enough.
    CutAttachment,
    /// Keeps to itself how long the server asks to wait.
    WaitUnheard,
    /// An answer that is a little late is none.
    Impatient,
    /// A refused password is a server that is away.
    RefusedIsTransient,
    /// After the server was away it is never asked again.
    NeverBack,
    /// A disk that is full is the run's own fault.
    FullIsData,
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
