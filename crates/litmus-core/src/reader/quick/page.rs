//! Pages of a column chunk: levels and values.

use super::hybrid;
use super::root::{Leaf, Physical};
use crate::reader::thrift::{Compact, Kind};

/// A page of a small file is not larger than this once decompressed; checked before anything is allocated.
const PAGE_BYTES_MAX: usize = 8 << 20;
/// A dictionary may stand for much more text than the file has bytes: past this, over all columns of a file, decoding in batches
/// is better.
const TEXT_BYTES_MAX: usize = 8 << 20;

// Numbers of parquet.thrift.
const DATA_PAGE: i64 = 0;
const DICTIONARY_PAGE: i64 = 2;
const PLAIN: i64 = 0;
const PLAIN_DICTIONARY: i64 = 2;
const RLE: i64 = 3;
const RLE_DICTIONARY: i64 = 8;

/// How pages are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::reader) enum Codec {
    None,
    Snappy,
}

impl Codec {
    /// The codec of this number in parquet.thrift, if the decoder has it.
    pub(in crate::reader) fn of(number: i64) -> Option<Self> {
        match number {
            0 => Some(Self::None),
            1 => Some(Self::Snappy),
            _ => None,
        }
    }
}

/// Where a column chunk lies.
#[derive(Clone, Copy, Debug)]
pub(in crate::reader) struct ChunkPlace {
    pub(in crate::reader) codec: Codec,
    pub(in crate::reader) start: u64,
    pub(in crate::reader) length: u64,
    /// With NULLs and empty lists.
    pub(in crate::reader) values: u64,
}

/// Buffers that one page after another uses.
#[derive(Default)]
pub(super) struct Scratch {
    dictionary: Vec<u8>,
    page: Vec<u8>,
    indices: Vec<u32>,
    /// Of texts that were looked up in dictionaries.
    text_bytes: usize,
}

/// Values that are not NULL.
pub(super) enum Values {
    Text { offsets: Vec<i32>, bytes: Vec<u8> },
    Int64(Vec<i64>),
    Int32(Vec<i32>),
    Double(Vec<f64>),
    Bool(Vec<bool>),
}

impl Values {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Text { offsets, .. } => offsets.len() - 1,
            Self::Int64(values) => values.len(),
            Self::Int32(values) => values.len(),
            Self::Double(values) => values.len(),
            Self::Bool(values) => values.len(),
        }
    }
}

/// What was decoded of a leaf column.
pub(super) struct LeafColumn {
    /// Empty where no value can be NULL.
    pub(super) defs: Vec<u8>,
    /// Empty where the column is no list.
    pub(super) reps: Vec<u8>,
    pub(super) values: Values,
}

impl LeafColumn {
    pub(super) fn new(leaf: Leaf) -> Self {
        let values = match leaf.physical {
            Physical::Text => Values::Text { offsets: vec![0], bytes: Vec::new() },
            Physical::Int64 => Values::Int64(Vec::new()),
            Physical::Int32 => Values::Int32(Vec::new()),
            Physical::Double => Values::Double(Vec::new()),
            Physical::Bool => Values::Bool(Vec::new()),
        };
        Self { defs: Vec::new(), reps: Vec::new(), values }
    }
}

struct PageHeader {
    kind: i64,
    uncompressed: usize,
    compressed: usize,
    values: usize,
    encoding: i64,
    level_encodings: [i64; 2],
}

impl PageHeader {
    fn read(input: &mut Compact<'_>) -> Option<Self> {
        let mut header =
            Self { kind: -1, uncompressed: 0, compressed: 0, values: 0, encoding: -1, level_encodings: [RLE; 2] };
        input.fields(|id, kind, input| {
            match (id, kind) {
                (1, Kind::Int) => header.kind = input.int()?,
                (2, Kind::Int) => header.uncompressed = input.size()?,
                (3, Kind::Int) => header.compressed = input.size()?,
                // Headers of data pages and of dictionary pages begin alike.
                (5 | 7, Kind::Struct) => {
                    let is_data = id == 5;
                    input.fields(|id, kind, input| {
                        match (id, kind) {
                            (1, Kind::Int) => header.values = input.size()?,
                            (2, Kind::Int) => header.encoding = input.int()?,
                            (3 | 4, Kind::Int) if is_data => header.level_encodings[id as usize - 3] = input.int()?,
                            _ => return Some(false),
                        }
                        Some(true)
                    })?;
                }
                _ => return Some(false),
            }
            Some(true)
        })?;
        Some(header)
    }
}

