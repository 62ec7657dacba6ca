use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, Float64Array, Int64Array, ListBuilder, StringArray, StringBuilder, TimestampMicrosecondArray,
};
use arrow::record_batch::RecordBatchIterator;
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::config::Config;
use crate::message::tests::{Parsed, any_text, parse, seen};

const RUN_ID: &str = "3f2a9c10-7b1e-4c53-9d1a-0123456789ab";

/// A measurement of a made-up run.
#[derive(Clone, Debug, Default)]
struct Row {
    name: String,
    value: Option<f64>,
    units: Option<String>,
    outcome: Option<&'static str>,
    low: Option<f64>,
    high: Option<f64>,
    path: String,
    load: Option<String>,
}

fn batch(rows: &[Row], column: &str) -> RecordBatch {
    let texts = |text: &dyn Fn(&Row) -> Option<String>| -> ArrayRef {
        Arc::new(rows.iter().map(text).collect::<StringArray>())
    };
    let floats = |number: &dyn Fn(&Row) -> Option<f64>| -> ArrayRef {
        Arc::new(rows.iter().map(number).collect::<Float64Array>())
    };
    let times =
        TimestampMicrosecondArray::from_iter_values((0..rows.len()).map(|at| 1_780_277_402_250_000 + at as i64));
    RecordBatch::try_from_iter([
        ("row_index", Arc::new(Int64Array::from_iter_values(1..=rows.len() as i64)) as ArrayRef),
        ("measurement_index", Arc::new(Int64Array::from_iter_values(rows.iter().map(|_| 0)))),
        ("measurement_timestamp", Arc::new(times.with_timezone("UTC"))),
        ("step_path", texts(&|row| Some(row.path.clone()))),
        ("measurement_name", texts(&|row| Some(row.name.clone()))),
        ("measurement_value", floats(&|row| row.value)),
        ("measurement_units", texts(&|row| row.units.clone())),
        ("measurement_outcome", texts(&|row| row.outcome.map(str::to_owned))),
        ("limit_low", floats(&|row| row.low)),
        ("limit_high", floats(&|row| row.high)),
        (column, texts(&|row| row.load.clone())),
    ])
    .unwrap()
}

fn steps(outcomes: &[Option<&str>]) -> RecordBatch {
    let mut markers = ListBuilder::new(StringBuilder::new());
    for _ in outcomes {
        markers.append_value([Some("dmm"), None]);
    }
    RecordBatch::try_from_iter([
        ("row_index", Arc::new(Int64Array::from_iter_values(100..100 + outcomes.len() as i64)) as ArrayRef),
        ("step_path", Arc::new(StringArray::from_iter_values(outcomes.iter().map(|_| "Power/rails")))),
        ("step_outcome", Arc::new(outcomes.iter().copied().collect::<StringArray>())),
        ("step_instruments_name", Arc::new(markers.finish())),
    ])
    .unwrap()
}

fn summary(serial: Option<&str>, outcome: &str, columns: serde_json::Value) -> Summary {
    let serde_json::Value::Object(columns) = columns else { panic!("an object") };
    Summary {
        run_id: RUN_ID.parse().unwrap(),
        sha256: Sha256([0xab; 32]),
        path: "runs/x.parquet".into(),
        generation: "flat".into(),
        run_started_at: Some("2026-06-01T01:30:00Z".parse().unwrap()),
        run_ended_at: Some("2026-06-01T01:30:09.5Z".parse().unwrap()),
        dut_serial: serial.map(str::to_owned),
        dut_part_number: None,
        station_id: Some("bench 7".into()),
        run_outcome: Some(outcome.into()),
        outcome: outcome.into(),
        outcome_derived: false,
        steps: 2,
        vectors: 0,
        measurements: 3,
        rows: 6,
        columns,
    }
}

fn settings(more: serde_json::Value) -> Settings {
    let mut config = json!({ "address": "tcp://h" });
    config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    Settings::try_from(serde_json::from_value::<Config>(config).unwrap()).unwrap()
}

