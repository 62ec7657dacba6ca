//! The bytes of a cell (docs/digest.md). Every writer below appends to a reused buffer.

use super::json::JsonWriter;
use super::{Cell, Conversions};

// One tag a kind; they never change meaning, since digests are kept.
const NULL: u8 = 0;
pub(super) const TEXT: u8 = 1;
pub(super) const INT: u8 = 2;
const FLOAT: u8 = 3;
pub(super) const BOOL: u8 = 4;
pub(super) const TIMESTAMP: u8 = 5;
pub(super) const JSON: u8 = 6;
pub(super) const LIST: u8 = 7;
const OBJECT: u8 = 8;

/// The one NaN there is, whatever bits a file or a destination gave.
const NAN_BITS: u64 = 0x7ff8_0000_0000_0000;
/// 2^63: the first float past the range of i64.
const I64_END: f64 = 9_223_372_036_854_775_808.0;

/// Bytes of a length.
pub(super) const LENGTH_BYTES: usize = 4;

pub(super) fn length_bytes(length: usize) -> [u8; LENGTH_BYTES] {
    let length = u32::try_from(length).expect("Arrow's 32-bit offsets keep text and lists below 4 GiB");
    length.to_le_bytes()
}

fn length(out: &mut Vec<u8>, length: usize) {
    out.extend_from_slice(&length_bytes(length));
}

/// What comes before a cell's value.
pub(super) fn name(out: &mut Vec<u8>, name: &str) {
    length(out, name.len());
    out.extend_from_slice(name.as_bytes());
}

/// A text without its tag.
pub(super) fn bare_text(out: &mut Vec<u8>, text: &str, conversions: Conversions) {
    if conversions.nul_to_replacement && text.as_bytes().contains(&0) {
        let text = text.replace('\0', "\u{fffd}");
        name(out, &text);
    } else {
        name(out, text);
    }
}

pub(super) fn null(out: &mut Vec<u8>) {
    out.push(NULL);
}

pub(super) fn text(out: &mut Vec<u8>, text: &str, conversions: Conversions) {
    out.push(TEXT);
    bare_text(out, text, conversions);
}

pub(super) fn int(out: &mut Vec<u8>, value: i64) {
    out.push(INT);
    out.extend_from_slice(&value.to_le_bytes());
}

pub(super) fn float(out: &mut Vec<u8>, value: f64) {
    // A whole number in range counts as an integer, -0 with it: a destination may keep either type.
    if value.trunc() == value && (-I64_END..I64_END).contains(&value) {
        return int(out, value as i64);
    }
    out.push(FLOAT);
    let bits = if value.is_nan() { NAN_BITS } else { value.to_bits() };
    out.extend_from_slice(&bits.to_le_bytes());
}

pub(super) fn bool(out: &mut Vec<u8>, value: bool) {
    out.extend_from_slice(&[BOOL, u8::from(value)]);
}

pub(super) fn timestamp(out: &mut Vec<u8>, micros: i64) {
    out.push(TIMESTAMP);
    out.extend_from_slice(&micros.to_le_bytes());
}

pub(super) fn list_head(out: &mut Vec<u8>, elements: usize) {
    out.push(LIST);
    length(out, elements);
}

pub(super) fn object_head(out: &mut Vec<u8>, members: usize) {
    out.push(OBJECT);
    length(out, members);
}

pub(super) fn cell(out: &mut Vec<u8>, cell: &Cell<'_>) {
    let none = Conversions::default();
    match cell {
        Cell::Text(value) => text(out, value, none),
        Cell::Int(value) => int(out, *value),
        Cell::Float(value) => float(out, *value),
        Cell::Bool(value) => bool(out, *value),
        Cell::Timestamp(micros) => timestamp(out, *micros),
        Cell::Json(document) => JsonWriter::default().document(out, document, none),
        Cell::List(elements) => {
            list_head(out, elements.len());
            for element in elements {
                match element {
                    Some(element) => self::cell(out, element),
                    None => null(out),
                }
            }
        }
    }
}
