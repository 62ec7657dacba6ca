//! The sink: what each call of the host does.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use litmus_core::abi::guest::log;
use litmus_core::{Audit, Call, Capabilities, CheckAnswer, Grade, Report, Run, RunId, Sink, SinkError, Status};
use litmus_sql::bookkeeping::DELIVERIES;
use litmus_sql::{Dialect, Incoming, Rehearsal, SchemaPolicy, Wanted};
use tokio::runtime::Runtime;

use crate::config::{CONNECTIONS_MAX_LIMIT, Config, Settings};
use crate::deliver::{self, Memory};
use crate::link::{Check, Link, runtime};
use crate::pool::Pool;
use crate::schema::{self, Found};
use crate::session::Session;
use crate::{audit, deliveries};

/// One schema of one database.
pub(crate) struct PostgresSink {
    settings: Settings,
    /// Started at the first use: an offline check starts no thread.
    runtime: RwLock<Option<Arc<Runtime>>>,
    pub(crate) pool: Arc<Pool>,
    memory: Memory,
    /// The dry run that this instance is in.
    rehearsal: Mutex<Option<Rehearsal<Found>>>,
}

impl Sink for PostgresSink {
    type Config = Config;

    const NAME: &'static str = "postgres";

    const CAPABILITIES: Capabilities = Capabilities {
        dedup: true,
        audit: true,
        moves_file: false,
        dry_run: true,
        grade_max: Grade::Committed,
        max_concurrent_delivers: CONNECTIONS_MAX_LIMIT as u32,
        batch_bytes: 32 << 20,
        batch_runs: 128,
    };

    fn configure(config: Config) -> Result<Self, SinkError> {
        let settings = Settings::new(config, &|name| std::env::var(name).ok())?;
        Ok(Self {
            settings,
            runtime: RwLock::default(),
            pool: Arc::default(),
            memory: Memory::default(),
            rehearsal: Mutex::default(),
        })
    }

    fn destination_id(&self) -> String {
        self.settings.destination_id()
    }

    fn connect(&self, call: &Call<'_>) -> Result<Option<String>, SinkError> {
        let check = || call.check_cancelled();
        self.within(&check, |session| self.prepare(session).map(Some))
    }

    fn check(&self, call: &Call<'_>) -> Result<CheckAnswer, SinkError> {
        let check = || call.check_cancelled();
        self.within(&check, look)
    }

    fn deliver(&self, call: &Call<'_>, runs: &[Run<'_>]) -> Result<(), SinkError> {
        let check = || call.check_cancelled();
        let report = |at: usize, report: Report| call.report(at, &report);
        self.within(&check, |session| {
            if call.dry_run() {
                let mut link = Link::open(session.runtime, session.settings, session.check)?;
                let mut begun = self.rehearsal.lock().unwrap_or_else(PoisonError::into_inner);
                let reports = dry_run(session, &mut link, &mut begun, runs)?;
                reports.into_iter().enumerate().for_each(|(at, told)| report(at, told));
                return Ok(());
            }
            self.deliver_within(session, runs, &report)
        })
    }

    fn audit(&self, call: &Call<'_>, run_ids: &[RunId]) -> Result<Vec<Audit>, SinkError> {
        let check = || call.check_cancelled();
        self.within(&check, |session| self.pool.with(session, |link| audit::audit(session, link, run_ids)))
    }

    fn close(self, _call: &Call<'_>) -> Result<(), SinkError> {
        self.pool.close();
        let runtime = self.runtime.into_inner().unwrap_or_else(PoisonError::into_inner);
        // Connections say goodbye to the server; one that cannot is not waited for.
        if let Some(runtime) = runtime.and_then(Arc::into_inner) {
            runtime.block_on(async { tokio::time::sleep(Duration::from_millis(10)).await });
            runtime.shutdown_timeout(Duration::from_secs(1));
        }
        Ok(())
    }
}

