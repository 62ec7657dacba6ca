//! What was recorded so far, and the events by which it came to be: a run is what its events make of it, whether they come
//! from the test or out of a journal.

use jiff::Timestamp;
use litmus_core::RunId;
use serde::{Deserialize, Serialize};

use crate::{Format, Instrument, Measurement, Outcome, RunOptions, StepOptions, Value};

/// Messages kept of one step or vector; more are counted.
const MESSAGES_MAX: usize = 200;

/// What is settled when a run starts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Header {
    pub(crate) format: Format,
    pub(crate) run_id: RunId,
    pub(crate) session_id: RunId,
    pub(crate) started_at: Timestamp,
    /// The sealed file's name without `.parquet`: settled at the start, since attachments lie beside it in flat stores.
    pub(crate) stem: String,
    pub(crate) options: RunOptions,
}

/// One thing that happened. Steps are told by their position, vectors by their position in their step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(crate) enum Event {
    StepStarted {
        parent: Option<usize>,
        options: StepOptions,
    },
    StepEnded {
        step: usize,
    },
    VectorStarted {
        step: usize,
        params: Vec<(String, Value)>,
    },
    VectorEnded {
        step: usize,
        vector: usize,
    },
    Measured {
        step: usize,
        vector: Option<usize>,
        measurement: Box<Measurement>,
    },
    Judged {
        step: usize,
        vector: Option<usize>,
        outcome: Outcome,
        message: Option<String>,
    },
    Observed {
        step: usize,
        vector: Option<usize>,
        name: String,
        value: Value,
    },
    Logged {
        step: usize,
        line: String,
    },
    /// The first bytes of a step's log have become an attachment.
    LogKept {
        step: usize,
        bytes: usize,
    },
    Used {
        step: Option<usize>,
        instrument: Box<Instrument>,
    },
    Custom {
        name: String,
        value: Value,
    },
    RunJudged {
        outcome: Outcome,
    },
}

/// A step as recorded so far.
#[derive(Clone, Debug)]
pub(crate) struct StepData {
    pub(crate) options: StepOptions,
    pub(crate) parent: Option<usize>,
    pub(crate) path: String,
    pub(crate) started_at: Timestamp,
    pub(crate) ended_at: Option<Timestamp>,
    pub(crate) outcome: Option<Outcome>,
    pub(crate) messages: Messages,
    /// Those of the step itself.
    pub(crate) measurements: Vec<Measurement>,
    /// How many vectors there were when the first of those came: its place among them in a flat file.
    pub(crate) measured_after: usize,
    pub(crate) vectors: Vec<VectorData>,
    pub(crate) outputs: Vec<(String, Value)>,
    pub(crate) instruments: Vec<Instrument>,
    /// Log records kept, a JSON object a line; they become an attachment when the step ends.
    pub(crate) log: String,
}

/// A vector as recorded so far.
#[derive(Clone, Debug)]
pub(crate) struct VectorData {
    pub(crate) params: Vec<(String, Value)>,
    pub(crate) started_at: Timestamp,
    pub(crate) ended_at: Option<Timestamp>,
    pub(crate) outcome: Option<Outcome>,
    pub(crate) messages: Messages,
    pub(crate) measurements: Vec<Measurement>,
    pub(crate) outputs: Vec<(String, Value)>,
}

/// Why something failed, was skipped or broke, in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Messages {
    kept: Vec<String>,
    more: usize,
}

impl Messages {
    fn add(&mut self, message: Option<String>) {
        let Some(message) = message.filter(|message| !message.is_empty()) else { return };
        if self.kept.len() < MESSAGES_MAX {
            self.kept.push(message);
        } else {
            self.more += 1;
        }
    }

    /// A line each.
    pub(crate) fn text(&self) -> Option<String> {
        if self.kept.is_empty() {
            return None;
        }
        let mut text = self.kept.join("\n");
        if self.more > 0 {
            text.push_str(&format!("\n… and {} more", self.more));
        }
        Some(text)
    }
}