fn described(settings: &Settings, summary: &Summary, measurements: &RecordBatch, steps: &RecordBatch) -> Vec<Parsed> {
    let open_table = |table| -> Result<TableStream, SinkError> {
        let batch = if table == Table::Steps { steps } else { measurements };
        Ok(Box::new(RecordBatchIterator::new([Ok(batch.clone())], batch.schema())))
    };
    let mut messages = Vec::new();
    let run = Told { summary, supersedes: &[Sha256([0xcd; 32])], open_table: &open_table };
    let count = Describer::new(settings).describe(&run, |message| {
        messages.push(parse(message));
        Ok(())
    });
    assert_eq!(count.unwrap(), messages.len() as u64);
    messages
}

fn rail(value: f64, outcome: &'static str) -> Row {
    Row {
        name: "rail_3v3".into(),
        value: Some(value),
        units: Some("V".into()),
        outcome: Some(outcome),
        low: Some(3.0),
        high: Some(3.6),
        path: "Power/rails".into(),
        load: Some("0.5 A".into()),
    }
}

fn msgids(messages: &[Parsed]) -> Vec<&str> {
    messages.iter().map(|message| message.msgid.as_deref().unwrap()).collect()
}

#[test]
fn a_failed_run_is_told_as_the_documentation_shows() {
    let summary = summary(
        Some("SN123"),
        "failed",
        json!({ "station_hostname": "bench-07", "custom_shift": "late", "git_commit": "9f" }),
    );
    let rows = [rail(3.3, "passed"), rail(3.71, "failed"), rail(3.31, "passed")];
    let messages =
        described(&settings(json!({})), &summary, &batch(&rows, "in_load"), &steps(&[Some("failed"), Some("passed")]));
    assert_eq!(msgids(&messages), ["measurement", "step", "run"]);
    let [measurement, step, run] = &messages[..] else { panic!() };
    for message in &messages {
        assert_eq!(
            (message.pri, message.hostname.as_deref(), message.procid.as_deref()),
            (131, Some("bench-07"), Some("3f2a9c10"))
        );
        assert_eq!((&*message.params["run_id"], &*message.params["dut_serial"]), (RUN_ID, "SN123"));
        assert_eq!((message.sd_id.as_str(), message.app_name.as_deref()), ("litmus@32473", Some("litmus")));
    }
    assert_eq!(measurement.msg, "SN123 failed: rail_3v3 = 3.71 V, limits 3.0 to 3.6");
    assert_eq!(measurement.params["msg_id"], "abababababababab-m2.0");
    assert_eq!((&*measurement.params["measurement_value"], &*measurement.params["in_load"]), ("3.71", "0.5 A"));
    assert_eq!(measurement.at_ns, Some(1_780_277_402_250_001_000), "the time of the measurement itself");
    assert_eq!(step.msg, "SN123 failed: step Power/rails");
    assert_eq!(run.msg, "SN123 failed: rail_3v3 = 3.71 V, limits 3.0 to 3.6");
    assert_eq!(run.params["msg_id"], "abababababababab-run");
    assert_eq!((&*run.params["messages"], &*run.params["failures"], &*run.params["custom_shift"]), ("3", "1", "late"));
    assert_eq!((&*run.params["supersedes"], run.params["sha256"].len()), ("cdcdcdcdcdcdcdcd", 64));
    assert!(!run.params.contains_key("git_commit"));
}

#[test]
fn detail_says_how_much_is_told() {
    let rows = [rail(3.3, "passed"), rail(3.71, "failed")];
    let (rows, steps) = (batch(&rows, "in_load"), steps(&[Some("failed"), Some("passed")]));
    let told = |detail: &str, outcome: &str| {
        let settings = settings(json!({ "detail": detail }));
        described(&settings, &summary(Some("SN1"), outcome, json!({})), &rows, &steps)
    };
    assert_eq!(msgids(&told("run", "failed")), ["run"]);
    assert_eq!(told("run", "failed")[0].msg, "SN1 failed: rail_3v3 = 3.71 V, limits 3.0 to 3.6");
    assert_eq!(told("run", "passed")[0].msg, "SN1 passed: 3 measurements, 2 steps");
    assert_eq!(msgids(&told("failures", "failed")), ["measurement", "step", "run"]);
    assert_eq!(msgids(&told("measurements", "failed")), ["measurement", "measurement", "step", "step", "run"]);
    let severities: Vec<_> = told("measurements", "failed").iter().map(|message| message.pri % 8).collect();
    assert_eq!(severities, [6, 3, 3, 6, 3]);
}

