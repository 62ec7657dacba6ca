//! Whatever a person must look at reaches an exit code: of `forward`, once, and of `status`, as long as it is so.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use litmus_tests::database;
use litmus_tests::generate::{Generated, Plan, write};
use litmus_tests::project::{Ended, Project, Running, wait_until};
use rustix::process::Signal;

const SQLITE: [&str; 4] = ["--plugin", "sqlite.so", "--set", "path=out.db"];

fn hostile(project: &Project, settings: &str) {
    let toml = format!(
        "[[sink]]\nname = \"bad\"\nplugin = \"hostile.so\"\nconfig = {{ log = \"bad.jsonl\"{settings} }}\ndeadline = \"1s\"\n"
    );
    fs::write(project.path("litmus-host.toml"), format!("grace = \"1s\"\n{toml}")).expect("a configuration");
}

fn forward(project: &Project) -> Ended {
    project.run(["--config", "litmus-host.toml", "--give-up-after", "2s", "--format", "json"])
}

fn status(project: &Project, arguments: &[&str]) -> Ended {
    project.run(["status", "--format", "json"].iter().chain(arguments))
}

fn delete(project: &Project, run: &Generated) {
    fs::remove_file(project.data_dir().join(&run.path)).expect("its file");
}

#[test]
fn a_sink_that_hangs_costs_no_run_anything_over_many_restarts() {
    let project = Project::new();
    let runs: Vec<_> = (0..4).map(|number| write(&project.data_dir(), &Plan::new(number, 8))).collect();
    hostile(&project, ", hang_in = \"deliver\"");
    for round in 0..6 {
        let ended = forward(&project);
        ended.exits(1);
        let sink = &ended.json()["sinks"][0];
        assert_eq!((&sink["pending"], &sink["quarantined"]), (&4.into(), &0.into()), "round {round}: {ended}");
    }
    status(&project, &["--config", "litmus-host.toml"]).exits(1).says("\"down\"");
    hostile(&project, "");
    forward(&project).exits(0);
    let arrived = fs::read_to_string(project.path("bad.jsonl")).expect("what the sink was sent");
    assert!(runs.iter().all(|run| arrived.contains(&run.run_id)), "{arrived}");
    status(&project, &["--config", "litmus-host.toml"]).exits(0);
}

#[test]
fn a_lost_run_makes_one_exit_code_and_stays_in_status() {
    let project = Project::new();
    let runs: Vec<_> = (0..3).map(|number| write(&project.data_dir(), &Plan::new(number, 8))).collect();
    hostile(&project, ", fault = \"transient\"");
    forward(&project).exits(1);
    delete(&project, &runs[0]);
    hostile(&project, "");
    // Whoever forwards another run is not told; nor is the loss forgotten for that.
    let other = project.run(["--config", "litmus-host.toml", "--run", &runs[1].run_id, "--format", "json"]);
    other.exits(0);
    forward(&project).exits(1).says(&runs[0].run_id);
    forward(&project).exits(0);
    status(&project, &["--config", "litmus-host.toml"]).exits(1).says(&runs[0].run_id);
}

#[test]
fn forwarding_a_run_that_vanished_meanwhile_is_told() {
    let project = Project::new();
    let run = write(&project.data_dir(), &Plan::new(1, 8));
    hostile(&project, ", fault = \"transient\"");
    forward(&project).exits(1);
    delete(&project, &run);
    hostile(&project, "");
    // The id with or without its hyphens.
    let id = run.run_id.replace('-', "");
    project.run(["--config", "litmus-host.toml", "--run", &id, "--format", "json"]).exits(1).says("vanished");
    project.run(["--config", "litmus-host.toml", "--run", &id, "--format", "json"]).exits(0);
}

#[test]
fn a_pending_run_replaced_by_rubbish_is_told_as_what_it_is() {
    let project = Project::new();
    let run = write(&project.data_dir(), &Plan::new(1, 8));
    hostile(&project, ", fault = \"transient\"");
    forward(&project).exits(1);
    fs::write(project.data_dir().join(&run.path), "rubbish").expect("its file");
    forward(&project).exits(1).says("replaced by one that cannot be read");
}

