//! One batch: one transaction, in it a savepoint for each run, so that a run at fault leaves its neighbours alone.
//!
//! Invariants: a run's rows in all tables and its row in `litmus_deliveries` are there together or not at all; nothing is
//! reported before the commit has returned; rows of two revisions of a run are never there together.

use std::collections::BTreeMap;

use litmus_core::digest::Digests;
use litmus_core::{Decision, Grade, Held, Receipt, Report, SinkError, Status, Table, TableStream, decide};
use litmus_sql::bookkeeping::{self, DELIVERIES};
use litmus_sql::{
    Catalog, Incoming, Planner, Rehearsal, SchemaPolicy, open_tables, quoted, sql_table, timestamp, wanted,
};
use rusqlite::{Connection, params};

use crate::config::Settings;
use crate::database::{self, Database, Delivery, Patience};
use crate::dialect::Sqlite;
use crate::error;
use crate::insert::{Failure, Target};

/// Writes a batch and commits; gives a report for each run, in the order of `runs`.
pub(crate) fn deliver<R: Incoming>(
    database: &Database,
    settings: &Settings,
    runs: &[R],
    patience: &Patience<'_>,
) -> Result<Vec<Report>, SinkError> {
    let transaction = database.begin(&settings.path, patience)?;
    let mut catalog = database::catalog(&transaction, &settings.path)?;
    let batch = Batch { connection: &transaction, settings, patience };
    if settings.schema_policy == SchemaPolicy::Freeze {
        batch.refuse_changes(&catalog, runs)?;
    }
    if !database::has_view(&transaction, &settings.path)? {
        for statement in planner(settings).plan_view(&catalog) {
            batch.execute(&statement)?;
        }
    }
    let mut reports: BTreeMap<usize, Report> = BTreeMap::new();
    for at in in_order(runs) {
        patience.check()?;
        reports.insert(at, batch.run(&mut catalog, &runs[at])?);
    }
    patience.check()?;
    litmus_core::failpoint("before_commit");
    transaction.commit().map_err(|error| error::of(error, &settings.path, "committing"))?;
    // What went into a file that was deleted meanwhile is lost: it must not be reported.
    database.check_identity(&settings.path)?;
    Ok(reports.into_values().collect())
}

/// What a dry run finds: the columns, and whether the bookkeeping tables and the view are there.
pub(crate) struct Found {
    catalog: Catalog,
    has_bookkeeping: bool,
    has_view: bool,
}

/// Begins a dry run. `connection` is `None` where there is no file yet.
pub(crate) fn rehearse(connection: Option<&Connection>, settings: &Settings) -> Result<Rehearsal<Found>, SinkError> {
    let path = &settings.path;
    let found = match connection {
        Some(connection) => Found {
            catalog: database::catalog(connection, path)?,
            has_bookkeeping: database::incarnation(connection, path)?.is_some(),
            has_view: database::has_view(connection, path)?,
        },
        None => Found { catalog: Catalog::empty(&Sqlite), has_bookkeeping: false, has_view: false },
    };
    Ok(Rehearsal::new(found))
}

/// What [`deliver`] would do with these runs, after those of earlier calls.
pub(crate) fn dry_run<R: Incoming>(
    rehearsal: &mut Rehearsal<Found>,
    connection: Option<&Connection>,
    settings: &Settings,
    runs: &[R],
    check: &dyn Fn() -> Result<(), SinkError>,
) -> Result<Vec<Report>, SinkError> {
    let settled = |run: &R| {
        check()?;
        let delivery = match connection {
            Some(connection) => database::delivery(connection, &settings.path, run.run_id())?,
            None => None,
        };
        Ok(settle(run, delivery.as_ref()).ok())
    };
    let plan = |found: &mut Found, wanted: &[litmus_sql::Wanted]| {
        let mut statements = planner(settings).plan(&mut found.catalog, wanted)?;
        if statements.is_empty() && !found.has_view {
            statements = planner(settings).plan_view(&found.catalog);
        }
        if !std::mem::replace(&mut found.has_bookkeeping, true) {
            statements.splice(0..0, bookkeeping::statements(&Sqlite));
        }
        found.has_view = true;
        Ok(statements)
    };
    let place = (settings.path.to_string_lossy(), settings.destination_id());
    rehearsal.batch(runs, settings.schema_policy, (&place.0, &place.1), settled, plan)
}

