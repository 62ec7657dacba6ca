//! What the schema holds, and how it grows.
//!
//! Changes run in a short transaction of their own, before any row is written, under one advisory lock a schema, so that
//! hosts that start at once do it one after the other. A change waits for readers only briefly and then lets them through
//! first: whoever waits for an exclusive lock makes everybody behind it wait too.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use litmus_core::{SinkError, Status, Table};
use litmus_sql::bookkeeping::{self, COLUMNS, DELIVERIES, INCARNATION, META, SCHEMA_VERSION, SCHEMA_VERSION_NOW};
use litmus_sql::{
    Catalog, Dialect, KnownColumn, Planner, RUN_ROWS, SchemaPolicy, Wanted, dropped, kind_of_name, quoted, sql_table,
};
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Row};

use crate::config::Settings;
use crate::dialect::canonical_name;
use crate::link::Link;
use crate::session::Session;

/// The first wait for a lock on a table; each further one is twice as long.
const FIRST_LOCK_WAIT: Duration = Duration::from_millis(100);

/// What there is.
pub(crate) struct Found {
    pub(crate) catalog: Catalog,
    /// Recorded columns that somebody dropped.
    pub(crate) gone: Vec<(Table, KnownColumn)>,
    /// The UUID kept in the schema; `None`: nothing of ours is there yet.
    pub(crate) incarnation: Option<String>,
    has_schema: bool,
    has_view: bool,
    has_deliveries: bool,
}

impl Found {
    /// The catalog of a schema from which nobody dropped anything.
    pub(crate) fn whole(self, settings: &Settings) -> Result<Catalog, SinkError> {
        self.refuse_gaps(settings)?;
        Ok(self.catalog)
    }

    /// An error where somebody dropped tables or columns.
    pub(crate) fn refuse_gaps(&self, settings: &Settings) -> Result<(), SinkError> {
        match dropped(&settings.dialect, &self.catalog, &self.gone) {
            None => Ok(()),
            Some(what) => Err(SinkError::schema(format!("{}: {what}", settings.destination_id()))),
        }
    }

    /// Whether rows can be looked up in `litmus_deliveries`.
    pub(crate) fn has_deliveries(&self) -> bool {
        self.has_deliveries
    }

    /// Whether the view `run_rows` is there.
    pub(crate) fn has_view(&self) -> bool {
        self.has_view
    }
}

/// A query's rows, without a prepared statement that a pooler between us and the server would have to know.
pub(crate) async fn rows(
    client: &Client,
    sql: &str,
    parameters: &[(&(dyn ToSql + Sync), Type)],
) -> Result<Vec<Row>, tokio_postgres::Error> {
    client.query_typed(sql, parameters).await
}

/// Looks what is there; changes nothing.
pub(crate) fn look(session: &Session<'_>, link: &mut Link) -> Result<Found, SinkError> {
    let settings = session.settings;
    let schema = settings.dialect.schema.as_str();
    let ours: Vec<String> = names().map(|name| settings.dialect.relation(name)).collect();
    let sql = "SELECT n.oid IS NOT NULL, c.relname::text FROM (SELECT 1) AS one \
               LEFT JOIN pg_catalog.pg_namespace n ON n.nspname = $1 \
               LEFT JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = ANY ($2)";
    let found = link.run(session.runtime, session.check, "looking for the tables", async |client| {
        rows(client, sql, &[(&schema, Type::TEXT), (&ours, Type::TEXT_ARRAY)]).await
    })?;
    let has_schema = found.iter().any(|row| row.get(0));
    let there: Vec<String> = found.iter().filter_map(|row| row.get(1)).collect();
    let has = |name: &str| there.contains(&settings.dialect.relation(name));
    if !has(META)
        && let Some(foreign) = there.first()
    {
        return Err(SinkError::config(format!(
            "{}: it has a table \"{foreign}\" that this sink did not make\nhint: give the runs a schema of their own, or a prefix",
            settings.destination_id()
        )));
    }
    let incarnation = if has(META) { incarnation(session, link)? } else { None };
    let recorded = if has(COLUMNS) { recorded(session, link)? } else { Vec::new() };
    let physical = physical(session, link)?;
    let (catalog, gone) = Catalog::load(&settings.dialect, recorded, &physical);
    let (has_view, has_deliveries) = (has(RUN_ROWS), has(DELIVERIES));
    Ok(Found { catalog, gone, incarnation, has_schema, has_view, has_deliveries })
}

fn names() -> impl Iterator<Item = &'static str> {
    Table::ALL.map(sql_table).into_iter().chain([META, COLUMNS, DELIVERIES, RUN_ROWS])
}

