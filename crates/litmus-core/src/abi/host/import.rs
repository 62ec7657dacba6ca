//! An open sink, as the host calls it.

use std::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::Value;

use super::active::{Active, Entry, Handles, find};
use super::load::Plugin;
use super::out::Text;
use super::stream::export;
use super::{HostCall, RunSource};
use crate::abi::guest::{Fault, from_ms, to_ms};
use crate::abi::layout::{self, AuditOut, CALL_DRY_RUN, ErrOut, OPEN_OFFLINE, RUN_FORCE, Str};
use crate::{Audit, Capabilities, CheckAnswer, OpenMode, Report, RunId, SinkError, Status, Table};

/// The longest receipt, audit or message taken from a plugin.
const RECEIPT_BYTES_MAX: usize = 16 << 20;
const MESSAGE_BYTES_MAX: usize = 64 << 10;

/// One open sink. Dropping it does not close it: an instance that hangs is abandoned, never called again.
pub struct Instance {
    plugin: Plugin,
    inst: *mut c_void,
    destination: String,
    incarnation: Option<String>,
    newer: bool,
}

/// A struct with room behind it that a newer minor of the ABI would have filled: `size` says so where it is meant to be seen.
/// What lies there is no zero, so that whoever reads past what it knows does not read something harmless.
#[repr(C)]
struct Grown<T> {
    known: T,
    later: [u8; GROWN_BYTES],
}

const GROWN_BYTES: usize = 64;
/// A flag that no minor so far has a meaning for.
const UNKNOWN_FLAG: u32 = 1 << 30;

impl<T> Grown<T> {
    fn new(known: T) -> Self {
        Self { known, later: [0xa5; GROWN_BYTES] }
    }
}

// SAFETY: `inst` only goes back to the plugin's functions, which the ABI allows from any thread, and from several at once
// as far as the plugin's capabilities say; keeping to those is the caller's part.
unsafe impl Send for Instance {}
// SAFETY: as above.
unsafe impl Sync for Instance {}

#[derive(Deserialize)]
struct Destination {
    destination: String,
    #[serde(default)]
    incarnation: Option<String>,
}

/// What one call is handed; in one place, so that nothing of it moves while the plugin runs.
struct Frame {
    handles: Handles,
    call: Grown<layout::Call>,
    fault: Fault,
}

impl Frame {
    /// # Safety
    /// The frame is dropped before what it borrows ends: it stays a local of the function that calls the plugin.
    unsafe fn new(
        plugin: &Plugin,
        call: &HostCall<'_>,
        runs: usize,
        on_report: Option<&(dyn Fn(usize, Report) + Sync)>,
    ) -> Self {
        // SAFETY: the caller's promise.
        let handles = unsafe { Handles::new(call.is_cancelled, on_report, runs, plugin.log()) };
        let remaining = call.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let call = layout::Call {
            size: size_of::<layout::Call>() as u32,
            flags: if call.dry_run { CALL_DRY_RUN } else { 0 },
            attempt: call.attempt,
            reserved: 0,
            remaining_ms: to_ms(remaining),
            ctx: handles.call(),
            is_cancelled,
            report,
        };
        Self { handles, call: Grown::new(call), fault: Fault::default() }
    }

    /// The call of a host with a later minor.
    fn newer(mut self, newer: bool) -> Self {
        if newer {
            self.call.known.size += GROWN_BYTES as u32;
            self.call.known.flags |= UNKNOWN_FLAG;
        }
        self
    }

    /// Runs a function of the plugin, and reads its answer.
    fn run(mut self, function: impl FnOnce(*const layout::Call, *const ErrOut) -> u32) -> Result<(), SinkError> {
        let err = self.fault.out();
        let status = function(&raw const self.call.known, &raw const err);
        drop(self.handles);
        if status == 0 { Ok(()) } else { Err(self.fault.into_error(status)) }
    }
}

impl Plugin {
    /// Opens an instance with this configuration.
    pub fn open(&self, config: &Value, mode: OpenMode, call: &HostCall<'_>) -> Result<Instance, SinkError> {
        let config = config.to_string();
        let flags = if mode == OpenMode::Offline { OPEN_OFFLINE } else { 0 };
        let mut inst = std::ptr::null_mut();
        let mut text = Text::default();
        let out = text.out();
        // SAFETY: the frame ends in this function.
        let frame = unsafe { Frame::new(self, call, 0, None) };
        frame.run(|call, err| {
            // SAFETY: every pointer is ours and outlives the call; the host's struct is leaked.
            unsafe {
                (self.functions().open)(
                    self.host(),
                    Str::lend(&config),
                    flags,
                    call,
                    &raw mut inst,
                    &raw const out,
                    err,
                )
            }
        })?;
        let answer: Destination = serde_json::from_str(&text.finish()).map_err(|why| self.wrong("open", &why))?;
        Ok(Instance {
            plugin: self.clone(),
            inst,
            destination: answer.destination,
            incarnation: answer.incarnation.filter(|_| mode == OpenMode::Live),
            newer: false,
        })
    }

