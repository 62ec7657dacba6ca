//! `cargo xtask demo`: the main job on real run files, with nothing installed.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{fs, io};

use rusqlite::{Connection, OpenFlags};

use crate::workspace::{Profile, root, target};
use crate::{Result, build, process};

/// How many runs the table shows; the rest is a query away.
const RUNS_SHOWN: usize = 12;
/// And how many objects the listing.
const OBJECTS_SHOWN: usize = 6;

pub(crate) fn run() -> Result<()> {
    println!("Building litmus-host and its plugins …");
    build::shipped(Profile::Debug)?;

    let demo = target().join("demo");
    fs::create_dir_all(&demo)?;
    let config = demo.join("litmus-host.toml");
    let stores = stores()?;
    fs::write(&config, configuration(&stores, &demo.join("litmus.db"), &demo.join("objects")))?;

    let host = Profile::Debug.folder().join("litmus-host");
    let arguments = ["--config", &near(&config), "--state-dir", &near(&demo.join("state"))].map(str::to_owned);
    println!("\n$ {} {} --quiet", near(&host), arguments.join(" "));
    process::run(Command::new(&host).args(&arguments).arg("--quiet").current_dir(root()))?;
    show(&demo.join("litmus.db")).map_err(|error| format!("{}: {error}", demo.join("litmus.db").display()))?;
    let objects = demo.join("objects");
    show_objects(&objects).map_err(|error| format!("{}: {error}", objects.display()))?;

    let (host, demo, arguments) = (near(&host), near(&demo), arguments.join(" "));
    println!(
        "\nWhat to try next:
  cargo xtask demo        again: nothing is pending, nothing is sent twice
  rm -r {demo}     and again: everything from the start
  {host} status {arguments}
  {host} --data-dir YOUR/data --plugin sqlite.so --set path=out.db
  {host} --data-dir YOUR/data --plugin cloud.so --set uri=s3://BUCKET
  sqlite3 -box {demo}/litmus.db \"SELECT dut_serial, measurement_name, measurement_value, measurement_units FROM run_rows WHERE measurement_outcome = 'failed' LIMIT 9\""
    );
    Ok(())
}

/// The data dirs of the corpus, `RELEASE/SOURCE/data`, in order.
fn stores() -> Result<Vec<PathBuf>> {
    let corpus = root().join("tests/corpus");
    let folders = |path: &Path| -> io::Result<Vec<PathBuf>> {
        let mut found: Vec<_> = fs::read_dir(path)?.filter_map(|entry| entry.ok().map(|entry| entry.path())).collect();
        found.retain(|path| path.is_dir());
        found.sort();
        Ok(found)
    };
    let mut found = Vec::new();
    for release in folders(&corpus).map_err(|error| format!("{}: {error}", corpus.display()))? {
        found.extend(folders(&release)?.into_iter().map(|source| source.join("data")).filter(|data| data.is_dir()));
    }
    if found.is_empty() { Err(format!("{} holds no data dir", corpus.display()).into()) } else { Ok(found) }
}

/// Two sinks, and every data dir as a store of its own.
fn configuration(stores: &[PathBuf], database: &Path, objects: &Path) -> String {
    let text = |value: &str| serde_json::Value::from(value).to_string();
    let path = |path: &Path| text(&path.to_string_lossy());
    let mut toml = String::from(
        "# Written by `cargo xtask demo`: real run files of every release, into one SQLite file\n# and a folder of objects.\n",
    );
    for store in stores {
        let parts: Vec<_> = store.iter().rev().skip(1).take(2).map(|part| part.to_string_lossy()).collect();
        let name = format!("{}-{}", parts[1], parts[0]);
        toml.extend(["[[store]]\nname = ", &text(&name), "\npath = ", &path(store), "\n\n"]);
    }
    toml.extend(["[[sink]]\nname = \"demo\"\nplugin = \"sqlite.so\"\nconfig = { path = ", &path(database), " }\n\n"]);
    let uri = text(&format!("file://{}", objects.to_string_lossy()));
    toml.extend(["[[sink]]\nname = \"objects\"\nplugin = \"cloud.so\"\nconfig = { uri = ", &uri, " }\n"]);
    toml
}

