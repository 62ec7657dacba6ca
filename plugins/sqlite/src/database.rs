//! The open file: how it is opened, what it says of itself, and which columns it has.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use litmus_core::{Held, RunId, SinkError, Status, Table};
use litmus_sql::bookkeeping::{self, COLUMNS, DELIVERIES, INCARNATION, META, SCHEMA_VERSION, SCHEMA_VERSION_NOW};
use litmus_sql::{Catalog, KnownColumn, dropped, kind_of_name, sql_table};
use rusqlite::{Connection, OpenFlags, OptionalExtension, Transaction, TransactionBehavior, params};

use crate::config::Settings;
use crate::dialect::Sqlite;
use crate::file::{self, Identity};
use crate::{error, error::is_busy};

/// How long SQLite waits by itself for a lock; then the host is asked whether to go on, which it wants every second.
const BUSY_SLICE: Duration = Duration::from_millis(200);

/// How large the log may stay after a checkpoint; a large run makes it grow for a while.
const JOURNAL_BYTES_MAX: i64 = 64 << 20;

/// Statements kept: an INSERT for each table and set of columns.
const STATEMENTS_MAX: usize = 64;

/// How long to wait for another process, and whether to go on waiting.
pub(crate) struct Patience<'a> {
    until: Instant,
    check: &'a dyn Fn() -> Result<(), SinkError>,
}

impl<'a> Patience<'a> {
    /// `remaining` is what the host's deadline leaves.
    pub(crate) fn new(
        settings: &Settings,
        remaining: Option<Duration>,
        check: &'a dyn Fn() -> Result<(), SinkError>,
    ) -> Self {
        let wait = remaining.map_or(settings.busy_timeout, |left| settings.busy_timeout.min(left));
        Self { until: Instant::now() + wait, check }
    }

    /// `Err(cancelled)` once the host asked to stop.
    pub(crate) fn check(&self) -> Result<(), SinkError> {
        (self.check)()
    }

    fn retry<T>(
        &self,
        path: &Path,
        doing: &str,
        mut attempt: impl FnMut() -> rusqlite::Result<T>,
    ) -> Result<T, SinkError> {
        loop {
            match attempt() {
                Err(error) if is_busy(&error) && Instant::now() < self.until => self.check()?,
                result => return result.map_err(|error| error::of(error, path, doing)),
            }
        }
    }
}

/// An open database of ours.
pub(crate) struct Database {
    pub(crate) connection: Connection,
    identity: Identity,
    /// The UUID in `litmus_meta`.
    pub(crate) incarnation: String,
}

impl Database {
    /// Opens the file, made with its folder where they are missing, and prepares what does not depend on any run.
    pub(crate) fn create(settings: &Settings, patience: &Patience<'_>) -> Result<Self, SinkError> {
        let folder = settings.folder();
        std::fs::create_dir_all(folder).map_err(|error| {
            SinkError::config(format!("{}: the folder cannot be made", folder.display())).with_source(error)
        })?;
        Self::open(settings, OpenFlags::SQLITE_OPEN_CREATE, patience)
    }

    /// Opens the file, which must be there.
    pub(crate) fn reopen(settings: &Settings, patience: &Patience<'_>) -> Result<Self, SinkError> {
        Identity::of(&settings.path).map_err(|error| gone(&settings.path).with_source(error))?;
        Self::open(settings, OpenFlags::empty(), patience)
    }