/// Appends the values of a chunk.
pub(super) fn decode(
    whole: &[u8],
    leaf: Leaf,
    chunk: &ChunkPlace,
    scratch: &mut Scratch,
    column: &mut LeafColumn,
) -> Option<()> {
    let start = usize::try_from(chunk.start).ok()?;
    let end = start.checked_add(usize::try_from(chunk.length).ok()?)?;
    let mut input = Compact(whole.get(start..end)?);
    let mut left = usize::try_from(chunk.values).ok()?;
    let mut dictionary: Option<Dictionary<'_>> = None;
    let Scratch { dictionary: dictionary_bytes, page: page_bytes, indices, text_bytes } = scratch;
    // At most one dictionary, before the first page of data.
    let mut dictionary_bytes = Some(dictionary_bytes);
    while left > 0 {
        let header = PageHeader::read(&mut input)?;
        let (body, rest) = input.0.split_at_checked(header.compressed)?;
        input.0 = rest;
        match header.kind {
            DICTIONARY_PAGE if matches!(header.encoding, PLAIN | PLAIN_DICTIONARY) => {
                let bytes = plain(body, &header, chunk.codec, dictionary_bytes.take()?)?;
                dictionary = Some(Dictionary::read(bytes, leaf.physical, header.values)?);
            }
            DATA_PAGE if header.level_encodings == [RLE; 2] && header.values > 0 => {
                left = left.checked_sub(header.values)?;
                let bytes = plain(body, &header, chunk.codec, page_bytes)?;
                data_page(bytes, &header, leaf, dictionary.as_ref(), indices, text_bytes, column)?;
            }
            _ => return None,
        }
    }
    Some(())
}

/// The bytes of a page, decompressed.
fn plain<'a>(body: &'a [u8], header: &PageHeader, codec: Codec, buffer: &'a mut Vec<u8>) -> Option<&'a [u8]> {
    if header.uncompressed > PAGE_BYTES_MAX {
        return None;
    }
    let bytes = match codec {
        Codec::None => body,
        Codec::Snappy => {
            if snap::raw::decompress_len(body).ok()? != header.uncompressed {
                return None;
            }
            if buffer.len() < header.uncompressed {
                buffer.resize(header.uncompressed, 0);
            }
            let length = snap::raw::Decoder::new().decompress(body, buffer).ok()?;
            &buffer[..length]
        }
    };
    (bytes.len() == header.uncompressed).then_some(bytes)
}

