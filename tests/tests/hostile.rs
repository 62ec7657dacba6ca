//! A sink that misbehaves, beside one that does not: the trouble stays where it is.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use litmus_tests::artifacts::host;
use litmus_tests::database;
use litmus_tests::generate::{Generated, Plan, write};
use litmus_tests::project::{Ended, Project, Running, wait_until};

/// A project with some runs, and two sinks: `good` into good.db, `bad` with these settings.
fn project(runs: u64, bad: &str) -> (Project, Vec<Generated>) {
    assert!(host().is_file());
    let project = Project::new();
    let written = (0..runs).map(|number| write(&project.data_dir(), &Plan::new(number, 8))).collect();
    configure(&project, bad);
    (project, written)
}

fn configure(project: &Project, bad: &str) {
    let toml = format!(
        "[[sink]]\nname = \"bad\"\nplugin = \"hostile.so\"\nconfig = {{ log = \"bad.jsonl\"{bad} }}\n\n\
         [[sink]]\nname = \"good\"\nplugin = \"sqlite.so\"\nconfig = {{ path = \"good.db\" }}\n"
    );
    fs::write(project.path("litmus-host.toml"), toml).expect("a configuration");
}

fn forward(project: &Project) -> Ended {
    project.run(["--config", "litmus-host.toml", "--give-up-after", "2s", "--format", "json"])
}

fn sink<'a>(outcome: &'a serde_json::Value, name: &str) -> &'a serde_json::Value {
    let sinks = outcome["sinks"].as_array().expect("sinks");
    sinks.iter().find(|sink| sink["name"] == name).unwrap_or_else(|| panic!("no sink {name} in {outcome:#}"))
}

/// The run ids in the good database.
fn good(project: &Project) -> BTreeSet<String> {
    database::runs(&database::open(&project.path("good.db"))).into_keys().collect()
}

/// The run ids that the hostile sink was sent, as its log file says.
fn bad(project: &Project) -> BTreeSet<String> {
    let log = fs::read_to_string(project.path("bad.jsonl")).unwrap_or_default();
    let lines = log.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).expect("a JSON line"));
    lines.map(|line| line["run_id"].as_str().expect("a run_id").to_owned()).collect()
}

fn ids(runs: &[Generated]) -> BTreeSet<String> {
    runs.iter().map(|run| run.run_id.clone()).collect()
}

#[test]
fn left_alone_it_gets_everything() {
    let (project, runs) = project(5, "");
    forward(&project).exits(0);
    assert_eq!((good(&project), bad(&project)), (ids(&runs), ids(&runs)));
}

#[test]
fn a_run_with_bad_data_is_quarantined_and_its_neighbours_arrive() {
    let (project, runs) = project(9, ", data_error_serials = [\"SN100004\"]");
    let ended = forward(&project);
    ended.exits(1).says(&runs[4].run_id);
    let outcome = ended.json();
    assert_eq!(sink(&outcome, "bad")["quarantined"], 1, "{outcome:#}");
    assert_eq!(sink(&outcome, "bad")["delivered"], 8, "{outcome:#}");
    assert_eq!(sink(&outcome, "good")["delivered"], 9, "{outcome:#}");
    assert!(!bad(&project).contains(&runs[4].run_id));
    assert_eq!((good(&project), bad(&project).len()), (ids(&runs), 8));
}

#[test]
fn a_batch_that_fails_as_a_whole_is_bisected_down_to_the_run_at_fault() {
    for trouble in ["batch_error_serials", "panic_serials"] {
        let (project, runs) = project(9, &format!(", {trouble} = [\"SN100000\"]"));
        let ended = forward(&project);
        ended.exits(1).says(&runs[0].run_id);
        assert_eq!(bad(&project), ids(&runs[1..]), "{trouble}: {ended}");
        assert_eq!(good(&project), ids(&runs), "{trouble}: {ended}");
    }
}

#[test]
fn a_sink_that_is_away_is_given_up_and_gets_everything_once_it_is_back() {
    let (project, runs) = project(4, ", fault = \"transient\"");
    let ended = forward(&project);
    ended.exits(1);
    let outcome = ended.json();
    assert_eq!(sink(&outcome, "bad")["pending"], 4, "{outcome:#}");
    assert_eq!(sink(&outcome, "bad")["quarantined"], 0, "being away says nothing about a run: {outcome:#}");
    assert_eq!(good(&project), ids(&runs), "the other sink did not wait");
    configure(&project, "");
    forward(&project).exits(0);
    assert_eq!(bad(&project), ids(&runs));
}

#[test]
fn wrong_credentials_block_their_sink_until_they_are_right() {
    let (project, runs) = project(4, ", fault = \"auth\"");
    let ended = forward(&project);
    ended.exits(1);
    assert_eq!(sink(&ended.json(), "bad")["pending"], 4, "{ended}");
    assert_eq!(good(&project), ids(&runs));
    let status = project.run(["status", "--config", "litmus-host.toml", "--format", "json"]);
    status.exits(1).says("auth");
    configure(&project, "");
    forward(&project).exits(0);
    assert_eq!(bad(&project), ids(&runs));
    project.run(["status", "--config", "litmus-host.toml"]).exits(0);
}

#[test]
fn what_was_reported_before_a_failure_is_kept() {
    let (project, runs) = project(6, ", deliver = [\"error_after_reports\"]");
    forward(&project).exits(0);
    assert_eq!(bad(&project), ids(&runs));
}

#[test]
fn a_panic_on_opening_leaves_the_host_and_the_other_sink_well() {
    for entry in ["connect", "deliver", "close"] {
        let (project, runs) = project(3, &format!(", panic_in = \"{entry}\""));
        let ended = forward(&project);
        assert!(ended.status.code().is_some_and(|code| code <= 2), "{entry}: {ended}");
        assert_eq!(good(&project), ids(&runs), "{entry}: {ended}");
    }
}

#[test]
fn two_hosts_on_one_store_the_second_is_told_who_holds_it() {
    let project = Project::new();
    let run = write(&project.data_dir(), &Plan::new(1, 8));
    let arguments = ["--plugin", "sqlite.so", "--set", "path=out.db"];
    let running = Running::start(&project, project.command(arguments).arg("--watch"));
    let there =
        || project.path("out.db").exists() && project.run(["status"].iter().chain(&arguments)).status.code() == Some(0);
    assert!(wait_until(Duration::from_secs(20), there), "the first host delivers");

    let second = project.run(arguments);
    second.exits(2).says(&format!("pid {}", running.id()));
    let status = project.run(["status"].iter().chain(&arguments).chain(&["--format", "json"]));
    status.exits(0);
    project.run(["show", &run.run_id]).exits(0);
}
