//! Digests of whole Arrow batches: what is taken of the source.

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, ListArray, StringArray};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{Float64Type, Int64Type, Schema, TimestampMicrosecondType};
use arrow::record_batch::RecordBatch;

use super::hash::RowHasher;
use super::json::JsonWriter;
use super::{Conversions, TableDigest, encode};
use crate::tables::Kind;

/// Digests whole batches of a canonical table.
#[derive(Debug)]
pub struct BatchDigester {
    columns: Vec<SortedColumn>,
    conversions: Conversions,
    total: TableDigest,
    bytes: Vec<u8>,
    json: JsonWriter,
    hasher: RowHasher,
}

/// A column of the schema, in the order of its name's bytes.
#[derive(Debug)]
struct SortedColumn {
    at: usize,
    kind: Kind,
    /// The bytes before each value; with the value's tag, where all values of the kind have the same.
    head: Vec<u8>,
}

impl SortedColumn {
    fn new(at: usize, name: &str, kind: Kind) -> Self {
        let mut head = Vec::with_capacity(encode::LENGTH_BYTES + name.len() + 1);
        encode::name(&mut head, name);
        head.extend(match kind {
            Kind::Text => Some(encode::TEXT),
            Kind::Int => Some(encode::INT),
            Kind::Bool => Some(encode::BOOL),
            Kind::Timestamp => Some(encode::TIMESTAMP),
            Kind::TextList | Kind::BoolList => Some(encode::LIST),
            Kind::Float | Kind::Json => None,
        });
        Self { at, kind, head }
    }
}

/// A column of the batch at hand, downcast once.
struct Column<'a> {
    head: &'a [u8],
    nulls: Option<&'a NullBuffer>,
    values: Values<'a>,
}

enum Values<'a> {
    Text(Texts<'a>),
    Json(Texts<'a>),
    /// Times, too.
    Int(&'a [i64]),
    Float(&'a [f64]),
    Bool(&'a BooleanArray),
    TextList(&'a ListArray, &'a StringArray),
    BoolList(&'a ListArray, &'a BooleanArray),
}

#[derive(Clone, Copy)]
struct Texts<'a> {
    offsets: &'a [i32],
    bytes: &'a [u8],
    array: &'a StringArray,
}

impl<'a> Texts<'a> {
    fn of(array: &'a ArrayRef) -> Self {
        let array: &StringArray = array.as_string();
        Self { offsets: array.value_offsets(), bytes: array.value_data(), array }
    }

    fn bytes(&self, row: usize) -> &'a [u8] {
        &self.bytes[self.offsets[row] as usize..self.offsets[row + 1] as usize]
    }
}

impl BatchDigester {
    /// For batches of this canonical schema. A column that is of none of the canonical kinds has no digest: that is a
    /// defect of whoever made the schema, and panics.
    pub fn new(schema: &Schema, conversions: Conversions) -> Self {
        let mut columns: Vec<_> = schema.fields().iter().enumerate().collect();
        columns.sort_unstable_by(|(a, one), (b, other)| one.name().cmp(other.name()).then(a.cmp(b)));
        let column = |(at, field): (usize, &std::sync::Arc<arrow::datatypes::Field>)| {
            let kind = Kind::of(field).unwrap_or_else(|| panic!("column \"{}\" is of no canonical kind", field.name()));
            SortedColumn::new(at, field.name(), kind)
        };
        let columns = columns.into_iter().map(column).collect();
        let (total, bytes) = (TableDigest::default(), Vec::new());
        Self { columns, conversions, total, bytes, json: JsonWriter::default(), hasher: RowHasher::default() }
    }

    /// Adds the rows of a batch.
    pub fn batch(&mut self, batch: &RecordBatch) {
        let columns: Vec<_> = self
            .columns
            .iter()
            .filter(|column| batch.column(column.at).null_count() < batch.num_rows())
            .map(|column| {
                let array = batch.column(column.at);
                let nulls = array.nulls().filter(|nulls| nulls.null_count() > 0);
                Column { head: &column.head, nulls, values: Values::of(column.kind, array) }
            })
            .collect();
        for row in 0..batch.num_rows() {
            self.bytes.clear();
            for column in &columns {
                if column.nulls.is_none_or(|nulls| nulls.is_valid(row)) {
                    self.bytes.extend_from_slice(column.head);
                    column.values.encode(row, &mut self.bytes, &mut self.json, self.conversions);
                }
            }
            self.total.add(&self.hasher.hash(&self.bytes));
        }
    }

    /// The table's digest so far.
    pub fn finish(self) -> TableDigest {
        self.total
    }
}

impl<'a> Values<'a> {
    fn of(kind: Kind, array: &'a ArrayRef) -> Self {
        match kind {
            Kind::Text => Self::Text(Texts::of(array)),
            Kind::Json => Self::Json(Texts::of(array)),
            Kind::Int => Self::Int(array.as_primitive::<Int64Type>().values()),
            Kind::Timestamp => Self::Int(array.as_primitive::<TimestampMicrosecondType>().values()),
            Kind::Float => Self::Float(array.as_primitive::<Float64Type>().values()),
            Kind::Bool => Self::Bool(array.as_boolean()),
            Kind::TextList => Self::TextList(array.as_list(), array.as_list::<i32>().values().as_string()),
            Kind::BoolList => Self::BoolList(array.as_list(), array.as_list::<i32>().values().as_boolean()),
        }
    }

    /// What comes after the column's head.
    fn encode(&self, row: usize, out: &mut Vec<u8>, json: &mut JsonWriter, conversions: Conversions) {
        match self {
            Self::Text(texts) if conversions.nul_to_replacement => {
                encode::bare_text(out, texts.array.value(row), conversions);
            }
            Self::Text(texts) => {
                let text = texts.bytes(row);
                out.extend_from_slice(&encode::length_bytes(text.len()));
                out.extend_from_slice(text);
            }
            Self::Json(texts) => json.document(out, texts.array.value(row), conversions),
            Self::Int(values) => out.extend_from_slice(&values[row].to_le_bytes()),
            Self::Float(values) => encode::float(out, values[row]),
            Self::Bool(values) => out.push(u8::from(values.value(row))),
            Self::TextList(lists, texts) => encode_list(lists, row, out, |at, out| {
                if texts.is_valid(at) { encode::text(out, texts.value(at), conversions) } else { encode::null(out) }
            }),
            Self::BoolList(lists, bools) => encode_list(lists, row, out, |at, out| {
                if bools.is_valid(at) { encode::bool(out, bools.value(at)) } else { encode::null(out) }
            }),
        }
    }
}

fn encode_list(lists: &ListArray, row: usize, out: &mut Vec<u8>, element: impl Fn(usize, &mut Vec<u8>)) {
    let (start, end) = (lists.value_offsets()[row] as usize, lists.value_offsets()[row + 1] as usize);
    out.extend_from_slice(&encode::length_bytes(end - start));
    (start..end).for_each(|at| element(at, out));
}
