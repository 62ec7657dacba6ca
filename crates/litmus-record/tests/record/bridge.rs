//! The log bridge: what fails a step, what is kept with it, and that it never gets in the way.

use std::fs;
use std::time::Instant;

use litmus_core::{AttachmentState, Table};
use litmus_record::bridge::{Bridge, BridgeLogger, Effect, Level};
use litmus_record::{Client, Format, Outcome, Run, RunOptions};
use log::{Log, Metadata, Record};
use serde_json::Value;

use crate::rows;

fn run(format: Format) -> (tempfile::TempDir, Run) {
    let folder = tempfile::tempdir().expect("a folder");
    let client = Client::new(folder.path()).format(format);
    let run = client.start_run(RunOptions::new("SN1", "bench_1")).expect("a run");
    (folder, run)
}

#[test]
fn levels_decide() {
    let (_folder, run) = run(Format::Flat);
    let never = || -> String { panic!("the message of a record that is not used is not asked for") };
    let bridge = Bridge::new();
    assert_eq!(bridge.emit(Level::Critical, "t", never), Effect::None, "no step is active");
    let step = run.step("s");
    assert_eq!(bridge.emit(Level::Info, "t", never), Effect::None);
    assert_eq!(step.outcome(), None);
    assert_eq!(bridge.keep_at(Level::Debug).emit(Level::Info, "t", || "kept".to_owned()), Effect::Kept);
    assert_eq!(step.outcome(), None);
    assert_eq!(bridge.fail_at(Level::Error).emit(Level::Warn, "t", never), Effect::None);
    assert_eq!(bridge.emit(Level::Warn, "t", || "sagged".to_owned()), Effect::Failed);
    assert_eq!(step.outcome(), Some(Outcome::Failed));
    step.end();
    assert_eq!(bridge.emit(Level::Warn, "t", never), Effect::None, "the step has ended");
    assert_eq!(bridge.emit_to(&step, Level::Warn, "t", || "but it is named".to_owned()), Effect::Failed);
}

#[test]
fn kept_records_become_an_attachment_of_the_step() {
    for format in [Format::Flat, Format::Nested] {
        let (folder, run) = run(format);
        let bridge = Bridge::new().keep_at(Level::Info);
        let step = run.step("power_on");
        bridge.emit(Level::Info, "my_test", || "rail is \"up\"\n".to_owned());
        bridge.emit(Level::Error, "my_test", || "rail sagged".to_owned());
        drop(step);
        // After its end, to a step that is named: it is kept when the run is sealed.
        let late = run.step("late").handle();
        late.end();
        bridge.emit_to(&late, Level::Info, "my_test", || "afterthought".to_owned());
        run.finish().expect("sealed");
        let file = rows::only_run(folder.path());
        let mut logs = Vec::new();
        for attachment in file.attachments().expect("attachments") {
            let AttachmentState::Present { path, .. } = &attachment.state else { panic!("{attachment:?}") };
            if attachment.reference.ends_with("log.jsonl") {
                let text = fs::read_to_string(folder.path().join(path)).expect("the log");
                logs.push(text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect::<Vec<Value>>());
            }
        }
        logs.sort_by_key(Vec::len);
        assert_eq!(logs.len(), 2, "{format:?}");
        assert_eq!(logs[0][0]["message"], "afterthought");
        let shown: Vec<_> = logs[1].iter().map(|line| (&line["level"], &line["target"], &line["message"])).collect();
        assert_eq!(shown[0], (&"INFO".into(), &"my_test".into(), &"rail is \"up\"\n".into()));
        assert_eq!(shown[1], (&"ERROR".into(), &"my_test".into(), &"rail sagged".into()));
        let steps = rows::table(&file, Table::Steps);
        assert!(steps.iter().all(|step| step["out_log"].as_str().expect("a reference").starts_with("file://")));
    }
}

struct Chatty;

impl std::fmt::Display for Chatty {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // What is logged while a record is turned into text is not a record of the test.
        log::error!("while formatting");
        f.write_str("sagged")
    }
}

#[test]
fn the_log_adapter_fails_the_step_hands_on_and_does_not_recurse() {
    static SEEN: std::sync::Mutex<Vec<String>> = std::sync::Mutex::new(Vec::new());
    struct Next;
    impl Log for Next {
        fn enabled(&self, metadata: &Metadata<'_>) -> bool {
            metadata.target() == "my_test"
        }
        fn log(&self, record: &Record<'_>) {
            SEEN.lock().expect("the list").push(record.level().to_string());
        }
        fn flush(&self) {}
    }
    let (folder, run) = run(Format::Nested);
    let logger = BridgeLogger::new(Bridge::new()).before(Box::new(Next));
    logger.install(log::LevelFilter::Trace).expect("the first logger of this process");
    let step = run.step("s");
    log::info!(target: "my_test", "fine");
    assert_eq!(step.outcome(), None);
    log::warn!(target: "my_test", "rail {}", Chatty);
    assert_eq!(step.outcome(), Some(Outcome::Failed));
    drop(step);
    run.finish().expect("sealed");
    log::error!(target: "my_test", "too late");
    let steps = rows::table(&rows::only_run(folder.path()), Table::Steps);
    assert_eq!(steps[0]["step_error_message"], "rail sagged");
    assert_eq!(*SEEN.lock().expect("the list"), ["INFO", "WARN", "ERROR"]);
}

#[test]
fn a_message_that_panics_does_not_reach_the_test() {
    let (_folder, run) = run(Format::Flat);
    let step = run.step("s");
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let effect = Bridge::new().emit(Level::Warn, "t", || panic!("no such instrument"));
    std::panic::set_hook(before);
    assert_eq!(effect, Effect::Failed);
    assert_eq!(step.outcome(), Some(Outcome::Failed));
}

/// The promise is 2 µs a record when it fails nothing, in a release build (docs/recording.md has the figures); the bound here
/// is for a debug build on a busy machine.
#[test]
fn a_record_that_fails_nothing_costs_next_to_nothing() {
    let (_folder, run) = run(Format::Flat);
    let _step = run.step("s");
    let bridge = Bridge::new();
    let fastest = (0..20).map(|_| {
        let started = Instant::now();
        for _ in 0..1000 {
            std::hint::black_box(bridge.emit(Level::Info, "t", || "fine".to_owned()));
        }
        started.elapsed() / 1000
    });
    let fastest = fastest.min().expect("twenty tries");
    assert!(fastest.as_nanos() < 2000, "{fastest:?} a record");
}
