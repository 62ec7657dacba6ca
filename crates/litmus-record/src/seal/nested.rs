//! The nested generation, `schema_version` "0.1": a row for the run, one for each step and one for each vector, with inputs,
//! outputs, measurements and instruments as lists on them.
//!
//! Column names, order and types are those of TesterKit 0.6 (`testerkit/data/schemas.py`, `RUN_ROW_SCHEMA`).

use std::sync::Arc;

use arrow::array::{ArrayRef, StringArray};

use super::columns::{Columns, bools, floats, ints, json, lists, structs, texts, times};
use super::footer::Environment;
use crate::data::{RunData, StepData, VectorData};
use crate::{Instrument, Measurement, Outcome, Value};

/// One row of the file.
#[derive(Clone, Copy)]
struct Row<'a> {
    /// None for the run's.
    step: Option<(usize, &'a StepData)>,
    vector: Option<(usize, &'a VectorData)>,
}

impl<'a> Row<'a> {
    fn step(&self) -> Option<&'a StepData> {
        self.step.map(|(_, step)| step)
    }

    fn vector(&self) -> Option<&'a VectorData> {
        self.vector.map(|(_, vector)| vector)
    }

    /// The step, on its own row only.
    fn own_step(&self) -> Option<&'a StepData> {
        if self.vector.is_some() { None } else { self.step() }
    }

    fn measurements(&self) -> &'a [Measurement] {
        match (self.vector(), self.step()) {
            (Some(vector), _) => &vector.measurements,
            (None, Some(step)) => &step.measurements,
            (None, None) => &[],
        }
    }

    fn outputs(&self) -> &'a [(String, Value)] {
        match (self.vector(), self.step()) {
            (Some(vector), _) => &vector.outputs,
            (None, Some(step)) => &step.outputs,
            (None, None) => &[],
        }
    }

    fn inputs(&self) -> &'a [(String, Value)] {
        self.vector().map_or(&[], |vector| &vector.params)
    }
}

fn rows(run: &RunData) -> Vec<Row<'_>> {
    let mut rows = vec![Row { step: None, vector: None }];
    for (index, step) in run.steps.iter().enumerate() {
        let row = Row { step: Some((index, step)), vector: None };
        rows.push(row);
        let vectors = step.vectors.iter().enumerate();
        rows.extend(vectors.map(|vector| Row { vector: Some(vector), ..row }));
    }
    rows
}

