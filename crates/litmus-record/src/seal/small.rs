//! Small runs as Parquet: each column one page, PLAIN, its levels as runs; statistics as the platform has them.
//!
//! The parquet crate sets up a column writer for each of a hundred columns, and makes a tree of the footer before it writes it, which
//! takes four times as long as everything else that sealing does
//! ([decision 12](../../../../docs/decisions/0012-small-runs-have-an-encoder-of-their-own.md)).
//!
//! A column is a primitive, a list of primitives, or a list of structs of primitives. Lists and structs are never NULL.

mod thrift;

use std::ops::Range;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Float64Type, Int32Type, Int64Type, TimeUnit, TimestampMicrosecondType, ToByteSlice,
};

use self::thrift::{Fields, structure};
use super::footer::Footer;

/// More values than this in one column, and the parquet crate's dictionaries and pages are worth their time.
const VALUES_MAX: usize = 1000;
/// Longer texts have no bounds in the statistics.
const BOUND_BYTES_MAX: usize = 64;
/// What such a file usually has room in.
const FILE_BYTES: usize = 16 << 10;
const MAGIC: &[u8] = b"PAR1";

// Numbers of parquet.thrift.
const FILE_VERSION: i64 = 1;
const OPTIONAL: i64 = 1;
const REPEATED: i64 = 2;
const DATA_PAGE: i64 = 0;
const PLAIN: i64 = 0;
const RLE: i64 = 3;
const SNAPPY: i64 = 1;
const CONVERTED_UTF8: i64 = 0;
const CONVERTED_LIST: i64 = 3;
const CONVERTED_TIMESTAMP_MICROS: i64 = 10;

/// What a leaf column holds.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Bool,
    Int,
    Long,
    Time,
    Double,
    Text,
}

impl Kind {
    fn of(leaf: &ArrayRef) -> Option<Self> {
        Some(match leaf.data_type() {
            DataType::Boolean => Self::Bool,
            DataType::Int32 => Self::Int,
            DataType::Int64 => Self::Long,
            DataType::Timestamp(TimeUnit::Microsecond, Some(_)) => Self::Time,
            DataType::Float64 => Self::Double,
            DataType::Utf8 => Self::Text,
            _ => return None,
        })
    }

    fn physical(self) -> i64 {
        match self {
            Self::Bool => 0,
            Self::Int => 1,
            Self::Long | Self::Time => 2,
            Self::Double => 5,
            Self::Text => 6,
        }
    }
}

/// The file, or none where it is not small, or has a column of another kind.
pub(super) fn parquet(columns: &[(String, ArrayRef)], footer: &Footer, created_by: &str) -> Option<Vec<u8>> {
    let rows = columns.first().map_or(0, |(_, column)| column.len());
    let mut file = File::new(rows);
    for (name, column) in columns {
        match column.as_list_opt::<i32>() {
            None => file.leaf(&[name], None, column)?,
            Some(lists) => {
                file.branch(name, OPTIONAL, 1, true);
                file.branch(LIST_PATH[0], REPEATED, 1, false);
                let ([list, element], lists, elements) = (LIST_PATH, lists.offsets(), lists.values());
                match elements.as_struct_opt() {
                    None => file.leaf(&[name, list, element], Some(lists), elements)?,
                    Some(structs) => {
                        file.branch(element, OPTIONAL, structs.num_columns(), false);
                        for (member, leaf) in structs.column_names().into_iter().zip(structs.columns()) {
                            file.leaf(&[name, list, element, member], Some(lists), leaf)?;
                        }
                    }
                }
            }
        }
    }
    Some(file.finish(columns.len(), footer, created_by))
}

/// What stands between a list's name and its elements.
const LIST_PATH: [&str; 2] = ["list", "element"];

/// A file in the making. Its footer's lists grow with its columns.
struct File {
    rows: usize,
    bytes: Vec<u8>,
    /// One page, and then it compressed: both are used again for the next.
    page: Vec<u8>,
    compressed: Vec<u8>,
    snappy: snap::raw::Encoder,
    schema: Vec<u8>,
    schema_elements: usize,
    chunks: Vec<u8>,
    leaves: usize,
    uncompressed_bytes: usize,
}

impl File {
    fn new(rows: usize) -> Self {
        let mut bytes = Vec::with_capacity(FILE_BYTES);
        bytes.extend_from_slice(MAGIC);
        Self {
            rows,
            bytes,
            page: Vec::new(),
            compressed: Vec::new(),
            snappy: snap::raw::Encoder::new(),
            schema: Vec::with_capacity(FILE_BYTES / 4),
            schema_elements: 0,
            chunks: Vec::with_capacity(FILE_BYTES / 2),
            leaves: 0,
            uncompressed_bytes: 0,
        }
    }

    /// A group of the schema.
    fn branch(&mut self, name: &str, repetition: i64, children: usize, is_list: bool) {
        self.schema_elements += 1;
        structure(&mut self.schema, |element| {
            element.i32(3, repetition);
            element.text(4, name);
            element.i32(5, children as i64);
            if is_list {
                element.i32(6, CONVERTED_LIST);
                element.structure(10, |logical| logical.structure(3, |_| ()));
            }
        });
    }

