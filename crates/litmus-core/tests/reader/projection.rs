//! Files that no real release writes: every rule of the projection that the corpus cannot show.

use std::sync::Arc;

use crate::rows::{batches, rows};
use crate::written::{Columns, Layout, RUN_ID, column, flat, list, lists, nested2, texts, type_of, write};
use arrow::array::{
    ArrayRef, AsArray, BinaryArray, BooleanArray, Decimal128Array, Float64Array, Int32Array, Int64Array, RecordBatch,
    StringArray, TimestampNanosecondArray, UInt64Array,
};
use arrow::datatypes::DataType;
use litmus_core::Table;
use litmus_core::digest::Conversions;
use litmus_core::reader::RunFile;
use litmus_core::tables::Kind;
use parquet::basic::{BrotliLevel, Compression, GzipLevel, ZstdLevel};
use serde_json::{Value, json};

fn open(columns: &Columns) -> RunFile {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "x", columns, &Layout::default()).unwrap_or_else(|error| panic!("{error}"))
}

fn refused(columns: &Columns) -> String {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "x", columns, &Layout::default()).unwrap_err().to_string()
}

const FLAT: [&str; 4] = ["run", "measurement", "measurement", "step"];

fn ints(values: &[Option<i64>]) -> ArrayRef {
    Arc::new(Int64Array::from(values.to_vec()))
}

#[test]
fn a_file_that_is_no_single_run_is_refused_with_its_reason() {
    let ids = |ids: &[&str]| vec![("record_type", texts(["run", "step"])), ("run_id", texts(ids.iter().copied()))];
    let mut named = ids(&[RUN_ID, RUN_ID]);
    named.push(("measurement_name", Arc::new(StringArray::new_null(2))));
    let with_ids = |two: &[&str]| {
        let mut columns = ids(two);
        columns.push(("measurement_name", Arc::new(StringArray::new_null(2)) as ArrayRef));
        columns
    };
    assert!(refused(&ids(&[RUN_ID, RUN_ID])).contains("not a Litmus run"));
    assert!(refused(&with_ids(&[RUN_ID, "6b1c"])).contains("has two run ids"));
    assert!(refused(&with_ids(&["SN7", "SN7"])).contains("run_id \"SN7\" is not a UUID"));
    assert!(refused(&flat(&["run", "run"], vec![])).contains("has two run rows"));
    assert!(refused(&flat(&["step", "measurement"], vec![])).contains("has no run row"));
    assert!(
        refused(&flat(&["run", "trial"], vec![])).contains("row 1 is of the unknown type \"trial\"\nhint: if a newer")
    );
    assert!(refused(&nested2(&["run", "measurement"], &[0, 0], vec![])).contains("has measurement rows beside lists"));
    let mut numbered = flat(&["run"], vec![]);
    numbered[1].1 = ints(&[Some(7)]);
    assert!(refused(&numbered).contains("column \"run_id\" is Int64 where Utf8 was expected"));
}

#[test]
fn the_same_rows_have_the_same_digests_however_they_are_laid_out() {
    let mut types = vec!["run"];
    types.extend(std::iter::repeat_n("measurement", 30_000));
    types.extend(std::iter::repeat_n("step", 500));
    let count = types.len();
    let values = (0..count).map(|at| (at % 7 > 0).then_some(at as f64 / 3.0)).collect::<Float64Array>();
    let modes = (0..count).map(|at| (at % 5 > 2).then(|| format!("mode {}", at % 11))).collect::<StringArray>();
    let serials = texts((0..count).map(|_| "SN-1"));
    let extra: Columns =
        vec![("measurement_value", Arc::new(values)), ("in_mode", Arc::new(modes)), ("dut_serial", serials)];
    let columns = flat(&types, extra);
    let dir = tempfile::tempdir().unwrap();
    let layouts = [
        Layout::default(),
        Layout { row_group_rows: Some(999), ..Layout::default() },
        Layout { no_statistics: true, ..Layout::default() },
    ];
    let runs: Vec<_> = layouts.iter().map(|layout| write(dir.path(), "x", &columns, layout).unwrap()).collect();
    let digests: Vec<_> = runs.iter().map(|run| run.digests(Conversions::default()).unwrap()).collect();
    assert_eq!(digests[0], digests[1]);
    assert_eq!(digests[0], digests[2]);
    assert_eq!((digests[0]["measurements"].rows, digests[0]["steps"].rows), (30_000, 500));
    let split = batches(&runs[0], Table::Measurements);
    assert!(split.len() > 1 && split.iter().all(|batch| batch.num_rows() <= 16 << 10), "{}", split.len());
    let first = split[0].column_by_name("row_index").unwrap().as_primitive::<arrow::datatypes::Int64Type>().value(0);
    assert_eq!(first, 1);
    assert_eq!(runs[0].summary().dut_serial.as_deref(), Some("SN-1"));
}

