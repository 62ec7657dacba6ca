//! What a file announces, checked before the decoder believes it.
//!
//! The decoder reserves memory for as many row groups, children and values as a header says, and descends as deep as the
//! schema is nested. A few damaged bytes can so ask for terabytes or for all of the stack, and neither is a panic that
//! [`guard`](super::error::guard) could catch: the process ends. So footers and page headers are walked first: they are
//! Thrift structs in the compact protocol
//! (<https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md>), the fields are those of
//! <https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift>.

use parquet::errors::ParquetError;

use super::error::{DAMAGED, NOT_READ, ReadError};

/// A million columns would be decoded one by one for every table.
const COLUMNS_MAX: usize = 10_000;
/// Leaves and the groups above them: a list of structs has two.
const SCHEMA_ELEMENTS_MAX: u64 = 4 * COLUMNS_MAX as u64;
/// A list of structs in a struct has six levels; nothing that a test logs is nested deeper by itself.
const SCHEMA_DEPTH_MAX: usize = 64;
/// The decoder numbers row groups with 16 bits.
const ROW_GROUPS_MAX: u64 = i16::MAX as u64;
/// Column chunks over all row groups; each costs the decoder some 500 bytes.
const CHUNKS_MAX: u64 = 250_000;
/// Other lists in a footer: pairs of texts, encodings, sort orders.
const ELEMENTS_MAX: u64 = 1 << 20;
/// Structs in structs; the format's own are not nested deeper than 6.
const STRUCT_DEPTH_MAX: u8 = 32;
/// Snappy copies at most 64 bytes for 3. Other codecs may do better, for pages of up to this size: a writer ends a page at a
/// megabyte, and only a text as large as that makes one larger.
const COMPRESSION_MAX: u64 = 22;
const UNPACKED_BYTES_MAX: u64 = 64 << 20;
/// Values of one page: a writer ends a page at a megabyte, but a million NULLs take two bytes.
const PAGE_VALUES_MAX: i64 = 1 << 26;
/// A page header holds a smallest and a largest value, which writers cut.
pub(super) const PAGE_HEADER_BYTES_MAX: usize = 1 << 20;
/// `DELTA_LENGTH_BYTE_ARRAY` and `DELTA_BYTE_ARRAY`: they announce inside of the page how many values there are. No release of
/// the platform writes them.
const REFUSED_ENCODINGS: [i64; 2] = [6, 7];

/// Why a struct is not handed to the decoder.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It goes on behind the bytes at hand.
    Short,
    /// It has more columns than are read.
    Columns(u64),
    /// It announces what cannot be.
    Implausible(String),
}

type Result<T> = std::result::Result<T, Refusal>;

fn implausible<T>(what: impl Into<String>) -> Result<T> {
    Err(Refusal::Implausible(what.into()))
}

/// Walks `FileMetaData`.
pub(super) fn check_footer(bytes: &[u8]) -> Result<()> {
    let mut chunks = 0;
    Walker { bytes, at: 0 }.fields(0, &mut |id, kind, walker| match (id, kind) {
        (2, LIST) => walker.schema().map(|()| true),
        (4, LIST) => {
            let (groups, element) = walker.list_header(ROW_GROUPS_MAX)?;
            for _ in 0..groups {
                if element != STRUCT {
                    return implausible("announces row groups that are none");
                }
                walker.fields(1, &mut |id, kind, walker| {
                    if (id, kind) != (1, LIST) {
                        return Ok(false);
                    }
                    let (columns, element) = walker.list_header(ELEMENTS_MAX)?;
                    chunks += columns;
                    if chunks > CHUNKS_MAX {
                        return implausible(format!("has more than {CHUNKS_MAX} column chunks"));
                    }
                    walker.elements(columns, element, 2).map(|()| true)
                })?;
            }
            Ok(true)
        }
        _ => Ok(false),
    })
}

/// What a page announces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Page {
    /// Bytes, decompressed.
    pub(super) bytes: u64,
    /// Values, where it is a dictionary.
    pub(super) dictionary_values: Option<u64>,
}

