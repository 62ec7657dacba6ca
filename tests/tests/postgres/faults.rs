//! What goes wrong at the server: each fault gets its class, one line of log a change of state, recovery by itself, and uses
//! up no attempt of a run.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use litmus_tests::generate::{Generated, Plan, write};
use litmus_tests::project::{Ended, Project, Running, wait_until};
use litmus_tests::servers::{Postgres, free_port};
use rustix::process::Signal;
use serde_json::Value;

use crate::psql::{holds, to};

/// Longer than any wait between tries can be after the few failures of these tests.
const RECOVERS_WITHIN: Duration = Duration::from_mins(2);

/// A host that watches, and what it was given.
struct Watching {
    project: Project,
    running: Running,
    arguments: Vec<String>,
    sealed: Vec<Generated>,
}

impl Watching {
    fn start(arguments: Vec<String>) -> Self {
        let project = Project::new();
        let mut watching = Self {
            running: Running::start(&project, project.command(&arguments).arg("--watch")),
            project,
            arguments,
            sealed: Vec::new(),
        };
        watching.seal(3);
        watching
    }

    fn seal(&mut self, runs: u64) {
        let first = self.sealed.len() as u64;
        self.sealed.extend((first..first + runs).map(|run| write(&self.project.data_dir(), &Plan::new(run, 10))));
    }

    fn sink(&self) -> Value {
        let arguments = ["status".to_owned()].into_iter().chain(self.arguments.clone());
        let ended = self.project.run(arguments);
        serde_json::from_str::<Value>(&ended.stdout).map_or(Value::Null, |status| status["sinks"][0].clone())
    }

    fn log(&self) -> String {
        fs::read_to_string(self.project.path("running.log")).unwrap_or_default()
    }

    /// Waits until `status` calls the sink so.
    #[track_caller]
    fn gets(&self, state: &str) {
        let is = wait_until(RECOVERS_WITHIN, || self.sink()["state"].as_str().is_some_and(|now| now.contains(state)));
        assert!(is, "it never was {state}: {:#}\n{}", self.sink(), self.log());
    }

    /// Waits until everything has arrived; no run was ever at fault.
    #[track_caller]
    fn has_all(&self, server: &Postgres) {
        let all = wait_until(RECOVERS_WITHIN, || {
            let sink = self.sink();
            let there = sink["committed"].as_u64().unwrap_or_default() + sink["verified"].as_u64().unwrap_or_default();
            there == self.sealed.len() as u64 && sink["state"] == "up"
        });
        let sink = self.sink();
        assert!(all, "not all arrived: {sink:#}\n{}", self.log());
        assert_eq!(sink["quarantined"], 0, "{sink:#}");
        holds(server, &self.sealed, "after the fault");
    }

    /// Lines of the log that name the sink's change into this state.
    fn lines(&self, state: &str) -> usize {
        self.log().lines().filter(|line| line.contains(&format!("→ {state}"))).count()
    }

    fn end(mut self) {
        self.running.signal(Signal::TERM);
        self.running.wait(Duration::from_secs(30)).unwrap_or_else(|| panic!("it ends\n{}", self.log()));
    }
}

#[test]
fn a_server_that_is_down_at_the_start_and_in_the_middle() {
    let mut server = Postgres::start();
    server.stop();
    let mut watching = Watching::start(to(&server));
    watching.gets("degraded");
    assert!(watching.log().contains("Connection refused"), "{}", watching.log());
    server.up();
    watching.has_all(&server);
    server.stop();
    watching.seal(2);
    watching.gets("degraded");
    assert_eq!(watching.lines("degraded"), 2, "a line a change of state\n{}", watching.log());
    server.up();
    watching.has_all(&server);
    watching.end();
}