#[test]
fn a_list_of_many_measurements_comes_in_batches() {
    let run = open(&nested2(&["run", "vector", "step"], &[0, 40_000, 3], vec![]));
    let split = batches(&run, Table::Measurements);
    assert_eq!(split.iter().map(RecordBatch::num_rows).collect::<Vec<_>>(), [16384, 16384, 7235]);
    let names = column(&run, Table::Measurements, "measurement_name");
    assert!(names.iter().enumerate().all(|(at, name)| *name == Some(format!("m{at}"))));
    let last = &rows(&run, Table::Measurements)[40_002];
    assert_eq!(
        (&last["owner"], &last["measurement_index"], &last["row_index"]),
        (&json!("step"), &json!(2), &json!(2))
    );
    assert_eq!(run.summary().measurements, 40_003);
}

#[test]
fn unknown_columns_of_any_type_pass_through() {
    let nanos = vec![None, Some(1_500), None, Some(2_000)];
    let whole = vec![None, Some(1_000), None, Some(2_000)];
    let decimals = Decimal128Array::from(vec![None, Some(12_345), None, None]).with_precision_and_scale(10, 2).unwrap();
    let structs = lists(&[0, 1, 0, 2], vec![("a", ints(&[Some(1), None, Some(3)])), ("b", texts(["x", "y", "z\"\0"]))]);
    let run = open(&flat(
        &FLAT,
        vec![
            ("big", Arc::new(UInt64Array::from(vec![None, Some(u64::MAX), Some(1), None]))),
            ("small", Arc::new(UInt64Array::from(vec![None, Some(5), None, None]))),
            ("nanos", Arc::new(TimestampNanosecondArray::from(nanos))),
            ("whole", Arc::new(TimestampNanosecondArray::from(whole).with_timezone("+02:00"))),
            ("decimal", Arc::new(decimals)),
            ("bytes", Arc::new(BinaryArray::from(vec![None, Some(&b"\x00\xff"[..]), None, None]))),
            ("numbers", list(&[0, 2, 0, 0], ints(&[Some(1), None]))),
            ("structs", structs),
            ("limit_low", Arc::new(StringArray::from(vec![None, Some("low"), None, None]))),
            ("step_vector_count", Arc::new(Int32Array::from(vec![None, None, None, Some(4)]))),
            ("nothing", Arc::new(StringArray::new_null(4))),
        ],
    ));
    let measurements = rows(&run, Table::Measurements);
    let expected = json!({
        "big": "18446744073709551615", "small": 5, "nanos": "1970-01-01T00:00:00.0000015Z", "whole": 1, "decimal": "123.45",
        "bytes": "00ff", "numbers": [1, null], "structs": [{"a": 1, "b": "x"}], "limit_low": "low",
    });
    for (name, value) in expected.as_object().unwrap() {
        assert_eq!(&measurements[0][name], value, "{name}");
    }
    assert_eq!(measurements[1]["big"], "1");
    assert_eq!(type_of(&run, Table::Measurements, "whole"), Some(Kind::Timestamp.data_type()));
    assert_eq!(type_of(&run, Table::Measurements, "nothing"), None);
    let steps = rows(&run, Table::Steps);
    assert_eq!(steps[0]["structs"], json!([{"b": "y"}, {"a": 3, "b": "z\"\0"}]));
    assert_eq!(steps[0]["step_vector_count"], 4);
    assert_eq!((type_of(&run, Table::Steps, "big"), type_of(&run, Table::Runs, "big")), (None, None));
}

