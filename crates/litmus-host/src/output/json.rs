//! Canonical tables as JSON, row by row: keys are the canonical column names, non-finite numbers are texts.

use std::io::{self, Write};

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{
    DataType, Field, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, TimeUnit,
};
use arrow::datatypes::{TimestampMicrosecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type};
use litmus_core::tables::Kind;
use serde::de::IgnoredAny;

/// One row as an object, with every column, without `skip`. `null` where nothing stands.
pub(crate) fn write_row(out: &mut impl Write, batch: &RecordBatch, row: usize, skip: &[&str]) -> io::Result<()> {
    out.write_all(b"{")?;
    write_members(out, batch, row, skip, true)?;
    out.write_all(b"}")
}

/// The members of that object.
pub(crate) fn write_members(
    out: &mut impl Write,
    batch: &RecordBatch,
    row: usize,
    skip: &[&str],
    mut first: bool,
) -> io::Result<()> {
    for (field, column) in batch.schema_ref().fields().iter().zip(batch.columns()) {
        if skip.contains(&field.name().as_str()) {
            continue;
        }
        if !first {
            out.write_all(b",")?;
        }
        first = false;
        write_text(out, field.name())?;
        out.write_all(b":")?;
        write_value(out, field, column, row)?;
    }
    Ok(())
}

/// Text with quotes and escapes.
pub(crate) fn write_text(out: &mut impl Write, text: &str) -> io::Result<()> {
    serde_json::to_writer(out, text).map_err(io::Error::from)
}

fn write_value(out: &mut impl Write, field: &Field, column: &dyn Array, row: usize) -> io::Result<()> {
    if column.is_null(row) {
        return out.write_all(b"null");
    }
    match column.data_type() {
        DataType::Float64 => write_number(out, column.as_primitive::<Float64Type>().value(row)),
        DataType::Float32 => write_number(out, f64::from(column.as_primitive::<Float32Type>().value(row))),
        DataType::Int64 => write!(out, "{}", column.as_primitive::<Int64Type>().value(row)),
        DataType::Int32 => write!(out, "{}", column.as_primitive::<Int32Type>().value(row)),
        DataType::Int16 => write!(out, "{}", column.as_primitive::<Int16Type>().value(row)),
        DataType::Int8 => write!(out, "{}", column.as_primitive::<Int8Type>().value(row)),
        DataType::UInt64 => write!(out, "{}", column.as_primitive::<UInt64Type>().value(row)),
        DataType::UInt32 => write!(out, "{}", column.as_primitive::<UInt32Type>().value(row)),
        DataType::UInt16 => write!(out, "{}", column.as_primitive::<UInt16Type>().value(row)),
        DataType::UInt8 => write!(out, "{}", column.as_primitive::<UInt8Type>().value(row)),
        DataType::Boolean => write!(out, "{}", column.as_boolean().value(row)),
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            write_time(out, column.as_primitive::<TimestampMicrosecondType>().value(row))
        }
        DataType::Utf8 => {
            let text = column.as_string::<i32>().value(row);
            // A column of JSON goes in as it is; re-reading it as numbers could change them.
            if Kind::of(field) == Some(Kind::Json) && serde_json::from_str::<IgnoredAny>(text).is_ok() {
                out.write_all(text.as_bytes())
            } else {
                write_text(out, text)
            }
        }
        DataType::List(element) => {
            let values = column.as_list::<i32>().value(row);
            out.write_all(b"[")?;
            for at in 0..values.len() {
                if at > 0 {
                    out.write_all(b",")?;
                }
                write_value(out, element, &values, at)?;
            }
            out.write_all(b"]")
        }
        other => Err(io::Error::other(format!("column \"{}\" is {other}, which is no canonical kind", field.name()))),
    }
}

