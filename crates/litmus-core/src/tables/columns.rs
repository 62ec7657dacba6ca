//! The columns that every run has, whatever release wrote it. Names and meanings are those of the Litmus 0.1 documentation;
//! columns that came later stand under their own name.

use super::Kind::{Bool, BoolList, Float, Int, Json, Text, TextList, Timestamp};
use super::{Column, Kind};

const fn column(name: &'static str, kind: Kind, doc: &'static str) -> Column {
    Column { name, kind, doc }
}

const RUN_ID: Column = column("run_id", Text, "The run, a UUID");
const ROW_INDEX: Column = column("row_index", Int, "Position of the row in the sealed file, from 0");
const STEP_INDEX: Column = column("step_index", Int, "Position of the step in its sequence");
const STEP_NAME: Column = column("step_name", Text, "Name of the step");
const STEP_PATH: Column = column("step_path", Text, "Path of the step, its parents before it");
const PARENT_PATH: Column = column("parent_path", Text, "Path of the step's parent; not written since 0.3");
const STEP_RETRY: Column = column("step_retry", Int, "Which attempt at the step, from 0; since 0.3");
const STEP_OUTCOME: Column = column("step_outcome", Text, "Outcome of the step");
const VECTOR_INDEX: Column = column("vector_index", Int, "Position of the vector in its step");
const VECTOR_OUTER_INDEX: Column = column("vector_outer_index", Int, "Position in the outer sweep; since 0.3");
const VECTOR_RETRY: Column = column("vector_retry", Int, "Which attempt at the vector, from 0");
const VECTOR_OUTCOME: Column = column("vector_outcome", Text, "Outcome of the vector");
const INPUTS: Column = column("inputs", Json, "Inputs with unit, pin and type, as stored; since 0.2");
const OUTPUTS: Column = column("outputs", Json, "Outputs with unit, pin and type, as stored; since 0.2");

pub(super) const RUNS: &[Column] = &[
    RUN_ID,
    ROW_INDEX,
    column("session_id", Text, "The session that the run was part of"),
    column("slot_id", Text, "Slot of a multi-slot bench; until 0.2"),
    column("site_index", Int, "Site of a multi-site bench; since 0.3"),
    column("site_name", Text, "Name of the site; since 0.3"),
    column("run_started_at", Timestamp, "Start of the run"),
    column("run_ended_at", Timestamp, "End of the run"),
    column("operator_id", Text, "Operator"),
    column("operator_name", Text, "Operator's name"),
    column("dut_serial", Text, "Serial number of the unit under test"),
    column("dut_part_number", Text, "Part number of the unit under test"),
    column("dut_revision", Text, "Revision of the unit under test"),
    column("dut_lot_number", Text, "Lot of the unit under test"),
    column("product_id", Text, "Product definition the run tested against"),
    column("product_name", Text, "Name of the product"),
    column("product_revision", Text, "Revision of the product"),
    column("station_id", Text, "The bench"),
    column("station_name", Text, "Name of the bench"),
    column("station_type", Text, "Type of the bench"),
    column("station_location", Text, "Where the bench stands"),
    column("station_hostname", Text, "Host name of the bench's computer"),
    column("machine_id", Text, "Identity of the bench's computer; since testerkit 0.5"),
    column("fixture_id", Text, "Fixture"),
    column("test_phase", Text, "Phase: development, production, …"),
    column("project_name", Text, "Project"),
    column("git_commit", Text, "Commit of the project"),
    column("git_branch", Text, "Branch of the project"),
    column("git_remote", Text, "Remote of the project"),
    column("run_outcome", Text, "Outcome of the run as stored; can be NULL"),
    column("outcome", Text, "run_outcome, or the outcome derived from steps, vectors and measurements"),
    column("outcome_derived", Bool, "Whether outcome was derived"),
    column("python_version", Text, "Python the run was made with"),
    column("litmus_version", Text, "litmus-test release that wrote the run"),
    column("testerkit_version", Text, "testerkit release that wrote the run"),
    column("env_fingerprint", Text, "Fingerprint of the Python environment"),
    column("schema_version", Text, "schema_version of the sealed file's footer"),
    column("generation", Text, "Generation of the file format: flat, nested or nested2"),
    column("environment_json", Json, "The environment, from the sealed file's footer"),
    column("custom_metadata", Json, "Custom values, from the sealed file's footer"),
    column("step_results", Json, "Step results, from the sealed file's footer; until 0.2"),
];

