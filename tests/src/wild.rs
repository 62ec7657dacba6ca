//! Run files as no bench writes them, and as any may: every generation, unknown and missing columns, colliding names, types that
//! differ from run to run, inputs of mixed kinds under one name. From a seed, with all that a destination must hold of them.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BooleanArray, Float64Array, Int64Array, ListArray, StringArray, StructArray,
    TimestampMicrosecondArray,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{Field, Fields};
use arrow::record_batch::RecordBatch;

use crate::rewrite;

/// A value that a destination must hold.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Any number with a fraction, NaN and the infinities too.
    Float(f64),
    /// A whole number.
    Int(i64),
    /// A truth value.
    Bool(bool),
    /// A text.
    Text(String),
    /// Microseconds since 1970, UTC.
    Time(i64),
}

/// Where a value belongs: the table, the row's place in the file, the measurement's place in its row, the canonical column.
pub type Place = (&'static str, i64, Option<i64>, String);

/// What a run file holds.
#[derive(Clone, Debug)]
pub struct Wild {
    /// Lower-case and hyphenated.
    pub run_id: String,
    /// Rows of the file: the more, the higher it ranks among files of its run.
    pub rows: usize,
    /// Rows that each table must have.
    pub counts: BTreeMap<&'static str, i64>,
    /// Every cell of the columns that are looked at.
    pub cells: BTreeMap<Place, Value>,
}

#[derive(Clone, Copy, PartialEq)]
enum Generation {
    Flat,
    Nested,
    Nested2,
}

const UNKNOWN: [&str; 8] = ["vendor_x", "Vendor_X", "site code", "order", "rowid", "extra", "_", "a\"b"];
const INPUTS: [&str; 5] = ["V", "v", "mode", "ü/Ω", "temp (C)"];
const TEXTS: [&str; 9] =
    ["", "auto", "a\0b", "NaN", "1e5", "'; DROP TABLE runs; --", "Zürich\n2", "null", "\u{10ffff}"];
const FLOATS: [f64; 9] = [0.5, -1.25, 1e308, 5e-324, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 0.1, 1234.5];
const INTS: [i64; 5] = [0, 7, -3, (1 << 53) + 1, i64::MIN];
/// Entries of a long list.
const LONG_LIST: usize = 3_000;

/// Writes `runs/<name>.parquet` with run `id` of a seed.
pub fn write(data_dir: &Path, name: &str, id: u8, rng: &mut fastrand::Rng) -> Wild {
    let generation = [Generation::Flat, Generation::Nested, Generation::Nested2][rng.usize(..3)];
    let run_id = uuid::Uuid::from_bytes([id.wrapping_mul(29) ^ 0x5a; 16]).to_string();
    let mut types = vec!["run"];
    let others: &[&str] = match generation {
        Generation::Flat => &["step", "measurement", "measurement"],
        _ => &["step", "vector"],
    };
    let rows = [0, 1, 5, 40][rng.usize(..4)];
    types.extend((0..rows).map(|_| others[rng.usize(..others.len())]));
    // The run's row stands anywhere.
    let at = rng.usize(..types.len());
    types.swap(0, at);
    let mut file = File { types, run_id, columns: Vec::new(), cells: BTreeMap::new(), counts: BTreeMap::new() };
    file.add_context(generation, rng);
    for name in UNKNOWN {
        if rng.u8(..3) == 0 {
            file.add_scalar(name, name, rng);
        }
    }
    // A column without any value says nothing.
    file.columns.push(("vendor_none".to_owned(), Arc::new(StringArray::new_null(file.types.len()))));
    match generation {
        Generation::Flat => file.add_flat(rng),
        _ => file.add_nested(generation, rng),
    }
    for table in ["runs", "steps", "vectors"] {
        let count = file.types.iter().filter(|name| table.strip_suffix('s') == Some(**name)).count();
        file.counts.insert(table, count as i64);
    }
    let columns = file.columns.into_iter().map(|(name, array)| (name, array, true));
    let batch = RecordBatch::try_from_iter_with_nullable(columns).expect("columns of one length");
    rewrite::write(&data_dir.join("runs").join(format!("{name}.parquet")), [batch], Vec::new());
    Wild { run_id: file.run_id, rows: file.types.len(), counts: file.counts, cells: file.cells }
}

struct File {
    types: Vec<&'static str>,
    run_id: String,
    columns: Vec<(String, ArrayRef)>,
    cells: BTreeMap<Place, Value>,
    counts: BTreeMap<&'static str, i64>,
}

fn table_of(record_type: &str) -> &'static str {
    match record_type {
        "run" => "runs",
        "step" => "steps",
        "vector" => "vectors",
        _ => "measurements",
    }
}

