//! The footer of a file: what the reader needs of it, and nothing else (parquet.thrift).
//!
//! The parquet crate makes a tree of it, with a copy of the schema and of all statistics: for a small run that took as long as
//! decoding its columns. It is asked for what it alone does: the schema, once for all files that have the same
//! ([`super::layout`]), and files too large for the quick decoder.

use std::ops::Range;

use bytes::Bytes;
use parquet::basic::Type;
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};

use super::announced;
use super::error::{DAMAGED, ReadError, guard};
use super::thrift::{Compact, Kind};

/// What the parquet crate is built with, as parquet.thrift numbers them: none, Snappy, gzip, Brotli, LZ4, zstd, LZ4 raw.
const CODECS: [i64; 7] = [0, 1, 2, 4, 5, 6, 7];
const LZO: i64 = 3;
/// What a footer of up to so many bytes announces fits into memory in any case.
const PLAUSIBLE_BYTES_MAX: usize = 1 << 20;

/// The footer of a file.
pub(super) struct Footer {
    pub(super) bytes: Bytes,
    /// Of the file.
    pub(super) rows: u64,
    /// Its row groups: their column chunks, one for each leaf column of the schema.
    pub(super) groups: Vec<Vec<Chunk>>,
    schema: Range<usize>,
    pairs: Vec<(Range<usize>, Option<Range<usize>>)>,
}

/// A column chunk. Its numbers come from a file that may be damaged: any of them can be negative.
#[derive(Debug, Default)]
pub(super) struct Chunk {
    pub(super) physical: i64,
    pub(super) codec: i64,
    pub(super) values: i64,
    pub(super) compressed: i64,
    pub(super) uncompressed: i64,
    /// Texts without their dictionary, where the writer says so.
    pub(super) unencoded: i64,
    data_page: i64,
    pub(super) dictionary_page: Option<i64>,
    pub(super) nulls: Option<i64>,
    min: Option<Range<usize>>,
    max: Option<Range<usize>>,
}

impl Chunk {
    /// Where its first page begins.
    pub(super) fn start(&self) -> i64 {
        self.dictionary_page.unwrap_or(self.data_page)
    }
}

impl Footer {
    /// Reads the bytes between the last column chunk and the footer's length.
    pub(super) fn read(bytes: Bytes, label: &str) -> Result<Self, ReadError> {
        if bytes.len() > PLAUSIBLE_BYTES_MAX {
            announced::check_footer(&bytes).map_err(|refusal| refusal.of(label))?;
        }
        match Parsed::footer(&bytes) {
            Some(Parsed { rows, groups, schema: Some(schema), pairs }) => {
                Ok(Self { bytes, rows, groups, schema, pairs })
            }
            // The parquet crate says what is wrong with it.
            _ => Err(metadata(&bytes, label).err().unwrap_or_else(|| {
                ReadError::new(label, "cannot decode: the footer is not laid out as Parquet says").with_hint(DAMAGED)
            })),
        }
    }

    /// Refuses codecs that are not built in, by name.
    pub(super) fn check_codecs(&self, label: &str) -> Result<(), ReadError> {
        let codecs = self.groups.iter().flatten().map(|chunk| chunk.codec);
        let Some(unknown) = codecs.into_iter().find(|codec| !CODECS.contains(codec)) else { return Ok(()) };
        let name = if unknown == LZO { "LZO".to_owned() } else { format!("codec {unknown} of Parquet") };
        Err(ReadError::new(label, format!("is compressed with {name}, which is not built in"))
            .with_hint("write it with Snappy, gzip, zstd, LZ4 or Brotli; a newer litmus-host may read it as it is"))
    }

    /// The schema as the file has it: equal bytes are an equal schema.
    pub(super) fn schema(&self) -> &[u8] {
        &self.bytes[self.schema.clone()]
    }

    /// The value that the footer has under a key.
    pub(super) fn get(&self, key: &str) -> Option<&str> {
        let (_, value) = self.pairs.iter().find(|(name, _)| self.bytes[name.clone()] == *key.as_bytes())?;
        value.as_ref().map(|value| self.text(value))
    }

    /// The footer's keys and values.
    pub(super) fn pairs(&self) -> impl Iterator<Item = (&str, Option<&str>)> {
        self.pairs.iter().map(|(key, value)| (self.text(key), value.as_ref().map(|value| self.text(value))))
    }

    fn text(&self, range: &Range<usize>) -> &str {
        str::from_utf8(&self.bytes[range.clone()]).expect("checked when it was read")
    }

    /// The value that all values of a chunk are, as statistics write it. Truncated bounds differ from one another, so equal
    /// bounds are the value itself. Bounds of floats leave NaN out and cannot tell.
    pub(super) fn constant(&self, chunk: &Chunk) -> Option<&[u8]> {
        let is_float = [Type::FLOAT, Type::DOUBLE].iter().any(|physical| *physical as i64 == chunk.physical);
        let (min, max) = (chunk.min.clone()?, chunk.max.clone()?);
        let (min, max) = (&self.bytes[min], &self.bytes[max]);
        (!is_float && min == max).then_some(min)
    }
}