/// A value for people: text as it is, nothing for NULL, the rest as in JSON.
pub(crate) fn display(field: &Field, column: &dyn Array, row: usize) -> String {
    if column.is_null(row) {
        return String::new();
    }
    if let Some(texts) = column.as_string_opt::<i32>() {
        return texts.value(row).to_owned();
    }
    let mut text = Vec::new();
    match write_value(&mut text, field, column, row) {
        Ok(()) => String::from_utf8_lossy(&text).trim_matches('"').to_owned(),
        Err(error) => error.to_string(),
    }
}

/// Shortest digits that read back to the same bits.
fn write_number(out: &mut impl Write, number: f64) -> io::Result<()> {
    match number {
        number if number.is_finite() => serde_json::to_writer(out, &number).map_err(io::Error::from),
        number if number.is_nan() => out.write_all(b"\"NaN\""),
        number if number > 0.0 => out.write_all(b"\"Infinity\""),
        _ => out.write_all(b"\"-Infinity\""),
    }
}

/// RFC 3339, UTC; a time that no calendar holds stays a number of microseconds.
fn write_time(out: &mut impl Write, micros: i64) -> io::Result<()> {
    match jiff::Timestamp::from_microsecond(micros) {
        Ok(time) => write!(out, "\"{time}\""),
        Err(_) => write!(out, "{micros}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{BooleanArray, Float64Array, Int64Array, ListArray, StringArray, TimestampMicrosecondArray};
    use arrow::buffer::OffsetBuffer;
    use arrow::datatypes::Schema;
    use serde_json::{Value, json};
    use std::sync::Arc;

    #[test]
    fn every_kind_reads_back_and_non_finite_numbers_are_texts() {
        let floats = [1.0, 0.1 + 0.2, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.0, 5e-324];
        let rows = floats.len();
        let element = Arc::new(Field::new("item", DataType::Utf8, true));
        let offsets = OffsetBuffer::from_lengths([2, 0, 0, 0, 0, 0, 0]);
        let list = ListArray::new(element, offsets, Arc::new(StringArray::from(vec![Some("a\"b"), None])), None);
        let json_texts = StringArray::from(vec![Some("{\"big\":123456789012345678901234567890}"); rows]);
        let columns: Vec<(Field, Arc<dyn Array>)> = vec![
            (Field::new("f", DataType::Float64, true), Arc::new(Float64Array::from(floats.to_vec()))),
            (Field::new("i", DataType::Int64, true), Arc::new(Int64Array::from(vec![Some(i64::MIN); rows]))),
            (Field::new("b", DataType::Boolean, true), Arc::new(BooleanArray::from(vec![None; rows]))),
            (Field::new("l", list.data_type().clone(), true), Arc::new(list)),
            (Kind::Json.field("j"), Arc::new(json_texts)),
            (
                Kind::Timestamp.field("t"),
                Arc::new(TimestampMicrosecondArray::from(vec![1_780_000_000_123_456; rows]).with_timezone("UTC")),
            ),
        ];
        let (fields, arrays): (Vec<_>, Vec<_>) = columns.into_iter().unzip();
        let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).unwrap();
        let text = |row| {
            let mut out = Vec::new();
            write_row(&mut out, &batch, row, &["skipped"]).unwrap();
            String::from_utf8(out).unwrap()
        };
        assert_eq!(
            text(0),
            "{\"f\":1.0,\"i\":-9223372036854775808,\"b\":null,\"l\":[\"a\\\"b\",null],\
             \"j\":{\"big\":123456789012345678901234567890},\"t\":\"2026-05-28T20:26:40.123456Z\"}"
        );
        let value = |row| serde_json::from_str::<Value>(&text(row)).unwrap()["f"].clone();
        assert_eq!([value(2), value(3), value(4)], [json!("NaN"), json!("Infinity"), json!("-Infinity")]);
        for row in [1, 5, 6] {
            assert_eq!(value(row).as_f64().map(f64::to_bits), Some(floats[row].to_bits()));
        }
    }
}
