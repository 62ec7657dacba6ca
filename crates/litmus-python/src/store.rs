//! A data dir and an index of its runs, kept for as long as somebody holds the store: a second look opens only what is new.

use std::collections::HashMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use litmus_core::reader::{FoundFile, ReadError, RunFile, Stamp, resolve_data_dir};
use litmus_core::{RunId, Summary, Vocabulary, tables};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};

use crate::error::{raise, read_error};
use crate::table::Table;

/// Ids named in the message about a prefix that fits several runs.
const CANDIDATES_MAX: usize = 5;

/// A data dir that is there.
#[pyclass(frozen, module = "litmus_host._native")]
pub(crate) struct Store {
    store: litmus_core::reader::Store,
    known: Mutex<Index>,
}

#[derive(Default)]
struct Index {
    files: HashMap<PathBuf, Known>,
    /// Folders that could not be walked at the last look.
    troubles: Vec<ReadError>,
}

/// A file as it was at the last look.
struct Known {
    stamp: Stamp,
    run: Result<Arc<Summary>, ReadError>,
}

impl Index {
    /// Takes up what is new and forgets what is gone.
    fn refresh(&mut self, store: &litmus_core::reader::Store) {
        let (found, troubles) = store.walk();
        self.troubles = troubles;
        let mut before = std::mem::take(&mut self.files);
        for FoundFile { path, stamp } in found {
            let known = match before.remove(&path) {
                // Trouble that may pass is asked about again.
                Some(known) if known.stamp == stamp && !known.run.as_ref().is_err_and(ReadError::is_transient) => known,
                _ => Known { stamp, run: store.open_run(&path).map(|run| Arc::new(run.summary().clone())) },
            };
            self.files.insert(path, known);
        }
    }

    /// One summary a run: of several revisions the one that wins everywhere else, too.
    fn runs(&self) -> Vec<Arc<Summary>> {
        let mut runs: HashMap<RunId, &Arc<Summary>> = HashMap::new();
        for summary in self.files.values().filter_map(|known| known.run.as_ref().ok()) {
            // Two copies of one revision: the path decides, so that every look gives the same.
            let order = |summary: &Summary| (summary.rank(), std::cmp::Reverse(summary.path.clone()));
            let best = runs.entry(summary.run_id).or_insert(summary);
            if order(summary) > order(best) {
                *best = summary;
            }
        }
        runs.into_values().map(Arc::clone).collect()
    }

    fn unreadable(&self) -> Vec<&ReadError> {
        let files = self.files.values().filter_map(|known| known.run.as_ref().err());
        let mut errors: Vec<_> = files.chain(&self.troubles).collect();
        errors.sort_by(|a, b| a.path().cmp(b.path()));
        errors
    }
}

impl Store {
    /// Looks at the data dir `again`, or takes what the last look found; other threads of Python go on meanwhile.
    fn look<T: Send>(&self, py: Python<'_>, again: bool, call: impl FnOnce(&Index) -> T + Send) -> T {
        py.detach(|| {
            let mut index = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            if again {
                index.refresh(&self.store);
            }
            call(&index)
        })
    }

    /// The run whose id starts so; `None` where there is none.
    fn summary(&self, py: Python<'_>, run_id: &str) -> PyResult<Option<Arc<Summary>>> {
        let wanted = normal(run_id);
        if wanted.is_empty() || !wanted.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            let message = format!("{run_id:?} is not the beginning of a run's id");
            return Err(raise(
                py,
                "ReadError",
                &message,
                Some("ids are UUIDs, such as 0198c2d4-…; list_runs() lists them"),
            ));
        }
        let mut runs = self.look(py, true, Index::runs);
        runs.retain(|run| normal(&run.run_id.to_string()).starts_with(&wanted));
        if runs.len() > 1 {
            runs.sort_by_key(|run| run.run_id);
            let ids: Vec<_> = runs.iter().take(CANDIDATES_MAX).map(|run| run.run_id.to_string()).collect();
            let message = format!("{} runs' ids start with {run_id:?}: {}", runs.len(), ids.join(", "));
            return Err(raise(py, "ReadError", &message, Some("give more of the id")));
        }
        Ok(runs.pop())
    }
}

/// Ids compare without case and hyphens.
fn normal(id: &str) -> String {
    id.chars().filter(|c| *c != '-').flat_map(char::to_lowercase).collect()
}

#[pymethods]
impl Store {
    /// The data dir as named, or as the platform finds it.
    #[new]
    #[pyo3(signature = (data_dir=None))]
    fn new(py: Python<'_>, data_dir: Option<PathBuf>) -> PyResult<Self> {
        let path = find_data_dir(py, data_dir)?;
        let store = litmus_core::reader::Store::open(Path::new(&path)).map_err(|error| read_error(py, &error))?;
        Ok(Self { store, known: Mutex::default() })
    }

    /// The data dir, absolute, its links resolved.
    #[getter]
    fn data_dir(&self) -> OsString {
        self.store.data_dir().as_os_str().to_owned()
    }

