//! One run, from the first look at its place to its report.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use litmus_core::{
    Attachment, AttachmentReceipt, AttachmentState, Decision, Grade, Rank, Receipt, Report, Run, RunId, Sha256,
    SinkError, Status, decide, failpoint,
};

use crate::config::{OnRevision, Settings};
use crate::key;
use crate::note::{self, HOST, Note};
use crate::sealed::{Body, blocking};
use crate::store::{Object, Onto, Put, Store};

/// How often a place is looked at anew because another sender was faster.
const ROUNDS_MAX: u32 = 8;
/// So many runs in a row that were not there: the next one is put without a look beforehand.
const ABSENT_IN_A_ROW: u32 = 8;
/// A missing attachment may still be on its way for so long after the run.
const ATTACHMENT_WAIT: Duration = Duration::from_mins(10);
/// How soon to look for it again.
const ATTACHMENT_LOOK: Duration = Duration::from_secs(30);

/// What all deliveries of an instance share.
pub(crate) struct Senders {
    pub(crate) settings: Settings,
    absent_in_a_row: AtomicU32,
}

impl Senders {
    pub(crate) fn new(settings: Settings) -> Self {
        Self { settings, absent_in_a_row: AtomicU32::new(0) }
    }

    /// A look costs a request, a put in vain costs the body. After some runs that were not there, the next will not be
    /// there either; the put itself says so if it is.
    fn guesses_absent(&self) -> bool {
        matches!(self.settings.store, Store::Remote(_))
            && self.absent_in_a_row.load(Ordering::Relaxed) >= ABSENT_IN_A_ROW
    }

