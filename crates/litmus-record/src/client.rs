//! Where runs are recorded.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::{RecordError, Run, RunOptions};

/// The generation of the file format that is sealed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// `schema_version` "1.0": what litmus-test 0.1 reads and its documentation describes.
    #[default]
    Flat,
    /// `schema_version` "0.1": what TesterKit 0.4 to 0.6 read.
    Nested,
}

/// Whether what is recorded is written down as it comes, so that [`recover`](crate::recover) can seal it if the program dies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Journal {
    /// A run that is not finished is lost.
    #[default]
    Off,
    /// Survives a crash of the program, `kill -9` included; a power cut may take the last seconds.
    On,
    /// Survives a power cut, too: every line is on the disk before the test goes on.
    Synced,
}

/// Records runs into one data dir.
#[derive(Clone, Debug)]
pub struct Client {
    pub(crate) data_dir: PathBuf,
    pub(crate) format: Format,
    pub(crate) journal: Journal,
}

impl Client {
    /// Records into the folder that holds (or will hold) `runs/`; flat files, no journal. Nothing is written yet.
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self { data_dir: data_dir.into(), format: Format::default(), journal: Journal::default() }
    }

    /// Records into the data dir that Litmus would find from the working folder: the project's, `$LITMUS_HOME`'s, the user's.
    pub fn resolve() -> Result<Self, RecordError> {
        let here =
            std::env::current_dir().map_err(|error| RecordError::io(Path::new("."), "cannot be read", &error))?;
        let found = litmus_core::reader::resolve_data_dir(None, &here, &|name| std::env::var_os(name));
        let found = found.map_err(|error| {
            let wrapped = RecordError::new(format!("{}: {}", error.path(), error.message()));
            match error.hint() {
                Some(hint) => wrapped.with_hint(hint),
                None => wrapped,
            }
        })?;
        Ok(Self::new(found.path))
    }

    /// The same client, sealing another generation.
    #[must_use]
    pub fn format(mut self, format: Format) -> Self {
        self.format = format;
        self
    }

    /// The same client, with a journal or without.
    #[must_use]
    pub fn journal(mut self, journal: Journal) -> Self {
        self.journal = journal;
        self
    }

    /// The folder that holds `runs/`.
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// Starts a run: `client.start_run(RunOptions::new("SN12345", "bench_1"))`. Without a journal this writes nothing and
    /// cannot fail.
    pub fn start_run(&self, options: RunOptions) -> Result<Run, RecordError> {
        Run::start(self, options)
    }
}
