//! A release of the platform, installed and asked.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::workspace::target;
use crate::{Result, process};

/// What reads a data dir and says what the release says of it.
const READ: &str = include_str!("read.py");

/// A release, and how to get it.
pub(crate) struct Release {
    /// Its own command, and its Python package.
    pub(crate) command: &'static str,
    /// As pip is told.
    pub(crate) pin: &'static str,
    /// What it does not pin itself, and does not work without.
    beside: &'static [&'static str],
    /// The format of ours that it reads.
    pub(crate) format: &'static str,
}

pub(crate) const RELEASES: &[Release] = &[
    // Yanked, so it is only found by its exact version. It does not read with DuckDB 2.
    Release { command: "litmus", pin: "litmus-test==0.1.3", beside: &["duckdb==1.5.5"], format: "flat" },
    // It imports a module that filelock 4 no longer has.
    Release { command: "testerkit", pin: "testerkit==0.6.0", beside: &["filelock<4"], format: "nested" },
];

impl Release {
    fn folder(&self) -> PathBuf {
        target().join("compat").join(self.pin.replace("==", "-"))
    }

    /// Installs it, unless it is there; gives its Python.
    pub(crate) fn install(&self) -> Result<PathBuf> {
        let folder = self.folder();
        let (python, done) = (folder.join("bin/python"), folder.join("installed"));
        if !done.is_file() {
            let _ = fs::remove_dir_all(&folder);
            process::run(Command::new("python3").args(["-m", "venv"]).arg(&folder))?;
            let mut pip = Command::new(&python);
            process::run(pip.args(["-m", "pip", "install", "--quiet", self.pin]).args(self.beside))?;
            fs::write(done, "")?;
        }
        Ok(python)
    }

    /// Its Python, with nothing of the caller's project or home.
    pub(crate) fn python(&self, python: &Path) -> Command {
        let home = self.folder().join("home");
        let mut command = Command::new(python);
        command.current_dir(self.folder()).env("HOME", &home).env("XDG_DATA_HOME", home.join(".local/share"));
        for variable in ["LITMUS_HOME", "TESTERKIT_HOME"] {
            command.env(variable, &home);
        }
        for variable in ["LITMUS_DAEMON_IDLE_TIMEOUT", "TESTERKIT_DAEMON_IDLE_TIMEOUT"] {
            command.env(variable, "5");
        }
        command.env("PYTHONDONTWRITEBYTECODE", "1").env_remove("PYTHONPATH");
        command
    }

    /// What it says of these runs, through its client and its command line.
    pub(crate) fn ask(&self, python: &Path, data_dir: &Path, expected: &[Value], work: &Path) -> Result<Value> {
        let (read, ids, answers) = (work.join("read.py"), work.join("ids.json"), work.join("answers.json"));
        fs::write(&read, READ)?;
        let wanted: Vec<_> = expected.iter().map(|one| &one["run_id"]).collect();
        fs::write(&ids, serde_json::to_string(&wanted)?)?;
        process::run(self.python(python).args([&read, data_dir, &ids, &answers]))?;
        let text = fs::read_to_string(&answers).map_err(|error| format!("{}: {error}", answers.display()))?;
        Ok(serde_json::from_str(&text)?)
    }
}
