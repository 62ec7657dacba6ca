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
fn a_quarantined_run_is_sent_again_once_somebody_says_so() {
    let project = Project::new();
    let runs = runs(&project, 3..6);
    hostile(&project, ", panic_serials = [\"SN100004\"]");
    forward(&project).exits(1);
    let quarantined = || sink(&project, &["status"], "bad")["quarantined"].as_u64();
    // A panic is no proof: it takes five of them, each beside a run that passes.
    let mut number = 10;
    let blamed = wait_until(Duration::from_mins(1), || {
        write(&project.data_dir(), &Plan::new(number, 8));
        number += 1;
        forward(&project);
        quarantined() == Some(1)
    });
    assert!(blamed, "{:?} after {number}", quarantined());
    hostile(&project, "");
    forward(&project).exits(1);
    let id = runs[1].run_id.replace('-', "").to_uppercase();
    let retried = host(&project, &["retry", &id[..13], "--sink", "bad"]);
    retried.exits(0);
    assert_eq!(retried.json(), json!({ "retried": 1 }));
    let counts = database::open(&ledger(&project))
        .query_row(
            "SELECT count(*), sum(tries + strikes + deferred) FROM deliveries WHERE state = 'pending'",
            [],
            |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?)),
        )
        .expect("counts");
    assert_eq!(counts, (1, 0), "it starts over");
    forward(&project).exits(0);
    host(&project, &["status"]).exits(0);
    let events: Vec<_> = history(&project, &runs[1]).into_iter().map(|(event, _)| event).collect();
    assert!(events.ends_with(&["quarantined", "retried", "committed"].map(str::to_owned)), "{events:?}");
    assert!(history(&project, &runs[1]).iter().any(|(_, message)| message.starts_with("by ")), "who it was");
}

#[test]
fn a_discarded_run_is_out_of_everybodys_way_with_its_reason_kept() {
    let project = Project::new();
    let runs = runs(&project, 3..6);
    hostile(&project, ", data_error_serials = [\"SN100004\"], fault = \"transient\"");
    forward(&project).exits(1);
    // One is lost before it could be sent, one cannot be taken.
    fs::remove_file(project.data_dir().join(&runs[0].path)).expect("its file");
    hostile(&project, ", data_error_serials = [\"SN100004\"]");
    forward(&project).exits(1);
    host(&project, &["status"]).exits(1).says(&runs[0].run_id);
    for run in &runs[..2] {
        let discarded = host(&project, &["discard", &run.run_id, "--reason", "the unit was scrapped"]);
        discarded.exits(0);
        assert_eq!(discarded.json(), json!({ "discarded": 1 }));
        let (event, message) = history(&project, run).pop().expect("a history");
        assert_eq!(event, "discarded");
        assert!(message.starts_with("the unit was scrapped (by "), "{message}");
    }
    forward(&project).exits(0);
    let status = host(&project, &["status"]);
    status.exits(0);
    let sink = &status.json()["sinks"][0];
    assert_eq!(
        (&sink["gone"], &sink["quarantined"], &sink["discarded"]),
        (&json!(0), &json!(0), &json!(2)),
        "{status}"
    );
    assert_eq!(status.json()["gone"], json!([]));
}

#[test]
fn a_running_host_takes_up_what_is_asked_of_it() {
    let project = Project::new();
    let first = runs(&project, 1..2);
    project.run(SQLITE).exits(0);
    sql(
        &project,
        "CREATE TRIGGER picky BEFORE INSERT ON test_runs WHEN NEW.dut_serial IN ('SN100004', 'SN100005')
         BEGIN SELECT RAISE(ABORT, 'not yet'); END",
    );
    let mut running = Running::start(&project, project.command(SQLITE).arg("--watch"));
    // Two are refused, and blamed because the third passes.
    let refused = runs(&project, 4..7);
    let quarantined = || sink(&project, &["status"], "sqlite")["quarantined"].as_u64();
    assert!(wait_until(Duration::from_secs(20), || quarantined() == Some(2)));
    let discarded = host(&project, &["discard", &refused[1].run_id, "--reason", "a test of the bench"]);
    discarded.exits(0);
    assert_eq!(discarded.json(), json!({ "requested": 1 }));
    assert!(wait_until(Duration::from_secs(20), || quarantined() == Some(1)));
    sql(&project, "DROP TRIGGER picky");
    let retried = host(&project, &["retry", "--all-quarantined"]);
    retried.exits(0);
    assert_eq!(retried.json(), json!({ "requested": 1 }), "the discarded one is quarantined no more");
    assert!(wait_until(Duration::from_secs(20), || is_there(&project, &refused[0])));
    assert!(is_there(&project, &first[0]) && !is_there(&project, &refused[1]));
    assert!(wait_until(Duration::from_secs(20), || host(&project, &["status"]).status.success()));
    assert_eq!(running.wait(Duration::ZERO), None, "nobody stopped it");
}

