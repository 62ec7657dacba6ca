//! A step that is being recorded.

use std::fmt;
use std::ops::Deref;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::active::{Activation, Active, Scoped};
use crate::bridge::Level;
use crate::data::Event;
use crate::measure::Place;
use crate::run::{Shared, now};
use crate::{
    Instrument, Measure, Measurement, Measuring, Outcome, Reading, RecordError, Run, StepOptions, Value, Vector,
    VectorGuard,
};

/// A step that is being recorded; a cheap handle, all clones of which are the same step.
///
/// What is recorded after the run was finished is not in its file: `record`, `attach` and `attach_file` say so, the others are
/// counted in [`Sealed::late`](crate::Sealed::late).
#[derive(Clone)]
pub struct Step {
    pub(crate) shared: Arc<Shared>,
    /// Its position in the run; none where the run was over already when it was opened.
    at: Option<usize>,
    ended: Arc<AtomicBool>,
}

impl Step {
    pub(crate) fn open(shared: &Arc<Shared>, parent: Option<usize>, options: StepOptions) -> Self {
        let event = Event::StepStarted { parent, options };
        let at = shared.record_as(now(), event, |data| data.steps.len() - 1).ok();
        Self { shared: Arc::clone(shared), at, ended: Arc::new(AtomicBool::new(at.is_none())) }
    }

    pub(crate) fn place(&self) -> Result<usize, RecordError> {
        self.at.ok_or_else(|| self.shared.refuse("what belongs to a step"))
    }

    /// The run it belongs to.
    pub fn run(&self) -> Run {
        Run { shared: Arc::clone(&self.shared) }
    }

    /// Its name; none once the run is sealed.
    pub fn name(&self) -> Option<String> {
        self.shared.look(|data| self.at.map(|at| data.steps[at].options.name.clone())).flatten()
    }

    /// The outcome so far; none once the run is sealed.
    pub fn outcome(&self) -> Option<Outcome> {
        self.shared.look(|data| self.at.and_then(|at| data.steps[at].outcome)).flatten()
    }

    /// Starts a step within this one, active until the guard is dropped. Its path is this one's, `/`, its name; a failure of it
    /// fails this one when it ends.
    pub fn step(&self, step: impl Into<StepOptions>) -> StepGuard {
        StepGuard::new(self.open_step(step))
    }

    /// Starts a step within this one that ends with [`end`](Self::end) and is active nowhere.
    pub fn open_step(&self, step: impl Into<StepOptions>) -> Self {
        Self::open(&self.shared, self.at, step.into())
    }

    /// Starts a vector, active until the guard is dropped: `step.vector(params! { input_voltage: 5.0 })`.
    pub fn vector<N: Into<String>, V: Into<Value>>(&self, params: impl IntoIterator<Item = (N, V)>) -> VectorGuard {
        VectorGuard::new(self.open_vector(params))
    }

