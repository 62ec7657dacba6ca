//! The flat generation, `schema_version` "1.0": a row for the run, one for each measurement, one for each vector of each step.
//!
//! Column names, order and types are those of litmus-test 0.1 (`litmus/data/schemas.py`, `RUN_ROW_SCHEMA`). What is measured on
//! a step itself belongs to a vector without inputs, as there.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, StringArray};

use super::columns::{Columns, floats, ints, lists, small_ints, texts, times, values};
use super::footer::Environment;
use crate::data::{RunData, StepData, VectorData};
use crate::{Instrument, Measurement, Outcome, Value};

/// A vector of a step as flat files know it.
#[derive(Clone, Copy)]
pub(super) struct Vector<'a> {
    pub(super) index: usize,
    /// None for what the step itself measured.
    pub(super) data: Option<&'a VectorData>,
    pub(super) measurements: &'a [Measurement],
}

/// The vectors of a step, and among them one for what the step itself measured or observed; never none.
pub(super) fn vectors(step: &StepData) -> Vec<Vector<'_>> {
    let mut vectors: Vec<_> = step.vectors.iter().map(|data| (Some(data), data.measurements.as_slice())).collect();
    if !step.measurements.is_empty() {
        vectors.insert(step.measured_after.min(vectors.len()), (None, &step.measurements));
    } else if vectors.is_empty() || !step.outputs.is_empty() {
        vectors.push((None, &[]));
    }
    let number = |(index, (data, measurements))| Vector { index, data, measurements };
    vectors.into_iter().enumerate().map(number).collect()
}

pub(super) fn parent_path<'a>(run: &'a RunData, step: &StepData) -> &'a str {
    step.parent.map_or("", |parent| &run.steps[parent].path)
}

/// One row of the file.
#[derive(Clone, Copy)]
struct Row<'a> {
    /// None for the run's.
    step: Option<(usize, &'a StepData)>,
    vector: Option<Vector<'a>>,
    measurement: Option<&'a Measurement>,
    vector_count: usize,
}

impl<'a> Row<'a> {
    fn step(&self) -> Option<&'a StepData> {
        self.step.map(|(_, step)| step)
    }

    fn started_at(&self) -> Option<jiff::Timestamp> {
        let (step, vector) = (self.step()?, self.vector?);
        let first = || vector.measurements.first().map_or(step.started_at, |first| first.timestamp);
        Some(vector.data.map_or_else(first, |data| data.started_at))
    }

    fn ended_at(&self) -> Option<jiff::Timestamp> {
        let (step, vector) = (self.step()?, self.vector?);
        vector.data.map_or(step.ended_at, |data| data.ended_at)
    }

    fn vector_outcome(&self) -> Option<Outcome> {
        let vector = self.vector?;
        let worst = || vector.measurements.iter().filter_map(|measurement| measurement.outcome).max();
        vector.data.map_or_else(worst, |data| data.outcome)
    }

    fn outputs(&self) -> &'a [(String, Value)] {
        match (self.vector.and_then(|vector| vector.data), self.step()) {
            (Some(data), _) => &data.outputs,
            (None, Some(step)) => &step.outputs,
            (None, None) => &[],
        }
    }

    fn inputs(&self) -> &'a [(String, Value)] {
        self.vector.and_then(|vector| vector.data).map_or(&[], |data| &data.params)
    }
}

fn rows(run: &RunData) -> Vec<Row<'_>> {
    let mut rows = vec![Row { step: None, vector: None, measurement: None, vector_count: 0 }];
    let mut steps = Vec::new();
    for (index, step) in run.steps.iter().enumerate() {
        let vectors = vectors(step);
        for vector in &vectors {
            let row = Row {
                step: Some((index, step)),
                vector: Some(*vector),
                measurement: None,
                vector_count: vectors.len(),
            };
            rows.extend(vector.measurements.iter().map(|measurement| Row { measurement: Some(measurement), ..row }));
            steps.push(row);
        }
    }
    rows.extend(steps);
    rows
}