/// The footer as the parquet crate sees it.
pub(super) fn metadata(footer: &[u8], label: &str) -> Result<ParquetMetaData, ReadError> {
    announced::check_footer(footer).map_err(|refusal| refusal.of(label))?;
    guard(label, || ParquetMetaDataReader::decode_metadata(footer))
}

#[derive(Default)]
struct Parsed {
    rows: u64,
    groups: Vec<Vec<Chunk>>,
    schema: Option<Range<usize>>,
    pairs: Vec<(Range<usize>, Option<Range<usize>>)>,
}

/// Where the next binary lies in a buffer of `size` bytes, which the input is the rest of.
fn place(input: &mut Compact<'_>, size: usize) -> Option<Range<usize>> {
    let length = input.binary()?.len();
    let end = size - input.0.len();
    Some(end - length..end)
}

impl Parsed {
    fn footer(bytes: &[u8]) -> Option<Self> {
        let mut parsed = Self::default();
        let size = bytes.len();
        Compact(bytes).fields(|id, kind, input| {
            match (id, kind) {
                (2, Kind::List) => {
                    let start = size - input.0.len();
                    input.skip_list()?;
                    parsed.schema = Some(start..size - input.0.len());
                }
                (3, Kind::Int) => parsed.rows = u64::try_from(input.int()?).ok()?,
                (4, Kind::List) => input.elements(Kind::Struct, |input| {
                    parsed.groups.push(group(input, size)?);
                    Some(())
                })?,
                (5, Kind::List) => input.elements(Kind::Struct, |input| {
                    let (mut key, mut value) = (None, None);
                    input.fields(|id, kind, input| {
                        match (id, kind) {
                            (1, Kind::Binary) => key = Some(text(input, size, bytes)?),
                            (2, Kind::Binary) => value = Some(text(input, size, bytes)?),
                            _ => return Some(false),
                        }
                        Some(true)
                    })?;
                    parsed.pairs.push((key?, value));
                    Some(())
                })?,
                _ => return Some(false),
            }
            Some(true)
        })?;
        Some(parsed)
    }
}

fn text(input: &mut Compact<'_>, size: usize, bytes: &[u8]) -> Option<Range<usize>> {
    let range = place(input, size)?;
    str::from_utf8(&bytes[range.clone()]).ok()?;
    Some(range)
}

fn group(input: &mut Compact<'_>, size: usize) -> Option<Vec<Chunk>> {
    let mut chunks = Vec::new();
    input.fields(|id, kind, input| {
        let (1, Kind::List) = (id, kind) else { return Some(false) };
        input.elements(Kind::Struct, |input| {
            let mut found = None;
            input.fields(|id, kind, input| {
                match (id, kind) {
                    // The chunk lies in another file.
                    (1, Kind::Binary) => return None,
                    (3, Kind::Struct) => found = Some(chunk(input, size)?),
                    _ => return Some(false),
                }
                Some(true)
            })?;
            chunks.push(found?);
            Some(())
        })?;
        Some(true)
    })?;
    Some(chunks)
}

fn chunk(input: &mut Compact<'_>, size: usize) -> Option<Chunk> {
    let mut chunk = Chunk { physical: -1, codec: -1, ..Chunk::default() };
    input.fields(|id, kind, input| {
        match (id, kind) {
            (1, Kind::Int) => chunk.physical = input.int()?,
            (4, Kind::Int) => chunk.codec = input.int()?,
            (5, Kind::Int) => chunk.values = input.int()?,
            (6, Kind::Int) => chunk.uncompressed = input.int()?,
            (7, Kind::Int) => chunk.compressed = input.int()?,
            (9, Kind::Int) => chunk.data_page = input.int()?,
            (11, Kind::Int) => chunk.dictionary_page = Some(input.int()?),
            (12, Kind::Struct) => input.fields(|id, kind, input| {
                match (id, kind) {
                    (3, Kind::Int) => chunk.nulls = Some(input.int()?),
                    // 1 and 2 are bounds whose order was never defined.
                    (5, Kind::Binary) => chunk.max = Some(place(input, size)?),
                    (6, Kind::Binary) => chunk.min = Some(place(input, size)?),
                    _ => return Some(false),
                }
                Some(true)
            })?,
            (16, Kind::Struct) => input.fields(|id, kind, input| {
                let (1, Kind::Int) = (id, kind) else { return Some(false) };
                chunk.unencoded = input.int()?;
                Some(true)
            })?,
            _ => return Some(false),
        }
        Some(true)
    })?;
    Some(chunk)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_codec_that_is_not_built_in_is_named() {
        let refused = |codec: i64| {
            let groups = vec![vec![Chunk { codec: 1, ..Chunk::default() }, Chunk { codec, ..Chunk::default() }]];
            let footer = Footer { bytes: Bytes::new(), rows: 0, groups, schema: 0..0, pairs: Vec::new() };
            footer.check_codecs("x.parquet").err().map(|error| error.to_string())
        };
        for codec in CODECS {
            assert_eq!(refused(codec), None);
        }
        let lzo = refused(LZO).unwrap();
        assert!(
            lzo.starts_with("x.parquet: is compressed with LZO, which is not built in\nhint: write it with"),
            "{lzo}"
        );
        assert!(refused(9).unwrap().contains("with codec 9 of Parquet,"));
    }
}