/// What arrived, asked of the database itself.
fn show(database: &Path) -> Result<()> {
    let connection = Connection::open_with_flags(database, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    let total: i64 = connection.query_row("SELECT count(*) FROM test_runs", [], |row| row.get(0))?;
    println!("\n{}: {total} runs. The latest of them:\n", near(database));
    table(
        &connection,
        &format!(
            "SELECT substr(r.run_id, 1, 8) AS run, r.dut_serial AS serial, r.generation AS format,
                    r.outcome AS outcome, count(m.run_id) AS measurements,
                    coalesce(sum(m.measurement_outcome = 'failed'), 0) AS failed
             FROM test_runs r LEFT JOIN measurements m USING (run_id)
             GROUP BY r.run_id ORDER BY r.run_started_at DESC LIMIT {RUNS_SHOWN}"
        ),
    )?;
    println!("\nYield by generation of the file format:\n");
    table(
        &connection,
        "SELECT generation AS format, count(*) AS runs, sum(outcome = 'passed') AS passed,
                sum(outcome = 'failed') AS failed, sum(outcome NOT IN ('passed', 'failed')) AS other
         FROM test_runs GROUP BY 1 ORDER BY 1",
    )
}

/// The folder of objects, as a file manager would show it.
fn show_objects(folder: &Path) -> io::Result<()> {
    let mut found = Vec::new();
    files(folder, &mut found)?;
    found.sort();
    let bytes: u64 = found.iter().map(|(_, bytes)| bytes).sum();
    println!(
        "\n{}: {} objects, {bytes} bytes: every sealed file as it is, and what runs refer to. Some of them:\n",
        near(folder),
        found.len()
    );
    for (path, bytes) in found.iter().rev().step_by(found.len().div_ceil(OBJECTS_SHOWN).max(1)) {
        println!("  {bytes:>8}  {}", path.strip_prefix(folder).unwrap_or(path).display());
    }
    Ok(())
}

/// Files below a folder with their sizes, the sink's own left out.
fn files(folder: &Path, found: &mut Vec<(PathBuf, u64)>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if !entry.file_type()?.is_dir() {
            found.push((entry.path(), entry.metadata()?.len()));
        } else if entry.file_name() != ".litmus" {
            files(&entry.path(), found)?;
        }
    }
    Ok(())
}

/// Prints a query's answer, numbers to the right.
fn table(connection: &Connection, sql: &str) -> Result<()> {
    let mut statement = connection.prepare(sql)?;
    let mut lines = vec![statement.column_names().map(str::to_owned).collect::<Vec<_>>()];
    let columns = lines[0].len();
    let mut numeric = vec![true; columns];
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let mut line = Vec::with_capacity(columns);
        for (at, numeric) in numeric.iter_mut().enumerate() {
            line.push(match row.get_ref(at)? {
                rusqlite::types::ValueRef::Integer(number) => number.to_string(),
                other => {
                    *numeric = false;
                    other.as_str_or_null()?.unwrap_or("-").replace(|c: char| c.is_control(), "?")
                }
            });
        }
        lines.push(line);
    }
    let widths: Vec<_> =
        (0..columns).map(|at| lines.iter().map(|line| line[at].chars().count()).max().unwrap_or(0)).collect();
    for line in lines {
        let cells = line.iter().zip(&widths).zip(&numeric).map(|((cell, &width), &numeric)| {
            if numeric { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
        });
        println!("  {}", cells.collect::<Vec<_>>().join("  ").trim_end());
    }
    Ok(())
}

/// A path as a person in the workspace's root would type it.
fn near(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}
