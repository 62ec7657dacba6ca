//! Raw batches of a sealed file: a projection of its columns, in file order, with each batch's place in the file.

use std::fs::File;
use std::io::{BufReader, Read};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use arrow::array::ArrayRef;
use bytes::{Buf, Bytes};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder, RowSelection, RowSelector,
};
use parquet::basic::Compression;
use parquet::errors::ParquetError;
use parquet::file::metadata::ColumnChunkMetaData;
use parquet::file::reader::{ChunkReader, Length};

use super::error::{DAMAGED, ReadError, guard};
use super::quick;
use super::seal::{Sealed, read_at};

/// A batch holds about this many leaf values.
const BATCH_VALUES: u64 = 64 << 10;
/// And about this many bytes, where the file says how long its texts are once decoded.
const BATCH_BYTES: u64 = 16 << 20;
/// What is decoded once and kept: up to one batch, and this many bytes.
const KEPT_BYTES_MAX: u64 = 4 << 20;

/// What to read of a root column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Want {
    /// All of it.
    Root(usize),
    /// Of a list of structs, the member that is cheapest to read: enough for the lengths.
    Lengths(usize),
}

impl Want {
    fn root(self) -> usize {
        match self {
            Self::Root(root) | Self::Lengths(root) => root,
        }
    }
}

/// Where raw batches come from.
pub(super) struct Source {
    label: Arc<str>,
    metadata: ArrowReaderMetadata,
    rows: u64,
    from: From,
}

enum From {
    /// Small files: decoded once, all columns that have values.
    Kept(Raw),
    Sealed(Input),
}

impl Source {
    /// A source over a sealed file; `roots` are the columns that have values at all.
    pub(super) fn new(sealed: &Sealed, label: &Arc<str>, roots: &[usize]) -> Result<Self, ReadError> {
        let input = match &sealed.whole {
            Some(whole) => Input::Whole(whole.clone()),
            None => Input::File { file: Arc::clone(&sealed.file), size: sealed.size },
        };
        let metadata = sealed.metadata.clone();
        let rows = u64::try_from(metadata.metadata().file_metadata().num_rows()).unwrap_or(0);
        let mut source = Self { label: Arc::clone(label), metadata, rows, from: From::Sealed(input) };
        let want: Vec<_> = roots.iter().copied().map(Want::Root).collect();
        let leaves = source.leaves(&want);
        let is_small = source.values(&leaves) <= BATCH_VALUES && source.bytes(&leaves) <= KEPT_BYTES_MAX;
        if let Some(whole) = sealed.whole.as_ref().filter(|_| is_small)
            && let Some(raw) = source.decode_small(whole, roots)?
        {
            source.from = From::Kept(raw);
        }
        Ok(source)
    }

    /// All of these columns at once; those that the quick decoder declines are left to the parquet crate. `None` where that
    /// gives more than one batch.
    fn decode_small(&self, whole: &[u8], roots: &[usize]) -> Result<Option<Raw>, ReadError> {
        let rows = self.rows as usize;
        let mut decoder = quick::Decoder::new(whole, rows);
        let of_root = self.leaves_of_roots();
        let stored = self.metadata.parquet_schema().root_schema().get_fields();
        let groups = self.metadata.metadata().row_groups();
        let mut column = |root: usize| {
            let plan = quick::RootPlan::of(stored.get(root)?, self.metadata.schema().fields().get(root)?)?;
            let leaves = of_root.get(root).filter(|leaves| leaves.len() == plan.leaves())?;
            decoder.root(&plan, |at| {
                let leaf = leaves.start + at;
                groups.iter().map(move |group| place(group.columns().get(leaf)?))
            })
        };
        let mut columns: Vec<Option<ArrayRef>> = roots.iter().map(|root| column(*root)).collect();
        let missing = |columns: &[Option<ArrayRef>]| -> Vec<usize> {
            roots.iter().zip(columns).filter(|(_, column)| column.is_none()).map(|(root, _)| *root).collect()
        };
        let declined = missing(&columns);
        if !declined.is_empty() {
            let want: Vec<_> = declined.iter().copied().map(Want::Root).collect();
            let raws = self.batches(&want)?.collect::<Result<Vec<_>, _>>()?;
            let [raw] = &raws[..] else { return Ok(None) };
            for (root, column) in roots.iter().zip(&mut columns).filter(|(_, column)| column.is_none()) {
                *column = raw.root(*root).cloned();
            }
        }
        let columns: Option<Vec<_>> = columns.into_iter().collect();
        Ok(columns.map(|columns| Raw { columns: columns.into(), roots: roots.into(), rows, first_row: 0 }))
    }

    /// Rows of the file, as its footer says.
    pub(super) fn rows(&self) -> u64 {
        self.rows
    }