    /// Starts a vector that ends with [`Vector::end`] or with the step, and is active nowhere.
    pub fn open_vector<N: Into<String>, V: Into<Value>>(&self, params: impl IntoIterator<Item = (N, V)>) -> Vector {
        Vector::open(self, params.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }

    /// Describes a measurement, which is recorded at the end of the statement:
    /// `step.measure("vcc", 3.31).units("V").low(3.0).high(3.6);`
    pub fn measure(&self, name: impl Into<String>, value: impl Into<Reading>) -> Measuring {
        Measuring::new(Place::Step(self.clone()), Measure::new(name, value))
    }

    /// Records a measurement and says how it was judged.
    pub fn record(&self, measure: Measure) -> Result<Measurement, RecordError> {
        let now = now();
        let measurement = measure.judged(now);
        let event = Event::Measured { step: self.place()?, vector: None, measurement: Box::new(measurement.clone()) };
        self.shared.record_as(now, event, |_| measurement)
    }

    /// Marks the step as failed.
    pub fn fail(&self, message: impl Into<String>) {
        self.judge(Outcome::Failed, Some(message.into()));
    }

    /// Marks the step as skipped, unless it failed already.
    pub fn skip(&self, message: impl Into<String>) {
        self.judge(Outcome::Skipped, Some(message.into()));
    }

    /// Marks the step as errored: the test itself broke.
    pub fn error(&self, message: impl Into<String>) {
        self.judge(Outcome::Errored, Some(message.into()));
    }

    /// Judges the step by any outcome: a skip as by [`skip`](Self::skip), any other if it is worse than what it has.
    pub fn judge(&self, outcome: Outcome, message: Option<String>) {
        if let Ok(step) = self.place() {
            let _ = self.shared.record(Event::Judged { step, vector: None, outcome, message });
        }
    }

    /// Notes an output: a value that was observed, not judged. The last one of a name counts.
    pub fn observe(&self, name: impl Into<String>, value: impl Into<Value>) {
        if let Ok(step) = self.place() {
            let event = Event::Observed { step, vector: None, name: name.into(), value: value.into() };
            let _ = self.shared.record(event);
        }
    }

    /// Notes an instrument that the step uses.
    pub fn instrument(&self, instrument: Instrument) {
        if let Ok(step) = self.place() {
            let _ = self.shared.record(Event::Used { step: Some(step), instrument: Box::new(instrument) });
        }
    }

    /// Stores bytes beside the run, under a name such as `scope.csv`, and refers to them as the output `scope`. Gives the
    /// reference.
    pub fn attach(&self, name: &str, bytes: &[u8]) -> Result<String, RecordError> {
        self.attach_to(None, name, |attachments| attachments.write(name, bytes))
    }

    /// The same with a copy of a file.
    pub fn attach_file(&self, path: &Path) -> Result<String, RecordError> {
        let name = path.file_name().map_or_else(|| "file".into(), |name| name.to_string_lossy().into_owned());
        self.attach_to(None, &name, |attachments| attachments.copy(&name, path))
    }

    pub(crate) fn attach_to(
        &self,
        vector: Option<usize>,
        name: &str,
        store: impl FnOnce(&crate::seal::Attachments) -> Result<String, RecordError>,
    ) -> Result<String, RecordError> {
        let _busy = crate::bridge::Busy::enter();
        let step = self.place()?;
        let taken = |key: &str| {
            let look = |data: &crate::data::RunData| {
                let data = &data.steps[step];
                let outputs = vector.map_or(&data.outputs, |vector| &data.vectors[vector].outputs);
                outputs.iter().any(|(known, _)| known == key)
            };
            self.shared.look(look).unwrap_or(false)
        };
        let key = crate::seal::output_name(name, taken);
        let reference = store(&self.shared.attachments)?;
        let value = Value::Text(reference.clone());
        self.shared.record_as(now(), Event::Observed { step, vector, name: key, value }, |_| reference)
    }

    /// Keeps a log record with the step: all of a step's become its attachment `log.jsonl` when it ends.
    pub fn log(&self, level: Level, target: &str, message: &str) {
        if let Ok(step) = self.place() {
            let line = crate::bridge::line(now(), level, target, message);
            let _ = self.shared.record(Event::Logged { step, line });
        }
    }

    /// Makes it the active step of this thread, until the activation is dropped, wherever that happens.
    pub fn activate(&self) -> Activation {
        Activation::push(Active::Step(self.clone()))
    }

    /// Runs a future with this step as the active one, on whatever thread it is polled.
    pub fn scope<F: Future>(&self, future: F) -> Scoped<F> {
        Scoped::new(Some(Active::Step(self.clone())), future)
    }

    /// Ends the step; ending it again does nothing.
    pub fn end(&self) {
        if self.ended.swap(true, Ordering::AcqRel) {
            return;
        }
        if let Ok(step) = self.place() {
            let _busy = crate::bridge::Busy::enter();
            self.keep_log(step);
            let _ = self.shared.record(Event::StepEnded { step });
        }
    }

    /// Ends the step as errored: for who catches what a test throws.
    pub fn end_with_error(&self, message: impl Into<String>) {
        if !self.has_ended() {
            self.error(message);
        }
        self.end();
    }

    /// Whether it has ended.
    pub fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    fn keep_log(&self, step: usize) {
        let log = self.shared.look(|data| data.steps[step].log.clone()).unwrap_or_default();
        // A log that cannot be written is written again when the run is sealed; that failing is an error.
        if !log.is_empty() && self.attach("log.jsonl", log.as_bytes()).is_ok() {
            let _ = self.shared.record(Event::LogKept { step, bytes: log.len() });
        }
    }
}

impl fmt::Debug for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Step").field("run", &self.shared.run_id).field("at", &self.at).finish_non_exhaustive()
    }
}

/// Ends its step when dropped; by a panic, as errored. Reads as a [`Step`].
#[derive(Debug)]
#[must_use = "the step ends when this is dropped"]
pub struct StepGuard {
    step: Step,
    active: Activation,
    was_panicking: bool,
}

impl StepGuard {
    pub(crate) fn new(step: Step) -> Self {
        let active = step.activate();
        Self { step, active, was_panicking: std::thread::panicking() }
    }

    /// A handle that outlives the guard.
    pub fn handle(&self) -> Step {
        self.step.clone()
    }
}

impl Deref for StepGuard {
    type Target = Step;
    fn deref(&self) -> &Step {
        &self.step
    }
}

impl Drop for StepGuard {
    fn drop(&mut self) {
        self.active.end();
        if std::thread::panicking() && !self.was_panicking {
            self.step.end_with_error("panicked");
        } else {
            self.step.end();
        }
    }
}
