//! Runs of our own recorder, forwarded: what it sealed is what the destination holds, and what `show` prints.

use std::fs;
use std::sync::Arc;

use litmus_core::OpenMode;
use litmus_core::abi::host::{HostCall, Plugin};
use litmus_core::digest::Conversions;
use litmus_core::reader::Store;
use litmus_record::{Client, Format, Journal, RunOptions};
use litmus_tests::project::Project;
use litmus_tests::{artifacts, database};

#[allow(dead_code)]
#[path = "../../crates/litmus-record/examples/scenarios/runs.rs"]
mod runs;

#[test]
fn what_was_recorded_is_what_arrived() {
    let plugin = Plugin::load(&artifacts::plugin("sqlite"), Arc::new(|_, _, _| ())).expect("the plugin loads");
    let call = HostCall { attempt: 1, deadline: None, is_cancelled: &|| false, dry_run: false };
    for format in [Format::Flat, Format::Nested] {
        let project = Project::new();
        let client = Client::new(project.data_dir()).format(format);
        let recorded: Vec<_> = runs::all().iter().map(|scenario| runs::record(&client, scenario)).collect();
        let outcome = project.forward("out.db").json();
        assert_eq!(outcome["sinks"][0]["delivered"], recorded.len(), "{outcome:#}");

        let config = serde_json::json!({"path": project.path("out.db")});
        let instance = plugin.open(&config, OpenMode::Live, &call).expect("the database opens");
        let store = Store::open(&project.data_dir()).expect("a data dir");
        for file in store.walk().0 {
            let run = store.open_run(&file.path).expect("a run file");
            let audit = instance.audit(&call, &[run.run_id()]).expect("an audit").remove(0);
            let rules = audit.conversions.keys().map(String::as_str);
            let sealed = run.digests(Conversions::from_names(rules).expect("known rules")).expect("a readable run");
            assert_eq!(audit.tables, sealed, "{}", file.path.display());
        }
        instance.close(&call).expect("a close");

        let connection = database::open(&project.path("out.db"));
        for one in &recorded {
            let id = one["run_id"].as_str().expect("an id");
            let wanted = one["measurements"].as_array().expect("measurements");
            let count = "SELECT COUNT(*) FROM measurements WHERE run_id = ?1";
            let count: i64 = connection.query_row(count, [id], |row| row.get(0)).expect("a count");
            assert_eq!(count as usize, wanted.len(), "{}", one["scenario"]);

            let shown = project.run(["show", id, "--format", "json"]).json();
            assert_eq!(shown["run"]["dut_serial"], one["serial"]);
            let shown = shown["measurements"].as_array().expect("measurements");
            assert_eq!(shown.len(), wanted.len());
            for (shown, wanted) in shown.iter().zip(wanted) {
                assert_eq!(shown["measurement_name"], wanted["name"]);
                assert_eq!(shown["measurement_value"], wanted["value"], "{}", wanted["name"]);
                assert_eq!(shown["measurement_outcome"], wanted["outcome"], "{}", wanted["name"]);
            }
        }
    }
}

#[test]
fn recover_seals_what_a_dead_program_left() {
    let project = Project::new();
    let client = Client::new(project.data_dir()).journal(Journal::On);
    let run = client.start_run(RunOptions::new("SN1", "bench_1")).expect("a run");
    run.step("s").measure("v", 1.0).low(0.0);
    let id = run.id().to_string();
    project.run(["recover"]).exits(0).says("nothing to recover");
    drop(run);

    let sealed = project.run(["recover", "--format", "json"]).json();
    assert_eq!((&sealed[0]["run_id"], &sealed[0]["outcome"]), (&id.as_str().into(), &"aborted".into()));
    let shown = project.run(["show", &id, "--format", "json"]).json();
    assert_eq!(shown["run"]["run_outcome"], "aborted");
    assert_eq!(shown["measurements"][0]["measurement_value"], 1.0);
    project.run(["recover"]).exits(0).says("nothing to recover");

    project.run(["recover", "--data-dir", "nowhere"]).exits(1).says("the data dir is not there");

    let damaged = project.data_dir().join("recording/damaged.jsonl");
    fs::write(&damaged, "{\"litmus_journal\": 1}\n").expect("a journal");
    project.run(["recover"]).exits(1).says("damaged.jsonl: line 1");
    assert!(damaged.exists(), "what cannot be read stays for a person");
}