#[test]
fn a_server_without_a_connection_to_spare() {
    let server = Postgres::start_with(&[("max_connections", "6"), ("superuser_reserved_connections", "3")]);
    server.psql("CREATE ROLE bench LOGIN; GRANT CREATE ON DATABASE postgres TO bench");
    let url = server.url().replace("litmus@", "bench@");
    let taken = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'bench'";
    // The psqls of this test can find the server full, too, while earlier ones have not quite ended.
    let asked = |sql: &str| server.try_psql("postgres", sql).ok();
    let hogging = || hog(&server, "bench", "SELECT pg_sleep(600)");
    let mut hogs = [hogging(), hogging(), hogging()];
    let full = wait_until(Duration::from_mins(1), || {
        for hog in &mut hogs {
            if hog.try_wait().expect("its end can be asked for").is_some() {
                *hog = hogging();
            }
        }
        asked(taken).as_deref() == Some("3")
    });
    assert!(full, "three connections are taken");
    let arguments = ["--plugin", "postgres.so", "--set", &format!("url={url}"), "--format", "json"].map(str::to_owned);
    let watching = Watching::start(arguments.into());
    watching.gets("degraded");
    let log = watching.log();
    assert!(log.contains("53300") && log.contains("max_connections"), "{log}");
    for hog in &mut hogs {
        hog.kill().expect("it runs");
        hog.wait().expect("it ended");
    }
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%pg_sleep%' AND pid <> pg_backend_pid()";
    assert!(wait_until(Duration::from_secs(20), || asked(end).is_some()));
    watching.has_all(&server);
    watching.end();
}

/// A psql that does something in the background.
fn hog(server: &Postgres, user: &str, sql: &str) -> std::process::Child {
    server
        .command("psql")
        .args(["-X", "-q", "-U", user, "-d", "postgres", "-h"])
        .arg(server.socket_folder())
        .args(["-p", &server.port().to_string(), "-c", sql])
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("psql runs")
}

#[test]
fn a_database_that_is_read_only_for_a_while() {
    let server = Postgres::start();
    let mut watching = Watching::start(to(&server));
    watching.has_all(&server);
    let set = |to: &str| {
        server.psql(&format!("ALTER SYSTEM SET default_transaction_read_only = {to}"));
        server.psql("SELECT pg_reload_conf()");
    };
    set("on");
    assert!(wait_until(Duration::from_secs(10), || server.psql("SHOW default_transaction_read_only") == "on"));
    watching.seal(3);
    watching.gets("degraded");
    assert!(watching.log().contains("25006"), "{}", watching.log());
    // It can be read all the while, which is no reason to call it up.
    std::thread::sleep(Duration::from_secs(4));
    assert_eq!((watching.lines("degraded"), watching.lines("up")), (1, 0), "{}", watching.log());
    server.psql("ALTER SYSTEM RESET default_transaction_read_only");
    server.psql("SELECT pg_reload_conf()");
    watching.has_all(&server);
    watching.end();
}

/// A full disk cannot be had without a file system of one's own; the SQLSTATE that the server gives for it can.
#[test]
fn a_server_that_says_its_disk_is_full() {
    let server = Postgres::start();
    let mut watching = Watching::start(to(&server));
    watching.has_all(&server);
    server.psql(
        "CREATE FUNCTION disk_is_full() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
         RAISE EXCEPTION 'could not extend file \"base/5/1\": No space left on device' USING ERRCODE = 'disk_full'; END $$; \
         CREATE TRIGGER disk_is_full BEFORE INSERT ON litmus.measurements EXECUTE FUNCTION disk_is_full()",
    );
    watching.seal(3);
    watching.gets("degraded");
    let log = watching.log();
    assert!(log.contains("53100") && log.contains("make room"), "{log}");
    server.psql("DROP TRIGGER disk_is_full ON litmus.measurements");
    watching.has_all(&server);
    watching.end();
}

#[test]
fn a_statement_that_takes_too_long() {
    let server = Postgres::start();
    let arguments = [to(&server), vec!["--set".to_owned(), "statement_timeout_ms=1000".to_owned()]].concat();
    let mut watching = Watching::start(arguments);
    watching.has_all(&server);
    let mut locker = hog(&server, "litmus", "BEGIN; LOCK TABLE litmus.measurements; SELECT pg_sleep(600)");
    let locked = "SELECT count(*) FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND granted AND relation = 'litmus.measurements'::regclass";
    assert!(wait_until(Duration::from_secs(20), || server.psql(locked) == "1"));
    watching.seal(3);
    watching.gets("degraded");
    assert!(watching.log().contains("57014"), "{}", watching.log());
    server.psql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%pg_sleep%' AND pid <> pg_backend_pid()");
    locker.wait().expect("it ended");
    watching.has_all(&server);
    watching.end();
}

