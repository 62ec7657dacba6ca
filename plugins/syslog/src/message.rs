//! One message after RFC 5424, built in one buffer that is used again for the next: a run of 100,000 measurements is 100,000
//! messages, and none of them allocates.
//!
//! ```text
//! <131>1 2026-06-01T01:30:02.250000Z bench-07 litmus 3f2a9c10 measurement [litmus@32473 msg_id="…" run_id="…" …] SN123 failed: …
//! ```
//!
//! A message is never longer than `bytes_max`. One that would be says `truncated="true"`, and loses in this order: the end of
//! MSG (down to a third of what there is to give away), then values that describe, then the ends of values that identify;
//! `msg_id` and `run_id` are never cut.

use crate::text::{boundary, escaped, float, int, timestamp};

/// UTF-8 in MSG begins with it, plain ASCII needs none: RFC 5424, section 6.4.
const BOM: &[u8] = b"\xef\xbb\xbf";
/// Stands where text was cut off.
const CUT: &[u8] = b"...";
const TRUNCATED: &[u8] = b" truncated=\"true\"";
/// Params that are never cut: `msg_id` and `run_id`.
const ESSENTIAL_PARAMS: usize = 2;
/// What MSG keeps before a value is dropped for it.
const MSG_BYTES_KEPT: usize = 160;
/// A value that identifies keeps this much if there is room at all.
const IDENTITY_BYTES_KEPT: usize = 64;

/// What the messages of one run share.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    /// ` HOSTNAME APP-NAME PROCID `, in front of MSGID.
    pub(crate) header: Vec<u8>,
    /// `[litmus@NUMBER`
    open: Vec<u8>,
    /// The beginning of each `msg_id`.
    pub(crate) msg_id: Vec<u8>,
    /// ` run_id="…" dut_serial="…"`: what identifies the run.
    identity: Vec<u8>,
    /// Where each of them begins.
    starts: Vec<usize>,
}

impl Shared {
    /// For messages whose structured data is `[litmus@NUMBER …]`.
    pub(crate) fn new(enterprise_number: u32) -> Self {
        Self { open: format!("[litmus@{enterprise_number}").into_bytes(), ..Self::default() }
    }

    /// Adds a value that identifies the run; `run_id` has to be the first.
    pub(crate) fn identify(&mut self, name: &str, value: &str) {
        self.starts.push(self.identity.len());
        self.identity.extend_from_slice(&param(name));
        escaped(&mut self.identity, value);
        self.identity.push(b'"');
    }
}

/// ` name="`: what stands before a value. Names are fixed, so this is done once for each.
pub(crate) fn param(name: &str) -> Vec<u8> {
    format!(" {name}=\"").into_bytes()
}

/// Builds messages, one after the other.
#[derive(Debug)]
pub(crate) struct Composer {
    bytes_max: usize,
    bytes: Vec<u8>,
    /// Where the structured data begins.
    sd: usize,
    /// Where each param begins, the space before it included.
    params: Vec<usize>,
    /// How many of them identify.
    identifying: usize,
    /// Where the structured data's `]` stands.
    sd_end: usize,
    cut: Vec<u8>,
}

impl Composer {
    pub(crate) fn new(bytes_max: usize) -> Self {
        let buffer = Vec::with_capacity(bytes_max.min(16 << 10));
        Self { bytes_max, bytes: buffer, sd: 0, params: Vec::new(), identifying: 0, sd_end: 0, cut: Vec::new() }
    }

    /// Begins a message: header, `msg_id`, and what identifies the run.
    pub(crate) fn begin(
        &mut self,
        pri: u8,
        at_us: Option<i64>,
        msgid: &str,
        shared: &Shared,
        id: impl FnOnce(&mut Vec<u8>),
    ) {
        let out = &mut self.bytes;
        out.clear();
        self.params.clear();
        out.push(b'<');
        int(out, i64::from(pri));
        out.extend_from_slice(b">1 ");
        timestamp(out, at_us);
        out.extend_from_slice(&shared.header);
        out.extend_from_slice(msgid.as_bytes());
        out.push(b' ');
        self.sd = out.len();
        out.extend_from_slice(&shared.open);
        self.params.push(out.len());
        out.extend_from_slice(b" msg_id=\"");
        out.extend_from_slice(&shared.msg_id);
        id(out);
        out.push(b'"');
        let identity = out.len();
        out.extend_from_slice(&shared.identity);
        self.params.extend(shared.starts.iter().map(|start| identity + start));
        self.identifying = self.params.len();
    }

