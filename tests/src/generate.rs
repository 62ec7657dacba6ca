//! Generated run files in the flat generation: litmus-test 0.1.3's columns, dynamic `in_*` and `out_*`, instrument lists
//! and footers as large as real ones. From a seed, so that a test knows what it wrote without reading it back.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Float64Array, Int32Array, Int64Array, ListBuilder, StringArray, StringBuilder,
    TimestampMicrosecondArray,
};
use arrow::record_batch::RecordBatch;
use parquet::file::metadata::KeyValue;

use crate::database::Measurement;
use crate::rewrite;

/// 2026-03-01T06:00:00Z, in microseconds.
const EPOCH_US: i64 = 1_772_344_800_000_000;
/// From one measurement to the next.
const SPACING_US: i64 = 250_000;

const STEPS: [(&str, &str, f64); 8] = [
    ("test_power_up", "V", 12.0),
    ("test_rail_3v3", "V", 3.3),
    ("test_rail_5v", "V", 5.0),
    ("test_rail_12v", "V", 12.0),
    ("test_efficiency", "%", 91.0),
    ("test_ripple", "mV", 18.0),
    ("test_load_transient", "mV", 85.0),
    ("test_thermal", "°C", 41.0),
];

/// Text columns that hold the same on every row of a scope.
const CONSTANTS: &[(&str, Scope, &str)] = &[
    ("slot_id", Scope::All, "slot_1"),
    ("operator_id", Scope::All, "op01"),
    ("operator_name", Scope::All, "B. Chen"),
    ("dut_part_number", Scope::All, "PSU-0042-B"),
    ("dut_revision", Scope::All, "B"),
    ("dut_lot_number", Scope::All, "LOT0001"),
    ("product_id", Scope::All, "psu_24v"),
    ("product_name", Scope::All, "24V Power Supply"),
    ("product_revision", Scope::All, "rev-b"),
    ("station_id", Scope::All, "station_01"),
    ("station_name", Scope::All, "EOL Bench 1"),
    ("station_type", Scope::All, "eol_bench"),
    ("station_location", Scope::All, "Building 7, line 3"),
    ("station_hostname", Scope::All, "bench-01"),
    ("fixture_id", Scope::All, "fix_psu_01"),
    ("test_phase", Scope::All, "production"),
    ("project_name", Scope::All, "psu_24v_eol"),
    ("git_commit", Scope::All, "9f3b2c1d4e5f60718293a4b5c6d7e8f901234567"),
    ("git_branch", Scope::All, "main"),
    ("git_remote", Scope::All, "git@example:hw/psu.git"),
    ("python_version", Scope::All, "3.12.1"),
    ("litmus_version", Scope::All, "0.1.3"),
    ("env_fingerprint", Scope::All, "b1946ac92492d2347c6235b4d2611184"),
    ("step_module", Scope::Steps, "tests.test_power"),
    ("step_file", Scope::Steps, "tests/test_power.py"),
    ("step_class", Scope::Steps, "TestPower"),
    ("step_markers", Scope::Steps, "litmus_limits,litmus_sweeps"),
    ("limit_comparator", Scope::Measurements, "GELE"),
    ("characteristic_id", Scope::Measurements, "C-001"),
    ("spec_ref", Scope::Measurements, "DS rev B §7.1"),
    ("dut_pin", Scope::Measurements, "J1.1"),
    ("fixture_connection", Scope::Measurements, "tp_1"),
    ("instrument_name", Scope::Measurements, "dmm"),
    ("instrument_resource", Scope::Measurements, "TCPIP0::192.0.2.11::INSTR"),
    ("instrument_channel", Scope::Measurements, "101"),
];

