//! A store full of files that are no runs, or no runs any more, through the built host: each is listed with its reason and a
//! remedy, none is in the way of the good ones, and none costs memory.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use arrow::array::{ArrayRef, StringArray};
use arrow::record_batch::RecordBatch;
use litmus_tests::artifacts::root;
use litmus_tests::generate::{Generated, Plan, write};
use litmus_tests::measure;
use litmus_tests::project::{Ended, Project, Running, wait_until};
use litmus_tests::{database, rewrite};
use std::sync::Arc;

/// Enough for any of these files; a batch of a good one takes a part of it.
const PEAK_BYTES_MAX: u64 = 300 << 20;
/// Files with a footer of this size, or that announce a million columns.
const LARGE: usize = 3;

const ID: &str = "0d9f1c35-3f6c-4f2e-9a57-0c8f7a1b2c3d";
const OTHER_ID: &str = "1d9f1c35-3f6c-4f2e-9a57-0c8f7a1b2c3d";

/// A small run file of the corpus.
fn sealed() -> Vec<u8> {
    let path =
        root().join("tests/corpus/litmus-test-0.1.3/client/data/runs/2026-11-23/20261123T214416Z_ZERO-1.parquet");
    fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn texts<'a>(texts: impl IntoIterator<Item = Option<&'a str>>) -> ArrayRef {
    Arc::new(texts.into_iter().collect::<StringArray>())
}

/// A flat file with rows of these types and run ids.
fn flat(path: &Path, types: &[&str], ids: &[&str]) {
    let columns = [
        ("record_type", texts(types.iter().copied().map(Some))),
        ("run_id", texts(ids.iter().copied().map(Some))),
        ("measurement_name", texts(types.iter().map(|name| (*name == "measurement").then_some("v")))),
    ];
    rewrite::write(path, [RecordBatch::try_from_iter(columns).expect("columns of one length")], Vec::new());
}

/// `PAR1`, this footer, its length, `PAR1`.
fn framed(footer: &[u8]) -> Vec<u8> {
    [b"PAR1", footer, &(footer.len() as u32).to_le_bytes(), b"PAR1"].concat()
}

/// A footer (Thrift, compact protocol) whose schema has this many columns.
fn footer_of_columns(columns: u64) -> Vec<u8> {
    let varint = |mut value: u64| {
        let mut bytes = Vec::new();
        while value >= 0x80 {
            bytes.push(value as u8 | 0x80);
            value >>= 7;
        }
        bytes.push(value as u8);
        bytes
    };
    let mut footer = vec![0x15, 0x02, 0x19, 0xfc];
    footer.extend(varint(columns + 1));
    // The root: its name and the number of its children.
    footer.extend([&[0x48, 6][..], b"schema", &[0x15], &varint(columns << 1), &[0]].concat());
    for column in 0..columns {
        let name = format!("in_{column}");
        footer.extend([&[0x15, 0x0c, 0x25, 0x02, 0x18, name.len() as u8], name.as_bytes(), &[0]].concat());
    }
    // No rows, no row groups.
    footer.extend([0x16, 0, 0x19, 0x0c, 0]);
    footer
}

/// The reason of each unreadable file, as `status` gives it.
fn unreadable(project: &Project) -> BTreeMap<String, String> {
    let status = project.run(["status", "--format", "json"]).json();
    let list = status["unreadable"].as_array().expect("a list").clone();
    let text = |file: &serde_json::Value, key: &str| file[key].as_str().expect("a text").to_owned();
    list.iter().map(|file| (text(file, "path"), text(file, "reason"))).collect()
}

fn arrived(project: &Project) -> BTreeSet<String> {
    database::runs(&database::open(&project.path("out.db"))).into_keys().collect()
}

fn ids(runs: &[Generated]) -> BTreeSet<String> {
    runs.iter().map(|run| run.run_id.clone()).collect()
}

