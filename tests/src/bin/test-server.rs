//! `test-server NAME`: starts a real server for the conformance suite, prints what a configuration needs to know of it as
//! one line of JSON, and ends it when its standard input is closed (as happens, too, when who started it dies).

use std::io::{Read, Write};
use std::process::ExitCode;

use litmus_tests::servers::{ACCOUNT, Azurite, BUCKET, CONTAINER, Echo, KEY, Postgres, Rsyslog, Rsyslogs, S3};
use serde_json::json;

fn main() -> ExitCode {
    match std::env::args().nth(1).as_deref() {
        Some("postgres") => {
            let server = Postgres::start();
            let version = server.psql("SHOW server_version");
            let version = format!("PostgreSQL {version}");
            // A user who needs a password: for credentials that are refused.
            server.psql("CREATE ROLE guarded LOGIN SUPERUSER PASSWORD 'right'");
            server.require_password("guarded");
            let values = json!({
                "url": server.url(), "guarded": server.url_of("guarded:right"), "refused": server.url_of("guarded:wrong"),
                "host": format!("127.0.0.1:{}", server.port()), "bin": server.bin(), "socket": server.socket_folder(), "port": server.port().to_string(), "version": version,
            });
            serve(&values, server)
        }
        Some(name @ ("rsyslog" | "rsyslog-lines")) => {
            let server = Rsyslog::start_with(Rsyslogs { raw: name == "rsyslog-lines", ..Rsyslogs::default() });
            let at = server.at();
            let values =
                json!({ "tcp": at.tcp(), "tls": at.tls(), "ca_file": at.authority.ca_file(), "received": at.output() });
            serve(&values, server)
        }
        Some("s3") => {
            let server = S3::start();
            serve(&json!({ "endpoint": server.endpoint(), "bucket": BUCKET }), server)
        }
        Some("azurite") => {
            let server = Azurite::start();
            let values = json!({
                "endpoint": server.endpoint(), "container": CONTAINER, "account": ACCOUNT, "key": KEY,
            });
            serve(&values, server)
        }
        Some("echo") => {
            let server = Echo::start();
            serve(&json!({ "address": server.address(), "version": "echo 1" }), server)
        }
        other => {
            eprintln!(
                "error: there is no server {other:?}; there are: postgres, rsyslog, rsyslog-lines, s3, azurite, echo"
            );
            ExitCode::from(2)
        }
    }
}

fn serve<S>(values: &serde_json::Value, server: S) -> ExitCode {
    let told = writeln!(std::io::stdout(), "{values}").and_then(|()| std::io::stdout().flush());
    // Whoever reads this line is gone if it cannot be written; either way the server ends with us.
    if told.is_ok() {
        std::io::stdin().read_to_end(&mut Vec::new()).ok();
    }
    drop(server);
    ExitCode::SUCCESS
}
