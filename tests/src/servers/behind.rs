//! Runs changed and removed at a destination by somebody who is not the sink.

use std::path::Path;
use std::process::Command;

use super::postgres::{bin, libraries};
use super::s3::{elements, encoded};

/// In the table of runs: one cell, or the row.
fn statement(what: &str, table: &str, run_id: &str) -> Result<String, String> {
    match what {
        "change" => Ok(format!(
            "UPDATE {table} SET dut_serial = COALESCE(dut_serial, '') || 'x' WHERE CAST(run_id AS text) = '{run_id}'"
        )),
        "remove" => Ok(format!("DELETE FROM {table} WHERE CAST(run_id AS text) = '{run_id}'")),
        _ => Err(format!("\"{what}\" is neither change nor remove")),
    }
}

/// In a SQLite file.
pub fn sqlite(what: &str, file: &str, run_id: &str) -> Result<(), String> {
    let statement = statement(what, "test_runs", run_id)?;
    let database = rusqlite::Connection::open(file).map_err(|error| format!("{file}: {error}"))?;
    match database.execute(&statement, []) {
        Ok(1) => Ok(()),
        Ok(rows) => Err(format!("{file}: {rows} rows were hit")),
        Err(error) => Err(format!("{file}: {error}")),
    }
}

/// In a schema of a PostgreSQL database.
pub fn postgres(what: &str, url: &str, schema: &str, run_id: &str) -> Result<(), String> {
    let statement = statement(what, &format!("\"{schema}\".test_runs"), run_id)?;
    let mut command = Command::new(bin()?.join("psql"));
    command.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", url]);
    let libraries = libraries();
    if !libraries.is_empty() {
        command.env("LD_LIBRARY_PATH", libraries);
    }
    let said = said(command.args(["-c", &format!("{statement} RETURNING 1")]))?;
    if said.trim() == "1" { Ok(()) } else { Err(format!("rows were hit: {said:?}")) }
}

/// In a bucket: the object of this run below a prefix.
pub fn s3(what: &str, endpoint: &str, bucket: &str, prefix: &str, run_id: &str) -> Result<(), String> {
    let curl = |arguments: &[&str], path: &str| {
        let mut command = Command::new("curl");
        command.args(["-sSf", "--aws-sigv4", "aws:amz:us-east-1:s3", "--user", "K:S"]).args(arguments);
        said(command.arg(format!("{endpoint}/{bucket}{path}")))
    };
    let listing = curl(&[], &format!("?list-type=2&prefix={}", encoded(prefix)))?;
    let key = only(elements(&listing, "Key"), run_id)?;
    let path = format!("/{}", encoded(&key));
    match what {
        "change" => curl(&["-X", "PUT", "--data-binary", "somebody's"], &path),
        "remove" => curl(&["-X", "DELETE"], &path),
        _ => return Err(format!("\"{what}\" is neither change nor remove")),
    }
    .map(drop)
}

/// In a container of Azure's: endpoint, account and key, then as [`s3`].
pub fn azure(what: &str, account: &[&str; 3], container: &str, prefix: &str, run_id: &str) -> Result<(), String> {
    let client = |method: &str, path: &str, query: &str| {
        let mut command = Command::new("python3");
        command.args(["-c", super::azurite::CLIENT]).args(account).args([method, path, query]);
        said(&mut command)
    };
    let listing = client("GET", container, &format!("comp=list&prefix={}&restype=container", encoded(prefix)))?;
    let key = only(elements(&listing, "Name"), run_id)?;
    let path = format!("{container}/{}", encoded(&key));
    match what {
        "change" => client("PUT", &path, ""),
        "remove" => client("DELETE", &path, ""),
        _ => return Err(format!("\"{what}\" is neither change nor remove")),
    }
    .map(drop)
}

fn only(keys: Vec<String>, run_id: &str) -> Result<String, String> {
    let name = format!("{run_id}.parquet");
    let mut found = keys.into_iter().filter(|key| Path::new(key).file_name().is_some_and(|file| *file == *name));
    match (found.next(), found.next()) {
        (Some(key), None) => Ok(key),
        _ => Err(format!("not just one object is called {name}")),
    }
}

fn said(command: &mut Command) -> Result<String, String> {
    let output = command.output().map_err(|error| format!("{}: {error}", command.get_program().display()))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(format!("{}: {}", command.get_program().display(), String::from_utf8_lossy(&output.stderr)))
}