/// Walks the `PageHeader` at the beginning of `bytes`.
pub(super) fn check_page_header(bytes: &[u8]) -> Result<Page> {
    let (mut unpacked, mut packed) = (None, None);
    let mut dictionary = None;
    Walker { bytes, at: 0 }.fields(0, &mut |id, kind, walker| match (id, kind) {
        (2, I32) => walker.size().map(|size| unpacked = Some(size)).map(|()| true),
        (3, I32) => walker.size().map(|size| packed = Some(size)).map(|()| true),
        // Data pages of both versions, and dictionaries.
        (5 | 7 | 8, STRUCT) => {
            let encoding_at = if id == 8 { 4 } else { 2 };
            walker.fields(1, &mut |field, kind, walker| {
                if kind != I32 {
                    return Ok(false);
                }
                let number = walker.number()?;
                match field {
                    1 if !(0..=PAGE_VALUES_MAX).contains(&number) => {
                        return implausible(format!("a page announces {number} values"));
                    }
                    1 if id == 7 => dictionary = Some(number as u64),
                    _ if field == encoding_at && REFUSED_ENCODINGS.contains(&number) => {
                        return implausible(format!("a page has a DELTA encoding of texts, {NOT_READ}"));
                    }
                    _ => {}
                }
                Ok(true)
            })?;
            Ok(true)
        }
        _ => Ok(false),
    })?;
    let (Some(unpacked), Some(packed)) = (unpacked, packed) else {
        return implausible("a page does not say how long it is");
    };
    if unpacked > (packed * COMPRESSION_MAX).max(UNPACKED_BYTES_MAX) {
        return implausible(format!("a page of {packed} bytes announces {unpacked} bytes"));
    }
    match dictionary {
        Some(values) if values > unpacked => {
            implausible(format!("a dictionary of {unpacked} bytes announces {values} values"))
        }
        dictionary_values => Ok(Page { bytes: unpacked, dictionary_values }),
    }
}

impl Refusal {
    /// As an error about this file's footer.
    pub(super) fn of(self, label: &str) -> ReadError {
        let damaged = |what: &str| ReadError::new(label, format!("cannot decode: {what}")).with_hint(DAMAGED);
        match self {
            Self::Short => damaged("the footer ends too early"),
            Self::Implausible(what) => damaged(&what),
            Self::Columns(columns) => {
                let message = format!("has {columns} columns; at most {COLUMNS_MAX} are read");
                ReadError::new(label, message)
                    .with_hint("look for a test that makes a new input or output name each time")
            }
        }
    }
}

impl From<Refusal> for ParquetError {
    fn from(refusal: Refusal) -> Self {
        Self::General(match refusal {
            Refusal::Short => "a page header has no end".to_owned(),
            Refusal::Columns(columns) => format!("{columns} columns"),
            Refusal::Implausible(what) => what,
        })
    }
}

const TRUE: u8 = 1;
const FALSE: u8 = 2;
const I8: u8 = 3;
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

/// Takes a field's value and says so, or leaves it to be skipped.
type Visit<'v, 'b> = dyn FnMut(i64, u8, &mut Walker<'b>) -> Result<bool> + 'v;

struct Walker<'b> {
    bytes: &'b [u8],
    at: usize,
}

impl<'b> Walker<'b> {
    fn byte(&mut self) -> Result<u8> {
        let byte = self.bytes.get(self.at).copied().ok_or(Refusal::Short)?;
        self.at += 1;
        Ok(byte)
    }

    fn pass(&mut self, length: u64) -> Result<()> {
        if length > (self.bytes.len() - self.at) as u64 {
            return Err(Refusal::Short);
        }
        self.at += length as usize;
        Ok(())
    }