/// Nothing is pending; the host only looks whether its newest runs are still there.
#[test]
fn an_audit_that_takes_too_long_ends_when_it_should() {
    let (project, server) = (Project::new(), Postgres::start());
    write(&project.data_dir(), &Plan::new(1, 5));
    project.run(to(&server)).delivered(1, 0);
    let mut locker = hog(&server, "litmus", "BEGIN; LOCK TABLE litmus.steps; SELECT pg_sleep(600)");
    let locked = "SELECT count(*) FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND granted AND relation = 'litmus.steps'::regclass";
    assert!(wait_until(Duration::from_secs(20), || server.psql(locked) == "1"));
    let limits = ["--set", "statement_timeout_ms=500", "--give-up-after", "2s"].map(str::to_owned);
    let mut running = Running::start(&project, &mut project.command(to(&server).into_iter().chain(limits)));
    let ended = running.wait(Duration::from_secs(30));
    let log = fs::read_to_string(project.path("running.log")).unwrap_or_default();
    assert!(ended.is_some(), "it hangs\n{log}");
    assert!(log.contains("57014"), "{log}");
    locker.kill().expect("it runs");
    locker.wait().expect("it ended");
}

/// Both leave the schema's identity as it was.
#[test]
fn tables_that_are_emptied_and_an_older_backup_behind_a_watching_host() {
    let server = Postgres::start();
    let mut watching = Watching::start(to(&server));
    watching.has_all(&server);
    let program = |name: &str, more: &[&str]| {
        let port = server.port().to_string();
        let mut command = server.command(name);
        command.args(["-U", "litmus", "-d", "postgres", "-p", &port, "-h"]).arg(server.socket_folder()).args(more);
        let ended = Ended::of(&mut command);
        assert!(ended.status.success(), "{name}: {ended}");
    };
    let backup = server.socket_folder().join("backup");
    program("pg_dump", &["-Fc", "-f", &backup.to_string_lossy()]);
    watching.seal(3);
    watching.has_all(&server);
    program("pg_restore", &["--clean", &backup.to_string_lossy()]);
    assert_eq!(server.psql("SELECT count(*) FROM litmus.test_runs"), "3");
    watching.seal(1);
    watching.has_all(&server);
    server.psql("TRUNCATE litmus.litmus_deliveries, litmus.test_runs, litmus.steps, litmus.vectors, litmus.measurements, litmus.instruments");
    watching.seal(1);
    watching.has_all(&server);
    watching.end();
}

/// The first host is away, and the password file has another password for it.
#[test]
fn each_host_is_asked_with_its_own_password() {
    let (project, server, away) = (Project::new(), with_password("its-own"), free_port());
    write(&project.data_dir(), &Plan::new(1, 5));
    let passfile = project.path("passfile");
    let lines = format!("127.0.0.1:{away}:*:bench:another\n127.0.0.1:{}:*:bench:its-own\n", server.port());
    fs::write(&passfile, lines).expect("a file");
    fs::set_permissions(&passfile, fs::Permissions::from_mode(0o600)).expect("it is ours");
    let url = format!("url=postgresql://bench@127.0.0.1:{away},127.0.0.1:{}/postgres", server.port());
    let mut command =
        project.command(["--plugin", "postgres.so", "--set", &url, "--give-up-after", "1s", "--format", "json"]);
    Ended::of(command.env("PGPASSFILE", &passfile)).delivered(1, 0);
}

/// A server whose TCP connections need a password, and a role that has one.
fn with_password(password: &str) -> Postgres {
    let server = Postgres::start();
    server.psql(&format!("CREATE ROLE bench LOGIN PASSWORD '{password}'; GRANT CREATE ON DATABASE postgres TO bench"));
    let hba = server.data().join("pg_hba.conf");
    fs::write(&hba, "local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n").expect("the cluster is ours");
    server.psql("SELECT pg_reload_conf()");
    server
}

fn as_bench(server: &Postgres, more: &str) -> Vec<String> {
    let url = format!("url=postgresql://bench@127.0.0.1:{}/postgres", server.port());
    ["--plugin", "postgres.so", "--set", &url, "--set", more, "--format", "json"].map(str::to_owned).into()
}

#[test]
fn a_password_that_is_changed_and_changed_back() {
    let server = with_password("first-secret");
    let mut watching = Watching::start(as_bench(&server, "password=first-secret"));
    watching.has_all(&server);
    server.psql("ALTER ROLE bench PASSWORD 'other-secret'");
    server.psql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'bench'");
    watching.seal(3);
    watching.gets("blocked on auth");
    assert!(watching.log().contains("28P01"), "{}", watching.log());
    server.psql("ALTER ROLE bench PASSWORD 'first-secret'");
    watching.has_all(&server);
    assert_eq!(watching.lines("blocked on auth"), 1, "a line a change of state\n{}", watching.log());
    watching.end();
}

