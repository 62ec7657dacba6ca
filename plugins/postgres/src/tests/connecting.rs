//! Connections: how many, what happens when one breaks, and what is noticed of another server.

use litmus_core::{Sink as _, Status};
use litmus_tests::servers::Postgres;
use serde_json::json;

use super::made::{Bench, TestRun};
use crate::config::Config;
use crate::sink::PostgresSink;

fn sink(url: &str, options: serde_json::Value) -> PostgresSink {
    let mut config = options;
    config["url"] = json!(url);
    let config: Config = serde_json::from_value(config).unwrap();
    PostgresSink::configure(config).unwrap()
}

fn connect(sink: &PostgresSink) -> Result<String, litmus_core::SinkError> {
    sink.within(&|| Ok(()), |session| sink.prepare(session))
}

#[test]
fn what_keeps_a_connection_from_being_made_has_its_status_and_a_remedy() {
    let server = super::made::server();
    let port = server.port();
    let dead = litmus_tests::servers::free_port();
    for (url, status, word) in [
        (format!("postgresql://litmus@127.0.0.1:{dead}/postgres"), Status::Transient, "Connection refused"),
        (format!("postgresql://litmus@127.0.0.1:{port}/nowhere"), Status::Config, "create the database"),
        (format!("postgresql://nobody@127.0.0.1:{port}/postgres"), Status::Auth, "pg_hba.conf"),
        (
            format!("postgresql://litmus@127.0.0.1:{port}/postgres?sslmode=require"),
            Status::Config,
            "does not offer TLS",
        ),
        (
            format!("postgresql://litmus@127.0.0.1:{port}/postgres?options=-c%20role%3Dmistyped"),
            Status::Config,
            "hint: correct options",
        ),
        (
            format!("postgresql://litmus@127.0.0.1:{port}/postgres?options=-c%20foo%3Dbar"),
            Status::Config,
            "hint: correct options",
        ),
        // The next host is asked, and the last one's trouble is told, by its own name.
        (
            format!("postgresql://litmus@127.0.0.1:{port},127.0.0.1:{dead}/nowhere"),
            Status::Transient,
            &format!("postgresql://127.0.0.1:{dead}/nowhere: "),
        ),
        ("postgresql://litmus@host.invalid/postgres".to_owned(), Status::Transient, "host.invalid"),
    ] {
        let error = connect(&sink(&url, json!({}))).unwrap_err();
        assert_eq!(error.status(), status, "{error}");
        assert!(error.to_string().contains(word), "{error}");
    }
    let socket = format!(
        "postgresql://litmus@{}:{port}/postgres",
        crate::conninfo::encoded(&server.socket_folder().to_string_lossy())
    );
    connect(&sink(&socket, json!({ "schema": "by_socket" }))).unwrap();
}

#[test]
fn no_more_connections_are_used_than_allowed() {
    let bench = Bench::with(json!({ "connections_max": 1, "application_name": "counted" }));
    let runs: Vec<_> = (1..20).map(|id| TestRun::new(id, 1)).collect();
    std::thread::scope(|scope| {
        for runs in runs.chunks(5) {
            scope.spawn(|| bench.deliver(runs));
        }
    });
    assert_eq!(bench.psql("SELECT count(*) FROM test_runs"), "19");
    let sessions = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'counted'";
    assert_eq!(bench.psql(sessions), "1");
    bench.psql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'counted'");
    // The broken one is noticed at once or at its next use; either way the runs arrive, or are asked for again.
    let mut tries = 0;
    while bench.try_deliver(&[TestRun::new(30, 1)]).1.is_err() {
        tries += 1;
        assert!(tries < 3);
    }
    assert_eq!(bench.psql("SELECT count(*) FROM test_runs"), "20");
}

#[test]
fn idle_connections_are_closed_and_made_again() {
    let bench = Bench::with(json!({ "application_name": "idling" }));
    bench.deliver_one(&TestRun::new(1, 1));
    let sessions = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'idling'";
    bench.sink.pool.expire(std::time::Duration::from_mins(1));
    assert_eq!(bench.psql(sessions), "1", "it was just used");
    bench.sink.pool.expire(std::time::Duration::ZERO);
    assert!(litmus_tests::project::wait_until(std::time::Duration::from_secs(20), || bench.psql(sessions) == "0"));
    bench.deliver_one(&TestRun::new(2, 1));
}

#[test]
fn an_encoding_that_cannot_hold_every_text_is_refused() {
    let server = super::made::server();
    server.psql("CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0");
    let url = server.url().replace("/postgres", "/latin");
    let error = connect(&sink(&url, json!({}))).unwrap_err();
    assert_eq!(error.status(), Status::Config);
    assert!(error.to_string().contains("LATIN1") && error.to_string().contains("ENCODING 'UTF8'"), "{error}");
    server.psql("DROP DATABASE latin");
}

#[test]
fn a_schema_made_anew_is_another_incarnation_and_is_noticed_while_open() {
    let bench = Bench::new();
    let before = bench.connect().unwrap();
    bench.deliver_one(&TestRun::new(1, 1));
    bench.psql(&format!("DROP SCHEMA {} CASCADE", bench.schema));
    let error = bench.try_deliver(&[TestRun::new(2, 1)]).1.unwrap_err();
    assert_eq!(error.status(), Status::Schema, "{error}");
    let after = bench.connect().unwrap();
    assert_ne!(before, after);
    bench.deliver_one(&TestRun::new(1, 1));
}

#[test]
fn the_incarnation_survives_a_restart_and_not_a_copy() {
    let mut server = Postgres::start();
    let sink = sink(&server.url(), json!({}));
    let before = connect(&sink).unwrap();
    server.crash();
    server.up();
    assert_eq!(connect(&sink).unwrap(), before);
    // As a restored backup would be: the schema's own UUID in another cluster.
    let copy = Postgres::start();
    let other = self::sink(&copy.url(), json!({}));
    connect(&other).unwrap();
    let uuid = before.split('@').next().unwrap();
    copy.psql(&format!("UPDATE litmus.litmus_meta SET value = '{uuid}' WHERE key = 'incarnation'"));
    let of_copy = connect(&other).unwrap();
    assert!(of_copy.starts_with(uuid) && of_copy != before, "{of_copy}");
}

/// The schema's UUID stays; the file of the table does not.
#[test]
fn tables_that_were_emptied_or_written_anew_are_looked_at_once_more() {
    let bench = Bench::new();
    let told = bench.connect().unwrap();
    for (number, statement) in
        (1..).zip(["TRUNCATE SCHEMA.litmus_deliveries, SCHEMA.test_runs", "VACUUM FULL SCHEMA.litmus_deliveries"])
    {
        bench.deliver_one(&TestRun::new(number, 1));
        bench.server.psql(&statement.replace("SCHEMA", &bench.schema));
        for _ in 0..2 {
            let error = bench.try_deliver(&[TestRun::new(number + 10, 1)]).1.unwrap_err();
            assert_eq!(error.status(), Status::Transient, "{error}");
            assert!(error.to_string().contains("emptied, restored or written anew"), "{error}");
        }
        assert_eq!(bench.connect().unwrap(), told, "the host samples, and doubts only what it misses");
        bench.deliver_one(&TestRun::new(number + 10, 1));
        bench.deliver_one(&TestRun::new(number + 20, 1));
    }
}
