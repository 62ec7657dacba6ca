//! The recorder, as handles: `litmus_host.recording` gives them the shape of the platform's client, and says which step is
//! active where (a thread's stack, as Rust has it, cannot follow an asyncio task).

use std::path::PathBuf;

use litmus_record as record;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use record::bridge::Level;
use record::{Format, Journal, Measure, Outcome, RecordError, Value};

use crate::error::raise;

fn record_error(py: Python<'_>, error: &RecordError) -> PyErr {
    raise(py, "RecordError", &error.to_string(), error.hint())
}

/// Options come as JSON: their names were checked by the signatures in Python.
fn options<T: serde::de::DeserializeOwned>(json: &str) -> PyResult<T> {
    let mut reader = serde_json::Deserializer::from_str(json);
    serde_path_to_error::deserialize(&mut reader).map_err(|error| PyTypeError::new_err(told(&error)))
}

/// `dut_serial: invalid type: integer 5, expected a string`: which argument, and no place in a JSON that the user never saw.
fn told(error: &serde_path_to_error::Error<serde_json::Error>) -> String {
    let what = error.inner().to_string();
    let what = what.rsplit_once(" at line ").map_or(what.as_str(), |(what, _)| what);
    match error.path().to_string().as_str() {
        "." => what.to_owned(),
        path => format!("{path}: {what}"),
    }
}

fn parsed<T: std::str::FromStr<Err = RecordError>>(py: Python<'_>, text: &str) -> PyResult<T> {
    text.parse().map_err(|error| record_error(py, &error))
}

fn micros(time: jiff::Timestamp) -> i64 {
    time.as_microsecond()
}

fn time(micros: i64) -> PyResult<jiff::Timestamp> {
    jiff::Timestamp::from_microsecond(micros).map_err(|error| PyValueError::new_err(error.to_string()))
}

/// A value with its kind, as `litmus_host.recording` tells them apart.
#[derive(FromPyObject)]
struct Kinded<'py>(String, Bound<'py, PyAny>);

impl Kinded<'_> {
    fn value(&self) -> PyResult<Value> {
        Ok(match self.0.as_str() {
            "null" => Value::Null,
            "bool" => Value::Bool(self.1.extract()?),
            "int" => Value::Int(self.1.extract()?),
            "float" => Value::Float(self.1.extract()?),
            "time" => Value::Time(time(self.1.extract()?)?),
            "json" => Value::Json(options(&self.1.extract::<String>()?)?),
            _ => Value::Text(self.1.extract()?),
        })
    }
}

/// Records runs into one data dir.
#[pyclass(frozen, module = "litmus_host._native")]
pub(crate) struct Recorder(record::Client);

#[pymethods]
impl Recorder {
    #[new]
    fn new(data_dir: PathBuf, format: &str, journal: &str) -> PyResult<Self> {
        let format = match format {
            "flat" => Format::Flat,
            "nested" => Format::Nested,
            _ => return Err(PyValueError::new_err(format!("{format:?} is not a format; there are flat and nested"))),
        };
        let journal = match journal {
            "off" => Journal::Off,
            "on" => Journal::On,
            "synced" => Journal::Synced,
            _ => return Err(PyValueError::new_err(format!("{journal:?} is no journal; there are off, on and synced"))),
        };
        Ok(Self(record::Client::new(data_dir).format(format).journal(journal)))
    }

    fn start_run(&self, py: Python<'_>, json: &str) -> PyResult<Run> {
        let options = options(json)?;
        py.detach(|| self.0.start_run(options)).map(Run).map_err(|error| record_error(py, &error))
    }
}

/// A run that is being recorded.
#[pyclass(frozen, module = "litmus_host._native")]
pub(crate) struct Run(record::Run);

/// What a sealed run is: path, outcome, start, end, what came late, what is wrong with the journal.
type Sealed = (PathBuf, Option<&'static str>, i64, i64, u64, Option<String>);

#[pymethods]
impl Run {
    #[getter]
    fn id(&self) -> String {
        self.0.id().to_string()
    }

    #[getter]
    fn outcome(&self) -> Option<&'static str> {
        self.0.outcome().map(Outcome::as_str)
    }

    #[getter]
    fn is_over(&self) -> bool {
        self.0.is_over()
    }

    fn open_step(&self, py: Python<'_>, json: &str) -> PyResult<Step> {
        let options: record::StepOptions = options(json)?;
        Ok(Step(py.detach(|| self.0.open_step(options))))
    }

    fn custom(&self, py: Python<'_>, name: &str, value: Kinded<'_>) -> PyResult<()> {
        let value = value.value()?;
        py.detach(|| self.0.custom(name, value));
        Ok(())
    }

    fn instrument(&self, py: Python<'_>, json: &str) -> PyResult<()> {
        let instrument = options(json)?;
        py.detach(|| self.0.instrument(instrument));
        Ok(())
    }

    fn set_outcome(&self, py: Python<'_>, outcome: &str) -> PyResult<()> {
        let outcome = parsed(py, outcome)?;
        py.detach(|| self.0.set_outcome(outcome));
        Ok(())
    }

    fn finish(&self, py: Python<'_>) -> PyResult<Sealed> {
        let sealed = py.detach(|| self.0.finish()).map_err(|error| record_error(py, &error))?;
        let journal_error = sealed.journal_error.as_ref().map(ToString::to_string);
        let (started, ended) = (micros(sealed.started_at), micros(sealed.ended_at));
        Ok((sealed.path, sealed.outcome.map(Outcome::as_str), started, ended, sealed.late, journal_error))
    }

    #[pyo3(signature = (reason=None))]
    fn abort(&self, py: Python<'_>, reason: Option<&str>) {
        py.detach(|| self.0.abort(reason));
    }
}

