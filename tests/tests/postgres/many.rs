//! Many hosts on one schema, and a run that the database does not take.

use std::collections::BTreeMap;
use std::fs;

use litmus_tests::generate::{Generated, Plan, write};
use litmus_tests::project::Project;
use litmus_tests::servers::Postgres;

use crate::psql::{forward, holds, to};

const HOSTS: usize = 8;
const RUNS_PER_STORE: u64 = 30;

/// Each host has two of four stores, so that each run is sent by four of them.
#[test]
fn eight_hosts_at_once_from_nothing_deliver_each_run_once() {
    let (project, server) = (Project::new(), Postgres::start());
    let mut sealed: BTreeMap<String, Generated> = BTreeMap::new();
    for store in 0..4 {
        for run in 0..RUNS_PER_STORE {
            let data_dir = project.path(format!("store-{store}"));
            let generated = write(&data_dir, &Plan::new(store * 1_000 + run, 5 + run as usize));
            sealed.insert(generated.run_id.clone(), generated);
        }
    }
    let arguments = to(&server);
    let hosts: Vec<_> = (0..HOSTS)
        .map(|host| {
            let stores: Vec<String> = [host % 4, (host + 1) % 4]
                .iter()
                .map(|store| {
                    format!(
                        "[[store]]\nname = 's{store}'\npath = '{}'\n",
                        project.path(format!("store-{store}")).display()
                    )
                })
                .collect();
            let toml = project.path(format!("host-{host}.toml"));
            fs::write(&toml, stores.concat()).expect("a configuration");
            let mut command = project.command(&arguments);
            command.arg("--config").arg(toml).arg("--state-dir").arg(project.path(format!("state-{host}")));
            command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
            command.spawn().expect("the host starts")
        })
        .collect();
    let (mut delivered, mut present) = (0, 0);
    for (number, host) in hosts.into_iter().enumerate() {
        let output = host.wait_with_output().expect("it ends");
        let (said, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "host {number}: {said}\n{errors}");
        assert!(!errors.contains("deadlock"), "host {number}: {errors}");
        let outcome: serde_json::Value = serde_json::from_str(&said).expect("JSON");
        delivered += outcome["sinks"][0]["delivered"].as_u64().expect("a count");
        present += outcome["sinks"][0]["already_present"].as_u64().expect("a count");
    }
    assert_eq!(delivered, sealed.len() as u64, "each run is delivered by one host");
    assert_eq!(delivered + present, 2 * RUNS_PER_STORE * HOSTS as u64, "and found there by the others");
    holds(&server, sealed.values(), "eight hosts");
    let log = fs::read_to_string(server.log()).expect("the server's log");
    assert!(!log.contains("deadlock detected"), "{log}");
}

#[test]
fn of_fifty_runs_the_one_that_is_refused_is_named_with_its_value_and_the_others_arrive() {
    let (project, server) = (Project::new(), Postgres::start());
    write(&project.path("first"), &Plan::new(1_000, 3));
    project.run(to(&server).into_iter().chain(["--data-dir".to_owned(), "first".to_owned()])).exits(0);
    let sealed: Vec<Generated> = (0..50).map(|run| write(&project.data_dir(), &Plan::new(run, 20))).collect();
    let poison = &sealed[24];
    let bits = poison.measurements[7].value.expect("it was measured");
    let value = f64::from_bits(bits);
    server.psql(&format!(
        "ALTER TABLE litmus.measurements ADD CONSTRAINT plausible CHECK (measurement_value <> {value:?})"
    ));
    let ended = forward(&project, &server);
    ended.exits(1);
    let sink = ended.json()["sinks"][0].clone();
    assert_eq!((&sink["delivered"], &sink["quarantined"]), (&49.into(), &1.into()), "{sink:#}");
    for word in
        [poison.run_id.as_str(), "table measurements", "column measurement_value", &value.to_string(), "plausible"]
    {
        ended.says(word);
    }
    let there = server.psql("SELECT count(*) FROM litmus.test_runs");
    assert_eq!(there, "50", "the first run and 49 of the fifty");
    assert_eq!(server.psql(&format!("SELECT count(*) FROM litmus.steps WHERE run_id = '{}'", poison.run_id)), "0");
}
