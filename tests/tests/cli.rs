//! The commands beside `forward`: JSON that scripts rely on, exit codes, errors that name what is wrong.

use std::fs;

use litmus_tests::generate::{Plan, write};
use litmus_tests::project::Project;
use litmus_tests::{artifacts, corpus};
use serde_json::Value;

fn keys(object: &Value) -> Vec<&str> {
    let object = object.as_object().unwrap_or_else(|| panic!("an object, not {object}"));
    object.keys().map(String::as_str).collect()
}

fn assert_keys(object: &Value, expected: &[&str]) {
    for key in expected {
        assert!(keys(object).contains(key), "\"{key}\" is not among {:?}", keys(object));
    }
}

#[test]
fn runs_lists_every_run_with_the_documented_keys() {
    for source in corpus::sources() {
        let data_dir = source.data_dir.to_string_lossy();
        let listed = Project::new().run(["runs", "--data-dir", &*data_dir, "--format", "json"]);
        listed.exits(0);
        let runs = listed.json();
        let runs = runs.as_array().expect("an array");
        assert_eq!(runs.len(), source.files.len(), "{}", source.name);
        for run in runs {
            assert_keys(
                run,
                &[
                    "run_id",
                    "sha256",
                    "path",
                    "generation",
                    "run_started_at",
                    "run_ended_at",
                    "dut_serial",
                    "dut_part_number",
                    "station_id",
                    "run_outcome",
                    "outcome",
                    "outcome_derived",
                    "steps",
                    "vectors",
                    "measurements",
                ],
            );
            let path = run["path"].as_str().expect("a path");
            let expected = source.files.get(path).unwrap_or_else(|| panic!("{path} is relative to the data dir"));
            assert_eq!(run["run_id"], *expected.run_id, "{path}");
            assert_eq!(run["dut_serial"].as_str(), expected.serial.as_deref(), "{path}");
            assert_eq!(run["run_outcome"].as_str(), expected.run_outcome.as_deref(), "{path}");
            if !corpus::is_exempt(&source) {
                assert_eq!(run["measurements"], expected.count, "{path}");
                assert_eq!(run["outcome"].as_str(), expected.outcome.as_deref(), "{path}");
            }
        }
    }
}

#[test]
fn show_takes_a_unique_prefix_and_gives_the_five_tables() {
    let project = Project::new();
    let run = write(&project.data_dir(), &Plan::new(11, 40));
    write(&project.data_dir(), &Plan::new(12, 40));
    let shown = project.run(["show", &run.run_id[..8], "--format", "json"]);
    shown.exits(0);
    let shown = shown.json();
    assert_eq!(keys(&shown), ["run", "steps", "vectors", "measurements", "instruments"]);
    assert_eq!(shown["run"]["run_id"], *run.run_id);
    assert_eq!(shown["measurements"].as_array().map(Vec::len), Some(40));
    assert_eq!(shown["steps"].as_array().map(Vec::len), Some(8));
    assert_keys(&shown["measurements"][0], &["measurement_name", "measurement_value", "measurement_units", "in_vin"]);
    project.run(["show", "no-such-run"]).exits(2).says("no-such-run");
}

#[test]
fn numbers_that_json_cannot_hold_are_texts() {
    let mut seen = 0;
    for source in corpus::sources() {
        let data_dir = source.data_dir.to_string_lossy().into_owned();
        for file in source.files.values() {
            let infinite = |value: Option<u64>| value.is_some_and(|bits| !f64::from_bits(bits).is_finite());
            if file.measurements.iter().flatten().any(|measurement| infinite(measurement.value)) {
                let shown =
                    Project::new().run(["show", &file.run_id, "--data-dir", &data_dir, "--format", "json"]).json();
                let values: Vec<_> =
                    shown["measurements"].as_array().unwrap().iter().map(|row| &row["measurement_value"]).collect();
                assert!(
                    values.iter().any(|value| ["NaN", "Infinity", "-Infinity"].map(Value::from).contains(value)),
                    "{values:?}"
                );
                seen += 1;
            }
        }
    }
    assert!(seen > 0, "the corpus has such runs");
}

#[test]
fn status_has_the_documented_shape() {
    let project = Project::new();
    write(&project.data_dir(), &Plan::new(21, 8));
    project.forward("out.db").exits(0);
    let ended = project.run(["status", "--plugin", "sqlite.so", "--set", "path=out.db", "--format", "json"]);
    ended.exits(0);
    let status = ended.json();
    assert_keys(&status, &["sinks", "unreadable", "duplicates", "gone"]);
    let sink = &status["sinks"][0];
    assert_keys(
        sink,
        &[
            "name",
            "destination",
            "state",
            "pending",
            "committed",
            "verified",
            "retrying",
            "quarantined",
            "oldest_pending_seconds",
        ],
    );
    assert_eq!(sink["pending"], 0);
    assert_eq!(sink["committed"].as_u64().unwrap() + sink["verified"].as_u64().unwrap(), 1, "{status:#}");
}

#[test]
fn plugins_lists_what_is_found_and_why_a_file_cannot_load() {
    let project = Project::new();
    let folder = project.path("own");
    fs::create_dir_all(&folder).expect("a folder");
    fs::copy(artifacts::plugin("sqlite"), folder.join("sqlite.so")).expect("a copy");
    fs::write(folder.join("text.so"), "not a library").expect("a file");
    project.run(["plugins", "--plugin-dir", "own"]).exits(0).says("sqlite").says("text.so");
}

