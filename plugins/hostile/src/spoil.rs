//! What some mutants do to the rows.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{Float64Type, Schema, SchemaRef, TimestampMicrosecondType};
use arrow::record_batch::RecordBatch;
use litmus_core::Table;

use crate::config::Mutant;

/// Columns that [`Mutant::ColumnsMax`] leaves.
const COLUMNS_MAX: usize = 300;

/// The schema as it is written, and what becomes of each batch (and whether it is the last).
pub(crate) fn spoil(
    mutant: Option<Mutant>,
    table: Table,
    schema: &SchemaRef,
) -> (SchemaRef, impl Fn(RecordBatch, bool) -> RecordBatch + use<>) {
    let fields = schema.fields().iter().map(|field| match mutant {
        Some(Mutant::LowerCaseNames) => Arc::new(field.as_ref().clone().with_name(field.name().to_lowercase())),
        _ => Arc::clone(field),
    });
    let kept = if mutant == Some(Mutant::ColumnsMax) { COLUMNS_MAX } else { usize::MAX };
    let written = Arc::new(Schema::new_with_metadata(fields.take(kept).collect::<Vec<_>>(), schema.metadata().clone()));
    let of_batch = Arc::clone(&written);
    let change = move |batch: RecordBatch, last: bool| {
        let columns = batch.columns().iter().take(kept).map(|column| spoiled(mutant, column)).collect();
        let batch = RecordBatch::try_new(Arc::clone(&of_batch), columns).expect("types stay");
        let drops = mutant == Some(Mutant::DropLastRow) && table == Table::Measurements && last && batch.num_rows() > 0;
        if drops { batch.slice(0, batch.num_rows() - 1) } else { batch }
    };
    (written, change)
}

fn spoiled(mutant: Option<Mutant>, column: &ArrayRef) -> ArrayRef {
    match mutant {
        Some(Mutant::NanToNull) => {
            let Some(numbers) = column.as_primitive_opt::<Float64Type>() else { return Arc::clone(column) };
            Arc::new(numbers.iter().map(|number| number.filter(|number| number.is_finite())).collect::<Float64Array>())
        }
        Some(Mutant::EmptyTextToNull) => {
            let Some(texts) = column.as_string_opt::<i32>() else { return Arc::clone(column) };
            Arc::new(texts.iter().map(|text| text.filter(|text| !text.is_empty())).collect::<StringArray>())
        }
        Some(Mutant::TimesToSeconds) => {
            let Some(times) = column.as_primitive_opt::<TimestampMicrosecondType>() else { return Arc::clone(column) };
            let seconds = times.iter().map(|time| time.map(|us| us.div_euclid(1_000_000) * 1_000_000));
            let array = seconds.collect::<TimestampMicrosecondArray>();
            Arc::new(array.with_data_type(column.data_type().clone()))
        }
        _ => Arc::clone(column),
    }
}