#[test]
fn of_two_columns_with_one_canonical_name_both_are_kept() {
    let run = open(&flat(
        &FLAT,
        vec![
            ("uut_serial", texts(["new"; 4])),
            ("dut_serial", texts(["old"; 4])),
            ("row_index", texts(["mine"; 4])),
            ("custom_metadata", texts(["custom"; 4])),
        ],
    ));
    let runs = &rows(&run, Table::Runs)[0];
    assert_eq!(
        (&runs["dut_serial"], &runs["uut_serial"], &runs["row_index"]),
        (&json!("old"), &json!("new"), &json!(0))
    );
    assert_eq!((&runs["row_index_stored"], &runs["custom_metadata_stored"]), (&json!("mine"), &json!("custom")));
    let measurement = &rows(&run, Table::Measurements)[1];
    assert_eq!((&measurement["row_index"], &measurement["row_index_stored"]), (&json!(2), &json!("mine")));
    assert_eq!((measurement.get("dut_serial"), &measurement["uut_serial"]), (None, &json!("new")));
}

#[test]
fn a_column_of_the_run_that_varies_is_kept_where_it_differs() {
    let stations = StringArray::from(vec![Some("A"), Some("A"), None, Some("B")]);
    let operators = StringArray::from(vec![None, Some("Jo"), None, None]);
    let run = open(&flat(&FLAT, vec![("station_id", Arc::new(stations)), ("operator_id", Arc::new(operators))]));
    assert_eq!(run.summary().station_id.as_deref(), Some("A"));
    assert_eq!(rows(&run, Table::Steps)[0]["station_id"], "B");
    assert_eq!(type_of(&run, Table::Measurements, "station_id"), None);
    assert_eq!(column(&run, Table::Measurements, "operator_id"), [Some("Jo".to_owned()), None]);
    assert_eq!(type_of(&run, Table::Steps, "operator_id"), None);
}

fn values(names: &[&str], types: &[&str], members: Columns) -> Columns {
    let mut all: Columns = vec![("name", texts(names.iter().copied())), ("value_type", texts(types.iter().copied()))];
    all.extend(members);
    all
}

