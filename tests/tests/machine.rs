//! Trouble with the machine: full and read-only disks, a data dir that is unmounted, a clock that is set back, few file
//! descriptors. Each is said clearly, and nothing is lost when it ends.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use litmus_tests::generate::{Generated, Plan, write};
use litmus_tests::project::{Ended, Project, Running, wait_until};
use litmus_tests::{database, namespace};
use rustix::process::Signal;

const SQLITE: [&str; 4] = ["--plugin", "sqlite.so", "--set", "path=out.db"];

fn seal(folder: &Path, numbers: std::ops::Range<u64>) -> Vec<Generated> {
    numbers.map(|number| write(folder, &Plan::new(number, 40))).collect()
}

/// The database holds these runs with every measurement, and nothing else.
fn assert_arrived(project: &Project, database: &str, runs: &[Generated]) {
    let connection = database::open(&project.path(database));
    let there: BTreeSet<String> = database::runs(&connection).into_keys().collect();
    assert_eq!(there, runs.iter().map(|run| run.run_id.clone()).collect::<BTreeSet<_>>());
    let mut measurements = database::measurements(&connection);
    for run in runs {
        assert_eq!(measurements.remove(&run.run_id).as_ref(), Some(&run.measurements), "{}", run.run_id);
    }
    assert!(measurements.is_empty());
}

#[test]
fn a_full_disk_under_the_ledger_ends_the_host_with_a_reason_and_loses_nothing() {
    let project = Project::new();
    let mut runs = seal(&project.data_dir(), 0..4);
    runs.extend(seal(&project.path("later"), 4..60));
    let ended = namespace::run(
        &project,
        r#"
        mkdir state
        mount -t tmpfs -o size=2m tmpfs state
        forward() { host "$1" --plugin sqlite.so --set path=out.db --state-dir state --format json; }
        # From nothing: there is no room for a ledger at all.
        head -c 4m /dev/zero > state/filler 2>/dev/null || true
        forward none 2>&1
        rm state/filler
        forward some
        # The ledger is there, and cannot take what comes.
        head -c 4m /dev/zero > state/filler 2>/dev/null || true
        cp -r later/runs/. results/runs/
        forward full 2>&1
        host status status --state-dir state 2>&1
        rm state/filler
        forward room
        "#,
    );
    for name in ["none", "full"] {
        let (code, said) = namespace::said(&ended, name);
        assert_eq!(code, 3, "{name}: {ended}");
        assert!(said.contains("full") && said.contains("hint: "), "{name}: {said}");
        assert!(!said.contains("panicked"), "{name}: {said}");
    }
    assert_eq!(namespace::said(&ended, "some").0, 0, "{ended}");
    assert!(namespace::said(&ended, "status").0 <= 1, "status needs no room: {ended}");
    assert_eq!(namespace::said(&ended, "room").0, 0, "{ended}");
    assert_arrived(&project, "out.db", &runs);
}

#[test]
fn a_full_disk_under_a_sink_holds_it_up_and_no_other() {
    let project = Project::new();
    let runs = seal(&project.data_dir(), 0..60);
    let sinks = ["small/out.db", "out.db"].map(|path| {
        let name = path.split('/').next().expect("a name");
        format!("[[sink]]\nname = \"{name}\"\nplugin = \"sqlite.so\"\nconfig = {{ path = \"{path}\" }}\nbatch_runs_max = 8\n")
    });
    fs::write(project.path("litmus-host.toml"), sinks.concat()).expect("a configuration");
    let ended = namespace::run(
        &project,
        r"
        mkdir small
        mount -t tmpfs -o size=3m tmpfs small
        host full --config litmus-host.toml --give-up-after 2s --format json 2>&1
        host status status --config litmus-host.toml 2>&1
        mount -o remount,size=64m small
        host room --config litmus-host.toml --format json
        cp small/out.db small.db
        ",
    );
    let (code, said) = namespace::said(&ended, "full");
    assert_eq!(code, 1, "{ended}");
    assert!(said.contains("the disk is full"), "{ended}");
    assert!(said.contains("\"quarantined\": 0") && !said.contains("\"quarantined\": 1"), "no run is at fault: {ended}");
    assert_eq!(namespace::said(&ended, "room").0, 0, "{ended}");
    assert_arrived(&project, "out.db", &runs);
    assert_arrived(&project, "small.db", &runs);
}