/// Every sink takes runs in the order of their ids, so that two hosts with the same runs do not wait for each other.
fn in_order<R: Incoming>(runs: &[R]) -> Vec<usize> {
    let mut order: Vec<_> = (0..runs.len()).collect();
    order.sort_by_key(|&at| runs[at].run_id());
    order
}

/// The report of a run that needs no writing; else whether it replaces a revision.
fn settle(run: &impl Incoming, delivery: Option<&Delivery>) -> Result<Report, Decision> {
    let held = delivery.map(|delivery| &delivery.held);
    match (decide(held, &run.sha256(), &run.rank(), run.supersedes(), run.force()), delivery) {
        (Decision::AlreadyPresent, Some(delivery)) => {
            let receipt = Receipt {
                tables: serde_json::from_str(&delivery.tables).unwrap_or_default(),
                conversions: serde_json::from_str(&delivery.conversions).unwrap_or_default(),
                extra: serde_json::from_str(&delivery.extra).unwrap_or_default(),
                ..Receipt::default()
            };
            Ok(Report::done(Status::AlreadyPresent, receipt))
        }
        (Decision::Superseded, Some(delivery)) => {
            let message = format!("the file holds a newer revision, {}", delivery.held.sha256);
            Ok(Report { message, ..Report::done(Status::Superseded, Receipt::default()) })
        }
        (decision, _) => Err(decision),
    }
}

fn planner(settings: &Settings) -> Planner<'static> {
    Planner {
        dialect: &Sqlite,
        vocabulary: settings.vocabulary,
        policy: settings.schema_policy,
        columns_max: settings.columns_max,
    }
}

fn wrong(run: &impl Incoming, why: &dyn std::fmt::Display) -> SinkError {
    SinkError::data(format!("run {}: {why}", run.run_id()))
}

/// A message goes into logs and the ledger, and the host cuts it at 64 KiB; a dry run has them all.
const LISTED_BYTES_MAX: usize = 32 << 10;

fn frozen_message(settings: &Settings, statements: &[String]) -> String {
    let mut message = format!(
        "{}: the tables lack columns and schema_policy is \"freeze\"\nhint: run these statements, or set schema_policy to \"evolve\" or \"ignore\":",
        settings.path.display()
    );
    for (at, statement) in statements.iter().enumerate() {
        if message.len() + statement.len() > LISTED_BYTES_MAX {
            let left = statements.len() - at;
            return format!("{message}\n… {left} statements more: `litmus-host forward --dry-run` prints them all");
        }
        message.extend(["\n", statement, ";"]);
    }
    message
}

/// A transaction that is open.
struct Batch<'a> {
    connection: &'a Connection,
    settings: &'a Settings,
    patience: &'a Patience<'a>,
}