#[test]
fn inputs_of_mixed_kinds_become_text_that_holds_json() {
    let inputs = values(
        &["x", "x", "n", "big", "n", "list", "twice", "twice"],
        &[
            "scalar:float",
            "scalar:str",
            "scalar:int",
            "scalar:int",
            "scalar:float",
            "list",
            "scalar:bool",
            "scalar:bool",
        ],
        vec![
            ("value_int", ints(&[None, None, Some(3), Some(1 << 60), None, None, None, None])),
            (
                "value_double",
                Arc::new(Float64Array::from(vec![Some(1.5), None, None, None, Some(f64::NAN), None, None, None])),
            ),
            ("value_text", Arc::new(StringArray::from(vec![None, Some("auto"), None, None, None, None, None, None]))),
            (
                "value_json",
                Arc::new(StringArray::from(vec![
                    None,
                    None,
                    None,
                    None,
                    None,
                    Some("[1, {\"b\":2,\"a\":3}]"),
                    None,
                    None,
                ])),
            ),
            (
                "value_bool",
                Arc::new(BooleanArray::from(vec![None, None, None, None, None, None, Some(true), Some(false)])),
            ),
        ],
    );
    let run = open(&nested2(
        &["run", "vector", "vector", "step"],
        &[0, 1, 2, 1],
        vec![("inputs", lists(&[0, 1, 7, 0], inputs))],
    ));
    let vectors = batches(&run, Table::Vectors);
    assert_eq!(column(&run, Table::Vectors, "in_x"), [Some("1.5".to_owned()), Some("\"auto\"".to_owned())]);
    assert_eq!(column(&run, Table::Vectors, "in_big"), [None, Some((1i64 << 60).to_string())]);
    assert_eq!(column(&run, Table::Vectors, "in_list"), [None, Some("[1,{\"a\":3,\"b\":2}]".to_owned())]);
    let schema = vectors[0].schema();
    assert_eq!(Kind::of(schema.field_with_name("in_list").unwrap()), Some(Kind::Json));
    assert_eq!(schema.field_with_name("in_n").unwrap().data_type(), &DataType::Float64);
    let twice = vectors[0].column_by_name("in_twice").unwrap().as_boolean().clone();
    assert!(!twice.value(1), "the last of two values of one name wins");
    let n = vectors[0].column_by_name("in_n").unwrap().clone();
    assert!(n.as_primitive::<arrow::datatypes::Float64Type>().value(1).is_nan());
    let raw = &rows(&run, Table::Vectors)[1]["inputs"];
    assert_eq!(raw.as_array().unwrap().len(), 7);
    assert_eq!(raw[3], json!({"name": "n", "value_type": "scalar:float", "value_double": "NaN"}));
    let on_measurements: Vec<_> = column(&run, Table::Measurements, "in_x");
    assert_eq!(
        on_measurements.iter().map(Option::as_deref).collect::<Vec<_>>(),
        [Some("1.5"), Some("\"auto\""), Some("\"auto\""), None]
    );
    assert_eq!(type_of(&run, Table::Steps, "in_x"), None);
}

#[test]
fn footers_and_custom_values_of_nested_files_are_columns() {
    let dir = tempfile::tempdir().unwrap();
    let footer = vec![
        ("schema_version", "0.1".to_owned()),
        ("custom_metadata", json!({"order": "WO-1", "n": 3, "deep": {"b": 1, "a": 2}, "none": null}).to_string()),
        ("environment_json", "{\"nan\": NaN}".to_owned()),
        ("testerkit_version", "9.9".to_owned()),
        ("colour", "blue".to_owned()),
    ];
    let columns = nested2(&["run", "step"], &[0, 1], vec![]);
    let run = write(dir.path(), "x", &columns, &Layout { footer, ..Layout::default() }).unwrap();
    let runs = &rows(&run, Table::Runs)[0];
    assert_eq!(runs["custom_order"], "WO-1");
    assert_eq!(runs["custom_deep"], json!({"a": 2, "b": 1}));
    assert_eq!(runs["custom_n"], crate::rows::number(3.0));
    assert_eq!(runs["environment_json"], "{\"nan\": NaN}", "what is no JSON is text");
    assert_eq!(
        (&runs["schema_version"], &runs["testerkit_version"], &runs["footer_colour"]),
        (&json!("0.1"), &json!("9.9"), &json!("blue"))
    );
    assert_eq!(rows(&run, Table::Measurements)[0]["custom_order"], "WO-1");
    assert_eq!(run.summary().columns["custom_order"], "WO-1");
    assert_eq!(run.summary().columns.get("custom_metadata"), None, "documents stay out of the summary");
}