    /// A leaf: its place in the schema, its page, and what the footer says of it.
    fn leaf(&mut self, path: &[&str], lists: Option<&OffsetBuffer<i32>>, leaf: &ArrayRef) -> Option<()> {
        let kind = Kind::of(leaf)?;
        if leaf.len() + lists.map_or(0, |lists| lists.len()) > VALUES_MAX {
            return None;
        }
        self.schema_elements += 1;
        structure(&mut self.schema, |element| {
            element.i32(1, kind.physical());
            element.i32(3, OPTIONAL);
            element.text(4, path.last().expect("a column has a name"));
            match kind {
                Kind::Text => {
                    element.i32(6, CONVERTED_UTF8);
                    element.structure(10, |logical| logical.structure(1, |_| ()));
                }
                Kind::Time => {
                    element.i32(6, CONVERTED_TIMESTAMP_MICROS);
                    element.structure(10, |logical| {
                        logical.structure(8, |timestamp| {
                            timestamp.bool(1, true);
                            timestamp.structure(2, |unit| unit.structure(2, |_| ()));
                        });
                    });
                }
                _ => {}
            }
        });

        // One level for each list, element and struct on the way that can be missing.
        let value_level = path.len() as u8;
        self.page.clear();
        let entries = levels(&mut self.page, lists, leaf, value_level);
        let bounds = values(&mut self.page, kind, leaf);
        self.compressed.resize(snap::raw::max_compress_len(self.page.len()), 0);
        let compressed = self.snappy.compress(&self.page, &mut self.compressed).expect("the buffer is large enough");

        let start = self.bytes.len();
        structure(&mut self.bytes, |header| {
            header.i32(1, DATA_PAGE);
            header.i32(2, self.page.len() as i64);
            header.i32(3, compressed as i64);
            header.structure(5, |data| {
                data.i32(1, entries as i64);
                data.i32(2, PLAIN);
                data.i32(3, RLE);
                data.i32(4, RLE);
            });
        });
        let header_bytes = self.bytes.len() - start;
        self.bytes.extend_from_slice(&self.compressed[..compressed]);
        let uncompressed_bytes = header_bytes + self.page.len();
        self.uncompressed_bytes += uncompressed_bytes;
        let nulls = entries - (leaf.len() - leaf.null_count());
        self.leaves += 1;
        structure(&mut self.chunks, |chunk| {
            chunk.i64(2, 0);
            chunk.structure(3, |chunk| {
                chunk.i32(1, kind.physical());
                chunk.i32s(2, &[PLAIN, RLE]);
                chunk.texts(3, path);
                chunk.i32(4, SNAPPY);
                chunk.i64(5, entries);
                chunk.i64(6, uncompressed_bytes);
                chunk.i64(7, header_bytes + compressed);
                chunk.i64(9, start);
                chunk.structure(12, |statistics| {
                    statistics.i64(3, nulls);
                    if let Some([least, most]) = &bounds {
                        statistics.binary(5, most.bytes());
                        statistics.binary(6, least.bytes());
                        statistics.bool(7, true);
                        statistics.bool(8, true);
                    }
                });
            });
        });
        Some(())
    }