pub(super) fn columns(run: &RunData) -> Columns {
    let rows = rows(run);
    let mut columns = Columns::new(rows.len());
    let text = |get: fn(&StepData) -> Option<&str>| texts(rows.iter().map(|row| row.step().and_then(get)));
    let header = &run.header;
    let options = &header.options;
    let environment = Environment::of(run);

    columns.push(
        "record_type",
        texts(rows.iter().map(|row| {
            Some(match (row.step, row.vector) {
                (None, _) => "run",
                (Some(_), None) => "step",
                (Some(_), Some(_)) => "vector",
            })
        })),
    );
    columns.same("session_id", Some(&header.session_id.to_string()));
    columns.same("run_id", Some(&header.run_id.to_string()));
    // 0 where there is one site only, as the platform has it.
    columns.same_int("site_index", Some(options.site_index.unwrap_or(0)));
    columns.same("site_name", options.site_name.as_deref());
    columns.same_time("run_started_at", Some(header.started_at));
    columns.same_time("run_ended_at", run.ended_at);
    // A run row has empty names and a zero where the platform's model wants some value.
    columns.push("step_name", texts(rows.iter().map(|row| Some(row.step().map_or("", |step| &step.options.name)))));
    columns.push("step_index", ints(rows.iter().map(|row| Some(row.step.map_or(0, |(index, _)| index as i64)))));
    columns.push("step_path", texts(rows.iter().map(|row| Some(row.step().map_or("", |step| &step.path)))));
    columns.push("step_started_at", times(rows.iter().map(|row| row.step().map(|step| step.started_at))));
    columns.push("step_ended_at", times(rows.iter().map(|row| row.step().and_then(|step| step.ended_at))));
    columns.push("step_node_id", text(|step| step.options.node_id.as_deref()));
    columns.push("step_module", text(|step| step.options.module.as_deref()));
    columns.push("step_file", text(|step| step.options.file.as_deref()));
    columns.push("step_class", text(|step| step.options.class_name.as_deref()));
    columns.push("step_function", text(|step| step.options.function.as_deref()));
    columns.push("step_markers", text(|step| step.options.markers.as_deref()));
    columns.push("step_retry", ints(rows.iter().map(|row| row.step().map(|step| step.options.retry.unwrap_or(0)))));
    columns.push("vector_index", ints(rows.iter().map(|row| row.vector.map(|(index, _)| index as i64))));
    columns.same_int("vector_outer_index", None);
    columns.push("vector_retry", ints(rows.iter().map(|row| row.vector.map(|_| 0))));
    columns.push("vector_started_at", times(rows.iter().map(|row| row.vector().map(|vector| vector.started_at))));
    columns.push("vector_ended_at", times(rows.iter().map(|row| row.vector().and_then(|vector| vector.ended_at))));
    columns.same("operator_id", options.operator.as_deref());
    columns.same("operator_name", options.operator_name.as_deref());
    columns.same("uut_serial_number", Some(&options.dut_serial));
    columns.same("uut_part_number", options.dut_part_number.as_deref());
    columns.same("uut_revision", options.dut_revision.as_deref());
    columns.same("uut_lot_number", options.dut_lot_number.as_deref());
    columns.same("part_id", options.product_id.as_deref());
    columns.same("part_name", options.product_name.as_deref());
    columns.same("part_revision", options.product_revision.as_deref());
    columns.same("station_id", Some(&options.station_id));
    columns.same("station_name", options.station_name.as_deref());
    columns.same("station_type", options.station_type.as_deref());
    columns.same("station_location", options.station_location.as_deref());
    columns.same("station_hostname", options.station_hostname.as_deref());
    columns.same("machine_id", options.machine_id.as_deref());
    columns.same("fixture_id", options.fixture_id.as_deref());
    columns.same("test_phase", options.test_phase.as_deref());
    columns.same("project_name", options.project_name.as_deref());
    columns.same("git_commit", options.git_commit.as_deref());
    columns.same("git_branch", options.git_branch.as_deref());
    columns.same("git_remote", options.git_remote.as_deref());
    let outcomes = rows.iter().map(|row| row.own_step().and_then(|step| step.outcome).map(Outcome::as_str));
    columns.push("step_outcome", texts(outcomes));
    let outcomes = rows.iter().map(|row| row.vector().and_then(|vector| vector.outcome).map(Outcome::as_str));
    columns.push("vector_outcome", texts(outcomes));
    columns.same("run_outcome", run.outcome.map(Outcome::as_str));
    columns.same("python_version", environment.python_version.as_deref());
    columns.same("testerkit_version", environment.testerkit_version.as_deref());
    columns.same("env_fingerprint", environment.lockfile_hash.as_deref());
    columns.push("inputs", io(&rows.iter().map(Row::inputs).collect::<Vec<_>>()));
    columns.push("outputs", io(&rows.iter().map(Row::outputs).collect::<Vec<_>>()));
    columns.push("measurements", measurements(&rows));
    columns.push("instruments", instruments(run, &rows));
    messages(&mut columns, &rows);
    columns
}

