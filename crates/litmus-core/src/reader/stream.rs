//! A table as a stream of canonical batches.

use std::cell::RefCell;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Int64Array, ListArray, RecordBatch, StringArray, UInt32Array, new_null_array,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::take;
use arrow::datatypes::{Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatchReader;
use parquet::errors::ParquetError;

use super::catalog::{Class, members};
use super::convert::{Shape, convert, list};
use super::dynamic::ValueLists;
use super::error::{ReadError, guard};
use super::head::{RECORD_TYPES, record_types};
use super::plan::{Part, Plan, PlannedColumn, Rows};
use super::run_file::Opened;
use super::source::{Batches, Raw};
use crate::tables::Kind;

/// A batch has at most this many rows, however many entries one row of the file lists.
const BATCH_ROWS_MAX: usize = 16 << 10;

/// One pass over one table.
pub(super) struct TableReader {
    run: Arc<Opened>,
    plan: Arc<Plan>,
    batches: Batches,
    current: Option<Current>,
}

/// The raw batch at hand, and how far it was handed out.
struct Current {
    raw: Raw,
    types: Vec<u8>,
    /// By row of the table: the row of the batch that owns it.
    owners: Vec<u32>,
    /// By row of the table: its place in the owner's list.
    places: Option<Vec<u32>>,
    /// Inputs and outputs, by row of the batch.
    dynamic: Vec<ArrayRef>,
    next: usize,
}

impl TableReader {
    pub(super) fn new(run: Arc<Opened>, plan: Arc<Plan>) -> Result<Self, ReadError> {
        let batches = run.source.batches(&plan.wanted)?;
        Ok(Self { run, plan, batches, current: None })
    }

    fn advance(&mut self) -> Option<Result<RecordBatch, ReadError>> {
        loop {
            if let Some(current) = &mut self.current
                && current.next < current.owners.len()
            {
                let end = current.owners.len().min(current.next + BATCH_ROWS_MAX);
                let rows = current.next..end;
                current.next = end;
                let (current, label) = (&*current, &**self.run.source.label());
                // Arrow's kernels panic where offsets overflow, and a damaged file may make them.
                let batch = guard(label, || current.build(&self.run, &self.plan, rows).map_err(ParquetError::from));
                return Some(batch);
            }
            self.current = match self.batches.next()? {
                Ok(raw) => match guard(self.run.source.label(), || Ok(Current::load(raw, &self.run, &self.plan))) {
                    Ok(Ok(current)) => Some(current),
                    Ok(Err(error)) | Err(error) => return Some(Err(error)),
                },
                Err(error) => return Some(Err(error)),
            };
        }
    }
}

impl Iterator for TableReader {
    type Item = Result<RecordBatch, ArrowError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.advance().map(|batch| batch.map_err(|error| ArrowError::from_external_error(Box::new(error))))
    }
}

impl RecordBatchReader for TableReader {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.plan.schema)
    }
}

impl Current {
    fn load(raw: Raw, run: &Opened, plan: &Plan) -> Result<Self, ReadError> {
        let types = record_types(&raw, &run.catalog, run.source.label())?;
        let (owners, places) = match &plan.rows {
            Rows::OfType(code) => {
                ((0u32..).zip(&types).filter(|(_, found)| *found == code).map(|(row, _)| row).collect(), None)
            }
            Rows::Entries(lists) => {
                let lists: Vec<_> =
                    lists.iter().filter_map(|root| raw.root(*root)).map(AsArray::as_list::<i32>).collect();
                let (mut owners, mut places) = (Vec::new(), Vec::new());
                for row in 0..raw.rows() {
                    let lengths = lists.iter().filter(|list| list.is_valid(row)).map(|list| list.value_length(row));
                    let length = lengths.max().unwrap_or(0);
                    owners.extend(std::iter::repeat_n(row as u32, length as usize));
                    places.extend(0..length as u32);
                }
                (owners, Some(places))
            }
        };
        let dynamic = if owners.is_empty() {
            Vec::new()
        } else {
            let lists = run.catalog.roots.iter().enumerate().filter_map(|(at, root)| match root.class {
                Class::Values(direction) => Some((direction, ValueLists::new(raw.root(at)?))),
                _ => None,
            });
            plan.expansion.arrays(raw.rows(), &lists.collect::<Vec<_>>())
        };
        Ok(Self { raw, types, owners, places, dynamic, next: 0 })
    }

    fn build(&self, run: &Opened, plan: &Plan, rows: Range<usize>) -> Result<RecordBatch, ArrowError> {
        let owners = Selection::of(&self.owners[rows.clone()]);
        let builder = Builder { current: self, run, owners, rows, entries: RefCell::default() };
        let columns = plan.columns.iter().map(|column| builder.column(column)).collect::<Result<Vec<_>, _>>()?;
        RecordBatch::try_new(Arc::clone(&plan.schema), columns)
    }
}

/// Rows of an array: a slice where they follow one another, which is the rule, and costs nothing.
enum Selection {
    Slice(Range<usize>),
    Take(UInt32Array),
}

impl Selection {
    fn of(rows: &[u32]) -> Self {
        let follows = rows.windows(2).all(|pair| pair[1] == pair[0].wrapping_add(1));
        match rows.first() {
            Some(first) if follows => Self::Slice(*first as usize..*first as usize + rows.len()),
            _ => Self::Take(UInt32Array::from(rows.to_vec())),
        }
    }