    /// An answer that is not what the ABI says.
    fn wrong(&self, function: &str, why: &dyn std::fmt::Display) -> SinkError {
        let name = &self.description().name;
        SinkError::new(Status::Unsupported, format!("{name} answers {function} with what is no answer: {why}"))
    }
}

impl Instance {
    /// The same, called from now on as a host with a later minor of the ABI would: longer structs, flags that nobody knows.
    /// For tests of plugins.
    #[doc(hidden)]
    #[must_use]
    pub fn as_newer_host(mut self) -> Self {
        self.newer = true;
        self
    }

    /// No secret in it.
    pub fn destination_id(&self) -> &str {
        &self.destination
    }

    /// What the plugin can do.
    pub fn capabilities(&self) -> Capabilities {
        self.plugin.description().capabilities
    }

    /// As `open` found it; `None` offline, or where the destination has none.
    pub fn incarnation(&self) -> Option<&str> {
        self.incarnation.as_deref()
    }

    /// Would deliveries work?
    pub fn check(&self, call: &HostCall<'_>) -> Result<CheckAnswer, SinkError> {
        let mut text = Text::default();
        let out = text.out();
        // SAFETY: the frame ends in this function.
        let frame = unsafe { Frame::new(&self.plugin, call, 0, None) }.newer(self.newer);
        // SAFETY: `inst` is what `open` stored; every pointer outlives the call.
        frame.run(|call, err| unsafe { (self.plugin.functions().check)(self.inst, call, &raw const out, err) })?;
        serde_json::from_str(&text.finish()).map_err(|why| self.plugin.wrong("check", &why))
    }

    /// Delivers; `on_report` is called as reports arrive, from any thread, at most once a run (a second report of a run,
    /// or one for a run that is not in the batch, is logged and dropped).
    pub fn deliver(
        &self,
        call: &HostCall<'_>,
        runs: &[Arc<dyn RunSource>],
        on_report: &(dyn Fn(usize, Report) + Sync),
    ) -> Result<(), SinkError> {
        let capped = |run: usize, report: Report| on_report(run, self.within_grade(report));
        // SAFETY: the frame ends in this function.
        let mut frame = unsafe { Frame::new(&self.plugin, call, runs.len(), Some(&capped)) }.newer(self.newer);
        let lent: Vec<LentRun<'_>> = runs.iter().map(LentRun::new).collect();
        // Each with room behind it: a plugin that takes them for an array of structs is wrong at once, not one day.
        let mut structs: Vec<Grown<layout::Run>> =
            lent.iter().map(|run| Grown::new(run.lend(frame.handles.run(run.source)))).collect();
        if self.newer {
            for run in &mut structs {
                run.known.size += GROWN_BYTES as u32;
                run.known.flags |= UNKNOWN_FLAG;
            }
        }
        let pointers: Vec<*const layout::Run> = structs.iter().map(|run| &raw const run.known).collect();
        frame.run(|call, err| {
            // SAFETY: `inst` is what `open` stored; every pointer outlives the call.
            unsafe { (self.plugin.functions().deliver)(self.inst, call, pointers.as_ptr(), pointers.len(), err) }
        })
    }

