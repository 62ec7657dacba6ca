//! Into PostgreSQL: litmus-host beside the ways a user could take instead, in turn, into the same server.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::measure::{self, Cost};
use super::{Data, fresh, generated, median};
use crate::workspace::{Profile, root, target};
use crate::{Result, build, process};

/// In the order in which rows may be written.
const TABLES: [&str; 5] = ["test_runs", "steps", "vectors", "measurements", "instruments"];
/// What the peers need, from PyPI.
const PEERS: [&str; 5] = ["polars", "adbc-driver-postgresql", "pyarrow", "psycopg[binary]", "duckdb"];

/// A way to get run files into a database.
struct Way {
    name: &'static str,
    /// At most so often: some take minutes.
    rounds_max: u32,
    costs: Vec<Cost>,
    /// What the destination held after it.
    held: String,
    /// Why it could not be measured.
    missing: Option<String>,
}

/// A server of our own, ended when dropped.
struct Server {
    child: Child,
    url: String,
    psql: PathBuf,
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        self.child.wait().ok();
    }
}

impl Server {
    fn start() -> Result<Self> {
        let mut child = Command::new(Profile::Release.folder().join("test-server"))
            .arg("postgres")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("it is a pipe")).read_line(&mut line)?;
        let values: BTreeMap<String, String> = serde_json::from_str(&line)?;
        let value = |key: &str| values.get(key).cloned().ok_or(format!("test-server does not say its {key}"));
        Ok(Self { child, url: value("url")?, psql: PathBuf::from(value("bin")?).join("psql") })
    }

    fn psql(&self) -> Command {
        let mut command = Command::new(&self.psql);
        command.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", &self.url]);
        command
    }

    fn sql(&self, sql: &str) -> Result<String> {
        let output = self.psql().args(["-c", sql]).output()?;
        if !output.status.success() {
            return Err(format!("{sql}: {}", String::from_utf8_lossy(&output.stderr)).into());
        }
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }
}

pub(super) fn run(data: Data, rounds: u32) -> Result<()> {
    build::measured(Profile::Release)?;
    let (runs, measurements) = data.size();
    let files = generated(runs, measurements)?;
    let python = super::python("postgres", &PEERS)?;
    let server = Server::start()?;
    let work = target().join("bench/postgres");
    fresh(&work)?;

    let way = |name, rounds_max| Way { name, rounds_max, costs: Vec::new(), held: String::new(), missing: None };
    let mut ours = way("litmus-host", rounds);
    let mut raw = way("psql \\copy of the same rows, encoded before", rounds);
    let mut polars = way("polars and ADBC", rounds);
    let mut duckdb = way("DuckDB, postgres extension", rounds);
    let mut python_loop = way("the documented Python loop", u32::from(data == Data::Small));

    for round in 0..=rounds {
        // The first round warms the page cache and gives the rows that psql copies.
        let cost = litmus_host(&server, &files, &work)?;
        ours.held = server.sql("SELECT count(*) FROM litmus.test_runs")? + " runs, ";
        ours.held += &(server.sql("SELECT count(*) FROM litmus.measurements")? + " measurements");
        if round == 0 {
            encode(&server, &work)?;
            continue;
        }
        ours.costs.push(cost);
        raw.costs.push(copy(&server, &work)?);
        raw.held = server.sql("SELECT count(*) FROM raw.measurements")? + " measurements";
        for (peer, script) in
            [(&mut polars, "polars_adbc.py"), (&mut duckdb, "duckdb_postgres.py"), (&mut python_loop, "python_loop.py")]
        {
            if round > peer.rounds_max || peer.missing.is_some() {
                continue;
            }
            server.sql("DROP SCHEMA IF EXISTS peer CASCADE; CREATE SCHEMA peer")?;
            let mut command = Command::new(&python);
            command.arg(root().join("xtask/bench").join(script)).arg(&files).arg(&server.url);
            command.stdout(Stdio::null());
            match measure::run(&mut command) {
                Ok(cost) => {
                    peer.costs.push(cost);
                    peer.held = server.sql("SELECT count(*) FROM peer.rows")? + " rows";
                }
                Err(why) => peer.missing = Some(format!("could not be run here: {why}")),
            }
        }
    }
    if data == Data::Big {
        python_loop.missing = Some("left out: it takes an hour".to_owned());
    }
    let floor = median(&raw.costs, |cost| cost.wall.as_secs_f64()).ok_or("nothing was measured")?;
    println!(
        "\n{} ({runs} runs of {measurements} measurements), {rounds} rounds in turn, PostgreSQL over TCP",
        data.name()
    );
    println!(
        "{:<46} {:>8} {:>8} {:>7} {:>7} {:>8}  the destination holds",
        "", "median s", "least s", "x copy", "CPU s", "peak MB"
    );
    for way in [ours, raw, polars, duckdb, python_loop] {
        if let Some(why) = &way.missing {
            println!("{:<46} {why}", way.name);
            continue;
        }
        let wall = |cost: &Cost| cost.wall.as_secs_f64();
        let least = way.costs.iter().map(wall).fold(f64::INFINITY, f64::min);
        let median_wall = median(&way.costs, wall).unwrap_or(f64::NAN);
        let cpu = median(&way.costs, |cost| cost.cpu.as_secs_f64()).unwrap_or(f64::NAN);
        let peak = way.costs.iter().map(|cost| cost.peak_bytes >> 20).max().unwrap_or(0);
        let ratio = median_wall / floor;
        println!("{:<46} {median_wall:>8.2} {least:>8.2} {ratio:>7.2} {cpu:>7.2} {peak:>8}  {}", way.name, way.held);
    }
    Ok(())
}

/// Into an empty schema, with a ledger of its own.
fn litmus_host(server: &Server, files: &Path, work: &Path) -> Result<Cost> {
    server.sql("DROP SCHEMA IF EXISTS litmus CASCADE")?;
    let state = work.join("state");
    fresh(&state)?;
    let mut command = Command::new(Profile::Release.folder().join("litmus-host"));
    command.arg("--data-dir").arg(files).arg("--state-dir").arg(&state);
    command.args(["--plugin", "postgres.so", "--set", &format!("url={}", server.url), "--set", "schema=litmus"]);
    measure::run(command.stdout(Stdio::null()).stderr(Stdio::null()))
}

/// Writes the rows that litmus-host wrote to files, as psql reads them back fastest.
fn encode(server: &Server, work: &Path) -> Result<()> {
    for table in TABLES {
        let copy = format!("\\copy litmus.{table} to '{}' (format binary)", work.join(table).display());
        process::run(server.psql().args(["-c", &copy]).stdout(Stdio::null()))?;
    }
    Ok(())
}

/// The limit: the same rows into the same keyed tables, in one transaction.
fn copy(server: &Server, work: &Path) -> Result<Cost> {
    server.sql("DROP SCHEMA IF EXISTS raw CASCADE; CREATE SCHEMA raw")?;
    let mut command = server.psql();
    command.arg("-1");
    for table in TABLES {
        server.sql(&format!("CREATE TABLE raw.{table} (LIKE litmus.{table} INCLUDING ALL)"))?;
        let copy = format!("\\copy raw.{table} from '{}' (format binary)", work.join(table).display());
        command.args(["-c", &copy]);
    }
    measure::run(command.stdout(Stdio::null()))
}