pub(super) const STEPS: &[Column] = &[
    RUN_ID,
    ROW_INDEX,
    STEP_INDEX,
    STEP_NAME,
    STEP_PATH,
    PARENT_PATH,
    STEP_RETRY,
    VECTOR_INDEX,
    column("step_started_at", Timestamp, "Start of the step"),
    column("step_ended_at", Timestamp, "End of the step"),
    STEP_OUTCOME,
    column("step_node_id", Text, "pytest node of the step"),
    column("step_module", Text, "Python module of the step"),
    column("step_file", Text, "Python file of the step"),
    column("step_class", Text, "Python class of the step"),
    column("step_function", Text, "Python function of the step"),
    column("step_markers", Text, "pytest markers of the step"),
    column("step_vector_count", Int, "How many vectors the step has; until 0.2"),
    INPUTS,
    OUTPUTS,
    column("step_instruments_name", TextList, "Instruments of the step: role names"),
    column("step_instruments_id", TextList, "Instruments of the step: identities"),
    column("step_instruments_driver", TextList, "Instruments of the step: drivers"),
    column("step_instruments_resource", TextList, "Instruments of the step: resource addresses"),
    column("step_instruments_protocol", TextList, "Instruments of the step: protocols"),
    column("step_instruments_manufacturer", TextList, "Instruments of the step: manufacturers"),
    column("step_instruments_model", TextList, "Instruments of the step: models"),
    column("step_instruments_serial", TextList, "Instruments of the step: serial numbers"),
    column("step_instruments_firmware", TextList, "Instruments of the step: firmware versions"),
    column("step_instruments_cal_due", TextList, "Instruments of the step: when calibration is due"),
    column("step_instruments_cal_last", TextList, "Instruments of the step: last calibration"),
    column("step_instruments_cal_certificate", TextList, "Instruments of the step: calibration certificates"),
    column("step_instruments_cal_lab", TextList, "Instruments of the step: calibration labs"),
    column("step_instruments_mocked", BoolList, "Instruments of the step: whether each was simulated"),
];

pub(super) const VECTORS: &[Column] = &[
    RUN_ID,
    ROW_INDEX,
    STEP_INDEX,
    STEP_NAME,
    STEP_PATH,
    PARENT_PATH,
    STEP_RETRY,
    VECTOR_INDEX,
    VECTOR_OUTER_INDEX,
    VECTOR_RETRY,
    column("vector_started_at", Timestamp, "Start of the vector"),
    column("vector_ended_at", Timestamp, "End of the vector"),
    VECTOR_OUTCOME,
    INPUTS,
    OUTPUTS,
];

pub(super) const MEASUREMENTS: &[Column] = &[
    RUN_ID,
    column("row_index", Int, "Position in the sealed file, from 0, of the row that owns the measurement"),
    column("measurement_index", Int, "Position of the measurement in the row that owns it, from 0"),
    column("owner", Text, "What owns the measurement: step or vector, or measurement for a row of its own"),
    STEP_INDEX,
    STEP_NAME,
    STEP_PATH,
    PARENT_PATH,
    STEP_RETRY,
    STEP_OUTCOME,
    VECTOR_INDEX,
    VECTOR_OUTER_INDEX,
    VECTOR_RETRY,
    VECTOR_OUTCOME,
    column("measurement_name", Text, "Name of the measurement"),
    column("measurement_value", Float, "Value; NaN and infinities occur"),
    column("measurement_units", Text, "Unit of value and limits"),
    column("measurement_outcome", Text, "Outcome of the measurement"),
    column("measurement_timestamp", Timestamp, "When it was taken"),
    column("limit_low", Float, "Lower limit"),
    column("limit_high", Float, "Upper limit"),
    column("limit_nominal", Float, "Nominal value"),
    column("limit_comparator", Text, "How value and limits are compared, such as GELE"),
    column("characteristic_id", Text, "Characteristic of the product measured"),
    column("spec_ref", Text, "Reference into the specification"),
    column("dut_pin", Text, "Pin of the unit under test"),
    column("fixture_connection", Text, "Connection of the fixture"),
    column("instrument_name", Text, "Instrument that measured: role name"),
    column("instrument_resource", Text, "Instrument that measured: resource address"),
    column("instrument_channel", Text, "Instrument that measured: channel"),
];

pub(super) const INSTRUMENTS: &[Column] = &[
    RUN_ID,
    column("row_index", Int, "Position in the sealed file, from 0, of the row that lists the instrument"),
    column("instrument_index", Int, "Position of the instrument in that row's list, from 0"),
    column("owner", Text, "What lists the instrument: run, step, vector or measurement"),
    column("instrument_name", Text, "Role name"),
    column("instrument_id", Text, "Identity"),
    column("instrument_driver", Text, "Driver"),
    column("instrument_resource", Text, "Resource address"),
    column("instrument_protocol", Text, "Protocol"),
    column("instrument_manufacturer", Text, "Manufacturer"),
    column("instrument_model", Text, "Model"),
    column("instrument_serial", Text, "Serial number"),
    column("instrument_firmware", Text, "Firmware version"),
    column("instrument_cal_due", Text, "When calibration is due"),
    column("instrument_cal_last", Text, "Last calibration"),
    column("instrument_cal_certificate", Text, "Calibration certificate"),
    column("instrument_cal_lab", Text, "Calibration lab"),
    column("instrument_mocked", Bool, "Whether it was simulated"),
];
