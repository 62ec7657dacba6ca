//! What a person does beside a running host, and what the host tells a person: retry and discard, a sink that the status must
//! not forget, a folder that is no data dir, a database whose owner has rules of his own.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::time::Duration;

use litmus_tests::database;
use litmus_tests::generate::{Generated, Plan, write};
use litmus_tests::project::{Ended, Project, Running, wait_until};
use rusqlite::Connection;
use serde_json::json;

const SQLITE: [&str; 4] = ["--plugin", "sqlite.so", "--set", "path=out.db"];
const CONFIG: [&str; 2] = ["--config", "litmus-host.toml"];

fn configure(project: &Project, toml: &str) {
    fs::write(project.path("litmus-host.toml"), toml).expect("a configuration");
}

fn hostile(project: &Project, settings: &str) {
    configure(
        project,
        &format!("[[sink]]\nname = \"bad\"\nplugin = \"hostile.so\"\nconfig = {{ log = \"bad.jsonl\"{settings} }}\n"),
    );
}

fn forward(project: &Project) -> Ended {
    project.run(CONFIG.iter().chain(&["--give-up-after", "1s", "--format", "json"]))
}

fn host(project: &Project, arguments: &[&str]) -> Ended {
    project.run(arguments.iter().chain(&["--format", "json"]))
}

fn runs(project: &Project, numbers: std::ops::Range<u64>) -> Vec<Generated> {
    numbers.map(|number| write(&project.data_dir(), &Plan::new(number, 8))).collect()
}

fn ledger(project: &Project) -> PathBuf {
    let folder = fs::read_dir(project.state_dir()).expect("the state").flatten().next();
    folder.expect("one store").path().join("ledger.db")
}

/// What happened to a run, as the ledger tells: event and message.
fn history(project: &Project, run: &Generated) -> Vec<(String, String)> {
    let connection = database::open(&ledger(project));
    let sql = "SELECT event, message FROM history JOIN revisions ON seq = revision WHERE run_id = ?1 ORDER BY id";
    let mut statement = connection.prepare(sql).expect("the history");
    let rows = statement.query_map([&run.run_id], |row| Ok((row.get(0)?, row.get(1)?))).expect("a query");
    rows.collect::<Result<_, _>>().expect("texts")
}

fn sink(project: &Project, arguments: &[&str], name: &str) -> serde_json::Value {
    let status = host(project, arguments).json();
    let sinks = status["sinks"].as_array().expect("sinks").clone();
    sinks.into_iter().find(|sink| sink["name"] == name).unwrap_or_else(|| panic!("no {name} in {status:#}"))
}

/// The database's owner at work.
fn sql(project: &Project, sql: &str) {
    Connection::open(project.path("out.db")).expect("the database").execute_batch(sql).expect(sql);
}

fn is_there(project: &Project, run: &Generated) -> bool {
    database::runs(&database::open(&project.path("out.db"))).contains_key(&run.run_id)
}

#[test]
fn runs_behind_a_link_to_a_folder_arrive_once() {
    let project = Project::new();
    let here = write(&project.data_dir(), &Plan::new(1, 8));
    // The years before lie on another disk.
    let there = write(&project.path("archive"), &Plan::new(2, 8));
    let runs = project.data_dir().join("runs");
    symlink(project.path("archive/runs"), runs.join("2025")).expect("a link");
    symlink(project.path("archive/runs"), runs.join("also-2025")).expect("a second one");
    symlink(&runs, runs.join("a-loop")).expect("a loop");
    project.forward("out.db").delivered(2, 0);
    assert!(is_there(&project, &here) && is_there(&project, &there));
    let listed = host(&project, &["runs"]).json();
    assert_eq!(listed.as_array().map(Vec::len), Some(2), "{listed:#}");
    project.forward("out.db").delivered(0, 0);
    host(&project, &["status"]).exits(0);
}

#[test]
fn a_trigger_that_takes_rows_away_is_an_error_that_names_it() {
    let triggers = [
        "CREATE TRIGGER thin BEFORE INSERT ON measurements BEGIN SELECT RAISE(IGNORE); END",
        "CREATE TRIGGER thin AFTER INSERT ON measurements WHEN NEW.measurement_index = 0
         BEGIN DELETE FROM measurements WHERE rowid = NEW.rowid; END",
    ];
    for trigger in triggers {
        let project = Project::new();
        runs(&project, 1..2);
        project.run(SQLITE).exits(0);
        sql(&project, trigger);
        let run = &runs(&project, 2..3)[0];
        let ended = project.run(SQLITE.iter().chain(&["--give-up-after", "1s", "--format", "json"]));
        ended.exits(1).says("table measurements").says("takes rows away: thin");
        let told = ended.json();
        let sink = &told["sinks"][0];
        assert_eq!((&sink["delivered"], &sink["quarantined"], &sink["pending"]), (&json!(0), &json!(0), &json!(1)));
        assert_eq!(sink["state"], "blocked on schema", "{ended}");
        assert!(!is_there(&project, run), "nothing of it is kept");
        sql(&project, "DROP TRIGGER thin");
        project.forward("out.db").delivered(1, 0);
        let connection = database::open(&project.path("out.db"));
        assert_eq!(database::measurements(&connection)[&run.run_id].len(), 8);
    }
}

#[test]
fn a_deadline_of_nothing_is_refused_with_its_place() {
    let project = Project::new();
    runs(&project, 1..2);
    let sink = "[[sink]]\nname = \"db\"\nplugin = \"sqlite.so\"\nconfig = { path = \"out.db\" }\n";
    for zero in ["\"0s\"", "0", "\"0ms\""] {
        configure(&project, &format!("{sink}deadline = {zero}\n"));
        forward(&project).exits(2).says("litmus-host.toml:5:12: \"deadline\"").says("hint: write deadline = \"5m\"");
    }
    configure(&project, &format!("grace = \"0s\"\n{sink}"));
    forward(&project).exits(0);
}

#[test]
fn a_sink_does_not_write_among_the_ledgers() {
    let project = Project::new();
    runs(&project, 1..2);
    project.run(SQLITE).exits(0);
    let ledger = ledger(&project);
    symlink(project.state_dir(), project.path("elsewhere")).expect("a link");
    let folder =
        ledger.parent().and_then(|folder| folder.file_name()).expect("its folder").to_string_lossy().into_owned();
    for path in [ledger.display().to_string(), format!("elsewhere/{folder}/new.db")] {
        for command in ["forward", "check"] {
            let set = format!("path={path}");
            let ended = project.run([command, "--plugin", "sqlite.so", "--set", &set]);
            ended.exits(2).says("lies in the state folder").says("hint: give a path elsewhere");
        }
    }
    let tables =
        database::count(&database::open(&ledger), "SELECT count(*) FROM sqlite_master WHERE name = 'test_runs'");
    assert_eq!(tables, 0);
}