    /// Every run, the newest first.
    #[pyo3(signature = (limit=None))]
    fn runs<'py>(&self, py: Python<'py>, limit: Option<usize>) -> PyResult<Bound<'py, PyList>> {
        let mut runs = self.look(py, true, Index::runs);
        runs.sort_by(|a, b| (b.run_started_at, &b.path).cmp(&(a.run_started_at, &a.path)));
        runs.truncate(limit.unwrap_or(usize::MAX));
        let dicts: Vec<_> = runs.iter().map(|run| self.dict(py, run)).collect::<PyResult<_>>()?;
        PyList::new(py, dicts)
    }

    /// The run whose id starts so.
    fn run<'py>(&self, py: Python<'py>, run_id: &str) -> PyResult<Option<Bound<'py, PyDict>>> {
        self.summary(py, run_id)?.map(|run| self.dict(py, &run)).transpose()
    }

    /// One table of the run whose id starts so.
    #[pyo3(signature = (run_id, table, vocabulary="litmus"))]
    fn table(&self, py: Python<'_>, run_id: &str, table: &str, vocabulary: &str) -> PyResult<Option<Table>> {
        let Some(table) = litmus_core::Table::ALL.into_iter().find(|known| known.name() == table) else {
            let names: Vec<_> = litmus_core::Table::ALL.iter().map(|table| table.name()).collect();
            return Err(PyValueError::new_err(format!("{table:?} is not a table; there are {}", names.join(", "))));
        };
        let vocabulary = parse_vocabulary(vocabulary)?;
        let Some(summary) = self.summary(py, run_id)? else { return Ok(None) };
        let read = || {
            let run: RunFile = self.store.open_run(Path::new(&summary.path))?;
            if run.run_id() != summary.run_id {
                let message = format!("was replaced by another run while {} was read", summary.run_id);
                return Err(ReadError::new(&summary.path, message).with_hint("ask again"));
            }
            Table::read(&run, table, vocabulary)
        };
        py.detach(read).map(Some).map_err(|error| read_error(py, &error))
    }

    /// Path, reason and remedy of every file and folder that cannot be read; without a new `look`, as of the last one.
    #[pyo3(signature = (look=true))]
    fn unreadable(&self, py: Python<'_>, look: bool) -> Vec<(String, String, Option<String>)> {
        let told =
            |error: &ReadError| (error.path().to_owned(), error.message().to_owned(), error.hint().map(str::to_owned));
        self.look(py, look, |index| index.unreadable().into_iter().map(told).collect())
    }

    /// Finds the data dir as the platform does; it need not be there yet.
    #[staticmethod]
    #[pyo3(signature = (data_dir=None))]
    fn find(py: Python<'_>, data_dir: Option<PathBuf>) -> PyResult<OsString> {
        find_data_dir(py, data_dir)
    }
}

impl Store {
    fn dict<'py>(&self, py: Python<'py>, run: &Summary) -> PyResult<Bound<'py, PyDict>> {
        let dict = PyDict::new(py);
        for (name, value) in &run.columns {
            dict.set_item(name, json_value(py, value)?)?;
        }
        let micros = |time: Option<jiff::Timestamp>| time.map(jiff::Timestamp::as_microsecond);
        dict.set_item("run_id", run.run_id.to_string())?;
        dict.set_item("sha256", run.sha256.to_string())?;
        dict.set_item("path", &run.path)?;
        dict.set_item("file_path", self.store.data_dir().join(&run.path).as_os_str())?;
        dict.set_item("generation", &run.generation)?;
        dict.set_item("run_started_at", micros(run.run_started_at))?;
        dict.set_item("run_ended_at", micros(run.run_ended_at))?;
        dict.set_item("dut_serial", &run.dut_serial)?;
        dict.set_item("dut_part_number", &run.dut_part_number)?;
        dict.set_item("station_id", &run.station_id)?;
        dict.set_item("run_outcome", &run.run_outcome)?;
        dict.set_item("outcome", &run.outcome)?;
        dict.set_item("outcome_derived", run.outcome_derived)?;
        for (name, count) in
            [("steps", run.steps), ("vectors", run.vectors), ("measurements", run.measurements), ("rows", run.rows)]
        {
            dict.set_item(name, count)?;
        }
        Ok(dict)
    }
}

/// Columns of a summary are texts, numbers and truth values.
fn json_value<'py>(py: Python<'py>, value: &serde_json::Value) -> PyResult<Bound<'py, PyAny>> {
    use serde_json::Value;
    Ok(match value {
        Value::Null => py.None().into_bound(py),
        Value::Bool(value) => value.into_pyobject(py)?.to_owned().into_any(),
        Value::String(text) => text.into_pyobject(py)?.into_any(),
        Value::Number(number) => match number.as_i64() {
            Some(number) => number.into_pyobject(py)?.into_any(),
            None => number.as_f64().into_pyobject(py)?,
        },
        other => other.to_string().into_pyobject(py)?.into_any(),
    })
}

fn find_data_dir(py: Python<'_>, data_dir: Option<PathBuf>) -> PyResult<OsString> {
    let folder = std::env::current_dir()?;
    if let Some(data_dir) = data_dir {
        return Ok(folder.join(data_dir).into_os_string());
    }
    let found = resolve_data_dir(None, &folder, &|name| std::env::var_os(name)).map_err(|error| {
        let hint = "name the folder that holds runs/: Client(data_dir=…), or run in a Litmus project";
        read_error(py, &error.with_hint(hint))
    })?;
    Ok(folder.join(found.path).into_os_string())
}

fn parse_vocabulary(name: &str) -> PyResult<Vocabulary> {
    match name {
        "litmus" => Ok(Vocabulary::Litmus),
        "testerkit" => Ok(Vocabulary::Testerkit),
        _ => Err(PyValueError::new_err(format!("{name:?} is not a vocabulary; there are litmus and testerkit"))),
    }
}

/// The canonical name of a column as any release spells it.
#[pyfunction]
pub(crate) fn canonical_name(name: &str) -> String {
    tables::canonical_name(name).into_owned()
}
