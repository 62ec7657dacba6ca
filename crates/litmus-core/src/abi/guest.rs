//! What a Rust plugin sees of one call and one run.

use std::ffi::c_void;
use std::marker::PhantomData;
use std::os::fd::BorrowedFd;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::time::{Duration, Instant};

use arrow::ffi_stream::{ArrowArrayStreamReader, FFI_ArrowArrayStream};

use super::layout::{self, CALL_DRY_RUN, ErrOut, NO_TIME, RUN_FORCE, Str};
use crate::{Attachment, Rank, Report, RunId, Sha256, SinkError, Status, Summary, Table, TableStream};

/// The longest text taken from the host; a summary of a run is far below it.
const TEXT_BYTES_MAX: usize = 64 << 20;

/// One call from the host: how long it may take, whether it still should, and where results go.
#[derive(Debug)]
pub struct Call<'a> {
    attempt: u32,
    flags: u32,
    deadline: Option<Instant>,
    ctx: *mut c_void,
    is_cancelled: unsafe extern "C" fn(*mut c_void) -> u32,
    report: unsafe extern "C" fn(*mut c_void, usize, u32, u64, Str, Str),
    _lent: PhantomData<&'a ()>,
}

// SAFETY: `ctx` is a handle that only goes back to the two functions, and the ABI allows those from any thread.
unsafe impl Send for Call<'_> {}
// SAFETY: as above; nothing here is changed after construction.
unsafe impl Sync for Call<'_> {}

impl Call<'_> {
    /// Reads the host's struct.
    ///
    /// # Safety
    /// `raw` is what the host handed to the entry that is running; `'a` ends with that entry.
    pub(crate) unsafe fn read<'a>(raw: *const layout::Call) -> Call<'a> {
        // SAFETY: the host's struct holds every field of minor 0 and is readable for the length of the call.
        unsafe {
            let remaining_ms = (&raw const (*raw).remaining_ms).read();
            let limit = (remaining_ms != NO_TIME).then(|| Duration::from_millis(remaining_ms));
            Call {
                attempt: (&raw const (*raw).attempt).read(),
                flags: (&raw const (*raw).flags).read(),
                deadline: limit.and_then(|limit| Instant::now().checked_add(limit)),
                ctx: (&raw const (*raw).ctx).read(),
                is_cancelled: (&raw const (*raw).is_cancelled).read(),
                report: (&raw const (*raw).report).read(),
                _lent: PhantomData,
            }
        }
    }

    /// Which attempt this is, from 1.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// Whether to stop: poll it at least every second and before each commit.
    pub fn is_cancelled(&self) -> bool {
        // SAFETY: the host's own function with its own handle; any thread may call it, even late.
        unsafe { (self.is_cancelled)(self.ctx) != 0 }
    }

    /// `Err(cancelled)` once the host asked to stop; for `?` between steps.
    pub fn check_cancelled(&self) -> Result<(), SinkError> {
        if self.is_cancelled() { Err(SinkError::cancelled()) } else { Ok(()) }
    }

    /// Time left; `None`: no deadline.
    pub fn remaining(&self) -> Option<Duration> {
        self.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()))
    }

    /// Say what would be done (`Receipt::planned`) and change nothing.
    pub fn dry_run(&self) -> bool {
        self.flags & CALL_DRY_RUN != 0
    }

    /// Reports how a run ended, by its place in the batch; from any thread; once a run.
    pub fn report(&self, run: usize, report: &Report) {
        let receipt = report.receipt.as_ref().map(serde_json::to_string).transpose();
        let receipt = receipt.unwrap_or_else(|error| {
            log(2, &format!("the receipt of run {run} of the batch is no JSON: {error}"));
            None
        });
        let receipt = receipt.as_deref().map_or(Str::EMPTY, Str::lend);
        self.report_raw(run, report.status.number(), report.retry_after, &report.message, receipt);
    }

    fn report_raw(&self, run: usize, status: u32, retry_after: Option<Duration>, message: &str, receipt: Str) {
        // SAFETY: the host's own function with its own handle; both texts are lent for the length of the call.
        unsafe { (self.report)(self.ctx, run, status, to_ms(retry_after), Str::lend(message), receipt) }
    }

    /// The same call for use after it has ended, as no well-behaved plugin does: the host answers "cancelled" and drops
    /// reports. For tests of just that.
    #[doc(hidden)]
    pub fn outliving(&self) -> Call<'static> {
        Call { _lent: PhantomData, ..*self }
    }

    /// Reports a status by its number, known or not. For tests of hosts.
    #[doc(hidden)]
    pub fn report_number(&self, run: usize, status: u32, receipt_json: &str) {
        self.report_raw(run, status, None, "", Str::lend(receipt_json));
    }
}

