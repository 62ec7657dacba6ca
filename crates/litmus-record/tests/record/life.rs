//! A run's life: when it is saved, when not, and what comes too late.

use std::fs;

use litmus_core::Table;
use litmus_record::{Client, Format, Journal, Outcome, RunOptions, StepOptions, params};

use crate::rows;

fn run(data_dir: &std::path::Path) -> litmus_record::Run {
    Client::new(data_dir).start_run(RunOptions::new("SN1", "bench_1")).expect("a run")
}

#[test]
fn a_run_that_is_dropped_or_aborted_is_not_saved() {
    let folder = tempfile::tempdir().expect("a folder");
    let dropped = run(folder.path());
    dropped.step("s").attach("a.txt", b"x").expect("attached");
    drop(dropped);
    let aborted = run(folder.path());
    let step = aborted.step("s");
    step.measure("v", 1.0);
    step.attach("a.txt", b"x").expect("attached");
    aborted.abort(Some("operator"));
    drop((aborted, step));
    assert!(!folder.path().join("runs").exists());
    let left: Vec<_> = fs::read_dir(folder.path().join("recording")).expect("the folder").collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn an_aborted_run_can_be_saved_as_aborted() {
    let folder = tempfile::tempdir().expect("a folder");
    let aborted = run(folder.path());
    aborted.step("s").measure("v", 1.0).low(0.0);
    aborted.abort(Some("smoke"));
    assert_eq!(aborted.finish().expect("sealed").outcome, Some(Outcome::Aborted));
    let file = rows::only_run(folder.path());
    assert_eq!(file.summary().run_outcome.as_deref(), Some("aborted"));
    assert_eq!(rows::table(&file, Table::Runs)[0]["custom_abort_reason"], "smoke");
}

#[test]
fn what_comes_after_the_end_is_refused_and_counted() {
    let folder = tempfile::tempdir().expect("a folder");
    let run = run(folder.path());
    let step = run.step("s").handle();
    let sealed = run.finish().expect("sealed");
    assert_eq!(sealed.late, 0);
    let error = step.measure("v", 1.0).record().expect_err("too late");
    assert!(error.to_string().contains("after the run was finished"), "{error}");
    assert!(error.hint().is_some());
    step.measure("w", 1.0);
    step.fail("too late");
    run.step("another").measure("v", 1.0);
    let again = run.finish().expect("the same answer");
    assert_eq!((again.path, again.late), (sealed.path, 5));
    assert_eq!(rows::only_run(folder.path()).summary().measurements, 0);
}

#[test]
fn a_run_that_cannot_be_sealed_can_be_finished_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let run = run(folder.path());
    run.step("s").measure("v", 1.0).low(0.0);
    fs::write(folder.path().join("runs"), "in the way").expect("a file");
    for _ in 0..2 {
        let error = run.finish().expect_err("there is no folder");
        assert!(error.to_string().contains("runs"), "{error}");
        assert!(!run.is_over());
    }
    fs::remove_file(folder.path().join("runs")).expect("removed");
    run.step("t").measure("v", 9.0).high(2.0);
    let sealed = run.finish().expect("sealed");
    assert_eq!(sealed.outcome, Some(Outcome::Failed));
    let file = rows::only_run(folder.path());
    assert_eq!((file.summary().measurements, file.summary().run_ended_at), (2, Some(sealed.ended_at)));
    let steps = rows::table(&file, Table::Steps);
    assert!(steps.iter().all(|step| step["step_ended_at"].as_str() <= Some(&*sealed.ended_at.to_string())));
}

#[test]
fn a_file_in_the_way_is_never_replaced() {
    let folder = tempfile::tempdir().expect("a folder");
    let client = Client::new(folder.path());
    let first = client.start_run(RunOptions::new("SN1", "b")).expect("a run");
    let options = RunOptions::new("SN1", "b").run_id(first.id()).started_at(first.finish().expect("sealed").started_at);
    let second = client.start_run(options.clone()).expect("a run").finish().expect("sealed under the whole id");
    assert_eq!(rows::all_runs(folder.path()).len(), 2);
    let third = client.start_run(options).expect("a run").finish().expect_err("both names are taken");
    assert!(third.to_string().contains(&second.run_id.to_string()), "{third}");
    assert!(third.hint().is_some());
    assert_eq!(rows::all_runs(folder.path()).len(), 2);
}

#[test]
fn failures_reach_the_run_and_a_skip_hides_none() {
    let folder = tempfile::tempdir().expect("a folder");
    let run = run(folder.path());
    let step = run.open_step(StepOptions::new("s").retry(2));
    step.fail("first");
    step.skip("never mind");
    assert_eq!(step.outcome(), Some(Outcome::Failed));
    let vector = step.open_vector(params! { x: 1 });
    vector.measure("v", 1.0).low(0.0);
    vector.skip("after all");
    assert_eq!(vector.outcome(), Some(Outcome::Skipped));
    assert_eq!(run.outcome(), None);
    step.end();
    step.end();
    assert_eq!(run.outcome(), Some(Outcome::Failed));
    // Late, but before the run's end: it counts at once.
    step.error("cable pulled");
    assert_eq!(run.outcome(), Some(Outcome::Errored));
}

#[test]
fn many_threads_record_into_one_run() {
    let folder = tempfile::tempdir().expect("a folder");
    let client = Client::new(folder.path()).format(Format::Nested).journal(Journal::On);
    let run = client.start_run(RunOptions::new("SN1", "b")).expect("a run");
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let run = run.clone();
            scope.spawn(move || {
                for at in 0..25 {
                    let step = run.step(format!("step {thread}.{at}"));
                    step.vector(params! { thread: thread }).measure("v", at).low(0);
                }
            });
        }
    });
    let sealed = run.finish().expect("sealed");
    assert!(sealed.journal_error.is_none());
    let summary = rows::only_run(folder.path()).summary().clone();
    assert_eq!((summary.steps, summary.vectors, summary.measurements), (200, 200, 200));
}