    fn saw(&self, there: bool) {
        if there {
            self.absent_in_a_row.store(0, Ordering::Relaxed);
        } else {
            self.absent_in_a_row.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn location(&self, key: &str) -> String {
        format!("{}{key}", self.settings.uri)
    }
}

/// A run, taken out of the call: what a task needs that may outlive it.
pub(crate) struct Item {
    run_id: RunId,
    sha256: Sha256,
    rank: Rank,
    supersedes: Vec<Sha256>,
    force: bool,
    key: String,
    note: Note,
    body: Arc<Body>,
    attachments: Vec<Attachment>,
    ended_at: Option<Timestamp>,
    cancelled: Arc<AtomicBool>,
}

/// What the place of a run says.
enum Judged<'a> {
    Write(Onto<'a>),
    /// Its place is another one.
    Elsewhere(String),
    Done(Status),
}

impl Item {
    pub(crate) fn of(run: &Run<'_>, settings: &Settings, cancelled: &Arc<AtomicBool>) -> Result<Self, SinkError> {
        let fd = run.sealed_fd().ok_or_else(|| {
            SinkError::transient(format!("{}: the host cannot lend the sealed file", run.sealed_path()))
        })?;
        let body = Body::lent(fd, run.sealed_path(), cancelled)?;
        let note = Note {
            run_id: run.run_id(),
            sha256: run.sha256(),
            rank: Some(run.rank().encode()),
            supersedes: note::lineage(run.supersedes()),
            generation: Some(run.summary().generation.clone()),
            host: HOST.to_owned(),
        };
        Ok(Self {
            run_id: run.run_id(),
            sha256: run.sha256(),
            rank: run.rank(),
            supersedes: run.supersedes().to_vec(),
            force: run.force(),
            key: settings.template.render(run.summary()),
            note,
            body: Arc::new(body),
            attachments: if settings.attachments { run.attachments().to_vec() } else { Vec::new() },
            ended_at: run.summary().run_ended_at,
            cancelled: Arc::clone(cancelled),
        })
    }

    pub(crate) fn run_id(&self) -> RunId {
        self.run_id
    }

    /// Delivers it, and says how that ended; the key where it lies now.
    pub(crate) async fn deliver(&self, senders: &Senders) -> (Report, Option<String>) {
        match self.try_deliver(senders).await {
            Ok((report, key)) => (report, Some(key)),
            Err(error) => (Report::failed(&error), None),
        }
    }

    async fn try_deliver(&self, senders: &Senders) -> Result<(Report, String), SinkError> {
        let store = &senders.settings.store;
        let mut key = self.key.clone();
        for round in 0..ROUNDS_MAX {
            let guess = round == 0 && self.attachments.is_empty() && senders.guesses_absent();
            let there = if guess { None } else { store.stat(&key).await? };
            if round == 0 && !guess {
                senders.saw(there.is_some());
            }
            let onto = match self.judge(senders, &key, there.as_ref()).await? {
                Judged::Write(onto) => onto,
                Judged::Elsewhere(other) => {
                    key = other;
                    continue;
                }
                Judged::Done(status) => {
                    let receipt = Receipt { location: Some(senders.location(&key)), ..Receipt::default() };
                    return Ok((Report::done(status, receipt), key));
                }
            };
            let attachments = self.send_attachments(senders, &key).await?;
            failpoint("between_attachments_and_run");
            match store.put(&key, &self.body, &self.note, onto).await? {
                Put::Stored => return Ok((Self::delivered(senders, &key, attachments), key)),
                Put::Taken if guess => senders.saw(true),
                Put::Taken => tokio::time::sleep(Duration::from_millis(20 << round.min(5))).await,
            }
        }
        Err(SinkError::transient(format!(
            "{}: other senders keep writing here\nhint: one host for each run is enough",
            senders.location(&key)
        )))
    }

    /// What a dry run says.
    pub(crate) async fn plan(&self, senders: &Senders) -> Result<Report, SinkError> {
        let mut key = self.key.clone();
        for _ in 0..2 {
            let there = senders.settings.store.stat(&key).await?;
            let doing = match self.judge(senders, &key, there.as_ref()).await? {
                Judged::Write(Onto::Nothing) => "put",
                Judged::Write(Onto::Old(_)) => "replace",
                Judged::Elsewhere(other) => {
                    key = other;
                    continue;
                }
                Judged::Done(status) => return Ok(Report::done(status, Receipt::default())),
            };
            let planned = format!("{doing} {} ({} bytes)", senders.location(&key), self.body.size());
            return Ok(Report::done(Status::Delivered, Receipt { planned: vec![planned], ..Receipt::default() }));
        }
        Err(SinkError::transient(format!("{}: it changes while it is looked at", senders.location(&key))))
    }

    async fn judge<'a>(
        &self,
        senders: &Senders,
        key: &str,
        there: Option<&'a Object>,
    ) -> Result<Judged<'a>, SinkError> {
        let Some(object) = there else { return Ok(Judged::Write(Onto::Nothing)) };
        let held = object.note.as_ref().filter(|note| note.run_id == self.run_id).and_then(Note::held);
        let Some(held) = held else {
            return self.judge_stranger(senders, key, object).await;
        };
        let is_whole = held.sha256 != self.sha256 || object.size == self.body.size();
        let keeps = senders.settings.on_revision == OnRevision::Keep;
        match decide(Some(&held), &self.sha256, &self.rank, &self.supersedes, self.force) {
            // It says that it is this revision, and has another size: what somebody broke is mended.
            Decision::AlreadyPresent | Decision::Replace if !is_whole => Ok(Judged::Write(Onto::Old(object))),
            Decision::AlreadyPresent => Ok(Judged::Done(Status::AlreadyPresent)),
            _ if keeps && held.sha256 != self.sha256 => {
                Ok(Judged::Elsewhere(key::of_revision(&self.key, &self.sha256)))
            }
            Decision::Superseded => Ok(Judged::Done(Status::Superseded)),
            Decision::Insert | Decision::Replace => Ok(Judged::Write(Onto::Old(object))),
        }
    }