/// The UUID kept in the schema.
fn incarnation(session: &Session<'_>, link: &mut Link) -> Result<Option<String>, SinkError> {
    let settings = session.settings;
    let sql = format!("SELECT key, value FROM {}", settings.dialect.table(META));
    let found =
        link.run(session.runtime, session.check, "reading litmus_meta", async |client| rows(client, &sql, &[]).await)?;
    let value = |key: &str| found.iter().find(|row| row.get::<_, &str>(0) == key).map(|row| row.get::<_, String>(1));
    if let Some(version) = value(SCHEMA_VERSION).filter(|version| *version != SCHEMA_VERSION_NOW.to_string()) {
        return Err(SinkError::config(format!(
            "{}: its schema_version is {version}, this plugin writes {SCHEMA_VERSION_NOW}\nhint: use the plugin that wrote it, or a schema of its own",
            settings.destination_id()
        )));
    }
    Ok(value(INCARNATION))
}

fn recorded(session: &Session<'_>, link: &mut Link) -> Result<Vec<(Table, KnownColumn)>, SinkError> {
    let settings = session.settings;
    let sql = format!(
        "SELECT ordinal, table_name, column_name, canonical_name, kind FROM {}",
        settings.dialect.table(COLUMNS)
    );
    let found = link
        .run(session.runtime, session.check, "reading litmus_columns", async |client| rows(client, &sql, &[]).await)?;
    let column = |row: &Row| {
        let (table, kind): (&str, &str) = (row.get(1), row.get(4));
        let known = Table::ALL.into_iter().find(|known| sql_table(*known) == table).zip(kind_of_name(kind));
        let (table, kind) = known.ok_or_else(|| {
            SinkError::config(format!(
                "{}: {COLUMNS} has table \"{table}\", kind \"{kind}\"\nhint: a newer version wrote it; use that plugin",
                settings.destination_id()
            ))
        })?;
        let ordinal = row.get::<_, i32>(0).unsigned_abs();
        Ok((table, KnownColumn { ordinal, name: row.get(2), canonical: canonical_name(row.get(3)), kind }))
    };
    found.iter().map(column).collect()
}

fn physical(session: &Session<'_>, link: &mut Link) -> Result<BTreeMap<Table, Vec<String>>, SinkError> {
    let settings = session.settings;
    let tables: Vec<String> = Table::ALL.map(|table| settings.dialect.relation(sql_table(table))).into();
    let schema = settings.dialect.schema.as_str();
    let sql = "SELECT c.relname::text, a.attname::text FROM pg_catalog.pg_class c \
               JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
               JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped \
               WHERE n.nspname = $1 AND c.relname = ANY ($2)";
    let found = link.run(session.runtime, session.check, "reading the tables' columns", async |client| {
        rows(client, sql, &[(&schema, Type::TEXT), (&tables, Type::TEXT_ARRAY)]).await
    })?;
    let mut physical: BTreeMap<Table, Vec<String>> = BTreeMap::new();
    for row in &found {
        let at = tables.iter().position(|table| table == row.get::<_, &str>(0)).expect("only these were asked for");
        physical.entry(Table::ALL[at]).or_default().push(row.get(1));
    }
    Ok(physical)
}

pub(crate) fn planner(settings: &Settings) -> Planner<'_> {
    Planner {
        dialect: &settings.dialect,
        vocabulary: settings.vocabulary,
        policy: settings.schema_policy,
        columns_max: settings.columns_max,
    }
}

/// Statements that are needed before runs of these schemas can be written.
pub(crate) fn plan(
    settings: &Settings,
    found: &mut Found,
    wanted: &[Wanted],
) -> Result<Vec<String>, litmus_sql::UnknownType> {
    let dialect = &settings.dialect;
    let mut statements = Vec::new();
    if !found.has_schema {
        statements.push(format!("CREATE SCHEMA {}", quoted(&dialect.schema)));
    }
    if found.incarnation.is_none() {
        statements.extend(bookkeeping::statements(dialect));
        statements.push(format!(
            "INSERT INTO {} (key, value) VALUES ({}, {}), ({}, pg_catalog.gen_random_uuid()::text) ON CONFLICT (key) DO NOTHING",
            dialect.table(META),
            dialect.literal(SCHEMA_VERSION),
            dialect.literal(&SCHEMA_VERSION_NOW.to_string()),
            dialect.literal(INCARNATION)
        ));
    }
    let tables = planner(settings).plan(&mut found.catalog, wanted)?;
    let view_alone = tables.is_empty() && !found.has_view;
    statements.extend(if view_alone { planner(settings).plan_view(&found.catalog) } else { tables });
    // The next plan does not name it again.
    (found.has_schema, found.has_view) = (true, true);
    found.incarnation.get_or_insert_default();
    Ok(statements)
}

