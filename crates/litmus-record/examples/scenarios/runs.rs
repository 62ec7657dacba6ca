//! A run of every kind. Each is a function that records; [`record`] notes beside it, on its own account, what was said.

use std::cell::RefCell;

use litmus_record::bridge::{Bridge, Level};
use litmus_record::{
    Client, Comparator, Instrument, Measure, Measurement, Outcome, Run, RunOptions, Step, Value, params,
};
use serde_json::{Value as Json, json};

/// A run to record.
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    options: RunOptions,
    play: fn(&Noted<'_>),
    /// What the run must come to.
    outcome: Option<Outcome>,
}

/// A run, and what was recorded of it.
pub(crate) struct Noted<'a> {
    run: &'a Run,
    measurements: RefCell<Vec<Json>>,
    steps: RefCell<Vec<Json>>,
}

impl Noted<'_> {
    /// Plays a step, and notes how it must end.
    fn step(&self, name: &str, outcome: Option<Outcome>, play: impl FnOnce(&Step)) {
        let step = self.run.step(name);
        play(&step);
        drop(step);
        self.note_step(name, name, outcome);
    }

    fn note_step(&self, name: &str, path: &str, outcome: Option<Outcome>) {
        self.steps.borrow_mut().push(json!({"name": name, "path": path, "outcome": outcome.map(Outcome::as_str)}));
    }

    /// Notes a measurement as it was given, not as it was taken down.
    fn measured(&self, path: &str, inputs: Json, given: Measure, recorded: &Measurement, outcome: Option<Outcome>) {
        assert_eq!(recorded.outcome, outcome, "{}", given.name);
        self.measurements.borrow_mut().push(json!({
            "step_path": path,
            "inputs": inputs,
            "name": given.name,
            "value": number(given.value),
            "units": given.units,
            "outcome": outcome.map(Outcome::as_str),
            "limit_low": number(given.low),
            "limit_high": number(given.high),
            "limit_nominal": number(given.nominal),
            "limit_comparator": given.comparator.as_str(),
            "spec_ref": given.spec_ref,
            "characteristic_id": given.characteristic_id,
            "dut_pin": given.dut_pin,
            "instrument_name": given.instrument_name,
            "instrument_channel": given.instrument_channel,
        }));
    }

    /// Measures on a step.
    fn measure(&self, step: &Step, path: &str, outcome: Option<Outcome>, measure: Measure) {
        let recorded = step.record(measure.clone()).expect("the run is open");
        self.measured(path, json!({}), measure, &recorded, outcome);
    }
}

/// Numbers that JSON has no word for are texts, as everywhere in this project.
fn number(value: Option<f64>) -> Json {
    match value {
        Some(value) if value.is_nan() => json!("NaN"),
        Some(value) if value.is_infinite() => json!(if value > 0.0 { "Infinity" } else { "-Infinity" }),
        value => json!(value),
    }
}

fn given(name: &str, value: impl Into<litmus_record::Reading>, units: &str) -> Measure {
    let mut measure = Measure::new(name, value);
    measure.units = Some(units.to_owned());
    measure
}

fn limits(name: &str, value: f64, low: f64, high: f64) -> Measure {
    let mut measure = given(name, value, "V");
    (measure.low, measure.high) = (Some(low), Some(high));
    measure
}

/// Records one, and says what was recorded.
pub(crate) fn record(client: &Client, scenario: &Scenario) -> Json {
    let run = client.start_run(scenario.options.clone()).expect("the run starts");
    let noted = Noted { run: &run, measurements: RefCell::default(), steps: RefCell::default() };
    (scenario.play)(&noted);
    let sealed = run.finish().expect("the run is sealed");
    assert_eq!(sealed.outcome, scenario.outcome, "{}", scenario.name);
    assert_eq!(sealed.late, 0);
    let options = &scenario.options;
    json!({
        "scenario": scenario.name,
        "run_id": sealed.run_id.to_string(),
        "path": sealed.path.strip_prefix(client.data_dir()).expect("a path in the data dir"),
        "serial": options.dut_serial,
        "part_number": options.dut_part_number,
        "lot_number": options.dut_lot_number,
        "station_id": options.station_id,
        "station_type": options.station_type,
        "operator": options.operator,
        "test_phase": options.test_phase,
        "product_id": options.product_id,
        "project_name": options.project_name,
        "started_at": sealed.started_at.to_string(),
        "ended_at": sealed.ended_at.to_string(),
        "outcome": sealed.outcome.map(Outcome::as_str),
        "steps": noted.steps.into_inner(),
        "measurements": noted.measurements.into_inner(),
    })
}