    pub(super) fn label(&self) -> &Arc<str> {
        &self.label
    }

    /// All rows of some columns.
    pub(super) fn batches(&self, wanted: &[Want]) -> Result<Batches, ReadError> {
        let mut wanted = wanted.to_vec();
        wanted.sort_unstable();
        wanted.dedup_by_key(|want| want.root());
        let input = match &self.from {
            From::Kept(raw) => {
                return Ok(Batches { label: Arc::clone(&self.label), state: State::Kept(Some(raw.clone())) });
            }
            From::Sealed(input) => input.clone(),
        };
        let leaves = self.leaves(&wanted);
        let rows = self.rows.max(1);
        let by_values = BATCH_VALUES / (self.values(&leaves) / rows).max(1);
        let by_bytes = BATCH_BYTES / (self.bytes(&leaves) / rows).max(1);
        let batch_rows = by_values.min(by_bytes).max(1) as usize;
        let reader = self.reader(input, leaves, batch_rows, None)?;
        let roots = wanted.into_iter().map(Want::root).collect();
        let expected = self.rows;
        Ok(Batches { label: Arc::clone(&self.label), state: State::Sealed { reader, roots, next_row: 0, expected } })
    }

    /// One row of some columns.
    pub(super) fn row(&self, row: u64, roots: &[usize]) -> Result<Raw, ReadError> {
        let input = match &self.from {
            From::Kept(raw) => {
                let columns = raw.columns.iter().map(|column| column.slice(row as usize, 1)).collect();
                return Ok(Raw { columns, roots: Arc::clone(&raw.roots), rows: 1, first_row: row });
            }
            From::Sealed(input) => input.clone(),
        };
        let wanted: Vec<_> = roots.iter().copied().map(Want::Root).collect();
        let selection = RowSelection::from(vec![RowSelector::skip(row as usize), RowSelector::select(1)]);
        let mut reader = self.reader(input, self.leaves(&wanted), 1, Some(selection))?;
        let batch = guard(&self.label, || Ok(reader.next().transpose()?))?;
        let batch =
            batch.ok_or_else(|| ReadError::new(&*self.label, format!("row {row} is gone")).with_hint(DAMAGED))?;
        Ok(Raw { columns: batch.columns().into(), roots: roots.into(), rows: 1, first_row: row })
    }

    fn reader(
        &self,
        input: Input,
        leaves: Vec<usize>,
        batch_rows: usize,
        selection: Option<RowSelection>,
    ) -> Result<ParquetRecordBatchReader, ReadError> {
        guard(&self.label, || {
            let mask = ProjectionMask::leaves(self.metadata.parquet_schema(), leaves);
            let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(input, self.metadata.clone());
            let builder = builder.with_projection(mask).with_batch_size(batch_rows);
            match selection {
                Some(selection) => builder.with_row_selection(selection).build(),
                None => builder.build(),
            }
        })
    }

    /// Leaf columns of what is wanted.
    fn leaves(&self, wanted: &[Want]) -> Vec<usize> {
        let of_root = self.leaves_of_roots();
        let mut leaves = Vec::new();
        for want in wanted {
            match want {
                Want::Root(root) => leaves.extend(of_root[*root].clone()),
                Want::Lengths(root) => {
                    let bytes = |leaf: &usize| self.chunk_sum(&[*leaf], ColumnChunkMetaData::compressed_size);
                    leaves.extend(of_root[*root].clone().min_by_key(bytes));
                }
            }
        }
        leaves
    }

    /// By root column.
    fn leaves_of_roots(&self) -> Vec<Range<usize>> {
        let schema = self.metadata.parquet_schema();
        let mut of_root = vec![0..0; schema.root_schema().get_fields().len()];
        for leaf in 0..schema.num_columns() {
            let leaves = &mut of_root[schema.get_column_root_idx(leaf)];
            *leaves = if leaves.end == 0 { leaf } else { leaves.start }..leaf + 1;
        }
        of_root
    }

    fn values(&self, leaves: &[usize]) -> u64 {
        self.chunk_sum(leaves, ColumnChunkMetaData::num_values)
    }

    /// Decoded bytes: a text in a dictionary counts as often as it is used, where the file says so.
    fn bytes(&self, leaves: &[usize]) -> u64 {
        self.chunk_sum(leaves, |chunk| {
            chunk.uncompressed_size().max(chunk.unencoded_byte_array_data_bytes().unwrap_or(0))
        })
    }

