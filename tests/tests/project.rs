//! In a Litmus project: no flag needed to find the runs, and `--watch`.

use std::path::Path;
use std::time::Duration;

use litmus_tests::database;
use litmus_tests::generate::{Plan, write};
use litmus_tests::project::{Project, Running, wait_until};
use rustix::process::Signal;

/// Far above what it takes on a loaded machine; the test ends as soon as the run is there.
const ARRIVES_WITHIN: Duration = Duration::from_secs(20);

fn holds(database: &Path, run_id: &str) -> bool {
    database.exists()
        && rusqlite::Connection::open(database)
            .and_then(|connection| {
                connection
                    .query_row("SELECT count(*) FROM test_runs WHERE run_id = ?1", [run_id], |row| row.get::<_, i64>(0))
            })
            .is_ok_and(|count| count == 1)
}

#[test]
fn a_project_folder_needs_no_other_flag() {
    let project = Project::new();
    let run = write(&project.data_dir(), &Plan::new(1, 24));
    project.run(["--plugin", "sqlite.so", "--set", "path=out.db"]).exits(0);
    assert!(holds(&project.path("out.db"), &run.run_id));
}

#[test]
fn a_folder_below_the_project_needs_none_either() {
    let project = Project::new();
    let run = write(&project.data_dir(), &Plan::new(2, 8));
    let below = project.path("tests/power");
    std::fs::create_dir_all(&below).expect("a folder");
    let mut command = project.command(["--plugin", "sqlite.so", "--set", "path=out.db"]);
    let status = command.current_dir(&below).status().expect("the host runs");
    assert!(status.success());
    assert!(holds(&below.join("out.db"), &run.run_id));
}

#[test]
fn watch_picks_up_a_run_sealed_a_moment_ago_and_ends_when_asked() {
    for (number, signal) in [(3, Signal::TERM), (5, Signal::INT)] {
        let project = Project::new();
        let early = write(&project.data_dir(), &Plan::new(number, 8));
        let mut command = project.command(["--plugin", "sqlite.so", "--set", "path=out.db", "--watch"]);
        let mut running = Running::start(&project, &mut command);
        let log = || std::fs::read_to_string(project.path("running.log")).unwrap_or_default();
        assert!(wait_until(ARRIVES_WITHIN, || holds(&project.path("out.db"), &early.run_id)), "{}", log());

        // In a folder that was not there when watching began.
        let late = write(&project.data_dir(), &Plan::new(number + 1000, 8));
        assert_ne!(late.path.parent(), early.path.parent());
        assert!(wait_until(ARRIVES_WITHIN, || holds(&project.path("out.db"), &late.run_id)), "{}", log());

        // And one sealed again: replaced at its path.
        let again = write(&project.data_dir(), &Plan { revision: 1, ..Plan::new(number + 1000, 16) });
        let replaced = || {
            let connection = database::open(&project.path("out.db"));
            let sql = format!("SELECT count(*) FROM measurements WHERE run_id = '{}'", again.run_id);
            database::count(&connection, &sql) == 16
        };
        assert!(wait_until(ARRIVES_WITHIN, replaced), "{}", log());

        running.signal(signal);
        let status = running.wait(ARRIVES_WITHIN).unwrap_or_else(|| panic!("it did not end: {}", log()));
        assert_eq!(status.code(), Some(0), "{}", log());
        assert!(!project.path("out.db-wal").exists(), "the sink was closed: the one file can be mailed");
    }
}

#[test]
fn watch_waits_for_a_file_that_is_copied_in_slowly() {
    let project = Project::new();
    let elsewhere = Project::new();
    let copied = write(&elsewhere.data_dir(), &Plan::new(7, 8));
    let bytes = std::fs::read(elsewhere.data_dir().join(&copied.path)).expect("the run was written");
    let mut command = project.command(["--plugin", "sqlite.so", "--set", "path=out.db", "--watch"]);
    let mut running = Running::start(&project, &mut command);
    let log = || std::fs::read_to_string(project.path("running.log")).unwrap_or_default();

    let target = project.data_dir().join("runs/copied.parquet");
    std::fs::create_dir_all(target.parent().expect("it lies in a folder")).expect("a folder");
    std::fs::write(&target, &bytes[..bytes.len() / 2]).expect("half of it");
    // A run that arrives after it shows that the half was looked at.
    let other = write(&project.data_dir(), &Plan::new(8, 8));
    assert!(wait_until(ARRIVES_WITHIN, || holds(&project.path("out.db"), &other.run_id)), "{}", log());
    std::fs::write(&target, &bytes).expect("all of it");
    assert!(wait_until(ARRIVES_WITHIN, || holds(&project.path("out.db"), &copied.run_id)), "{}", log());

    running.signal(Signal::TERM);
    let status = running.wait(ARRIVES_WITHIN).unwrap_or_else(|| panic!("it did not end: {}", log()));
    assert_eq!(status.code(), Some(0), "{}", log());
}
