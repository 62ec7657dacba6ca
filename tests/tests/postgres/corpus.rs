//! The main job: real run files of every release, compared with what the platform's own reader says of them.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use litmus_core::Table;
use litmus_core::digest::{Cell, Conversions, RowDigester, TableDigest};
use litmus_core::reader::Store;
use litmus_tests::corpus::{self, Source};
use litmus_tests::database::Measurement;
use litmus_tests::generate::{Plan, write};
use litmus_tests::project::Project;
use litmus_tests::servers::Postgres;
use serde_json::Value;

use crate::psql::{dump, float, forward, measurements, rows, runs};

/// A configuration with every data dir of the corpus as a store.
fn configure(project: &Project, sources: &[Source], server: &Postgres) {
    let store = |source: &Source| {
        let path = fs::canonicalize(&source.data_dir).expect("a data dir");
        format!("[[store]]\nname = '{}'\npath = '{}'\n", source.name.replace('/', "-"), path.display())
    };
    let url = server.url();
    let sink = format!("[[sink]]\nname = 'db'\nplugin = 'postgres.so'\nconfig = {{ url = '{url}' }}\n");
    let toml = sources.iter().map(store).chain([sink]).collect::<Vec<_>>().join("\n");
    fs::write(project.path("litmus-host.toml"), toml).expect("a configuration");
}

fn one_source() -> Source {
    let mut sources = corpus::sources();
    sources.retain(|source| !corpus::is_exempt(source));
    sources.into_iter().max_by_key(|source| source.files.len()).expect("the corpus has sources")
}

#[test]
fn the_corpus_arrives_as_the_platform_reads_it() {
    let (project, sources, server) = (Project::new(), corpus::sources(), Postgres::start());
    configure(&project, &sources, &server);
    project.run(["--config", "litmus-host.toml"]).exits(0);

    let (runs, mut measurements) = (runs(&server), measurements(&server));
    let expected: usize = sources.iter().map(|source| source.files.len()).sum();
    assert_eq!(runs.len(), expected, "a run a file, and no other");
    let mut exempt = 0;
    for source in &sources {
        for (path, file) in &source.files {
            let named = format!("{} {path}", source.name);
            let run = runs.get(&file.run_id).unwrap_or_else(|| panic!("{named}: {} is not there", file.run_id));
            assert_eq!(run.serial, file.serial, "{named}");
            assert_eq!(run.run_outcome, file.run_outcome, "{named}");
            let found = measurements.remove(&file.run_id).unwrap_or_default();
            if corpus::is_exempt(source) {
                exempt += 1;
                assert!(!found.is_empty(), "{named}: the platform cannot read it, the file has measurements");
                continue;
            }
            assert_eq!(run.outcome, file.outcome, "{named}");
            assert_eq!(found.len(), file.count, "{named}");
            match &file.measurements {
                Some(all) => assert_same(&named, &found, all),
                None => assert_eq!(outcomes(&found), file.outcome_counts, "{named}"),
            }
        }
    }
    assert!(measurements.is_empty(), "measurements of runs that nobody sealed: {:?}", measurements.keys());
    assert!(exempt <= corpus::EXEMPT.len(), "{exempt} files were not compared");
    the_digests_of_what_psql_reads_are_the_sources(&sources, &server);
    the_documentations_queries_run(&server, expected);
}

fn assert_same(named: &str, found: &[Measurement], expected: &[Measurement]) {
    let mut expected = expected.to_vec();
    expected.sort();
    assert_eq!(found.len(), expected.len(), "{named}: the oracle lists all it counts");
    let differ = found.iter().zip(&expected).find(|(found, expected)| found != expected);
    assert_eq!(differ, None, "{named}: found, then what the platform reads");
}

fn outcomes(measurements: &[Measurement]) -> BTreeMap<String, u64> {
    let mut histogram = BTreeMap::new();
    for measurement in measurements {
        *histogram.entry(measurement.outcome.clone().unwrap_or_else(|| "null".into())).or_default() += 1;
    }
    histogram
}

