//! The quick decoder against the parquet crate, over files that the crate writes.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Float64Array, Int32Array, Int64Array, ListArray, RecordBatch, StringArray,
    StructArray, TimestampMicrosecondArray,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{Field, Fields, Schema};
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use parquet::basic::Compression;
use parquet::file::properties::{WriterProperties, WriterVersion};
use proptest::prelude::*;

use super::{ChunkPlace, Codec, Decoder, RootPlan};
use crate::reader::footer::Footer;
use crate::reader::layout::arrow_metadata;

/// What the generated cells of one row hold.
type Cells = (Option<String>, Option<i64>, Option<f64>, Option<bool>, Option<Vec<Option<String>>>);

fn cells() -> impl Strategy<Value = Vec<Cells>> {
    // Few different texts and numbers, so that dictionaries and runs come up.
    let text = || prop_oneof!["[a-c]{0,2}", "(?s).{0,12}"];
    let row = (
        proptest::option::of(text()),
        proptest::option::of(prop_oneof![0..3i64, any::<i64>()]),
        proptest::option::of(prop_oneof![Just(1.5), any::<f64>()]),
        any::<Option<bool>>(),
        proptest::option::of(proptest::collection::vec(proptest::option::of(text()), 0..4)),
    );
    proptest::collection::vec(row, 1..60)
}

fn list(rows: &[Cells], values: ArrayRef, element_nullable: bool) -> ArrayRef {
    let lengths = rows.iter().map(|row| row.4.as_ref().map_or(0, Vec::len));
    let nulls: NullBuffer = rows.iter().map(|row| row.4.is_some()).collect::<Vec<_>>().into();
    let field = Arc::new(Field::new("element", values.data_type().clone(), element_nullable));
    Arc::new(ListArray::new(field, OffsetBuffer::from_lengths(lengths), values, Some(nulls)))
}

/// Columns of every layout that the decoder takes.
fn columns(rows: &[Cells]) -> Vec<(&'static str, bool, ArrayRef)> {
    let elements: Vec<_> = rows.iter().filter_map(|row| row.4.as_ref()).flatten().collect();
    let texts: ArrayRef = Arc::new(elements.iter().map(|text| text.as_deref()).collect::<StringArray>());
    let bools: ArrayRef = Arc::new(elements.iter().map(|text| Some(text.is_some())).collect::<BooleanArray>());
    let numbers = elements.iter().map(|text| text.as_ref().map(|text| text.len() as f64)).collect::<Float64Array>();
    let times = elements.iter().map(|text| text.as_ref().map(|text| text.len() as i64));
    let times = times.collect::<TimestampMicrosecondArray>().with_timezone("UTC");
    let present: Vec<_> = (0..elements.len()).map(|at| at % 5 != 3).collect();
    let members: Vec<(&str, ArrayRef)> =
        vec![("name", Arc::clone(&texts)), ("value", Arc::new(numbers)), ("at", Arc::new(times))];
    let fields: Fields =
        members.iter().map(|(name, array)| Field::new(*name, array.data_type().clone(), true)).collect();
    let members = members.into_iter().map(|(_, array)| array).collect();
    let structs: ArrayRef = Arc::new(StructArray::new(fields, members, Some(present.into())));
    let micros = rows.iter().map(|row| row.1).collect::<TimestampMicrosecondArray>().with_timezone("UTC");
    vec![
        ("text", true, Arc::new(rows.iter().map(|row| row.0.as_deref()).collect::<StringArray>())),
        ("int", true, Arc::new(rows.iter().map(|row| row.1).collect::<Int64Array>())),
        ("small", true, Arc::new(rows.iter().map(|row| row.1.map(|value| value as i32)).collect::<Int32Array>())),
        ("time", true, Arc::new(micros)),
        ("float", true, Arc::new(rows.iter().map(|row| row.2).collect::<Float64Array>())),
        ("bool", true, Arc::new(rows.iter().map(|row| row.3).collect::<BooleanArray>())),
        ("always", false, Arc::new(rows.iter().map(|row| Some(row.1.unwrap_or(7))).collect::<Int64Array>())),
        ("nothing", true, Arc::new(Float64Array::new_null(rows.len()))),
        ("texts", true, list(rows, texts, true)),
        ("bools", true, list(rows, bools, false)),
        ("structs", true, list(rows, structs, true)),
    ]
}

fn written(rows: &[Cells], properties: WriterProperties) -> Bytes {
    let columns = columns(rows);
    let field =
        |(name, nullable, array): &(&str, bool, ArrayRef)| Field::new(*name, array.data_type().clone(), *nullable);
    let schema = Arc::new(Schema::new(columns.iter().map(field).collect::<Vec<_>>()));
    let arrays = columns.into_iter().map(|(.., array)| array).collect();
    let batch = RecordBatch::try_new(Arc::clone(&schema), arrays).unwrap();
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, schema, Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    bytes.into()
}

fn footer(bytes: &Bytes) -> Footer {
    let end = bytes.len() - 8;
    let length = u32::from_le_bytes(bytes[end..end + 4].try_into().unwrap()) as usize;
    Footer::read(bytes.slice(end - length..end), "x").unwrap()
}

