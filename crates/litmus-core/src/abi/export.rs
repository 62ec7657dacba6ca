//! The C functions around a Rust [`Sink`], and the macro that exports them.

use std::any::Any;
use std::cell::RefCell;
use std::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

use abi_stable::StableAbi;
use abi_stable::type_layout::TypeLayout;
use serde_json::json;

use super::config;
use super::guest::{Call, Run, log, set_host, to_ms};
use super::layout::{self, AuditOut, ErrOut, Host, MINOR, OPEN_OFFLINE, Str, TextOut};
use crate::{Description, RunId, Sink, SinkError, Status};

/// A sink with what only its own crate knows; implemented by [`export_sink!`](crate::export_sink).
#[doc(hidden)]
pub trait Exported: Sink {
    /// The plugin crate's version.
    const VERSION: &'static str;
}

/// Exports a [`Sink`](crate::Sink) as this library's plugin: `litmus_core::export_sink!(MySink);`
#[macro_export]
macro_rules! export_sink {
    ($sink:ty) => {
        impl $crate::abi::export::Exported for $sink {
            const VERSION: &'static str = env!("CARGO_PKG_VERSION");
        }

        const _: () = {
            #[unsafe(no_mangle)]
            #[allow(non_upper_case_globals)]
            static litmus_sink_abi: $crate::abi::tag::Tag = $crate::abi::tag::Tag::new(
                <$sink as $crate::Sink>::NAME,
                env!("CARGO_PKG_VERSION"),
                (if cfg!(panic = "unwind") { 0 } else { $crate::abi::tag::PANIC_ABORTS })
                    | (if cfg!(debug_assertions) { $crate::abi::tag::DEBUG } else { 0 }),
            );

            #[unsafe(no_mangle)]
            #[allow(non_upper_case_globals)]
            static litmus_sink: $crate::abi::layout::Sink = $crate::abi::export::table::<$sink>();

            #[unsafe(no_mangle)]
            unsafe extern "C" fn litmus_sink_layout(
                version: *const $crate::abi::layout::TextOut,
            ) -> *const ::core::ffi::c_void {
                // SAFETY: the host hands over its own struct, valid for the length of the call.
                unsafe { $crate::abi::export::layout(version) }
            }
        };
    };
}

/// The table of functions of a sink.
#[doc(hidden)]
pub const fn table<S: Exported>() -> layout::Sink {
    layout::Sink {
        size: size_of::<layout::Sink>() as u32,
        abi_minor: MINOR as u32,
        describe: Some(describe::<S>),
        open: Some(open::<S>),
        check: Some(check::<S>),
        deliver: Some(deliver::<S>),
        audit: Some(audit::<S>),
        flush: Some(flush::<S>),
        close: Some(close::<S>),
    }
}

/// This build's layout, and which version of `abi_stable` describes it: layouts of two versions cannot be compared.
///
/// # Safety
/// `version` is the host's struct and valid now.
#[doc(hidden)]
pub unsafe fn layout(version: *const TextOut) -> *const c_void {
    // SAFETY: the caller's promise.
    unsafe { write(version, &abi_stable_version()) };
    let layout: &'static TypeLayout = <layout::Sink as StableAbi>::LAYOUT;
    (&raw const *layout).cast()
}

/// The version of `abi_stable` in this build, as one of its own types tells it.
pub(crate) fn abi_stable_version() -> String {
    <abi_stable::std_types::RString as StableAbi>::LAYOUT.package_version().to_string()
}

struct Instance<S> {
    sink: S,
}

unsafe extern "C" fn describe<S: Exported>(out: *const TextOut) -> u32 {
    let result = caught(|| {
        let description = Description {
            name: S::NAME.to_owned(),
            version: S::VERSION.to_owned(),
            capabilities: S::CAPABILITIES,
            config_schema: schemars::schema_for!(S::Config).to_value(),
        };
        // SAFETY: the host's struct, valid for the length of the call.
        unsafe { write(out, &to_json(&description)?) };
        Ok(())
    });
    match result {
        Ok(()) => 0,
        Err(error) => {
            // SAFETY: the host's struct, valid for the length of the call.
            unsafe { write(out, &error.to_string()) };
            error.status().number()
        }
    }
}

unsafe extern "C" fn open<S: Exported>(
    host: *const Host,
    config_json: Str,
    flags: u32,
    call: *const layout::Call,
    inst: *mut *mut c_void,
    out: *const TextOut,
    err: *const ErrOut,
) -> u32 {
    guard(err, || {
        set_host(host, S::NAME);
        log_panics();
        // SAFETY: the host lends the text for the length of the call.
        let config = unsafe { config_json.copy(usize::MAX) };
        let sink = S::configure(config::parse::<S::Config>(&config)?)?;
        let destination = sink.destination_id();
        let incarnation = if flags & OPEN_OFFLINE == 0 {
            // SAFETY: the host's struct, valid for the length of the call.
            sink.connect(&unsafe { Call::read(call) })?
        } else {
            None
        };
        let answer = json!({ "destination": destination, "incarnation": incarnation }).to_string();
        // SAFETY: both are the host's, valid for the length of the call.
        unsafe {
            write(out, &answer);
            inst.write(Box::into_raw(Box::new(Instance { sink })).cast());
        }
        Ok(())
    })
}

unsafe extern "C" fn check<S: Exported>(
    inst: *mut c_void,
    call: *const layout::Call,
    out: *const TextOut,
    err: *const ErrOut,
) -> u32 {
    guard(err, || {
        // SAFETY: the host hands back what `open` stored, and its own structs, valid for the length of the call.
        let (instance, call) = unsafe { (instance::<S>(inst), Call::read(call)) };
        let answer = instance.sink.check(&call)?;
        // SAFETY: the host's struct, valid for the length of the call.
        unsafe { write(out, &to_json(&answer)?) };
        Ok(())
    })
}