    fn open(settings: &Settings, more: OpenFlags, patience: &Patience<'_>) -> Result<Self, SinkError> {
        let path = &settings.path;
        if path.is_dir() {
            return Err(SinkError::config(format!(
                "{}: this is a folder\nhint: give the path of a file",
                path.display()
            )));
        }
        file::refuse_network(settings.folder())?;
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX | more;
        let failed = |doing: &'static str| move |error| error::of(error, path, doing);
        let connection = Connection::open_with_flags(path, flags).map_err(failed("opening"))?;
        let identity = Identity::of(path).map_err(|error| gone(path).with_source(error))?;
        connection.busy_timeout(BUSY_SLICE).map_err(failed("opening"))?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
        patience
            .retry(path, "opening", || refuse_foreign(&connection))?
            .map_or(Ok(()), |table| Err(foreign(path, &table)))?;
        let mode: String = patience.retry(path, "switching to WAL", || {
            connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))
        })?;
        if mode != "wal" {
            return Err(SinkError::config(format!(
                "{}: SQLite cannot use WAL here and stays at {mode}\nhint: give a path on a local disk",
                path.display()
            )));
        }
        connection
            .execute_batch(&format!(
                "PRAGMA synchronous = FULL; PRAGMA journal_size_limit = {JOURNAL_BYTES_MAX}; PRAGMA cache_size = -16384"
            ))
            .map_err(failed("opening"))?;
        let mut database = Self { connection, identity, incarnation: String::new() };
        database.incarnation = database.prepare(path, patience)?;
        Ok(database)
    }

    /// Makes the bookkeeping tables on first use; gives the incarnation.
    fn prepare(&self, path: &Path, patience: &Patience<'_>) -> Result<String, SinkError> {
        if let Some(incarnation) = incarnation(&self.connection, path)? {
            return Ok(incarnation);
        }
        let transaction = self.begin(path, patience)?;
        let failed = |error| error::of(error, path, "making the bookkeeping tables");
        for statement in bookkeeping::statements(&Sqlite) {
            transaction.execute(&statement, []).map_err(failed)?;
        }
        let insert = format!("INSERT OR IGNORE INTO {META} (key, value) VALUES (?1, ?2)");
        transaction.execute(&insert, params![SCHEMA_VERSION, SCHEMA_VERSION_NOW.to_string()]).map_err(failed)?;
        transaction.execute(&insert, params![INCARNATION, uuid::Uuid::new_v4().to_string()]).map_err(failed)?;
        transaction.commit().map_err(failed)?;
        incarnation(&self.connection, path)?
            .ok_or_else(|| SinkError::transient(format!("{}: changed while it was prepared", path.display())))
    }

    /// Takes the lock for writing, waiting for other processes as long as `patience` says.
    pub(crate) fn begin(&self, path: &Path, patience: &Patience<'_>) -> Result<Transaction<'_>, SinkError> {
        patience.retry(path, "waiting for the lock", || {
            Transaction::new_unchecked(&self.connection, TransactionBehavior::Immediate)
        })
    }

    /// Whether the path still leads to the file that is open; what is written to a deleted file is lost.
    pub(crate) fn check_identity(&self, path: &Path) -> Result<(), SinkError> {
        let error = match Identity::of(path) {
            Ok(identity) if identity == self.identity => return Ok(()),
            Ok(_) => {
                let what = "another file has taken its place; it is opened anew";
                SinkError::transient(format!("{}: {what}", path.display()))
            }
            Err(error) => gone(path).with_source(error),
        };
        // The log still lies beside the path, and SQLite would play it into whatever file comes there next. Emptied into
        // the file it belongs to, it harms nobody, and a file that was only moved is whole. If it fails, it fails.
        _ = self.checkpoint();
        Err(error)
    }

    fn checkpoint(&self) -> rusqlite::Result<()> {
        self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
    }

    /// Puts everything into the one file, so that it can be mailed, and closes it.
    pub(crate) fn close(self, path: &Path) -> Result<(), SinkError> {
        let failed = |error| error::of(error, path, "closing");
        // Where another process is still reading, it stays in the log, and that process puts it away when it closes.
        self.checkpoint().map_err(failed)?;
        self.connection.close().map_err(|(_, error)| failed(error))
    }
}