    fn select(&self, array: &ArrayRef) -> Result<ArrayRef, ArrowError> {
        match self {
            Self::Slice(range) => Ok(array.slice(range.start, range.len())),
            Self::Take(rows) => take(array, rows, None),
        }
    }
}

/// How lists are laid out, and where their entries lie.
type Laid = (OffsetBuffer<i32>, Option<NullBuffer>, Selection);

/// Builds the columns of one batch.
struct Builder<'a> {
    current: &'a Current,
    run: &'a Opened,
    rows: Range<usize>,
    owners: Selection,
    /// Where the entries of lists lie, by how the lists are laid out: parallel lists and members of one list are laid out alike.
    entries: RefCell<Vec<Laid>>,
}

impl Builder<'_> {
    fn column(&self, column: &PlannedColumn) -> Result<ArrayRef, ArrowError> {
        let rows = self.rows.len();
        let nothing = || new_null_array(&column.kind.data_type(), rows);
        let owners = &self.current.owners[self.rows.clone()];
        let shape = |root: usize| self.run.catalog.roots[root].shape;
        Ok(match &column.part {
            Part::Nothing => nothing(),
            Part::RunId => Arc::new(StringArray::new_repeated(&self.run.run_id_text, rows)),
            Part::RowIndex => {
                let first = self.current.raw.first_row as i64;
                Arc::new(owners.iter().map(|row| first + i64::from(*row)).collect::<Int64Array>())
            }
            Part::ListIndex => match &self.current.places {
                Some(places) => {
                    Arc::new(places[self.rows.clone()].iter().map(|place| i64::from(*place)).collect::<Int64Array>())
                }
                None => Arc::new(Int64Array::from(vec![0; rows])),
            },
            Part::Owner => {
                let name = |row: &u32| Some(RECORD_TYPES[self.current.types[*row as usize] as usize]);
                Arc::new(owners.iter().map(name).collect::<StringArray>())
            }
            Part::Custom(at) => take(&self.run.custom[*at].2, &UInt32Array::from(vec![0; rows]), None)?,
            Part::Dynamic(slot) => self.owners.select(&self.current.dynamic[*slot])?,
            Part::Root(root) | Part::Json(root) => match self.current.raw.root(*root) {
                Some(array) => convert(&self.owners.select(array)?, shape(*root), column.kind),
                None => nothing(),
            },
            Part::Entry(root, member) => match self.entries(*root, *member)? {
                Some((array, shape)) => convert(&array, shape, column.kind),
                None => nothing(),
            },
            Part::Gathered(root, member) => match self.current.raw.root(*root) {
                Some(array) => {
                    let array = self.owners.select(array)?;
                    let lists = array.as_list::<i32>();
                    let values = lists.values().as_struct().column(*member);
                    let kind = if column.kind == Kind::BoolList { Kind::Bool } else { Kind::Text };
                    list(lists, convert(values, self.member_shape(*root, *member), kind))
                }
                None => nothing(),
            },
        })
    }

    fn member_shape(&self, root: usize, member: usize) -> Shape {
        let members = members(&self.run.catalog.roots[root].field);
        members.map_or(Shape::Null, |members| Shape::of(members[member].data_type()))
    }

    /// The entries of a list that make the rows of this batch; NULL where a parallel list is shorter than the others.
    fn entries(&self, root: usize, member: Option<usize>) -> Result<Option<(ArrayRef, Shape)>, ArrowError> {
        let (Some(array), Some(places)) = (self.current.raw.root(root), &self.current.places) else { return Ok(None) };
        let lists = array.as_list::<i32>();
        let (values, shape) = match member {
            Some(member) => (lists.values().as_struct().column(member), self.member_shape(root, member)),
            None => (lists.values(), Shape::of(lists.values().data_type())),
        };
        let mut known = self.entries.borrow_mut();
        let is_alike = |(offsets, nulls, _): &Laid| offsets == lists.offsets() && nulls.as_ref() == lists.nulls();
        let at = known.iter().position(is_alike).unwrap_or_else(|| {
            known.push((lists.offsets().clone(), lists.nulls().cloned(), self.select_entries(lists, places)));
            known.len() - 1
        });
        let array = known[at].2.select(values)?;
        Ok(Some((array, shape)))
    }

    fn select_entries(&self, lists: &ListArray, places: &[u32]) -> Selection {
        let entry = |at: usize| {
            let (row, place) = (self.current.owners[at] as usize, places[at] as usize);
            let is_there = lists.is_valid(row) && place < lists.value_length(row) as usize;
            is_there.then(|| lists.value_offsets()[row] as u32 + place as u32)
        };
        let entries: Option<Vec<u32>> = self.rows.clone().map(entry).collect();
        match entries {
            Some(entries) => Selection::of(&entries),
            None => Selection::Take(self.rows.clone().map(entry).collect()),
        }
    }
}

/// A table that is already there as one batch.
pub(super) struct ReadyTable {
    pub(super) schema: SchemaRef,
    pub(super) batch: Option<RecordBatch>,
}

impl ReadyTable {
    pub(super) fn new(batch: &RecordBatch) -> Self {
        let schema: &Arc<Schema> = batch.schema_ref();
        Self { schema: Arc::clone(schema), batch: Some(batch.clone()) }
    }
}

impl Iterator for ReadyTable {
    type Item = Result<RecordBatch, ArrowError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.batch.take().map(Ok)
    }
}

impl RecordBatchReader for ReadyTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }
}