/// Every cell of every table, by another way than the sink's own audit takes.
fn the_digests_of_what_psql_reads_are_the_sources(sources: &[Source], server: &Postgres) {
    let mut read: BTreeMap<(String, Table), TableDigest> = BTreeMap::new();
    for table in Table::ALL {
        for (run_id, digester) in digesters(server, table) {
            read.insert((run_id, table), digester.finish());
        }
    }
    let rule = Conversions { nul_to_replacement: true };
    for source in sources {
        let store = Store::open(&source.data_dir).expect("a data dir");
        for file in store.walk().0 {
            let run = store.open_run(&file.path).expect("a run file");
            for (table, digest) in run.digests(rule).expect("a readable run") {
                let table = Table::ALL.into_iter().find(|known| known.name() == table).expect("a table");
                let found = read.remove(&(run.run_id().to_string(), table)).unwrap_or_default();
                assert_eq!(found, digest, "{}, table {table}: read by psql, then sealed", file.path.display());
            }
        }
    }
    assert!(read.is_empty(), "rows of no run: {:?}", read.keys());
}

/// `docs/sinks/postgres.md`: `\0` stands for NUL, `\\` for a backslash.
fn canonical(stored: &str) -> String {
    stored.replace("\\\\", "\u{1}").replace("\\0", "\0").replace('\u{1}', "\\")
}

