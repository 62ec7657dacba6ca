//! Runs made up for a case, sealed as the platform seals them: the flat generation, with whatever columns a case wants.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array, StringArray, TimestampMicrosecondArray};
use arrow::record_batch::RecordBatch;

use crate::rewrite;

/// 2026-03-01T06:00:00Z, in microseconds.
const EPOCH_US: i64 = 1_772_344_800_000_000;
/// Rows written at a time, so that the suite's own memory stays small.
const ROWS_A_BATCH: usize = 8192;

/// Makes a column for the rows from one place to another; of a measurement's rows the first is row 1.
pub(crate) type Column = Arc<dyn Fn(std::ops::Range<usize>) -> ArrayRef>;

/// One run.
#[derive(Clone)]
pub(crate) struct Plan {
    /// Gives the run its id and its place.
    pub(crate) number: u128,
    pub(crate) serial: Option<String>,
    pub(crate) measurements: usize,
    /// More columns, or others in the place of those that every run has.
    pub(crate) columns: Vec<(String, Column)>,
}

impl Plan {
    /// With nothing special about it.
    pub(crate) fn new(number: u128, measurements: usize) -> Self {
        Self { number, serial: Some(format!("SN-{number:05}")), measurements, columns: Vec::new() }
    }

    /// With a column made of one value a row.
    pub(crate) fn with<T: 'static, A: FromIterator<Option<T>> + arrow::array::Array + 'static>(
        mut self,
        name: &str,
        value: impl Fn(usize) -> Option<T> + 'static,
    ) -> Self {
        let column: Column = Arc::new(move |rows| Arc::new(rows.map(&value).collect::<A>()));
        self.columns.push((name.to_owned(), column));
        self
    }

    /// With a column of texts, none on the run's own row.
    pub(crate) fn with_texts(self, name: &str, text: impl Fn(usize) -> Option<String> + 'static) -> Self {
        self.with::<String, StringArray>(name, move |row| if row == 0 { None } else { text(row - 1) })
    }

    /// With a column of numbers, none on the run's own row.
    pub(crate) fn with_numbers(self, name: &str, number: impl Fn(usize) -> Option<f64> + 'static) -> Self {
        self.with::<f64, Float64Array>(name, move |row| if row == 0 { None } else { number(row - 1) })
    }

    /// With a column of times in microseconds, none on the run's own row.
    pub(crate) fn with_times(mut self, name: &str, time_us: impl Fn(usize) -> Option<i64> + 'static) -> Self {
        self.columns.push((name.to_owned(), times(move |row| if row == 0 { None } else { time_us(row - 1) })));
        self
    }
}

fn times(time_us: impl Fn(usize) -> Option<i64> + 'static) -> Column {
    Arc::new(move |rows| Arc::new(rows.map(&time_us).collect::<TimestampMicrosecondArray>().with_timezone("UTC")))
}

/// The columns that every run has.
fn common(plan: &Plan) -> Plan {
    let run_id = uuid::Builder::from_random_bytes(plan.number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
    let run_id = run_id.into_uuid().to_string();
    let (serial, started_us) = (plan.serial.clone(), EPOCH_US + (plan.number as i64 % 100_000) * 60_000_000);
    let ended_us = started_us + 30_000_000;
    let measured = |text: &'static str| move |row: usize| (row > 0).then(|| text.to_owned());
    let mut whole = Plan { columns: Vec::new(), ..plan.clone() }
        .with::<String, StringArray>("record_type", |row| Some(if row == 0 { "run" } else { "measurement" }.to_owned()))
        .with::<String, StringArray>("run_id", move |_| Some(run_id.clone()))
        .with::<String, StringArray>("dut_serial", move |_| serial.clone())
        .with::<String, StringArray>("run_outcome", |_| Some("passed".to_owned()))
        .with::<String, StringArray>("station_id", |_| Some("station_01".to_owned()))
        .with::<String, StringArray>("step_path", |row| {
            Some(if row == 0 { "" } else { "TestPower/test_rail" }.to_owned())
        })
        .with::<String, StringArray>("step_name", measured("test_rail"))
        .with::<i64, Int64Array>("vector_index", |row| Some(row as i64))
        .with::<String, StringArray>("measurement_name", |row| (row > 0).then(|| format!("rail_{row}")))
        .with::<f64, Float64Array>("measurement_value", |row| (row > 0).then_some(3.3 + row as f64 / 1024.0))
        .with::<String, StringArray>("measurement_units", measured("V"))
        .with::<String, StringArray>("measurement_outcome", measured("passed"));
    whole.columns.push(("run_started_at".to_owned(), times(move |_| Some(started_us))));
    whole.columns.push(("run_ended_at".to_owned(), times(move |_| Some(ended_us))));
    for (name, column) in &plan.columns {
        match whole.columns.iter_mut().find(|(known, _)| known == name) {
            Some(known) => known.1 = Arc::clone(column),
            None => whole.columns.push((name.clone(), Arc::clone(column))),
        }
    }
    whole
}

/// Where a run lies below a data dir.
pub(crate) fn path(plan: &Plan) -> PathBuf {
    PathBuf::from(format!("runs/2026-03-01/made-{}.parquet", plan.number))
}

/// Seals a run below a data dir.
pub(crate) fn write(data_dir: &Path, plan: &Plan) {
    let path = path(plan);
    let (whole, rows) = (common(plan), plan.measurements + 1);
    let batches = (0..rows).step_by(ROWS_A_BATCH).map(move |from| {
        let rows = from..rows.min(from + ROWS_A_BATCH);
        let columns = whole.columns.iter().map(|(name, column)| (name.clone(), column(rows.clone()), true));
        RecordBatch::try_from_iter_with_nullable(columns).expect("columns of one length")
    });
    rewrite::write(&data_dir.join(path), batches, Vec::new());
}