    /// Another run, or an object that is not ours: never overwritten. The same bytes are the run, whoever put them there.
    async fn judge_stranger<'a>(
        &self,
        senders: &Senders,
        key: &str,
        object: &'a Object,
    ) -> Result<Judged<'a>, SinkError> {
        let what = match &object.note {
            Some(note) if note.run_id != self.run_id => format!("run {}", note.run_id),
            _ => {
                let is_same =
                    object.size == self.body.size() && senders.settings.store.sha256(key).await? == Some(self.sha256);
                if is_same {
                    return Ok(Judged::Done(Status::AlreadyPresent));
                }
                format!("another object of {} bytes", object.size)
            }
        };
        Err(SinkError::new(
            Status::Conflict,
            format!(
                "{}: {what} lies there, where run {} belongs\nhint: a key template with {{run_id}} gives every run a place of its own; nothing was overwritten",
                senders.location(key),
                self.run_id
            ),
        ))
    }

    fn delivered(senders: &Senders, key: &str, attachments: Vec<AttachmentReceipt>) -> Report {
        let missing = attachments.iter().filter(|one| one.size.is_none() && !one.reference.starts_with("channel:"));
        let missing = missing.count() as u64;
        let mut report = Report::done(
            Status::Delivered,
            Receipt {
                grade: Some(Grade::Committed),
                location: Some(senders.location(key)),
                attachments,
                attachments_missing: missing,
                ..Receipt::default()
            },
        );
        if missing > 0 {
            report.message = format!("attachments_missing: {missing}");
        }
        report
    }

    /// Every file that the run refers to; the run's own object comes after them.
    async fn send_attachments(&self, senders: &Senders, key: &str) -> Result<Vec<AttachmentReceipt>, SinkError> {
        let mut receipts = Vec::with_capacity(self.attachments.len());
        for attachment in &self.attachments {
            let mut receipt =
                AttachmentReceipt { reference: attachment.reference.clone(), size: None, sha256: None, location: None };
            match &attachment.state {
                AttachmentState::Present { file, .. } => match Body::open(Path::new(file), &self.cancelled) {
                    Ok(body) => {
                        let body = Arc::new(body);
                        let at = key::of_attachment(key, &attachment.reference);
                        receipt.sha256 = Some(self.send_attachment(senders, &at, &body).await?);
                        receipt.size = Some(body.size());
                        receipt.location = Some(senders.location(&at));
                    }
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => self.may_still_come(attachment)?,
                    Err(error) => {
                        return Err(SinkError::transient(format!("{file}: cannot be read")).with_source(error));
                    }
                },
                AttachmentState::Missing { .. } => self.may_still_come(attachment)?,
                AttachmentState::Refused { .. } | AttachmentState::Channel => (),
            }
            receipts.push(receipt);
        }
        Ok(receipts)
    }

    async fn send_attachment(&self, senders: &Senders, key: &str, body: &Arc<Body>) -> Result<Sha256, SinkError> {
        let store = &senders.settings.store;
        let hashed = Arc::clone(body);
        let sha256 = blocking(move || hashed.copy(|_| Ok(()))).await?;
        let note =
            Note { run_id: self.run_id, sha256, rank: None, supersedes: None, generation: None, host: HOST.to_owned() };
        for _ in 0..ROUNDS_MAX {
            let there = store.stat(key).await?;
            let onto = match &there {
                None => Onto::Nothing,
                Some(object) => match &object.note {
                    Some(of) if of.run_id == self.run_id && of.sha256 == sha256 && object.size == body.size() => {
                        return Ok(sha256);
                    }
                    Some(of) if of.run_id == self.run_id => Onto::Old(object),
                    _ if object.size == body.size() && store.sha256(key).await? == Some(sha256) => return Ok(sha256),
                    _ => {
                        return Err(SinkError::new(
                            Status::Conflict,
                            format!(
                                "{}: another object lies where an attachment of run {} belongs\nhint: move it away; nothing was overwritten",
                                senders.location(key),
                                self.run_id
                            ),
                        ));
                    }
                },
            };
            if store.put(key, body, &note, onto).await? == Put::Stored {
                return Ok(sha256);
            }
        }
        Err(SinkError::transient(format!("{}: other senders keep writing here", senders.location(key))))
    }

    /// An error while a missing file may still be on its way; afterwards the run goes without it.
    fn may_still_come(&self, attachment: &Attachment) -> Result<(), SinkError> {
        let age = match self.ended_at {
            Some(ended) => Duration::try_from(Timestamp::now() - ended).unwrap_or_default(),
            None => Duration::from_secs(self.body.age_seconds()),
        };
        let Some(left) = ATTACHMENT_WAIT.checked_sub(age).filter(|left| !left.is_zero()) else { return Ok(()) };
        Err(SinkError::transient(format!(
            "run {}: its attachment {} is not there yet\nhint: in {} s the run goes without it",
            self.run_id,
            attachment.reference,
            left.as_secs()
        ))
        .with_retry_after(left.min(ATTACHMENT_LOOK)))
    }
}