/// What is measured, besides name and value.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
struct Details {
    units: Option<String>,
    low: Option<f64>,
    high: Option<f64>,
    nominal: Option<f64>,
    comparator: String,
    spec_ref: Option<String>,
    characteristic_id: Option<String>,
    dut_pin: Option<String>,
    fixture_connection: Option<String>,
    instrument_name: Option<String>,
    instrument_resource: Option<String>,
    instrument_channel: Option<String>,
    outcome: Option<String>,
    timestamp: Option<i64>,
}

impl Details {
    fn measure(self, py: Python<'_>, name: &str, value: Option<f64>) -> PyResult<Measure> {
        let mut measure = Measure::new(name, value);
        measure.comparator = parsed(py, &self.comparator)?;
        measure.outcome = self.outcome.map(|outcome| parsed(py, &outcome)).transpose()?;
        measure.timestamp = self.timestamp.map(time).transpose()?;
        (measure.units, measure.spec_ref, measure.characteristic_id) =
            (self.units, self.spec_ref, self.characteristic_id);
        (measure.low, measure.high, measure.nominal) = (self.low, self.high, self.nominal);
        (measure.dut_pin, measure.fixture_connection) = (self.dut_pin, self.fixture_connection);
        (measure.instrument_name, measure.instrument_resource) = (self.instrument_name, self.instrument_resource);
        measure.instrument_channel = self.instrument_channel;
        Ok(measure)
    }
}

/// What steps and vectors have in common.
macro_rules! recording {
    ($kind:ident { $($more:item)* }) => {
        #[pymethods]
        impl $kind {
            #[getter]
            fn outcome(&self) -> Option<&'static str> {
                self.0.outcome().map(Outcome::as_str)
            }

            #[getter]
            fn has_ended(&self) -> bool {
                self.0.has_ended()
            }

            /// The outcome, and when it was taken.
            fn measure(
                &self,
                py: Python<'_>,
                name: &str,
                value: Option<f64>,
                details: Details,
            ) -> PyResult<(Option<&'static str>, i64)> {
                let measure = details.measure(py, name, value)?;
                let measured = py.detach(|| self.0.record(measure)).map_err(|error| record_error(py, &error))?;
                Ok((measured.outcome.map(Outcome::as_str), micros(measured.timestamp)))
            }

            #[pyo3(signature = (outcome, message=None))]
            fn judge(&self, py: Python<'_>, outcome: &str, message: Option<String>) -> PyResult<()> {
                let outcome = parsed(py, outcome)?;
                py.detach(|| self.0.judge(outcome, message));
                Ok(())
            }

            fn observe(&self, py: Python<'_>, name: &str, value: Kinded<'_>) -> PyResult<()> {
                let value = value.value()?;
                py.detach(|| self.0.observe(name, value));
                Ok(())
            }

            fn attach(&self, py: Python<'_>, name: &str, bytes: &[u8]) -> PyResult<String> {
                py.detach(|| self.0.attach(name, bytes)).map_err(|error| record_error(py, &error))
            }

            fn attach_file(&self, py: Python<'_>, path: PathBuf) -> PyResult<String> {
                py.detach(|| self.0.attach_file(&path)).map_err(|error| record_error(py, &error))
            }

            fn end(&self, py: Python<'_>) {
                py.detach(|| self.0.end());
            }

            $($more)*
        }
    };
}

/// A step that is being recorded.
#[pyclass(frozen, module = "litmus_host._native")]
pub(crate) struct Step(record::Step);

recording!(Step {
    fn open_step(&self, py: Python<'_>, json: &str) -> PyResult<Self> {
        let options: record::StepOptions = options(json)?;
        Ok(Self(py.detach(|| self.0.open_step(options))))
    }

    fn open_vector(&self, py: Python<'_>, params: Vec<(String, Kinded<'_>)>) -> PyResult<Vector> {
        let params = params.into_iter().map(|(name, value)| Ok((name, value.value()?))).collect::<PyResult<Vec<_>>>()?;
        Ok(Vector(py.detach(|| self.0.open_vector(params))))
    }

    fn instrument(&self, py: Python<'_>, json: &str) -> PyResult<()> {
        let instrument = options(json)?;
        py.detach(|| self.0.instrument(instrument));
        Ok(())
    }

    /// Keeps a log record with the step; the level is one of Python's numbers.
    fn log(&self, py: Python<'_>, level: i64, target: &str, message: &str) {
        let level = match level {
            ..10 => Level::Trace,
            10..20 => Level::Debug,
            20..30 => Level::Info,
            30..40 => Level::Warn,
            40..50 => Level::Error,
            _ => Level::Critical,
        };
        py.detach(|| self.0.log(level, target, message));
    }
});

/// A vector that is being recorded.
#[pyclass(frozen, module = "litmus_host._native")]
pub(crate) struct Vector(record::Vector);

recording!(Vector {});