/// The two instruments of every step, field by field.
const INSTRUMENTS: &[(&str, [&str; 2])] = &[
    ("name", ["dmm", "psu"]),
    ("id", ["dmm_01", "psu_01"]),
    ("driver", ["drivers.Keysight34465A", "drivers.RigolDP832"]),
    ("resource", ["TCPIP0::192.0.2.11::INSTR", "TCPIP0::192.0.2.12::INSTR"]),
    ("protocol", ["visa", "visa"]),
    ("manufacturer", ["Keysight", "Rigol"]),
    ("model", ["34465A", "DP832"]),
    ("serial", ["MY5400001", "DP8C0001"]),
    ("firmware", ["A.03.01", "00.01.16"]),
    ("cal_due", ["2027-01-31", "2026-12-31"]),
    ("cal_last", ["2026-01-31", "2025-12-31"]),
    ("cal_certificate", ["C-1001", "C-1002"]),
    ("cal_lab", ["Lab A", "Lab A"]),
];

/// What to generate.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Gives the run its id, serial, time and place.
    pub number: u64,
    /// How many measurements.
    pub measurements: usize,
    /// Sealed as `aborted`, without an end: what is replaced later.
    pub aborted: bool,
    /// Other values for the same run.
    pub revision: u64,
    /// Text that hardly compresses, in the output `trace` of every measurement: what makes a file large.
    pub trace_bytes: usize,
    /// Sizes of files that lie beside the run, and that measurements refer to.
    pub attachments: Vec<u64>,
}

impl Plan {
    /// A finished run.
    pub fn new(number: u64, measurements: usize) -> Self {
        Self { number, measurements, aborted: false, revision: 0, trace_bytes: 0, attachments: Vec::new() }
    }
}

/// What was generated.
#[derive(Clone, Debug, PartialEq)]
pub struct Generated {
    /// Lower-case and hyphenated.
    pub run_id: String,
    /// Of the unit under test.
    pub serial: String,
    /// Relative to the data dir.
    pub path: PathBuf,
    /// `passed`, `failed` or `aborted`.
    pub outcome: &'static str,
    /// What a destination must hold, sorted.
    pub measurements: Vec<Measurement>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Scope {
    All,
    Steps,
    Measurements,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Run,
    Measurement,
    Step,
}

#[derive(Clone, Copy)]
struct Row {
    kind: Kind,
    step: usize,
    index: i64,
    at_us: i64,
    value: f64,
}

impl Row {
    fn is_in(&self, scope: Scope) -> bool {
        match scope {
            Scope::All => true,
            Scope::Steps => self.kind != Kind::Run,
            Scope::Measurements => self.kind == Kind::Measurement,
        }
    }

    fn limits(&self) -> (f64, f64) {
        (STEPS[self.step].2 * 0.95, STEPS[self.step].2 * 1.05)
    }

    fn outcome(&self) -> &'static str {
        let (low, high) = self.limits();
        if (low..=high).contains(&self.value) { "passed" } else { "failed" }
    }

    fn measurement_name(&self) -> String {
        format!("{}_{}", &STEPS[self.step].0[5..], self.index)
    }

    fn step_path(&self) -> String {
        if self.kind == Kind::Run { String::new() } else { format!("TestPower/{}", STEPS[self.step].0) }
    }
}

