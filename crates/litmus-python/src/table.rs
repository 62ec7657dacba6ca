//! One table of one run: Arrow for whoever takes the PyCapsule interface, dicts for everyone else.

use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchIterator};
use arrow::datatypes::{Schema, SchemaRef};
use arrow::ffi::FFI_ArrowSchema;
use arrow::ffi_stream::FFI_ArrowArrayStream;
use litmus_core::Vocabulary;
use litmus_core::reader::{ReadError, RunFile};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyCapsule, PyList};

use crate::rows;

/// The decoded batches; every stream out of it shares their buffers.
#[pyclass(frozen, module = "litmus_host")]
pub(crate) struct Table {
    name: &'static str,
    run_id: String,
    schema: SchemaRef,
    batches: Vec<RecordBatch>,
}

impl Table {
    /// Decodes one table whole. Column names are spelled as in `vocabulary`.
    pub(crate) fn read(run: &RunFile, table: litmus_core::Table, vocabulary: Vocabulary) -> Result<Self, ReadError> {
        let stream = run.open_table(table)?;
        let schema = spelled(&stream.schema(), vocabulary);
        let broken = |error: arrow::error::ArrowError| ReadError::new(&run.summary().path, format!("{table}: {error}"));
        let batches = stream
            .map(|batch| batch.and_then(|batch| RecordBatch::try_new(Arc::clone(&schema), batch.columns().to_vec())))
            .collect::<Result<_, _>>()
            .map_err(broken)?;
        run.check_unchanged()?;
        Ok(Self { name: table.name(), run_id: run.run_id().to_string(), schema, batches })
    }

    fn rows(&self) -> usize {
        self.batches.iter().map(RecordBatch::num_rows).sum()
    }
}

fn spelled(schema: &SchemaRef, vocabulary: Vocabulary) -> SchemaRef {
    if vocabulary == Vocabulary::Litmus {
        return Arc::clone(schema);
    }
    let respell = |field: &Arc<arrow::datatypes::Field>| {
        field.as_ref().clone().with_name(vocabulary.spell(field.name()).into_owned())
    };
    Arc::new(Schema::new_with_metadata(
        schema.fields().iter().map(respell).collect::<Vec<_>>(),
        schema.metadata().clone(),
    ))
}

#[pymethods]
impl Table {
    /// The table's name: runs, steps, vectors, measurements or instruments.
    #[getter]
    fn name(&self) -> &'static str {
        self.name
    }

    /// The run's id.
    #[getter]
    fn run_id(&self) -> &str {
        &self.run_id
    }

    /// How many rows it has.
    #[getter]
    fn num_rows(&self) -> usize {
        self.rows()
    }

    /// The names of its columns, in order.
    #[getter]
    fn column_names(&self) -> Vec<&str> {
        self.schema.fields().iter().map(|field| field.name().as_str()).collect()
    }

    fn __len__(&self) -> usize {
        self.rows()
    }

    fn __repr__(&self) -> String {
        format!(
            "<Table {} of run {}: {} rows, {} columns>",
            self.name,
            self.run_id,
            self.rows(),
            self.schema.fields().len()
        )
    }

    /// Every row as a dict keyed by column name.
    fn to_pylist<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        rows::dicts(py, &self.batches)
    }

    /// The schema, by the Arrow PyCapsule interface.
    fn __arrow_c_schema__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyCapsule>> {
        let schema = FFI_ArrowSchema::try_from(self.schema.as_ref())
            .map_err(|error| PyValueError::new_err(error.to_string()))?;
        PyCapsule::new_with_value(py, schema, c"arrow_schema")
    }

    /// The rows, by the Arrow PyCapsule interface; any number of times. Who asks for another schema casts by himself, as the
    /// interface allows.
    #[pyo3(signature = (requested_schema=None))]
    #[allow(unused_variables)]
    fn __arrow_c_stream__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyCapsule>> {
        let batches = self.batches.clone().into_iter().map(Ok);
        let reader = RecordBatchIterator::new(batches, Arc::clone(&self.schema));
        // The capsule owns the stream: who takes it moves it out, else it is released with the capsule.
        PyCapsule::new_with_value(py, FFI_ArrowArrayStream::new(Box::new(reader)), c"arrow_array_stream")
    }
}