    /// What the destination holds.
    pub fn audit(&self, call: &HostCall<'_>, run_ids: &[RunId]) -> Result<Vec<Audit>, SinkError> {
        let Some(function) = self.plugin.functions().audit else {
            return Err(SinkError::new(
                Status::Unsupported,
                format!("{} cannot audit", self.plugin.description().name),
            ));
        };
        let texts: Vec<String> = run_ids.iter().map(ToString::to_string).collect();
        let lent: Vec<Str> = texts.iter().map(|text| Str::lend(text)).collect();
        let answers = Answers(Mutex::default());
        let out = AuditOut { ctx: (&raw const answers).cast_mut().cast(), report: audit_report };
        // SAFETY: the frame ends in this function.
        let frame = unsafe { Frame::new(&self.plugin, call, 0, None) }.newer(self.newer);
        frame.run(|call, err| {
            // SAFETY: `inst` is what `open` stored; every pointer outlives the call.
            unsafe { function(self.inst, call, lent.as_ptr(), lent.len(), &raw const out, err) }
        })?;
        let mut audits: Vec<Audit> = Vec::new();
        for (at, status, json) in answers.0.into_inner().unwrap_or_else(PoisonError::into_inner) {
            if status != 0 {
                self.plugin
                    .log()
                    .warn(&format!("cannot audit run {at} of those asked about (status {status}): {json}"));
                continue;
            }
            let audit: Audit = serde_json::from_str(&json).map_err(|why| self.plugin.wrong("audit", &why))?;
            let asked = run_ids.get(at).is_some_and(|run_id| *run_id == audit.run_id);
            if asked && !audits.iter().any(|known| known.run_id == audit.run_id) {
                audits.push(audit);
            } else {
                self.plugin.log().warn(&format!("answers audit twice, or for a run not asked about: {}", audit.run_id));
            }
        }
        Ok(audits)
    }

    /// Pushes out what is buffered.
    pub fn flush(&self, call: &HostCall<'_>) -> Result<(), SinkError> {
        let Some(function) = self.plugin.functions().flush else { return Ok(()) };
        // SAFETY: the frame ends in this function.
        let frame = unsafe { Frame::new(&self.plugin, call, 0, None) }.newer(self.newer);
        // SAFETY: `inst` is what `open` stored; every pointer outlives the call.
        frame.run(|call, err| unsafe { function(self.inst, call, err) })
    }

    /// The last call.
    pub fn close(self, call: &HostCall<'_>) -> Result<(), SinkError> {
        // SAFETY: the frame ends in this function.
        let frame = unsafe { Frame::new(&self.plugin, call, 0, None) }.newer(self.newer);
        // SAFETY: `inst` is what `open` stored; `self` is consumed, so that this is the last call.
        frame.run(|call, err| unsafe { (self.plugin.functions().close)(self.inst, call, err) })
    }

    /// A receipt may not claim more than the plugin's capabilities promise.
    fn within_grade(&self, mut report: Report) -> Report {
        let max = self.plugin.description().capabilities.grade_max;
        if let Some(grade) = report.receipt.as_mut().and_then(|receipt| receipt.grade.as_mut())
            && *grade > max
        {
            self.plugin
                .log()
                .warn(&format!("claims grade {grade:?} where it promises {max:?} at most; {max:?} is kept"));
            *grade = max;
        }
        report
    }
}

/// The texts of one run, owned for the length of the call.
struct LentRun<'a> {
    source: &'a Arc<dyn RunSource>,
    run_id: String,
    rank: String,
    attachments: String,
    supersedes: Vec<[u8; 32]>,
}

impl<'a> LentRun<'a> {
    fn new(source: &'a Arc<dyn RunSource>) -> Self {
        Self {
            source,
            run_id: source.run_id().to_string(),
            rank: source.rank().encode(),
            attachments: serde_json::to_string(source.attachments()).unwrap_or_else(|_| "[]".to_owned()),
            supersedes: source.supersedes().iter().map(|sha256| sha256.0).collect(),
        }
    }

    fn lend(&self, ctx: *mut c_void) -> layout::Run {
        use std::os::fd::AsRawFd;
        layout::Run {
            size: size_of::<layout::Run>() as u32,
            flags: if self.source.force() { RUN_FORCE } else { 0 },
            run_id: Str::lend(&self.run_id),
            sha256: self.source.sha256().0,
            rank: Str::lend(&self.rank),
            supersedes: self.supersedes.as_ptr(),
            supersedes_n: self.supersedes.len(),
            summary_json: Str::lend(self.source.summary_json()),
            sealed_fd: self.source.sealed_fd().map_or(-1, |fd| fd.as_raw_fd()),
            reserved: 0,
            sealed_path: Str::lend(self.source.sealed_path()),
            attachments_json: Str::lend(&self.attachments),
            ctx,
            open_table,
        }
    }
}

/// Runs a callback's body; a panic of the host's own code may not unwind into the plugin.
fn guarded<T>(otherwise: T, body: impl FnOnce() -> T) -> T {
    catch_unwind(AssertUnwindSafe(body)).unwrap_or(otherwise)
}