    /// Adds a value that describes, written by `write`, which must write nothing that needs escaping.
    pub(crate) fn raw(&mut self, param: &[u8], write: impl FnOnce(&mut Vec<u8>)) {
        self.params.push(self.bytes.len());
        self.bytes.extend_from_slice(param);
        write(&mut self.bytes);
        self.bytes.push(b'"');
    }

    /// Adds a text that describes; nothing where there is none.
    pub(crate) fn text(&mut self, param: &[u8], value: Option<&str>) {
        if let Some(value) = value {
            self.raw(param, |out| escaped(out, value));
        }
    }

    /// Adds a number.
    pub(crate) fn float(&mut self, param: &[u8], value: Option<f64>) {
        if let Some(value) = value {
            self.raw(param, |out| float(out, value));
        }
    }

    /// Adds a whole number.
    pub(crate) fn int(&mut self, param: &[u8], value: Option<i64>) {
        if let Some(value) = value {
            self.raw(param, |out| int(out, value));
        }
    }

    /// Ends the structured data, writes MSG, and gives the message.
    pub(crate) fn finish(&mut self, message: impl FnOnce(&mut Vec<u8>)) -> &[u8] {
        self.sd_end = self.bytes.len();
        self.bytes.extend_from_slice(b"] ");
        let start = self.bytes.len();
        message(&mut self.bytes);
        if !self.bytes[start..].is_ascii() {
            self.bytes.splice(start..start, BOM.iter().copied());
        }
        if self.bytes.len() <= self.bytes_max {
            return &self.bytes;
        }
        self.shorten();
        &self.cut
    }

    fn shorten(&mut self) {
        let Self { bytes, params, cut, .. } = self;
        let end_of = |at: usize| params.get(at + 1).copied().unwrap_or(self.sd_end);
        let essential = end_of(ESSENTIAL_PARAMS - 1);
        cut.clear();
        cut.extend_from_slice(&bytes[..essential]);
        cut.extend_from_slice(TRUNCATED);
        let message = &bytes[self.sd_end + 2..];
        let room = self.bytes_max.saturating_sub(cut.len() + 2);
        let mut left = room - message.len().min(MSG_BYTES_KEPT).min(room / 3);
        let identity_most = (left / 3).max(IDENTITY_BYTES_KEPT);
        for at in ESSENTIAL_PARAMS..params.len() {
            let whole = &bytes[params[at]..end_of(at)];
            let most = if at < self.identifying { left.min(identity_most) } else { left };
            if whole.len() <= most {
                cut.extend_from_slice(whole);
                left -= whole.len();
            } else if at < self.identifying {
                let value = whole.iter().position(|byte| *byte == b'"').expect("a param has its quote") + 1;
                let Some(kept) = most.checked_sub(value + CUT.len() + 1).filter(|kept| *kept > 0) else { continue };
                let kept = boundary(&whole[value..whole.len() - 1], kept);
                cut.extend_from_slice(&whole[..value + kept]);
                cut.extend_from_slice(CUT);
                cut.push(b'"');
                left -= value + kept + CUT.len() + 1;
            }
        }
        cut.extend_from_slice(b"] ");
        let left = self.bytes_max.saturating_sub(cut.len());
        if message.len() <= left {
            cut.extend_from_slice(message);
        } else {
            cut.extend_from_slice(&message[..utf8_boundary(message, left.saturating_sub(CUT.len()))]);
            cut.extend_from_slice(CUT);
        }
    }
}

/// Where UTF-8 may end; MSG has no escapes, a `\` in it is a character.
fn utf8_boundary(text: &[u8], mut end: usize) -> usize {
    while end > 0 && text[end] & 0xc0 == 0x80 {
        end -= 1;
    }
    end
}

#[cfg(test)]
pub(crate) mod tests;