const PASSED: Option<Outcome> = Some(Outcome::Passed);
const FAILED: Option<Outcome> = Some(Outcome::Failed);
const DONE: Option<Outcome> = Some(Outcome::Done);
const SKIPPED: Option<Outcome> = Some(Outcome::Skipped);
const ERRORED: Option<Outcome> = Some(Outcome::Errored);

/// All of them.
pub(crate) fn all() -> Vec<Scenario> {
    let of = |name, serial: &str, outcome, play| Scenario {
        name,
        options: RunOptions::new(serial, "bench_1").station_hostname("bench-one"),
        play,
        outcome,
    };
    let mut passes = of("passes", "SN-0001", PASSED, passes);
    passes.options = passes
        .options
        .dut_part_number("PCB-001")
        .dut_revision("A")
        .dut_lot_number("LOT2026")
        .station_type("production")
        .operator("Zoë Müller")
        .test_phase("production")
        .product_id("widget")
        .project_name("demo");
    let mut everything = of("everything", "INST-1", PASSED, instruments_and_custom);
    everything.options = everything
        .options
        .product_id("widget")
        .product_name("Widget")
        .product_revision("C")
        .station_name("Bench One")
        .station_location("Lab B")
        .operator("jd")
        .operator_name("Jane Doe")
        .fixture_id("fx-7")
        .git_commit("0123456789abcdef0123456789abcdef01234567")
        .git_branch("main")
        .environment_json(
            r#"{"python_version": "3.11.7", "os_name": "Linux", "os_version": "6", "platform_machine": "x86_64",
                "litmus_version": "0.1.3", "testerkit_version": "0.6.0", "dependencies": [], "lockfile_hash": "00ff"}"#,
        );
    vec![
        passes,
        of("fails", "SN-0002", FAILED, fails),
        of("by_hand", "OUT-1", ERRORED, by_hand),
        of("panics", "OUT-2", ERRORED, panics),
        of("skipped_only", "OUT-3", SKIPPED, |noted| {
            noted.step("skipped", SKIPPED, |step| step.skip("no fixture"));
        }),
        of("no_steps", "ZERO-1", None, |_| {}),
        of("comparators", "CMP-1", FAILED, comparators),
        of("many", "MANY-1", PASSED, many),
        of("numbers", "NF-1", FAILED, numbers),
        of("units", "UNI-1", PASSED, units),
        of("sweep", "SWEEP-1", FAILED, sweep),
        of("nested_steps", "NEST-1", FAILED, nested_steps),
        everything,
        of("attachments", "REF-1", PASSED, attachments),
        of("log", "LOG-1", FAILED, log),
        of("slash_serial", "../LOT/7\\SN9\n", PASSED, one_measurement),
        of("spaces_serial", "  SN 42 シリアル  ", PASSED, one_measurement),
        of("long_serial", &"X".repeat(400), PASSED, one_measurement),
        of("no_serial", "", PASSED, one_measurement),
    ]
}

fn one_measurement(noted: &Noted<'_>) {
    noted.step("s", PASSED, |step| noted.measure(step, "s", PASSED, limits("v", 1.0, 0.0, 2.0)));
}

/// More than a small run holds, so that it is encoded otherwise.
fn many(noted: &Noted<'_>) {
    noted.step("sweep", PASSED, |step| {
        for at in 0..1200 {
            noted.measure(step, "sweep", PASSED, limits(&format!("point_{at}"), f64::from(at) / 1200.0, 0.0, 1.0));
        }
    });
}

fn passes(noted: &Noted<'_>) {
    noted.step("voltage_check", PASSED, |step| {
        let mut vcc = limits("vcc", 3.31, 3.0, 3.6);
        (vcc.nominal, vcc.spec_ref) = (Some(3.3), Some("SPEC-001 § 4.2".to_owned()));
        noted.measure(step, "voltage_check", PASSED, vcc);
        noted.measure(step, "voltage_check", PASSED, limits("vdd", 1.81, 1.7, 1.9));
    });
    noted.step("current_check", PASSED, |step| {
        let mut icc = given("icc", 0.15, "A");
        icc.high = Some(0.5);
        noted.measure(step, "current_check", PASSED, icc);
        noted.measure(step, "current_check", DONE, given("note", 7, "cnt"));
    });
    noted.step("setup", None, |_| {});
}

fn fails(noted: &Noted<'_>) {
    noted.step("voltage_check", FAILED, |step| {
        noted.measure(step, "voltage_check", FAILED, limits("vcc", 3.71, 3.0, 3.6));
        noted.measure(step, "voltage_check", PASSED, limits("vdd", 1.81, 1.7, 1.9));
    });
    noted.step("visual", FAILED, |step| step.fail("visual defect: \"scratch\"\nat R7"));
}

