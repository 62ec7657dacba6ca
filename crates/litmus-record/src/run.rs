//! A run that is being recorded.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::{Timestamp, Unit};
use litmus_core::RunId;

use crate::data::{Event, Header, RunData};
use crate::seal::{self, Attachments, JournalFile};
use crate::{Client, Instrument, Journal, Outcome, RecordError, RunOptions, Step, StepGuard, StepOptions, Value};

/// A run that is being recorded; a cheap handle, all clones of which are the same run.
///
/// [`finish`](Self::finish) seals it. A run that is dropped unfinished is not saved, as with the platform's client; with a
/// journal, [`recover`](crate::recover) seals it as aborted.
#[derive(Clone)]
pub struct Run {
    pub(crate) shared: Arc<Shared>,
}

/// A sealed run.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Sealed {
    /// The run.
    pub run_id: RunId,
    /// The sealed file.
    pub path: PathBuf,
    /// As sealed; none if nothing was judged.
    pub outcome: Option<Outcome>,
    /// Start of the run.
    pub started_at: Timestamp,
    /// End of the run.
    pub ended_at: Timestamp,
    /// What came after the end, and is not in the file.
    pub late: u64,
    /// Why the journal could not be written, if so: the run would not have survived a crash.
    pub journal_error: Option<RecordError>,
}

/// What the handles share.
pub(crate) struct Shared {
    pub(crate) run_id: RunId,
    data_dir: PathBuf,
    pub(crate) attachments: Attachments,
    recording: Mutex<Recording>,
}

struct Recording {
    state: State,
    journal: Option<JournalFile>,
    journal_error: Option<RecordError>,
    /// What came too late.
    late: u64,
}

enum State {
    Open(Box<RunData>),
    /// Somebody is sealing it, without holding the lock.
    Sealing,
    Sealed(Box<Sealed>),
    Aborted(Box<RunData>),
}

/// The time as files have it: microseconds.
pub(crate) fn now() -> Timestamp {
    micros(Timestamp::now())
}

fn micros(time: Timestamp) -> Timestamp {
    time.round(Unit::Microsecond).unwrap_or(time)
}

impl Run {
    pub(crate) fn start(client: &Client, mut options: RunOptions) -> Result<Self, RecordError> {
        let random = || RunId::from_bytes(*uuid::Uuid::new_v4().as_bytes());
        let run_id = options.run_id.unwrap_or_else(random);
        let started_at = options.started_at.map_or_else(now, micros);
        let stem = seal::stem(&client.data_dir, started_at, run_id, &options.dut_serial);
        // The platform's runners note it; a run can be led back to its bench even where nobody named that.
        let hostname = || rustix::system::uname().nodename().to_string_lossy().into_owned();
        options.station_hostname.get_or_insert_with(hostname);
        let session_id = options.session_id.unwrap_or_else(random);
        let header = Header { format: client.format, run_id, session_id, started_at, stem, options };
        let journal = match client.journal {
            Journal::Off => None,
            kept => Some(JournalFile::create(&client.data_dir, &header, kept == Journal::Synced)?),
        };
        let attachments = Attachments::new(&client.data_dir, &header);
        attachments.forget_when_dropped(journal.is_none());
        let state = State::Open(Box::new(RunData::new(header)));
        let recording = Recording { state, journal, journal_error: None, late: 0 };
        let data_dir = client.data_dir.clone();
        Ok(Self { shared: Arc::new(Shared { run_id, data_dir, attachments, recording: Mutex::new(recording) }) })
    }

    /// The run's id.
    pub fn id(&self) -> RunId {
        self.shared.run_id
    }

    /// Starts a step and makes it the active one of this thread, until the guard is dropped: `let step = run.step("vcc");`.
    /// A step that is dropped by a panic is errored.
    pub fn step(&self, step: impl Into<StepOptions>) -> StepGuard {
        StepGuard::new(self.open_step(step))
    }

    /// Starts a step that ends with [`Step::end`], or with the run, and is active nowhere.
    pub fn open_step(&self, step: impl Into<StepOptions>) -> Step {
        Step::open(&self.shared, None, step.into())
    }

    /// Notes a custom value; the last one of a name counts.
    pub fn custom(&self, name: impl Into<String>, value: impl Into<Value>) {
        let _ = self.shared.record(Event::Custom { name: name.into(), value: value.into() });
    }

    /// Notes an instrument that the whole run uses.
    pub fn instrument(&self, instrument: Instrument) {
        let _ = self.shared.record(Event::Used { step: None, instrument: Box::new(instrument) });
    }

    /// Makes the run's outcome this one, if it is worse than what the steps make it.
    pub fn set_outcome(&self, outcome: Outcome) {
        let _ = self.shared.record(Event::RunJudged { outcome });
    }

    /// The outcome so far: of the steps that have ended, as on the platform.
    pub fn outcome(&self) -> Option<Outcome> {
        match &self.shared.lock().state {
            State::Open(data) | State::Aborted(data) => data.outcome,
            State::Sealed(sealed) => sealed.outcome,
            State::Sealing => None,
        }
    }

    /// Whether it was finished or aborted.
    pub fn is_over(&self) -> bool {
        !matches!(self.shared.lock().state, State::Open(_))
    }