/// Writes one run file below a data dir.
pub fn write(data_dir: &Path, plan: &Plan) -> Generated {
    let mut rng = fastrand::Rng::with_seed(42 + plan.number);
    let uuid = |rng: &mut fastrand::Rng| {
        let mut bytes = [0; 16];
        rng.fill(&mut bytes);
        uuid::Builder::from_random_bytes(bytes).into_uuid().to_string()
    };
    let (run_id, session_id) = (uuid(&mut rng), uuid(&mut rng));
    let serial = format!("SN{:06}", 100_000 + plan.number);
    let started_us = EPOCH_US + plan.number as i64 * 173_000_000;
    let mut rng = fastrand::Rng::with_seed(1 + plan.number + (plan.revision << 32));
    let rows = rows(plan, started_us, &mut rng);

    let failed = |row: &Row| row.kind == Kind::Measurement && row.outcome() == "failed";
    let outcome = match plan.aborted {
        true => "aborted",
        false if rows.iter().any(failed) => "failed",
        false => "passed",
    };
    let ended_us = (!plan.aborted).then_some(started_us + plan.measurements as i64 * SPACING_US + 2_000_000);
    let batch = batch(
        &rows,
        plan,
        &Identity { run_id: &run_id, session_id: &session_id, serial: &serial, outcome, started_us, ended_us },
    );

    let started = jiff::Timestamp::from_microsecond(started_us).expect("a time of our days");
    let path =
        PathBuf::from(started.strftime("runs/%Y-%m-%d/%Y%m%dT%H%M%SZ").to_string() + &format!("_{serial}.parquet"));
    // First what the run refers to, then the run, as the platform does.
    let folder = data_dir.join(&path).with_extension("").to_string_lossy().into_owned() + "_ref";
    for (at, bytes) in plan.attachments.iter().enumerate() {
        fs::create_dir_all(&folder).expect("a folder");
        let mut file = File::create(Path::new(&folder).join(attachment(at))).expect("a file");
        let noise = noise(at as u64);
        (0..bytes.div_ceil(NOISE_BYTES as u64)).for_each(|_| file.write_all(noise.as_bytes()).expect("room"));
        file.set_len(*bytes).expect("room");
    }
    rewrite::write(&data_dir.join(&path), [batch], footer(&rows));

    let mut measurements: Vec<_> = rows.iter().filter(|row| row.is_in(Scope::Measurements)).map(expected).collect();
    measurements.sort();
    Generated { run_id, serial, path, outcome, measurements }
}

fn rows(plan: &Plan, started_us: i64, rng: &mut fastrand::Rng) -> Vec<Row> {
    let per_step = (plan.measurements / STEPS.len()).max(1);
    let mut rows = vec![Row { kind: Kind::Run, step: 0, index: 0, at_us: started_us, value: 0.0 }];
    for at in 0..plan.measurements {
        let step = (at / per_step).min(STEPS.len() - 1);
        // Three uniform numbers make nearly a normal one; one in a thousand falls out of its limits.
        let noise: f64 = (0..3).map(|_| rng.f64() - 0.5).sum::<f64>() * 0.03;
        let far = if rng.u32(..1000) == 0 { 1.08 } else { 1.0 };
        let value = STEPS[step].2 * (1.0 + noise) * far;
        let at_us = started_us + at as i64 * SPACING_US;
        rows.push(Row { kind: Kind::Measurement, step, index: (at % per_step) as i64, at_us, value });
    }
    rows.extend((0..STEPS.len()).map(|step| {
        let at_us = started_us + (step * per_step) as i64 * SPACING_US;
        Row { kind: Kind::Step, step, index: 0, at_us, value: 0.0 }
    }));
    rows
}

fn expected(row: &Row) -> Measurement {
    let (low, high) = row.limits();
    Measurement {
        step_path: Some(row.step_path()),
        name: Some(row.measurement_name()),
        value: Some(Measurement::bits(row.value)),
        units: Some(STEPS[row.step].1.to_owned()),
        outcome: Some(row.outcome().to_owned()),
        limit_low: Some(Measurement::bits(low)),
        limit_high: Some(Measurement::bits(high)),
        limit_nominal: Some(Measurement::bits(STEPS[row.step].2)),
        limit_comparator: Some("GELE".to_owned()),
    }
}

struct Identity<'a> {
    run_id: &'a str,
    session_id: &'a str,
    serial: &'a str,
    outcome: &'a str,
    started_us: i64,
    ended_us: Option<i64>,
}

/// How much of it there is, before it repeats.
const NOISE_BYTES: usize = 1 << 20;

/// Text that Snappy finds nothing in: it looks no further back than 64 KiB.
fn noise(seed: u64) -> String {
    let mut rng = fastrand::Rng::with_seed(seed);
    (0..NOISE_BYTES).map(|_| rng.alphanumeric()).collect()
}

