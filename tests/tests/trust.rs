//! What a destination and its host believe of each other: nothing that was not looked at.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use litmus_tests::database;
use litmus_tests::generate::{Generated, Plan, write};
use litmus_tests::project::{Ended, Project};
use rusqlite::Connection;

fn ids(database: &Path) -> Vec<String> {
    database::runs(&database::open(database)).into_keys().collect()
}

fn change(database: &Path, sql: &str) {
    Connection::open(database)
        .and_then(|connection| connection.execute_batch(sql))
        .unwrap_or_else(|e| panic!("{sql}: {e}"));
}

fn runs(project: &Project, numbers: std::ops::Range<u64>) -> Vec<Generated> {
    numbers.map(|number| write(&project.data_dir(), &Plan::new(number, 8))).collect()
}

fn sorted(runs: &[Generated]) -> Vec<String> {
    let mut ids: Vec<_> = runs.iter().map(|run| run.run_id.clone()).collect();
    ids.sort();
    ids
}

/// The same run in two files of different bytes, the second of lower rank.
fn copies(project: &Project) -> [std::path::PathBuf; 2] {
    let high = write(&project.data_dir(), &Plan::new(7, 16));
    let aside = project.data_dir().join("runs/copy.parquet");
    fs::rename(project.data_dir().join(&high.path), &aside).expect("a file");
    let low = write(&project.data_dir(), &Plan { aborted: true, ..Plan::new(7, 8) });
    assert_eq!(high.run_id, low.run_id);
    [aside, project.data_dir().join(low.path)]
}

#[test]
fn a_copy_that_stepped_aside_comes_forward_when_the_better_one_is_gone_for_good() {
    let project = Project::new();
    let [high, _low] = copies(&project);
    project.forward("out.db").exits(0);
    fs::remove_file(high).expect("a file");
    project.forward("out.db").exits(0);
    fs::remove_file(project.path("out.db")).expect("a database");
    let last = project.forward("out.db");
    assert_eq!(ids(&project.path("out.db")).len(), 1, "the run is on disk, and must be there: {last}");
}

#[test]
fn the_restore_of_an_older_backup_is_noticed() {
    let project = Project::new();
    let mut all = runs(&project, 0..4);
    project.forward("out.db").exits(0);
    fs::copy(project.path("out.db"), project.path("backup.db")).expect("a copy");
    all.extend(runs(&project, 4..7));
    project.forward("out.db").delivered(3, 0);
    fs::copy(project.path("backup.db"), project.path("out.db")).expect("the restore");
    project.forward("out.db").exits(0);
    assert_eq!(ids(&project.path("out.db")), sorted(&all));
}

/// The rows of two runs are changed behind the host's back, and its notes or the database's are lost.
fn changed_by_somebody(lose: impl FnOnce(&Project)) -> (Project, Ended) {
    let project = Project::new();
    let all = runs(&project, 0..4);
    project.forward("out.db").exits(0);
    let [one, other] = [&all[0].run_id, &all[1].run_id];
    change(&project.path("out.db"), &format!("DELETE FROM measurements WHERE run_id = '{one}'"));
    change(
        &project.path("out.db"),
        &format!("UPDATE measurements SET measurement_value = measurement_value + 1 WHERE run_id = '{other}'"),
    );
    lose(&project);
    let ended = project.forward("out.db");
    ended.exits(1).says(one).says(other).says("changed by somebody else");
    assert_eq!(ended.json()["sinks"][0]["quarantined"], 2, "{ended}");
    (project, ended)
}

#[test]
fn rows_that_somebody_changed_are_found_where_the_destination_is_in_doubt() {
    changed_by_somebody(|project| change(&project.path("out.db"), "DELETE FROM litmus_meta WHERE key = 'incarnation'"));
}

#[test]
fn without_its_ledger_the_host_compares_and_does_not_believe_a_note() {
    let (_, ended) = changed_by_somebody(|project| fs::remove_dir_all(project.state_dir()).expect("the ledger"));
    assert_eq!(ended.json()["sinks"][0]["already_present"], 4, "{ended}");
}

#[test]
fn a_host_that_saw_a_replacement_and_one_that_did_not_settle_alike_in_either_order() {
    for turned in [false, true] {
        let (one, other) = (Project::new(), Project::new());
        let shared = one.path("shared.db");
        let database = shared.to_string_lossy().into_owned();
        // At the first host the higher rank was replaced; the second has it alone.
        write(&one.data_dir(), &Plan::new(7, 16));
        one.forward("elsewhere.db").exits(0);
        let replaced = write(&one.data_dir(), &Plan { aborted: true, ..Plan::new(7, 8) });
        write(&other.data_dir(), &Plan::new(7, 16));
        let both = if turned { [&other, &one] } else { [&one, &other] };
        for project in both {
            project.forward(&database).exits(0);
        }
        let held = database::runs(&database::open(&shared));
        assert_eq!(held[&replaced.run_id].run_outcome.as_deref(), Some("aborted"), "turned: {turned}");
    }
}

#[test]
fn a_constraint_of_the_databases_owner_costs_no_run_anything() {
    let project = Project::new();
    let mut all = runs(&project, 0..1);
    project.forward("out.db").exits(0);
    change(&project.path("out.db"), "CREATE UNIQUE INDEX one_each ON test_runs (station_id)");
    all.extend(runs(&project, 1..9));
    let refused = project.forward("out.db");
    refused.exits(1);
    let sink = &refused.json()["sinks"][0];
    assert_eq!((&sink["quarantined"], &sink["pending"]), (&0.into(), &8.into()), "{refused}");
    change(&project.path("out.db"), "DROP INDEX one_each");
    project.forward("out.db").exits(0);
    assert_eq!(ids(&project.path("out.db")), sorted(&all));
}

#[test]
fn now_skips_what_was_there_and_nothing_that_comes_later() {
    let project = Project::new();
    let there = runs(&project, 0..2);
    let forward = |more: &[&str]| {
        let arguments = ["--plugin", "sqlite.so", "--set", "path=out.db", "--format", "json"];
        project.run(arguments.iter().chain(more))
    };
    // The clock of whoever sealed it is ahead.
    let ahead = SystemTime::now() + Duration::from_hours(48);
    fs::File::options()
        .append(true)
        .open(project.data_dir().join(&there[0].path))
        .and_then(|file| file.set_modified(ahead))
        .expect("its time");
    forward(&["--start", "now"]).exits(0);
    let come = runs(&project, 2..4);
    // Copied here with its old time.
    let old = SystemTime::now() - Duration::from_hours(48);
    fs::File::options()
        .append(true)
        .open(project.data_dir().join(&come[0].path))
        .and_then(|file| file.set_modified(old))
        .expect("its time");
    forward(&[]).exits(0);
    assert_eq!(ids(&project.path("out.db")), sorted(&come));
}

#[test]
fn two_destinations_whose_paths_are_secrets_stay_two() {
    let project = Project::new();
    let run = write(&project.data_dir(), &Plan::new(1, 8));
    let sinks = ["one", "two"].map(|name| {
        format!("[[sink]]\nname = \"{name}\"\nplugin = \"sqlite.so\"\nconfig = {{ path = {{ env = \"{name}\" }} }}\n")
    });
    fs::write(project.path("litmus-host.toml"), sinks.concat()).expect("a configuration");
    let mut command = project.command(["--config", "litmus-host.toml"]);
    Ended::of(command.env("one", "first.db").env("two", "second.db")).exits(0);
    for database in ["first.db", "second.db"] {
        assert_eq!(ids(&project.path(database)), std::slice::from_ref(&run.run_id));
    }
}
