//! A folder of a test's own, and the host run in it as a user would.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::artifacts;

/// A temporary Litmus project: `litmus.yaml` naming `results` as its data dir. Gone when dropped.
#[derive(Debug)]
pub struct Project {
    folder: TempDir,
}

impl Project {
    /// A fresh one, without a run in it.
    #[allow(clippy::new_without_default)] // it touches the disk
    pub fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("litmus-").tempdir().expect("a temporary folder");
        fs::create_dir_all(folder.path().join("results/runs")).expect("a data dir");
        fs::write(folder.path().join("litmus.yaml"), "data_dir: results\n").expect("litmus.yaml");
        Self { folder }
    }

    /// A fresh one with a copy of some data dir in it.
    pub fn with_copy_of(data_dir: &Path) -> Self {
        let project = Self::new();
        copy_tree(data_dir, &project.data_dir());
        project
    }

    /// Something in the project's folder.
    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The data dir.
    pub fn data_dir(&self) -> PathBuf {
        self.path("results")
    }

    /// `litmus-host ARGUMENTS`, in this folder, with nothing of the caller's environment.
    pub fn command<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(artifacts::host());
        command.args(arguments).current_dir(self.folder.path()).env_clear().stdin(Stdio::null());
        let home = self.path("home");
        command.env("HOME", &home).env("PATH", "/usr/bin:/bin");
        for (variable, below) in
            [("XDG_STATE_HOME", ".local/state"), ("XDG_DATA_HOME", ".local/share"), ("XDG_CONFIG_HOME", ".config")]
        {
            command.env(variable, home.join(below));
        }
        command
    }

    /// The same, started through another program: `through`, then the host and its arguments.
    pub fn command_through<S: AsRef<OsStr>>(
        &self,
        through: &[&str],
        arguments: impl IntoIterator<Item = S>,
    ) -> Command {
        let host = self.command(arguments);
        let mut command = Command::new(through[0]);
        command.args(&through[1..]).arg(host.get_program()).args(host.get_args()).current_dir(self.folder.path());
        command.env_clear().stdin(Stdio::null());
        let variables = host.get_envs().filter_map(|(name, value)| Some((name, value?)));
        command.envs(variables);
        command
    }

    /// The same without the powers of root: where the tests run as root, permissions would stop nobody.
    pub fn as_user<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Command {
        if rustix::process::geteuid().is_root() {
            self.command_through(&["setpriv", "--bounding-set=-all", "--"], arguments)
        } else {
            self.command(arguments)
        }
    }

    /// Runs it to its end.
    pub fn run<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Ended {
        Ended::of(&mut self.command(arguments))
    }

    /// Forwards into a database of this folder, and ends; prints the outcome as JSON.
    pub fn forward(&self, database: &str) -> Ended {
        self.run(["--plugin", "sqlite.so", "--set", &format!("path={database}"), "--format", "json"])
    }

    /// Where the ledgers lie.
    pub fn state_dir(&self) -> PathBuf {
        self.path("home/.local/state/litmus-host")
    }
}

/// A host that ended.
#[derive(Debug)]
pub struct Ended {
    /// How.
    pub status: ExitStatus,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

impl Ended {
    /// Runs a command to its end.
    pub fn of(command: &mut Command) -> Self {
        let Output { status, stdout, stderr } =
            command.output().unwrap_or_else(|error| panic!("{}: {error}", command.get_program().display()));
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("output in UTF-8");
        Self { status, stdout: text(stdout), stderr: text(stderr) }
    }

    /// Panics, with all that was printed, unless it exited with this code.
    #[track_caller]
    pub fn exits(&self, code: i32) -> &Self {
        assert_eq!(self.status.code(), Some(code), "{self}");
        self
    }

    /// Panics, with all that was printed, unless this text stands in it.
    #[track_caller]
    pub fn says(&self, text: &str) -> &Self {
        assert!(self.stdout.contains(text) || self.stderr.contains(text), "\"{text}\" is not in\n{self}");
        self
    }

    /// Panics unless this forward says so of its only sink: delivered, already present, and whether nothing was pending.
    #[track_caller]
    pub fn delivered(&self, delivered: usize, already_present: usize) -> &Self {
        self.exits(0);
        let outcome = self.json();
        let sink = &outcome["sinks"][0];
        let counts = (&sink["delivered"], &sink["already_present"], &outcome["nothing_pending"]);
        let nothing = delivered + already_present == 0;
        assert_eq!(counts, (&delivered.into(), &already_present.into(), &nothing.into()), "{self}");
        self
    }

    /// Its standard output as JSON.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self}"))
    }
}

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}\n-- stdout\n{}-- stderr\n{}", self.status, self.stdout, self.stderr)
    }
}

/// A host that runs beside the test; killed when dropped.
#[derive(Debug)]
pub struct Running {
    child: Child,
}

impl Running {
    /// Starts it, its output to a file of the project.
    pub fn start(project: &Project, command: &mut Command) -> Self {
        let log = fs::File::create(project.path("running.log")).expect("a log file");
        let child =
            command.stdout(log.try_clone().expect("a descriptor")).stderr(log).spawn().expect("the host starts");
        Self { child }
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: rustix::process::Signal) {
        rustix::process::kill_process(rustix::process::Pid::from_child(&self.child), signal).expect("it still runs");
    }

    /// kill -9; that it has ended already is no error.
    pub fn kill(&mut self) {
        self.child.kill().ok();
    }

    /// Waits for its end, for at most this long.
    pub fn wait(&mut self, at_most: Duration) -> Option<ExitStatus> {
        let mut status = None;
        wait_until(at_most, || {
            status = self.child.try_wait().expect("a child of ours");
            status.is_some()
        });
        status
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Asks again and again until it holds; whether it did within the time.
pub fn wait_until(at_most: Duration, mut holds: impl FnMut() -> bool) -> bool {
    let until = Instant::now() + at_most;
    loop {
        if holds() {
            return true;
        }
        if Instant::now() >= until {
            return false;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Copies a folder with all that is in it.
pub fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).unwrap_or_else(|error| panic!("{}: {error}", from.display())) {
        let entry = entry.expect("a folder's entry");
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_tree(&entry.path(), &to);
        } else {
            // Not fs::copy: it would copy the corpus's read-only mode.
            fs::write(to, fs::read(entry.path()).expect("a readable file")).expect("a copy");
        }
    }
}