/// Columns that the platform does not have, only where there is something to say.
fn messages(columns: &mut Columns, rows: &[Row<'_>]) {
    let of_steps: Vec<_> = rows.iter().map(|row| row.own_step().and_then(|step| step.messages.text())).collect();
    let of_vectors: Vec<_> = rows.iter().map(|row| row.vector().and_then(|vector| vector.messages.text())).collect();
    for (name, messages) in [("step_error_message", of_steps), ("vector_error_message", of_vectors)] {
        if messages.iter().any(Option::is_some) {
            columns.push(name, texts(messages.iter().map(Option::as_deref)));
        }
    }
}

/// Inputs or outputs: `value_type` says which member holds the value (`_io_entry` of the platform).
fn io(rows: &[&[(String, Value)]]) -> ArrayRef {
    let all = || rows.iter().copied().flatten();
    let names = texts(all().map(|(name, _)| Some(name.as_str())));
    let kinds = texts(all().map(|(_, value)| {
        Some(match value {
            Value::Null => "other:NoneType",
            Value::Bool(_) => "scalar:bool",
            Value::Int(_) => "scalar:int",
            Value::Float(_) => "scalar:float",
            Value::Text(text) if is_reference(text) => "uri",
            Value::Text(_) => "scalar:str",
            Value::Time(_) => "scalar:datetime",
            Value::Json(serde_json::Value::Array(_)) => "list",
            Value::Json(_) => "dict",
        })
    }));
    let ints = ints(all().map(|(_, value)| if let Value::Int(value) = value { Some(*value) } else { None }));
    let doubles = floats(all().map(|(_, value)| if let Value::Float(value) = value { Some(*value) } else { None }));
    let bools = bools(all().map(|(_, value)| if let Value::Bool(value) = value { Some(*value) } else { None }));
    // A null is written as Python prints it, which is what the platform does.
    let value_texts = texts(all().map(|(_, value)| match value {
        Value::Text(text) => Some(text.as_str()),
        Value::Null => Some("None"),
        _ => None,
    }));
    let moments = times(all().map(|(_, value)| if let Value::Time(value) = value { Some(*value) } else { None }));
    let documents: Vec<_> =
        all().map(|(_, value)| matches!(value, Value::Json(_)).then(|| json(value).to_string())).collect();
    let documents = texts(documents.iter().map(Option::as_deref));
    let none = || texts(all().map(|_| None));
    let entries = structs(vec![
        ("name", names),
        ("value_type", kinds),
        ("value_int", ints),
        ("value_double", doubles),
        ("value_bool", bools),
        ("value_text", value_texts),
        ("value_timestamp", moments),
        ("value_json", documents),
        ("unit", none()),
        ("uut_pin", none()),
    ]);
    lists(rows.iter().map(|entries| entries.len()), entries)
}

fn is_reference(text: &str) -> bool {
    text.starts_with("file://") || text.starts_with("channel://")
}

fn measurements(rows: &[Row<'_>]) -> ArrayRef {
    let all = || rows.iter().flat_map(Row::measurements);
    let text = |get: fn(&Measurement) -> Option<&str>| texts(all().map(get));
    let number = |get: fn(&Measurement) -> Option<f64>| floats(all().map(get));
    let entries = structs(vec![
        ("name", text(|one| Some(&one.name))),
        ("value", number(|one| one.value)),
        ("unit", text(|one| one.units.as_deref())),
        ("outcome", text(|one| one.outcome.map(Outcome::as_str))),
        ("timestamp", times(all().map(|one| Some(one.timestamp)))),
        ("limit_low", number(|one| one.limit_low)),
        ("limit_high", number(|one| one.limit_high)),
        ("limit_nominal", number(|one| one.limit_nominal)),
        ("limit_comparator", text(|one| Some(one.limit_comparator.as_str()))),
        ("characteristic_id", text(|one| one.characteristic_id.as_deref())),
        ("spec_ref", text(|one| one.spec_ref.as_deref())),
        ("uut_pin", text(|one| one.dut_pin.as_deref())),
        ("fixture_connection", text(|one| one.fixture_connection.as_deref())),
        ("instrument_name", text(|one| one.instrument_name.as_deref())),
        ("instrument_resource", text(|one| one.instrument_resource.as_deref())),
        ("instrument_channel", text(|one| one.instrument_channel.as_deref())),
    ]);
    lists(rows.iter().map(|row| row.measurements().len()), entries)
}

/// On every row, as the platform has them; a step without any has the run's.
fn instruments(run: &RunData, rows: &[Row<'_>]) -> ArrayRef {
    let of_step = |step: &StepData| !step.instruments.is_empty();
    let lists_of: Vec<&[Instrument]> = rows
        .iter()
        .map(|row| row.step().filter(|step| of_step(step)).map_or(&*run.instruments, |step| &*step.instruments))
        .collect();
    let all = || lists_of.iter().copied().flatten();
    let text = |get: fn(&Instrument) -> Option<&str>| -> ArrayRef { Arc::new(all().map(get).collect::<StringArray>()) };
    let entries = structs(vec![
        ("name", text(|one| Some(&one.name))),
        ("id", text(|one| one.id.as_deref())),
        ("driver", text(|one| one.driver.as_deref())),
        ("resource", text(|one| one.resource.as_deref())),
        ("protocol", text(|one| one.protocol.as_deref())),
        ("manufacturer", text(|one| one.manufacturer.as_deref())),
        ("model", text(|one| one.model.as_deref())),
        ("serial_number", text(|one| one.serial_number.as_deref())),
        ("firmware", text(|one| one.firmware.as_deref())),
        ("cal_due", text(|one| one.cal_due.as_deref())),
        ("cal_last", text(|one| one.cal_last.as_deref())),
        ("cal_certificate", text(|one| one.cal_certificate.as_deref())),
        ("cal_lab", text(|one| one.cal_lab.as_deref())),
        ("mocked", bools(all().map(|one| one.mocked))),
    ]);
    lists(lists_of.iter().map(|list| list.len()), entries)
}
