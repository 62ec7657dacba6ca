//! PostgreSQL's errors as the host's statuses.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use litmus_core::abi::guest::log;
use litmus_core::{SinkError, Status};
use tokio_postgres::Error;
use tokio_postgres::error::DbError;

use crate::tls;

/// How long to leave a server alone that has no connection to spare.
const THROTTLED_WAIT: Duration = Duration::from_secs(2);

/// The status of a SQLSTATE, and what to do about it; `None`: the class is unknown here.
///
/// By class (PostgreSQL, appendix A), but for single codes that mean something else than their class.
fn class(code: &str) -> Option<(Status, &'static str)> {
    use Status::{Auth, Config, Data, Schema, Throttled, Transient};
    Some(match code {
        "53300" => (Throttled, "the server has no connection left; raise max_connections or run fewer hosts"),
        "53100" => (Transient, "the server's disk is full; make room there"),
        "25006" => (Transient, "the database is read-only for now: a standby, or default_transaction_read_only"),
        "42501" => (Config, "grant the role what it lacks; see \"Roles and grants\" in docs/sinks/postgres.md"),
        "57014" => (Transient, "a statement was cancelled or took longer than statement_timeout_ms"),
        "55P03" => (Transient, "somebody holds a lock on the tables"),
        // More than fits a row or an index entry.
        "54000" => (Data, "a row or an index entry is larger than PostgreSQL can hold"),
        _ => match code.get(..2)? {
            "08" | "40" | "53" | "57" | "25" | "55" | "58" | "XX" => (Transient, ""),
            "28" => (Auth, "check user, password and the server's pg_hba.conf"),
            "3D" => (Config, "create the database, or name another in url or dbname"),
            "3F" => (Config, "create the schema, or grant the role CREATE on the database"),
            "42" => (
                Schema,
                "a table or column of this sink was dropped or changed, or a trigger names what the role does not find (search_path)",
            ),
            // COPY into a table with row-level security, above all.
            "0A" => (Config, "PostgreSQL cannot do this; with row-level security on a table the role needs BYPASSRLS"),
            // P0 and 44 are what a table's owner lets triggers and views raise about a row.
            "22" | "23" | "44" | "P0" => (Data, ""),
            _ => return None,
        },
    })
}

/// The status of an error, and a hint.
pub(crate) fn status(error: &Error) -> (Status, &'static str) {
    static WARNED: AtomicBool = AtomicBool::new(false);
    let Some(db) = error.as_db_error() else { return (Status::Transient, "") };
    class(db.code().code()).unwrap_or_else(|| {
        if !WARNED.swap(true, Ordering::Relaxed) {
            log(
                2,
                &format!(
                    "SQLSTATE {} ({}) is of no class known here; it is taken for transient",
                    db.code().code(),
                    db.message()
                ),
            );
        }
        (Status::Transient, "")
    })
}

/// Whether the run's values are at fault.
pub(crate) fn is_data(error: &Error) -> bool {
    status(error).0 == Status::Data
}

/// Whether the connection is of no use any more: broken, or ended by the server.
pub(crate) fn is_broken(error: &Error) -> bool {
    match error.as_db_error() {
        None => true,
        Some(db) => matches!(db.severity(), "FATAL" | "PANIC") || db.code().code().starts_with("08"),
    }
}

/// The error of something done on a connection. `place` names the server, `doing` says what failed.
pub(crate) fn of(error: &Error, place: &str, doing: &str) -> SinkError {
    let (status, hint) = status(error);
    let message = format!("{place}: {doing}: {}", text(error));
    let error = SinkError::new(status, if hint.is_empty() { message } else { format!("{message}\nhint: {hint}") });
    if status == Status::Throttled { error.with_retry_after(THROTTLED_WAIT) } else { error }
}

/// The error of a connection that could not be made.
pub(crate) fn of_connect(error: &Error, place: &str) -> SinkError {
    if let Some(db) = error.as_db_error() {
        // There is no run and no table yet: what the session was asked to be is wrong.
        return match db.code().code().get(..2) {
            Some("22" | "42") if db.code().code() != "42501" => SinkError::config(format!(
                "{place}: connecting: {}\nhint: correct options (in url, or PGOPTIONS): a role or a parameter there",
                text(error)
            )),
            _ => of(error, place, "connecting"),
        };
    }
    if let Some(fault) = tls::fault(error) {
        return SinkError::config(format!("{place}: {fault}"));
    }
    let text = text(error);
    if text.contains("password missing") {
        return SinkError::new(
            Status::Auth,
            format!(
                "{place}: the server wants a password and none is given\nhint: password = {{ env = \"…\" }}, PGPASSWORD, or ~/.pgpass"
            ),
        );
    }
    if text.contains("does not support TLS") {
        return SinkError::config(format!(
            "{place}: the server does not offer TLS\nhint: set ssl = on at the server, or sslmode = \"prefer\""
        ));
    }
    if text.starts_with("authentication error") {
        return SinkError::new(Status::Auth, format!("{place}: {text}"));
    }
    SinkError::transient(format!("{place}: {text}"))
}

/// What an error says, with what caused it.
pub(crate) fn text(error: &Error) -> String {
    if let Some(db) = error.as_db_error() {
        return db_text(db);
    }
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// The longest detail that is passed on: a failing row is quoted in it.
const DETAIL_CHARS_MAX: usize = 300;

fn db_text(db: &DbError) -> String {
    let mut text = db.message().to_owned();
    if let Some(detail) = db.detail() {
        let short: String = detail.chars().take(DETAIL_CHARS_MAX).collect();
        let more = if short.len() < detail.len() { "…" } else { "" };
        text = format!("{text} ({short}{more})");
    }
    format!("{text} [{}]", db.code().code())
}

/// The line of a COPY that an error is about, from 1, as the server's CONTEXT says.
pub(crate) fn copy_line(error: &Error) -> Option<u64> {
    let context = error.as_db_error()?.where_()?;
    let line = context.lines().find(|line| line.starts_with("COPY "))?;
    let (_, rest) = line.rsplit_once(", line ")?;
    rest.split(|character: char| !character.is_ascii_digit()).next()?.parse().ok()
}

/// The column of a COPY that an error is about, as the server's CONTEXT says: a value that its type refuses.
pub(crate) fn copy_column(error: &Error) -> Option<String> {
    let context = error.as_db_error()?.where_()?;
    let line = context.lines().find(|line| line.starts_with("COPY "))?;
    line.rsplit_once(", column ").map(|(_, name)| name.split(": ").next().unwrap_or(name).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_of_the_issue_has_its_status() {
        for (codes, expected) in [
            (
                &["08006", "57P01", "57P03", "53100", "53200", "40001", "40P01", "57014", "25006", "55P03"][..],
                Status::Transient,
            ),
            (&["53300"], Status::Throttled),
            (&["28P01", "28000"], Status::Auth),
            (&["3D000", "3F000", "42501"], Status::Config),
            (&["42P01", "42703", "42804"], Status::Schema),
            (&["22003", "22P05", "23505", "23514", "54000", "P0001"], Status::Data),
        ] {
            for code in codes {
                assert_eq!(class(code).map(|(status, _)| status), Some(expected), "{code}");
            }
        }
        assert_eq!(class("0A000").map(|(status, _)| status), Some(Status::Config));
        assert_eq!(class("?"), None);
    }
}