/// Levels are as many bytes as their length says, which is before them.
fn levels(bytes: &mut &[u8], max: u8, count: usize, out: &mut Vec<u8>) -> Option<()> {
    if max == 0 {
        return Some(());
    }
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let (packed, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
    *bytes = rest;
    out.reserve(count);
    let mut too_high = false;
    hybrid::decode(packed, (u8::BITS - max.leading_zeros()) as u8, count, |level, times| {
        too_high |= level > u32::from(max);
        out.resize(out.len() + times, level as u8);
    })?;
    (!too_high).then_some(())
}

fn data_page(
    mut bytes: &[u8],
    header: &PageHeader,
    leaf: Leaf,
    dictionary: Option<&Dictionary<'_>>,
    indices: &mut Vec<u32>,
    text_bytes: &mut usize,
    column: &mut LeafColumn,
) -> Option<()> {
    let first = column.defs.len();
    levels(&mut bytes, leaf.max_rep, header.values, &mut column.reps)?;
    levels(&mut bytes, leaf.max_def, header.values, &mut column.defs)?;
    let there = match leaf.max_def {
        0 => header.values,
        max => column.defs[first..].iter().map(|def| usize::from(*def == max)).sum(),
    };
    match (header.encoding, dictionary) {
        _ if there == 0 => Some(()),
        (PLAIN_DICTIONARY | RLE_DICTIONARY, Some(dictionary)) => {
            let (width, packed) = bytes.split_first()?;
            dictionary.look_up(packed, *width, there, indices, text_bytes, &mut column.values)
        }
        (PLAIN, _) => read_plain(bytes, there, &mut column.values),
        (RLE, _) if leaf.physical == Physical::Bool => {
            let (length, rest) = bytes.split_first_chunk::<4>()?;
            let packed = rest.get(..u32::from_le_bytes(*length) as usize)?;
            let Values::Bool(values) = &mut column.values else { return None };
            hybrid::decode(packed, 1, there, |value, times| values.resize(values.len() + times, value == 1))
        }
        _ => None,
    }
}

fn read_plain(bytes: &[u8], count: usize, values: &mut Values) -> Option<()> {
    fn fixed<const N: usize, T>(
        bytes: &[u8],
        count: usize,
        out: &mut Vec<T>,
        value: impl Fn([u8; N]) -> T,
    ) -> Option<()> {
        let (chunks, _) = bytes.get(..count.checked_mul(N)?)?.as_chunks::<N>();
        out.extend(chunks.iter().map(|chunk| value(*chunk)));
        Some(())
    }
    match values {
        Values::Text { offsets, bytes: out } => {
            offsets.reserve(count.min(bytes.len() / 4));
            each_text(bytes, count, |text| {
                out.extend_from_slice(text);
                offsets.push(out.len() as i32);
            })?;
            i32::try_from(out.len()).ok().map(|_| ())
        }
        Values::Int64(out) => fixed(bytes, count, out, i64::from_le_bytes),
        Values::Int32(out) => fixed(bytes, count, out, i32::from_le_bytes),
        Values::Double(out) => fixed(bytes, count, out, f64::from_le_bytes),
        Values::Bool(out) => {
            let bytes = bytes.get(..count.div_ceil(8))?;
            out.extend((0..count).map(|at| bytes[at / 8] >> (at % 8) & 1 == 1));
            Some(())
        }
    }
}

fn each_text<'a>(mut bytes: &'a [u8], count: usize, mut each: impl FnMut(&'a [u8])) -> Option<()> {
    for _ in 0..count {
        let (length, rest) = bytes.split_first_chunk::<4>()?;
        let (text, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        each(text);
        bytes = rest;
    }
    Some(())
}

/// The different values of a chunk.
enum Dictionary<'a> {
    Texts(Vec<&'a [u8]>),
    Fixed(Values),
}

impl<'a> Dictionary<'a> {
    fn read(bytes: &'a [u8], physical: Physical, count: usize) -> Option<Self> {
        let mut values = match physical {
            Physical::Text => {
                // Each text has 4 bytes of length before it.
                let mut texts = Vec::with_capacity(count.min(bytes.len() / 4));
                each_text(bytes, count, |text| texts.push(text))?;
                return Some(Self::Texts(texts));
            }
            Physical::Int64 => Values::Int64(Vec::new()),
            Physical::Int32 => Values::Int32(Vec::new()),
            Physical::Double => Values::Double(Vec::new()),
            // A writer that makes a dictionary of truth values is not one we know.
            Physical::Bool => return None,
        };
        read_plain(bytes, count, &mut values)?;
        Some(Self::Fixed(values))
    }

    /// Appends the values that indices stand for.
    fn look_up(
        &self,
        packed: &[u8],
        width: u8,
        count: usize,
        indices: &mut Vec<u32>,
        text_bytes: &mut usize,
        out: &mut Values,
    ) -> Option<()> {
        indices.clear();
        hybrid::decode(packed, width, count, |index, times| match times {
            1 => indices.push(index),
            _ => indices.resize(indices.len() + times, index),
        })?;
        match (self, out) {
            (Self::Texts(texts), Values::Text { offsets, bytes }) => {
                let mut length = 0usize;
                for index in &*indices {
                    length = length.checked_add(texts.get(*index as usize)?.len())?;
                }
                *text_bytes = text_bytes.checked_add(length)?;
                if *text_bytes > TEXT_BYTES_MAX {
                    return None;
                }
                bytes.reserve(length);
                offsets.reserve(indices.len());
                for index in &*indices {
                    bytes.extend_from_slice(texts[*index as usize]);
                    offsets.push(i32::try_from(bytes.len()).ok()?);
                }
                Some(())
            }
            (Self::Fixed(Values::Int64(known)), Values::Int64(out)) => pick(known, indices, out),
            (Self::Fixed(Values::Int32(known)), Values::Int32(out)) => pick(known, indices, out),
            (Self::Fixed(Values::Double(known)), Values::Double(out)) => pick(known, indices, out),
            _ => None,
        }
    }
}

fn pick<T: Copy>(known: &[T], indices: &[u32], out: &mut Vec<T>) -> Option<()> {
    out.reserve(indices.len());
    for index in indices {
        out.push(*known.get(*index as usize)?);
    }
    Some(())
}
