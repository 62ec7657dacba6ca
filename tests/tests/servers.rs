//! The servers that other tests stand on.

use std::net::{Ipv4Addr, TcpStream};
use std::process::{Command, Stdio};

use litmus_tests::servers::Postgres;

#[test]
fn postgres_keeps_what_was_committed_over_a_crash_and_ends_when_dropped() {
    let mut server = Postgres::start();
    server.psql("CREATE TABLE kept (n int); INSERT INTO kept VALUES (7)");
    server.crash();
    assert!(server.try_psql("postgres", "SELECT 1").is_err());
    server.up();
    assert_eq!(server.psql("SELECT n FROM kept"), "7");
    let port = server.port();
    drop(server);
    assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err());
}

#[test]
fn a_backend_ends_when_its_standard_input_is_closed() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_test-server"))
        .arg("postgres")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(child.stdout.take().unwrap()), &mut line).unwrap();
    let values: serde_json::Value = serde_json::from_str(&line).unwrap();
    let port: u16 = values["url"].as_str().unwrap().split([':', '/']).find_map(|part| part.parse().ok()).unwrap();
    assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok());
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
    assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err());
}
