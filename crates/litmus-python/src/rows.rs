//! Rows of a table as Python dicts.

use arrow::array::TimestampMicrosecondArray;
use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Float64Array, Int64Array, ListArray, RecordBatch, StringArray,
};
use arrow::datatypes::{Field, Float64Type, Int64Type, TimestampMicrosecondType};
use litmus_core::tables::Kind;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyString};

/// Every row as a dict of all columns; NULL is `None`, a timestamp an aware `datetime`, JSON what it says.
pub(crate) fn dicts<'py>(py: Python<'py>, batches: &[RecordBatch]) -> PyResult<Bound<'py, PyList>> {
    let tools = Tools::new(py)?;
    let list = PyList::empty(py);
    for batch in batches {
        let schema = batch.schema();
        let columns: Vec<_> =
            schema.fields().iter().zip(batch.columns()).map(|(field, column)| Column::of(field, column)).collect();
        let names: Vec<_> = schema.fields().iter().map(|field| PyString::intern(py, field.name())).collect();
        for row in 0..batch.num_rows() {
            let dict = PyDict::new(py);
            for (name, column) in names.iter().zip(&columns) {
                dict.set_item(name, column.get(&tools, row)?)?;
            }
            list.append(dict)?;
        }
    }
    Ok(list)
}

/// What of Python's library makes values.
struct Tools<'py> {
    py: Python<'py>,
    epoch: Bound<'py, PyAny>,
    timedelta: Bound<'py, PyAny>,
    json_loads: Bound<'py, PyAny>,
}

impl<'py> Tools<'py> {
    fn new(py: Python<'py>) -> PyResult<Self> {
        let datetime = py.import("datetime")?;
        let utc = datetime.getattr("timezone")?.getattr("utc")?;
        let epoch = datetime.getattr("datetime")?.call1((1970, 1, 1, 0, 0, 0, 0, utc))?;
        let (timedelta, json_loads) = (datetime.getattr("timedelta")?, py.import("json")?.getattr("loads")?);
        Ok(Self { py, epoch, timedelta, json_loads })
    }

    /// A time that no `datetime` holds stays a number of microseconds since the epoch.
    fn time(&self, micros: i64) -> PyResult<Bound<'py, PyAny>> {
        let time = self.timedelta.call1((0, 0, micros)).and_then(|since| self.epoch.add(since));
        time.or_else(|_| Ok(micros.into_pyobject(self.py)?.into_any()))
    }

    /// Python's own parser: it keeps integers of any size. A text that it refuses stays a text.
    fn json(&self, text: &str) -> PyResult<Bound<'py, PyAny>> {
        self.json_loads.call1((text,)).or_else(|_| Ok(text.into_pyobject(self.py)?.into_any()))
    }
}

/// A column downcast once.
enum Column {
    Text(StringArray),
    Json(StringArray),
    Int(Int64Array),
    Float(Float64Array),
    Bool(BooleanArray),
    Time(TimestampMicrosecondArray),
    /// Lists, and their elements.
    List(ListArray, Box<Self>),
}

impl Column {
    fn of(field: &Field, column: &ArrayRef) -> Self {
        match Kind::of(field).expect("the reader yields canonical kinds") {
            Kind::Text => Self::Text(column.as_string().clone()),
            Kind::Json => Self::Json(column.as_string().clone()),
            Kind::Int => Self::Int(column.as_primitive::<Int64Type>().clone()),
            Kind::Float => Self::Float(column.as_primitive::<Float64Type>().clone()),
            Kind::Bool => Self::Bool(column.as_boolean().clone()),
            Kind::Timestamp => Self::Time(column.as_primitive::<TimestampMicrosecondType>().clone()),
            Kind::TextList => {
                let lists = column.as_list::<i32>();
                Self::List(lists.clone(), Box::new(Self::Text(lists.values().as_string().clone())))
            }
            Kind::BoolList => {
                let lists = column.as_list::<i32>();
                Self::List(lists.clone(), Box::new(Self::Bool(lists.values().as_boolean().clone())))
            }
        }
    }

    fn array(&self) -> &dyn Array {
        match self {
            Self::Text(array) | Self::Json(array) => array,
            Self::Int(array) => array,
            Self::Float(array) => array,
            Self::Bool(array) => array,
            Self::Time(array) => array,
            Self::List(array, _) => array,
        }
    }

    fn get<'py>(&self, tools: &Tools<'py>, row: usize) -> PyResult<Bound<'py, PyAny>> {
        let py = tools.py;
        if self.array().is_null(row) {
            return Ok(py.None().into_bound(py));
        }
        Ok(match self {
            Self::Text(array) => array.value(row).into_pyobject(py)?.into_any(),
            Self::Json(array) => tools.json(array.value(row))?,
            Self::Int(array) => array.value(row).into_pyobject(py)?.into_any(),
            Self::Float(array) => array.value(row).into_pyobject(py)?.into_any(),
            Self::Bool(array) => array.value(row).into_pyobject(py)?.to_owned().into_any(),
            Self::Time(array) => tools.time(array.value(row))?,
            Self::List(array, elements) => {
                let offsets = array.value_offsets();
                let elements: Vec<_> = (offsets[row]..offsets[row + 1])
                    .map(|at| elements.get(tools, at as usize))
                    .collect::<PyResult<_>>()?;
                PyList::new(py, elements)?.into_any()
            }
        })
    }
}