/// Each column as the decoder gives it, and as the crate does.
fn both(bytes: &Bytes) -> Vec<(Option<ArrayRef>, ArrayRef)> {
    let footer = footer(bytes);
    let metadata = arrow_metadata(&footer.bytes, "x").unwrap();
    let stored = metadata.parquet_schema().root_schema().get_fields();
    let mut decoder = Decoder::new(bytes, footer.rows as usize);
    let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
    let reader = ParquetRecordBatchReaderBuilder::try_new_with_options(bytes.clone(), options).unwrap();
    let batch = reader.with_batch_size(1 << 20).build().unwrap().next().unwrap().unwrap();
    let mut leaf = 0;
    let fields = metadata.schema().fields();
    let column = |((stored, field), expected): ((_, _), &ArrayRef)| {
        let plan = RootPlan::of(stored, field).unwrap();
        let place = |chunk: &crate::reader::footer::Chunk| {
            Some(ChunkPlace {
                codec: Codec::of(chunk.codec)?,
                start: chunk.start() as u64,
                length: chunk.compressed as u64,
                values: chunk.values as u64,
            })
        };
        let groups = &footer.groups;
        let first = leaf;
        leaf += plan.leaves();
        (decoder.root(&plan, |at| groups.iter().map(move |group| place(&group[first + at]))), Arc::clone(expected))
    };
    stored
        .iter()
        .map(|stored| &**stored)
        .zip(fields.iter().map(|field| &**field))
        .zip(batch.columns())
        .map(column)
        .collect()
}

proptest! {
    #[test]
    fn the_same_as_the_parquet_crate(
        rows in cells(), snappy in any::<bool>(), dictionary in any::<bool>(), group_rows in 1..80usize, page_rows in 1..80usize,
    ) {
        let properties = WriterProperties::builder()
            .set_compression(if snappy { Compression::SNAPPY } else { Compression::UNCOMPRESSED })
            .set_dictionary_enabled(dictionary)
            .set_max_row_group_row_count(Some(group_rows))
            .set_data_page_row_count_limit(page_rows)
            .set_write_batch_size(3);
        for (at, (quick, expected)) in both(&written(&rows, properties.build())).into_iter().enumerate() {
            let quick = quick.unwrap_or_else(|| panic!("column {at} was declined"));
            prop_assert_eq!(quick.to_data(), expected.to_data(), "column {}", at);
        }
    }

    /// A decoder that reads bytes of anybody's must not panic, nor take a length at its word.
    #[test]
    fn damage_is_declined_or_gives_a_column_of_the_same_length(rows in cells(), at in any::<proptest::sample::Index>(), bit in 0..8u8) {
        let whole = written(&rows, WriterProperties::builder().set_compression(Compression::SNAPPY).build());
        let footer_length = footer(&whole).bytes.len();
        let mut damaged = whole.to_vec();
        damaged[at.index(whole.len() - footer_length - 8)] ^= 1 << bit;
        let footer = footer(&whole);
        let metadata = arrow_metadata(&footer.bytes, "x").unwrap();
        let mut decoder = Decoder::new(&damaged, footer.rows as usize);
        let mut leaf = 0;
        for (stored, field) in metadata.parquet_schema().root_schema().get_fields().iter().zip(metadata.schema().fields()) {
            let plan = RootPlan::of(stored, field).unwrap();
            let place = |chunk: &crate::reader::footer::Chunk| {
                let (start, length, values) = (chunk.start() as u64, chunk.compressed as u64, chunk.values as u64);
                Some(ChunkPlace { codec: Codec::of(chunk.codec)?, start, length, values })
            };
            let groups = &footer.groups;
            let column = decoder.root(&plan, |at| groups.iter().map(move |group| place(&group[leaf + at])));
            prop_assert!(column.is_none_or(|column| column.len() == rows.len()));
            leaf += plan.leaves();
        }
    }
}

#[test]
fn what_it_does_not_know_is_declined() {
    let rows = vec![(Some("a".to_owned()), Some(1), Some(1.0), Some(true), Some(vec![None]))];
    let properties = WriterProperties::builder().set_writer_version(WriterVersion::PARQUET_2_0).build();
    let columns = both(&written(&rows, properties));
    assert!(columns.iter().all(|(quick, _)| quick.is_none()), "pages of version 2");
    let ints = columns[1].1.as_primitive::<arrow::datatypes::Int64Type>();
    assert_eq!(ints.value(0), 1, "and the parquet crate reads them");
}

/// Page by page a dictionary stands for little, and over all pages of a small file for gigabytes.
#[test]
fn a_dictionary_that_stands_for_too_much_text_is_declined() {
    let long = "x".repeat(100_000);
    let rows: Vec<Cells> = (0..200).map(|at| (Some(long.clone()), Some(at), None, None, None)).collect();
    let properties = WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .set_data_page_row_count_limit(20)
        .set_write_batch_size(20);
    let bytes = written(&rows, properties.build());
    assert!(bytes.len() < 100_000, "{}", bytes.len());
    let columns = both(&bytes);
    assert!(columns[0].0.is_none(), "20 MB of text");
    assert!(columns[1].0.is_some());
}
