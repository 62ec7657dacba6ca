//! An independent look into what the sqlite sink wrote: plain SQL, none of our code.

use std::collections::BTreeMap;
use std::path::Path;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags};

/// What is compared of a measurement; numbers by their bits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Measurement {
    /// Where it was taken.
    pub step_path: Option<String>,
    /// Its name.
    pub name: Option<String>,
    /// What was measured.
    pub value: Option<u64>,
    /// In which unit.
    pub units: Option<String>,
    /// How it ended.
    pub outcome: Option<String>,
    /// Lower limit.
    pub limit_low: Option<u64>,
    /// Upper limit.
    pub limit_high: Option<u64>,
    /// Nominal value.
    pub limit_nominal: Option<u64>,
    /// How the limits are meant.
    pub limit_comparator: Option<String>,
}

impl Measurement {
    /// The bits that are compared: every NaN is one, and so are both zeros (SQLite keeps no sign on zero).
    pub fn bits(number: f64) -> u64 {
        if number.is_nan() { f64::NAN.to_bits() } else { (number + 0.0).to_bits() }
    }
}

/// What is compared of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// Of the unit under test.
    pub serial: Option<String>,
    /// As stored.
    pub run_outcome: Option<String>,
    /// As stored or derived.
    pub outcome: Option<String>,
}

/// Opens read-only.
pub fn open(path: &Path) -> Connection {
    Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Every run, by run_id.
pub fn runs(connection: &Connection) -> BTreeMap<String, Run> {
    let sql = "SELECT run_id, dut_serial, run_outcome, outcome FROM test_runs";
    let mut statement = connection.prepare(sql).expect("the table test_runs");
    let rows = statement.query_map([], |row| {
        Ok((row.get(0)?, Run { serial: row.get(1)?, run_outcome: row.get(2)?, outcome: row.get(3)? }))
    });
    let rows: Vec<(String, Run)> = rows.expect("a query").collect::<Result<_, _>>().expect("texts");
    let found = rows.len();
    let by_id: BTreeMap<_, _> = rows.into_iter().collect();
    assert_eq!(by_id.len(), found, "a run_id stands twice in test_runs");
    by_id
}

/// Every measurement, by run_id, sorted.
pub fn measurements(connection: &Connection) -> BTreeMap<String, Vec<Measurement>> {
    let sql = "SELECT run_id, step_path, measurement_name, measurement_value, measurement_units, measurement_outcome,
                      limit_low, limit_high, limit_nominal, limit_comparator FROM measurements";
    let mut statement = connection.prepare(sql).expect("the table measurements");
    let mut rows = statement.query([]).expect("a query");
    let mut found: BTreeMap<String, Vec<Measurement>> = BTreeMap::new();
    while let Some(row) = rows.next().expect("a row") {
        let text = |at: usize| row.get::<_, Option<String>>(at).expect("a text");
        let number = |at: usize| {
            let number = match row.get_ref(at).expect("a column") {
                ValueRef::Null => return None,
                ValueRef::Real(number) => number,
                // The three that SQLite has no number for.
                ValueRef::Text(b"NaN") => f64::NAN,
                ValueRef::Text(b"Infinity") => f64::INFINITY,
                ValueRef::Text(b"-Infinity") => f64::NEG_INFINITY,
                other => panic!("column {at} holds {other:?}"),
            };
            Some(Measurement::bits(number))
        };
        let measurement = Measurement {
            step_path: text(1),
            name: text(2),
            value: number(3),
            units: text(4),
            outcome: text(5),
            limit_low: number(6),
            limit_high: number(7),
            limit_nominal: number(8),
            limit_comparator: text(9),
        };
        found.entry(text(0).expect("a run_id")).or_default().push(measurement);
    }
    for of_run in found.values_mut() {
        of_run.sort();
    }
    found
}

/// How many rows a query counts.
pub fn count(connection: &Connection, sql: &str) -> i64 {
    connection.query_row(sql, [], |row| row.get(0)).unwrap_or_else(|error| panic!("{sql}: {error}"))
}

/// Every row of every table as text, in order: equal dumps hold equal data. `but_columns` are left out everywhere.
pub fn dump(path: &Path, but_columns: &[&str]) -> Vec<String> {
    let connection = open(path);
    let tables = names(&connection, "SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name");
    let mut lines = Vec::new();
    for table in tables {
        let mut columns = names(&connection, &format!("SELECT name FROM pragma_table_info('{table}') ORDER BY name"));
        columns.retain(|column| !but_columns.contains(&column.as_str()));
        let quoted: Vec<_> =
            columns.iter().map(|column| format!("quote(\"{}\")", column.replace('"', "\"\""))).collect();
        // Rows in the order of their text, so that the order of arrival does not count.
        let sql = format!("SELECT concat_ws(',', {}) AS line FROM \"{table}\" ORDER BY line", quoted.join(", "));
        lines.push(format!("{table}: {}", columns.join(",")));
        lines.extend(names(&connection, &sql));
    }
    lines
}

fn names(connection: &Connection, sql: &str) -> Vec<String> {
    let mut statement = connection.prepare(sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
    let rows = statement.query_map([], |row| row.get(0)).expect("a query");
    rows.collect::<Result<_, _>>().expect("texts")
}