#[test]
fn every_damaged_file_is_listed_with_reason_and_remedy_and_stops_nobody() {
    let project = Project::new();
    let runs = project.data_dir().join("runs");
    let good: Vec<_> = (0..6).map(|number| write(&project.data_dir(), &Plan::new(number, 8))).collect();
    let bytes = sealed();
    let put = |name: &str, bytes: &[u8]| {
        let path = runs.join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(path, bytes).expect("a file");
    };
    let mut expected: BTreeMap<String, &str> = BTreeMap::new();
    let mut expect = |name: String, reason: &'static str| {
        expected.insert(format!("runs/{name}"), reason);
    };
    for length in (0..bytes.len()).step_by(64) {
        let name = format!("cut/{length:06}.parquet");
        put(&name, &bytes[..length]);
        expect(name, if length == 0 { "is empty" } else { "is torn: it does not end with PAR1" });
    }
    put("text.parquet", b"hello, I am no Parquet file at all");
    expect("text.parquet".into(), "does not begin with PAR1");
    put("few.parquet", b"PAR1");
    expect("few.parquet".into(), "it has 4 bytes");
    fs::create_dir(runs.join("folder.parquet")).expect("a folder");
    expect("folder.parquet".into(), "is a folder, not a file");
    rustix::fs::mkfifoat(rustix::fs::CWD, runs.join("fifo.parquet"), rustix::fs::Mode::RUSR).expect("a fifo");
    expect("fifo.parquet".into(), "is a fifo, socket or device");
    symlink("loop.parquet", runs.join("loop.parquet")).expect("a link");
    expect("loop.parquet".into(), "symbolic links");
    symlink("nowhere", runs.join("dangling.parquet")).expect("a link");
    expect("dangling.parquet".into(), "No such file or directory");
    flat(&runs.join("two-runs.parquet"), &["run", "run"], &[ID, ID]);
    expect("two-runs.parquet".into(), "has two run rows");
    flat(&runs.join("no-run.parquet"), &["step"], &[ID]);
    expect("no-run.parquet".into(), "has no run row");
    flat(&runs.join("two-ids.parquet"), &["run", "step"], &[ID, OTHER_ID]);
    expect("two-ids.parquet".into(), "has two run ids");
    flat(&runs.join("no-uuid.parquet"), &["run"], &["SN-7"]);
    expect("no-uuid.parquet".into(), "run_id \"SN-7\" is not a UUID");
    let other = RecordBatch::try_from_iter([("city", texts([Some("Ulm")]))]).expect("a batch");
    rewrite::write(&runs.join("other.parquet"), [other], Vec::new());
    expect("other.parquet".into(), "not a Litmus run");
    let million = framed(&footer_of_columns(1_000_000));
    for number in 0..LARGE {
        put(&format!("footer-{number}.parquet"), &framed(&vec![0; 50 << 20]));
        expect(format!("footer-{number}.parquet"), "has a footer of 52428800 bytes; at most 33554432 are read");
        put(&format!("million-{number}.parquet"), &million);
        expect(format!("million-{number}.parquet"), "has 1000000 columns; at most 10000 are read");
    }
    put("denied.parquet", &bytes);
    let nobody = <fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o0);
    fs::set_permissions(runs.join("denied.parquet"), nobody).expect("permissions");
    expect("denied.parquet".into(), "Permission denied");

    let measured = measure::run(&mut project.as_user(["--plugin", "sqlite.so", "--set", "path=out.db"]));
    measured.ended.exits(1);
    assert_eq!(arrived(&project), ids(&good), "{}", measured.ended);
    let found = unreadable(&project);
    assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
    for (path, reason) in &found {
        assert!(reason.starts_with(&format!("{path}: ")), "{path}: {reason}");
        assert!(reason.contains(expected[path]), "{path}: {reason}");
        assert!(reason.contains("\nhint: "), "{path} has no remedy: {reason}");
    }
    // Whoever watches standard error hears of each by name as well.
    for path in found.keys() {
        assert!(measured.ended.stderr.contains(path.as_str()), "{path} is not told: {}", measured.ended);
    }
    println!("{} damaged files, peak {} MB, {:?}", found.len(), measured.peak_bytes >> 20, measured.wall);
    assert!(measured.peak_bytes < PEAK_BYTES_MAX, "{} MB", measured.peak_bytes >> 20);

    // They are told once; a mended one is a run.
    let again =
        || Ended::of(&mut project.as_user(["--plugin", "sqlite.so", "--set", "path=out.db", "--format", "json"]));
    again().delivered(0, 0);
    put("cut/000064.parquet", &bytes);
    again().delivered(1, 0);
    assert_eq!(unreadable(&project).len(), found.len() - 1);
}