    fn finish(self, columns: usize, footer: &Footer, created_by: &str) -> Vec<u8> {
        let mut bytes = self.bytes;
        let start = bytes.len();
        structure(&mut bytes, |file| {
            file.i32(1, FILE_VERSION);
            file.structures(2, 1 + self.schema_elements, |out| {
                structure(out, |root| {
                    root.text(4, "arrow_schema");
                    root.i32(5, columns as i64);
                });
                out.extend_from_slice(&self.schema);
            });
            file.i64(3, self.rows);
            file.structures(4, 1, |out| {
                structure(out, |group| {
                    group.structures(1, self.leaves, |out| out.extend_from_slice(&self.chunks));
                    group.i64(2, self.uncompressed_bytes);
                    group.i64(3, self.rows);
                });
            });
            file.structures(5, footer.len(), |out| {
                for (key, value) in footer {
                    structure(out, |entry| {
                        entry.text(1, key);
                        entry.text(2, value);
                    });
                }
            });
            file.text(6, created_by);
            // The order that the type defines.
            let order = |out: &mut Vec<u8>| structure(out, |order: &mut Fields<'_>| order.structure(1, |_| ()));
            file.structures(7, self.leaves, |out| (0..self.leaves).for_each(|_| order(out)));
        });
        let length = (bytes.len() - start) as u32;
        bytes.extend_from_slice(&length.to_le_bytes());
        bytes.extend_from_slice(MAGIC);
        bytes
    }
}

/// Writes how far each entry goes; gives how many there are.
fn levels(page: &mut Vec<u8>, lists: Option<&OffsetBuffer<i32>>, leaf: &ArrayRef, value_level: u8) -> usize {
    let level = |at: usize| if leaf.is_valid(at) { value_level } else { value_level - 1 };
    let Some(offsets) = lists else {
        runs(page, (0..leaf.len()).map(|at| (level(at), 1)));
        return leaf.len();
    };
    let rows = || offsets.windows(2).map(|ends| ends[0] as usize..ends[1] as usize);
    // An empty list has one entry, that says so.
    runs(page, rows().flat_map(|row| [(0, 1), (1, row.len().saturating_sub(1))]));
    let entries = |row: Range<usize>| {
        let is_empty = row.is_empty();
        row.map(|at| (level(at), 1)).chain(is_empty.then_some((1, 1)))
    };
    runs(page, rows().flat_map(entries));
    rows().map(|row| row.len().max(1)).sum()
}

/// Levels as runs of one value each, after their length in bytes. Levels that alternate take two bytes each, which Snappy makes short.
fn runs(page: &mut Vec<u8>, levels: impl Iterator<Item = (u8, usize)>) {
    let start = page.len();
    page.extend_from_slice(&[0; 4]);
    let mut run = |level: u8, length: usize| {
        if length > 0 {
            // The lowest bit says that it is a run.
            thrift::varint(page, (length as u64) << 1);
            page.push(level);
        }
    };
    let (mut level, mut length) = (0, 0);
    for (next, times) in levels.filter(|(_, times)| *times > 0) {
        if next != level {
            run(level, length);
            (level, length) = (next, 0);
        }
        length += times;
    }
    run(level, length);
    let bytes = (page.len() - start - 4) as u32;
    page[start..start + 4].copy_from_slice(&bytes.to_le_bytes());
}

/// The least or the largest value of a column.
enum Bound<'a> {
    Text(&'a str),
    Number([u8; 8], usize),
}

impl Bound<'_> {
    fn number(value: impl ToByteSlice) -> Self {
        let bytes = value.to_byte_slice();
        let mut number = [0; 8];
        number[..bytes.len()].copy_from_slice(bytes);
        Self::Number(number, bytes.len())
    }

    fn bytes(&self) -> &[u8] {
        match self {
            Self::Text(text) => text.as_bytes(),
            Self::Number(bytes, length) => &bytes[..*length],
        }
    }
}

/// Writes the values that are not NULL; gives the least and the largest.
fn values<'a>(page: &mut Vec<u8>, kind: Kind, leaf: &'a ArrayRef) -> Option<[Bound<'a>; 2]> {
    match kind {
        Kind::Text => {
            let texts = || leaf.as_string::<i32>().iter().flatten();
            for text in texts() {
                page.extend_from_slice(&(text.len() as u32).to_le_bytes());
                page.extend_from_slice(text.as_bytes());
            }
            let (least, most) = (texts().min()?, texts().max()?);
            (least.len().max(most.len()) <= BOUND_BYTES_MAX).then_some([Bound::Text(least), Bound::Text(most)])
        }
        Kind::Double => {
            let ordered = || numbers::<Float64Type>(leaf).filter(|value| !value.is_nan());
            numbers::<Float64Type>(leaf).for_each(|value| page.extend_from_slice(value.to_byte_slice()));
            // parquet.thrift: a zero that is a bound stands for both zeroes.
            let zero = |bound: f64, zero: f64| if bound == 0.0 { zero } else { bound };
            let (least, most) = (ordered().reduce(f64::min)?, ordered().reduce(f64::max)?);
            Some([Bound::number(zero(least, -0.0)), Bound::number(zero(most, 0.0))])
        }
        Kind::Long => whole::<Int64Type>(page, leaf),
        Kind::Time => whole::<TimestampMicrosecondType>(page, leaf),
        Kind::Int => whole::<Int32Type>(page, leaf),
        Kind::Bool => {
            let given: Vec<bool> = leaf.as_boolean().iter().flatten().collect();
            let byte = |eight: &[bool]| eight.iter().rev().fold(0, |byte, bit| byte << 1 | u8::from(*bit));
            page.extend(given.chunks(8).map(byte));
            let (least, most) = (u8::from(*given.iter().min()?), u8::from(*given.iter().max()?));
            Some([Bound::number(least), Bound::number(most)])
        }
    }
}

fn whole<'a, T: ArrowPrimitiveType<Native: Ord>>(page: &mut Vec<u8>, leaf: &'a ArrayRef) -> Option<[Bound<'a>; 2]> {
    numbers::<T>(leaf).for_each(|value| page.extend_from_slice(value.to_byte_slice()));
    Some([Bound::number(numbers::<T>(leaf).min()?), Bound::number(numbers::<T>(leaf).max()?)])
}

/// Numbers that are not NULL. Their bytes are taken as the machine has them: the parquet crate runs on little-endian ones only.
fn numbers<T: ArrowPrimitiveType>(leaf: &ArrayRef) -> impl Iterator<Item = T::Native> {
    leaf.as_primitive::<T>().iter().flatten()
}

#[cfg(test)]
mod tests;
