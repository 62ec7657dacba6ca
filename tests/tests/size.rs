//! Large runs, many files, long ledgers: memory is bounded by a batch, a pass costs what is new.
//!
//! `LITMUS_SIZE=full` makes them as large as docs/performance.md says (`cargo xtask torture size`, in a release build); without it
//! they are small enough for every test run, and the bounds are the same.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arrow::array::{ArrayRef, Float64Array, StringArray};
use arrow::record_batch::RecordBatch;
use litmus_tests::generate::{Plan, write};
use litmus_tests::project::{Project, Running, wait_until};
use litmus_tests::{database, measure, rewrite};
use rusqlite::{Connection, params};

const PEAK_BYTES_MAX: u64 = 200 << 20;
/// Rows of a batch that the generator writes.
const CHUNK: usize = 50_000;
const ID: &str = "0d9f1c35-3f6c-4f2e-9a57-0c8f7a1b2c3d";

/// Each test measures: one after the other.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn is_full() -> bool {
    std::env::var("LITMUS_SIZE").is_ok_and(|size| size == "full")
}

fn either<T>(full: T, short: T) -> T {
    if is_full() { full } else { short }
}

/// A flat run with this many measurements, written piece by piece.
fn large_run(data_dir: &Path, measurements: usize) {
    let rows = measurements + 1;
    let chunk = |start: usize| {
        let range = start..rows.min(start + CHUNK);
        let text = |text: &dyn Fn(usize) -> Option<String>| -> ArrayRef {
            Arc::new(range.clone().map(text).collect::<StringArray>())
        };
        let measured = |row: usize| row > 0;
        let same = |value: &'static str| move |row: usize| measured(row).then(|| value.to_owned());
        let number = |number: &dyn Fn(usize) -> f64| -> ArrayRef {
            Arc::new(range.clone().map(|row| measured(row).then(|| number(row))).collect::<Float64Array>())
        };
        RecordBatch::try_from_iter_with_nullable([
            ("record_type", text(&|row| Some(if measured(row) { "measurement" } else { "run" }.to_owned())), true),
            ("run_id", text(&|_| Some(ID.to_owned())), true),
            ("dut_serial", text(&|_| Some("SN-LARGE".to_owned())), true),
            ("step_path", text(&|row| Some(format!("TestSweep/test_{}", row / 1000))), true),
            ("measurement_name", text(&|row| measured(row).then(|| format!("v_{}", row % 1000))), true),
            ("measurement_value", number(&|row| row as f64 / 7.0), true),
            ("measurement_units", text(&same("V")), true),
            ("measurement_outcome", text(&same("passed")), true),
            ("limit_low", number(&|_| 0.0), true),
            ("limit_high", number(&|row| row as f64), true),
            ("in_frequency", number(&|row| (row % 1000) as f64 * 1e3), true),
            ("out_note", text(&|row| (row % 97 == 1).then(|| format!("note {row} {}", "x".repeat(row % 40)))), true),
        ])
        .expect("columns of one length")
    };
    rewrite::write(&data_dir.join("runs/large.parquet"), (0..rows).step_by(CHUNK).map(chunk), Vec::new());
}

#[test]
fn a_large_run_takes_no_more_memory_than_a_batch() {
    let _alone = alone();
    let measurements = either(5_000_000, 120_000);
    let project = Project::new();
    large_run(&project.data_dir(), measurements);
    let arguments = ["--plugin", "sqlite.so", "--set", "path=out.db", "--format", "json"];
    let measured = measure::run(&mut project.command(arguments));
    measured.ended.delivered(1, 0);
    let connection = database::open(&project.path("out.db"));
    assert_eq!(database::count(&connection, "SELECT count(*) FROM measurements"), measurements as i64);
    println!(
        "{measurements} measurements to SQLite: {:.1} s, {} MB peak",
        measured.wall.as_secs_f64(),
        measured.peak_bytes >> 20
    );
    assert!(measured.peak_bytes < PEAK_BYTES_MAX, "{} MB", measured.peak_bytes >> 20);
}

#[test]
fn of_two_sinks_on_one_large_run_the_fast_one_is_not_held_up_and_memory_stays_bounded() {
    let _alone = alone();
    let measurements = either(2_000_000, 60_000);
    let project = Project::new();
    large_run(&project.data_dir(), measurements);
    let sink = |name: &str, more: &str| {
        format!(
            "[[sink]]\nname = \"{name}\"\nplugin = \"hostile.so\"\nconfig = {{ name = \"{name}\", log = \"{name}.jsonl\", read_tables = true{more} }}\n"
        )
    };
    let slow = format!(", hang_in = \"deliver\", hang_ms = {}", either(30_000, 6_000));
    fs::write(project.path("litmus-host.toml"), sink("fast", "") + &sink("slow", &slow)).expect("a configuration");
    let started = Instant::now();
    let mut running = Running::start(&project, &mut project.command(["--config", "litmus-host.toml"]));
    let status = format!("/proc/{}/status", running.id());
    let peak = || {
        let status = fs::read_to_string(&status).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?.trim().strip_suffix(" kB")?.to_owned();
        line.parse::<u64>().ok().map(|kb| kb << 10)
    };
    let (mut peak_bytes, mut fast_after) = (0, None);
    let ended = wait_until(Duration::from_secs(either(300, 60)), || {
        peak_bytes = peak().unwrap_or(peak_bytes);
        if fast_after.is_none() && project.path("fast.jsonl").exists() {
            assert!(!project.path("slow.jsonl").exists(), "the fast one waited for the slow one");
            fast_after = Some(started.elapsed());
        }
        project.path("slow.jsonl").exists()
    });
    assert!(ended, "the slow one has it in the end");
    assert_eq!(running.wait(Duration::from_mins(1)).and_then(|ended| ended.code()), Some(0));
    println!(
        "{measurements} measurements: the fast sink after {:.1} s, the slow one after {:.1} s, {} MB peak",
        fast_after.expect("seen").as_secs_f64(),
        started.elapsed().as_secs_f64(),
        peak_bytes >> 20
    );
    assert!(peak_bytes < PEAK_BYTES_MAX, "{} MB", peak_bytes >> 20);
}