#[test]
fn a_passed_run_with_detail_run_is_told_without_its_rows() {
    let open_table = |table| -> Result<TableStream, SinkError> { Err(SinkError::data(format!("{table} was opened"))) };
    let summary = summary(None, "passed", json!({}));
    let settings = settings(json!({ "detail": "run" }));
    let mut msg = String::new();
    let run = Told { summary: &summary, supersedes: &[], open_table: &open_table };
    let count = Describer::new(&settings).describe(&run, |message| {
        let message = parse(message);
        assert_eq!((message.hostname.as_deref(), message.params.get("supersedes")), (Some("bench_7"), None));
        msg = message.msg;
        Ok(())
    });
    assert_eq!((count.unwrap(), msg.as_str()), (1, "run 3f2a9c10 passed: 3 measurements, 2 steps"));
}

#[test]
fn the_message_of_a_run_names_three_failures_and_counts_the_rest() {
    let rows: Vec<_> =
        (0..5).map(|at| Row { name: format!("m{at}"), value: None, low: None, ..rail(0.0, "errored") }).collect();
    let messages = described(
        &settings(json!({})),
        &summary(Some("SN1"), "errored", json!({})),
        &batch(&rows, "in_x"),
        &steps(&[]),
    );
    let run = messages.last().unwrap();
    assert_eq!(
        run.msg,
        "SN1 errored: m0 = no value V, upper limit 3.6; m1 = no value V, upper limit 3.6; m2 = no value V, upper limit 3.6; and 2 more"
    );
    assert_eq!((run.pri % 8, &*run.params["failures"]), (2, "5"));
}

#[test]
fn columns_and_vocabulary_are_those_that_were_set() {
    let settings = settings(json!({
        "columns": ["step_instruments_name", "dut_pin"], "vocabulary": "testerkit", "detail": "measurements",
        "hostname": "gateway", "facility": "local3", "app_name": "eol", "enterprise_number": 4_294_967_295u32,
        "severity": { "passed": "debug" },
    }));
    let rows = batch(&[Row { load: Some("J1.1".into()), ..rail(3.3, "passed") }], "dut_pin");
    let messages = described(
        &settings,
        &summary(Some("SN1"), "passed", json!({ "product_id": "psu" })),
        &rows,
        &steps(&[Some("passed")]),
    );
    let [measurement, step, run] = &messages[..] else { panic!() };
    assert_eq!((measurement.pri, measurement.sd_id.as_str()), (19 * 8 + 7, "litmus@4294967295"));
    assert_eq!((measurement.hostname.as_deref(), measurement.app_name.as_deref()), (Some("gateway"), Some("eol")));
    assert_eq!((&*measurement.params["uut_pin"], &*measurement.params["measurement_unit"]), ("J1.1", "V"));
    assert_eq!((&*step.params["step_instruments_name"], &*step.params["uut_serial_number"]), ("[\"dmm\",null]", "SN1"));
    assert_eq!(run.params["part_id"], "psu");
}

#[test]
fn a_column_of_another_type_is_named() {
    let batch =
        RecordBatch::try_from_iter([("row_index", Arc::new(StringArray::from(vec!["1"])) as ArrayRef)]).unwrap();
    let open_table = |_| -> Result<TableStream, SinkError> {
        Ok(Box::new(RecordBatchIterator::new([Ok(batch.clone())], batch.schema())))
    };
    let (settings, summary) = (settings(json!({})), summary(None, "passed", json!({})));
    let run = Told { summary: &summary, supersedes: &[], open_table: &open_table };
    let error = Describer::new(&settings).describe(&run, |_| Ok(())).unwrap_err();
    assert_eq!(error.to_string(), "column \"row_index\" is Utf8 where Int64 was expected");
}

prop_compose! {
    fn any_row()(
        name in any_text(),
        value in any::<Option<f64>>(),
        units in prop::option::of(any_text()),
        outcome in prop::sample::select(vec![None, Some("passed"), Some("failed"), Some("errored")]),
        low in any::<Option<f64>>(),
        high in any::<Option<f64>>(),
        path in any_text(),
        load in prop::option::of(any_text()),
    ) -> Row {
        Row { name, value, units, outcome, low, high, path, load }
    }
}