fn by_hand(noted: &Noted<'_>) {
    noted.step("skipped", SKIPPED, |step| step.skip("fixture absent"));
    noted.step("failed", FAILED, |step| step.fail("visual defect"));
    noted.step("errored", ERRORED, |step| {
        noted.measure(step, "errored", None, limits_of_nothing());
        step.error("the DMM does not answer");
    });
}

fn limits_of_nothing() -> Measure {
    let mut measure = given("vout", None, "V");
    (measure.low, measure.high) = (Some(1.0), Some(2.0));
    measure
}

fn panics(noted: &Noted<'_>) {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        noted.step("boom", None, |step| {
            noted.measure(step, "boom", PASSED, limits("before", 1.0, 0.0, 2.0));
            panic!("instrument timeout");
        });
    }));
    std::panic::set_hook(before);
    assert!(result.is_err());
    noted.note_step("boom", "boom", ERRORED);
}

fn comparators(noted: &Noted<'_>) {
    noted.step("pass_side", PASSED, |step| {
        for comparator in Comparator::ALL {
            let value = if comparator == Comparator::Eq { 5.0 } else { 4.0 };
            let mut measure = limits(&format!("p_{comparator}"), value, 3.0, 5.0);
            (measure.nominal, measure.comparator) = (Some(5.0), comparator);
            noted.measure(step, "pass_side", PASSED, measure);
        }
    });
    noted.step("fail_side", FAILED, |step| {
        for comparator in Comparator::ALL {
            let value = match comparator {
                Comparator::Ne | Comparator::Lt | Comparator::Gelt => 5.0,
                Comparator::Le | Comparator::Gele => 6.0,
                Comparator::Gt | Comparator::Gtle | Comparator::Gtlt => 3.0,
                Comparator::Ge => 2.0,
                Comparator::Eq => 4.0,
            };
            let mut measure = limits(&format!("f_{comparator}"), value, 3.0, 5.0);
            (measure.nominal, measure.comparator) = (Some(5.0), comparator);
            noted.measure(step, "fail_side", FAILED, measure);
        }
    });
}

fn numbers(noted: &Noted<'_>) {
    noted.step("nonfinite", FAILED, |step| {
        let path = "nonfinite";
        noted.measure(step, path, FAILED, limits("nan_limits", f64::NAN, 0.0, 1.0));
        noted.measure(step, path, DONE, given("nan", f64::NAN, "V"));
        noted.measure(step, path, DONE, given("inf", f64::INFINITY, "V"));
        noted.measure(step, path, DONE, given("ninf", f64::NEG_INFINITY, "V"));
        noted.measure(step, path, None, given("none", None, "V"));
        noted.measure(step, path, PASSED, limits("inf_limits", 3.0, f64::NEG_INFINITY, f64::INFINITY));
        noted.measure(step, path, FAILED, limits("nan_limit", 3.0, f64::NAN, 4.0));
        noted.measure(step, path, DONE, given("tiny", 5e-324, "V"));
        noted.measure(step, path, DONE, given("huge", f64::MAX, "V"));
        noted.measure(step, path, PASSED, limits("negzero", -0.0, 0.0, 0.0));
        noted.measure(step, path, DONE, given("third", 1.0 / 3.0, "V"));
        noted.measure(step, path, DONE, given("int_big", (1_i64 << 60) + 1, "cnt"));
        noted.measure(step, path, DONE, given("truth", true, ""));
    });
}

fn units(noted: &Noted<'_>) {
    noted.step("température Δ", PASSED, |step| {
        for (at, unit) in ["°C", "µA", "μA", "Ω", "mΩ", "%", "V/√Hz", "", "m²·s⁻¹", "quote\"d", "🔋"].iter().enumerate()
        {
            let mut measure = limits(&format!("m_{at}_λ"), at as f64 * 1.5, -1.0, 100.0);
            measure.units = Some((*unit).to_owned());
            measure.dut_pin = Some("J1-3".to_owned());
            measure.characteristic_id = Some("char.rail5".to_owned());
            measure.instrument_name = Some("dmm".to_owned());
            measure.instrument_channel = Some("CH1".to_owned());
            noted.measure(step, "température Δ", PASSED, measure);
        }
    });
}