fn digesters(server: &Postgres, table: Table) -> BTreeMap<String, RowDigester> {
    let name = if table == Table::Runs { "test_runs" } else { table.name() };
    let columns = rows(
        server,
        &format!(
            "SELECT column_name, canonical_name, kind FROM litmus.litmus_columns WHERE table_name = '{name}' ORDER BY ordinal"
        ),
    );
    let columns: Vec<[String; 3]> = columns
        .into_iter()
        .map(|row| row.into_iter().flatten().collect::<Vec<_>>().try_into().expect("three texts"))
        .collect();
    let selected: Vec<String> = columns
        .iter()
        .map(|[column, _, kind]| {
            let column = format!("\"{}\"", column.replace('"', "\"\""));
            match kind.as_str() {
                "float" => format!("encode(float8send({column}), 'hex')"),
                "timestamp" => format!("(extract(epoch FROM {column}) * 1000000)::bigint"),
                "text_list" | "bool_list" => format!("to_json({column})"),
                _ => column,
            }
        })
        .collect();
    let query = format!("SELECT run_id, extra, {} FROM litmus.{name}", selected.join(", "));
    let mut digesters: BTreeMap<String, RowDigester> = BTreeMap::new();
    for row in rows(server, &query) {
        let lists: Vec<Option<Value>> = columns
            .iter()
            .zip(&row[2..])
            .map(|([_, _, kind], text)| {
                text.as_ref()
                    .filter(|_| kind.ends_with("_list"))
                    .map(|text| serde_json::from_str(text).expect("a JSON list"))
            })
            .collect();
        let extra: Value = row[1].as_deref().map_or(Value::Null, |text| serde_json::from_str(text).expect("JSON"));
        let members = extra.as_object().into_iter().flatten();
        let members: Vec<(String, &Value)> = members.map(|(name, value)| (canonical(name), value)).collect();
        let mut cells: Vec<(&str, Cell<'_>)> = Vec::new();
        for (at, [_, canonical, kind]) in columns.iter().enumerate() {
            if let Some(text) = &row[at + 2] {
                cells.push((canonical, cell(kind, text, lists[at].as_ref())));
            }
        }
        // docs/sinks/postgres.md, "extra".
        for (name, value) in &members {
            cells.push((
                name.as_str(),
                match value {
                    Value::String(text) => Cell::Text(text),
                    Value::Bool(value) => Cell::Bool(*value),
                    Value::Number(number) => {
                        number.as_i64().map_or_else(|| Cell::Float(number.as_f64().expect("a number")), Cell::Int)
                    }
                    Value::Object(one) if one.contains_key("json") => Cell::Json(one["json"].as_str().expect("a text")),
                    other => panic!("{name}: {other} in the corpus's extra"),
                },
            ));
        }
        digesters.entry(row[0].clone().expect("a run_id")).or_default().row(cells);
    }
    digesters
}

fn cell<'a>(kind: &str, text: &'a str, list: Option<&'a Value>) -> Cell<'a> {
    match kind {
        "text" => Cell::Text(text),
        "int" => Cell::Int(text.parse().expect("a whole number")),
        "float" => Cell::Float(float(text)),
        "bool" => Cell::Bool(text == "t"),
        "timestamp" => Cell::Timestamp(text.parse().expect("microseconds")),
        "json" => Cell::Json(text),
        _ => Cell::List(
            list.and_then(Value::as_array)
                .expect("a list")
                .iter()
                .map(|element| match element {
                    Value::Null => None,
                    Value::Bool(value) => Some(Cell::Bool(*value)),
                    Value::String(text) => Some(Cell::Text(text)),
                    other => panic!("{other} in a list"),
                })
                .collect(),
        ),
    }
}

/// The SQL of the Litmus documentation, unchanged but for the search path.
fn the_documentations_queries_run(server: &Postgres, runs: usize) {
    let ask = |sql: &str| server.psql(&format!("SET search_path = litmus; {sql}"));
    assert_eq!(ask("SELECT count(DISTINCT run_id) FROM run_rows"), runs.to_string());
    let failures = "SELECT dut_serial, step_name, measurement_outcome, COUNT(*) FROM run_rows \
                    WHERE record_type = 'measurement' GROUP BY dut_serial, step_name, measurement_outcome";
    assert!(ask(failures).lines().count() > 10);
    let by_station = "SELECT station_id, ROUND(100.0 * COUNT(*) FILTER (WHERE run_outcome = 'passed') / COUNT(*), 1) FROM run_rows \
                      WHERE record_type = 'run' GROUP BY station_id";
    assert!(!ask(by_station).is_empty());
    let by_instrument = "SELECT instrument_name, COUNT(*) FILTER (WHERE measurement_outcome = 'failed'), COUNT(*) FROM run_rows \
                         WHERE record_type = 'measurement' AND instrument_name IS NOT NULL GROUP BY instrument_name";
    assert!(!ask(by_instrument).is_empty());
}

#[test]
fn again_sends_nothing_and_a_lost_ledger_changes_no_row() {
    let (source, server) = (one_source(), Postgres::start());
    let project = Project::with_copy_of(&source.data_dir);
    forward(&project, &server).delivered(source.files.len(), 0);
    let before = dump(&server);
    assert!(before.len() > source.files.len());
    forward(&project, &server).delivered(0, 0);
    assert_eq!(dump(&server), before, "a row was touched");
    fs::remove_dir_all(project.state_dir()).expect("the ledgers lie there");
    forward(&project, &server).delivered(0, source.files.len());
    assert_eq!(dump(&server), before, "a row was touched");
}

#[test]
fn a_schema_that_was_dropped_gets_everything_back() {
    let (source, server) = (one_source(), Postgres::start());
    let project = Project::with_copy_of(&source.data_dir);
    forward(&project, &server).delivered(source.files.len(), 0);
    server.psql("DROP SCHEMA litmus CASCADE");
    forward(&project, &server).delivered(source.files.len(), 0);
    assert_eq!(runs(&server).len(), source.files.len());
}

#[test]
fn a_dry_run_and_a_live_check_print_the_statements_and_run_none() {
    let (source, server) = (one_source(), Postgres::start());
    let project = Project::with_copy_of(&source.data_dir);
    let url = format!("url={}", server.url());
    let dry = project.run(["--plugin", "postgres.so", "--set", &url, "--dry-run", "--format", "json"]);
    dry.delivered(source.files.len(), 0).says("CREATE SCHEMA").says("CREATE TABLE");
    let check = ["check", "--live", "--plugin", "postgres.so", "--set", &url];
    project.run(check).exits(0).says("CREATE TABLE");
    let found = project.run(check.into_iter().chain(["--format", "json"])).json();
    assert_eq!(found["sinks"][0]["config"]["url"], server.url(), "the configuration is no text");
    assert_eq!(server.psql("SELECT count(*) FROM pg_namespace WHERE nspname = 'litmus'"), "0");
}

/// The whole corpus in many batches, over several stores: psql runs what is printed, and under `freeze` everything arrives.
#[test]
fn what_a_dry_run_prints_is_run_by_psql_and_is_all_that_freeze_needs() {
    let (project, sources, server) = (Project::new(), corpus::sources(), Postgres::start());
    configure(&project, &sources, &server);
    let path = project.path("litmus-host.toml");
    let toml =
        fs::read_to_string(&path).expect("a configuration").replace("url = ", "schema_policy = 'freeze', url = ");
    fs::write(&path, format!("{toml}batch_runs_max = 10\n")).expect("a configuration");
    let runs = sources.iter().map(|source| source.files.len()).sum::<usize>();

    let call = ["--config", "litmus-host.toml"];
    let frozen = project.run(call);
    let line_by_line = |said: &str| {
        assert!(
            said.contains("\n  hint: run these statements") && said.contains("\n  CREATE SCHEMA \"litmus\";\n"),
            "{said}"
        );
    };
    line_by_line(&frozen.exits(1).stdout);
    line_by_line(&project.run(["status"].into_iter().chain(call)).stdout);

    let dry = project.run(call.into_iter().chain(["--dry-run"]));
    let (table, statements) = dry.stdout.split_once("db would first run:\n").unwrap_or_else(|| panic!("{dry}"));
    assert!(table.contains("blocked on schema") && !table.contains("would get"), "{dry}");
    let mut psql = server.command("psql");
    psql.args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-U", "litmus", "-d", "postgres", "-h"])
        .arg(server.socket_folder());
    let mut psql =
        psql.args(["-p", &server.port().to_string(), "-f", "-"]).stdin(Stdio::piped()).spawn().expect("psql runs");
    psql.stdin.take().expect("it is a pipe").write_all(statements.as_bytes()).expect("psql reads");
    assert!(psql.wait().expect("psql ends").success());

    project.run(call.into_iter().chain(["--format", "json"])).delivered(runs, 0);
    assert_eq!(self::runs(&server).len(), runs);
    // What psql was given is what a host makes by itself.
    let again = Postgres::start();
    let of_its_own = Project::new();
    configure(&of_its_own, &sources, &again);
    of_its_own.run(call).exits(0);
    let columns = "SELECT table_name, canonical_name FROM litmus.litmus_columns ORDER BY 1, 2";
    assert_eq!(rows(&server, columns), rows(&again, columns));
}

/// Another session asks all the time while a run is replaced again and again; each answer is one statement, one snapshot.
#[test]
fn a_reader_sees_one_revision_or_the_other_and_never_a_mixture() {
    let (project, server) = (Project::new(), Postgres::start());
    let first = write(&project.data_dir(), &Plan::new(1, 10));
    forward(&project, &server).delivered(1, 0);
    let mut reader = server
        .command("psql")
        .args(["-X", "-q", "-A", "-t", "-U", "litmus", "-d", "postgres", "-h"])
        .arg(server.socket_folder())
        .args(["-p", &server.port().to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("psql runs");
    let mut to = reader.stdin.take().expect("it is a pipe");
    let mut from = BufReader::new(reader.stdout.take().expect("it is a pipe"));
    let over = Arc::new(AtomicBool::new(false));
    let reading = std::thread::spawn({
        let over = Arc::clone(&over);
        move || {
            let mut seen: BTreeMap<String, u32> = BTreeMap::new();
            while !over.load(Ordering::SeqCst) {
                let sql = "SELECT (SELECT count(*) FROM litmus.measurements), (SELECT count(DISTINCT run_id) FROM litmus.steps), \
                           (SELECT count(*) FROM litmus.test_runs), (SELECT (tables->'measurements'->>'rows') FROM litmus.litmus_deliveries);\n";
                to.write_all(sql.as_bytes()).expect("psql listens");
                let mut line = String::new();
                from.read_line(&mut line).expect("psql answers");
                *seen.entry(line.trim().to_owned()).or_default() += 1;
            }
            seen
        }
    });
    let mut expected = vec!["10|1|1|10".to_owned()];
    for revision in 1..=8u64 {
        let measurements = 10 + revision as usize * 8;
        let now = write(&project.data_dir(), &Plan { revision, ..Plan::new(1, measurements) });
        assert_eq!(now.run_id, first.run_id);
        forward(&project, &server).delivered(1, 0);
        expected.push(format!("{measurements}|1|1|{measurements}"));
    }
    over.store(true, Ordering::SeqCst);
    let seen = reading.join().expect("it reads to the end");
    reader.wait().expect("psql ends");
    let odd: Vec<_> = seen.keys().filter(|seen| !expected.contains(seen)).collect();
    assert!(odd.is_empty(), "between two revisions a reader saw {odd:?}");
    assert!(seen.len() > 2 && seen.values().sum::<u32>() > 100, "it read too seldom to tell: {seen:?}");
}