impl Batch<'_> {
    /// Under `freeze`: an error with all statements that the runs of this batch need.
    fn refuse_changes<R: Incoming>(&self, catalog: &Catalog, runs: &[R]) -> Result<(), SinkError> {
        let planner = planner(self.settings);
        let mut all = Vec::new();
        for run in runs {
            self.patience.check()?;
            let delivery = database::delivery(self.connection, &self.settings.path, run.run_id())?;
            // A run that cannot be opened or planned is reported when its turn comes.
            if settle(run, delivery.as_ref()).is_err()
                && let Ok(streams) = open_tables(run)
                && let wanted = wanted(&streams)
                && planner.plan(&mut catalog.clone(), &wanted).is_ok()
            {
                all.extend(wanted);
            }
        }
        let mut planned = catalog.clone();
        // Where nothing is to be written not even the tables are asked for.
        let statements = if all.is_empty() { Vec::new() } else { planner.plan(&mut planned, &all).unwrap_or_default() };
        if statements.is_empty() {
            return Ok(());
        }
        Err(SinkError::schema(frozen_message(self.settings, &statements)))
    }

    fn run(&self, catalog: &mut Catalog, run: &impl Incoming) -> Result<Report, SinkError> {
        let delivery = database::delivery(self.connection, &self.settings.path, run.run_id())?;
        let decision = match settle(run, delivery.as_ref()) {
            Ok(report) => return Ok(report),
            Err(decision) => decision,
        };
        let prepared = open_tables(run).and_then(|streams| {
            let plan = planner(self.settings).plan(catalog, &wanted(&streams)).map_err(|error| wrong(run, &error))?;
            Ok((streams, plan))
        });
        let (streams, statements) = match prepared {
            Ok(prepared) => prepared,
            Err(error) => {
                self.patience.check()?;
                return Ok(Report::failed(&error));
            }
        };
        for statement in statements {
            self.execute(&statement)?;
        }
        self.execute("SAVEPOINT run")?;
        let before = delivery.as_ref().map(|delivery| &delivery.held).filter(|_| decision == Decision::Replace);
        match self.write(catalog, run, streams, before) {
            Ok(receipt) => {
                self.execute("RELEASE run")?;
                Ok(Report::done(Status::Delivered, receipt))
            }
            Err(Failure::Run(error)) => {
                // A stream that breaks because the host is stopping says nothing about the run.
                self.patience.check()?;
                self.execute("ROLLBACK TO run")?;
                self.execute("RELEASE run")?;
                Ok(Report::failed(&error))
            }
            Err(Failure::Batch(error)) => Err(error),
        }
    }

    fn write(
        &self,
        catalog: &Catalog,
        run: &impl Incoming,
        streams: Vec<(Table, TableStream)>,
        replaced: Option<&Held>,
    ) -> Result<Receipt, Failure> {
        let failed = |error| Failure::Batch(error::of(error, &self.settings.path, "writing"));
        // Also where nothing is noted: rows may be left whose note somebody deleted.
        for table in Table::ALL {
            let sql = format!("DELETE FROM {} WHERE run_id = ?1", quoted(sql_table(table)));
            let mut statement = self.connection.prepare_cached(&sql).map_err(failed)?;
            statement.execute([run.run_id().to_string()]).map_err(failed)?;
        }
        if replaced.is_some() {
            litmus_core::failpoint("replacing");
        }
        let check = || self.patience.check();
        let (mut tables, mut extra) = (Digests::new(), BTreeMap::new());
        for (table, stream) in streams {
            let target = Target {
                connection: self.connection,
                path: &self.settings.path,
                run_id: run.run_id(),
                table,
                known: catalog.table(table),
                check: &check,
            };
            let written = target.insert(stream)?;
            tables.insert(table.name().to_owned(), written.digest);
            extra.extend(written.extra.into_iter().map(|(column, cells)| (format!("{table}.{column}"), cells)));
        }
        let receipt = Receipt {
            grade: Some(Grade::Committed),
            tables,
            extra,
            location: Some(self.settings.destination_id()),
            ..Receipt::default()
        };
        self.note(run, &receipt, replaced).map_err(failed)?;
        Ok(receipt)
    }

    /// The run's row in `litmus_deliveries`.
    fn note(&self, run: &impl Incoming, receipt: &Receipt, replaced: Option<&Held>) -> rusqlite::Result<()> {
        let held = Held::new(run.sha256(), run.rank(), run.supersedes(), replaced);
        let sql = format!(
            "INSERT OR REPLACE INTO {DELIVERIES} \
             (run_id, sha256, rank, supersedes, tables, conversions, extra, plugin_version, delivered_at) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)"
        );
        let json = |map: serde_json::Result<String>| map.expect("a map with text keys is JSON");
        self.connection.prepare_cached(&sql)?.execute(params![
            run.run_id().to_string(),
            held.sha256.to_string(),
            held.rank.encode(),
            held.lineage(),
            json(serde_json::to_string(&receipt.tables)),
            json(serde_json::to_string(&receipt.conversions)),
            json(serde_json::to_string(&receipt.extra)),
            env!("CARGO_PKG_VERSION"),
            now(),
        ])?;
        Ok(())
    }

    fn execute(&self, statement: &str) -> Result<(), SinkError> {
        let beginning: String = statement.chars().take(80).collect();
        self.connection
            .execute_batch(statement)
            .map_err(|error| error::of(error, &self.settings.path, &format!("running {beginning}")))
    }
}

/// The time now, spelled as every time in the file.
fn now() -> String {
    let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let text = timestamp::text(since_epoch.as_micros() as i64).expect("this is before the year 10000");
    String::from_utf8_lossy(&text).into_owned()
}