/// The name of a file beside the run.
fn attachment(at: usize) -> String {
    format!("capture-{at}.bin")
}

fn batch(rows: &[Row], plan: &Plan, run: &Identity<'_>) -> RecordBatch {
    use Scope::{All, Measurements, Steps};
    let mut columns: Vec<(String, ArrayRef)> = Vec::new();
    let mut add = |name: &str, array: ArrayRef| columns.push((name.to_owned(), array));

    let kind = |row: &Row| match row.kind {
        Kind::Run => "run".to_owned(),
        Kind::Measurement => "measurement".to_owned(),
        Kind::Step => "step".to_owned(),
    };
    add("record_type", texts(rows, All, kind));
    for (name, value) in [
        ("session_id", run.session_id),
        ("run_id", run.run_id),
        ("dut_serial", run.serial),
        ("run_outcome", run.outcome),
    ] {
        add(name, texts(rows, All, |_| value.to_owned()));
    }
    for (name, scope, value) in CONSTANTS {
        add(name, texts(rows, *scope, |_| (*value).to_owned()));
    }
    add("run_started_at", times(rows, All, |_| Some(run.started_us)));
    add("run_ended_at", times(rows, All, |_| run.ended_us));

    add("step_name", texts(rows, All, |row| row.step_path().replace("TestPower/", "")));
    add("step_path", texts(rows, All, Row::step_path));
    add("parent_path", texts(rows, All, |row| if row.kind == Kind::Run { "" } else { "TestPower" }.to_owned()));
    add("step_index", integers(rows, All, |row| row.step as i64));
    add("step_started_at", times(rows, Steps, |row| Some(row.at_us)));
    add("step_ended_at", times(rows, Steps, |row| Some(row.at_us + SPACING_US)));
    add("step_node_id", texts(rows, Steps, |row| format!("tests/test_power.py::{}[{}]", row.step_path(), row.index)));
    add("step_function", texts(rows, Steps, |row| STEPS[row.step].0.to_owned()));
    add("step_outcome", texts(rows, Steps, |_| "passed".to_owned()));
    let count: Int32Array =
        rows.iter().map(|row| row.is_in(Steps).then_some((rows.len() / STEPS.len()) as i32)).collect();
    add("step_vector_count", Arc::new(count));
    add("vector_index", integers(rows, All, |row| row.index));
    add("vector_retry", integers(rows, Steps, |_| 0));
    add("vector_started_at", times(rows, Steps, |row| Some(row.at_us)));
    add("vector_ended_at", times(rows, Steps, |row| Some(row.at_us + SPACING_US)));
    add("vector_outcome", texts(rows, Steps, |_| "passed".to_owned()));

    add("measurement_name", texts(rows, Measurements, Row::measurement_name));
    add("measurement_timestamp", times(rows, Measurements, |row| Some(row.at_us)));
    add("measurement_value", numbers(rows, Measurements, |row| row.value));
    add("measurement_units", texts(rows, Measurements, |row| STEPS[row.step].1.to_owned()));
    add("measurement_outcome", texts(rows, Measurements, |row| row.outcome().to_owned()));
    add("limit_low", numbers(rows, Measurements, |row| row.limits().0));
    add("limit_high", numbers(rows, Measurements, |row| row.limits().1));
    add("limit_nominal", numbers(rows, Measurements, |row| STEPS[row.step].2));

    add("in_vin", numbers(rows, Steps, |row| 20.0 + 2.0 * (row.index % 5) as f64));
    add("in_load", numbers(rows, Steps, |row| 0.5 + 0.25 * (row.index % 8) as f64));
    add("in_temperature", numbers(rows, Steps, |row| 25.0 + (row.at_us % 1000) as f64 / 1000.0));
    add("out_settling_ms", numbers(rows, Measurements, |row| row.value / 7.0));
    let note = |row: &Row| (row.is_in(Measurements) && row.outcome() == "failed").then_some("see scope capture");
    add("out_note", Arc::new(rows.iter().map(note).collect::<StringArray>()));
    if !plan.attachments.is_empty() {
        // The row of the run comes first.
        let capture = |at: usize| at.checked_sub(1).filter(|at| *at < plan.attachments.len());
        let reference = |at: usize| capture(at).map(|at| format!("file://_ref/{}", attachment(at)));
        add("out_capture", Arc::new((0..rows.len()).map(reference).collect::<StringArray>()));
    }
    if plan.trace_bytes > 0 {
        let noise = noise(plan.number);
        let mut rng = fastrand::Rng::with_seed(plan.number + plan.revision);
        let mut trace = |_: &Row| {
            let at = rng.usize(..NOISE_BYTES - plan.trace_bytes);
            noise[at..at + plan.trace_bytes].to_owned()
        };
        let traces = rows.iter().map(|row| row.is_in(Measurements).then(|| trace(row)));
        add("out_trace", Arc::new(traces.collect::<StringArray>()));
    }

    for (name, values) in INSTRUMENTS {
        let mut list = ListBuilder::new(StringBuilder::new());
        for row in rows {
            if row.is_in(Steps) {
                for value in values {
                    list.values().append_value(value);
                }
            }
            list.append(row.is_in(Steps));
        }
        add(&format!("step_instruments_{name}"), Arc::new(list.finish()));
    }
    let mut mocked = ListBuilder::new(BooleanArray::builder(2));
    for row in rows {
        if row.is_in(Steps) {
            mocked.values().append_slice(&[false, false]);
        }
        mocked.append(row.is_in(Steps));
    }
    add("step_instruments_mocked", Arc::new(mocked.finish()));
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, array)| (name, array, true)))
        .expect("columns of one length")
}

