//! Run files written here, to hold what no real release writes.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, ListArray, RecordBatch, StringArray, StructArray};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, Fields, Schema};
use litmus_core::reader::{ReadError, RunFile};
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;

pub(crate) const RUN_ID: &str = "0d9f1c35-3f6c-4f2e-9a57-0c8f7a1b2c3d";

pub(crate) type Columns = Vec<(&'static str, ArrayRef)>;

pub(crate) fn texts<'a>(values: impl IntoIterator<Item = &'a str>) -> ArrayRef {
    Arc::new(values.into_iter().map(Some).collect::<StringArray>())
}

/// A list of structs: one list a row of these lengths, over these members.
pub(crate) fn lists(lengths: &[usize], members: Columns) -> ArrayRef {
    let fields: Fields =
        members.iter().map(|(name, array)| Field::new(*name, array.data_type().clone(), true)).collect();
    let structs = StructArray::new(fields, members.into_iter().map(|(_, array)| array).collect(), None);
    list(lengths, Arc::new(structs))
}

pub(crate) fn list(lengths: &[usize], values: ArrayRef) -> ArrayRef {
    let field = Arc::new(Field::new("element", values.data_type().clone(), true));
    Arc::new(ListArray::new(field, OffsetBuffer::from_lengths(lengths.iter().copied()), values, None))
}

/// Columns of a flat file with rows of these types.
pub(crate) fn flat(types: &[&str], extra: Columns) -> Columns {
    let names = types.iter().map(|name| (*name == "measurement").then_some("v")).collect::<StringArray>();
    let mut columns: Columns = vec![("record_type", texts(types.iter().copied()))];
    columns.push(("run_id", texts(types.iter().map(|_| RUN_ID))));
    columns.push(("step_path", texts(types.iter().map(|name| if *name == "run" { "" } else { "s" }))));
    columns.push(("measurement_name", Arc::new(names)));
    columns.extend(extra);
    columns
}

/// Columns of a file of the newest generation, with this many measurements on each row.
pub(crate) fn nested2(types: &[&str], measurements: &[usize], extra: Columns) -> Columns {
    let names: Vec<_> = (0..measurements.iter().sum::<usize>()).map(|at| format!("m{at}")).collect();
    let names = texts(names.iter().map(String::as_str));
    let mut columns: Columns = vec![("record_type", texts(types.iter().copied()))];
    columns.push(("run_id", texts(types.iter().map(|_| RUN_ID))));
    columns.push(("uut_serial_number", texts(types.iter().map(|_| "SN"))));
    columns.push(("measurements", lists(measurements, vec![("name", names)])));
    columns.extend(extra);
    columns
}

/// How a file is written.
#[derive(Clone, Default)]
pub(crate) struct Layout {
    pub(crate) row_group_rows: Option<usize>,
    pub(crate) no_statistics: bool,
    /// Texts in an encoding that the platform does not use.
    pub(crate) text_encoding: Option<parquet::basic::Encoding>,
    pub(crate) compression: Option<Compression>,
    pub(crate) footer: Vec<(&'static str, String)>,
}

/// Writes `runs/<name>.parquet` and opens it.
pub(crate) fn write(data_dir: &Path, name: &str, columns: &Columns, layout: &Layout) -> Result<RunFile, ReadError> {
    let fields: Vec<_> =
        columns.iter().map(|(name, array)| Field::new(*name, array.data_type().clone(), true)).collect();
    let arrays = columns.iter().map(|(_, array)| Arc::clone(array)).collect();
    let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).unwrap();
    let pairs = layout.footer.iter().map(|(key, value)| KeyValue::new((*key).to_owned(), value.clone())).collect();
    let mut properties = WriterProperties::builder().set_key_value_metadata(Some(pairs));
    if let Some(rows) = layout.row_group_rows {
        properties = properties.set_max_row_group_row_count(Some(rows));
    }
    if layout.no_statistics {
        properties = properties.set_statistics_enabled(parquet::file::properties::EnabledStatistics::None);
    }
    if let Some(encoding) = layout.text_encoding {
        properties = properties.set_dictionary_enabled(false);
        for name in ["record_type", "step_path"] {
            properties = properties.set_column_encoding(name.into(), encoding);
        }
    }
    if let Some(compression) = layout.compression {
        properties = properties.set_compression(compression);
    }
    std::fs::create_dir_all(data_dir.join("runs")).unwrap();
    let relative = Path::new("runs").join(format!("{name}.parquet"));
    let file = std::fs::File::create(data_dir.join(&relative)).unwrap();
    let mut writer = ArrowWriter::try_new(file, batch.schema(), Some(properties.build())).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    RunFile::open(data_dir, &relative)
}

/// The type of a column of a table, `None` where there is no such column.
pub(crate) fn type_of(run: &RunFile, table: litmus_core::Table, column: &str) -> Option<DataType> {
    run.open_table(table).unwrap().schema().field_with_name(column).ok().map(|field| field.data_type().clone())
}

/// The texts of a column, over all rows.
pub(crate) fn column(run: &RunFile, table: litmus_core::Table, column: &str) -> Vec<Option<String>> {
    let batches = crate::rows::batches(run, table);
    let texts = |batch: &RecordBatch| {
        let array = batch.column_by_name(column).unwrap();
        array.as_string::<i32>().iter().map(|text| text.map(str::to_owned)).collect::<Vec<_>>()
    };
    batches.iter().flat_map(texts).collect()
}
