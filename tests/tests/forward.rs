//! The main job: real run files of every release through the built binary and the built plugin, read back by plain SQL.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use litmus_tests::corpus::{self, Source};
use litmus_tests::database::{self, Measurement};
use litmus_tests::project::{Ended, Project};

/// One data dir with enough in it for the tests of what happens the second time.
fn one_source() -> Source {
    let mut sources = corpus::sources();
    sources.retain(|source| !corpus::is_exempt(source));
    sources.into_iter().max_by_key(|source| source.files.len()).expect("the corpus has sources")
}

/// A configuration with every data dir of the corpus as a store.
fn configure(project: &Project, sources: &[Source], database: &str) {
    let store = |source: &Source| {
        let path = fs::canonicalize(&source.data_dir).expect("a data dir");
        format!("[[store]]\nname = '{}'\npath = '{}'\n", source.name.replace('/', "-"), path.display())
    };
    let sink = format!("[[sink]]\nname = 'db'\nplugin = 'sqlite.so'\nconfig = {{ path = '{database}' }}\n");
    let toml = sources.iter().map(store).chain([sink]).collect::<Vec<_>>().join("\n");
    fs::write(project.path("litmus-host.toml"), toml).expect("a configuration");
}

#[test]
fn the_corpus_arrives_as_the_platform_reads_it() {
    let (project, sources) = (Project::new(), corpus::sources());
    configure(&project, &sources, "out.db");
    project.run(["--config", "litmus-host.toml"]).exits(0);

    let connection = database::open(&project.path("out.db"));
    let runs = database::runs(&connection);
    let mut measurements = database::measurements(&connection);
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
    the_shell_agrees(&project.path("out.db"), expected);
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

/// What a person at the `sqlite3` shell sees, where there is one: another build of SQLite than ours.
fn the_shell_agrees(database: &Path, runs: usize) {
    let sql = "PRAGMA integrity_check; SELECT count(*) FROM test_runs; SELECT count(DISTINCT run_id) FROM run_rows;";
    let Ok(output) = Command::new("sqlite3").arg("-readonly").arg(database).arg(sql).output() else { return };
    assert_eq!(String::from_utf8_lossy(&output.stdout), format!("ok\n{runs}\n{runs}\n"), "{output:?}");
}

#[test]
fn a_second_call_finds_nothing_to_do() {
    let source = one_source();
    let project = Project::with_copy_of(&source.data_dir);
    project.forward("out.db").delivered(source.files.len(), 0);
    assert!(!project.path("out.db-wal").exists(), "the sink was not closed: the one file cannot be mailed");
    let before = fs::read(project.path("out.db")).expect("a database");
    project.forward("out.db").delivered(0, 0);
    assert!(fs::read(project.path("out.db")).expect("a database") == before, "the file was written to");
}

#[test]
fn another_destination_starts_empty_and_gets_everything() {
    let source = one_source();
    let project = Project::with_copy_of(&source.data_dir);
    project.forward("a.db").delivered(source.files.len(), 0);
    project.forward("b.db").delivered(source.files.len(), 0);
    assert_eq!(contents(&project, "a.db"), contents(&project, "b.db"));
    assert_eq!(contents(&project, "b.db").len(), source.files.len());
}

#[test]
fn a_deleted_destination_gets_everything_back() {
    let source = one_source();
    let project = Project::with_copy_of(&source.data_dir);
    project.forward("a.db").exits(0);
    let before = contents(&project, "a.db");
    fs::remove_file(project.path("a.db")).expect("a database");
    project.forward("a.db").delivered(source.files.len(), 0);
    assert_eq!(contents(&project, "a.db"), before);
    assert_eq!(before.len(), source.files.len());
}

#[test]
fn runs_that_somebody_deleted_at_a_new_incarnation_come_back_and_the_others_stay() {
    let source = one_source();
    let project = Project::with_copy_of(&source.data_dir);
    project.forward("a.db").exits(0);
    let before = contents(&project, "a.db");
    // A copy from yesterday, put in place of the file: some runs are in it, some are not.
    fs::remove_file(project.path("a.db")).expect("a database");
    let some = before.keys().next().expect("a run").clone();
    project.run(["--plugin", "sqlite.so", "--set", "path=a.db", "--state-dir", "other", "--run", &some]).exits(0);
    assert_eq!(contents(&project, "a.db").len(), 1);
    project.forward("a.db").exits(0);
    assert_eq!(contents(&project, "a.db"), before);
}

#[test]
fn a_lost_ledger_finds_everything_present_and_changes_no_row() {
    let source = one_source();
    let project = Project::with_copy_of(&source.data_dir);
    project.forward("out.db").exits(0);
    let before = database::dump(&project.path("out.db"), &[]);
    fs::remove_dir_all(project.state_dir()).expect("the ledgers lie there");
    project.forward("out.db").delivered(0, source.files.len());
    assert_eq!(database::dump(&project.path("out.db"), &[]), before, "a row changed");
    let status = status(&project, "out.db");
    assert_eq!(status["sinks"][0]["pending"], 0, "{status:#}");
    let settled = status["sinks"][0]["committed"].as_u64().unwrap() + status["sinks"][0]["verified"].as_u64().unwrap();
    assert_eq!(settled, source.files.len() as u64, "{status:#}");
}

#[test]
fn nothing_is_written_to_the_store() {
    let source = one_source();
    let project = Project::with_copy_of(&source.data_dir);
    let listing =
        || Ended::of(Command::new("find").arg(project.data_dir()).args(["-printf", "%p %s %T@ %i %m\n"])).stdout;
    let before = listing();
    project.forward("out.db").exits(0);
    assert_eq!(listing(), before);
}

#[test]
fn a_dry_run_says_what_it_would_do_and_does_nothing() {
    let source = one_source();
    let project = Project::with_copy_of(&source.data_dir);
    let said = project.run(["--plugin", "sqlite.so", "--set", "path=out.db", "--dry-run", "--format", "json"]);
    said.delivered(source.files.len(), 0).says("CREATE TABLE");
    assert!(!project.path("out.db").exists(), "a dry run made a database");
    project.forward("out.db").exits(0);
    assert_eq!(contents(&project, "out.db").len(), source.files.len(), "a dry run left its mark");
}

/// The whole corpus in many batches: SQLite runs what is printed, and under `freeze` everything arrives.
#[test]
fn what_a_dry_run_prints_is_run_by_sqlite_and_is_all_that_freeze_needs() {
    let (project, sources) = (Project::new(), corpus::sources());
    configure(&project, &sources, "frozen.db");
    let path = project.path("litmus-host.toml");
    let toml = fs::read_to_string(&path)
        .expect("a configuration")
        .replace("path = 'frozen", "schema_policy = 'freeze', path = 'frozen");
    fs::write(&path, format!("{toml}batch_runs_max = 10\n")).expect("a configuration");
    let call = ["--config", "litmus-host.toml"];
    let dry = project.run(call.into_iter().chain(["--dry-run"]));
    let (table, statements) = dry.stdout.split_once(" would first run:\n").unwrap_or_else(|| panic!("{dry}"));
    assert!(table.contains("blocked on schema") && !table.contains("would get"), "{dry}");
    let made = rusqlite::Connection::open(project.path("frozen.db")).expect("a file");
    made.execute_batch(statements).unwrap_or_else(|error| panic!("{error}: {statements}"));
    drop(made);
    let runs = sources.iter().map(|source| source.files.len()).sum::<usize>();
    project.run(call.into_iter().chain(["--format", "json"])).delivered(runs, 0);
    assert_eq!(contents(&project, "frozen.db").len(), runs);
}

#[test]
fn one_run_can_be_sent_alone() {
    let source = one_source();
    let project = Project::with_copy_of(&source.data_dir);
    let run_id = &source.files.values().next().expect("a file").run_id;
    project.run(["--plugin", "sqlite.so", "--set", "path=out.db", "--run", run_id]).exits(0);
    assert_eq!(contents(&project, "out.db").keys().collect::<Vec<_>>(), [run_id]);
}

/// Runs with what they measured, as SQL sees it.
fn contents(project: &Project, name: &str) -> BTreeMap<String, (database::Run, Vec<Measurement>)> {
    let connection = database::open(&project.path(name));
    let mut measurements = database::measurements(&connection);
    let runs = database::runs(&connection).into_iter();
    runs.map(|(run_id, run)| (run_id.clone(), (run, measurements.remove(&run_id).unwrap_or_default()))).collect()
}

fn status(project: &Project, database: &str) -> serde_json::Value {
    let path = format!("path={database}");
    project.run(["status", "--plugin", "sqlite.so", "--set", &path, "--format", "json"]).json()
}
