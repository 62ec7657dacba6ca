//! Raw batches of a sealed file: a projection of its columns, in file order, with each batch's place in the file.

use std::fs::File;
use std::io::{BufReader, Read};
use std::os::unix::fs::FileExt;
use std::sync::{Arc, OnceLock};

use arrow::array::{Array, ArrayRef};
use bytes::{Buf, Bytes};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder, RowSelection, RowSelector,
};
use parquet::basic::Type;
use parquet::errors::ParquetError;
use parquet::file::reader::{ChunkReader, Length};

use super::announced::{self, PAGE_HEADER_BYTES_MAX, Refusal};
use super::error::{DAMAGED, ReadError, guard};
use super::footer::{Chunk, Footer};
use super::layout::{Layout, arrow_metadata};
use super::quick;
use super::seal::read_at;

/// A batch holds about this many leaf values.
const BATCH_VALUES: u64 = 64 << 10;
/// And about this many bytes, where the file says how long its texts are once decoded.
const BATCH_BYTES: u64 = 16 << 20;
/// What is decoded once and kept: up to one batch, and this many bytes.
const KEPT_BYTES_MAX: u64 = 4 << 20;

/// Page headers are shorter than this unless they hold long statistics.
const PAGE_HEADER_BYTES: usize = 256;

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
    rows: u64,
    from: From,
}

enum From {
    /// Small files: decoded once, all columns that have values.
    Kept(Raw),
    Sealed(Columns),
}

/// The columns of a file as it lies there.
struct Columns {
    label: Arc<str>,
    input: Input,
    footer: Arc<Footer>,
    layout: Arc<Layout>,
    /// Made when the parquet crate is first asked to decode something.
    metadata: OnceLock<Result<ArrowReaderMetadata, ReadError>>,
}

impl Source {
    /// A source over a sealed file; `roots` are the columns whose values may be asked for.
    pub(super) fn new(
        input: Input,
        footer: &Arc<Footer>,
        layout: &Arc<Layout>,
        label: &Arc<str>,
        roots: &[usize],
    ) -> Result<Self, ReadError> {
        let (label, rows) = (Arc::clone(label), footer.rows);
        let (footer, layout) = (Arc::clone(footer), Arc::clone(layout));
        let columns = Columns { label: Arc::clone(&label), input, footer, layout, metadata: OnceLock::new() };
        let kept = columns.keep(roots)?;
        Ok(Self { label, rows, from: kept.map_or(From::Sealed(columns), From::Kept) })
    }

    /// Rows of the file, as its footer says.
    pub(super) fn rows(&self) -> u64 {
        self.rows
    }

    pub(super) fn label(&self) -> &Arc<str> {
        &self.label
    }

    /// Bytes of the file that are in memory, decoded or not.
    pub(super) fn held_bytes(&self) -> usize {
        match &self.from {
            From::Kept(raw) => raw.columns.iter().map(arrow::array::Array::get_array_memory_size).sum(),
            From::Sealed(columns) => match &columns.input {
                Input::Whole(bytes) => bytes.len(),
                Input::File { .. } => columns.footer.bytes.len(),
            },
        }
    }

    /// All rows of some columns.
    pub(super) fn batches(&self, wanted: &[Want]) -> Result<Batches, ReadError> {
        match &self.from {
            From::Kept(raw) => Ok(Batches { label: Arc::clone(&self.label), state: State::Kept(Some(raw.clone())) }),
            From::Sealed(columns) => columns.batches(wanted),
        }
    }

    /// One row of some columns.
    pub(super) fn row(&self, row: u64, roots: &[usize]) -> Result<Raw, ReadError> {
        match &self.from {
            From::Kept(raw) => {
                let columns = raw.columns.iter().map(|column| column.slice(row as usize, 1)).collect();
                Ok(Raw { columns, roots: Arc::clone(&raw.roots), rows: 1, first_row: row })
            }
            From::Sealed(columns) => columns.row(row, roots),
        }
    }
}

