//! The file as such: made, found again, replaced, shared, full, refused.

use std::fs;
use std::time::{Duration, Instant};

use litmus_core::tables::Kind;
use litmus_core::{SinkError, Status, Table};
use rusqlite::Connection;
use serde_json::json;

use super::made::{Bench, TestRun, V, column, text};
use crate::batch;
use crate::database::{Database, Patience};
use crate::sink::{State, check};

fn patience(bench: &Bench) -> Patience<'_> {
    Patience::new(&bench.settings, None, &|| Ok(()))
}

fn open_error(bench: &Bench) -> SinkError {
    Database::create(&bench.settings, &patience(bench)).err().expect("it must be refused")
}

/// As `deliver` of the sink works, but for the call.
fn deliver(state: &mut State, bench: &Bench, run: &TestRun) -> Result<Status, SinkError> {
    let runs = std::slice::from_ref(run);
    state.with(&bench.settings, &patience(bench), |database| {
        batch::deliver(database, &bench.settings, runs, &patience(bench)).map(|reports| reports[0].status)
    })
}

fn names(bench: &Bench) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(bench.folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn the_file_and_its_folder_are_made_and_the_incarnation_stays() {
    let mut bench = Bench::new();
    bench.settings.path = bench.folder.path().join("new/folder/with ?#%.db");
    let first = bench.open().incarnation;
    assert_eq!(first.len(), 36);
    assert_eq!(bench.open().incarnation, first);
    assert_eq!(check(&bench.settings).unwrap().incarnation, Some(first.clone()));
    fs::remove_file(bench.path()).unwrap();
    assert_ne!(bench.open().incarnation, first, "another file is another destination");
}

#[test]
fn a_closed_file_is_one_file() {
    let bench = Bench::new();
    let database = bench.open();
    batch::deliver(&database, &bench.settings, &[TestRun::new(1, 1)], &patience(&bench)).unwrap();
    assert!(names(&bench).contains(&"runs.db-wal".to_owned()), "it is in WAL mode while open");
    let mode: String = database.connection.query_row("PRAGMA journal_mode", [], |row| row.get(0)).unwrap();
    let full: i64 = database.connection.query_row("PRAGMA synchronous", [], |row| row.get(0)).unwrap();
    assert_eq!((mode.as_str(), full), ("wal", 2));
    database.close(&bench.path()).unwrap();
    assert_eq!(names(&bench), ["runs.db"]);
    bench.assert_holds(&TestRun::new(1, 1));
}

#[test]
fn a_file_closed_while_another_reads_stays_whole() {
    let bench = Bench::new();
    let database = bench.open();
    batch::deliver(&database, &bench.settings, &[TestRun::new(1, 1)], &patience(&bench)).unwrap();
    let reader = bench.sql();
    reader.execute_batch("BEGIN; SELECT COUNT(*) FROM test_runs").unwrap();
    batch::deliver(&database, &bench.settings, &[TestRun::new(2, 1)], &patience(&bench)).unwrap();
    database.close(&bench.path()).unwrap();
    drop(reader);
    bench.assert_holds(&TestRun::new(2, 1));
}

#[test]
fn a_file_moved_or_replaced_while_open_is_noticed_and_nothing_is_reported() {
    let bench = Bench::new();
    let mut state = State::default();
    let told = state.connect(&bench.settings, &patience(&bench)).unwrap();
    assert_eq!(deliver(&mut state, &bench, &TestRun::new(1, 1)).unwrap(), Status::Delivered);

    let moved = bench.folder.path().join("moved.db");
    fs::rename(bench.path(), &moved).unwrap();
    for _ in 0..2 {
        let error = deliver(&mut state, &bench, &TestRun::new(2, 1)).unwrap_err();
        assert_eq!(error.status(), Status::Transient);
        assert!(error.to_string().contains("the file is gone"), "{error}");
    }
    assert!(!bench.path().exists(), "only a connect makes it anew: the host must learn of the new incarnation");

    let other = Bench::new();
    other.open().close(&other.path()).unwrap();
    fs::copy(other.path(), bench.path()).unwrap();
    let error = deliver(&mut state, &bench, &TestRun::new(2, 1)).unwrap_err();
    assert_eq!(error.status(), Status::Transient);
    assert!(error.to_string().contains("another database has taken its place"), "{error}");

    assert_ne!(state.connect(&bench.settings, &patience(&bench)).unwrap(), told);
    assert_eq!(deliver(&mut state, &bench, &TestRun::new(2, 1)).unwrap(), Status::Delivered);
    bench.assert_holds(&TestRun::new(2, 1));
    assert_eq!(bench.audit(&TestRun::new(1, 1)).sha256, None, "nothing of the old log came into the new file");
    let count =
        |path| Connection::open(path).unwrap().query_row("SELECT COUNT(*) FROM test_runs", [], |row| row.get(0));
    assert_eq!(count(&moved), Ok(1), "the moved file is whole without its log");
}

#[test]
fn a_file_replaced_during_the_transaction_is_not_reported_as_delivered() {
    let bench = Bench::new();
    let database = bench.open();
    let path = bench.path();
    let replace = || {
        if path.exists() {
            fs::remove_file(&path).unwrap();
        }
        Ok(())
    };
    let patience = Patience::new(&bench.settings, None, &replace);
    let error = batch::deliver(&database, &bench.settings, &[TestRun::new(1, 1)], &patience).unwrap_err();
    assert_eq!(error.status(), Status::Transient);
}

#[test]
fn another_writer_is_waited_for_as_long_as_set() {
    let bench = Bench::with(json!({ "busy_timeout_ms": 300 }));
    let database = bench.open();
    let other = bench.sql();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let started = Instant::now();
    let error = batch::deliver(&database, &bench.settings, &[TestRun::new(1, 1)], &patience(&bench)).unwrap_err();
    assert_eq!(error.status(), Status::Transient);
    assert!(error.to_string().contains("busy_timeout_ms"), "{error}");
    assert!((300..5_000).contains(&started.elapsed().as_millis()), "{:?}", started.elapsed());

    // A deadline is shorter than the patience, and a cancel shorter still.
    let mut patient = bench.settings.clone();
    patient.busy_timeout = Duration::from_mins(1);
    let hurry = Patience::new(&patient, Some(Duration::from_millis(100)), &|| Ok(()));
    let error = batch::deliver(&database, &patient, &[TestRun::new(1, 1)], &hurry).unwrap_err();
    assert_eq!(error.status(), Status::Transient);
    let stop = Patience::new(&patient, None, &|| Err(SinkError::cancelled()));
    let error = batch::deliver(&database, &patient, &[TestRun::new(1, 1)], &stop).unwrap_err();
    assert_eq!(error.status(), Status::Cancelled);
    assert!(started.elapsed() < Duration::from_secs(10));

    other.execute_batch("COMMIT").unwrap();
    batch::deliver(&database, &bench.settings, &[TestRun::new(1, 1)], &patience(&bench)).unwrap();
}

#[test]
fn four_hosts_at_once_into_a_file_that_is_not_there_yet() {
    let bench = Bench::new();
    let run = |id: u8, host: usize| {
        TestRun::new(id, 1).with(Table::Steps, &[column(&format!("in_{host}"), Kind::Int, [V::Int(i64::from(id))])])
    };
    std::thread::scope(|scope| {
        for host in 0..4 {
            let bench = &bench;
            scope.spawn(move || {
                let database = bench.open();
                for id in 1..=12u8 {
                    // Every run is everybody's, and the column is that of whoever owns the number.
                    let run = run(id, usize::from(id) % 4);
                    let reports = batch::deliver(&database, &bench.settings, &[run], &patience(bench)).unwrap();
                    assert!(matches!(reports[0].status, Status::Delivered | Status::AlreadyPresent), "host {host}");
                }
            });
        }
    });
    for id in 1..=12 {
        bench.assert_holds(&run(id, usize::from(id) % 4));
    }
    assert_eq!(bench.query("SELECT COUNT(*) FROM steps"), [["12"]]);
    assert_eq!(bench.query("SELECT COUNT(*) FROM litmus_meta WHERE key = 'incarnation'"), [["1"]]);
}

/// Who looks while another is making its tables sees none or all of them, and takes none for somebody else's.
#[test]
fn hosts_that_open_a_new_file_at_once_all_find_it_theirs() {
    for _ in 0..100 {
        let bench = Bench::new();
        let start = std::sync::Barrier::new(4);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    start.wait();
                    bench.open()
                });
            }
        });
    }
}

