//! A vector that is being recorded: one set of inputs that a step is run with.

use std::fmt;
use std::ops::Deref;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::active::{Activation, Active};
use crate::data::Event;
use crate::measure::Place;
use crate::run::now;
use crate::{Measure, Measurement, Measuring, Outcome, Reading, RecordError, Step, Value};

/// A vector that is being recorded; a cheap handle, all clones of which are the same vector. What is said of [`Step`] about
/// recording too late holds here, too.
#[derive(Clone)]
pub struct Vector {
    step: Step,
    /// Its position in the step; none where the run was over already.
    at: Option<usize>,
    ended: Arc<AtomicBool>,
}

impl Vector {
    pub(crate) fn open(step: &Step, params: Vec<(String, Value)>) -> Self {
        let open = |at: usize| {
            let event = Event::VectorStarted { step: at, params };
            step.shared.record_as(now(), event, |data| data.steps[at].vectors.len() - 1)
        };
        let at = step.place().and_then(open).ok();
        Self { step: step.clone(), at, ended: Arc::new(AtomicBool::new(at.is_none())) }
    }

    fn place(&self) -> Result<(usize, Option<usize>), RecordError> {
        let vector = self.at.ok_or_else(|| self.step.shared.refuse("what belongs to a vector"))?;
        Ok((self.step.place()?, Some(vector)))
    }

    /// The step it belongs to.
    pub fn parent(&self) -> &Step {
        &self.step
    }

    /// The outcome so far; none once the run is sealed.
    pub fn outcome(&self) -> Option<Outcome> {
        let (step, vector) = self.place().ok()?;
        self.step.shared.look(|data| data.steps[step].vectors[vector?].outcome).flatten()
    }

    /// Describes a measurement, which is recorded at the end of the statement.
    pub fn measure(&self, name: impl Into<String>, value: impl Into<Reading>) -> Measuring {
        Measuring::new(Place::Vector(self.clone()), Measure::new(name, value))
    }

    /// Records a measurement and says how it was judged.
    pub fn record(&self, measure: Measure) -> Result<Measurement, RecordError> {
        let now = now();
        let measurement = measure.judged(now);
        let (step, vector) = self.place()?;
        let event = Event::Measured { step, vector, measurement: Box::new(measurement.clone()) };
        self.step.shared.record_as(now, event, |_| measurement)
    }

    /// Marks the vector as failed; the step fails when the vector ends.
    pub fn fail(&self, message: impl Into<String>) {
        self.judge(Outcome::Failed, Some(message.into()));
    }

    /// Marks the vector as skipped, unless it failed already.
    pub fn skip(&self, message: impl Into<String>) {
        self.judge(Outcome::Skipped, Some(message.into()));
    }

    /// Marks the vector as errored.
    pub fn error(&self, message: impl Into<String>) {
        self.judge(Outcome::Errored, Some(message.into()));
    }

    /// Judges the vector by any outcome, as [`Step::judge`] does the step.
    pub fn judge(&self, outcome: Outcome, message: Option<String>) {
        if let Ok((step, vector)) = self.place() {
            let _ = self.step.shared.record(Event::Judged { step, vector, outcome, message });
        }
    }

    /// Notes an output: a value that was observed, not judged. The last one of a name counts.
    pub fn observe(&self, name: impl Into<String>, value: impl Into<Value>) {
        if let Ok((step, vector)) = self.place() {
            let event = Event::Observed { step, vector, name: name.into(), value: value.into() };
            let _ = self.step.shared.record(event);
        }
    }

    /// Stores bytes beside the run, as [`Step::attach`] does, as an output of the vector.
    pub fn attach(&self, name: &str, bytes: &[u8]) -> Result<String, RecordError> {
        let (_, vector) = self.place()?;
        self.step.attach_to(vector, name, |attachments| attachments.write(name, bytes))
    }

    /// The same with a copy of a file.
    pub fn attach_file(&self, path: &Path) -> Result<String, RecordError> {
        let (_, vector) = self.place()?;
        let name = path.file_name().map_or_else(|| "file".into(), |name| name.to_string_lossy().into_owned());
        self.step.attach_to(vector, &name, |attachments| attachments.copy(&name, path))
    }

    /// Makes it, and with it its step, the active one of this thread until the activation is dropped.
    pub fn activate(&self) -> Activation {
        Activation::push(Active::Vector(self.clone()))
    }

    /// Ends the vector; ending it again does nothing.
    pub fn end(&self) {
        if self.ended.swap(true, Ordering::AcqRel) {
            return;
        }
        if let Ok((step, Some(vector))) = self.place() {
            let _ = self.step.shared.record(Event::VectorEnded { step, vector });
        }
    }

    /// Ends the vector as errored.
    pub fn end_with_error(&self, message: impl Into<String>) {
        if !self.has_ended() {
            self.error(message);
        }
        self.end();
    }

    /// Whether it, or its step, has ended.
    pub fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire) || self.step.has_ended()
    }
}

impl fmt::Debug for Vector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vector").field("step", &self.step).field("at", &self.at).finish_non_exhaustive()
    }
}

/// Ends its vector when dropped; by a panic, as errored. Reads as a [`Vector`].
#[derive(Debug)]
#[must_use = "the vector ends when this is dropped"]
pub struct VectorGuard {
    vector: Vector,
    active: Activation,
    was_panicking: bool,
}

impl VectorGuard {
    pub(crate) fn new(vector: Vector) -> Self {
        let active = vector.activate();
        Self { vector, active, was_panicking: std::thread::panicking() }
    }

    /// A handle that outlives the guard.
    pub fn handle(&self) -> Vector {
        self.vector.clone()
    }
}

impl Deref for VectorGuard {
    type Target = Vector;
    fn deref(&self) -> &Vector {
        &self.vector
    }
}

impl Drop for VectorGuard {
    fn drop(&mut self) {
        self.active.end();
        if std::thread::panicking() && !self.was_panicking {
            self.vector.end_with_error("panicked");
        } else {
            self.vector.end();
        }
    }
}