/// Everything that a host prints or leaves on disk, in success and in failure.
#[test]
fn no_password_is_in_any_output_or_file() {
    let secret = "s3cr3t-pa55/w:ord";
    let server = with_password(secret);
    let encoded = "s3cr3t-pa55%2Fw%3Aord";
    let project = Project::new();
    let (port, dead) = (server.port(), free_port());
    let mut said = String::new();
    let mut sealed = 0;
    // Each time there is something to deliver.
    let mut run = |arguments: &[&str], environment: &[(&str, &str)]| {
        sealed += 1;
        write(&project.data_dir(), &Plan::new(sealed, 5));
        let plugin = ["--plugin", "postgres.so", "-v", "--log-format", "json", "--give-up-after", "1s"];
        let mut command = project.command(plugin.iter().chain(arguments));
        let ended = Ended::of(command.envs(environment.iter().copied()));
        said.push_str(&ended.to_string());
        ended.status.code()
    };
    let good = format!("url=postgresql://bench:{encoded}@127.0.0.1:{port}/postgres");
    assert_eq!(run(&["--set", &good], &[]), Some(0));
    // Wrong role, wrong place, wrong parameter, wrong certificates: each quotes the connection somehow.
    for url in [
        format!("url=postgresql://nobody:{encoded}@127.0.0.1:{port}/postgres"),
        format!("url=postgresql://bench:{encoded}@127.0.0.1:{dead}/postgres"),
        format!("url=postgresql://bench:{encoded}@127.0.0.1:{port}/nowhere"),
        format!("url=postgresql://bench:{encoded}@127.0.0.1:{port}/postgres?sslmode=require"),
        format!("url=postgresql://bench:{encoded}@127.0.0.1:{port}/postgres?sslmod=x"),
        format!(
            "url=postgresql://bench:{encoded}@127.0.0.1:{port}/postgres?password={encoded}&sslmode=verify-full&sslrootcert=/no.pem"
        ),
        format!("url=mysql://bench:{encoded}@127.0.0.1:{port}/postgres"),
    ] {
        assert!(run(&["--set", &url], &[]).is_some_and(|code| code > 0), "{url}");
    }
    let of_role = format!("url=postgresql://bench@127.0.0.1:{port}/postgres");
    let password = format!("password={secret}");
    assert_eq!(run(&["--set", &of_role, "--set", &password], &[]), Some(0));
    assert_eq!(run(&["--set", &of_role], &[("PGPASSWORD", secret)]), Some(0));
    assert_eq!(run(&["--set", &of_role], &[]), Some(1), "without a password there is no way in");
    let passfile = project.path("passfile");
    fs::write(&passfile, format!("*:*:*:bench:{}\n", secret.replace(':', "\\:"))).expect("a file");
    fs::set_permissions(&passfile, fs::Permissions::from_mode(0o600)).expect("it is ours");
    assert_eq!(run(&["--set", &of_role], &[("PGPASSFILE", &passfile.to_string_lossy())]), Some(0));
    // The environment alone is enough to connect.
    let port = port.to_string();
    let environment = [
        ("PGHOST", "127.0.0.1"),
        ("PGPORT", &*port),
        ("PGUSER", "bench"),
        ("PGDATABASE", "postgres"),
        ("PGPASSWORD", secret),
    ];
    assert_eq!(run(&[], &environment), Some(0));
    for command in [&["status"][..], &["check", "--live"], &["plugins"]] {
        let sink = ["--plugin", "postgres.so", "--set", good.as_str()];
        let ended = project.run(command.iter().chain(&sink));
        said.push_str(&ended.exits(0).to_string());
    }
    fs::remove_file(&passfile).expect("it was there");
    for word in [secret, encoded, "s3cr3t"] {
        assert!(!said.contains(word), "{word} was printed:\n{said}");
        let files = Ended::of(std::process::Command::new("grep").args(["-rla", word]).arg(project.path("")));
        assert_eq!(files.stdout, "", "{word} is in a file");
    }
    assert_eq!(server.psql("SELECT count(*) FROM litmus.test_runs"), sealed.to_string());
}