#[test]
fn a_read_only_store_is_all_it_needs_and_a_read_only_state_folder_is_named() {
    let project = Project::new();
    let runs = seal(&project.data_dir(), 0..4);
    let ended = namespace::run(
        &project,
        r"
        mount --bind results results
        mount -o remount,ro,bind results
        host store --plugin sqlite.so --set path=out.db --state-dir state --format json
        mount --bind state state
        mount -o remount,ro,bind state
        cp -r out.db before.db
        host state --plugin sqlite.so --set path=out.db --state-dir state 2>&1
        host status status --state-dir state 2>&1
        umount state
        host again --plugin sqlite.so --set path=out.db --state-dir state --format json
        ",
    );
    assert_eq!(namespace::said(&ended, "store").0, 0, "{ended}");
    let (code, said) = namespace::said(&ended, "state");
    assert!(code == 2 || code == 3, "{ended}");
    assert!(said.contains("state/") && said.contains("must be writable"), "{said}");
    assert_eq!(namespace::said(&ended, "status").0, 0, "whoever may only read is told all the same: {ended}");
    assert_eq!(namespace::said(&ended, "again").0, 0, "{ended}");
    assert_arrived(&project, "out.db", &runs);
}

#[test]
fn a_data_dir_that_is_unmounted_and_comes_back_loses_nothing() {
    let project = Project::new();
    fs::rename(project.data_dir(), project.path("disk")).expect("a rename");
    fs::create_dir(project.data_dir()).expect("a mount point");
    let runs = seal(&project.path("disk"), 0..6);
    let hostile = |settings: &str| {
        format!("[[sink]]\nname = \"s\"\nplugin = \"hostile.so\"\nconfig = {{ log = \"sent.jsonl\"{settings} }}\n")
    };
    fs::write(project.path("down.toml"), hostile(", fault = \"transient\"")).expect("a configuration");
    fs::write(project.path("up.toml"), hostile("")).expect("a configuration");
    // Once the whole data dir goes, once only what is below it and an empty folder is left.
    for part in ["", "/runs"] {
        let ended = namespace::run(
            &project,
            &r"
            rm -rf home sent.jsonl
            mkdir -p resultsPART
            mount --bind diskPART resultsPART
            host down --config down.toml --give-up-after 1s --format json
            umount resultsPART
            host away --config up.toml --give-up-after 1s --format json 2>&1
            mount --bind diskPART resultsPART
            host back --config up.toml --format json
            host status status --config up.toml
            umount resultsPART
            "
            .replace("PART", part),
        );
        assert_eq!(namespace::said(&ended, "down").0, 1, "{ended}");
        assert_eq!(namespace::said(&ended, "away").0, 1, "somebody must look: {ended}");
        assert_eq!(namespace::said(&ended, "back").0, 0, "{ended}");
        assert_eq!(namespace::said(&ended, "status").0, 0, "{ended}");
        let sent = fs::read_to_string(project.path("sent.jsonl")).expect("what the sink was sent");
        assert_eq!(sent.lines().count(), runs.len(), "{sent}");
        assert!(runs.iter().all(|run| sent.contains(&run.run_id)), "{sent}");
    }
}

/// A library that sets the clock of the process that loads it an hour back, as soon as the file `$CLOCK_BACK` is there.
const CLOCK: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>
int clock_gettime(clockid_t id, struct timespec *time) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) *(void **)&real = dlsym(RTLD_NEXT, "clock_gettime");
    int result = real(id, time);
    const char *back = getenv("CLOCK_BACK");
    if (result == 0 && id == CLOCK_REALTIME && back && access(back, F_OK) == 0) time->tv_sec -= 3600;
    return result;
}
"#;