#[test]
fn a_plugin_that_is_nowhere_lists_every_place_tried() {
    let project = Project::new();
    let ended = project.run(["--plugin", "nowhere.so", "--plugin-dir", "own"]);
    ended.exits(2).says("nowhere.so").says("own").says(&artifacts::folder().join("plugins").display().to_string());
}

#[test]
fn check_finds_a_good_configuration_good_and_touches_nothing() {
    let project = Project::new();
    project.run(["check", "--plugin", "sqlite.so", "--set", "path=out.db"]).exits(0);
    assert!(!project.path("out.db").exists(), "an offline check made a database");
    project.run(["check", "--plugin", "sqlite.so", "--set", "path=out.db", "--set", "pth=1"]).exits(2).says("pth");
}

#[test]
fn wrong_words_are_the_commands_fault() {
    let project = Project::new();
    project.run(["--no-such-flag"]).exits(2).says("--no-such-flag");
    project
        .run(["--data-dir", "not-there", "--plugin", "sqlite.so", "--set", "path=out.db"])
        .exits(2)
        .says("not-there");
    fs::write(project.path("litmus-host.toml"), "[[sink]]\nname = \"a\"\nplugni = \"sqlite.so\"\n").expect("a file");
    project.run(["--config", "litmus-host.toml"]).exits(2).says("plugni").says("plugin").says("litmus-host.toml");
}

#[test]
fn a_file_that_cannot_be_read_is_listed_once_and_holds_up_nobody() {
    let project = Project::new();
    let good = write(&project.data_dir(), &Plan::new(31, 8));
    let torn = project.data_dir().join("runs/2026-03-01/torn.parquet");
    fs::write(&torn, &fs::read(project.data_dir().join(&good.path)).expect("a run")[..5000]).expect("a torn file");
    project.forward("out.db").exits(1).says("torn.parquet");
    let connection = litmus_tests::database::open(&project.path("out.db"));
    assert_eq!(litmus_tests::database::runs(&connection).len(), 1, "its neighbour arrived");
    project.forward("out.db").exits(0);
    let status = project.run(["status", "--plugin", "sqlite.so", "--set", "path=out.db", "--format", "json"]).json();
    assert!(status["unreadable"].to_string().contains("torn.parquet"), "{status:#}");
}

#[test]
fn help_names_every_command() {
    let project = Project::new();
    let help = project.run(["--help"]);
    help.exits(0);
    for command in ["forward", "runs", "show", "status", "recover", "plugins", "check"] {
        help.says(command);
        project.run([command, "--help"]).exits(0);
    }
}

/// The plugin checks its own configuration and knows of no file; the host says where the key stands.
#[test]
fn a_mistake_in_a_sinks_own_configuration_is_told_with_its_place() {
    let project = Project::new();
    let config = "[[sink]]\nplugin = \"sqlite.so\"\nconfig = { path = \"a.db\",\n  columns_mx = 3 }\n";
    fs::write(project.path("litmus-host.toml"), config).unwrap();
    for command in [&["forward"][..], &["check"]] {
        let ended = project.run(command);
        ended.exits(2).says("litmus-host.toml:4:3: sink \"sqlite\" (sqlite.so): ");
        ended.says("unknown key \"columns_mx\"; did you mean \"columns_max\"?");
    }
    fs::write(project.path("litmus-host.toml"), "[[sink]]\nplugin = \"sqlite.so\"\n").unwrap();
    project.run(["check"]).exits(2).says("litmus-host.toml:2:10: sink \"sqlite\" (sqlite.so): missing field `path`");
    fs::remove_file(project.path("litmus-host.toml")).unwrap();
    let flags = ["--plugin", "sqlite.so", "--set", "path=a.db", "--set", "columns_max=many"];
    project.run(flags).exits(2).says("--set columns_max: sink \"sqlite\" (sqlite.so): ");
}

#[test]
fn a_password_of_digits_is_a_text_and_is_not_printed() {
    let project = Project::new();
    let set = |more: &str| project.run(["check", "--plugin", "postgres.so", "--set", "host=h", "--set", more]);
    let ended = set("password=7777123456");
    ended.exits(0);
    assert!(!format!("{ended}").contains("7777123456"), "{ended}");
    let config = "[[sink]]\nplugin = \"postgres.so\"\nconfig = { host = \"h\", password = 7777123456 }\n";
    fs::write(project.path("litmus-host.toml"), config).unwrap();
    let ended = project.run(["check"]);
    ended.exits(2).says("litmus-host.toml:3:24: ").says("\"password\": invalid type");
    assert!(!format!("{ended}").contains("7777123456"), "{ended}");
}

#[test]
fn a_dry_run_whose_destination_cannot_be_asked_does_not_end_well() {
    let project = Project::new();
    write(&project.data_dir(), &Plan::new(13, 1));
    let dry = |url: &str| {
        let url = format!("url={url}");
        project.run(["--plugin", "postgres.so", "--set", &url, "--dry-run", "--give-up-after", "0s"])
    };
    dry("postgresql://nobody@127.0.0.1:1/none").exits(1);
    project.run(["--plugin", "sqlite.so", "--set", "path=a.db", "--dry-run"]).exits(0);
}