impl File {
    fn add_context(&mut self, generation: Generation, rng: &mut fastrand::Rng) {
        let rows = self.types.len();
        let same = |text: &str| -> ArrayRef { Arc::new(StringArray::from(vec![text; rows])) };
        self.columns.push(("record_type".to_owned(), Arc::new(StringArray::from(self.types.clone()))));
        self.columns.push(("run_id".to_owned(), same(&self.run_id)));
        let run = self.types.iter().position(|name| *name == "run").expect("a run") as i64;
        let serial = format!("SN {}", TEXTS[rng.usize(..TEXTS.len())]);
        let stored = match generation {
            Generation::Flat => ["dut_serial", "uut_serial"][rng.usize(..2)],
            Generation::Nested => "uut_serial",
            Generation::Nested2 => "uut_serial_number",
        };
        self.columns.push((stored.to_owned(), same(&serial)));
        self.cells.insert(("runs", run, None, "dut_serial".to_owned()), Value::Text(serial));
        // A second column that maps onto the same name keeps its own.
        if stored == "dut_serial" && rng.bool() {
            self.columns.push(("uut_serial".to_owned(), same("other")));
            for (row, name) in self.types.iter().enumerate() {
                let index = (*name == "measurement").then_some(0);
                let place = (table_of(name), row as i64, index, "uut_serial".to_owned());
                self.cells.insert(place, Value::Text("other".to_owned()));
            }
        }
    }

    /// A column of one type; in the next file it may have another.
    fn add_scalar(&mut self, stored: &str, canonical: &str, rng: &mut fastrand::Rng) {
        let is_dynamic = stored.starts_with("in_") || stored.starts_with("out_");
        let kind = rng.u8(..5);
        let values: Vec<Option<Value>> = self.types.iter().map(|_| rng.bool().then(|| value(kind, rng))).collect();
        let array: ArrayRef = match kind {
            0 => Arc::new(
                each(&values, |value| if let Value::Float(it) = value { Some(*it) } else { None })
                    .collect::<Float64Array>(),
            ),
            1 => Arc::new(
                each(&values, |value| if let Value::Int(it) = value { Some(*it) } else { None })
                    .collect::<Int64Array>(),
            ),
            2 => Arc::new(
                each(&values, |value| if let Value::Bool(it) = value { Some(*it) } else { None })
                    .collect::<BooleanArray>(),
            ),
            3 => Arc::new(
                each(&values, |value| if let Value::Text(it) = value { Some(it.clone()) } else { None })
                    .collect::<StringArray>(),
            ),
            _ => {
                let times = each(&values, |value| if let Value::Time(it) = value { Some(*it) } else { None });
                Arc::new(times.collect::<TimestampMicrosecondArray>().with_timezone("UTC"))
            }
        };
        self.columns.push((stored.to_owned(), array));
        // Dynamic columns are floats, unless one whole number is beyond what a float holds: then all are text.
        let is_big = |value: &Value| matches!(value, Value::Int(it) if it.unsigned_abs() > 1 << 53);
        let as_text = is_dynamic && values.iter().flatten().any(is_big);
        // The run's own row is a table of its own.
        let run_as_text = |value: &Value| is_dynamic && is_big(value);
        for (row, value) in values.into_iter().enumerate() {
            let Some(value) = value else { continue };
            let record_type = self.types[row];
            let value = match value {
                Value::Int(it) if record_type != "run" && as_text || record_type == "run" && run_as_text(&value) => {
                    Value::Text(it.to_string())
                }
                value => value,
            };
            let index = (record_type == "measurement").then_some(0);
            self.cells.insert((table_of(record_type), row as i64, index, canonical.to_owned()), value);
        }
    }

