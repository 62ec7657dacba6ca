//! Columns and footer as the bytes of a Parquet file: Snappy, one row group, dictionaries, as the platform writes.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{Field, Schema};
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties};

use super::columns::Columns;
use super::footer::Footer;
use crate::RecordError;

pub(super) fn parquet(columns: Columns, footer: Footer) -> Result<Vec<u8>, RecordError> {
    let cannot = |error: &dyn std::fmt::Display| RecordError::new(format!("the run cannot be encoded: {error}"));
    let fields: Vec<_> =
        columns.columns.iter().map(|(name, column)| Field::new(name, column.data_type().clone(), true)).collect();
    // In the Arrow schema, too: that is where pyarrow, and with it the platform, looks for what stands in a footer.
    let metadata = footer.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
    let schema = Arc::new(Schema::new_with_metadata(fields, metadata));
    let columns = columns.columns.into_iter().map(|(_, column)| column).collect();
    let batch = RecordBatch::try_new(Arc::clone(&schema), columns).map_err(|error| cannot(&error))?;
    let footer = footer.into_iter().map(|(key, value)| KeyValue::new(key.to_owned(), value)).collect();
    let properties = WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .set_created_by(concat!("litmus-host version ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_key_value_metadata(Some(footer))
        // As the platform: statistics of whole columns, no index of pages. A run has one page a column, and a hundred columns.
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_offset_index_disabled(true)
        // One row group, whatever the run's size.
        .set_max_row_group_row_count(None)
        .build();
    let mut bytes = Vec::with_capacity(64 << 10);
    let mut writer = ArrowWriter::try_new(&mut bytes, schema, Some(properties)).map_err(|error| cannot(&error))?;
    writer.write(&batch).map_err(|error| cannot(&error))?;
    writer.close().map_err(|error| cannot(&error))?;
    Ok(bytes)
}