impl Columns {
    /// All of these columns at once, if the file is small.
    fn keep(&self, roots: &[usize]) -> Result<Option<Raw>, ReadError> {
        let Input::Whole(whole) = &self.input else { return Ok(None) };
        let want: Vec<_> = roots.iter().copied().map(Want::Root).collect();
        let leaves = self.leaves(&want);
        if self.values(&leaves) > BATCH_VALUES || self.bytes(&leaves) > KEPT_BYTES_MAX {
            return Ok(None);
        }
        let rows = self.footer.rows as usize;
        let mut decoder = quick::Decoder::new(whole, rows);
        let mut column = |root: usize| {
            #[cfg(fuzzing)]
            if !super::fuzzing::quick() {
                return None;
            }
            let (plan, leaves) = (self.layout.quick[root].as_ref()?, &self.layout.leaves[root]);
            let groups = &self.footer.groups;
            decoder.root(plan, |at| groups.iter().map(move |group| place(&group[leaves.start + at])))
        };
        let mut columns: Vec<Option<ArrayRef>> = roots.iter().map(|root| column(*root)).collect();
        let declined = roots.iter().zip(&columns).filter(|(_, column)| column.is_none());
        let declined: Vec<_> = declined.map(|(root, _)| Want::Root(*root)).collect();
        if !declined.is_empty() {
            let raws = self.batches(&declined)?.collect::<Result<Vec<_>, _>>()?;
            let [raw] = &raws[..] else { return Ok(None) };
            for (root, column) in roots.iter().zip(&mut columns).filter(|(_, column)| column.is_none()) {
                *column = raw.root(*root).cloned();
            }
        }
        let columns: Option<Arc<[_]>> = columns.into_iter().collect();
        Ok(columns.map(|columns| Raw { columns, roots: roots.into(), rows, first_row: 0 }))
    }

    fn batches(&self, wanted: &[Want]) -> Result<Batches, ReadError> {
        let mut wanted = wanted.to_vec();
        wanted.sort_unstable();
        wanted.dedup_by_key(|want| want.root());
        let leaves = self.leaves(&wanted);
        let rows = self.footer.rows.max(1);
        let by_values = BATCH_VALUES / (self.values(&leaves) / rows).max(1);
        let by_bytes = BATCH_BYTES / (self.bytes(&leaves) / rows).max(1);
        let batch_rows = by_values.min(by_bytes).max(1) as usize;
        let reader = self.reader(leaves, batch_rows, None)?;
        let roots = wanted.into_iter().map(Want::root).collect();
        let expected = self.footer.rows;
        Ok(Batches { label: Arc::clone(&self.label), state: State::Sealed { reader, roots, next_row: 0, expected } })
    }

    fn row(&self, row: u64, roots: &[usize]) -> Result<Raw, ReadError> {
        let wanted: Vec<_> = roots.iter().copied().map(Want::Root).collect();
        let selection = RowSelection::from(vec![RowSelector::skip(row as usize), RowSelector::select(1)]);
        let mut reader = self.reader(self.leaves(&wanted), 1, Some(selection))?;
        let batch = guard(&self.label, || Ok(reader.next().transpose()?))?;
        let batch =
            batch.ok_or_else(|| ReadError::new(&*self.label, format!("row {row} is gone")).with_hint(DAMAGED))?;
        Ok(Raw { columns: batch.columns().into(), roots: roots.into(), rows: 1, first_row: row })
    }

    fn metadata(&self) -> Result<&ArrowReaderMetadata, ReadError> {
        let metadata = self.metadata.get_or_init(|| arrow_metadata(&self.footer.bytes, &self.label));
        metadata.as_ref().map_err(Clone::clone)
    }

    fn reader(
        &self,
        leaves: Vec<usize>,
        batch_rows: usize,
        selection: Option<RowSelection>,
    ) -> Result<ParquetRecordBatchReader, ReadError> {
        let metadata = self.metadata()?;
        guard(&self.label, || {
            let mask = ProjectionMask::leaves(metadata.parquet_schema(), leaves);
            let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(self.input.clone(), metadata.clone());
            let builder = builder.with_projection(mask).with_batch_size(batch_rows);
            match selection {
                Some(selection) => builder.with_row_selection(selection).build(),
                None => builder.build(),
            }
        })
    }

    /// Leaf columns of what is wanted.
    fn leaves(&self, wanted: &[Want]) -> Vec<usize> {
        let mut leaves = Vec::new();
        for want in wanted {
            match want {
                Want::Root(root) => leaves.extend(self.layout.leaves[*root].clone()),
                Want::Lengths(root) => {
                    let bytes = |leaf: &usize| self.chunk_sum(&[*leaf], |chunk| chunk.compressed);
                    leaves.extend(self.layout.leaves[*root].clone().min_by_key(bytes));
                }
            }
        }
        leaves
    }

