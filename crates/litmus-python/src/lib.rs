//! The native part of the Python package `litmus_host`: what reads run files and what records them. Everything else of the
//! package is Python, beside this in `python/litmus_host`.
//!
//! - [`store::Store`]: a data dir, and an index of its runs.
//! - [`table::Table`]: one table of one run, as Arrow and as dicts.
//! - [`record`]: runs, steps and vectors that are being recorded.

mod error;
mod record;
mod rows;
mod store;
mod table;

/// `litmus_host._native`; its stub is `_native.pyi`.
#[pyo3::pymodule]
mod _native {
    #[pymodule_export]
    use super::record::{Recorder, Run, Step, Vector};
    #[pymodule_export]
    use super::store::{Store, canonical_name};
    #[pymodule_export]
    use super::table::Table;
}