#[test]
fn a_full_disk_is_transient_and_leaves_what_was_there() {
    let bench = Bench::new();
    bench.deliver_one(&TestRun::new(1, 1));
    let database = bench.open();
    let pages: i64 = database.connection.query_row("PRAGMA page_count", [], |row| row.get(0)).unwrap();
    database.connection.execute_batch(&format!("PRAGMA max_page_count = {}", pages + 2)).unwrap();
    let large =
        TestRun::new(2, 1).with(Table::Steps, &[column("step_name", Kind::Text, vec![text(&"x".repeat(9000)); 20])]);
    let runs = [TestRun::new(3, 1), large];
    let error = batch::deliver(&database, &bench.settings, &runs, &patience(&bench)).unwrap_err();
    assert_eq!(error.status(), Status::Transient);
    assert!(error.to_string().contains("make room"), "{error}");
    drop(database);
    bench.assert_holds(&TestRun::new(1, 1));
    assert_eq!(bench.audit(&TestRun::new(3, 1)).sha256, None);
    assert!(bench.deliver(&runs).iter().all(|report| report.status == Status::Delivered));
}

#[test]
fn a_file_that_is_not_ours_is_refused_and_left_alone() {
    let bench = Bench::new();
    fs::write(
        bench.path(),
        "this is a text, and a long enough one to be taken for a header of SQLite, or so it hopes.",
    )
    .unwrap();
    let before = fs::read(bench.path()).unwrap();
    for error in [open_error(&bench), check(&bench.settings).unwrap_err()] {
        assert_eq!(error.status(), Status::Config);
        assert!(error.to_string().contains("runs.db") && error.to_string().contains("no SQLite database"), "{error}");
    }
    assert_eq!(fs::read(bench.path()).unwrap(), before);

    let bench = Bench::new();
    Connection::open(bench.path()).unwrap().execute_batch("CREATE TABLE Steps (x)").unwrap();
    let before = fs::read(bench.path()).unwrap();
    for error in [open_error(&bench), check(&bench.settings).unwrap_err()] {
        assert_eq!(error.status(), Status::Config);
        assert!(error.to_string().contains("a table \"Steps\" that this sink did not make"), "{error}");
    }
    assert_eq!(fs::read(bench.path()).unwrap(), before);

    let bench = Bench::new();
    fs::create_dir(bench.path()).unwrap();
    for error in [open_error(&bench), check(&bench.settings).unwrap_err()] {
        assert_eq!(error.status(), Status::Config);
        assert!(error.to_string().contains("this is a folder"), "{error}");
    }
}