#[test]
fn flipped_bits_end_as_runs_or_as_unreadable_files_and_never_as_a_crash() {
    let project = Project::new();
    let good: Vec<_> = (0..3).map(|number| write(&project.data_dir(), &Plan::new(number, 8))).collect();
    let bytes = sealed();
    let mut random = fastrand::Rng::with_seed(20);
    for number in 0..300 {
        let mut flipped = bytes.clone();
        flipped[random.usize(..bytes.len())] ^= 1 << random.u8(..8);
        fs::write(project.data_dir().join(format!("runs/{number:03}.parquet")), flipped).expect("a file");
    }
    let ended = project.forward("out.db");
    assert!(ended.status.code().is_some_and(|code| code <= 1), "{ended}");
    assert!(arrived(&project).is_superset(&ids(&good)), "{ended}");
    // Files carry no checksums: of the others, a value or a name was flipped.
    assert!(unreadable(&project).len() > 30, "{ended}");
    assert!(unreadable(&project).values().all(|reason| reason.contains("\nhint: ")));
}

/// A name is the only thing of a file that is printed: it moves no cursor and looks like no message of ours.
#[test]
fn names_that_hold_escapes_and_line_breaks_are_printed_escaped() {
    use std::os::unix::ffi::OsStrExt;
    let project = Project::new();
    let good = write(&project.data_dir(), &Plan::new(1, 8));
    for name in [&b"a\x1b[31mred\nerror: all is lost.parquet"[..], b"not-utf8-\xff.parquet", b"hint: x.parquet"] {
        let path = project.data_dir().join("runs").join(std::ffi::OsStr::from_bytes(name));
        fs::write(path, "no run").expect("a file");
    }
    let arguments = ["--plugin", "sqlite.so", "--set", "path=out.db"];
    for ended in [
        project.run(arguments),
        project.run(["status"]),
        project.run(["runs"]),
        project.run(["check"].iter().chain(&arguments)),
    ] {
        let all = format!("{}{}", ended.stdout, ended.stderr);
        assert!(!all.contains('\u{1b}'), "{ended}");
        assert!(!all.lines().any(|line| line.starts_with("error: all is lost")), "{ended}");
        assert!(ended.status.code().is_some_and(|code| code <= 1), "{ended}");
    }
    assert_eq!(arrived(&project), ids(&[good]));
    assert_eq!(unreadable(&project).len(), 3);
}

