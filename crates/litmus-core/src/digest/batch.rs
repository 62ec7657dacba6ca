//! Digests of whole Arrow batches: what is taken of the source.

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, ListArray, PrimitiveArray, StringArray};
use arrow::datatypes::{Float64Type, Int64Type, Schema, TimestampMicrosecondType};
use arrow::record_batch::RecordBatch;

use super::{Conversions, TableDigest, encode};
use crate::tables::Kind;

/// Digests whole batches of a canonical table.
#[derive(Debug)]
pub struct BatchDigester {
    columns: Vec<SortedColumn>,
    conversions: Conversions,
    total: TableDigest,
    bytes: Vec<u8>,
}

/// A column of the schema, in the order of its name's bytes.
#[derive(Debug)]
struct SortedColumn {
    at: usize,
    kind: Kind,
    /// The bytes before each value.
    name: Vec<u8>,
}

/// A column of the batch at hand, downcast once.
enum Values<'a> {
    Text(&'a StringArray),
    Json(&'a StringArray),
    Int(&'a PrimitiveArray<Int64Type>),
    Float(&'a PrimitiveArray<Float64Type>),
    Bool(&'a BooleanArray),
    Timestamp(&'a PrimitiveArray<TimestampMicrosecondType>),
    TextList(&'a ListArray, &'a StringArray),
    BoolList(&'a ListArray, &'a BooleanArray),
}

impl BatchDigester {
    /// For batches of this canonical schema. A column that is of none of the canonical kinds has no digest: that is a
    /// defect of whoever made the schema, and panics.
    pub fn new(schema: &Schema, conversions: Conversions) -> Self {
        let column = |(at, field): (usize, &std::sync::Arc<arrow::datatypes::Field>)| {
            let kind = Kind::of(field).unwrap_or_else(|| panic!("column \"{}\" is of no canonical kind", field.name()));
            let mut name = Vec::with_capacity(field.name().len() + 4);
            encode::name(&mut name, field.name());
            SortedColumn { at, kind, name }
        };
        let mut columns: Vec<_> = schema.fields().iter().enumerate().map(column).collect();
        columns.sort_by(|a, b| schema.field(a.at).name().as_bytes().cmp(schema.field(b.at).name().as_bytes()));
        Self { columns, conversions, total: TableDigest::default(), bytes: Vec::new() }
    }

    /// Adds the rows of a batch.
    pub fn batch(&mut self, batch: &RecordBatch) {
        let columns: Vec<_> = self
            .columns
            .iter()
            .filter(|column| batch.column(column.at).null_count() < batch.num_rows())
            .map(|column| {
                let array = batch.column(column.at);
                (&column.name, array.nulls().filter(|nulls| nulls.null_count() > 0), Values::of(column.kind, array))
            })
            .collect();
        for row in 0..batch.num_rows() {
            self.bytes.clear();
            for (name, nulls, values) in &columns {
                if nulls.is_none_or(|nulls| nulls.is_valid(row)) {
                    self.bytes.extend_from_slice(name);
                    values.encode(row, &mut self.bytes, self.conversions);
                }
            }
            self.total.add(&blake3::hash(&self.bytes));
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
            Kind::Text => Self::Text(array.as_string()),
            Kind::Json => Self::Json(array.as_string()),
            Kind::Int => Self::Int(array.as_primitive()),
            Kind::Float => Self::Float(array.as_primitive()),
            Kind::Bool => Self::Bool(array.as_boolean()),
            Kind::Timestamp => Self::Timestamp(array.as_primitive()),
            Kind::TextList => Self::TextList(array.as_list(), array.as_list::<i32>().values().as_string()),
            Kind::BoolList => Self::BoolList(array.as_list(), array.as_list::<i32>().values().as_boolean()),
        }
    }

    fn encode(&self, row: usize, out: &mut Vec<u8>, conversions: Conversions) {
        match self {
            Self::Text(values) => encode::text(out, values.value(row), conversions),
            Self::Json(values) => encode::json(out, values.value(row), conversions),
            Self::Int(values) => encode::int(out, values.value(row)),
            Self::Float(values) => encode::float(out, values.value(row)),
            Self::Bool(values) => encode::bool(out, values.value(row)),
            Self::Timestamp(values) => encode::timestamp(out, values.value(row)),
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
    encode::list_head(out, end - start);
    (start..end).for_each(|at| element(at, out));
}
