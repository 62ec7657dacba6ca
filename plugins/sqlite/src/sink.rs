//! The sink: when the file is opened, and what happens when it is not the same any more.

use std::sync::{Mutex, MutexGuard, PoisonError};

use litmus_core::{Audit, Call, Capabilities, CheckAnswer, Grade, Run, RunId, Sink, SinkError};
use litmus_sql::Rehearsal;
use rusqlite::Connection;
use rustix::fs::Access;

use crate::batch::Found;
use crate::config::{Config, Settings};
use crate::database::{self, Database, Patience};
use crate::{audit, batch, error, file};

/// One SQLite file.
pub(crate) struct SqliteSink {
    settings: Settings,
    state: Mutex<State>,
    /// The dry run that this instance is in.
    rehearsal: Mutex<Option<Rehearsal<Found>>>,
}

#[derive(Default)]
pub(crate) struct State {
    pub(crate) database: Option<Database>,
    /// As `connect` told the host.
    pub(crate) incarnation: Option<String>,
}

impl Sink for SqliteSink {
    type Config = Config;

    const NAME: &'static str = "sqlite";

    const CAPABILITIES: Capabilities = Capabilities {
        dedup: true,
        audit: true,
        moves_file: false,
        dry_run: true,
        grade_max: Grade::Committed,
        max_concurrent_delivers: 1,
        batch_bytes: 16 << 20,
        batch_runs: 200,
    };

    fn configure(config: Config) -> Result<Self, SinkError> {
        Ok(Self { settings: config.try_into()?, state: Mutex::default(), rehearsal: Mutex::default() })
    }

    fn destination_id(&self) -> String {
        self.settings.destination_id()
    }

    fn connect(&self, call: &Call<'_>) -> Result<Option<String>, SinkError> {
        let check = || call.check_cancelled();
        self.state().connect(&self.settings, &Patience::new(&self.settings, call.remaining(), &check))
    }

    fn check(&self, _call: &Call<'_>) -> Result<CheckAnswer, SinkError> {
        check(&self.settings)
    }

    fn deliver(&self, call: &Call<'_>, runs: &[Run<'_>]) -> Result<(), SinkError> {
        let check = || call.check_cancelled();
        let reports = if call.dry_run() {
            let connection = database::open_read_only(&self.settings)?;
            let mut begun = self.rehearsal.lock().unwrap_or_else(PoisonError::into_inner);
            let rehearsal = match &mut *begun {
                Some(rehearsal) => rehearsal,
                None => begun.insert(batch::rehearse(connection.as_ref(), &self.settings)?),
            };
            batch::dry_run(rehearsal, connection.as_ref(), &self.settings, runs, &check)?
        } else {
            let patience = Patience::new(&self.settings, call.remaining(), &check);
            let reports = self.state().with(&self.settings, &patience, |database| {
                batch::deliver(database, &self.settings, runs, &patience)
            })?;
            litmus_core::failpoint("between_commit_and_report");
            reports
        };
        for (at, report) in reports.iter().enumerate() {
            call.report(at, report);
        }
        Ok(())
    }

    fn audit(&self, call: &Call<'_>, run_ids: &[RunId]) -> Result<Vec<Audit>, SinkError> {
        let check = || call.check_cancelled();
        let patience = Patience::new(&self.settings, call.remaining(), &check);
        self.state().with(&self.settings, &patience, |database| {
            audit::audit(&database.connection, &self.settings.path, run_ids, &check)
        })
    }

    fn close(self, _call: &Call<'_>) -> Result<(), SinkError> {
        let state = self.state.into_inner().unwrap_or_else(PoisonError::into_inner);
        state.database.map_or(Ok(()), |database| database.close(&self.settings.path))
    }
}

impl SqliteSink {
    fn state(&self) -> MutexGuard<'_, State> {
        // A panic leaves no database behind in it: `with` takes it out, and puts it back only after success.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Opens the file anew, made where it is missing; gives its incarnation.
    pub(crate) fn connect(
        &mut self,
        settings: &Settings,
        patience: &Patience<'_>,
    ) -> Result<Option<String>, SinkError> {
        *self = Self::default();
        let database = Database::create(settings, patience)?;
        self.incarnation = Some(database.incarnation.clone());
        self.database = Some(database);
        Ok(self.incarnation.clone())
    }

    /// Works on the file, opened where it is not. After an error it is closed: the next use starts from what is there.
    pub(crate) fn with<T>(
        &mut self,
        settings: &Settings,
        patience: &Patience<'_>,
        work: impl FnOnce(&Database) -> Result<T, SinkError>,
    ) -> Result<T, SinkError> {
        let database = match self.database.take() {
            Some(database) => database,
            None => Database::reopen(settings, patience)?,
        };
        database.check_identity(&settings.path)?;
        if self.incarnation.as_ref().is_some_and(|told| *told != database.incarnation) {
            return Err(SinkError::transient(format!(
                "{}: another database has taken its place\nhint: it is used when the sink is opened again",
                settings.path.display()
            )));
        }
        let result = work(&database)?;
        self.database = Some(database);
        Ok(result)
    }
}

/// Looks at file and folder without changing either.
pub(crate) fn check(settings: &Settings) -> Result<CheckAnswer, SinkError> {
    let path = &settings.path;
    let present = path.exists();
    // What has to be made is made in the nearest folder that is there.
    let folder = settings.folder().ancestors().find(|folder| folder.exists()).unwrap_or(settings.folder());
    file::refuse_network(folder)?;
    for needed in std::iter::once(folder).chain(present.then_some(path.as_path())) {
        rustix::fs::access(needed, Access::READ_OK | Access::WRITE_OK).map_err(|error| {
            SinkError::config(format!("{}: the host's user cannot write here", needed.display())).with_source(error)
        })?;
    }
    let Some(connection) = database::open_read_only(settings)? else {
        return Ok(CheckAnswer { incarnation: None, notes: vec![format!("would create {}", path.display())] });
    };
    let incarnation = database::incarnation(&connection, path)?;
    let mut notes = vec![format!("SQLite {}", rusqlite::version())];
    notes.push(match &incarnation {
        Some(_) => format!("{} holds {} runs", path.display(), runs(&connection, settings)?),
        None => format!("would add tables to {}", path.display()),
    });
    Ok(CheckAnswer { incarnation, notes })
}

fn runs(connection: &Connection, settings: &Settings) -> Result<u64, SinkError> {
    let sql = format!("SELECT COUNT(*) FROM {}", litmus_sql::bookkeeping::DELIVERIES);
    let count: i64 = connection
        .query_row(&sql, [], |row| row.get(0))
        .map_err(|error| error::of(error, &settings.path, "counting runs"))?;
    Ok(count.unsigned_abs())
}