    /// Ends what is open and seals the run: when this returns, the file is on the disk, whole, under its final name.
    ///
    /// After an error the run is as it was and can be finished again. Finishing a finished run gives the same answer;
    /// finishing an aborted one seals it as aborted.
    pub fn finish(&self) -> Result<Sealed, RecordError> {
        self.shared.finish()
    }

    /// Ends the run as aborted without saving it, as the platform's client does; [`finish`](Self::finish) saves it after all.
    /// The reason is noted as the custom value `abort_reason`.
    pub fn abort(&self, reason: Option<&str>) {
        self.shared.abort(reason);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Recording> {
        // What panicked with the lock held left complete events only.
        self.recording.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records an event as of now.
    pub(crate) fn record(&self, event: Event) -> Result<(), RecordError> {
        self.record_as(now(), event, |_| ())
    }

    /// Records an event and says what came of it.
    pub(crate) fn record_as<T>(
        &self,
        at: Timestamp,
        event: Event,
        answer: impl FnOnce(&RunData) -> T,
    ) -> Result<T, RecordError> {
        let _busy = crate::bridge::Busy::enter();
        let mut recording = self.lock();
        let Recording { state, journal, journal_error, late } = &mut *recording;
        let State::Open(data) = state else {
            // A step that ends after its run loses nothing by it.
            *late += u64::from(!matches!(event, Event::StepEnded { .. } | Event::VectorEnded { .. }));
            return Err(RecordError::finished(event.what()));
        };
        if let Some(file) = journal
            && journal_error.is_none()
        {
            // The test goes on without its journal; the end says so.
            *journal_error = file.append(at, &event).err();
        }
        let what = event.what();
        data.apply(at, event).map_err(|_| RecordError::new(format!("{what} speaks of a step that is not there")))?;
        Ok(answer(data))
    }

    /// Counts what comes too late for a step that was opened too late.
    pub(crate) fn refuse(&self, what: &str) -> RecordError {
        self.lock().late += 1;
        RecordError::finished(what)
    }

    /// Looks at what was recorded; nothing once the run is sealed.
    pub(crate) fn look<T>(&self, look: impl FnOnce(&RunData) -> T) -> Option<T> {
        match &self.lock().state {
            State::Open(data) | State::Aborted(data) => Some(look(data)),
            State::Sealing | State::Sealed(_) => None,
        }
    }

    fn finish(&self) -> Result<Sealed, RecordError> {
        let _busy = crate::bridge::Busy::enter();
        let (mut data, was_aborted) = {
            let mut recording = self.lock();
            match std::mem::replace(&mut recording.state, State::Sealing) {
                State::Open(data) => (data, false),
                State::Aborted(data) => (data, true),
                State::Sealing => return Err(RecordError::new("the run is being finished by another thread")),
                State::Sealed(sealed) => {
                    let again = Sealed { late: recording.late, ..(*sealed).clone() };
                    recording.state = State::Sealed(sealed);
                    return Ok(again);
                }
            }
        };
        // Arrow panics where a column would be larger than 2 GiB; the run must not be lost with it.
        let sealing = AssertUnwindSafe(|| seal::seal(&self.data_dir, &self.attachments, &mut data));
        let result = catch_unwind(sealing).unwrap_or_else(|panic| Err(panicked(&*panic)));
        let mut recording = self.lock();
        match result {
            Ok(path) => {
                let header = &data.header;
                let sealed = Sealed {
                    run_id: header.run_id,
                    path,
                    outcome: data.outcome,
                    started_at: header.started_at,
                    ended_at: data.ended_at.unwrap_or(header.started_at),
                    late: recording.late,
                    journal_error: recording.journal_error.take(),
                };
                recording.state = State::Sealed(Box::new(sealed.clone()));
                if let Some(journal) = recording.journal.take() {
                    journal.remove();
                }
                self.attachments.forget_when_dropped(false);
                Ok(sealed)
            }
            Err(error) => {
                recording.state = if was_aborted {
                    State::Aborted(data)
                } else {
                    // It goes on: the end comes with the next try.
                    data.ended_at = None;
                    State::Open(data)
                };
                Err(error)
            }
        }
    }

    fn abort(&self, reason: Option<&str>) {
        if let Some(reason) = reason {
            let event = Event::Custom { name: "abort_reason".to_owned(), value: reason.into() };
            let _ = self.record(event);
        }
        let mut recording = self.lock();
        match std::mem::replace(&mut recording.state, State::Sealing) {
            State::Open(mut data) => {
                data.end(now());
                data.outcome = Some(Outcome::Aborted);
                recording.state = State::Aborted(data);
                // Not saved means not recovered either.
                if let Some(journal) = recording.journal.take() {
                    journal.remove();
                }
                self.attachments.forget_when_dropped(true);
            }
            other => recording.state = other,
        }
    }
}

fn panicked(panic: &(dyn Any + Send)) -> RecordError {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    let text = text.unwrap_or("it did not say why");
    RecordError::new(format!("the run cannot be encoded: {text}"))
        .with_hint("a value that stands on every row is too long for a column: attach it instead, as a file")
}

impl std::fmt::Debug for Run {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Run").field("id", &self.id()).finish_non_exhaustive()
    }
}
