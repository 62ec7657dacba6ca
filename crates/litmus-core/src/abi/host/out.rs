//! Takes text from a plugin.

use std::ffi::c_void;

use crate::abi::layout::{Str, TextOut};

/// The longest answer a plugin may give; the rest is cut off, and then is no JSON.
const TEXT_BYTES_MAX: usize = 64 << 20;

/// Collects what the plugin writes.
#[derive(Default)]
pub(super) struct Text(String);

impl Text {
    /// Valid as long as `self` is neither moved nor used.
    pub(super) fn out(&mut self) -> TextOut {
        unsafe extern "C" fn write(ctx: *mut c_void, text: Str) {
            // SAFETY: `ctx` is the `Text` of `out`; the plugin calls this while the call it was handed to runs, from one
            // thread at a time.
            let into = unsafe { &mut *ctx.cast::<Text>() };
            let room = TEXT_BYTES_MAX.saturating_sub(into.0.len());
            // SAFETY: the plugin lends the text for the length of this call.
            into.0.push_str(&unsafe { text.copy(room) });
        }
        TextOut { ctx: (&raw mut *self).cast(), write }
    }

    pub(super) fn finish(self) -> String {
        self.0
    }
}