    fn add_flat(&mut self, rng: &mut fastrand::Rng) {
        let rows = || self.types.iter().enumerate();
        let is_measurement = |name: &str| name == "measurement";
        let names = rows().map(|(row, name)| is_measurement(name).then(|| format!("m{row}")));
        let names: ArrayRef = Arc::new(names.collect::<StringArray>());
        let values: Vec<_> =
            rows().map(|(_, name)| is_measurement(name).then(|| FLOATS[rng.usize(..FLOATS.len())])).collect();
        let measured: Vec<_> = rows().filter(|(_, name)| is_measurement(name)).map(|(row, _)| row).collect();
        self.counts.insert("measurements", measured.len() as i64);
        // Without a value at all now and then.
        let has_values = rng.u8(..4) > 0;
        for row in measured {
            let place = |column: &str| ("measurements", row as i64, Some(0), column.to_owned());
            self.cells.insert(place("measurement_name"), Value::Text(format!("m{row}")));
            if let Some(value) = values[row].filter(|_| has_values) {
                self.cells.insert(place("measurement_value"), Value::Float(value));
            }
        }
        self.columns.push(("measurement_name".to_owned(), names));
        if has_values {
            self.columns.push(("measurement_value".to_owned(), Arc::new(values.into_iter().collect::<Float64Array>())));
        }
        for name in INPUTS {
            if rng.bool() {
                let name = format!("{}_{name}", ["in", "out"][rng.usize(..2)]);
                self.add_scalar(&name, &name, rng);
            }
        }
    }

    fn add_nested(&mut self, generation: Generation, rng: &mut fastrand::Rng) {
        let mut lengths = vec![0; self.types.len()];
        for (row, name) in self.types.iter().enumerate() {
            let may = *name == "vector" || *name == "step" && generation == Generation::Nested2;
            if may {
                lengths[row] = [0, 1, 3][rng.usize(..3)];
            }
        }
        if let Some(long) = lengths.iter_mut().find(|length| **length > 0)
            && rng.u8(..6) == 0
        {
            *long = LONG_LIST;
        }
        let total: usize = lengths.iter().sum();
        self.counts.insert("measurements", total as i64);
        let values: Vec<f64> = (0..total).map(|_| FLOATS[rng.usize(..FLOATS.len())]).collect();
        let names: Vec<String> = (0..total).map(|at| format!("m{at}")).collect();
        let mut at = 0;
        for (row, length) in lengths.iter().enumerate() {
            for index in 0..*length {
                let place = |column: &str| ("measurements", row as i64, Some(index as i64), column.to_owned());
                self.cells.insert(place("measurement_name"), Value::Text(names[at].clone()));
                self.cells.insert(place("measurement_value"), Value::Float(values[at]));
                self.cells.insert(place("measurement_units"), Value::Text("V".to_owned()));
                at += 1;
            }
        }
        let members: Vec<(&str, ArrayRef)> = vec![
            ("name", Arc::new(StringArray::from(names))),
            ("value", Arc::new(Float64Array::from(values))),
            ("unit", Arc::new(StringArray::from(vec!["V"; total]))),
        ];
        self.columns.push(("measurements".to_owned(), list(&lengths, members)));
        self.add_inputs(&lengths, rng);
    }