/// The message under `freeze`.
pub(crate) fn frozen(settings: &Settings, statements: &[String]) -> SinkError {
    let mut message = format!(
        "{}: the schema lacks tables or columns and schema_policy is \"freeze\"\nhint: run these statements, or set schema_policy to \"evolve\" or \"ignore\":",
        settings.destination_id()
    );
    for (at, statement) in statements.iter().enumerate() {
        // A message goes into logs and the ledger, and the host cuts it at 64 KiB; a dry run has them all.
        if message.len() + statement.len() > 60 << 10 {
            let left = statements.len() - at;
            message = format!("{message}\n… {left} statements more: `litmus-host forward --dry-run` prints them all");
            break;
        }
        message.extend(["\n", statement, ";"]);
    }
    SinkError::schema(message)
}

/// Makes what is missing, as the policy allows. Gives what is there then. `unknown` says which run is at fault where a
/// column is of no canonical type; callers have looked before.
pub(crate) fn ensure(session: &Session<'_>, link: &mut Link, wanted: &[Wanted]) -> Result<Found, SinkError> {
    let settings = session.settings;
    let mut found = session.reading(link, |link| look(session, link))?;
    let unknown = |error: litmus_sql::UnknownType| SinkError::data(error.to_string());
    if plan(settings, &mut found, wanted).map_err(unknown)?.is_empty() {
        return Ok(found);
    }
    if settings.schema_policy == SchemaPolicy::Freeze {
        let mut found = session.reading(link, |link| look(session, link))?;
        let statements = plan(settings, &mut found, wanted).map_err(unknown)?;
        return Err(frozen(settings, &statements));
    }
    let until = Instant::now() + settings.lock_timeout;
    let mut patience = FIRST_LOCK_WAIT.min(settings.lock_timeout);
    loop {
        match change(session, link, wanted, patience) {
            Ok(found) => return Ok(found),
            Err(error) => {
                link.roll_back(session.runtime);
                // 55P03 is the lock timeout, 40P01 a deadlock that the server ended.
                let waited = error.status() == Status::Transient
                    && ["[55P03]", "[40P01]"].iter().any(|code| error.to_string().contains(code));
                if !waited || Instant::now() >= until {
                    return Err(error);
                }
                (session.check)()?;
                std::thread::sleep(patience / 4);
                patience = (patience * 2).min(settings.lock_timeout);
            }
        }
    }
}

/// One try, in one transaction.
fn change(session: &Session<'_>, link: &mut Link, wanted: &[Wanted], patience: Duration) -> Result<Found, SinkError> {
    let settings = session.settings;
    let doing = "changing the tables";
    let execute = |link: &mut Link, sql: &str| link.execute(session.runtime, session.check, doing, sql);
    execute(
        link,
        &format!(
            "BEGIN ISOLATION LEVEL READ COMMITTED; {}; SET LOCAL lock_timeout = {}; SELECT pg_catalog.pg_advisory_xact_lock({})",
            limit(settings),
            settings.lock_timeout.as_millis(),
            lock_key(settings)
        ),
    )?;
    // What another host has done meanwhile is seen now.
    let mut found = look(session, link)?;
    let has_view = found.has_view;
    let mut statements = plan(settings, &mut found, wanted).map_err(|error| SinkError::data(error.to_string()))?;
    if has_view && !statements.is_empty() {
        // The view first, and through it the tables, in the order in which its readers take them: else one of them could
        // hold the view and wait for a table, while we hold the table and wait for the view.
        statements.insert(0, format!("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE", settings.dialect.table(RUN_ROWS)));
    }
    statements.insert(0, format!("SET LOCAL lock_timeout = {}", patience.as_millis()));
    statements.push("COMMIT".to_owned());
    execute(link, &statements.join(";\n"))?;
    session.reading(link, |link| look(session, link))
}

/// The advisory lock of this schema and prefix: FNV-1a over their names.
fn lock_key(settings: &Settings) -> i64 {
    let named = format!("litmus-host\0{}\0{}", settings.dialect.schema, settings.dialect.prefix);
    let hash = named
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    hash as i64
}

/// Statements of a transaction's beginning. All of it is local to the transaction, so that a pooler may stand between. The
/// search path stays as the role has it: our own statements name every schema, and triggers of the tables' owner need it.
pub(crate) fn begin(settings: &Settings) -> String {
    format!(
        "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL enable_seqscan = off; {}; \
         SELECT pg_catalog.set_config('synchronous_commit', 'on', true) \
         WHERE pg_catalog.current_setting('synchronous_commit') = 'off'",
        limit(settings)
    )
}

/// The statement that limits all others of a transaction.
pub(crate) fn limit(settings: &Settings) -> String {
    format!("SET LOCAL statement_timeout = {}", settings.statement_timeout.as_millis())
}
