//! Thrift's compact protocol, as far as Parquet needs it (thrift-compact-protocol.md in Apache Thrift).

const TRUE: u8 = 1;
const FALSE: u8 = 2;
const BYTE: u8 = 3;
const I16: u8 = 4;
const I32: u8 = 5;
const I64: u8 = 6;
const DOUBLE: u8 = 7;
const BINARY: u8 = 8;
const LIST: u8 = 9;
const SET: u8 = 10;
const MAP: u8 = 11;
const STRUCT: u8 = 12;
const UUID: u8 = 13;

/// Nothing in a Parquet file is nested this deep.
const DEPTH_MAX: u32 = 16;

/// What kind of value a field or an element is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Of 16, 32 or 64 bits: they are written alike.
    Int,
    Binary,
    List,
    Struct,
    Other,
}

impl Kind {
    fn of(kind: u8) -> Self {
        match kind {
            I16 | I32 | I64 => Self::Int,
            BINARY => Self::Binary,
            LIST => Self::List,
            STRUCT => Self::Struct,
            _ => Self::Other,
        }
    }
}

/// Reads from the front; `None` at whatever it cannot make sense of.
#[derive(Clone, Copy)]
pub(super) struct Compact<'a>(pub(super) &'a [u8]);

impl<'a> Compact<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    pub(super) fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    /// Any of the integers.
    pub(super) fn int(&mut self) -> Option<i64> {
        let value = self.varint()?;
        Some((value >> 1).cast_signed() ^ -(value & 1).cast_signed())
    }

    /// An integer that cannot be negative.
    pub(super) fn size(&mut self) -> Option<usize> {
        usize::try_from(self.int()?).ok()
    }

    pub(super) fn binary(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.varint()?).ok()?;
        self.take(length)
    }

    /// Calls `each` for each element of a list of this kind.
    pub(super) fn elements(&mut self, kind: Kind, mut each: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        let (found, length) = self.list()?;
        if Kind::of(found) != kind && length > 0 {
            return None;
        }
        (0..length).try_for_each(|_| each(self))
    }

    fn list(&mut self) -> Option<(u8, u64)> {
        let head = self.byte()?;
        let length = if head >> 4 == 15 { self.varint()? } else { u64::from(head >> 4) };
        Some((head & 0x0f, length))
    }

    /// Skips what a field of this kind holds.
    pub(super) fn skip_list(&mut self) -> Option<()> {
        self.skip(LIST, DEPTH_MAX)
    }

    /// Calls `each` with number and kind of each field, until the struct ends; what `each` does not take (`Some(false)`) is
    /// skipped.
    pub(super) fn fields(&mut self, mut each: impl FnMut(i16, Kind, &mut Self) -> Option<bool>) -> Option<()> {
        let mut last = 0i16;
        loop {
            let head = self.byte()?;
            if head == 0 {
                return Some(());
            }
            let id = match head >> 4 {
                0 => i16::try_from(self.int()?).ok()?,
                delta => last.checked_add(i16::from(delta))?,
            };
            last = id;
            if !each(id, Kind::of(head & 0x0f), self)? {
                self.skip(head & 0x0f, DEPTH_MAX)?;
            }
        }
    }

    fn skip(&mut self, kind: u8, depth: u32) -> Option<()> {
        let depth = depth.checked_sub(1)?;
        match kind {
            TRUE | FALSE => {}
            BYTE => _ = self.byte()?,
            I16 | I32 | I64 => _ = self.varint()?,
            DOUBLE => _ = self.take(8)?,
            BINARY => _ = self.binary()?,
            UUID => _ = self.take(16)?,
            LIST | SET => {
                let (kind, length) = self.list()?;
                (0..length).try_for_each(|_| self.skip(element(kind), depth))?;
            }
            MAP => {
                let length = self.varint()?;
                if length > 0 {
                    let kinds = self.byte()?;
                    for _ in 0..length {
                        self.skip(element(kinds >> 4), depth)?;
                        self.skip(element(kinds & 0x0f), depth)?;
                    }
                }
            }
            STRUCT => loop {
                let head = self.byte()?;
                if head == 0 {
                    break;
                }
                if head >> 4 == 0 {
                    self.int()?;
                }
                self.skip(head & 0x0f, depth)?;
            },
            _ => return None,
        }
        Some(())
    }
}

/// In a list a truth value is a byte; in a struct it lies in the field's head.
fn element(kind: u8) -> u8 {
    if matches!(kind, TRUE | FALSE) { BYTE } else { kind }
}
