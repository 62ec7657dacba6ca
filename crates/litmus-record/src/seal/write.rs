//! Columns and footer as the bytes of a Parquet file: Snappy, one row group, as the platform writes.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{Field, Schema};
use parquet::arrow::arrow_writer::{ArrowWriter, ArrowWriterOptions};
use parquet::basic::Compression;
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties};

use super::columns::Columns;
use super::footer::Footer;
use super::small;
use crate::RecordError;

const CREATED_BY: &str = concat!("litmus-host version ", env!("CARGO_PKG_VERSION"));

pub(super) fn parquet(columns: Columns, footer: Footer) -> Result<Vec<u8>, RecordError> {
    match small::parquet(&columns.named, &footer, CREATED_BY) {
        Some(bytes) => Ok(bytes),
        None => large(columns.named, footer)
            .map_err(|error| RecordError::new(format!("the run cannot be encoded: {error}"))),
    }
}

/// Any run; for small ones it takes several times as long.
pub(super) fn large(columns: Vec<(String, ArrayRef)>, footer: Footer) -> Result<Vec<u8>, ParquetError> {
    let fields: Vec<_> =
        columns.iter().map(|(name, column)| Field::new(name, column.data_type().clone(), true)).collect();
    let columns = columns.into_iter().map(|(_, column)| column).collect();
    let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?;
    let footer = footer.into_iter().map(|(key, value)| KeyValue::new(key.to_owned(), value)).collect();
    let properties = WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .set_created_by(CREATED_BY.to_owned())
        .set_key_value_metadata(Some(footer))
        // As the platform: statistics of whole columns, no index of pages.
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_offset_index_disabled(true)
        // One row group, whatever the run's size.
        .set_max_row_group_row_count(None)
        .build();
    // Without the Arrow schema, which says nothing more, pyarrow takes the footer's keys for the schema's, as the platform does.
    let options = ArrowWriterOptions::new().with_properties(properties).with_skip_arrow_metadata(true);
    let mut bytes = Vec::with_capacity(64 << 10);
    let mut writer = ArrowWriter::try_new_with_options(&mut bytes, batch.schema(), options)?;
    writer.write(&batch)?;
    writer.close()?;
    Ok(bytes)
}