fn sweep(noted: &Noted<'_>) {
    noted.step("voltage_sweep", FAILED, |step| {
        for (at, vin) in [3.3, 5.0, 12.0].into_iter().enumerate() {
            let (load, mode, enabled) = (100 * at as i64, if at == 1 { "cc" } else { "cv" }, at == 2);
            let vector = step.vector(params! { input_voltage: vin, load_ma: load, mode: mode, enabled: enabled });
            let inputs = json!({"input_voltage": vin, "load_ma": load, "mode": mode, "enabled": enabled});
            let outcome = if at == 2 { FAILED } else { PASSED };
            let measure = limits("output_voltage", vin * 0.99, 0.0, 11.0);
            let recorded = vector.record(measure.clone()).expect("the run is open");
            noted.measured("voltage_sweep", inputs, measure, &recorded, outcome);
        }
    });
    noted.step("by_hand", FAILED, |step| {
        step.vector(params! { x: 1 }).fail("operator rejected");
        step.vector(params! { x: 2 }).skip("not fitted");
        drop(step.vector(params! { x: 3 }));
    });
    noted.step("mixed", PASSED, |step| {
        for (setting, shown) in [
            (Value::from(1.5), json!("1.5")),
            (Value::from("auto"), json!("\"auto\"")),
            (Value::from(true), json!("true")),
            (Value::from(7), json!("7")),
        ] {
            let vector = step.vector([("setting", setting)]);
            let measure = limits("y", 1.0, 0.0, 2.0);
            let recorded = vector.record(measure.clone()).expect("the run is open");
            // Which spelling a reader gives to a column of many kinds is its own business: litmus-host's is checked elsewhere.
            let _ = shown;
            noted.measured("mixed", json!({}), measure, &recorded, PASSED);
        }
    });
}

fn nested_steps(noted: &Noted<'_>) {
    let power = noted.run.step("power");
    {
        let rail = power.step("rail_5v");
        noted.measure(&rail, "power/rail_5v", PASSED, limits("rail", 5.1, 4.75, 5.25));
        let deep = rail.step("ripple");
        noted.measure(&deep, "power/rail_5v/ripple", FAILED, limits("ripple", 0.9, 0.0, 0.1));
    }
    drop(power);
    noted.note_step("power", "power", FAILED);
    noted.note_step("rail_5v", "power/rail_5v", FAILED);
    noted.note_step("ripple", "power/rail_5v/ripple", FAILED);
    noted.step("after", PASSED, |step| noted.measure(step, "after", PASSED, limits("v", 1.0, 0.0, 2.0)));
}

fn instruments_and_custom(noted: &Noted<'_>) {
    noted.run.custom("work_order", "WO-17");
    noted.run.custom("count", 3);
    noted.run.custom("ratio", 0.5);
    noted.run.custom("ok", true);
    noted.step("s", PASSED, |step| {
        step.instrument(
            Instrument::new("dmm")
                .id("dmm-01")
                .driver("x.Dmm")
                .resource("TCPIP0::1")
                .protocol("visa")
                .manufacturer("Acme")
                .model("M1")
                .serial_number("S1")
                .firmware("1.0")
                .cal_due("2027-01-01")
                .cal_last("2026-01-01")
                .cal_certificate("C1")
                .cal_lab("Lab")
                .mocked(false),
        );
        step.instrument(Instrument::new("psu").id("psu-01").resource("USB0::2").mocked(true));
        noted.measure(step, "s", PASSED, limits("v", 1.0, 0.0, 2.0));
    });
}

fn attachments(noted: &Noted<'_>) {
    noted.step("capture", PASSED, |step| {
        let vector = step.vector(params! { vin: 5.0 });
        let measure = limits("peak", 2.5, 2.0, 3.0);
        let recorded = vector.record(measure.clone()).expect("the run is open");
        noted.measured("capture", json!({"vin": 5.0}), measure, &recorded, PASSED);
        vector.attach("scope.csv", b"t,v\n0,1\n1,2\n").expect("attached");
        vector.attach("shot/../../x.bin", b"\x89PNG\r\n\x1a\n fake").expect("attached");
        vector.observe("temp_c", 24.5);
        drop(vector);
        step.attach("whole.txt", b"of the step").expect("attached");
    });
}

fn log(noted: &Noted<'_>) {
    let bridge = Bridge::new().keep_at(Level::Info);
    noted.step("power_on", FAILED, |step| {
        noted.measure(step, "power_on", PASSED, limits("v", 1.0, 0.0, 2.0));
        bridge.emit(Level::Info, "my_test", || "rail is up".to_owned());
        bridge.emit(Level::Warn, "my_test", || "rail sagged to 2.9 V".to_owned());
    });
    noted.step("power_off", PASSED, |step| {
        noted.measure(step, "power_off", PASSED, limits("v", 1.0, 0.0, 2.0));
        bridge.emit(Level::Debug, "my_test", || "not kept".to_owned());
    });
}