/// A run as recorded so far.
#[derive(Clone, Debug)]
pub(crate) struct RunData {
    pub(crate) header: Header,
    pub(crate) ended_at: Option<Timestamp>,
    pub(crate) outcome: Option<Outcome>,
    pub(crate) steps: Vec<StepData>,
    pub(crate) instruments: Vec<Instrument>,
    pub(crate) custom: Vec<(String, Value)>,
}

/// An event that speaks of a step or vector that is not there: only a journal can hold one.
#[derive(Debug)]
pub(crate) struct NoSuchPlace;

impl RunData {
    pub(crate) fn new(header: Header) -> Self {
        Self { header, ended_at: None, outcome: None, steps: Vec::new(), instruments: Vec::new(), custom: Vec::new() }
    }

    /// Lets something have happened at `at`.
    pub(crate) fn apply(&mut self, at: Timestamp, event: Event) -> Result<(), NoSuchPlace> {
        match event {
            Event::StepStarted { parent, options } => self.start_step(at, parent, options)?,
            Event::StepEnded { step } => self.end_step(at, step)?,
            Event::VectorStarted { step, params } => {
                self.step(step)?.vectors.push(VectorData {
                    params,
                    started_at: at,
                    ended_at: None,
                    outcome: None,
                    messages: Messages::default(),
                    measurements: Vec::new(),
                    outputs: Vec::new(),
                });
            }
            Event::VectorEnded { step, vector } => {
                let data = self.vector(step, vector)?;
                data.ended_at.get_or_insert(at.max(data.started_at));
                let outcome = data.outcome;
                self.escalate(Some(step), outcome);
            }
            Event::Measured { step, vector, measurement } => {
                let outcome = measurement.outcome;
                match vector {
                    Some(vector) => {
                        self.vector(step, vector)?.measurements.push(*measurement);
                        self.escalate_vector(step, vector, outcome)?;
                    }
                    None => {
                        let data = self.step(step)?;
                        if data.measurements.is_empty() {
                            data.measured_after = data.vectors.len();
                        }
                        data.measurements.push(*measurement);
                        self.escalate(Some(step), outcome);
                    }
                }
            }
            Event::Judged { step, vector, outcome, message } => self.judge(step, vector, outcome, message)?,
            Event::Observed { step, vector, name, value } => {
                let outputs = match vector {
                    Some(vector) => &mut self.vector(step, vector)?.outputs,
                    None => &mut self.step(step)?.outputs,
                };
                // As in the platform's dictionary: the last value of a name counts, in the place of the first.
                match outputs.iter_mut().find(|(known, _)| *known == name) {
                    Some(known) => known.1 = value,
                    None => outputs.push((name, value)),
                }
            }
            Event::Logged { step, line } => {
                let log = &mut self.step(step)?.log;
                log.push_str(&line);
                log.push('\n');
            }
            Event::LogKept { step, bytes } => {
                let log = &mut self.step(step)?.log;
                *log = log.split_off(if log.is_char_boundary(bytes) { bytes } else { log.len() });
            }
            Event::Used { step, instrument } => match step {
                Some(step) => self.step(step)?.instruments.push(*instrument),
                None => self.instruments.push(*instrument),
            },
            Event::Custom { name, value } => match self.custom.iter_mut().find(|(known, _)| *known == name) {
                Some(known) => known.1 = value,
                None => self.custom.push((name, value)),
            },
            Event::RunJudged { outcome } => self.escalate(None, Some(outcome)),
        }
        Ok(())
    }

    pub(crate) fn step(&mut self, step: usize) -> Result<&mut StepData, NoSuchPlace> {
        self.steps.get_mut(step).ok_or(NoSuchPlace)
    }

    pub(crate) fn vector(&mut self, step: usize, vector: usize) -> Result<&mut VectorData, NoSuchPlace> {
        self.step(step)?.vectors.get_mut(vector).ok_or(NoSuchPlace)
    }

