//! SQLite's errors as the host's statuses.

use std::path::Path;

use litmus_core::{SinkError, Status};
use rusqlite::{Error, ErrorCode, ffi};

/// The status of an error, and what to do about it where something can be done.
fn class(error: &Error) -> (Status, &'static str) {
    let Error::SqliteFailure(failure, message) = error else {
        // rusqlite's own: a column of another type, a row that is not there: somebody changed our tables.
        return (Status::Schema, "the bookkeeping tables (litmus_…) are not as this sink wrote them");
    };
    match failure.code {
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => {
            (Status::Transient, "another process is writing to the file; busy_timeout_ms is how long to wait for it")
        }
        ErrorCode::DiskFull => (Status::Transient, "the disk is full; make room"),
        ErrorCode::ReadOnly if failure.extended_code == ffi::SQLITE_READONLY_DBMOVED => {
            (Status::Transient, "the file was moved or deleted while it was open")
        }
        ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied => {
            (Status::Config, "the host's user needs to read and write the file and its folder")
        }
        ErrorCode::NotADatabase => (Status::Config, "the file is no SQLite database; give another path"),
        ErrorCode::DatabaseCorrupt => (
            Status::Config,
            "the database is damaged; `sqlite3 FILE .recover` saves what it holds. Moved away, it is filled anew",
        ),
        ErrorCode::ConstraintViolation | ErrorCode::TooBig | ErrorCode::TypeMismatch => (Status::Data, ""),
        ErrorCode::Unknown if message.as_deref().is_some_and(|message| message.contains("no such")) => {
            (Status::Schema, "a table or column of this sink was dropped or renamed")
        }
        ErrorCode::Unknown => (Status::Schema, ""),
        _ => (Status::Transient, ""),
    }
}

/// The error of an operation on the file.
pub(crate) fn of(error: Error, path: &Path, doing: &str) -> SinkError {
    let (status, hint) = class(&error);
    let text = match &error {
        Error::SqliteFailure(failure, Some(message)) => format!("{message} (SQLite {})", failure.extended_code),
        other => other.to_string(),
    };
    let message = format!("{}: {doing}: {text}", path.display());
    SinkError::new(status, if hint.is_empty() { message } else { format!("{message}\nhint: {hint}") })
}

/// Another connection holds the lock.
pub(crate) fn is_busy(error: &Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
}

/// The error is about the values given, not about the database.
pub(crate) fn is_data(error: &Error) -> bool {
    class(error).0 == Status::Data
}

/// A constraint broke that this sink's tables do not have: they have a primary key, and NOT NULL on the columns in it.
pub(crate) fn is_owners_constraint(error: &Error, key: &[&str]) -> bool {
    let Error::SqliteFailure(failure, message) = error else { return false };
    match failure.extended_code {
        ffi::SQLITE_CONSTRAINT_NOTNULL => {
            let column = message.as_deref().and_then(|message| message.rsplit('.').next());
            column.is_none_or(|column| !key.contains(&column))
        }
        ffi::SQLITE_CONSTRAINT_UNIQUE
        | ffi::SQLITE_CONSTRAINT_CHECK
        | ffi::SQLITE_CONSTRAINT_TRIGGER
        | ffi::SQLITE_CONSTRAINT_FOREIGNKEY => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(code: i32) -> Status {
        of(Error::SqliteFailure(ffi::Error::new(code), None), Path::new("/x.db"), "writing").status()
    }

    #[test]
    fn every_code_has_the_class_that_helps() {
        assert_eq!(status(ffi::SQLITE_BUSY), Status::Transient);
        assert_eq!(status(ffi::SQLITE_FULL), Status::Transient);
        assert_eq!(status(ffi::SQLITE_IOERR_WRITE), Status::Transient);
        assert_eq!(status(ffi::SQLITE_READONLY_DBMOVED), Status::Transient);
        assert_eq!(status(ffi::SQLITE_READONLY), Status::Config);
        assert_eq!(status(ffi::SQLITE_CANTOPEN), Status::Config);
        assert_eq!(status(ffi::SQLITE_PERM), Status::Config);
        assert_eq!(status(ffi::SQLITE_CORRUPT), Status::Config);
        assert_eq!(status(ffi::SQLITE_NOTADB), Status::Config);
        assert_eq!(status(ffi::SQLITE_CONSTRAINT_PRIMARYKEY), Status::Data);
        assert_eq!(status(ffi::SQLITE_TOOBIG), Status::Data);
        assert_eq!(status(ffi::SQLITE_ERROR), Status::Schema);
    }

    #[test]
    fn a_message_names_file_act_and_remedy() {
        let error =
            Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_FULL), Some("database or disk is full".to_owned()));
        assert_eq!(
            of(error, Path::new("/x.db"), "committing").to_string(),
            "/x.db: committing: database or disk is full (SQLite 13)\nhint: the disk is full; make room"
        );
    }

    #[test]
    fn constraints_of_this_sink_are_told_from_those_of_the_owner() {
        let is_owners = |code: i32, message: &str| {
            is_owners_constraint(
                &Error::SqliteFailure(ffi::Error::new(code), Some(message.to_owned())),
                &["run_id", "row_index"],
            )
        };
        assert!(is_owners(ffi::SQLITE_CONSTRAINT_UNIQUE, "UNIQUE constraint failed: test_runs.dut_serial"));
        assert!(is_owners(ffi::SQLITE_CONSTRAINT_NOTNULL, "NOT NULL constraint failed: steps.checked_by"));
        assert!(is_owners(ffi::SQLITE_CONSTRAINT_TRIGGER, "not today"));
        assert!(!is_owners(ffi::SQLITE_CONSTRAINT_NOTNULL, "NOT NULL constraint failed: steps.row_index"));
        assert!(!is_owners(
            ffi::SQLITE_CONSTRAINT_PRIMARYKEY,
            "UNIQUE constraint failed: steps.run_id, steps.row_index"
        ));
    }
}
