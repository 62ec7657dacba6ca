//! What psql says of the schema `litmus`: none of our code reads it.

use std::collections::BTreeMap;

use litmus_tests::database::{Measurement, Run};
use litmus_tests::generate::Generated;
use litmus_tests::project::{Ended, Project};
use litmus_tests::servers::Postgres;

/// The arguments of a host that forwards to this server.
pub(crate) fn to(server: &Postgres) -> Vec<String> {
    ["--plugin", "postgres.so", "--set", &format!("url={}", server.url()), "--format", "json"].map(str::to_owned).into()
}

/// Forwards, and ends.
pub(crate) fn forward(project: &Project, server: &Postgres) -> Ended {
    project.run(to(server))
}

/// Rows of a query as COPY writes them: NULL apart from texts, every character as it is.
pub(crate) fn rows(server: &Postgres, query: &str) -> Vec<Vec<Option<String>>> {
    let text = server.psql(&format!("COPY ({query}) TO STDOUT"));
    if text.is_empty() {
        return Vec::new();
    }
    text.split('\n').map(|line| line.split('\t').map(cell).collect()).collect()
}

fn cell(text: &str) -> Option<String> {
    if text == "\\N" {
        return None;
    }
    let mut out = String::new();
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        out.push(match character {
            '\\' => match characters.next() {
                Some('n') => '\n',
                Some('t') => '\t',
                Some('r') => '\r',
                Some('b') => '\u{8}',
                Some('f') => '\u{c}',
                Some('v') => '\u{b}',
                Some(other) => other,
                None => panic!("a backslash at the end of {text}"),
            },
            other => other,
        });
    }
    Some(out)
}

/// A float by its bits, as `float8send` and `encode` write them.
pub(crate) fn float(hex: &str) -> f64 {
    f64::from_bits(u64::from_str_radix(hex, 16).unwrap_or_else(|_| panic!("{hex} are no bits")))
}

/// Every run, by run_id.
pub(crate) fn runs(server: &Postgres) -> BTreeMap<String, Run> {
    let found = rows(server, "SELECT run_id, dut_serial, run_outcome, outcome FROM litmus.test_runs");
    let count = found.len();
    let by_id: BTreeMap<_, _> = found
        .into_iter()
        .map(|mut row| {
            let outcome = row.pop().flatten();
            let run_outcome = row.pop().flatten();
            let serial = row.pop().flatten();
            (row.pop().flatten().expect("a run_id"), Run { serial, run_outcome, outcome })
        })
        .collect();
    assert_eq!(by_id.len(), count, "a run_id stands twice in test_runs");
    by_id
}

/// Every measurement, by run_id, sorted.
pub(crate) fn measurements(server: &Postgres) -> BTreeMap<String, Vec<Measurement>> {
    let bits = |column: &str| format!("encode(float8send({column}), 'hex')");
    let query = format!(
        "SELECT run_id, step_path, measurement_name, {}, measurement_units, measurement_outcome, {}, {}, {}, limit_comparator \
         FROM litmus.measurements",
        bits("measurement_value"),
        bits("limit_low"),
        bits("limit_high"),
        bits("limit_nominal")
    );
    let mut found: BTreeMap<String, Vec<Measurement>> = BTreeMap::new();
    for row in rows(server, &query) {
        let text = |at: usize| row[at].clone();
        let number = |at: usize| row[at].as_deref().map(|hex| Measurement::bits(float(hex)));
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

/// Exactly these runs are there, each as it was sealed last, and no key twice.
#[track_caller]
pub(crate) fn holds<'a>(server: &Postgres, sealed: impl IntoIterator<Item = &'a Generated>, when: &str) {
    let (mut runs, mut measurements) = (runs(server), measurements(server));
    for run in sealed {
        let there = runs.remove(&run.run_id).unwrap_or_else(|| panic!("{when}: {} is lost", run.run_id));
        assert_eq!(there.run_outcome.as_deref(), Some(run.outcome), "{when}: {}", run.run_id);
        assert_eq!(there.serial.as_ref(), Some(&run.serial), "{when}: {}", run.run_id);
        let found = measurements.remove(&run.run_id).unwrap_or_default();
        assert_eq!(found, run.measurements, "{when}: measurements of {}", run.run_id);
    }
    assert_eq!(runs.keys().next(), None, "{when}: a run that nobody sealed");
    assert_eq!(measurements.keys().next(), None, "{when}: measurements of no run");
    for (table, key) in [
        ("measurements", "run_id, row_index, measurement_index"),
        ("steps", "run_id, row_index"),
        ("litmus_deliveries", "run_id"),
    ] {
        let doubled = format!("SELECT 1 FROM litmus.{table} GROUP BY {key} HAVING count(*) > 1");
        assert_eq!(rows(server, &doubled), Vec::<Vec<_>>::new(), "{when}: keys doubled in {table}");
    }
    let orphans = "SELECT run_id FROM litmus.steps UNION SELECT run_id FROM litmus.instruments EXCEPT SELECT run_id FROM litmus.litmus_deliveries";
    assert_eq!(rows(server, orphans), Vec::<Vec<_>>::new(), "{when}: rows of no delivery");
}

/// Every row of every table with the transaction that wrote it: equal dumps mean that nothing was touched.
pub(crate) fn dump(server: &Postgres) -> Vec<String> {
    let tables = rows(
        server,
        "SELECT relname FROM pg_class WHERE relnamespace = 'litmus'::regnamespace AND relkind = 'r' ORDER BY 1",
    );
    let mut lines = Vec::new();
    for table in tables {
        let table = table[0].clone().expect("a name");
        let of_table = server.psql(&format!("SELECT xmin, xmax, t FROM litmus.\"{table}\" t ORDER BY t::text"));
        lines.extend(of_table.lines().map(|line| format!("{table}: {line}")));
    }
    lines
}
