//! The journal: what was recorded before a `kill -9` is sealed after it, in order.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use litmus_core::reader::RunFile;
use litmus_core::{AttachmentState, Table};
use litmus_record::bridge::{Bridge, Level};
use litmus_record::{Client, Format, Journal, Outcome, RunOptions, params, recover};

use crate::rows;

const CHILD: &str = "LITMUS_RECORD_CHILD";

fn client(data_dir: &Path, format: Format) -> Client {
    Client::new(data_dir).format(format).journal(Journal::On)
}

/// Records without an end, saying what has been recorded once it has; runs of 60 measurements, each finished.
fn record_until_killed(data_dir: &Path, format: Format) -> ! {
    let mut out = std::io::stdout().lock();
    let mut say = |word: String| {
        // The line begins anew after what the test harness printed.
        writeln!(out, "\n@{word}").and_then(|()| out.flush()).expect("the parent listens");
    };
    let bridge = Bridge::new().keep_at(Level::Info);
    for serial in 0.. {
        let run = client(data_dir, format).start_run(RunOptions::new(format!("SN{serial}"), "b")).expect("a run");
        say(format!("start {}", run.id()));
        for at in 0..60 {
            let step = run.step(format!("step {}", at / 10).as_str());
            step.vector(params! { at: at }).measure(format!("m{at}"), at).low(0);
            say(format!("measured {at}"));
            if at % 20 == 7 {
                step.attach("a.txt", format!("attachment {at}").as_bytes()).expect("attached");
                bridge.emit(Level::Info, "child", || format!("line {at}"));
                say(format!("attached {at}"));
            }
        }
        let sealed = run.finish().expect("sealed");
        say(format!("sealed {}", sealed.run_id));
    }
    unreachable!("it is killed")
}

/// What the parent heard of one run.
#[derive(Debug, Default)]
struct Heard {
    id: String,
    measured: usize,
    attached: Vec<usize>,
    sealed: bool,
}

#[test]
fn kill_9_loses_nothing_that_was_recorded() {
    if let Ok(told) = std::env::var(CHILD) {
        let (format, data_dir) = told.split_once(' ').expect("a format and a folder");
        record_until_killed(Path::new(data_dir), if format == "flat" { Format::Flat } else { Format::Nested });
    }
    let rounds = std::env::var("LITMUS_KILL_ROUNDS").map_or(10, |rounds| rounds.parse().expect("a number"));
    let mut killed_while_recording = 0;
    for round in 0..rounds {
        let folder = tempfile::tempdir().expect("a folder");
        let format = if round % 2 == 0 { "flat" } else { "nested" };
        // Everywhere in a run: its start, its middle, and right where it is being sealed.
        let words = 1 + (round * 37) % 130;
        let heard = kill_after(folder.path(), format, words);
        let recovered = recover(folder.path()).expect("the journals are read");
        for one in &recovered {
            one.result.as_ref().unwrap_or_else(|error| panic!("{}: {error}", one.journal.display()));
        }
        killed_while_recording += usize::from(!recovered.is_empty());
        let runs = rows::all_runs(folder.path());
        for heard in &heard {
            let run = runs.iter().find(|run| run.run_id().to_string() == heard.id);
            check(run.unwrap_or_else(|| panic!("round {round}: {heard:?} is lost")), heard, folder.path());
        }
        let left = fs::read_dir(folder.path().join("recording")).expect("the folder");
        let left: Vec<_> = left.map(|entry| entry.expect("an entry").file_name()).collect();
        // A journal that had no name yet holds nothing; it goes once it is a minute old.
        let is_left = |name: &&std::ffi::OsString| !name.to_string_lossy().ends_with(".tmp");
        assert_eq!(left.iter().find(is_left), None, "round {round}");
        assert!(recover(folder.path()).expect("the journals are read").is_empty());
    }
    assert!(killed_while_recording * 2 > rounds, "{killed_while_recording} of {rounds} kills hit a run");
}