#[test]
fn a_damaged_file_is_config_and_named() {
    let bench = Bench::new();
    bench.deliver_one(&TestRun::new(1, 1));
    let mut bytes = fs::read(bench.path()).unwrap();
    let length = bytes.len();
    bytes[4096..length].fill(0x5a);
    fs::write(bench.path(), bytes).unwrap();
    let error = bench_error(&bench);
    assert_eq!(error.status(), Status::Config);
    assert!(error.to_string().contains("damaged"), "{error}");
}

fn bench_error(bench: &Bench) -> SinkError {
    match Database::create(&bench.settings, &patience(bench)) {
        Err(error) => error,
        Ok(database) => {
            batch::deliver(&database, &bench.settings, &[TestRun::new(2, 1)], &patience(bench)).unwrap_err()
        }
    }
}

#[test]
fn another_users_tables_in_the_same_file_stay() {
    let bench = Bench::new();
    bench.sql().execute_batch("CREATE TABLE mine (x); INSERT INTO mine VALUES (1)").unwrap();
    bench.deliver_one(&TestRun::new(1, 1));
    assert_eq!(bench.query("SELECT x FROM mine"), [["1"]]);
}

#[test]
fn a_file_of_a_newer_version_is_refused() {
    let bench = Bench::new();
    drop(bench.open());
    bench.sql().execute("UPDATE litmus_meta SET value = '2' WHERE key = 'schema_version'", []).unwrap();
    for error in [open_error(&bench), check(&bench.settings).unwrap_err()] {
        assert_eq!(error.status(), Status::Config);
        assert!(error.to_string().contains("schema_version is 2"), "{error}");
    }
}

#[test]
fn a_check_says_what_it_sees_and_leaves_no_trace() {
    let mut bench = Bench::new();
    let answer = check(&bench.settings).unwrap();
    assert_eq!((answer.incarnation, answer.notes), (None, vec![format!("would create {}", bench.path().display())]));
    assert!(names(&bench).is_empty());
    let made = bench.path();
    bench.settings.path = bench.folder.path().join("a/b/runs.db");
    assert!(check(&bench.settings).unwrap().notes[0].starts_with("would create"));
    assert!(names(&bench).is_empty());

    bench.settings.path = made;
    bench.deliver_one(&TestRun::new(1, 1));
    let before = fs::read(bench.path()).unwrap();
    let answer = check(&bench.settings).unwrap();
    assert!(answer.notes[1].ends_with("holds 1 runs"), "{:?}", answer.notes);
    assert_eq!(names(&bench), ["runs.db"]);
    assert_eq!(fs::read(bench.path()).unwrap(), before);
    // Beside a host that has it open, what is still in the log is seen too.
    let open = bench.open();
    batch::deliver(&open, &bench.settings, &[TestRun::new(2, 1)], &patience(&bench)).unwrap();
    assert!(check(&bench.settings).unwrap().notes[1].ends_with("holds 2 runs"));
}