#[test]
fn a_clock_that_is_set_back_delays_nothing() {
    let project = Project::new();
    fs::write(project.path("clock.c"), CLOCK).expect("a source");
    let library = project.path("clock.so");
    let built = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(project.path("clock.c")).status();
    assert!(built.expect("a C compiler").success());
    // The first calls are put off: what waits, waits by the clock that does not go back.
    let toml = "[[sink]]\nname = \"s\"\nplugin = \"hostile.so\"\n\
                config = { log = \"sent.jsonl\", fault = \"throttled\", fault_times = 3 }\n\
                [[sink]]\nname = \"db\"\nplugin = \"sqlite.so\"\nconfig = { path = \"out.db\" }\n";
    fs::write(project.path("litmus-host.toml"), toml).expect("a configuration");
    let mut runs = seal(&project.data_dir(), 0..2);
    let mut command = project.command(["--config", "litmus-host.toml", "--watch", "-v"]);
    command.env("LD_PRELOAD", &library).env("CLOCK_BACK", project.path("back"));
    let mut running = Running::start(&project, &mut command);
    let held = || {
        let path = project.path("out.db");
        if path.exists() { database::runs(&database::open(&path)).len() } else { 0 }
    };
    let has_tables = || fs::metadata(project.path("out.db")).is_ok_and(|file| file.len() > 0);
    assert!(wait_until(Duration::from_secs(20), has_tables));
    fs::write(project.path("back"), "").expect("the clock goes back");
    let turned = Instant::now();
    runs.extend(seal(&project.data_dir(), 2..5));
    let sent = || fs::read_to_string(project.path("sent.jsonl")).unwrap_or_default();
    let arrived = || runs.iter().all(|run| sent().contains(&run.run_id)) && held() == runs.len();
    assert!(
        wait_until(Duration::from_secs(30), arrived),
        "{}",
        fs::read_to_string(project.path("running.log")).unwrap()
    );
    println!("all there {:?} after the clock went back", turned.elapsed());
    running.signal(Signal::TERM);
    assert_eq!(running.wait(Duration::from_secs(20)).and_then(|ended| ended.code()), Some(0));
    // And the next host, whose clock is right again, finds a ledger with times of both.
    fs::remove_file(project.path("back")).expect("the clock is right");
    project.run(["--config", "litmus-host.toml", "--format", "json"]).exits(0);
    assert_arrived(&project, "out.db", &runs);
}

fn with_descriptors(project: &Project, count: u32) -> Ended {
    let limit = format!("ulimit -n {count} && exec \"$@\"");
    let through = ["sh", "-c", &limit, "sh"];
    Ended::of(
        &mut project.command_through(&through, SQLITE.iter().chain(&["--give-up-after", "3s", "--format", "json"])),
    )
}

#[test]
fn with_64_descriptors_every_run_arrives_and_with_fewer_nothing_is_lost() {
    let project = Project::new();
    let runs = seal(&project.data_dir(), 0..150);
    // Hardly enough for the program itself: whatever it says, it is an answer.
    for count in [10, 16, 24] {
        let ended = with_descriptors(&project, count);
        let code = ended.status.code().unwrap_or_else(|| panic!("{count}: it crashed: {ended}"));
        assert!((0..=3).contains(&code), "{count}: {ended}");
        assert!(!ended.stderr.contains("panicked"), "{count}: {ended}");
        if code != 0 {
            assert!(ended.stderr.contains("hint") || ended.stdout.contains("open files"), "{count}: {ended}");
        }
    }
    with_descriptors(&project, 64).exits(0);
    assert_arrived(&project, "out.db", &runs);
    project.run(SQLITE).exits(0);
}
