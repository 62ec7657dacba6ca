//! Generated runs of all generations through the host into SQLite: rows in are rows out, every value is there, digests agree.
//!
//! `LITMUS_GENERATED_SEEDS=from..to` runs other seeds; a failing one names itself.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use litmus_core::OpenMode;
use litmus_core::abi::host::{HostCall, Plugin};
use litmus_core::digest::Conversions;
use litmus_core::reader::Store;
use litmus_tests::artifacts::{plugin, root};
use litmus_tests::database;
use litmus_tests::project::Project;
use litmus_tests::wild::{Value, Wild, write};
use rusqlite::types::Value as Sql;
use rusqlite::{Connection, params};

/// Stores of one seed each.
const SEEDS: u64 = 12;
const RUNS: u8 = 10;

/// A store of runs, some of them in several files; what must arrive of each run.
fn generate(project: &Project, seed: u64) -> BTreeMap<String, Wild> {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut winners: BTreeMap<String, Wild> = BTreeMap::new();
    for number in 0..RUNS {
        // Now and then another file of a run that is there already.
        let id = if number > 0 && rng.u8(..5) == 0 { rng.u8(..number) } else { number };
        let name = format!("{number:02}");
        let wild = write(&project.data_dir(), &name, id, &mut rng);
        let path = |name: &str| project.data_dir().join(format!("runs/{name}.parquet"));
        match winners.get(&wild.run_id) {
            // The one with more rows ranks higher; of equal ones the digest decides, which is not what this test is about.
            Some(there) if there.rows == wild.rows => fs::remove_file(path(&name)).expect("a file"),
            Some(there) if there.rows > wild.rows => {}
            _ => {
                winners.insert(wild.run_id.clone(), wild);
            }
        }
        if rng.u8(..4) == 0 && path(&name).exists() {
            fs::copy(path(&name), path(&format!("{name}-copy"))).expect("a copy");
        }
    }
    winners
}

/// What a database holds of one run: by table, row and measurement, by canonical column.
struct Held {
    columns: BTreeMap<(String, String), String>,
    connection: Connection,
}

impl Held {
    fn open(path: &Path) -> Self {
        let connection = database::open(path);
        let mut columns = BTreeMap::new();
        {
            let sql = "SELECT table_name, canonical_name, column_name FROM litmus_columns";
            let mut statement = connection.prepare(sql).expect("litmus_columns");
            let mut rows = statement.query([]).expect("a query");
            while let Some(row) = rows.next().expect("a row") {
                let text = |at| row.get::<_, String>(at).expect("a text");
                columns.insert((text(0), text(1)), text(2));
            }
        }
        Self { columns, connection }
    }

    fn table(table: &str) -> &str {
        if table == "runs" { "test_runs" } else { table }
    }