#[test]
fn members_that_are_not_known_pass_through() {
    let mut columns = nested2(&["run", "step"], &[0, 0], vec![]);
    let members: Columns =
        vec![("name", texts(["v"])), ("unit", texts(["V"])), ("sigma", Arc::new(Float64Array::from(vec![0.5])))];
    columns[3].1 = lists(&[0, 1], members);
    let uses: Columns =
        vec![("name", texts(["dmm", "psu"])), ("serial_number", texts(["1", "2"])), ("rack", ints(&[Some(4), None]))];
    columns.push(("instruments", lists(&[0, 2], uses)));
    let run = open(&columns);
    let measurement = &rows(&run, Table::Measurements)[0];
    assert_eq!(
        (&measurement["measurement_units"], &measurement["measurement_sigma"]),
        (&json!("V"), &json!(crate::rows::number(0.5)))
    );
    let instruments = rows(&run, Table::Instruments);
    assert_eq!((&instruments[0]["instrument_rack"], &instruments[1]["instrument_serial"]), (&json!(4), &json!("2")));
    let step = &rows(&run, Table::Steps)[0];
    assert_eq!(step["step_instruments_serial"], json!(["1", "2"]));
    assert_eq!(step["step_instruments_rack"], json!(["4", null]));
}

#[test]
fn parallel_lists_of_unequal_length_are_filled_up() {
    let run = open(&flat(
        &["run", "measurement"],
        vec![
            ("step_instruments_name", list(&[1, 3], texts(["a", "b", "c", "d"]))),
            ("step_instruments_model", list(&[0, 1], texts(["m"]))),
        ],
    ));
    let instruments = rows(&run, Table::Instruments);
    let picked: Vec<_> = instruments
        .iter()
        .map(|row| (row["owner"].clone(), row["instrument_name"].clone(), row.get("instrument_model").cloned()))
        .collect();
    let text = |text: &str| Value::from(text);
    assert_eq!(
        picked,
        [
            (text("run"), text("a"), None),
            (text("measurement"), text("b"), Some(text("m"))),
            (text("measurement"), text("c"), None),
            (text("measurement"), text("d"), None),
        ]
    );
}

#[test]
fn an_outcome_that_is_not_stored_is_the_worst_there_is() {
    let outcome = |outcomes: &[Option<&str>]| {
        let outcomes: ArrayRef = Arc::new(outcomes.iter().copied().collect::<StringArray>());
        let run = open(&flat(&FLAT, vec![("measurement_outcome", outcomes)]));
        assert!(run.summary().outcome_derived);
        assert_eq!(rows(&run, Table::Runs)[0]["outcome"], run.summary().outcome);
        run.summary().outcome.clone()
    };
    assert_eq!(outcome(&[None, Some("failed"), Some("errored"), Some("passed")]), "errored");
    assert_eq!(outcome(&[None, Some("aborted"), Some("failed"), Some("skipped")]), "aborted");
    assert_eq!(outcome(&[None, Some("skipped"), None, Some("skipped")]), "skipped");
    assert_eq!(outcome(&[None, Some("skipped"), None, Some("done")]), "passed");
    assert_eq!(outcome(&[None, None, None, None]), "passed");
    let listed: Columns = vec![("name", texts(["a"])), ("outcome", texts(["failed"]))];
    let mut columns = nested2(&["run", "step"], &[0, 0], vec![]);
    columns[3].1 = lists(&[0, 1], listed);
    assert_eq!(open(&columns).summary().outcome, "failed");
}

#[test]
fn a_file_reads_alike_whatever_it_is_compressed_with() {
    let dir = tempfile::tempdir().unwrap();
    let columns =
        nested2(&["run", "step", "step"], &[0, 3, 500], vec![("in_note", texts(["", "x".repeat(900).as_str(), "y"]))]);
    let digests = |name: &str, compression: Compression| {
        let layout = Layout { compression: Some(compression), ..Layout::default() };
        write(dir.path(), name, &columns, &layout).unwrap().digests(Conversions::default()).unwrap()
    };
    let plain = digests("plain", Compression::UNCOMPRESSED);
    assert_eq!(plain["measurements"].rows, 503);
    let codecs = [
        Compression::SNAPPY,
        Compression::GZIP(GzipLevel::default()),
        Compression::BROTLI(BrotliLevel::default()),
        Compression::LZ4,
        Compression::LZ4_RAW,
        Compression::ZSTD(ZstdLevel::default()),
    ];
    for codec in codecs {
        assert_eq!(digests("compressed", codec), plain, "{codec}");
    }
}