    /// Lists of name and value on steps and vectors: under one name values of several kinds.
    fn add_inputs(&mut self, measurements: &[usize], rng: &mut fastrand::Rng) {
        let rows = self.types.len();
        let mut given: Vec<BTreeMap<&str, Value>> = vec![BTreeMap::new(); rows];
        let mixes = rng.bool();
        for name in INPUTS {
            let kind = rng.u8(..4);
            for (row, given) in given.iter_mut().enumerate() {
                if self.types[row] != "run" && rng.u8(..3) == 0 {
                    given.insert(name, value(if mixes { rng.u8(..4) } else { kind }, rng));
                }
            }
        }
        let lengths: Vec<_> = given.iter().map(BTreeMap::len).collect();
        let entries: Vec<_> = given.iter().flatten().collect();
        let values = || entries.iter().map(|(_, value)| *value);
        let ints = values().map(|value| if let Value::Int(it) = value { Some(*it) } else { None });
        let floats = values().map(|value| if let Value::Float(it) = value { Some(*it) } else { None });
        let bools = values().map(|value| if let Value::Bool(it) = value { Some(*it) } else { None });
        let texts = values().map(|value| if let Value::Text(it) = value { Some(it.as_str()) } else { None });
        let kind = |value: &Value| match value {
            Value::Float(_) => "scalar:float",
            Value::Int(_) => "scalar:int",
            Value::Bool(_) => "scalar:bool",
            _ => "scalar:str",
        };
        let members: Vec<(&str, ArrayRef)> = vec![
            ("name", Arc::new(entries.iter().map(|(name, _)| Some(**name)).collect::<StringArray>())),
            ("value_type", Arc::new(entries.iter().map(|(_, value)| Some(kind(value))).collect::<StringArray>())),
            ("value_int", Arc::new(ints.collect::<Int64Array>())),
            ("value_double", Arc::new(floats.collect::<Float64Array>())),
            ("value_bool", Arc::new(bools.collect::<BooleanArray>())),
            ("value_text", Arc::new(texts.collect::<StringArray>())),
        ];
        self.columns.push(("inputs".to_owned(), list(&lengths, members)));
        for name in INPUTS {
            let values: Vec<_> = given.iter().filter_map(|row| row.get(name)).collect();
            let numbers = values.iter().any(|value| matches!(value, Value::Float(_) | Value::Int(_)));
            let big = values.iter().any(|value| matches!(value, Value::Int(it) if it.unsigned_abs() > 1 << 53));
            let bools = values.iter().any(|value| matches!(value, Value::Bool(_)));
            let texts = values.iter().any(|value| matches!(value, Value::Text(_)));
            let mixed = u8::from(numbers) + u8::from(bools) + u8::from(texts) > 1;
            for (row, value) in given.iter().enumerate().filter_map(|(row, given)| Some((row, given.get(name)?))) {
                let expected = match value {
                    _ if mixed => Value::Text(json(value)),
                    Value::Float(it) if big => Value::Text(float_text(*it)),
                    Value::Int(it) if big => Value::Text(it.to_string()),
                    value => value.clone(),
                };
                let column = format!("in_{name}");
                self.cells.insert((table_of(self.types[row]), row as i64, None, column.clone()), expected.clone());
                for index in 0..measurements[row] {
                    let place = ("measurements", row as i64, Some(index as i64), column.clone());
                    self.cells.insert(place, expected.clone());
                }
            }
        }
    }
}

fn each<T>(values: &[Option<Value>], pick: impl Fn(&Value) -> Option<T>) -> impl Iterator<Item = Option<T>> {
    values.iter().map(move |value| value.as_ref().and_then(&pick))
}

fn value(kind: u8, rng: &mut fastrand::Rng) -> Value {
    match kind {
        0 => Value::Float(FLOATS[rng.usize(..FLOATS.len())]),
        1 => Value::Int(INTS[rng.usize(..INTS.len())]),
        2 => Value::Bool(rng.bool()),
        3 => Value::Text(TEXTS[rng.usize(..TEXTS.len())].to_owned()),
        _ => Value::Time(rng.i64(-62_000_000_000_000_000..250_000_000_000_000_000)),
    }
}

/// As canonical JSON has it.
fn json(value: &Value) -> String {
    match value {
        Value::Float(it) if !it.is_finite() => format!("\"{}\"", float_text(*it)),
        Value::Float(it) => float_text(*it),
        Value::Int(it) | Value::Time(it) => it.to_string(),
        Value::Bool(it) => it.to_string(),
        Value::Text(it) => serde_json::Value::from(it.as_str()).to_string(),
    }
}

fn float_text(number: f64) -> String {
    match serde_json::Number::from_f64(number) {
        Some(number) => number.to_string(),
        None if number.is_nan() => "NaN".to_owned(),
        None if number > 0.0 => "Infinity".to_owned(),
        None => "-Infinity".to_owned(),
    }
}

/// A list of structs: one list a row of these lengths, over these members.
fn list(lengths: &[usize], members: Vec<(&str, ArrayRef)>) -> ArrayRef {
    let fields: Fields =
        members.iter().map(|(name, array)| Field::new(*name, array.data_type().clone(), true)).collect();
    let structs = StructArray::new(fields, members.into_iter().map(|(_, array)| array).collect(), None);
    let field = Arc::new(Field::new("element", structs.data_type().clone(), true));
    Arc::new(ListArray::new(field, OffsetBuffer::from_lengths(lengths.iter().copied()), Arc::new(structs), None))
}
