//! A PostgreSQL cluster of a test's own.

use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::Signal;

use super::{end, free_port, library_path, somebody, tail, unpacked, wait};

/// The package's name in `target/servers`.
const PACKAGE: &str = "postgresql";

/// A running server; ended when dropped. The superuser `litmus` needs no password; others are made by the test.
pub struct Postgres {
    folder: tempfile::TempDir,
    bin: PathBuf,
    port: u16,
    user: Option<(u32, u32)>,
    settings: Vec<(String, String)>,
    child: Option<Child>,
}

impl Postgres {
    /// A fresh cluster with Debian's defaults.
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// A fresh cluster with settings as in `postgresql.conf`.
    pub fn start_with(settings: &[(&str, &str)]) -> Self {
        let folder = tempfile::Builder::new().prefix("litmus-postgres-").tempdir().expect("a temporary folder");
        let user = somebody(&["postgres", "nobody"]);
        if let Some((uid, gid)) = user {
            chown(folder.path(), Some(uid), Some(gid)).expect("root gives folders away");
        }
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("the folder is ours");
        let settings = settings.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let bin = bin().unwrap_or_else(|error| panic!("{error}"));
        let mut server = Self { folder, bin, port: free_port(), user, settings, child: None };
        let made = server
            .command("initdb")
            .args(["--auth=trust", "--username=litmus", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync", "--pgdata"])
            .arg(server.data())
            .output()
            .expect("initdb runs");
        assert!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
        server.up();
        server
    }

    /// Starts it again after [`Self::stop`] or [`Self::crash`], on the same port and data.
    pub fn up(&mut self) {
        let log = File::options().create(true).append(true).open(self.log()).expect("the folder is ours");
        let mut command = self.command("postgres");
        command.arg("-D").arg(self.data()).arg("-k").arg(self.folder.path());
        command.args(["-p", &self.port.to_string(), "-c", "listen_addresses=127.0.0.1"]);
        for (key, value) in &self.settings {
            command.arg("-c").arg(format!("{key}={value}"));
        }
        command.stderr(log.try_clone().expect("a file")).stdout(log).stdin(Stdio::null());
        let mut child = command.spawn().expect("postgres runs");
        let ready = wait(&mut child, || self.try_psql("postgres", "SELECT 1").is_ok());
        self.child = Some(child);
        ready.unwrap_or_else(|why| panic!("postgres: {why}\n{}", tail(&self.log())));
    }

    /// Ends it in order: sessions are cut off, a checkpoint is written.
    pub fn stop(&mut self) {
        self.end(Signal::INT);
    }

    /// Ends it as a crash does: no checkpoint, recovery at the next start.
    pub fn crash(&mut self) {
        self.end(Signal::QUIT);
    }

    fn end(&mut self, signal: Signal) {
        if let Some(mut child) = self.child.take() {
            end(&mut child, signal).expect("postgres ends");
        }
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The folder with the Unix socket.
    pub fn socket_folder(&self) -> &Path {
        self.folder.path()
    }

    /// The cluster's data folder.
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// What the server logs.
    pub fn log(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    /// How the superuser connects over TCP.
    pub fn url(&self) -> String {
        format!("postgresql://litmus@127.0.0.1:{}/postgres", self.port)
    }

    /// How a user, or `user:password`, connects over TCP.
    pub fn url_of(&self, user: &str) -> String {
        format!("postgresql://{user}@127.0.0.1:{}/postgres", self.port)
    }

    /// From now on this user needs a password over TCP.
    pub fn require_password(&self, user: &str) {
        let hba = self.data().join("pg_hba.conf");
        let rules = fs::read_to_string(&hba).expect("the cluster is ours");
        fs::write(&hba, format!("host all {user} 127.0.0.1/32 scram-sha-256\n{rules}")).expect("the cluster is ours");
        self.psql("SELECT pg_reload_conf()");
    }

    /// The folder with its programs.
    pub fn bin(&self) -> &Path {
        &self.bin
    }

    /// Runs SQL as the superuser with psql: rows by line, columns by `|`. Panics where it fails.
    pub fn psql(&self, sql: &str) -> String {
        self.try_psql("postgres", sql).unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    /// The same in another database, with psql's message where it fails.
    pub fn try_psql(&self, database: &str, sql: &str) -> Result<String, String> {
        let output = self
            .command("psql")
            .args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-U", "litmus", "-d", database, "-h"])
            .arg(self.folder.path())
            .args(["-p", &self.port.to_string(), "-c", sql])
            .output()
            .map_err(|error| format!("psql: {error}"))?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
        if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
    }

    /// A program of the installation, as the user the server runs as.
    pub fn command(&self, name: &str) -> Command {
        let mut command = Command::new(self.bin.join(name));
        command.current_dir(self.folder.path()).env_remove("PGHOST").env_remove("PGPORT").env("LC_ALL", "C.UTF-8");
        let libraries = library_path(PACKAGE);
        if !libraries.is_empty() {
            command.env("LD_LIBRARY_PATH", libraries);
        }
        if let Some((uid, gid)) = self.user {
            command.uid(uid).gid(gid);
        }
        command
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.crash();
    }
}

/// The folder with `postgres`, `initdb` and `psql`: the newest of Debian's layout, installed or unpacked.
pub(super) fn bin() -> Result<PathBuf, String> {
    for root in [PathBuf::from("/usr/lib/postgresql"), unpacked().join(PACKAGE).join("usr/lib/postgresql")] {
        let versions = fs::read_dir(&root).into_iter().flatten().flatten().map(|entry| entry.path().join("bin"));
        let whole = |bin: &PathBuf| ["postgres", "initdb", "psql"].iter().all(|name| bin.join(name).is_file());
        if let Some(bin) = versions.filter(whole).max() {
            return Ok(bin);
        }
    }
    Err("PostgreSQL is not installed\nhint: `cargo xtask servers` unpacks it into target/servers".into())
}

/// Where its programs find their shared libraries; empty where it is installed.
pub(super) fn libraries() -> String {
    library_path(PACKAGE)
}