/// Opens a file that is there for reading alone; `None` if it is not there, or empty. Changes nothing beside it either:
/// where no log lies beside the file nobody has it open, and `immutable` keeps SQLite from making one.
pub(crate) fn open_read_only(settings: &Settings) -> Result<Option<Connection>, SinkError> {
    let path = &settings.path;
    match std::fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => {
            return Err(SinkError::config(format!(
                "{}: this is a folder\nhint: give the path of a file",
                path.display()
            )));
        }
        Ok(metadata) if metadata.len() == 0 => return Ok(None),
        Ok(_) => (),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            return Err(SinkError::config(format!("{}: cannot be looked at", path.display())).with_source(error));
        }
    }
    let mut log = path.clone().into_os_string();
    log.push("-wal");
    let immutable = if Path::new(&log).exists() { "" } else { "?immutable=1" };
    let uri = format!("file://{}{immutable}", file::escaped(path));
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let failed = |error| error::of(error, path, "opening to read");
    let connection = Connection::open_with_flags(uri, flags).map_err(failed)?;
    connection.busy_timeout(BUSY_SLICE).map_err(failed)?;
    match refuse_foreign(&connection).map_err(failed)? {
        None => Ok(Some(connection)),
        Some(table) => Err(foreign(path, &table)),
    }
}

/// The incarnation, if this is a database of ours; an error if a newer version wrote it.
pub(crate) fn incarnation(connection: &Connection, path: &Path) -> Result<Option<String>, SinkError> {
    let failed = |error| error::of(error, path, "reading litmus_meta");
    if !has_table(connection, META).map_err(failed)? {
        return Ok(None);
    }
    let value = |key: &str| {
        let sql = format!("SELECT value FROM {META} WHERE key = ?1");
        connection.query_row(&sql, [key], |row| row.get::<_, String>(0)).optional().map_err(failed)
    };
    let version = value(SCHEMA_VERSION)?;
    if version.as_ref().is_some_and(|version| *version != SCHEMA_VERSION_NOW.to_string()) {
        return Err(SinkError::config(format!(
            "{}: its schema_version is {}, this plugin writes {SCHEMA_VERSION_NOW}\nhint: use the plugin that wrote it, or a file of its own",
            path.display(),
            version.unwrap_or_default()
        )));
    }
    value(INCARNATION)
}

/// Whether the view `run_rows` is there.
pub(crate) fn has_view(connection: &Connection, path: &Path) -> Result<bool, SinkError> {
    has_table(connection, litmus_sql::RUN_ROWS).map_err(|error| error::of(error, path, "looking for the view"))
}

fn has_table(connection: &Connection, name: &str) -> rusqlite::Result<bool> {
    let sql = "SELECT EXISTS (SELECT 1 FROM sqlite_master WHERE name = ?1 COLLATE NOCASE)";
    connection.query_row(sql, [name], |row| row.get(0))
}

/// A table or view of somebody else's that has a name we need: there, although `litmus_meta` is not. One statement, so
/// that another host which makes our tables meanwhile is seen before or after, not in between.
fn refuse_foreign(connection: &Connection) -> rusqlite::Result<Option<String>> {
    let ours = Table::ALL.map(sql_table).into_iter().chain([COLUMNS, DELIVERIES, litmus_sql::RUN_ROWS]);
    let ours = ours.map(|name| format!("'{name}'")).collect::<Vec<_>>().join(", ");
    let there = "EXISTS (SELECT 1 FROM sqlite_master WHERE name = ?1 COLLATE NOCASE)";
    let sql =
        format!("SELECT name FROM sqlite_master WHERE name COLLATE NOCASE IN ({ours}) AND NOT {there} ORDER BY rowid");
    connection.query_row(&sql, [META], |row| row.get(0)).optional()
}

fn foreign(path: &Path, table: &str) -> SinkError {
    SinkError::config(format!(
        "{}: it has a table \"{table}\" that this sink did not make\nhint: give the runs a file of their own",
        path.display()
    ))
}

fn gone(path: &Path) -> SinkError {
    SinkError::transient(format!("{}: the file is gone; it is made anew when the sink is opened again", path.display()))
}

