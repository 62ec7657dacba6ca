//! What the sink "holds": in memory, and in a file where it is told one.

use std::collections::HashMap;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use litmus_core::{RunId, Sha256, SinkError, Status};
use serde::{Deserialize, Serialize};

/// The runs that arrived.
#[derive(Debug)]
pub(crate) struct Store {
    path: Option<PathBuf>,
    runs: Mutex<HashMap<RunId, Sha256>>,
}

#[derive(Serialize, Deserialize)]
struct Line {
    run_id: RunId,
    sha256: Sha256,
    status: String,
}

impl Store {
    /// Reads what the file holds already.
    pub(crate) fn open(path: Option<PathBuf>) -> Result<Self, SinkError> {
        let store = Self { path, runs: Mutex::default() };
        store.reload()?;
        Ok(store)
    }

    fn reload(&self) -> Result<(), SinkError> {
        let Some(path) = self.path.as_ref().filter(|path| path.exists()) else { return Ok(()) };
        let text = std::fs::read_to_string(path).map_err(|why| unusable(path, why))?;
        let mut runs = self.runs.lock().unwrap_or_else(PoisonError::into_inner);
        for line in text.lines().filter_map(|line| serde_json::from_str::<Line>(line).ok()) {
            runs.insert(line.run_id, line.sha256);
        }
        Ok(())
    }

    /// The revision held of a run.
    pub(crate) fn held(&self, run_id: RunId) -> Option<Sha256> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner).get(&run_id).copied()
    }

    /// Holds a revision, and says how it went.
    pub(crate) fn put(&self, run_id: RunId, sha256: Sha256) -> Result<Status, SinkError> {
        let mut runs = self.runs.lock().unwrap_or_else(PoisonError::into_inner);
        let present = runs.insert(run_id, sha256) == Some(sha256);
        let status = if present { Status::AlreadyPresent } else { Status::Delivered };
        if let Some(path) = &self.path {
            let line = Line { run_id, sha256, status: status.name().to_owned() };
            let text = serde_json::to_string(&line).map_err(|why| unusable(path, why))?;
            let mut file =
                OpenOptions::new().create(true).append(true).open(path).map_err(|why| unusable(path, why))?;
            // One write: lines of several threads and hosts do not mix.
            file.write_all(format!("{text}\n").as_bytes()).map_err(|why| unusable(path, why))?;
        }
        Ok(status)
    }
}

fn unusable(path: &std::path::Path, why: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> SinkError {
    SinkError::transient(format!("{} cannot be used", path.display())).with_source(why)
}