/// One run of a batch; valid until `deliver` returns.
#[derive(Debug)]
pub struct Run<'a> {
    id: RunId,
    sha256: Sha256,
    rank: Rank,
    supersedes: Vec<Sha256>,
    force: bool,
    summary: Summary,
    sealed_fd: Option<BorrowedFd<'a>>,
    sealed_path: String,
    attachments: Vec<Attachment>,
    ctx: *mut c_void,
    open_table: unsafe extern "C" fn(*mut c_void, u32, *mut c_void, *const ErrOut) -> u32,
}

// SAFETY: `ctx` is a handle that only goes back to `open_table`, and the ABI allows that from any thread.
unsafe impl Send for Run<'_> {}
// SAFETY: as above; nothing here is changed after construction.
unsafe impl Sync for Run<'_> {}

impl Run<'_> {
    /// Reads the host's struct, and parses what is in it.
    ///
    /// # Safety
    /// `raw` is one of the runs handed to the `deliver` that is running; `'a` ends with it.
    pub(crate) unsafe fn read<'a>(raw: *const layout::Run) -> Result<Run<'a>, SinkError> {
        // SAFETY: the host's struct holds every field of minor 0, and it and all that it points to is readable for the
        // length of the call; the descriptor stays open that long.
        unsafe {
            let text = |field: *const Str| field.read().copy(TEXT_BYTES_MAX);
            let supersedes = (&raw const (*raw).supersedes).read();
            let supersedes_n = if supersedes.is_null() { 0 } else { (&raw const (*raw).supersedes_n).read() };
            let sealed_fd = (&raw const (*raw).sealed_fd).read();
            let run_id = text(&raw const (*raw).run_id);
            let wrong = |what: &str, why: &dyn std::fmt::Display| {
                SinkError::new(
                    Status::Unsupported,
                    format!("the host sent a run {run_id} whose {what} cannot be read: {why}"),
                )
            };
            Ok(Run {
                id: run_id.parse().map_err(|why| wrong("id", &why))?,
                sha256: Sha256((&raw const (*raw).sha256).read()),
                rank: text(&raw const (*raw).rank).parse().map_err(|why| wrong("rank", &why))?,
                supersedes: (0..supersedes_n).map(|at| Sha256(supersedes.add(at).read())).collect(),
                force: (&raw const (*raw).flags).read() & RUN_FORCE != 0,
                summary: serde_json::from_str(&text(&raw const (*raw).summary_json))
                    .map_err(|why| wrong("summary", &why))?,
                sealed_fd: (sealed_fd >= 0).then(|| BorrowedFd::borrow_raw(sealed_fd)),
                sealed_path: text(&raw const (*raw).sealed_path),
                attachments: serde_json::from_str(&text(&raw const (*raw).attachments_json))
                    .map_err(|why| wrong("list of attachments", &why))?,
                ctx: (&raw const (*raw).ctx).read(),
                open_table: (&raw const (*raw).open_table).read(),
            })
        }
    }

    /// The run's identity.
    pub fn run_id(&self) -> RunId {
        self.id
    }

    /// Of the sealed file's bytes.
    pub fn sha256(&self) -> Sha256 {
        self.sha256
    }

    /// For settling two revisions; see [`crate::decide`].
    pub fn rank(&self) -> Rank {
        self.rank
    }

    /// The revisions of this run that the sender saw earlier.
    pub fn supersedes(&self) -> &[Sha256] {
        &self.supersedes
    }

    /// Replace whatever is there.
    pub fn force(&self) -> bool {
        self.force
    }

    /// What the run is.
    pub fn summary(&self) -> &Summary {
        &self.summary
    }

    /// The sealed file, for `pread`; `None` where the host cannot lend it.
    pub fn sealed_fd(&self) -> Option<BorrowedFd<'_>> {
        self.sealed_fd
    }

    /// The sealed file's path, for messages.
    pub fn sealed_path(&self) -> &str {
        &self.sealed_path
    }

    /// What the run refers to.
    pub fn attachments(&self) -> &[Attachment] {
        &self.attachments
    }

    /// A fresh stream of one table, any number of times. Drop it before `deliver` returns.
    pub fn open_table(&self, table: Table) -> Result<TableStream, SinkError> {
        let failed = |status: Status, why: &dyn std::fmt::Display| {
            SinkError::new(status, format!("{}: cannot read the table {table}: {why}", self.sealed_path))
        };
        let mut stream = FFI_ArrowArrayStream::empty();
        let mut fault = Fault::default();
        let err = fault.out();
        // SAFETY: the host's own function with its own handle; `stream` and `err` are ours and outlive the call.
        let status = unsafe { (self.open_table)(self.ctx, table.number(), (&raw mut stream).cast(), &raw const err) };
        if status != 0 {
            let error = fault.into_error(status);
            return Err(failed(error.status(), &error));
        }
        match ArrowArrayStreamReader::try_new(stream) {
            Ok(reader) => Ok(Box::new(reader)),
            Err(why) => Err(failed(Status::Data, &why)),
        }
    }
}