/// The columns that the file has. A recorded one that somebody dropped is an error.
pub(crate) fn catalog(connection: &Connection, path: &Path) -> Result<Catalog, SinkError> {
    let (catalog, gone) = catalog_and_gone(connection, path)?;
    match dropped(&Sqlite, &catalog, &gone) {
        None => Ok(catalog),
        Some(what) => Err(SinkError::schema(format!("{}: {what}", path.display()))),
    }
}

/// The columns that the file has, and those recorded that somebody dropped.
pub(crate) fn catalog_and_gone(
    connection: &Connection,
    path: &Path,
) -> Result<(Catalog, Vec<(Table, KnownColumn)>), SinkError> {
    let failed = |error| error::of(error, path, "reading litmus_columns");
    let mut recorded = Vec::new();
    if has_table(connection, COLUMNS).map_err(failed)? {
        let sql = format!("SELECT ordinal, table_name, column_name, canonical_name, kind FROM {COLUMNS}");
        let mut statement = connection.prepare_cached(&sql).map_err(failed)?;
        let mut rows = statement.query([]).map_err(failed)?;
        while let Some(row) = rows.next().map_err(failed)? {
            let text = |at| row.get::<_, String>(at).map_err(failed);
            let (table_name, kind) = (text(1)?, text(4)?);
            let (table, kind) = Table::ALL
                .into_iter()
                .find(|table| sql_table(*table) == table_name)
                .zip(kind_of_name(&kind))
                .ok_or_else(|| {
                    let what = format!("{}: {COLUMNS} has table \"{table_name}\", kind \"{kind}\"", path.display());
                    SinkError::config(format!("{what}\nhint: a newer version wrote it; use that plugin"))
                })?;
            let ordinal = row.get(0).map_err(failed)?;
            recorded.push((table, KnownColumn { ordinal, name: text(2)?, canonical: text(3)?, kind }));
        }
    }
    let mut physical = BTreeMap::new();
    for table in Table::ALL {
        let mut statement = connection.prepare_cached("SELECT name FROM pragma_table_xinfo(?1)").map_err(failed)?;
        let names = statement.query_map([sql_table(table)], |row| row.get(0)).map_err(failed)?;
        physical.insert(table, names.collect::<Result<Vec<String>, _>>().map_err(failed)?);
    }
    Ok(Catalog::load(&Sqlite, recorded, &physical))
}

/// A row of `litmus_deliveries`.
pub(crate) struct Delivery {
    pub(crate) held: Held,
    /// JSON objects, as the receipt had them.
    pub(crate) tables: String,
    pub(crate) conversions: String,
    pub(crate) extra: String,
}

/// What the file notes of a run; `None`: nothing.
pub(crate) fn delivery(connection: &Connection, path: &Path, run_id: RunId) -> Result<Option<Delivery>, SinkError> {
    let failed = |error| error::of(error, path, "reading litmus_deliveries");
    if !has_table(connection, DELIVERIES).map_err(failed)? {
        return Ok(None);
    }
    let sql =
        format!("SELECT sha256, rank, supersedes, tables, conversions, extra FROM {DELIVERIES} WHERE run_id = ?1");
    let mut statement = connection.prepare_cached(&sql).map_err(failed)?;
    let text = |row: &rusqlite::Row<'_>| -> rusqlite::Result<[String; 6]> {
        Ok([row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?])
    };
    let Some([sha256, rank, supersedes, tables, conversions, extra]) =
        statement.query_row([run_id.to_string()], text).optional().map_err(failed)?
    else {
        return Ok(None);
    };
    let (Ok(sha256), Ok(rank), Some(supersedes)) = (sha256.parse(), rank.parse(), Held::parse_lineage(&supersedes))
    else {
        return Err(SinkError::new(
            Status::Conflict,
            format!(
                "{}: {DELIVERIES} says of run {run_id} what is no sha256 and rank\nhint: delete that row; the run is delivered again",
                path.display()
            ),
        ));
    };
    Ok(Some(Delivery { held: Held { sha256, rank, supersedes }, tables, conversions, extra }))
}