unsafe extern "C" fn deliver<S: Exported>(
    inst: *mut c_void,
    call: *const layout::Call,
    runs: *const *const layout::Run,
    n: usize,
    err: *const ErrOut,
) -> u32 {
    guard(err, || {
        // SAFETY: the host hands back what `open` stored, and its own structs, valid for the length of the call.
        let (instance, call) = unsafe { (instance::<S>(inst), Call::read(call)) };
        // SAFETY: `runs` points to `n` pointers to the host's runs, valid for the length of the call.
        let runs = (0..n).map(|at| unsafe { Run::read(runs.add(at).read()) }).collect::<Result<Vec<_>, _>>()?;
        instance.sink.deliver(&call, &runs)
    })
}

unsafe extern "C" fn audit<S: Exported>(
    inst: *mut c_void,
    call: *const layout::Call,
    run_ids: *const Str,
    n: usize,
    out: *const AuditOut,
    err: *const ErrOut,
) -> u32 {
    const RUN_ID_BYTES_MAX: usize = 64;
    guard(err, || {
        // SAFETY: the host hands back what `open` stored, and its own structs, valid for the length of the call.
        let (instance, call) = unsafe { (instance::<S>(inst), Call::read(call)) };
        // SAFETY: `run_ids` points to `n` texts, lent for the length of the call.
        let run_ids = (0..n)
            .map(|at| unsafe { run_ids.add(at).read().copy(RUN_ID_BYTES_MAX) }.parse())
            .collect::<Result<Vec<RunId>, _>>()
            .map_err(|why| {
                SinkError::new(Status::Unsupported, format!("the host asked about a run by no UUID: {why}"))
            })?;
        for audit in instance.sink.audit(&call, &run_ids)? {
            let at = run_ids.iter().position(|run_id| *run_id == audit.run_id).unwrap_or(usize::MAX);
            let audit = to_json(&audit)?;
            // SAFETY: the host's struct and its own function, valid for the length of the call; the text is lent.
            unsafe { ((&raw const (*out).report).read())((&raw const (*out).ctx).read(), at, 0, Str::lend(&audit)) };
        }
        Ok(())
    })
}

unsafe extern "C" fn flush<S: Exported>(inst: *mut c_void, call: *const layout::Call, err: *const ErrOut) -> u32 {
    // SAFETY: the host hands back what `open` stored, and its own structs, valid for the length of the call.
    guard(err, || unsafe { instance::<S>(inst).sink.flush(&Call::read(call)) })
}

unsafe extern "C" fn close<S: Exported>(inst: *mut c_void, call: *const layout::Call, err: *const ErrOut) -> u32 {
    guard(err, || {
        // SAFETY: the host hands back what `open` stored, once, after every other call has returned.
        let instance = unsafe { Box::from_raw(inst.cast::<Instance<S>>()) };
        // SAFETY: the host's struct, valid for the length of the call.
        instance.sink.close(&unsafe { Call::read(call) })
    })
}

/// # Safety
/// `inst` is what `open` of the same sink stored, and `close` has not begun.
unsafe fn instance<'a, S>(inst: *mut c_void) -> &'a Instance<S> {
    // SAFETY: the caller's promise; an instance is only ever shared, and `Sink: Sync`.
    unsafe { &*inst.cast() }
}

/// # Safety
/// `out` is the host's struct and valid now.
unsafe fn write(out: *const TextOut, text: &str) {
    // SAFETY: the caller's promise; the text is lent for the length of the call.
    unsafe { ((&raw const (*out).write).read())((&raw const (*out).ctx).read(), Str::lend(text)) }
}

fn to_json(value: &impl serde::Serialize) -> Result<String, SinkError> {
    serde_json::to_string(value)
        .map_err(|why| SinkError::new(Status::Unsupported, "the answer cannot be written as JSON").with_source(why))
}

thread_local! {
    /// What the panic hook saw last on this thread: the message with its place.
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Runs the body of an entry; a panic becomes an error.
fn caught(body: impl FnOnce() -> Result<(), SinkError>) -> Result<(), SinkError> {
    catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|payload| {
        let seen = PANIC.with_borrow_mut(Option::take);
        let text = seen.unwrap_or_else(|| panic_text(&*payload));
        // A payload may panic again when it is dropped, and nothing would catch that.
        std::mem::forget(payload);
        Err(SinkError::new(Status::Panicked, text))
    })
}

/// Runs the body of an entry; neither a panic nor an error leaves it but as a status and a message.
fn guard(err: *const ErrOut, body: impl FnOnce() -> Result<(), SinkError>) -> u32 {
    let Err(error) = caught(body) else { return 0 };
    // "Delivered" is 0, which an error may not return.
    let status = if error.status() == Status::Delivered { Status::Unsupported } else { error.status() };
    let message = error.to_string();
    // SAFETY: the host's struct and its own function, valid for the length of the call; the text is lent.
    unsafe {
        ((&raw const (*err).write).read())(
            (&raw const (*err).ctx).read(),
            to_ms(error.retry_after()),
            Str::lend(&message),
        );
    }
    status.number()
}

fn panic_text(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().copied().or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    format!("panicked: {}", text.unwrap_or("with no text"))
}

/// Sends this library's panics through the host's log, on whatever thread they happen. (The hook is this library's own: a
/// plugin carries its own copy of the standard library.)
fn log_panics() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        std::panic::set_hook(Box::new(|info| {
            let mut text = panic_text(info.payload());
            if let Some(place) = info.location() {
                text = format!("{text} (at {place})");
            }
            log(1, &text);
            PANIC.set(Some(text));
        }));
    });
}
