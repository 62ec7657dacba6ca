//! The queries of the Litmus documentation, on the view `run_rows`.

use litmus_core::Table;
use litmus_core::tables::Kind;

use super::made::{Bench, TestRun, V, column, text};

fn texts(values: &[&str]) -> Vec<V> {
    values.iter().map(|value| text(value)).collect()
}

/// Two benches, three runs.
fn delivered() -> Bench {
    let run = |id: u8, station: &str, outcome: &str, measured: &[&str]| {
        let rows = measured.len();
        let instruments = (0..rows).map(|_| V::Texts(vec![Some("dmm".to_owned())])).collect::<Vec<_>>();
        let of_run = [
            column("dut_serial", Kind::Text, texts(&[&format!("SN{id}")])),
            column("station_id", Kind::Text, texts(&[station])),
            column("run_outcome", Kind::Text, texts(&[outcome])),
            column("environment_json", Kind::Json, [V::Json("{}".to_owned())]),
        ];
        TestRun::of(id, 1, &of_run)
            .with(
                Table::Steps,
                &[
                    column("step_name", Kind::Text, texts(&vec!["rail"; rows])),
                    column("step_outcome", Kind::Text, texts(measured)),
                    column("step_instruments_name", Kind::TextList, instruments),
                ],
            )
            .with(Table::Vectors, &[column("in_load", Kind::Float, vec![V::Float(0.5); rows])])
            .with(
                Table::Measurements,
                &[
                    column("step_name", Kind::Text, texts(&vec!["rail"; rows])),
                    column("measurement_name", Kind::Text, texts(&vec!["v"; rows])),
                    column(
                        "measurement_value",
                        Kind::Float,
                        (0..rows).map(|at| V::Float(at as f64)).collect::<Vec<_>>(),
                    ),
                    column("measurement_outcome", Kind::Text, texts(measured)),
                    column("instrument_name", Kind::Text, texts(&vec!["dmm"; rows])),
                    column("in_load", Kind::Float, vec![V::Float(0.5); rows]),
                ],
            )
    };
    let bench = Bench::new();
    bench.deliver(&[
        run(1, "B1", "passed", &["passed", "passed"]),
        run(2, "B1", "failed", &["passed", "failed"]),
        run(3, "B2", "passed", &["passed"]),
    ]);
    bench
}

#[test]
fn failures_by_step() {
    let sql = "SELECT dut_serial, step_name, measurement_outcome, COUNT(*) FROM run_rows \
               WHERE record_type = 'measurement' GROUP BY dut_serial, step_name, measurement_outcome ORDER BY 1, 3";
    assert_eq!(
        delivered().query(sql),
        [
            ["SN1", "rail", "passed", "2"],
            ["SN2", "rail", "failed", "1"],
            ["SN2", "rail", "passed", "1"],
            ["SN3", "rail", "passed", "1"],
        ]
    );
}

#[test]
fn yield_by_station() {
    let sql = "SELECT station_id, ROUND(100.0 * SUM(run_outcome = 'passed') / COUNT(*), 1) FROM run_rows \
               WHERE record_type = 'run' GROUP BY station_id ORDER BY 1";
    assert_eq!(delivered().query(sql), [["B1", "50.0"], ["B2", "100.0"]]);
}

#[test]
fn failures_by_instrument() {
    let sql = "SELECT instrument_name, SUM(measurement_outcome = 'failed'), COUNT(*) FROM run_rows \
               WHERE record_type = 'measurement' AND instrument_name IS NOT NULL GROUP BY instrument_name";
    assert_eq!(delivered().query(sql), [["dmm", "1", "5"]]);
    let by_step = "SELECT value, COUNT(*) FROM run_rows, json_each(step_instruments_name) \
                   WHERE record_type = 'step' AND step_outcome = 'failed' GROUP BY value";
    assert_eq!(delivered().query(by_step), [["dmm", "1"]]);
}

#[test]
fn statistics_of_a_measurement_under_a_condition() {
    let sql = "SELECT measurement_name, station_id, COUNT(*), AVG(measurement_value) FROM run_rows \
               WHERE record_type = 'measurement' AND in_load = 0.5 GROUP BY 1, 2 ORDER BY 2";
    assert_eq!(delivered().query(sql), [["v", "B1", "4", "0.5"], ["v", "B2", "1", "0.0"]]);
}

#[test]
fn every_row_stands_once_with_the_columns_of_its_run() {
    let bench = delivered();
    let sql = "SELECT record_type, COUNT(*), COUNT(station_id), COUNT(in_load), COUNT(environment_json) \
               FROM run_rows GROUP BY 1 ORDER BY 1";
    assert_eq!(
        bench.query(sql),
        [
            ["measurement", "5", "5", "5", "0"],
            ["run", "3", "3", "0", "3"],
            ["step", "5", "5", "0", "0"],
            ["vector", "5", "5", "5", "0"],
        ]
    );
}

const PAGE: &str = include_str!("../../../../docs/sinks/sqlite.md");

#[test]
fn every_query_of_the_page_runs_and_finds_something() {
    let bench = delivered();
    let blocks: Vec<_> = PAGE.split("```sql").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert!(blocks.len() >= 4);
    for query in blocks {
        assert!(!bench.query(query).is_empty(), "{query}");
    }
}

#[test]
fn the_page_names_every_option_with_its_default() {
    let schema = litmus_core::schemars::schema_for!(crate::config::Config).to_value();
    let properties = schema["properties"].as_object().unwrap();
    assert_eq!(properties.len(), 5);
    for (name, property) in properties {
        let default = property.get("default").map_or("required".to_owned(), |default| format!("`{default}`"));
        assert!(PAGE.contains(&format!("| `{name}` | {default} |")), "{name}, default {default}");
    }
}