pub(super) fn columns(run: &RunData) -> Columns {
    let rows = rows(run);
    let mut columns = Columns::new(rows.len());
    let text = |get: fn(&StepData) -> Option<&str>| texts(rows.iter().map(|row| row.step().and_then(get)));
    let measured = |get: fn(&Measurement) -> Option<&str>| texts(rows.iter().map(|row| row.measurement.and_then(get)));
    let number = |get: fn(&Measurement) -> Option<f64>| floats(rows.iter().map(|row| row.measurement.and_then(get)));
    let of_run = |row: &Row<'_>| row.step.is_none().then_some("");
    let header = &run.header;
    let options = &header.options;
    let environment = Environment::of(run);

    columns.push(
        "record_type",
        texts(rows.iter().map(|row| {
            Some(match (row.step, row.measurement) {
                (None, _) => "run",
                (Some(_), Some(_)) => "measurement",
                (Some(_), None) => "step",
            })
        })),
    );
    columns.same("session_id", Some(&header.session_id.to_string()));
    columns.same("run_id", Some(&header.run_id.to_string()));
    columns.same("slot_id", options.slot_id.as_deref());
    columns.same_time("run_started_at", Some(header.started_at));
    columns.same_time("run_ended_at", run.ended_at);
    // A run row has empty names and zeroes where the platform's model wants some value.
    let name = |row: &Row<'_>, get: &dyn Fn(&StepData) -> String| row.step().map_or_else(String::new, get);
    let names: Vec<_> = rows.iter().map(|row| name(row, &|step| step.options.name.clone())).collect();
    columns.push("step_name", texts(names.iter().map(|name| Some(name.as_str()))));
    columns.push("step_index", ints(rows.iter().map(|row| Some(row.step.map_or(0, |(index, _)| index as i64)))));
    columns.push("step_path", texts(rows.iter().map(|row| row.step().map(|step| step.path.as_str()).or(of_run(row)))));
    let parents = rows.iter().map(|row| row.step().map(|step| parent_path(run, step)).or(of_run(row)));
    columns.push("parent_path", texts(parents));
    columns.push("step_started_at", times(rows.iter().map(|row| row.step().map(|step| step.started_at))));
    columns.push("step_ended_at", times(rows.iter().map(|row| row.step().and_then(|step| step.ended_at))));
    columns.push("step_node_id", text(|step| step.options.node_id.as_deref()));
    columns.push("step_module", text(|step| step.options.module.as_deref()));
    columns.push("step_file", text(|step| step.options.file.as_deref()));
    columns.push("step_class", text(|step| step.options.class_name.as_deref()));
    columns.push("step_function", text(|step| step.options.function.as_deref()));
    columns.push("step_markers", text(|step| step.options.markers.as_deref()));
    // On measurement rows, too, unlike the platform: its index groups by it, and counted a step's measurements in a group apart.
    let counts = rows.iter().map(|row| row.step.map(|_| row.vector_count as i32));
    columns.push("step_vector_count", small_ints(counts));
    let index = |row: &Row<'_>| Some(row.vector.map_or(0, |vector| vector.index as i64));
    columns.push("vector_index", ints(rows.iter().map(index)));
    let measurement_only = |row: &Row<'_>| row.measurement.is_some();
    columns.push("vector_retry", ints(rows.iter().map(|row| measurement_only(row).then_some(0))));
    columns.push("vector_started_at", times(rows.iter().map(Row::started_at)));
    columns.push("vector_ended_at", times(rows.iter().map(Row::ended_at)));
    columns.same("operator_id", options.operator.as_deref());
    columns.same("operator_name", options.operator_name.as_deref());
    columns.same("dut_serial", Some(&options.dut_serial));
    columns.same("dut_part_number", options.dut_part_number.as_deref());
    columns.same("dut_revision", options.dut_revision.as_deref());
    columns.same("dut_lot_number", options.dut_lot_number.as_deref());
    columns.same("product_id", options.product_id.as_deref());
    columns.same("product_name", options.product_name.as_deref());
    columns.same("product_revision", options.product_revision.as_deref());
    columns.same("station_id", Some(&options.station_id));
    columns.same("station_name", options.station_name.as_deref());
    columns.same("station_type", options.station_type.as_deref());
    columns.same("station_location", options.station_location.as_deref());
    columns.same("station_hostname", options.station_hostname.as_deref());
    columns.same("fixture_id", options.fixture_id.as_deref());
    columns.same("test_phase", options.test_phase.as_deref());
    columns.same("project_name", options.project_name.as_deref());
    columns.same("git_commit", options.git_commit.as_deref());
    columns.same("git_branch", options.git_branch.as_deref());
    columns.same("git_remote", options.git_remote.as_deref());
    columns.push("measurement_name", measured(|measurement| Some(&measurement.name)));
    let taken = rows.iter().map(|row| row.measurement.map(|measurement| measurement.timestamp));
    columns.push("measurement_timestamp", times(taken));
    columns.push("measurement_value", number(|measurement| measurement.value));
    columns.push("measurement_units", measured(|measurement| measurement.units.as_deref()));
    columns.push("measurement_outcome", measured(|measurement| measurement.outcome.map(Outcome::as_str)));
    columns.push("limit_low", number(|measurement| measurement.limit_low));
    columns.push("limit_high", number(|measurement| measurement.limit_high));
    columns.push("limit_nominal", number(|measurement| measurement.limit_nominal));
    columns.push("limit_comparator", measured(|measurement| Some(measurement.limit_comparator.as_str())));
    columns.push("characteristic_id", measured(|measurement| measurement.characteristic_id.as_deref()));
    columns.push("spec_ref", measured(|measurement| measurement.spec_ref.as_deref()));
    columns.push("dut_pin", measured(|measurement| measurement.dut_pin.as_deref()));
    columns.push("fixture_connection", measured(|measurement| measurement.fixture_connection.as_deref()));
    columns.push("instrument_name", measured(|measurement| measurement.instrument_name.as_deref()));
    columns.push("instrument_resource", measured(|measurement| measurement.instrument_resource.as_deref()));
    columns.push("instrument_channel", measured(|measurement| measurement.instrument_channel.as_deref()));
    columns.push("step_outcome", text(|step| step.outcome.map(Outcome::as_str)));
    let vector_outcomes = rows.iter().map(|row| row.vector_outcome().map(Outcome::as_str));
    columns.push("vector_outcome", texts(vector_outcomes));
    columns.same("run_outcome", run.outcome.map(Outcome::as_str));
    columns.same("python_version", environment.python_version.as_deref());
    columns.same("litmus_version", environment.litmus_version.as_deref());
    columns.same("env_fingerprint", environment.lockfile_hash.as_deref());
    messages(&mut columns, &rows);
    custom(&mut columns, run, &rows);
    dynamic(&mut columns, "in_", &rows, Row::inputs);
    dynamic(&mut columns, "out_", &rows, Row::outputs);
    instruments(&mut columns, run, &rows);
    columns
}

