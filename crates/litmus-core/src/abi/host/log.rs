//! What a plugin logs, on its way to the host: cut where it is long, dropped where it floods.

use std::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::abi::layout::{self, MINOR, Str};

/// What a plugin logs, as it reaches the host: level, target, message. Level: 1 error, 2 warn, 3 info, 4 debug.
pub type LogFn = Arc<dyn Fn(u32, &str, &str) + Send + Sync>;

/// Longer messages are cut.
const MESSAGE_BYTES_MAX: usize = 16 << 10;
/// What passes in one window; the rest is counted and dropped.
const WINDOW_BYTES_MAX: usize = 1 << 20;
/// After it a flood may begin again.
const WINDOW: Duration = Duration::from_secs(10);

/// Where one plugin's logs go. Lives as long as the process, as the plugin does.
pub(super) struct Log {
    sink: LogFn,
    target: String,
    window: Mutex<Window>,
}

struct Window {
    began: Instant,
    bytes: usize,
    dropped: u64,
}

impl Log {
    pub(super) fn new(sink: LogFn, target: String) -> Self {
        Self { sink, target, window: Mutex::new(Window { began: Instant::now(), bytes: 0, dropped: 0 }) }
    }

    /// The host's own word on the plugin; never dropped.
    pub(super) fn warn(&self, message: &str) {
        self.send(2, &self.target, message);
    }

    /// The plugin's word.
    fn take(&self, level: u32, target: &str, message: &str, bytes: usize) {
        let mut dropped = 0;
        let passes = {
            let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
            if window.began.elapsed() >= WINDOW {
                dropped = std::mem::take(&mut window.dropped);
                *window = Window { began: Instant::now(), bytes: 0, dropped: 0 };
            }
            window.bytes = window.bytes.saturating_add(message.len());
            let passes = window.bytes <= WINDOW_BYTES_MAX;
            if !passes {
                window.dropped += 1;
                if window.dropped == 1 {
                    dropped = u64::MAX;
                }
            }
            passes
        };
        match dropped {
            0 => {}
            u64::MAX => self.warn("logs too much; messages are dropped for a while"),
            n => self.warn(&format!("logged too much: {n} messages were dropped")),
        }
        if passes && bytes > message.len() {
            self.send(level, target, &format!("{message}… (cut: {bytes} bytes in all)"));
        } else if passes {
            self.send(level, target, message);
        }
    }

    fn send(&self, level: u32, target: &str, message: &str) {
        // The receiver is the host's; its panic may not unwind into the plugin.
        let _ = catch_unwind(AssertUnwindSafe(|| (self.sink)(level, target, message)));
    }

    /// The struct that `open` hands to the plugin; leaked, as the plugin may log at any time.
    pub(super) fn host(&'static self) -> &'static layout::Host {
        Box::leak(Box::new(layout::Host {
            size: size_of::<layout::Host>() as u32,
            abi_minor: u32::from(MINOR),
            ctx: std::ptr::from_ref(self).cast_mut().cast(),
            log: log_from_plugin,
        }))
    }
}

unsafe extern "C" fn log_from_plugin(ctx: *mut c_void, level: u32, target: Str, message: Str) {
    const TARGET_BYTES_MAX: usize = 100;
    // SAFETY: `ctx` is the leaked `Log` of `host`, shared only.
    let log = unsafe { &*ctx.cast::<Log>() };
    // SAFETY: the plugin lends both texts for the length of this call.
    let (target, text) = unsafe { (target.copy(TARGET_BYTES_MAX), message.copy(MESSAGE_BYTES_MAX)) };
    log.take(level, &target, &text, message.len);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_dropped_and_said_once_and_a_long_message_is_cut() {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let into = Arc::clone(&seen);
        let sink: LogFn = Arc::new(move |level, _: &str, message: &str| {
            into.lock().unwrap().push((level, message.to_owned()));
        });
        let log: &'static Log = Box::leak(Box::new(Log::new(sink, "x.so".to_owned())));
        let host = log.host();
        let line = "y".repeat(MESSAGE_BYTES_MAX * 2);
        for _ in 0..1000 {
            // SAFETY: the host's own function with its own context, both leaked.
            unsafe { (host.log)(host.ctx, 3, Str::lend("x"), Str::lend(&line)) };
        }
        let seen = seen.lock().unwrap();
        assert_eq!(seen.len(), WINDOW_BYTES_MAX / MESSAGE_BYTES_MAX + 1);
        assert!(seen[0].1.ends_with("(cut: 32768 bytes in all)"));
        assert_eq!(seen.iter().filter(|(level, message)| *level == 2 && message.contains("logs too much")).count(), 1);
    }
}