impl PostgresSink {
    pub(crate) fn within<T>(
        &self,
        check: Check<'_>,
        work: impl FnOnce(&Session<'_>) -> Result<T, SinkError>,
    ) -> Result<T, SinkError> {
        let runtime = self.started()?;
        work(&Session { runtime: &runtime, settings: &self.settings, check })
    }

    fn started(&self) -> Result<Arc<Runtime>, SinkError> {
        if let Some(runtime) = &*self.runtime.read().unwrap_or_else(PoisonError::into_inner) {
            return Ok(Arc::clone(runtime));
        }
        let mut place = self.runtime.write().unwrap_or_else(PoisonError::into_inner);
        let runtime = if let Some(runtime) = place.take() {
            runtime
        } else {
            let runtime = Arc::new(runtime()?);
            self.pool.tend(&runtime);
            runtime
        };
        *place = Some(Arc::clone(&runtime));
        Ok(runtime)
    }

    /// Makes what does not depend on any run; gives the incarnation.
    pub(crate) fn prepare(&self, session: &Session<'_>) -> Result<String, SinkError> {
        self.memory.forget();
        let mut link = Link::open(session.runtime, session.settings, session.check)?;
        refuse_encoding(session, &mut link)?;
        let mut found = session.reading(&mut link, |link| schema::look(session, link))?;
        if found.incarnation.is_none() {
            found = schema::ensure(session, &mut link, &[])?;
        } else if !found.has_view() {
            found = with_view(session, &mut link, found)?;
        }
        let stored = found.incarnation.clone().ok_or_else(|| {
            SinkError::transient(format!("{}: changed while it was prepared", session.settings.destination_id()))
        })?;
        let incarnation = session.incarnation(&mut link, &stored)?;
        let storage = session.storage(&mut link)?;
        self.pool.connected(link, incarnation.clone(), storage);
        Ok(incarnation)
    }

    pub(crate) fn deliver_within<R: Incoming>(
        &self,
        session: &Session<'_>,
        runs: &[R],
        report: &dyn Fn(usize, Report),
    ) -> Result<(), SinkError> {
        let delivered = self.pool.with(session, |link| {
            self.pool.still_holds(session, link)?;
            deliver::deliver(session, link, &self.memory, runs, report)
        });
        if delivered.is_err() {
            self.memory.forget();
        }
        delivered
    }
}

/// Makes a view again that somebody dropped. No run needs it: a role that may not make one delivers all the same.
fn with_view(session: &Session<'_>, link: &mut Link, found: Found) -> Result<Found, SinkError> {
    if found.refuse_gaps(session.settings).is_err() {
        return Ok(found);
    }
    match schema::ensure(session, link, &[]) {
        Err(error) if error.status() == Status::Config => {
            log(2, &format!("the view run_rows is not there and cannot be made: {error}"));
            Ok(found)
        }
        made => made,
    }
}

/// Any text must fit.
fn refuse_encoding(session: &Session<'_>, link: &mut Link) -> Result<(), SinkError> {
    let sql = "SELECT pg_catalog.current_setting('server_encoding')";
    let found = link.run(session.runtime, session.check, "asking for the encoding", async |client| {
        schema::rows(client, sql, &[]).await
    })?;
    match found.first().map(|row| row.get::<_, &str>(0)) {
        Some("UTF8") => Ok(()),
        other => Err(SinkError::config(format!(
            "{}: the database's encoding is {}, in which not every text can be kept\nhint: CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0",
            link.place,
            other.unwrap_or("unknown")
        ))),
    }
}

/// Whether deliveries would work; changes nothing.
fn look(session: &Session<'_>) -> Result<CheckAnswer, SinkError> {
    let settings = session.settings;
    let mut link = Link::open(session.runtime, settings, session.check)?;
    refuse_encoding(session, &mut link)?;
    let sql = "SELECT pg_catalog.current_setting('server_version'), pg_catalog.current_setting('server_version_num')::int, \
               pg_catalog.current_setting('transaction_read_only') = 'on', \
               COALESCE((SELECT s.ssl FROM pg_catalog.pg_stat_ssl s WHERE s.pid = pg_catalog.pg_backend_pid()), false)";
    let found = link.run(session.runtime, session.check, "looking at the server", async |client| {
        schema::rows(client, sql, &[]).await
    })?;
    let row = found.first().ok_or_else(|| SinkError::transient(format!("{}: no answer", link.place)))?;
    let (version, number): (&str, i32) = (row.get(0), row.get(1));
    if number < VERSION_MIN {
        return Err(SinkError::config(format!(
            "{}: PostgreSQL {version} is too old\nhint: 13 or later is needed",
            link.place
        )));
    }
    if row.get(2) {
        return Err(SinkError::transient(format!(
            "{}: the database is read-only for now: a standby, or default_transaction_read_only",
            link.place
        )));
    }
    let encrypted = if row.get(3) { "with TLS" } else { "without TLS" };
    let mut notes = vec![format!("PostgreSQL {version} at {}, {encrypted}", settings.server.name())];
    let mut found = session.reading(&mut link, |link| schema::look(session, link))?;
    let stored = found.incarnation.clone();
    let incarnation = stored.map(|stored| session.incarnation(&mut link, &stored)).transpose()?;
    let held =
        if found.has_deliveries() { Some(session.reading(&mut link, |link| count(session, link))?) } else { None };
    let planned = schema::plan(settings, &mut found, &[]).map_err(|error| SinkError::schema(error.to_string()))?;
    let schema = &settings.dialect.schema;
    match held.filter(|_| planned.is_empty()) {
        Some(runs) => notes.push(format!("the schema {schema} holds {runs} runs")),
        None if settings.schema_policy == SchemaPolicy::Freeze => return Err(schema::frozen(settings, &planned)),
        None => {
            notes.push(format!("would make tables in the schema {schema}:"));
            notes.extend(planned.into_iter().map(|statement| format!("{statement};")));
        }
    }
    found.refuse_gaps(settings)?;
    Ok(CheckAnswer { incarnation, notes })
}

/// `gen_random_uuid` is part of the server since then.
const VERSION_MIN: i32 = 130_000;

fn count(session: &Session<'_>, link: &mut Link) -> Result<i64, SinkError> {
    let sql = format!("SELECT count(*) FROM {}", session.settings.dialect.table(DELIVERIES));
    let found = link
        .run(session.runtime, session.check, "counting runs", async |client| schema::rows(client, &sql, &[]).await)?;
    Ok(found.first().map_or(0, |row| row.get(0)))
}

/// What `deliver` would do with these runs, after those of earlier calls.
pub(crate) fn dry_run<R: Incoming>(
    session: &Session<'_>,
    link: &mut Link,
    begun: &mut Option<Rehearsal<Found>>,
    runs: &[R],
) -> Result<Vec<Report>, SinkError> {
    let settings = session.settings;
    let rehearsal = if let Some(rehearsal) = begun {
        rehearsal
    } else {
        let found = session.reading(link, |link| schema::look(session, link))?;
        found.refuse_gaps(settings)?;
        begun.insert(Rehearsal::new(found))
    };
    let run_ids: Vec<RunId> = runs.iter().map(Incoming::run_id).collect();
    let has_deliveries = rehearsal.found.has_deliveries();
    let noted = if has_deliveries {
        session.reading(link, |link| deliveries::look_up(session, link, &run_ids))?
    } else {
        HashMap::new()
    };
    let settle = |run: &R| {
        (session.check)()?;
        Ok(match noted.get(&run.run_id()) {
            Some(Err(error)) => Some(Report::failed(error)),
            Some(Ok(delivery)) => deliver::settle(run, Some(delivery)).ok(),
            None => deliver::settle(run, None).ok(),
        })
    };
    let plan = |found: &mut Found, wanted: &[Wanted]| schema::plan(settings, found, wanted);
    let id = settings.destination_id();
    rehearsal.batch(runs, settings.schema_policy, (&id, &id), settle, plan)
}