#[test]
fn a_quarantined_run_needs_attention() {
    let project = Project::new();
    write(&project.data_dir(), &Plan::new(4, 8));
    hostile(&project, ", data_error_serials = [\"SN100004\"]");
    forward(&project).exits(1);
    status(&project, &["--config", "litmus-host.toml"]).exits(1);
}

#[test]
fn files_that_wait_while_no_host_runs_need_attention_once_they_are_too_old() {
    let project = Project::new();
    write(&project.data_dir(), &Plan::new(1, 8));
    project.run(SQLITE).exits(0);
    status(&project, &[]).exits(0);
    write(&project.data_dir(), &Plan::new(2, 8));
    let waiting = status(&project, &[]);
    waiting.exits(0);
    assert_eq!(waiting.json()["stores"][0]["new_files"], 1, "{waiting}");
    assert!(waiting.json()["stores"][0]["host"].is_null(), "{waiting}");
    std::thread::sleep(Duration::from_millis(1100));
    status(&project, &["--max-age", "0s"]).exits(1);
    project.run(SQLITE).exits(0);
    status(&project, &["--max-age", "0s"]).exits(0);
}

#[test]
fn a_mistyped_destination_is_shown_and_not_judged_once_another_is_used() {
    let project = Project::new();
    write(&project.data_dir(), &Plan::new(1, 8));
    project.run(["--plugin", "sqlite.so", "--set", "path=litmus.yaml/out.db"]).exits(1);
    status(&project, &[]).exits(1);
    project.run(SQLITE).exits(0);
    let after = status(&project, &[]);
    after.exits(0).says("litmus.yaml/out.db");
    assert_eq!(after.json()["sinks"][1]["is_current"], false, "{after}");
}

#[test]
fn status_of_a_data_dir_that_is_not_there_says_so() {
    Project::new().run(["status", "--data-dir", "nowhere"]).exits(2).says("nowhere");
}

#[test]
fn status_and_a_dry_run_work_for_a_user_who_may_only_read() {
    let project = Project::new();
    write(&project.data_dir(), &Plan::new(1, 8));
    project.run(SQLITE).exits(0);
    write(&project.data_dir(), &Plan::new(2, 8));
    make_read_only(&project.state_dir(), true);
    let (status, dry) = (status(&project, &[]), project.run(SQLITE.iter().chain(&["--dry-run", "--format", "json"])));
    make_read_only(&project.state_dir(), false);
    status.exits(0);
    dry.exits(0);
    assert_eq!(dry.json()["sinks"][0]["delivered"], 1, "only what the ledger does not have yet: {dry}");
}

/// Root may write anyway: what counts is that nothing is written, and that nothing has to be.
fn make_read_only(folder: &Path, read_only: bool) {
    use std::os::unix::fs::PermissionsExt;
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        if entry.path().is_dir() {
            make_read_only(&entry.path(), read_only);
        } else {
            let mode = if read_only { 0o444 } else { 0o644 };
            fs::set_permissions(entry.path(), fs::Permissions::from_mode(mode)).expect("it is ours");
        }
    }
    let mode = if read_only { 0o555 } else { 0o755 };
    fs::set_permissions(folder, fs::Permissions::from_mode(mode)).expect("it is ours");
}

#[test]
fn a_watching_host_opens_a_sink_that_hung_again_and_ends_promptly_when_told() {
    let project = Project::new();
    write(&project.data_dir(), &Plan::new(1, 8));
    hostile(&project, ", hang_in = \"connect\"");
    let mut running =
        Running::start(&project, project.command(["--config", "litmus-host.toml"]).args(["--watch", "-v"]));
    let is_down = || status(&project, &["--config", "litmus-host.toml"]).stdout.contains("\"down\"");
    assert!(wait_until(Duration::from_secs(20), is_down), "the sink is given up");
    assert_eq!(running.wait(Duration::from_millis(500)), None, "the host goes on");
    running.signal(Signal::TERM);
    let ended = running.wait(Duration::from_secs(20)).expect("it ends");
    assert_eq!(ended.code(), Some(1), "a run is still pending");
}

