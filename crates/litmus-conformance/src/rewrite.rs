//! Real run files with a cell changed, written by the parquet crate: two revisions of one run, a run nobody has seen.

use std::fs::{self, File};
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, StringArray};
use arrow::record_batch::RecordBatch;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::Compression;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;

/// Writes `from` to `to` (by way of a temporary name, as the platform does) with these text columns set on every row.
pub fn with_texts(from: &Path, to: &Path, texts: &[(&str, &str)]) {
    let builder = ParquetRecordBatchReaderBuilder::try_new(File::open(from).expect("a run file")).expect("a footer");
    let schema = Arc::clone(builder.schema());
    let footer: Vec<KeyValue> = builder
        .metadata()
        .file_metadata()
        .key_value_metadata()
        .into_iter()
        .flatten()
        .filter(|pair| pair.key != "ARROW:schema")
        .cloned()
        .collect();
    let batches = builder.build().expect("a reader").map(|batch| {
        let batch = batch.expect("a batch");
        let columns = schema.fields().iter().zip(batch.columns()).map(|(field, column)| {
            match texts.iter().find(|(name, _)| name == field.name()) {
                Some((_, text)) => Arc::new(StringArray::from(vec![*text; batch.num_rows()])) as ArrayRef,
                None => Arc::clone(column),
            }
        });
        RecordBatch::try_new(Arc::clone(&schema), columns.collect()).expect("text columns stay text")
    });
    write(to, batches, footer);
}

/// Seals batches as the platform does: Snappy, a temporary name, a rename.
pub fn write(to: &Path, batches: impl IntoIterator<Item = RecordBatch>, footer: Vec<KeyValue>) {
    let mut batches = batches.into_iter().peekable();
    let schema = batches.peek().expect("a run has rows").schema();
    let properties =
        WriterProperties::builder().set_compression(Compression::SNAPPY).set_key_value_metadata(Some(footer)).build();
    fs::create_dir_all(to.parent().expect("a run lies in a folder")).expect("a folder");
    let temporary = to.with_extension("tmp");
    let file = File::create(&temporary).expect("a file");
    let mut writer = ArrowWriter::try_new(file, schema, Some(properties)).expect("a writer");
    batches.for_each(|batch| writer.write(&batch).expect("a batch is written"));
    writer.close().expect("a footer is written");
    fs::rename(temporary, to).expect("a rename");
}
