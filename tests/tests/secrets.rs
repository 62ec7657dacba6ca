//! A secret appears in no output, log, error, receipt or ledger: every command, well and failing, with a marker in every place a
//! secret can stand, and then a search through all of it.

use std::fs;
use std::path::{Path, PathBuf};

use litmus_tests::generate::{Plan, write};
use litmus_tests::project::{Ended, Project};

/// In every secret.
const MARKER: &str = "xq7Marker9z";

/// All bytes of all files below a folder.
fn files_below(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files_below(&path));
        } else {
            found.push((path.clone(), fs::read(&path).expect("a file")));
        }
    }
    found
}

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

/// The marker as it is, and as a percent-encoded or escaped spelling would have it, is not there.
#[track_caller]
fn assert_clean(what: &str, bytes: &[u8]) {
    assert!(!holds(bytes, MARKER), "{what} holds a secret: {}", String::from_utf8_lossy(bytes));
}

/// Five sinks with secrets in every form, some of which work and some of which fail in every way that quotes a configuration.
fn configure(project: &Project) {
    let file = project.path("secret-file");
    fs::write(&file, format!("{}/{MARKER}-dir/sent.jsonl\n", project.path("").display())).expect("a secret");
    let toml = format!(
        r#"
        [[sink]]
        name = "works"
        plugin = "sqlite.so"
        config = {{ path = {{ env = "DB_PATH" }} }}
        [[sink]]
        name = "no-folder"
        plugin = "hostile.so"
        config = {{ name = "no-folder", log = {{ file = "{file}" }} }}
        [[sink]]
        name = "refuses"
        plugin = "hostile.so"
        config = {{ name = {{ env = "NAME" }}, log = "refused.jsonl", data_error_serials = ["SN100001"], incarnation = {{ env = "NAME" }} }}
        [[sink]]
        name = "no-server"
        plugin = "postgres.so"
        config = {{ url = "postgresql://someone:{MARKER}-url@127.0.0.1:1/none" }}
        [[sink]]
        name = "no-service"
        plugin = "cloud.so"
        [sink.config]
        uri = "s3://bucket/prefix"
        options.endpoint = "http://127.0.0.1:1"
        options.region = "eu-central-1"
        options.disable_config_load = true
        options.disable_ec2_metadata = true
        options.access_key_id = "AKIA"
        options.session_token = "{MARKER}-token"
        options.secret_access_key = {{ env = "KEY" }}
        "#,
        file = file.display(),
    );
    fs::write(project.path("litmus-host.toml"), toml).expect("a configuration");
}

fn run(project: &Project, arguments: &[&str]) -> Ended {
    let mut command = project.command(arguments);
    command.env("DB_PATH", project.path(format!("{MARKER}-db/out.db"))).env("NAME", format!("{MARKER}-name"));
    command.env("KEY", format!("{MARKER}/key+%")).env("RUST_BACKTRACE", "1");
    Ended::of(&mut command)
}

#[test]
fn no_secret_is_in_any_output_log_error_receipt_or_ledger() {
    let project = Project::new();
    fs::create_dir(project.path(format!("{MARKER}-db"))).expect("a folder");
    configure(&project);
    let runs: Vec<_> = (0..3).map(|number| write(&project.data_dir(), &Plan::new(number, 8))).collect();
    let id = runs[1].run_id.as_str();
    let with_config: &[&[&str]] = &[
        &["check"],
        &["check", "--live"],
        &["check", "--live", "--format", "json"],
        &["forward", "--dry-run", "-vv", "--give-up-after", "1s"],
        &["--give-up-after", "2s", "-vv"],
        &["--give-up-after", "1s", "--format", "json", "--log-format", "json", "-vv"],
        &["status"],
        &["status", "--format", "json"],
        &["plugins"],
        &["runs"],
        &["show", id],
        &["retry", "--all-quarantined"],
        &["discard", id, "--sink", "refuses", "--reason", "a test"],
    ];
    for arguments in with_config {
        let given: Vec<_> = arguments.iter().copied().chain(["--config", "litmus-host.toml"]).collect();
        let ended = run(&project, &given);
        assert!(ended.status.code().is_some_and(|code| code <= 2), "{ended}");
        assert_clean(&format!("{given:?}, stdout"), ended.stdout.as_bytes());
        assert_clean(&format!("{given:?}, stderr"), ended.stderr.as_bytes());
        if given.contains(&"forward") || given.contains(&"-vv") {
            assert!(ended.stdout.contains("***") || ended.stderr.contains("***"), "nothing was masked: {ended}");
        }
    }
    // Wrong keys and values beside secrets, in file, flags and environment.
    let wrong: &[&[&str]] = &[
        &["--plugin", "sqlite.so", "--set", &format!("pasword={MARKER}")],
        &["--plugin", "sqlite.so", "--set", "path=x.db", "--set", &format!("busy_timeout_ms=\"{MARKER}\"")],
        &["--plugin", "postgres.so", "--set", &format!("url=postgresql://u:{MARKER}@[broken/x")],
        &["--plugin", "postgres.so", "--set", &format!("password={MARKER}"), "--set", "hots=x"],
        &["--plugin", "hostile.so", "--set", &format!("token={MARKER}")],
        &["--plugin", "hostile.so", "--set", &format!("hang_ms={{ secret_key = \"{MARKER}\" }}")],
        &["--plugin", "cloud.so", "--set", &format!("uri=s3://k:{MARKER}@bucket/x"), "--set", "options.pasword=1"],
        &["--plugin", "syslog.so", "--set", &format!("address=tcp://u:{MARKER}@127.0.0.1:1")],
        &["--set", &format!("password={MARKER}")],
    ];
    for arguments in wrong {
        for more in [&[][..], &["--give-up-after", "1s", "-vv"]] {
            let given: Vec<_> = arguments.iter().copied().chain(more.iter().copied()).collect();
            let ended = run(&project, &given);
            assert_ne!(ended.status.code(), Some(0), "{given:?}: {ended}");
            assert_clean(&format!("{arguments:?}, stdout"), ended.stdout.as_bytes());
            assert_clean(&format!("{arguments:?}, stderr"), ended.stderr.as_bytes());
        }
    }
    fs::write(project.path("wrong.toml"), format!("[[sink]]\nplugin = 'x'\npassword = '{MARKER}'\nconfig = 5\n"))
        .expect("a file");
    let ended = run(&project, &["--config", "wrong.toml"]);
    ended.exits(2).says("wrong.toml:3:1");
    assert_clean("a wrong file", format!("{ended}").as_bytes());

    let mut looked_through = 0;
    for folder in [project.state_dir(), project.path(format!("{MARKER}-db"))] {
        for (path, bytes) in files_below(&folder) {
            assert_clean(&path.display().to_string(), &bytes);
            looked_through += 1;
        }
    }
    assert!(looked_through >= 2, "a ledger and a database");
    let ledger = fs::read(
        files_below(&project.state_dir())
            .iter()
            .find(|(path, _)| path.ends_with("ledger.db"))
            .expect("a ledger")
            .0
            .clone(),
    );
    assert!(holds(&ledger.expect("a ledger"), "***"), "what a sink said of a secret is there, masked");
}