    /// A sum over column chunks. The footer's numbers are not to be trusted: negative ones count as none.
    fn chunk_sum(&self, leaves: &[usize], number: impl Fn(&ColumnChunkMetaData) -> i64) -> u64 {
        let groups = self.metadata.metadata().row_groups();
        let chunks = groups.iter().flat_map(|group| leaves.iter().filter_map(|leaf| group.columns().get(*leaf)));
        chunks.map(|chunk| u64::try_from(number(chunk)).unwrap_or(0)).fold(0, u64::saturating_add)
    }
}

/// Where a column chunk lies, if the quick decoder can read it.
fn place(chunk: &ColumnChunkMetaData) -> Option<quick::ChunkPlace> {
    let codec = match chunk.compression() {
        Compression::UNCOMPRESSED => quick::Codec::None,
        Compression::SNAPPY => quick::Codec::Snappy,
        _ => return None,
    };
    let start = chunk.dictionary_page_offset().unwrap_or(chunk.data_page_offset());
    Some(quick::ChunkPlace {
        codec,
        start: u64::try_from(start).ok()?,
        length: u64::try_from(chunk.compressed_size()).ok()?,
        values: u64::try_from(chunk.num_values()).ok()?,
    })
}

/// A raw batch: columns as decoded, by the index of the root column.
#[derive(Clone, Debug)]
pub(super) struct Raw {
    columns: Arc<[ArrayRef]>,
    /// In ascending order.
    roots: Arc<[usize]>,
    rows: usize,
    /// Position of its first row in the file.
    pub(super) first_row: u64,
}

impl Raw {
    /// A root column; `None` where it has no values at all.
    pub(super) fn root(&self, root: usize) -> Option<&ArrayRef> {
        self.roots.binary_search(&root).ok().map(|at| &self.columns[at])
    }

    pub(super) fn rows(&self) -> usize {
        self.rows
    }
}

/// Raw batches in file order. The rows are counted: a file whose footer says otherwise is an error at the end.
pub(super) struct Batches {
    label: Arc<str>,
    state: State,
}

enum State {
    Kept(Option<Raw>),
    Sealed { reader: ParquetRecordBatchReader, roots: Arc<[usize]>, next_row: u64, expected: u64 },
}

impl Iterator for Batches {
    type Item = Result<Raw, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        let (reader, roots, next_row, expected) = match &mut self.state {
            State::Kept(raw) => return raw.take().map(Ok),
            State::Sealed { reader, roots, next_row, expected } => (reader, roots, next_row, *expected),
        };
        match guard(&self.label, || Ok(reader.next().transpose()?)) {
            Ok(Some(batch)) => {
                let first_row = *next_row;
                *next_row += batch.num_rows() as u64;
                let (columns, rows) = (batch.columns().into(), batch.num_rows());
                Some(Ok(Raw { columns, roots: Arc::clone(roots), rows, first_row }))
            }
            Ok(None) if *next_row != expected => {
                let message = format!("has {next_row} rows where its footer says {expected}");
                self.state = State::Kept(None);
                Some(Err(ReadError::new(&*self.label, message).with_hint(DAMAGED)))
            }
            Ok(None) => None,
            Err(error) => {
                self.state = State::Kept(None);
                Some(Err(error))
            }
        }
    }
}

/// Bytes of a sealed file, by `pread`: the descriptor's offset is never moved.
#[derive(Clone)]
pub(super) enum Input {
    Whole(Bytes),
    File { file: Arc<File>, size: u64 },
}

impl Length for Input {
    fn len(&self) -> u64 {
        match self {
            Self::Whole(bytes) => bytes.len() as u64,
            Self::File { size, .. } => *size,
        }
    }
}

impl ChunkReader for Input {
    type T = Box<dyn Read + Send>;

    fn get_read(&self, start: u64) -> Result<Self::T, ParquetError> {
        match self {
            Self::Whole(bytes) if start > bytes.len() as u64 => Err(past_end(start, self.len())),
            Self::Whole(bytes) => Ok(Box::new(bytes.slice(start as usize..).reader())),
            Self::File { file, .. } => Ok(Box::new(BufReader::new(At { file: Arc::clone(file), at: start }))),
        }
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        // Checked before anything is allocated: the length may come from a damaged page header.
        if start.checked_add(length as u64).is_none_or(|end| end > self.len()) {
            return Err(past_end(start.saturating_add(length as u64), self.len()));
        }
        match self {
            Self::Whole(bytes) => Ok(bytes.slice(start as usize..start as usize + length)),
            Self::File { file, .. } => Ok(read_at(file, start, length)?.into()),
        }
    }
}

fn past_end(end: u64, size: u64) -> ParquetError {
    ParquetError::EOF(format!("byte {end} was asked for in a file of {size}"))
}

struct At {
    file: Arc<File>,
    at: u64,
}

impl Read for At {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.file.read_at(buffer, self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}