#[test]
fn what_waits_for_a_sink_that_is_away_can_be_discarded_under_a_running_host() {
    let project = Project::new();
    let runs = runs(&project, 1..3);
    hostile(&project, ", fault = \"transient\"");
    let _running = Running::start(&project, project.command(CONFIG).arg("--watch"));
    let pending = || {
        let status = host(&project, &["status"]).json();
        let sink = &status["sinks"][0];
        sink["pending"].as_u64().unwrap_or(0) + sink["retrying"].as_u64().unwrap_or(0)
    };
    assert!(wait_until(Duration::from_secs(20), || pending() == 2));
    let discarded = host(&project, &["discard", &runs[0].run_id, "--reason", "scrap"]);
    assert_eq!(discarded.exits(0).json(), json!({ "requested": 1 }));
    assert!(wait_until(Duration::from_secs(20), || pending() == 1));
    assert_eq!(history(&project, &runs[0]).pop().map(|(event, _)| event).as_deref(), Some("discarded"));
}

#[test]
fn a_wrong_retry_or_discard_says_what_is_wrong() {
    let project = Project::new();
    let runs = runs(&project, 0..20);
    let id = runs[0].run_id.as_str();
    host(&project, &["retry", id]).exits(2).says("no host has delivered from here yet");
    project.run(SQLITE).exits(0);
    host(&project, &["retry", id]).exits(2).says("there is nothing to retry").says("committed at sqlite");
    host(&project, &["discard", id, "--reason", "x"]).exits(2).says("there is nothing to discard");
    host(&project, &["retry", "--all-quarantined"]).exits(2).says("no run is quarantined");
    host(&project, &["retry", "00000000-0000"]).exits(2).says("no run's id starts with \"00000000-0000\"");
    host(&project, &["retry", "bench-7"]).exits(2).says("is not the beginning of a run's id");
    let firsts: Vec<_> = runs.iter().map(|run| &run.run_id[..1]).collect();
    let shared = firsts.iter().find(|first| firsts.iter().filter(|other| other == first).count() > 1);
    host(&project, &["retry", shared.expect("20 ids and 16 digits")]).exits(2).says("several runs' ids start with");
    host(&project, &["retry", id, "--sink", "sqlit"]).exits(2).says("did you mean \"sqlite\"?");
    host(&project, &["retry"]).exits(2);
    host(&project, &["retry", id, "--all-quarantined"]).exits(2);
    host(&project, &["discard", id]).exits(2).says("--reason");
    host(&project, &["discard", id, "--reason", " "]).exits(2).says("a reason is needed");
}

#[test]
fn a_configured_sink_is_judged_whoever_used_the_ledger_later() {
    let project = Project::new();
    runs(&project, 1..2);
    hostile(&project, ", fault = \"auth\"");
    forward(&project).exits(1);
    project.run(SQLITE).exits(0);
    host(&project, &["status", CONFIG[0], CONFIG[1]]).exits(1);
    assert_eq!(sink(&project, &["status", CONFIG[0], CONFIG[1]], "bad")["is_current"], true);
    // Whoever asks for the other one alone is not told of it.
    host(&project, &["status", "--plugin", "sqlite.so"]).exits(0);
}