unsafe extern "C" fn is_cancelled(ctx: *mut c_void) -> u32 {
    guarded(1, || {
        let Some(Entry::Call(active)) = find(ctx) else { return 1 };
        let lent = active.lent.read().unwrap_or_else(PoisonError::into_inner);
        lent.as_ref().is_none_or(|lent| (lent.is_cancelled)()).into()
    })
}

unsafe extern "C" fn report(
    ctx: *mut c_void,
    run: usize,
    status: u32,
    retry_after_ms: u64,
    message: Str,
    receipt_json: Str,
) {
    guarded((), || {
        // A call that has ended: there is nobody to tell.
        let Some(Entry::Call(active)) = find(ctx) else { return };
        // SAFETY: the plugin lends both texts for the length of this call.
        let (message, receipt) = unsafe { (message.copy(MESSAGE_BYTES_MAX), receipt_json.copy(RECEIPT_BYTES_MAX)) };
        let report = to_report(&active, run, status, from_ms(retry_after_ms), message, &receipt);
        let lent = active.lent.read().unwrap_or_else(PoisonError::into_inner);
        let Some(on_report) = lent.as_ref().and_then(|lent| lent.on_report) else { return };
        if first_report(&active, run) {
            on_report(run, report);
        }
    });
}

fn first_report(active: &Active, run: usize) -> bool {
    let mut reported = active.reported.lock().unwrap_or_else(PoisonError::into_inner);
    match reported.get_mut(run) {
        None => {
            active.log.warn(&format!("reports run {run} of a batch of {}; ignored", reported.len()));
            false
        }
        Some(true) => {
            active.log.warn(&format!("reports run {run} of the batch a second time; ignored"));
            false
        }
        Some(seen) => {
            *seen = true;
            true
        }
    }
}

fn to_report(
    active: &Active,
    run: usize,
    number: u32,
    retry_after: Option<Duration>,
    message: String,
    receipt: &str,
) -> Report {
    let status = Status::from_number(number).unwrap_or_else(|| {
        active.log.warn(&format!("reports the unknown status {number} for run {run} of the batch; taken as transient"));
        Status::Transient
    });
    let receipt = match receipt {
        "" => None,
        text => serde_json::from_str(text)
            .map_err(|why| active.log.warn(&format!("sends a receipt for run {run} of the batch that is none: {why}")))
            .ok(),
    };
    Report { status, message, retry_after, receipt }
}

/// Place, status, and the answer or the reason.
struct Answers(Mutex<Vec<(usize, u32, String)>>);

unsafe extern "C" fn audit_report(ctx: *mut c_void, run: usize, status: u32, audit_json: Str) {
    guarded((), || {
        // SAFETY: `ctx` is the `Answers` of the `audit` that is running, shared only.
        let answers = unsafe { &*ctx.cast::<Answers>() };
        // SAFETY: the plugin lends the text for the length of this call.
        let json = unsafe { audit_json.copy(RECEIPT_BYTES_MAX) };
        answers.0.lock().unwrap_or_else(PoisonError::into_inner).push((run, status, json));
    });
}

unsafe extern "C" fn open_table(ctx: *mut c_void, table: u32, out: *mut c_void, err: *const ErrOut) -> u32 {
    let result = guarded(Err((Status::Data, "the host could not open the table".to_owned())), || {
        let Some(Entry::Run(active, source)) = find(ctx) else {
            return Err((Status::Cancelled, "the call that this run belonged to has ended".to_owned()));
        };
        let Some(table) = Table::from_number(table) else {
            return Err((Status::Unsupported, format!("the host knows no table {table}")));
        };
        // Held while the stream is added, so that the end of the call cannot come in between.
        let lent = active.lent.read().unwrap_or_else(PoisonError::into_inner);
        if lent.is_none() {
            return Err((Status::Cancelled, "the call that this run belonged to has ended".to_owned()));
        }
        let reader = source.open_table(table).map_err(|why| (Status::Data, why))?;
        let (stream, shared) = export(reader);
        active.streams.lock().unwrap_or_else(PoisonError::into_inner).push(shared);
        // SAFETY: the plugin lends room for a stream, whose old content is not to be dropped.
        unsafe { out.cast::<arrow::ffi_stream::FFI_ArrowArrayStream>().write(stream) };
        Ok(())
    });
    let Err((status, message)) = result else { return 0 };
    if !err.is_null() {
        // SAFETY: the plugin's struct and its own function, valid for the length of this call; the text is lent.
        unsafe {
            ((&raw const (*err).write).read())((&raw const (*err).ctx).read(), layout::NO_TIME, Str::lend(&message));
        }
    }
    status.number()
}
