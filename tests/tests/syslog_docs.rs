//! The snippets for rsyslog and syslog-ng in `docs/sinks/syslog.md` work as they stand there: with other ports and paths, which
//! a test must have for itself, and nothing else changed.

use std::fs;

use litmus_tests::artifacts::root;
use litmus_tests::generate::{Plan, write};
use litmus_tests::project::Project;
use litmus_tests::servers::syslog::{Listening, Message};
use litmus_tests::servers::{Rsyslog, SyslogNg};

/// The blocks of code in this language.
fn snippets(language: &str) -> String {
    let page = fs::read_to_string(root().join("docs/sinks/syslog.md")).expect("the page");
    let begin = format!("```{language}\n");
    let blocks: Vec<_> =
        page.split(&begin).skip(1).map(|block| block.split("```").next().unwrap_or_default().to_owned()).collect();
    assert!(!blocks.is_empty(), "the page has no {language}");
    blocks.concat()
}

/// A snippet with this test's ports and paths.
fn here(snippet: &str, at: &Listening) -> String {
    let file = |path: &std::path::Path| path.display().to_string();
    let mut snippet = snippet.to_owned();
    for (there, here) in [
        ("port=\"1514\"", format!("port=\"{}\"", at.tcp_port)),
        ("port=\"6514\"", format!("port=\"{}\"", at.tls_port)),
        ("port(1514)", format!("port({})", at.tcp_port)),
        ("port(6514)", format!("port({})", at.tls_port)),
        ("/etc/litmus/ca.pem", file(&at.authority.ca_file())),
        ("/etc/litmus/cert.pem", file(&at.certificate.cert_file)),
        ("/etc/litmus/key.pem", file(&at.certificate.key_file)),
        ("/var/log/litmus.json", file(&at.output())),
    ] {
        snippet = snippet.replace(there, &here);
    }
    snippet
}

/// Forwards a run over TCP and one over TLS, as the page says, and looks what the receiver makes of them.
fn try_it(at: &Listening, received: impl Fn(usize) -> Vec<Message>) {
    let project = Project::new();
    let run = write(&project.data_dir(), &Plan::new(7, 40));
    let ca_file = format!("ca_file={}", at.authority.ca_file().display());
    project
        .run(["--plugin", "syslog.so", "--set", "detail=measurements", "--set", &format!("address={}", at.tcp())])
        .exits(0);
    let address = format!("address={}", at.tls());
    project
        .run(["--plugin", "syslog.so", "--set", "detail=measurements", "--set", &ca_file, "--set", &address])
        .exits(0);
    let expected = 2 * (run.measurements.len() + 9);
    let messages = received(expected);
    assert_eq!(messages.len(), expected);
    for message in &messages {
        assert_eq!((message.param("run_id"), message.param("dut_serial")), (run.run_id.as_str(), run.serial.as_str()));
    }
    let units: Vec<_> = messages.iter().filter_map(|message| message.params.get("measurement_units")).collect();
    assert!(units.iter().any(|unit| *unit == "°C"), "{units:?}");
}

#[test]
fn rsyslog_reads_it_as_the_page_says() {
    let server = Rsyslog::start_as(|at| here(&(snippets("rsyslog") + &snippets("rsyslog-tls")), at));
    try_it(server.at(), |at_least| server.received(at_least));
}

#[test]
fn syslog_ng_reads_it_as_the_page_says() {
    let server = SyslogNg::start_as(|at| format!("@version: 3.38\n{}", here(&snippets("syslog-ng"), at)));
    try_it(server.at(), |at_least| server.received(at_least));
}