    fn values(&self, leaves: &[usize]) -> u64 {
        self.chunk_sum(leaves, |chunk| chunk.values)
    }

    /// Decoded bytes: a text in a dictionary counts as often as it is used. Older writers do not say how often that is: then, and
    /// where a writer says less than that, every text of the dictionary counts as often as any other.
    fn bytes(&self, leaves: &[usize]) -> u64 {
        self.chunk_sum(leaves, |chunk| {
            // Not the first of the two that is there: a footer that says too little would make a batch of everything.
            chunk.uncompressed.max(chunk.unencoded).max(self.estimate(chunk).unwrap_or(0))
        })
    }

    fn estimate(&self, chunk: &Chunk) -> Option<i64> {
        let start = chunk.dictionary_page.filter(|_| chunk.physical == Type::BYTE_ARRAY as i64)?;
        let page = self.input.check_page_header(u64::try_from(start).ok()?).ok()?;
        let each = page.bytes / page.dictionary_values?.max(1);
        i64::try_from(each.checked_mul(u64::try_from(chunk.values).ok()?)?).ok()
    }

    /// A sum over column chunks. The footer's numbers are not to be trusted: negative ones count as none.
    fn chunk_sum(&self, leaves: &[usize], number: impl Fn(&Chunk) -> i64) -> u64 {
        let chunks = self.footer.groups.iter().flat_map(|group| leaves.iter().map(|leaf| &group[*leaf]));
        chunks.map(|chunk| u64::try_from(number(chunk)).unwrap_or(0)).fold(0, u64::saturating_add)
    }
}

/// Where a column chunk lies, if the quick decoder can read it.
fn place(chunk: &Chunk) -> Option<quick::ChunkPlace> {
    Some(quick::ChunkPlace {
        codec: quick::Codec::of(chunk.codec)?,
        start: u64::try_from(chunk.start()).ok()?,
        length: u64::try_from(chunk.compressed).ok()?,
        values: u64::try_from(chunk.values).ok()?,
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

    /// What the parquet crate reads this way is a page header.
    fn get_read(&self, start: u64) -> Result<Self::T, ParquetError> {
        let bytes: Self::T = match self {
            Self::Whole(bytes) if start > bytes.len() as u64 => return Err(past_end(start, self.len())),
            Self::Whole(bytes) => Box::new(bytes.slice(start as usize..).reader()),
            Self::File { file, .. } => Box::new(BufReader::new(At { file: Arc::clone(file), at: start })),
        };
        Ok(Box::new(PageHeaders { input: self.clone(), start, checked: false, bytes }))
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

impl Input {
    fn check_page_header(&self, start: u64) -> Result<announced::Page, ParquetError> {
        let rest = self.len().saturating_sub(start) as usize;
        let mut length = rest.min(PAGE_HEADER_BYTES);
        loop {
            let checked = announced::check_page_header(&self.get_bytes(start, length)?);
            let length_max = rest.min(PAGE_HEADER_BYTES_MAX);
            match checked {
                Err(Refusal::Short) if length < length_max => length = length_max,
                checked => return Ok(checked?),
            }
        }
    }
}

/// A page header in the crate's hands, walked before its first byte is given out. (The crate also asks for one where it has
/// decoded the header already, and then reads nothing: there is none at that place.)
struct PageHeaders {
    input: Input,
    start: u64,
    checked: bool,
    bytes: Box<dyn Read + Send>,
}

impl Read for PageHeaders {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if !std::mem::replace(&mut self.checked, true) {
            self.input.check_page_header(self.start).map_err(io_error)?;
        }
        self.bytes.read(buffer)
    }
}

/// What the operating system said, or that the data is wrong: it does not pass by itself.
fn io_error(error: ParquetError) -> std::io::Error {
    let wrong = |what: String| std::io::Error::new(std::io::ErrorKind::InvalidData, what);
    match error {
        ParquetError::External(source) => match source.downcast::<std::io::Error>() {
            Ok(error) => *error,
            Err(source) => wrong(source.to_string()),
        },
        ParquetError::General(what) => wrong(what),
        error => wrong(error.to_string()),
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