/// Deeper than any path that a call of the system takes.
#[test]
fn a_run_at_the_end_of_a_path_of_4000_characters_is_read_and_a_longer_path_is_told() {
    let project = Project::new();
    let good = write(&project.data_dir(), &Plan::new(1, 8));
    let deep = write(&project.data_dir(), &Plan::new(2, 8));
    let name = "d".repeat(200);
    let runs = project.data_dir().canonicalize().expect("a data dir").join("runs");
    let mut folder = runs.clone();
    while folder.as_os_str().len() + 1 + name.len() + 1 + "x.parquet".len() < 4000 {
        folder.push(&name);
    }
    let rest = 4000 - folder.as_os_str().len() - "/x.parquet".len() - 1;
    folder.push("e".repeat(rest.max(1)));
    fs::create_dir_all(&folder).expect("a deep folder");
    let path = folder.join("x.parquet");
    assert_eq!(path.as_os_str().len(), 4000);
    fs::rename(project.data_dir().join(&deep.path), &path).expect("a rename");
    project.forward("out.db").delivered(2, 0);

    // One more folder, which can be made from inside only.
    let inside = rustix::fs::open(&folder, rustix::fs::OFlags::DIRECTORY, rustix::fs::Mode::empty()).expect("a folder");
    rustix::fs::mkdirat(&inside, &name, rustix::fs::Mode::RWXU).expect("a folder");
    let ended = project.forward("out.db");
    ended.exits(1).says("File name too long").says("shorten the path");
    assert_eq!(arrived(&project), ids(&[good, deep]));
    rustix::fs::unlinkat(&inside, &name, rustix::fs::AtFlags::REMOVEDIR).expect("the folder goes");
}

/// A sink that sleeps before it reads; `during` happens in that time.
fn while_it_is_read(plans: &[Plan], during: impl FnOnce(&Project, &[PathBuf])) -> (Project, Vec<Generated>, Ended) {
    let project = Project::new();
    let runs: Vec<_> = plans.iter().map(|plan| write(&project.data_dir(), plan)).collect();
    let paths: Vec<_> = runs.iter().map(|run| project.data_dir().join(&run.path)).collect();
    let toml = "[[sink]]\nname = \"slow\"\nplugin = \"hostile.so\"\n\
                config = { log = \"slow.jsonl\", read_tables = true, hang_in = \"deliver\", hang_ms = 1500 }\n";
    fs::write(project.path("litmus-host.toml"), toml).expect("a configuration");
    let mut running = Running::start(&project, &mut project.command(["--config", "litmus-host.toml", "-v"]));
    let status = || project.run(["status", "--config", "litmus-host.toml", "--format", "json"]);
    let is_there = || {
        status().json()["sinks"]
            .as_array()
            .is_some_and(|sinks| sinks.iter().any(|sink| sink["state"] == "up" && sink["pending"] != 0))
    };
    assert!(wait_until(Duration::from_secs(20), is_there), "the call is under way");
    std::thread::sleep(Duration::from_millis(300));
    during(&project, &paths);
    running.wait(Duration::from_mins(1)).expect("it ends");
    let ended = project.run(["--config", "litmus-host.toml", "--format", "json"]);
    (project, runs, ended)
}

fn log(project: &Project) -> Vec<(String, String)> {
    let text = fs::read_to_string(project.path("slow.jsonl")).unwrap_or_default();
    let line = |line: &str| serde_json::from_str::<serde_json::Value>(line).expect("a JSON line");
    let text_of = |value: &serde_json::Value| value.as_str().expect("a text").to_owned();
    text.lines().map(line).map(|line| (text_of(&line["run_id"]), text_of(&line["sha256"]))).collect()
}

#[test]
fn a_file_replaced_while_it_is_read_arrives_as_it_was_and_then_as_it_is() {
    let (project, runs, ended) = while_it_is_read(&[Plan::new(1, 200)], |project, _| {
        write(&project.data_dir(), &Plan { revision: 1, ..Plan::new(1, 200) });
    });
    ended.exits(0);
    let sent = log(&project);
    assert_eq!(sent.len(), 2, "the revision that was open, then the one that stands there: {sent:?}");
    assert!(sent.iter().all(|(run, _)| *run == runs[0].run_id) && sent[0].1 != sent[1].1, "{sent:?}");
}

#[test]
fn a_file_that_vanishes_while_it_is_read_arrives() {
    let (project, runs, ended) = while_it_is_read(&[Plan::new(1, 200)], |_, paths| {
        fs::remove_file(&paths[0]).expect("a file");
    });
    ended.exits(0);
    assert_eq!(log(&project).into_iter().map(|(run, _)| run).collect::<Vec<_>>(), [runs[0].run_id.clone()]);
}
