//! Errors as the classes of `litmus_host.errors`: one hierarchy, whoever raises.

use litmus_core::reader::ReadError;
use pyo3::prelude::*;

/// An error of the reader.
pub(crate) fn read_error(py: Python<'_>, error: &ReadError) -> PyErr {
    raise(py, "ReadError", &format!("{}: {}", error.path(), error.message()), error.hint())
}

/// An error of a class of `litmus_host.errors`.
pub(crate) fn raise(py: Python<'_>, class: &str, message: &str, hint: Option<&str>) -> PyErr {
    let errors = py.import("litmus_host.errors");
    let made = errors.and_then(|errors| errors.getattr(class)?.call1((message, hint)));
    made.map_or_else(|error| error, PyErr::from_value)
}