/// Milliseconds as the ABI writes them.
pub(crate) fn to_ms(time: Option<Duration>) -> u64 {
    time.map_or(NO_TIME, |time| u64::try_from(time.as_millis()).unwrap_or(NO_TIME - 1))
}

/// What the ABI wrote as milliseconds.
pub(crate) fn from_ms(ms: u64) -> Option<Duration> {
    (ms != NO_TIME).then(|| Duration::from_millis(ms))
}

/// Takes what the peer says through an [`ErrOut`].
#[derive(Default)]
pub(crate) struct Fault {
    message: String,
    retry_after: Option<Duration>,
}

impl Fault {
    const MESSAGE_BYTES_MAX: usize = 64 << 10;

    /// Valid as long as `self` is neither moved nor used.
    pub(crate) fn out(&mut self) -> ErrOut {
        unsafe extern "C" fn write(ctx: *mut c_void, retry_after_ms: u64, message: Str) {
            // SAFETY: `ctx` is the `Fault` of `out`, and the peer calls this while the call runs, not from two threads at once.
            let fault = unsafe { &mut *ctx.cast::<Fault>() };
            // SAFETY: the peer lends the text for the length of this call.
            fault.message = unsafe { message.copy(Fault::MESSAGE_BYTES_MAX) };
            fault.retry_after = from_ms(retry_after_ms);
        }
        ErrOut { ctx: (&raw mut *self).cast(), write }
    }

    /// The error of a status that is not 0; an unknown one is transient.
    pub(crate) fn into_error(self, number: u32) -> SinkError {
        let status = Status::from_number(number).unwrap_or(Status::Transient);
        let message = if self.message.is_empty() {
            format!("failed with status {number} and gave no reason")
        } else {
            self.message
        };
        let error = SinkError::new(status, message);
        match self.retry_after {
            Some(wait) => error.with_retry_after(wait),
            None => error,
        }
    }
}

/// The host of the last `open`; lives as long as the process.
static HOST: AtomicPtr<layout::Host> = AtomicPtr::new(std::ptr::null_mut());

/// The plugin's name: what its logs are filed under.
static NAME: OnceLock<&str> = OnceLock::new();

/// Remembers where logs go.
pub(crate) fn set_host(host: *const layout::Host, name: &'static str) {
    NAME.get_or_init(|| name);
    HOST.store(host.cast_mut(), Ordering::Release);
}

/// Logs through the host; `level` is 1 error, 2 warn, 3 info, 4 debug. Before the first `open` there is nowhere to log to.
pub fn log(level: u32, message: &str) {
    let host = HOST.load(Ordering::Acquire);
    if host.is_null() {
        return;
    }
    let target = Str::lend(NAME.get().copied().unwrap_or_default());
    // SAFETY: the host's struct lives as long as the process; `log` may be called from any thread; both texts are lent.
    unsafe {
        let log = (&raw const (*host).log).read();
        log((&raw const (*host).ctx).read(), level, target, Str::lend(message));
    }
}