/// Columns that the platform does not have, only where there is something to say; on step rows, where its readers let them be.
fn messages(columns: &mut Columns, rows: &[Row<'_>]) {
    let on_steps = |get: &dyn Fn(&Row<'_>) -> Option<String>| -> Vec<Option<String>> {
        rows.iter().map(|row| row.measurement.is_none().then(|| get(row)).flatten()).collect()
    };
    let of_steps = on_steps(&|row| row.step()?.messages.text());
    let of_vectors = on_steps(&|row| row.vector?.data?.messages.text());
    for (name, messages) in [("step_error_message", of_steps), ("vector_error_message", of_vectors)] {
        if messages.iter().any(Option::is_some) {
            columns.push(name, texts(messages.iter().map(Option::as_deref)));
        }
    }
}

/// On the run's row and on measurements, as the platform has them.
fn custom(columns: &mut Columns, run: &RunData, rows: &[Row<'_>]) {
    let mut custom: Vec<_> = run.custom.iter().collect();
    custom.sort_by_key(|(name, _)| name);
    for (name, value) in custom {
        let has_it = |row: &Row<'_>| row.step.is_none() || row.measurement.is_some();
        let column: Vec<_> = rows.iter().map(|row| has_it(row).then_some(value)).collect();
        columns.push_free("custom_", name, values(&column));
    }
}

fn dynamic<'a>(columns: &mut Columns, prefix: &str, rows: &[Row<'a>], of: impl Fn(&Row<'a>) -> &'a [(String, Value)]) {
    let mut found: HashMap<&str, Vec<Option<&Value>>> = HashMap::new();
    for (at, row) in rows.iter().enumerate() {
        for (name, value) in of(row) {
            found.entry(name).or_insert_with(|| vec![None; rows.len()])[at] = Some(value);
        }
    }
    let mut found: Vec<_> = found.into_iter().collect();
    found.sort_by_key(|(name, _)| *name);
    for (name, column) in found {
        columns.push_free(prefix, name, values(&column));
    }
}

/// Fourteen lists side by side, sorted by name; a step without instruments has the run's on its measurements.
fn instruments(columns: &mut Columns, run: &RunData, rows: &[Row<'_>]) {
    let mut lists_of: Vec<&[Instrument]> = Vec::with_capacity(rows.len());
    for row in rows {
        lists_of.push(match row.step() {
            Some(step) if !step.instruments.is_empty() => &step.instruments,
            Some(_) if row.measurement.is_none() => &[],
            _ => &run.instruments,
        });
    }
    let all = || lists_of.iter().copied().flatten();
    let lengths = || lists_of.iter().map(|list| list.len());
    let text = |get: fn(&Instrument) -> Option<&str>| -> ArrayRef {
        lists(lengths(), Arc::new(all().map(get).collect::<StringArray>()))
    };
    columns.push("step_instruments_cal_certificate", text(|one| one.cal_certificate.as_deref()));
    columns.push("step_instruments_cal_due", text(|one| one.cal_due.as_deref()));
    columns.push("step_instruments_cal_lab", text(|one| one.cal_lab.as_deref()));
    columns.push("step_instruments_cal_last", text(|one| one.cal_last.as_deref()));
    columns.push("step_instruments_driver", text(|one| one.driver.as_deref()));
    columns.push("step_instruments_firmware", text(|one| one.firmware.as_deref()));
    columns.push("step_instruments_id", text(|one| one.id.as_deref()));
    columns.push("step_instruments_manufacturer", text(|one| one.manufacturer.as_deref()));
    let mocked: BooleanArray = all().map(|one| one.mocked).collect();
    columns.push("step_instruments_mocked", lists(lengths(), Arc::new(mocked)));
    columns.push("step_instruments_model", text(|one| one.model.as_deref()));
    columns.push("step_instruments_name", text(|one| Some(&one.name)));
    columns.push("step_instruments_protocol", text(|one| one.protocol.as_deref()));
    columns.push("step_instruments_resource", text(|one| one.resource.as_deref()));
    columns.push("step_instruments_serial", text(|one| one.serial_number.as_deref()));
}