#[test]
fn a_second_signal_ends_a_host_whose_sink_does_not_answer() {
    let project = Project::new();
    write(&project.data_dir(), &Plan::new(1, 8));
    for entry in ["connect", "deliver"] {
        // Neither the deadline nor the grace period helps here.
        let settings = format!(", name = \"{entry}\", hang_in = \"{entry}\"");
        hostile(&project, &settings);
        let toml = fs::read_to_string(project.path("litmus-host.toml")).expect("the configuration");
        fs::write(project.path("litmus-host.toml"), toml.replace("\"1s\"", "\"1h\"")).expect("the configuration");
        let mut running = Running::start(&project, project.command(["--config", "litmus-host.toml"]).arg("--watch"));
        std::thread::sleep(Duration::from_secs(1));
        running.signal(Signal::TERM);
        assert_eq!(running.wait(Duration::from_millis(800)), None, "{entry}: there is a grace period");
        running.signal(Signal::TERM);
        let ended = running.wait(Duration::from_secs(20)).expect("it ends");
        assert_eq!(ended.code(), Some(1), "{entry}");
    }
}

#[test]
fn a_store_whose_ledger_breaks_while_it_is_away_does_not_end_the_host() {
    let project = Project::new();
    let mut config = String::new();
    for name in ["here", "back", "broken"] {
        fs::create_dir_all(project.path(name).join("runs")).expect("a data dir");
        config.push_str("[[store]]\n");
        config.push_str(&["name", "path"].map(|key| format!("{key} = \"{name}\"\n")).concat());
    }
    config += "[[sink]]\nname = \"db\"\nplugin = \"sqlite.so\"\nconfig = { path = \"out.db\" }\n";
    fs::write(project.path("litmus-host.toml"), config).expect("a configuration");
    write(&project.path("here"), &Plan::new(0, 8));
    project.run(["--config", "litmus-host.toml"]).exits(0);

    let ledgers = fs::read_dir(project.state_dir()).expect("the state").flatten();
    let ledgers: Vec<_> = ledgers.map(|folder| folder.path().join("ledger.db")).collect();
    assert_eq!(ledgers.len(), 3);
    let is_of_broken = |ledger: &&PathBuf| {
        let meta = database::open(ledger).query_row("SELECT value FROM meta", [], |row| row.get::<_, String>(0));
        meta.expect("its data dir").ends_with("broken")
    };
    let ledger = ledgers.iter().find(is_of_broken).expect("its ledger");
    let away = |name: &str| project.path(format!("{name}.away"));
    for name in ["back", "broken"] {
        fs::rename(project.path(name), away(name)).expect("it goes");
    }
    let mut running = Running::start(&project, project.command(["--config", "litmus-host.toml"]).arg("--watch"));
    let serves = || status(&project, &["--config", "litmus-host.toml"]).stdout.contains("pid ");
    assert!(wait_until(Duration::from_secs(20), serves));
    fs::write(ledger, "this is no database, and long enough to be taken for one by whoever does not look closely")
        .expect("rubbish");
    for name in ["back", "broken"] {
        fs::rename(away(name), project.path(name)).expect("it is back");
    }
    let runs = [write(&project.path("back"), &Plan::new(1, 8)), write(&project.path("here"), &Plan::new(2, 8))];
    let arrived = || {
        let there = database::runs(&database::open(&project.path("out.db")));
        runs.iter().all(|run| there.contains_key(&run.run_id))
    };
    assert!(wait_until(Duration::from_secs(40), arrived), "the other stores are served");
    assert_eq!(running.wait(Duration::ZERO), None);
    running.signal(Signal::TERM);
    assert_eq!(running.wait(Duration::from_secs(20)).and_then(|ended| ended.code()), Some(1));
}
