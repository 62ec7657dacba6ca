//! Thrift's compact protocol, as far as a footer of ours needs it (thrift-compact-protocol.md in Apache Thrift).

const TRUE: u8 = 1;
const FALSE: u8 = 2;
const I32: u8 = 5;
const I64: u8 = 6;
const BINARY: u8 = 8;
const LIST: u8 = 9;
const STRUCT: u8 = 12;
/// Longer lists have their length after their header.
const SHORT_LIST_MAX: usize = 14;

/// The fields of a struct, in ascending order.
pub(super) struct Fields<'a> {
    out: &'a mut Vec<u8>,
    last: u8,
}

/// Writes a struct.
pub(super) fn structure(out: &mut Vec<u8>, fill: impl FnOnce(&mut Fields<'_>)) {
    fill(&mut Fields { out, last: 0 });
    out.push(0);
}

impl Fields<'_> {
    fn field(&mut self, id: u8, kind: u8) {
        // No id of parquet.thrift that we write is more than 15 after the one before.
        self.out.push((id - self.last) << 4 | kind);
        self.last = id;
    }

    pub(super) fn bool(&mut self, id: u8, value: bool) {
        self.field(id, if value { TRUE } else { FALSE });
    }

    pub(super) fn i32(&mut self, id: u8, value: i64) {
        self.field(id, I32);
        zigzag(self.out, value);
    }

    pub(super) fn i64(&mut self, id: u8, value: usize) {
        self.field(id, I64);
        zigzag(self.out, value as i64);
    }

    pub(super) fn binary(&mut self, id: u8, value: &[u8]) {
        self.field(id, BINARY);
        bytes(self.out, value);
    }

    pub(super) fn text(&mut self, id: u8, value: &str) {
        self.binary(id, value.as_bytes());
    }

    pub(super) fn i32s(&mut self, id: u8, values: &[i64]) {
        self.list(id, I32, values.len());
        for value in values {
            zigzag(self.out, *value);
        }
    }

    pub(super) fn texts(&mut self, id: u8, values: &[&str]) {
        self.list(id, BINARY, values.len());
        for value in values {
            bytes(self.out, value.as_bytes());
        }
    }

    pub(super) fn structure(&mut self, id: u8, fill: impl FnOnce(&mut Fields<'_>)) {
        self.field(id, STRUCT);
        structure(self.out, fill);
    }

    /// A list of so many structs, which `fill` writes.
    pub(super) fn structures(&mut self, id: u8, length: usize, fill: impl FnOnce(&mut Vec<u8>)) {
        self.list(id, STRUCT, length);
        fill(self.out);
    }

    fn list(&mut self, id: u8, kind: u8, length: usize) {
        self.field(id, LIST);
        if length <= SHORT_LIST_MAX {
            self.out.push((length as u8) << 4 | kind);
        } else {
            self.out.push(0xf0 | kind);
            varint(self.out, length as u64);
        }
    }
}

fn bytes(out: &mut Vec<u8>, value: &[u8]) {
    varint(out, value.len() as u64);
    out.extend_from_slice(value);
}

fn zigzag(out: &mut Vec<u8>, value: i64) {
    varint(out, ((value << 1) ^ (value >> 63)) as u64);
}

/// Seven bits a byte, the lowest first.
pub(super) fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}
