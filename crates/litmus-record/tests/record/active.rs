//! A log record fails the step it belongs to, and no other: random interleavings of threads, tasks, nested steps, vectors and
//! spans against a model.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use litmus_core::Table;
use litmus_record::bridge::{Bridge, BridgeLayer, Effect, Level};
use litmus_record::{Client, Run, RunOptions, Step, StepGuard, VectorGuard, active_step, active_vector, params, scope};
use proptest::prelude::*;
use tracing::Instrument;
use tracing::instrument::WithSubscriber;
use tracing::span::EnteredSpan;
use tracing_subscriber::layer::SubscriberExt;

use crate::rows;

#[derive(Clone, Copy, Debug)]
enum Op {
    OpenStep,
    OpenNested,
    OpenVector,
    /// Drops the innermost guard.
    Close,
    /// Ends the step of a guard that is still there.
    EndEarly,
    /// Makes a span, without entering it.
    MakeSpan,
    /// Enters the span made last.
    EnterSpan,
    Warn,
    Info,
    Yield,
}

fn ops(spans: bool) -> impl Strategy<Value = Vec<Op>> {
    let span = if spans { 2 } else { 0 };
    let op = prop_oneof![
        3 => Just(Op::OpenStep),
        2 => Just(Op::OpenNested),
        2 => Just(Op::OpenVector),
        3 => Just(Op::Close),
        1 => Just(Op::EndEarly),
        span => Just(Op::MakeSpan),
        span => Just(Op::EnterSpan),
        6 => Just(Op::Warn),
        1 => Just(Op::Info),
        3 => Just(Op::Yield),
    ];
    proptest::collection::vec(op, 1..40)
}

/// What a thread or task holds, and what it must come to. `Entered` is of threads only.
enum Held {
    Step(StepGuard, String),
    Vector(VectorGuard, String),
}

/// The model's side of a held guard, or of an entered span: the name of the step, which is unique.
#[derive(Clone)]
struct Believed {
    step: Option<String>,
}

struct Actor {
    name: String,
    run: Run,
    held: Vec<Held>,
    believed: Vec<Believed>,
    ended: Vec<String>,
    span: Option<(tracing::Span, Believed)>,
    opened: usize,
    said: usize,
    expected: Arc<Mutex<BTreeMap<String, Vec<String>>>>,
}

impl Actor {
    fn new(name: String, run: &Run, expected: &Arc<Mutex<BTreeMap<String, Vec<String>>>>) -> Self {
        Self {
            name,
            run: run.clone(),
            held: Vec::new(),
            believed: Vec::new(),
            ended: Vec::new(),
            span: None,
            opened: 0,
            said: 0,
            expected: Arc::clone(expected),
        }
    }

    /// The innermost step that has not ended, as the model has it.
    fn active(&self) -> Option<String> {
        let open = |name: &&String| !self.ended.contains(name);
        self.believed.iter().rev().filter_map(|believed| believed.step.as_ref()).find(open).cloned()
    }

    fn innermost(&self) -> Option<(Step, String)> {
        self.held.last().map(|held| match held {
            Held::Step(step, name) => (step.handle(), name.clone()),
            Held::Vector(vector, name) => (vector.parent().clone(), name.clone()),
        })
    }

    fn hold(&mut self, held: Held, name: String) {
        self.held.push(held);
        self.believed.push(Believed { step: Some(name) });
    }

    fn perform(&mut self, op: Op) {
        match op {
            Op::OpenStep | Op::OpenNested => {
                self.opened += 1;
                let name = format!("{}.{}", self.name, self.opened);
                let step = match (op, self.innermost()) {
                    (Op::OpenNested, Some((parent, _))) => parent.step(name.as_str()),
                    _ => self.run.step(name.as_str()),
                };
                self.hold(Held::Step(step, name.clone()), name);
            }
            Op::OpenVector => {
                if let Some((step, name)) = self.innermost() {
                    self.hold(Held::Vector(step.vector(params! { x: 1 }), name.clone()), name);
                }
            }
            Op::Close => {
                self.believed.pop();
                if let Some(Held::Step(_, name)) = self.held.pop() {
                    self.ended.push(name);
                }
            }
            Op::EndEarly => {
                if let Some((step, name)) = self.innermost() {
                    step.end();
                    self.ended.push(name);
                }
            }
            Op::MakeSpan => {
                self.span = Some((tracing::info_span!("span"), Believed { step: self.active() }));
            }
            Op::Warn => {
                self.said += 1;
                let message = format!("{} says {}", self.name, self.said);
                tracing::warn!("{message}");
                let active = self.active();
                assert_eq!(active_step().and_then(|step| step.name()), active);
                if let Some(step) = active {
                    self.expected.lock().expect("the model").entry(step).or_default().push(message);
                }
            }
            Op::Info => tracing::info!("{} chats", self.name),
            Op::EnterSpan | Op::Yield => {}
        }
    }

    /// On a thread, spans are entered, and what follows happens inside.
    fn play(&mut self, ops: &[Op]) {
        let mut ops = ops.iter();
        while let Some(op) = ops.next() {
            match (op, self.span.clone()) {
                (Op::EnterSpan, Some((span, believed))) => {
                    let entered: EnteredSpan = span.entered();
                    let (held, believed_before) = (self.held.len(), self.believed.len());
                    self.believed.push(believed);
                    let rest: Vec<_> = ops.by_ref().take(6).copied().collect();
                    for op in rest {
                        // What was held before the span stays, so that guards are dropped in the order they were made.
                        if !(matches!(op, Op::Close) && self.held.len() == held) && !matches!(op, Op::EnterSpan) {
                            self.perform(op);
                        }
                    }
                    while self.held.len() > held {
                        self.perform(Op::Close);
                    }
                    self.believed.truncate(believed_before);
                    drop(entered);
                }
                (Op::Yield, _) => std::thread::yield_now(),
                (op, _) => self.perform(*op),
            }
        }
        while !self.held.is_empty() {
            self.perform(Op::Close);
        }
    }