fn kill_after(data_dir: &Path, format: &str, words: usize) -> Vec<Heard> {
    let mut child = spawn(data_dir, format);
    let mut heard: Vec<Heard> = Vec::new();
    let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    let mut count = 0;
    for line in lines {
        let line = line.expect("a line");
        let Some((word, what)) = line.strip_prefix('@').and_then(|line| line.split_once(' ')) else { continue };
        let number = || what.parse().expect("a number");
        match (word, heard.last_mut()) {
            ("start", _) => heard.push(Heard { id: what.to_owned(), ..Heard::default() }),
            ("measured", Some(run)) => run.measured = number() + 1,
            ("attached", Some(run)) => run.attached.push(number()),
            ("sealed", Some(run)) => run.sealed = true,
            _ => panic!("{line}"),
        }
        count += 1;
        if count == words {
            child.kill().expect("killed");
        }
    }
    child.wait().expect("it is over");
    assert!(count >= words, "the child died by itself after {count} words");
    heard
}

fn spawn(data_dir: &Path, format: &str) -> Child {
    Command::new(std::env::current_exe().expect("this test"))
        .args(["--exact", "journal::kill_9_loses_nothing_that_was_recorded", "--nocapture"])
        .env(CHILD, format!("{format} {}", data_dir.display()))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("a child")
}

fn check(run: &RunFile, heard: &Heard, data_dir: &Path) {
    let measurements = rows::table(run, Table::Measurements);
    let names: Vec<_> = measurements.iter().map(|row| row["measurement_name"].as_str().expect("a name")).collect();
    let in_order: Vec<_> = (0..names.len()).map(|at| format!("m{at}")).collect();
    assert_eq!(names, in_order, "{heard:?}");
    assert!(names.len() >= heard.measured, "{} of {heard:?}", names.len());
    for (at, row) in measurements.iter().enumerate() {
        assert_eq!(row["measurement_value"].as_f64(), Some(at as f64));
        assert_eq!(row["step_name"], format!("step {}", at / 10));
        assert_eq!(row["in_at"].as_f64(), Some(at as f64));
    }
    let outcome = run.summary().run_outcome.as_deref();
    if heard.sealed {
        assert_eq!(outcome, Some("passed"), "{heard:?}");
    } else {
        assert!(outcome == Some("aborted") || outcome == Some("passed") && names.len() == 60, "{outcome:?} {heard:?}");
    }
    let mut contents: Vec<String> = Vec::new();
    for attachment in run.attachments().expect("attachments") {
        let AttachmentState::Present { path, .. } = &attachment.state else { panic!("{attachment:?}") };
        contents.push(fs::read_to_string(data_dir.join(path)).expect("the file"));
    }
    for at in &heard.attached {
        for wanted in [format!("attachment {at}"), format!("\"message\":\"line {at}\"")] {
            assert!(contents.iter().any(|text| text.contains(&wanted)), "{wanted} of {heard:?}");
        }
    }
}

#[test]
fn a_run_that_is_being_recorded_is_left_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let run = client(folder.path(), Format::Flat).start_run(RunOptions::new("SN1", "b")).expect("a run");
    run.step("s").measure("v", 1.0);
    assert!(recover(folder.path()).expect("the journals are read").is_empty());
    // Dropped without an end: nobody will finish it any more.
    let id = run.id();
    drop(run);
    let recovered = recover(folder.path()).expect("the journals are read");
    assert_eq!(recovered.len(), 1);
    let sealed = recovered[0].result.as_ref().expect("sealed");
    assert_eq!((sealed.run_id, sealed.outcome), (id, Some(Outcome::Aborted)));
    assert_eq!(rows::only_run(folder.path()).summary().measurements, 1);
}

#[test]
fn a_line_that_was_cut_off_is_left_out_and_a_damaged_one_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let run = client(folder.path(), Format::Nested).start_run(RunOptions::new("SN1", "b")).expect("a run");
    let step = run.open_step("s");
    step.measure("first", f64::NAN).low(f64::NEG_INFINITY);
    step.measure("second", 2.0);
    let journal = folder.path().join(format!("recording/{}.jsonl", run.id()));
    drop((step, run));
    let whole = fs::read_to_string(&journal).expect("the journal");
    let last = whole.trim_end().rfind('\n').expect("lines") + 1;

    fs::write(&journal, whole.replacen("\"measured\"", "\"meas\"", 1)).expect("damaged");
    let damaged = recover(folder.path()).expect("the journals are read").remove(0);
    let error = damaged.result.expect_err("a damaged journal");
    assert!(error.to_string().contains("line 3"), "{error}");
    assert!(error.hint().is_some() && journal.exists());

    fs::write(&journal, &whole[..last + 20]).expect("cut off");
    recover(folder.path()).expect("the journals are read").remove(0).result.expect("sealed");
    let measurements = rows::table(&rows::only_run(folder.path()), Table::Measurements);
    assert_eq!(measurements.len(), 1);
    assert_eq!(
        (&measurements[0]["measurement_value"], &measurements[0]["limit_low"]),
        (&"NaN".into(), &"-Infinity".into())
    );
    assert!(!journal.exists());
}