    /// A cell, in its column or in `extra`.
    fn cell(&self, run_id: &str, (table, row, index, column): &(&str, i64, Option<i64>, String)) -> Option<Sql> {
        let table = Self::table(table);
        let name = self.columns.get(&(table.to_owned(), column.clone()));
        let selected = name.map_or("NULL".to_owned(), |name| format!("\"{}\"", name.replace('"', "\"\"")));
        let by_index = if index.is_some() { " AND measurement_index = ?3" } else { " AND ?3 IS NULL" };
        let sql = format!("SELECT {selected}, extra FROM {table} WHERE run_id = ?1 AND row_index = ?2{by_index}");
        let mut statement = self.connection.prepare_cached(&sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
        let found = statement.query_row(params![run_id, row, index], |row| {
            Ok((row.get::<_, Sql>(0)?, row.get::<_, Option<String>>(1)?))
        });
        let (value, extra) = found.unwrap_or_else(|error| panic!("{run_id} {table} {row} {index:?}: {error}"));
        if value != Sql::Null {
            return Some(value);
        }
        let extra: serde_json::Value = serde_json::from_str(&extra?).expect("JSON");
        Some(match extra.get(column)? {
            serde_json::Value::Bool(it) => Sql::Integer(i64::from(*it)),
            serde_json::Value::Number(it) => {
                it.as_i64().map(Sql::Integer).or(it.as_f64().map(Sql::Real)).expect("a number")
            }
            serde_json::Value::String(it) => Sql::Text(it.clone()),
            // What JSON has no form for.
            serde_json::Value::Object(form) => {
                let (_, value) = form.iter().next().expect("one member");
                value.as_i64().map_or_else(|| Sql::Text(value.as_str().expect("a text").to_owned()), Sql::Integer)
            }
            other => panic!("{other}"),
        })
    }
}

fn is_same(expected: &Value, found: &Sql) -> bool {
    match (expected, found) {
        (Value::Float(it), Sql::Real(found)) => it == found,
        (Value::Float(it), Sql::Integer(found)) => *it == *found as f64,
        (Value::Float(it), Sql::Text(text)) => {
            let names =
                [("NaN", it.is_nan()), ("Infinity", *it == f64::INFINITY), ("-Infinity", *it == f64::NEG_INFINITY)];
            names.contains(&(text.as_str(), true))
        }
        (Value::Int(it), Sql::Real(found)) => it.unsigned_abs() <= 1 << 53 && *it as f64 == *found,
        (Value::Bool(it), Sql::Integer(found)) => i64::from(*it) == *found,
        (Value::Text(it), Sql::Text(found)) => it == found,
        (Value::Time(it), Sql::Text(text)) => {
            text.parse::<jiff::Timestamp>().is_ok_and(|time| time.as_microsecond() == *it)
        }
        // A time is a number outside of the years that a text can name.
        (Value::Int(it) | Value::Time(it), Sql::Integer(found)) => it == found,
        _ => false,
    }
}

fn check(seed: u64, plugin: &Plugin) -> usize {
    let project = Project::new();
    let winners = generate(&project, seed);
    let ended = project.forward("out.db");
    ended.exits(0);
    let held = Held::open(&project.path("out.db"));
    let there: Vec<_> = database::runs(&held.connection).into_keys().collect();
    assert_eq!(there, winners.keys().cloned().collect::<Vec<_>>(), "seed {seed}: {ended}");
    let mut cells = 0;
    for (run_id, wild) in &winners {
        for (table, expected) in &wild.counts {
            let sql = format!("SELECT count(*) FROM {} WHERE run_id = '{run_id}'", Held::table(table));
            assert_eq!(
                database::count(&held.connection, &sql),
                *expected,
                "seed {seed}, run {run_id}: rows of {table}"
            );
        }
        for (place, expected) in &wild.cells {
            let found = held
                .cell(run_id, place)
                .unwrap_or_else(|| panic!("seed {seed}, run {run_id}: {place:?} is lost: {expected:?}"));
            assert!(is_same(expected, &found), "seed {seed}, run {run_id}: {place:?} is {found:?}, not {expected:?}");
            cells += 1;
        }
    }
    assert_receipts_count_extra(&held.connection, seed);
    assert_digests_agree(&project, &winners, plugin, seed);
    // Once more changes nothing.
    project.forward("out.db").delivered(0, 0);
    cells
}

/// What lies in `extra` is what the receipts say, table by table and column by column.
fn assert_receipts_count_extra(connection: &Connection, seed: u64) {
    let mut counted: BTreeMap<String, u64> = BTreeMap::new();
    let mut statement = connection.prepare("SELECT extra FROM litmus_deliveries").expect("receipts");
    let receipts = statement.query_map([], |row| row.get::<_, String>(0)).expect("a query");
    for receipt in receipts {
        let noted: BTreeMap<String, u64> = serde_json::from_str(&receipt.expect("a text")).expect("counts");
        for (column, count) in noted {
            *counted.entry(column).or_default() += count;
        }
    }
    let mut found: BTreeMap<String, u64> = BTreeMap::new();
    for table in ["runs", "steps", "vectors", "measurements", "instruments"] {
        let sql = format!("SELECT extra FROM {} WHERE extra IS NOT NULL", Held::table(table));
        let mut statement = connection.prepare(&sql).expect("a table");
        for extra in statement.query_map([], |row| row.get::<_, String>(0)).expect("a query") {
            let cells: serde_json::Map<_, _> = serde_json::from_str(&extra.expect("a text")).expect("JSON");
            for column in cells.keys() {
                *found.entry(format!("{table}.{column}")).or_default() += 1;
            }
        }
    }
    assert_eq!(counted, found, "seed {seed}: receipts, then the rows");
}

fn assert_digests_agree(project: &Project, winners: &BTreeMap<String, Wild>, plugin: &Plugin, seed: u64) {
    let call = HostCall { attempt: 1, deadline: None, is_cancelled: &|| false, dry_run: false };
    let config = serde_json::json!({ "path": project.path("out.db") });
    let instance = plugin.open(&config, OpenMode::Live, &call).expect("the database opens");
    let store = Store::open(&project.data_dir()).expect("a data dir");
    let mut agreed = 0;
    for file in store.walk().0 {
        let run = store.open_run(&file.path).expect("a run");
        if run.summary().rows as usize != winners[&run.run_id().to_string()].rows {
            continue;
        }
        let audit = instance.audit(&call, &[run.run_id()]).expect("an audit").remove(0);
        assert_eq!(audit.sha256, Some(run.sha256()), "seed {seed}: {}", file.path.display());
        let conversions = Conversions::from_names(audit.conversions.keys().map(String::as_str)).expect("known rules");
        assert_eq!(audit.tables, run.digests(conversions).expect("digests"), "seed {seed}: {}", file.path.display());
        agreed += 1;
    }
    assert!(agreed >= winners.len(), "seed {seed}: {agreed}");
    instance.close(&call).expect("a close");
}

#[test]
fn every_value_of_every_generated_run_arrives() {
    let given = std::env::var("LITMUS_GENERATED_SEEDS").ok();
    let range = given.as_deref().and_then(|given| given.split_once(".."));
    let (from, to) =
        range.map_or((0, SEEDS), |(from, to)| (from.parse().expect("a seed"), to.parse().expect("a seed")));
    let plugin = Plugin::load(&plugin("sqlite"), Arc::new(|_, _, _| ())).expect("the plugin loads");
    let cells: usize = (from..to).map(|seed| check(seed, &plugin)).sum();
    println!("{cells} cells of {} stores", to - from);
    assert!(cells > 1000, "{cells}");
}

/// What another writer makes of the same rows.
const PYARROW: &str = r#"
import pathlib, sys
import pyarrow.parquet as pq
source, target = map(pathlib.Path, sys.argv[1:])
target.mkdir()
layouts = [{}, {"data_page_version": "2.0"}, {"use_dictionary": False, "compression": "zstd"},
           {"write_statistics": False, "compression": "none"}, {"row_group_size": 3}, {"compression": "gzip", "data_page_size": 64}]
for at, path in enumerate(sorted(source.glob("*.parquet"))):
    pq.write_table(pq.read_table(path), target / path.name, **layouts[at % len(layouts)])
print(at + 1)
"#;

#[test]
fn files_that_pyarrow_writes_of_the_same_rows_have_the_same_digests() {
    let library = root().join("target/servers/pyarrow");
    let mut compared = 0;
    for seed in 0..4 {
        let project = Project::new();
        generate(&project, seed);
        let (source, target) = (project.data_dir().join("runs"), project.path("second/runs"));
        fs::create_dir(project.path("second")).expect("a folder");
        let mut python = Command::new("python3");
        python.env("PYTHONPATH", &library).args(["-c", PYARROW]).arg(&source).arg(&target);
        let output = python.output().expect("python3");
        assert!(
            output.status.success(),
            "pyarrow (cargo xtask servers gets it): {}",
            String::from_utf8_lossy(&output.stderr)
        );
        let [ours, theirs] =
            [project.data_dir(), project.path("second")].map(|folder| Store::open(&folder).expect("a data dir"));
        for file in ours.walk().0 {
            let digests =
                |store: &Store| store.open_run(&file.path).and_then(|run| run.digests(Conversions::default()));
            let (one, other) =
                (digests(&ours).expect("a run"), digests(&theirs).unwrap_or_else(|error| panic!("{error}")));
            assert_eq!(one, other, "seed {seed}: {}", file.path.display());
            compared += 1;
        }
    }
    assert!(compared >= 30, "{compared}");
}