    async fn play_async(&mut self, ops: &[Op]) {
        for op in ops {
            match op {
                Op::Yield => tokio::task::yield_now().await,
                op => self.perform(*op),
            }
        }
        while !self.held.is_empty() {
            self.perform(Op::Close);
        }
    }
}

fn dispatch() -> tracing::Dispatch {
    tracing::Dispatch::new(tracing_subscriber::registry().with(BridgeLayer::new(Bridge::new())))
}

/// Seals the run; every message stands at its step, in the order it was said, and nowhere else.
fn check(run: &Run, data_dir: &std::path::Path, expected: &Mutex<BTreeMap<String, Vec<String>>>) {
    run.finish().expect("sealed");
    let mut found = BTreeMap::new();
    for row in rows::table(&rows::only_run(data_dir), Table::Steps) {
        let text = row.get("step_error_message").and_then(|text| text.as_str());
        let lines: Vec<_> = text.into_iter().flat_map(str::lines).map(str::to_owned).collect();
        if !lines.is_empty() {
            assert_eq!(row["step_outcome"], "failed");
            found.insert(row["step_name"].as_str().expect("a name").to_owned(), lines);
        }
    }
    assert_eq!(found, *expected.lock().expect("the model"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn threads(scripts in proptest::collection::vec(ops(true), 1..5)) {
        let folder = tempfile::tempdir().expect("a folder");
        let client = Client::new(folder.path()).format(litmus_record::Format::Nested);
        let run = client.start_run(RunOptions::new("S", "b")).expect("a run");
        let expected = Arc::default();
        std::thread::scope(|threads| {
            for (at, script) in scripts.iter().enumerate() {
                let mut actor = Actor::new(format!("thread{at}"), &run, &expected);
                threads.spawn(move || tracing::dispatcher::with_default(&dispatch(), || actor.play(script)));
            }
        });
        check(&run, folder.path(), &expected);
    }

    #[test]
    fn tasks(scripts in proptest::collection::vec(ops(false), 1..6)) {
        let folder = tempfile::tempdir().expect("a folder");
        let client = Client::new(folder.path()).format(litmus_record::Format::Nested);
        let run = client.start_run(RunOptions::new("S", "b")).expect("a run");
        let expected = Arc::default();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(3).build().expect("a runtime");
        runtime.block_on(async {
            let mut tasks = Vec::new();
            for (at, script) in scripts.into_iter().enumerate() {
                let mut actor = Actor::new(format!("task{at}"), &run, &expected);
                let play = async move { actor.play_async(&script).await };
                tasks.push(tokio::spawn(scope(play).with_subscriber(dispatch())));
            }
            for task in tasks {
                task.await.expect("the task plays to its end");
            }
        });
        check(&run, folder.path(), &expected);
    }
}

#[test]
fn a_span_carries_its_step_to_other_threads() {
    let folder = tempfile::tempdir().expect("a folder");
    let client = Client::new(folder.path()).format(litmus_record::Format::Nested);
    let run = client.start_run(RunOptions::new("S", "b")).expect("a run");
    let expected: Mutex<BTreeMap<String, Vec<String>>> = Mutex::default();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(3).build().expect("a runtime");
    tracing::dispatcher::with_default(&dispatch(), || {
        let mut tasks = Vec::new();
        let mut steps = Vec::new();
        for at in 0..6 {
            let step = run.step(format!("step {at}").as_str());
            let chatter = async move {
                for line in 0..5 {
                    tokio::task::yield_now().await;
                    tracing::warn!("task {at} line {line}");
                }
            };
            // Instrumented while its step is active; it runs when others are, on threads where none is.
            tasks.push(runtime.spawn(chatter.instrument(tracing::info_span!("task")).with_current_subscriber()));
            expected
                .lock()
                .expect("the model")
                .insert(format!("step {at}"), (0..5).map(|line| format!("task {at} line {line}")).collect::<Vec<_>>());
            steps.push(step);
        }
        for task in tasks {
            runtime.block_on(task).expect("the task ends");
        }
        drop(steps);
    });
    check(&run, folder.path(), &expected);
}

#[test]
fn a_vector_fails_with_its_step() {
    let folder = tempfile::tempdir().expect("a folder");
    let run = Client::new(folder.path()).start_run(RunOptions::new("S", "b")).expect("a run");
    let step = run.step("s");
    let (failed, passed) = (step.open_vector(params! { x: 1 }), step.open_vector(params! { x: 2 }));
    {
        let _active = failed.activate();
        assert!(active_vector().is_some());
        assert_eq!(Bridge::new().emit(Level::Error, "t", || "burnt".to_owned()), Effect::Failed);
    }
    assert!(active_vector().is_none());
    passed.measure("v", 1.0).low(0.0);
    let outcomes = [failed.outcome(), passed.outcome(), step.outcome()];
    use litmus_record::Outcome::{Failed, Passed};
    assert_eq!(outcomes, [Some(Failed), Some(Passed), Some(Failed)]);
}