#[test]
fn a_journal_that_names_a_file_elsewhere_or_holds_nothing_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let data_dir = folder.path().join("results");
    for stem in ["../../outside", "/tmp/outside", "..", ".hidden", "a\\\\b", ""] {
        let run = client(&data_dir, Format::Flat).start_run(RunOptions::new("SN1", "b")).expect("a run");
        let journal = data_dir.join("recording").join(format!("{}.jsonl", run.id()));
        let text = fs::read_to_string(&journal).expect("a journal");
        let (before, after) = text.split_once("\"stem\":\"").expect("a header");
        let after = &after[after.find('"').expect("an end")..];
        // The program is gone, and somebody else has written there.
        std::mem::forget(run);
        fs::remove_file(&journal).expect("removed");
        fs::write(&journal, format!("{before}\"stem\":\"{stem}{after}")).expect("written");
        let recovered = recover(&data_dir).expect("the journals are read");
        let error = recovered[0].result.as_ref().expect_err(stem).to_string();
        assert!(error.contains("cannot be the name of its file"), "{stem}: {error}");
        assert_eq!(rows::all_runs(folder.path()).len(), 0, "{stem}");
        fs::remove_file(&journal).expect("removed");
    }
    fs::write(data_dir.join("recording/empty.jsonl"), "").expect("written");
    let recovered = recover(&data_dir).expect("the journals are read");
    let error = recovered[0].result.as_ref().expect_err("nothing is in it");
    assert!(error.to_string().contains("holds nothing") && error.hint().is_some_and(|hint| hint.contains("remove it")));
}

#[test]
fn a_sealed_run_whose_journal_survived_is_not_sealed_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let run = client(folder.path(), Format::Flat).start_run(RunOptions::new("SN1", "b")).expect("a run");
    run.step("s").measure("v", 1.0).low(0);
    let journal = folder.path().join(format!("recording/{}.jsonl", run.id()));
    let kept = fs::read(&journal).expect("the journal");
    let sealed = run.finish().expect("sealed");
    assert!(!journal.exists());
    fs::write(&journal, kept).expect("as if it had not been removed");
    let again = recover(folder.path()).expect("the journals are read").remove(0).result.expect("it is sealed");
    assert_eq!((again.outcome, &again.path), (Some(Outcome::Passed), &sealed.path));
    assert_eq!(rows::only_run(folder.path()).summary().run_outcome.as_deref(), Some("passed"));
    assert!(!journal.exists());
}

#[test]
fn a_journal_that_cannot_be_written_is_told_and_disturbs_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let client = client(folder.path(), Format::Flat);
    fs::write(folder.path().join("recording"), "in the way").expect("a file");
    let error = client.start_run(RunOptions::new("SN1", "b")).expect_err("there is no journal");
    assert!(error.to_string().contains("recording"), "{error}");
}

#[test]
fn a_journal_that_never_got_its_name_goes_when_it_is_old() {
    let folder = tempfile::tempdir().expect("a folder");
    let recording = folder.path().join("recording");
    fs::create_dir_all(&recording).expect("the folder");
    let [old, new] = ["old.tmp", "new.tmp"].map(|name| recording.join(name));
    for path in [&old, &new] {
        fs::write(path, "{").expect("a file");
    }
    let hour_ago = std::time::SystemTime::now() - std::time::Duration::from_hours(1);
    fs::File::options().write(true).open(&old).and_then(|file| file.set_modified(hour_ago)).expect("an old file");
    assert!(recover(folder.path()).expect("the journals are read").is_empty());
    assert_eq!((old.exists(), new.exists()), (false, true));
}