    fn varint(&mut self) -> Result<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        implausible("a number has no end")
    }

    fn number(&mut self) -> Result<i64> {
        let zigzag = self.varint()?;
        Ok((zigzag >> 1).cast_signed() ^ -(zigzag & 1).cast_signed())
    }

    fn size(&mut self) -> Result<u64> {
        let number = self.number()?;
        u64::try_from(number).or_else(|_| implausible(format!("a page announces {number} bytes")))
    }

    /// The number and the type of the elements; each takes a byte at least.
    fn list_header(&mut self, elements_max: u64) -> Result<(u64, u8)> {
        let byte = self.byte()?;
        let size = match byte >> 4 {
            15 => self.varint()?,
            size => u64::from(size),
        };
        if size > elements_max {
            return implausible(format!("announces a list of {size}; at most {elements_max} are read"));
        }
        if size > (self.bytes.len() - self.at) as u64 {
            return Err(Refusal::Short);
        }
        Ok((size, byte & 0x0f))
    }

    fn elements(&mut self, count: u64, element: u8, depth: u8) -> Result<()> {
        (0..count).try_for_each(|_| match element {
            TRUE | FALSE => self.pass(1),
            element => self.skip(element, depth),
        })
    }

    fn fields(&mut self, depth: u8, visit: &mut Visit<'_, 'b>) -> Result<()> {
        if depth > STRUCT_DEPTH_MAX {
            return implausible("nests too deep");
        }
        let mut id = 0;
        loop {
            let byte = self.byte()?;
            if byte == 0 {
                return Ok(());
            }
            id = match byte >> 4 {
                0 => self.number()?,
                delta => id + i64::from(delta),
            };
            let kind = byte & 0x0f;
            if !visit(id, kind, self)? {
                self.skip(kind, depth)?;
            }
        }
    }

    fn skip(&mut self, kind: u8, depth: u8) -> Result<()> {
        match kind {
            TRUE | FALSE => Ok(()),
            I8 => self.pass(1),
            I16 | I32 | I64 => self.varint().map(drop),
            DOUBLE => self.pass(8),
            UUID => self.pass(16),
            BINARY => {
                let length = self.varint()?;
                self.pass(length)
            }
            LIST | SET => {
                let (count, element) = self.list_header(ELEMENTS_MAX)?;
                if depth > STRUCT_DEPTH_MAX {
                    return implausible("nests too deep");
                }
                self.elements(count, element, depth + 1)
            }
            STRUCT => self.fields(depth + 1, &mut |_, _, _| Ok(false)),
            MAP => implausible("holds a map, which the format has none of"),
            _ => implausible(format!("holds a field of the unknown type {kind}")),
        }
    }

    /// The schema's elements in depth-first order, each with the number of its children.
    fn schema(&mut self) -> Result<()> {
        let (elements, kind) = self.list_header(ELEMENTS_MAX * 16)?;
        let (mut open, mut leaves): (Vec<u64>, u64) = (Vec::new(), 0);
        for at in 0..elements {
            if kind != STRUCT {
                return implausible("announces a schema that is none");
            }
            let mut children = 0;
            self.fields(1, &mut |id, kind, walker| {
                if (id, kind) != (5, I32) {
                    return Ok(false);
                }
                children = walker.number()?;
                Ok(true)
            })?;
            let children =
                u64::try_from(children).or_else(|_| implausible("announces a negative number of columns"))?;
            if children > elements - at {
                return implausible(format!("announces a group of {children} columns in a schema of {elements}"));
            }
            if let Some(left) = open.last_mut() {
                *left -= 1;
            }
            if children > 0 {
                open.push(children);
            } else {
                leaves += 1;
            }
            while open.last() == Some(&0) {
                open.pop();
            }
            if open.len() > SCHEMA_DEPTH_MAX {
                return implausible(format!("has columns nested more than {SCHEMA_DEPTH_MAX} deep"));
            }
        }
        if leaves > COLUMNS_MAX as u64 {
            return Err(Refusal::Columns(leaves));
        }
        if elements > SCHEMA_ELEMENTS_MAX {
            return implausible(format!("has a schema of {elements} elements; at most {SCHEMA_ELEMENTS_MAX} are read"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A struct's field with a short header, and the end of the struct.
    fn lone(id: u8, kind: u8, value: &[u8]) -> Vec<u8> {
        [&[id << 4 | kind], value, &[0]].concat()
    }

    fn varint(mut value: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        while value >= 0x80 {
            bytes.push(value as u8 | 0x80);
            value >>= 7;
        }
        bytes.push(value as u8);
        bytes
    }

    fn refusal<T: std::fmt::Debug>(result: Result<T>) -> String {
        match result {
            Err(Refusal::Implausible(what)) => what,
            other => panic!("{other:?}"),
        }
    }

    /// A page header: type, both sizes, and a struct with the number of values and the encoding.
    fn page(unpacked: i64, packed: i64, of: u8, values: i64, encoding: i64) -> Vec<u8> {
        let zigzag = |number: i64| varint((number << 1 ^ number >> 63).cast_unsigned());
        let inner =
            [&[0x15][..], &zigzag(values), &[if of == 8 { 0x35 } else { 0x15 }], &zigzag(encoding), &[0]].concat();
        let sizes = [&[0x15, 0, 0x15][..], &zigzag(unpacked), &[0x15], &zigzag(packed)].concat();
        [&sizes[..], &[(of - 3) << 4 | STRUCT], &inner, &[0]].concat()
    }

    #[test]
    fn pages_that_announce_what_cannot_be_are_refused() {
        let good = |dictionary_values| Ok(Page { bytes: 4_000, dictionary_values });
        assert_eq!(check_page_header(&page(4_000, 1_000, 5, 500, 0)), good(None));
        assert_eq!(check_page_header(&page(4_000, 1_000, 8, 500, 8)), good(None));
        assert_eq!(check_page_header(&page(4_000, 1_000, 7, 500, 0)), good(Some(500)));
        let said = |bytes: &[u8]| refusal(check_page_header(bytes));
        assert_eq!(said(&page(2_000_000_000, 1_000, 5, 500, 0)), "a page of 1000 bytes announces 2000000000 bytes");
        assert_eq!(said(&page(-1, 1_000, 5, 500, 0)), "a page announces -1 bytes");
        assert_eq!(said(&page(9, 9, 5, i64::from(i32::MAX), 0)), "a page announces 2147483647 values");
        assert_eq!(said(&page(9, 9, 5, -3, 0)), "a page announces -3 values");
        assert_eq!(said(&page(9, 9, 7, 10, 0)), "a dictionary of 9 bytes announces 10 values");
        assert!(said(&page(9, 9, 5, 1, 6)).contains("DELTA encoding of texts"));
        assert!(said(&page(9, 9, 8, 1, 7)).contains("DELTA encoding of texts"));
        assert_eq!(said(&[0x15, 0, 0]), "a page does not say how long it is");
        // A text of 2^40 bytes among the statistics.
        let text = [&lone(1, BINARY, &varint(1 << 40))[..]].concat();
        assert_eq!(check_page_header(&lone(6, STRUCT, &text)), Err(Refusal::Short));
    }

    #[test]
    fn footers_that_announce_what_cannot_be_are_refused() {
        let groups = [&[0xfc][..], &varint(1 << 31)].concat();
        assert!(refusal(check_footer(&lone(4, LIST, &groups))).contains("a list of 2147483648; at most 32767"));
        assert_eq!(check_footer(&lone(4, LIST, &[0xfc, 0x80, 0x20])), Err(Refusal::Short));
        let element = |children: u64| lone(5, I32, &varint(children << 1));
        let schema = |elements: &[Vec<u8>]| {
            let header = [&[0xfc][..], &varint(elements.len() as u64)].concat();
            lone(2, LIST, &[header, elements.concat()].concat())
        };
        assert_eq!(check_footer(&schema(&[element(1), element(0)])), Ok(()));
        let many: Vec<_> = std::iter::once(element(1_000_000)).chain((0..1_000_000).map(|_| element(0))).collect();
        assert_eq!(check_footer(&schema(&many)), Err(Refusal::Columns(1_000_000)));
        let deep: Vec<_> = (0..100).map(|at| element(u64::from(at < 99))).collect();
        assert!(refusal(check_footer(&schema(&deep))).contains("nested more than 64 deep"));
        assert!(refusal(check_footer(&schema(&[element(7), element(0)]))).contains("a group of 7 columns"));
        // A struct in a struct in a struct …
        let nested = [vec![0x9c], vec![0x1c; 100_000]].concat();
        assert_eq!(refusal(check_footer(&nested)), "nests too deep");
        let lists = [vec![0x99], vec![0x19; 100_000]].concat();
        assert_eq!(refusal(check_footer(&lists)), "nests too deep");
    }
}
