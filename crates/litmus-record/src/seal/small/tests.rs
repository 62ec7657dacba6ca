//! What is encoded here, beside what the parquet crate encodes: the crate reads the same values and bounds out of both.

use std::sync::Arc;

use arrow::array::{
    BooleanArray, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use bytes::Bytes;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::file::metadata::ColumnChunkMetaData;
use proptest::collection::vec;
use proptest::prelude::*;

use super::super::columns::{lists, structs};
use super::super::write::large;
use super::*;

/// A column of values that may be missing, of every type that a run has.
fn leaf(length: usize) -> impl Strategy<Value = ArrayRef> {
    let text = prop_oneof!["[a-z]{0,3}", Just("same on every row".to_owned()), "\\PC{0,16}"];
    let float = prop_oneof![any::<f64>(), Just(0.0), Just(-0.0), Just(f64::NAN), Just(3.3)];
    let int = prop_oneof![any::<i64>(), -1_i64..2];
    prop_oneof![
        missing(text, length).prop_map(|column| Arc::new(StringArray::from(column)) as ArrayRef),
        missing(float, length).prop_map(|column| Arc::new(Float64Array::from(column)) as ArrayRef),
        missing(int.clone(), length).prop_map(|column| Arc::new(Int64Array::from(column)) as ArrayRef),
        missing(any::<i32>(), length).prop_map(|column| Arc::new(Int32Array::from(column)) as ArrayRef),
        missing(any::<bool>(), length).prop_map(|column| Arc::new(BooleanArray::from(column)) as ArrayRef),
        missing(int, length)
            .prop_map(|column| Arc::new(TimestampMicrosecondArray::from(column).with_timezone("UTC")) as ArrayRef),
    ]
}

/// None of them missing, some, or all.
fn missing<V: Clone + std::fmt::Debug + 'static>(
    value: impl Strategy<Value = V> + Clone + 'static,
    length: usize,
) -> impl Strategy<Value = Vec<Option<V>>> {
    prop_oneof![
        vec(value.clone().prop_map(Some), length),
        vec(prop::option::of(value), length),
        Just(vec![None; length]),
    ]
}

fn column(rows: usize) -> impl Strategy<Value = ArrayRef> {
    let lengths = vec(prop_oneof![3 => 0_usize..4, 1 => Just(200)], rows);
    prop_oneof![
        2 => leaf(rows),
        1 => lengths.clone().prop_flat_map(|lengths| {
            leaf(lengths.iter().sum()).prop_map(move |elements| lists(lengths.clone(), elements))
        }),
        1 => lengths.prop_flat_map(|lengths| {
            let length = lengths.iter().sum();
            (leaf(length), leaf(length), leaf(length)).prop_map(move |(one, two, three)| {
                lists(lengths.clone(), structs(vec![("one", one), ("two", two), ("three", three)]))
            })
        }),
    ]
}

fn footer() -> Footer {
    vec![("schema_version", "1.0".to_owned()), ("recorder", "a test".to_owned())]
}

fn named(columns: Vec<ArrayRef>) -> Vec<(String, ArrayRef)> {
    columns.into_iter().enumerate().map(|(at, column)| (format!("c{at}"), column)).collect()
}

fn open(bytes: Vec<u8>) -> ParquetRecordBatchReaderBuilder<Bytes> {
    ParquetRecordBatchReaderBuilder::try_new(bytes.into()).unwrap()
}

fn read(file: ParquetRecordBatchReaderBuilder<Bytes>) -> Vec<RecordBatch> {
    file.with_batch_size(1 << 20).build().unwrap().map(Result::unwrap).collect()
}

/// By bytes: there are two zeroes.
fn bounds(chunk: &ColumnChunkMetaData) -> [Option<&[u8]>; 2] {
    let statistics = chunk.statistics().unwrap();
    [statistics.min_bytes_opt(), statistics.max_bytes_opt()]
}

proptest! {
    #[test]
    fn the_crate_reads_the_same_out_of_both(
        columns in (1_usize..60).prop_flat_map(|rows| vec(column(rows), 1..8)),
    ) {
        let columns = named(columns);
        let ours = parquet(&columns, &footer(), "a test");
        let is_small = columns.iter().all(|(_, column)| match column.as_list_opt::<i32>() {
            Some(lists) => lists.len() + 1 + lists.values().len() <= VALUES_MAX,
            None => true,
        });
        prop_assert_eq!(ours.is_some(), is_small);
        let Some(ours) = ours else { return Ok(()) };
        let (ours, theirs) = (open(ours), open(large(columns.clone(), footer()).unwrap()));

        prop_assert_eq!(ours.schema(), theirs.schema());
        let (file, their_file) = (ours.metadata().file_metadata(), theirs.metadata().file_metadata());
        prop_assert_eq!(file.schema_descr().root_schema(), their_file.schema_descr().root_schema());
        prop_assert_eq!(file.key_value_metadata(), their_file.key_value_metadata());
        prop_assert_eq!(file.column_orders(), their_file.column_orders());
        prop_assert_eq!((file.version(), file.num_rows()), (their_file.version(), their_file.num_rows()));
        let (group, their_group) = (ours.metadata().row_group(0), theirs.metadata().row_group(0));
        prop_assert_eq!(group.num_rows(), their_group.num_rows());
        prop_assert_eq!(
            group.total_byte_size(),
            group.columns().iter().map(ColumnChunkMetaData::uncompressed_size).sum::<i64>()
        );
        for (chunk, their_chunk) in group.columns().iter().zip(their_group.columns()) {
            let path = chunk.column_path();
            prop_assert_eq!(path, their_chunk.column_path());
            prop_assert_eq!(chunk.num_values(), their_chunk.num_values(), "{}", path);
            prop_assert_eq!(chunk.statistics(), their_chunk.statistics(), "{}", path);
            prop_assert_eq!(bounds(chunk), bounds(their_chunk), "{}", path);
        }
        // By bits, NaN and both zeroes included.
        prop_assert!(read(ours) == read(theirs));
    }
}

#[test]
fn a_long_text_has_no_bounds() {
    let text = "x".repeat(BOUND_BYTES_MAX + 1);
    let column: ArrayRef = Arc::new(StringArray::from(vec![Some("a"), Some(&text), None]));
    let batch = RecordBatch::try_from_iter([("c0", Arc::clone(&column))]).unwrap();
    let file = open(parquet(&named(vec![column]), &footer(), "a test").unwrap());
    let statistics = file.metadata().row_group(0).column(0).statistics().cloned().unwrap();
    assert_eq!((statistics.min_bytes_opt(), statistics.max_bytes_opt()), (None, None));
    assert_eq!(statistics.null_count_opt(), Some(1));
    assert_eq!(read(file), [batch]);
}

#[test]
fn what_has_many_values_is_left_to_the_crate() {
    let ints = |length| Arc::new(Int64Array::from(vec![1; length])) as ArrayRef;
    let is_small = |columns| parquet(&named(columns), &footer(), "a test").is_some();
    assert!(is_small(vec![ints(VALUES_MAX)]));
    assert!(!is_small(vec![ints(VALUES_MAX + 1)]));
    assert!(!is_small(vec![lists([VALUES_MAX], ints(VALUES_MAX))]), "one row, and all its elements");
}