fn texts(rows: &[Row], scope: Scope, text: impl Fn(&Row) -> String) -> ArrayRef {
    Arc::new(rows.iter().map(|row| row.is_in(scope).then(|| text(row))).collect::<StringArray>())
}

fn numbers(rows: &[Row], scope: Scope, number: impl Fn(&Row) -> f64) -> ArrayRef {
    Arc::new(rows.iter().map(|row| row.is_in(scope).then(|| number(row))).collect::<Float64Array>())
}

fn integers(rows: &[Row], scope: Scope, number: impl Fn(&Row) -> i64) -> ArrayRef {
    Arc::new(rows.iter().map(|row| row.is_in(scope).then(|| number(row))).collect::<Int64Array>())
}

fn times(rows: &[Row], scope: Scope, time_us: impl Fn(&Row) -> Option<i64>) -> ArrayRef {
    let times = rows.iter().map(|row| row.is_in(scope).then(|| time_us(row)).flatten());
    Arc::new(times.collect::<TimestampMicrosecondArray>().with_timezone("UTC"))
}

/// The footers of a 0.1.3 file; `step_results` is the large one.
fn footer(rows: &[Row]) -> Vec<KeyValue> {
    let steps: Vec<_> = STEPS
        .iter()
        .enumerate()
        .map(|(at, (name, ..))| {
            let of_step = rows.iter().filter(|row| row.kind == Kind::Measurement && row.step == at).take(500);
            let vectors: Vec<_> =
                of_step.map(|row| serde_json::json!({"index": row.index, "outcome": row.outcome()})).collect();
            serde_json::json!({"step_path": format!("TestPower/{name}"), "outcome": "passed", "vectors": vectors})
        })
        .collect();
    let packages: serde_json::Map<_, _> =
        (0..40).map(|at| (format!("package-{at}"), format!("1.{at}.0").into())).collect();
    let environment = serde_json::json!({"python": "3.12.1", "os": "linux", "packages": packages});
    [
        ("litmus_version", "0.1.3".to_owned()),
        ("schema_version", "1.0".to_owned()),
        ("step_results", serde_json::Value::from(steps).to_string()),
        ("environment_json", environment.to_string()),
    ]
    .map(|(key, value)| KeyValue::new(key.to_owned(), value))
    .to_vec()
}
