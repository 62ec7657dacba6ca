use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Float64Array, Int64Array, ListArray, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{Field, Schema};
use proptest::prelude::*;

use super::*;
use crate::tables::Kind;

fn row(cells: &[(&str, Cell<'_>)]) -> String {
    let mut digester = RowDigester::default();
    digester.row(cells.iter().cloned());
    digester.finish().digest.to_string()
}

/// Known answers, computed by `docs/digest.py` from the text of docs/digest.md with the `blake3` package of PyPI.
#[test]
fn known_answers() {
    let mut all = RowDigester::default();
    for (cells, answer) in known() {
        assert_eq!(row(&cells), answer, "{cells:?}");
        all.row(cells);
    }
    assert_eq!(all.finish().digest.to_string(), KNOWN_SUM);
}

type Row = Vec<(&'static str, Cell<'static>)>;

fn known() -> Vec<(Row, &'static str)> {
    use Cell::{Bool, Float, Int, Json, List, Text, Timestamp};
    vec![
        (vec![], "af1349b9f5f9a1a6a0404dea36dcc949"),
        (vec![("run_id", Text("b36a632b-4a7e-4af9-9682-d62ca6210f5b")), ("row_index", Int(7))], KNOWN[0]),
        (vec![("measurement_value", Float(3.3)), ("measurement_units", Text("µA"))], KNOWN[1]),
        (vec![("a", Float(f64::NAN)), ("b", Float(f64::INFINITY)), ("c", Float(-0.0)), ("d", Float(1e300))], KNOWN[2]),
        (vec![("t", Timestamp(1_795_471_456_227_146)), ("ok", Bool(true)), ("no", Bool(false))], KNOWN[3]),
        (vec![("j", Json(r#"{"b": [1, 2.0, null, true, "x"], "a": {"é": -0.0, "big": 1e300}}"#))], KNOWN[4]),
        (
            vec![("l", List(vec![Some(Text("dmm")), None, Some(Text(""))])), ("m", List(vec![Some(Bool(true))]))],
            KNOWN[5],
        ),
        (vec![("j", Json(r#"{"nan": NaN}"#)), ("n", Json("[1, 1e999]"))], KNOWN[6]),
    ]
}

const KNOWN: [&str; 7] = [
    "ca2f66be45c3f2ac365c73b8e32f5010",
    "c039fc913070d5ea40fbd11f2a1d17bc",
    "00aada3533c5131544183bd2498f17b8",
    "ef2c54bf437e66d050fe9ff6d72c97b4",
    "d676de3c6cbefec302b6a647e9a0e02c",
    "61d5693819a832c13d2b06857218cf8d",
    "b4a7c633bdae20aa103fcb117223bf47",
];
const KNOWN_SUM: &str = "1647e9a627873650fcd0e66a32c24f81";

#[test]
fn equal_numbers_count_alike_and_different_ones_do_not() {
    let number = |cell| row(&[("x", cell)]);
    assert_eq!(number(Cell::Int(5)), number(Cell::Float(5.0)));
    assert_eq!(number(Cell::Float(0.0)), number(Cell::Float(-0.0)));
    assert_eq!(number(Cell::Float(f64::NAN)), number(Cell::Float(f64::from_bits(0xfff8_0000_0000_0001))));
    assert_eq!(number(Cell::Int(i64::MIN)), number(Cell::Float(-9_223_372_036_854_775_808.0)));
    assert_ne!(number(Cell::Int(i64::MAX)), number(Cell::Float(9_223_372_036_854_775_808.0)));
    assert_ne!(number(Cell::Int(1)), number(Cell::Bool(true)));
    assert_ne!(number(Cell::Int(1)), number(Cell::Timestamp(1)));
    assert_ne!(number(Cell::Text("1")), number(Cell::Int(1)));
}

#[test]
fn json_counts_by_value_and_text_that_is_no_json_counts_as_text() {
    let json = |text| row(&[("x", Cell::Json(text))]);
    assert_eq!(json(r#"{"a":1,"b":[1e2, "é"]}"#), json(r#"{ "b" : [100, "\u00e9"], "a" : 1.0 }"#));
    assert_eq!(json(r#"{"a":1,"a":2}"#), json(r#"{"a":2}"#), "the last of two equal keys wins, as in jsonb");
    assert_ne!(json("[1,2]"), json("[2,1]"));
    assert_ne!(json(r#""x""#), row(&[("x", Cell::Text("x"))]));
    assert_eq!(json("{oops"), row(&[("x", Cell::Text("{oops"))]));
}

#[test]
fn a_name_does_not_run_into_its_value_nor_one_cell_into_the_next() {
    assert_ne!(row(&[("ab", Cell::Text("c"))]), row(&[("a", Cell::Text("bc"))]));
    assert_ne!(row(&[("a", Cell::Text("b")), ("c", Cell::Text("d"))]), row(&[("a", Cell::Text("bcd"))]));
    let list = |texts: &[&'static str]| Cell::List(texts.iter().map(|text| Some(Cell::Text(text))).collect());
    assert_ne!(row(&[("a", list(&["xy"]))]), row(&[("a", list(&["x", "y"]))]));
}

#[test]
fn conversions_are_known_by_name() {
    assert_eq!(Conversions::from_names([]), Ok(Conversions::default()));
    assert_eq!(Conversions::from_names(["nul_to_replacement"]), Ok(Conversions { nul_to_replacement: true }));
    assert!(Conversions::from_names(["rot13"]).unwrap_err().contains("\"rot13\" is not a conversion"));
}

/// One generated row over one column of each kind.
#[derive(Clone, Debug)]
struct Generated {
    text: Option<String>,
    int: Option<i64>,
    float: Option<f64>,
    bool: Option<bool>,
    timestamp: Option<i64>,
    json: Option<String>,
    texts: Option<Vec<Option<String>>>,
    bools: Option<Vec<Option<bool>>>,
}

fn generated() -> impl Strategy<Value = Generated> {
    let text = || prop_oneof![".{0,9}", Just("a\0b".to_owned())];
    let json = prop_oneof![text().prop_map(|text| serde_json::json!({ "k": [text, null, 1.5] }).to_string()), text()];
    (
        proptest::option::of(text()),
        any::<Option<i64>>(),
        proptest::option::of(proptest::num::f64::ANY),
        any::<Option<bool>>(),
        any::<Option<i64>>(),
        proptest::option::of(json),
        proptest::option::of(proptest::collection::vec(proptest::option::of(text()), 0..4)),
        any::<Option<Vec<Option<bool>>>>(),
    )
        .prop_map(|(text, int, float, bool, timestamp, json, texts, bools)| Generated {
            text,
            int,
            float,
            bool,
            timestamp,
            json,
            texts,
            bools,
        })
}

fn list_of<T>(rows: &[Generated], pick: impl Fn(&Generated) -> Option<&Vec<T>>, values: ArrayRef) -> ArrayRef {
    let lengths = rows.iter().map(|row| pick(row).map_or(0, Vec::len));
    let nulls = rows.iter().map(|row| pick(row).is_some()).collect::<Vec<_>>().into();
    let field = Arc::new(Field::new_list_field(values.data_type().clone(), true));
    Arc::new(ListArray::new(field, OffsetBuffer::from_lengths(lengths), values, Some(nulls)))
}

fn batch(rows: &[Generated]) -> RecordBatch {
    let texts: StringArray = rows.iter().filter_map(|row| row.texts.as_ref()).flatten().map(Option::as_deref).collect();
    let bools: BooleanArray = rows.iter().filter_map(|row| row.bools.as_ref()).flatten().copied().collect();
    let micros: TimestampMicrosecondArray = rows.iter().map(|row| row.timestamp).collect();
    let columns: Vec<(&str, Kind, ArrayRef)> = vec![
        ("z_text", Kind::Text, Arc::new(rows.iter().map(|row| row.text.as_deref()).collect::<StringArray>())),
        ("int", Kind::Int, Arc::new(rows.iter().map(|row| row.int).collect::<Int64Array>())),
        ("float", Kind::Float, Arc::new(rows.iter().map(|row| row.float).collect::<Float64Array>())),
        ("bool", Kind::Bool, Arc::new(rows.iter().map(|row| row.bool).collect::<BooleanArray>())),
        ("timestamp", Kind::Timestamp, Arc::new(micros.with_timezone("UTC"))),
        ("json", Kind::Json, Arc::new(rows.iter().map(|row| row.json.as_deref()).collect::<StringArray>())),
        ("texts", Kind::TextList, list_of(rows, |row| row.texts.as_ref(), Arc::new(texts))),
        ("bools", Kind::BoolList, list_of(rows, |row| row.bools.as_ref(), Arc::new(bools))),
    ];
    let schema = Schema::new(columns.iter().map(|(name, kind, _)| kind.field(name)).collect::<Vec<_>>());
    RecordBatch::try_new(Arc::new(schema), columns.into_iter().map(|(_, _, array)| array).collect()).unwrap()
}

fn cells(row: &Generated) -> Vec<(&str, Cell<'_>)> {
    let cells = [
        ("float", row.float.map(Cell::Float)),
        ("int", row.int.map(Cell::Int)),
        ("z_text", row.text.as_deref().map(Cell::Text)),
        ("bool", row.bool.map(Cell::Bool)),
        ("timestamp", row.timestamp.map(Cell::Timestamp)),
        ("json", row.json.as_deref().map(Cell::Json)),
        (
            "texts",
            row.texts
                .as_ref()
                .map(|list| Cell::List(list.iter().map(|text| text.as_deref().map(Cell::Text)).collect())),
        ),
        ("bools", row.bools.as_ref().map(|list| Cell::List(list.iter().map(|b| b.map(Cell::Bool)).collect()))),
    ];
    cells.into_iter().filter_map(|(name, cell)| Some((name, cell?))).collect()
}

fn of_batches(batches: &[RecordBatch], conversions: Conversions) -> TableDigest {
    let mut digester = BatchDigester::new(&batch(&[]).schema(), conversions);
    for batch in batches {
        digester.batch(batch);
    }
    digester.finish()
}

proptest! {
    #[test]
    fn batches_and_rows_agree_in_any_order_and_any_split(
        rows in proptest::collection::vec(generated(), 0..8), at in any::<proptest::sample::Index>(),
    ) {
        let whole = of_batches(&[batch(&rows)], Conversions::default());
        let (head, tail) = rows.split_at(if rows.is_empty() { 0 } else { at.index(rows.len()) });
        prop_assert_eq!(whole, of_batches(&[batch(tail), batch(head)], Conversions::default()));
        // A slice has offsets of its own; it must count like a batch built anew.
        let sliced = batch(&rows).slice(head.len(), tail.len());
        prop_assert_eq!(of_batches(&[sliced], Conversions::default()), of_batches(&[batch(tail)], Conversions::default()));
        let mut digester = RowDigester::default();
        rows.iter().rev().for_each(|row| digester.row(cells(row)));
        prop_assert_eq!(whole, digester.finish());
        prop_assert_eq!(whole.rows, rows.len() as u64);
    }

    #[test]
    fn a_changed_cell_changes_the_digest(row in generated(), text in ".{0,4}") {
        prop_assume!(row.text.as_deref() != Some(&text));
        let changed = Generated { text: Some(text), ..row.clone() };
        let digest = |row: &Generated| of_batches(&[batch(std::slice::from_ref(row))], Conversions::default());
        prop_assert_ne!(digest(&row), digest(&changed));
        let moved = Generated { int: row.timestamp, timestamp: row.int, ..row.clone() };
        prop_assert_eq!(row.int == row.timestamp, digest(&row) == digest(&moved));
    }

    #[test]
    fn a_conversion_gives_the_digest_of_the_converted_rows(row in generated()) {
        let convert = |text: &String| text.replace('\0', "\u{fffd}");
        let converted = Generated {
            text: row.text.as_ref().map(convert),
            json: row.json.as_ref().map(|text| text.replace("\\u0000", "\u{fffd}").replace('\0', "\u{fffd}")),
            texts: row.texts.as_ref().map(|list| list.iter().map(|text| text.as_ref().map(convert)).collect()),
            ..row.clone()
        };
        let conversions = Conversions { nul_to_replacement: true };
        prop_assert_eq!(of_batches(&[batch(&[row])], conversions), of_batches(&[batch(&[converted])], Conversions::default()));
    }
}

#[test]
fn a_digest_prints_as_hex_and_comes_back() {
    let digest = TableDigest { rows: 3, digest: Digest(0x1f) };
    let text = serde_json::to_string(&digest).unwrap();
    assert_eq!(text, r#"{"rows":3,"digest":"0000000000000000000000000000001f"}"#);
    assert_eq!(serde_json::from_str::<TableDigest>(&text).unwrap(), digest);
}