fn number(value: f64) -> String {
    match value {
        value if value.is_nan() => "NaN".into(),
        value if value.is_infinite() => {
            if value > 0.0 {
                "Infinity".into()
            } else {
                "-Infinity".into()
            }
        }
        value => format!("{}", value.to_bits()),
    }
}

/// Numbers compare by their bits, other values as texts.
fn comparable(mut params: BTreeMap<String, String>) -> BTreeMap<String, String> {
    for name in ["measurement_value", "limit_low", "limit_high"] {
        if let Some(text) = params.get_mut(name) {
            *text = text.parse::<f64>().map_or_else(|_| text.clone(), number);
        }
    }
    params
}

proptest! {
    #[test]
    fn two_parsers_get_every_measurement_back(
        rows in prop::collection::vec(any_row(), 0..6),
        serial in prop::option::of(any_text()),
        column in any_text(),
        custom in any_text(),
    ) {
        let settings = settings(json!({ "detail": "measurements", "max_message_bytes": 1 << 20 }));
        let column = format!("in_{column}");
        let summary = summary(serial.as_deref(), "failed", json!({ "custom_x": custom, "station_hostname": custom }));
        let messages = described(&settings, &summary, &batch(&rows, &column), &steps(&[Some("passed")]));
        prop_assert_eq!(messages.len(), rows.len() + 2);
        for (at, (row, message)) in rows.iter().zip(&messages).enumerate() {
            let mut expected = BTreeMap::from([
                ("run_id".to_owned(), RUN_ID.to_owned()),
                ("msg_id".to_owned(), format!("abababababababab-m{}.0", at + 1)),
                ("station_id".to_owned(), "bench 7".to_owned()),
                ("measurement_name".to_owned(), seen(&row.name)),
                ("step_path".to_owned(), seen(&row.path)),
            ]);
            let texts = [("dut_serial", &serial), ("measurement_units", &row.units), (&*text::sd_name(&column), &row.load)];
            expected.extend(texts.iter().filter_map(|(name, value)| Some(((*name).to_owned(), seen(value.as_deref()?)))));
            let numbers = [("measurement_value", row.value), ("limit_low", row.low), ("limit_high", row.high)];
            expected.extend(numbers.iter().filter_map(|(name, value)| Some(((*name).to_owned(), number((*value)?)))));
            expected.extend(row.outcome.map(|outcome| ("measurement_outcome".to_owned(), outcome.to_owned())));
            prop_assert_eq!(comparable(message.params.clone()), expected);
        }
        prop_assert_eq!(&messages.last().unwrap().params["custom_x"], &seen(&custom));
    }
}

#[test]
fn no_column_of_a_file_passes_for_a_value_of_the_message() {
    let settings = settings(json!({ "columns": ["*"] }));
    for column in ["msg_id", "truncated", "messages", "failures", "supersedes", "dut_serial", "step_retry"] {
        let summary = summary(Some("SN123"), "failed", json!({ column: "forged" }));
        let rows = [Row { load: Some("forged".into()), ..rail(3.71, "failed") }];
        for message in described(&settings, &summary, &batch(&rows, column), &steps(&[Some("failed")])) {
            let kind = message.msgid.as_deref().unwrap();
            assert!(message.params["msg_id"].starts_with("abababababababab-"), "{kind} {column}: {message:?}");
            assert_eq!(message.params["dut_serial"], "SN123", "{kind} {column}");
            assert_eq!(message.params.get("truncated"), None, "{kind} {column}");
            if kind == "run" {
                assert_eq!((&message.params["messages"][..], &message.params["failures"][..]), ("3", "1"), "{column}");
                assert_eq!(message.params["supersedes"], "cdcdcdcdcdcdcdcd", "{column}");
            }
            // It is not lost either.
            let forged = message.params.iter().filter(|(_, value)| *value == "forged").count();
            assert_eq!(forged, usize::from(kind != "step"), "{kind} {column}: {message:?}");
        }
    }
}