#[test]
fn a_configured_sink_that_was_never_used_is_listed() {
    let project = Project::new();
    runs(&project, 1..2);
    project.run(SQLITE).exits(0);
    hostile(&project, "");
    let status = host(&project, &["status"]);
    status.exits(0);
    let never = sink(&project, &["status"], "bad");
    assert_eq!((&never["state"], &never["pending"]), (&json!("never used"), &json!(0)), "{status}");
    project.run(["status"]).exits(0).says("bad: configured, and no host has used it yet");
    runs(&project, 2..3);
    std::thread::sleep(Duration::from_millis(1100));
    host(&project, &["status", "--max-age", "0s"]).exits(1);
}

#[test]
fn a_folder_without_runs_is_told() {
    let project = Project::new();
    runs(&project, 1..2);
    fs::create_dir_all(project.path("results/runs/2026-03-01")).expect("a folder of a day");
    fs::create_dir(project.path("other")).expect("another folder");
    let real = project.data_dir().canonicalize().expect("it is there").display().to_string();
    let above = format!("name the folder above that: {real}");
    for (given, hint) in
        [("results/runs", &above), ("results/runs/2026-03-01", &above), ("other", &"Litmus".to_owned())]
    {
        let at = ["--data-dir", given];
        let forwarded = project.run(SQLITE.iter().chain(&at).chain(&["--format", "json"]));
        forwarded.exits(0).says("there is no runs/ in the data dir").says(hint);
        project.run(["check"].iter().chain(&SQLITE).chain(&at)).exits(2).says("there is no runs/").says(hint);
        project.run(["status"].iter().chain(&at)).exits(1).says("there is no runs/").says(hint);
    }
    let right = project.run(SQLITE.iter().chain(&["--format", "json"]));
    right.delivered(1, 0);
    assert!(!right.stderr.contains("no runs/"), "{right}");
    project.run(["check"].iter().chain(&SQLITE)).exits(0);
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
fn a_constraint_of_the_databases_owner_is_told_as_such() {
    let cases = [
        ("test_runs", "CREATE UNIQUE INDEX mine ON test_runs (station_id)", "DROP INDEX mine"),
        (
            "steps",
            "CREATE TRIGGER mine BEFORE INSERT ON steps WHEN NEW.run_id NOT IN (SELECT run_id FROM test_runs LIMIT 1)
             BEGIN SELECT RAISE(ABORT, 'ask me first'); END",
            "DROP TRIGGER mine",
        ),
    ];
    for (table, rule, undone) in cases {
        let project = Project::new();
        runs(&project, 1..2);
        project.run(SQLITE).exits(0);
        sql(&project, rule);
        runs(&project, 2..3);
        let ended = project.run(SQLITE.iter().chain(&["--format", "json"]));
        ended.exits(1).says(&format!("(table {table})")).says("the database's owner");
        // Where no run passes none is blamed.
        let sink = &ended.json()["sinks"][0];
        assert_eq!((&sink["quarantined"], &sink["pending"]), (&0.into(), &1.into()), "{ended}");
        sql(&project, undone);
        project.forward("out.db").delivered(1, 0);
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

#[test]
fn a_damaged_ledger_gets_the_same_advice_from_every_command() {
    let project = Project::new();
    runs(&project, 1..2);
    project.run(SQLITE).exits(0);
    fs::write(
        ledger(&project),
        "this is no database, and long enough to be taken for one by whoever does not look closely",
    )
    .expect("rubbish");
    for arguments in [&["status"][..], &["retry", "--all-quarantined"], &SQLITE] {
        host(&project, arguments).exits(3).says("hint: move the file away");
    }
}

#[test]
fn a_ledger_that_a_host_is_just_making_is_none_yet() {
    let project = Project::new();
    runs(&project, 1..2);
    project.run(SQLITE).exits(0);
    // The file is there before the first table is.
    fs::write(ledger(&project), "").expect("an empty file");
    let status = host(&project, &["status"]);
    status.exits(0);
    assert_eq!(status.json()["stores"][0]["new_files"], 1, "{status}");
    host(&project, &["retry", "--all-quarantined"]).exits(2).says("no host has delivered from here yet");
}