    fn start_step(&mut self, at: Timestamp, parent: Option<usize>, options: StepOptions) -> Result<(), NoSuchPlace> {
        let path = match parent {
            Some(parent) => format!("{}/{}", self.step(parent)?.path, options.name),
            None => options.name.clone(),
        };
        self.steps.push(StepData {
            options,
            parent,
            path,
            started_at: at,
            ended_at: None,
            outcome: None,
            messages: Messages::default(),
            measurements: Vec::new(),
            measured_after: 0,
            vectors: Vec::new(),
            outputs: Vec::new(),
            instruments: Vec::new(),
            log: String::new(),
        });
        Ok(())
    }

    /// Ends a step, and first the vectors that are still open in it.
    fn end_step(&mut self, at: Timestamp, step: usize) -> Result<(), NoSuchPlace> {
        for vector in 0..self.step(step)?.vectors.len() {
            if self.steps[step].vectors[vector].ended_at.is_none() {
                self.apply(at, Event::VectorEnded { step, vector })?;
            }
        }
        let data = self.step(step)?;
        // A clock that was set back makes no step that ends before it starts.
        data.ended_at.get_or_insert(at.max(data.started_at));
        let (outcome, parent) = (data.outcome, data.parent);
        self.escalate(parent, outcome);
        Ok(())
    }

    /// Ends the run, and first what is still open, the innermost first.
    pub(crate) fn end(&mut self, at: Timestamp) {
        for step in (0..self.steps.len()).rev() {
            if self.steps[step].ended_at.is_none() {
                let _: Result<(), NoSuchPlace> = self.end_step(at, step);
            }
        }
        self.ended_at.get_or_insert(at.max(self.header.started_at));
    }

    fn judge(
        &mut self,
        step: usize,
        vector: Option<usize>,
        outcome: Outcome,
        message: Option<String>,
    ) -> Result<(), NoSuchPlace> {
        let (held, messages) = match vector {
            Some(vector) => {
                let data = self.vector(step, vector)?;
                (&mut data.outcome, &mut data.messages)
            }
            None => {
                let data = self.step(step)?;
                (&mut data.outcome, &mut data.messages)
            }
        };
        messages.add(message);
        // A skip stands above what was measured before, as on the platform; but it hides no failure.
        if outcome == Outcome::Skipped && held.is_none_or(|held| held < Outcome::Failed) {
            *held = Some(outcome);
            return Ok(());
        }
        match vector {
            Some(vector) => self.escalate_vector(step, vector, Some(outcome)),
            None => {
                self.escalate(Some(step), Some(outcome));
                Ok(())
            }
        }
    }

    fn escalate_vector(&mut self, step: usize, vector: usize, outcome: Option<Outcome>) -> Result<(), NoSuchPlace> {
        let data = self.vector(step, vector)?;
        data.outcome = Outcome::worse(data.outcome, outcome);
        if data.ended_at.is_some() {
            self.escalate(Some(step), outcome);
        }
        Ok(())
    }

    /// An outcome reaches what is above a step when the step ends, or at once if it has.
    fn escalate(&mut self, mut at: Option<usize>, outcome: Option<Outcome>) {
        while let Some(step) = at {
            let data = &mut self.steps[step];
            data.outcome = Outcome::worse(data.outcome, outcome);
            if data.ended_at.is_none() {
                return;
            }
            at = data.parent;
        }
        self.outcome = Outcome::worse(self.outcome, outcome);
    }
}

impl Event {
    /// For messages.
    pub(crate) const fn what(&self) -> &'static str {
        match self {
            Self::StepStarted { .. } => "a step",
            Self::StepEnded { .. } | Self::VectorEnded { .. } => "the end of a step",
            Self::VectorStarted { .. } => "a vector",
            Self::Measured { .. } => "a measurement",
            Self::Judged { .. } | Self::RunJudged { .. } => "a verdict",
            Self::Observed { .. } => "an output",
            Self::Logged { .. } | Self::LogKept { .. } => "a log record",
            Self::Used { .. } => "an instrument",
            Self::Custom { .. } => "a custom value",
        }
    }
}