const HOSTILE: &str =
    "[[sink]]\nname = \"s\"\nplugin = \"hostile.so\"\nconfig = { log = \"sent.jsonl\", incarnation = \"one\" }\n";

/// A project with a ledger in which so many revisions are delivered, and some real runs after them. `files`: which files they lie
/// in, none where they were deleted long ago.
fn with_ledger(rows: u64, files: &[PathBuf]) -> Project {
    let project = Project::new();
    fs::write(project.path("litmus-host.toml"), HOSTILE).expect("a configuration");
    project.run(["--config", "litmus-host.toml"]).exits(0);
    let ledgers = fs::read_dir(project.state_dir()).expect("the state").flatten();
    let ledger = ledgers.map(|folder| folder.path().join("ledger.db")).next().expect("a ledger");
    let mut connection = Connection::open(ledger).expect("the ledger");
    let transaction = connection.transaction().expect("a transaction");
    let rank = format!("1.0.5.{}", "ab".repeat(32));
    let numbers = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1)";
    transaction
        .execute(
            &format!(
                "{numbers} INSERT INTO revisions (seq, run_id, sha256, rank, bytes, run_started_us, sealed_us, seen_ms)
                 SELECT i, printf('%08x-0000-4000-8000-%012x', i, i), printf('%064x', i), ?2, 60000, i * 1000000, i * 1000000, i FROM n"
            ),
            params![rows as i64, rank],
        )
        .expect("revisions");
    transaction
        .execute(
            &format!(
                "{numbers} INSERT INTO deliveries (destination, revision, state, message, receipt, changed_ms)
                 SELECT (SELECT min(id) FROM destinations), i, 'committed', 'delivered', '{{\"grade\":\"committed\"}}', i FROM n"
            ),
            params![rows as i64],
        )
        .expect("deliveries");
    transaction.execute("UPDATE destinations SET attached_seq = ?1", params![rows as i64]).expect("a destination");
    {
        let sql = "INSERT INTO files (path, size, mtime_ns, ctime_ns, inode, revision) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
        let mut insert = transaction.prepare(sql).expect("files");
        for (at, file) in files.iter().enumerate() {
            let to = project.data_dir().join(file);
            fs::create_dir_all(to.parent().expect("a folder")).expect("a folder");
            fs::write(&to, "x").expect("a file");
            let stat = fs::metadata(&to).expect("a file");
            let ns = |s: i64, ns: i64| s * 1_000_000_000 + ns;
            insert
                .execute(params![
                    file.to_string_lossy(),
                    stat.size() as i64,
                    ns(stat.mtime(), stat.mtime_nsec()),
                    ns(stat.ctime(), stat.ctime_nsec()),
                    stat.ino() as i64,
                    at as i64 + 1
                ])
                .expect("a row");
        }
    }
    transaction.commit().expect("a commit");
    // The newest ones are looked for at the destination at each connect.
    let held = |at: u64| {
        format!(
            "{{\"run_id\": \"{at:08x}-0000-4000-8000-{at:012x}\", \"sha256\": \"{at:064x}\", \"status\": \"delivered\"}}\n"
        )
    };
    fs::write(project.path("sent.jsonl"), (rows - 8..=rows).map(held).collect::<String>())
        .expect("what the sink holds");
    (0..4).for_each(|number| drop(write(&project.data_dir(), &Plan::new(number, 8))));
    project.run(["--config", "litmus-host.toml", "--format", "json"]).delivered(4, 0);
    project
}

/// Ten new runs, and how long the pass takes that finds and delivers them.
fn pass_with_ten_new(project: &Project, first: u64) -> Duration {
    (0..10).for_each(|number| drop(write(&project.data_dir(), &Plan::new(first + number, 8))));
    let started = Instant::now();
    project.run(["--config", "litmus-host.toml", "--format", "json"]).delivered(10, 0);
    started.elapsed()
}

#[test]
fn a_pass_over_many_files_of_which_few_are_new_takes_less_than_a_second() {
    let _alone = alone();
    let files: u64 = either(99_990, 5_000);
    let paths: Vec<_> = (0..files).map(|at| PathBuf::from(format!("runs/{:04}/{at:06}.parquet", at / 200))).collect();
    let project = with_ledger(files, &paths);
    let mut passes: Vec<_> = (0..3).map(|pass| pass_with_ten_new(&project, 100 + pass * 10)).collect();
    passes.sort();
    println!("{files} delivered files, 10 new: {passes:?}");
    assert!(passes[1] < Duration::from_secs(1), "{passes:?}");
}

#[test]
fn a_long_ledger_is_as_fast_as_a_short_one() {
    let _alone = alone();
    let rows = either(1_000_000, 40_000);
    let (short, long) = (with_ledger(1_000, &[]), with_ledger(rows, &[]));
    let mut times: [Vec<Duration>; 2] = Default::default();
    // In turn, so that what else the machine does falls on both.
    for pass in 0..5 {
        for (project, times) in [&short, &long].into_iter().zip(&mut times) {
            times.push(pass_with_ten_new(project, 100 + pass * 10));
        }
    }
    let [short, long] = times.map(|mut times| {
        times.sort();
        times[2]
    });
    println!("10 new runs: {short:?} with 1,000 rows, {long:?} with {rows}");
    assert!(long <= short * 2, "{short:?} with 1,000 rows, {long:?} with {rows}");
}
