//! Object stores, through opendal.
//!
//! Invariants: an object appears whole, by one put or by the completion of a multipart upload; a put names what it expects
//! at the key (nothing, or the very object that was looked at), so that two hosts never overwrite each other unseen; what
//! was put is looked at afterwards, because an answer of 200 is not an object.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::TryStreamExt;
use litmus_core::{Sha256, SinkError, failpoint};
use md5::Md5;
use opendal::options::WriteOptions;
use opendal::{Buffer, Capability, ErrorKind, Metadata, Operator};
use serde::{Deserialize, Serialize};
use sha2::Digest;
use tokio::sync::Semaphore;

use crate::escape::hex;
use crate::failure;
use crate::note::Note;
use crate::sealed::Body;
use crate::store::{OWN_FOLDER, Object, Onto, Put, Seen, identity};

/// Parts of one object under way at once.
const PARTS_AT_ONCE: usize = 4;
/// Services take 10,000 parts at most; some room is left.
const PARTS_MAX: u64 = 9_000;
/// What an object read back is hashed by.
const READ_BYTES: u64 = 4 << 20;
/// `.litmus/id` holds a UUID.
const IDENTITY_BYTES_MAX: usize = 1 << 10;
/// `.litmus/KEY.json` holds a few revisions.
const NOTES_BYTES_MAX: usize = 1 << 20;
/// The unit in which memory is shared out.
const MEMORY_UNIT: usize = 64 << 10;
/// Bodies held in memory at once, over all deliveries of an instance.
const MEMORY_BYTES_MAX: usize = 72 << 20;

/// A bucket or container, below a prefix.
pub(crate) struct Remote {
    operator: Operator,
    can: Capability,
    /// `s3://bucket/prefix/`, for messages and receipts.
    uri: String,
    part_bytes: usize,
    create_only: bool,
    /// Texts of the configuration that no message may show.
    secrets: Vec<String>,
    memory: Semaphore,
    /// Whether ETags here are the MD5 of the body, as far as is known: with some encryption they are not.
    etags_are_md5: AtomicBool,
}

/// The notes of an object that cannot carry its own.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Notes {
    revisions: Vec<OfSize>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct OfSize {
    #[serde(flatten)]
    note: Note,
    size: u64,
}

/// The MD5s of what was sent: of all of it, and of the MD5s of its parts.
struct Sent {
    sha256: Sha256,
    md5: [u8; 16],
    etag: String,
}

impl Remote {
    pub(crate) fn new(
        operator: Operator,
        uri: String,
        part_bytes: usize,
        create_only: bool,
        secrets: Vec<String>,
    ) -> Self {
        let can = operator.info().capability();
        let memory = Semaphore::new(MEMORY_BYTES_MAX / MEMORY_UNIT);
        let etags_are_md5 = AtomicBool::new(true);
        Self { operator, can, uri, part_bytes, create_only, secrets, memory, etags_are_md5 }
    }

    fn failed(&self, error: &opendal::Error, key: &str) -> SinkError {
        let scrub =
            |text: &str| self.secrets.iter().fold(text.to_owned(), |text, secret| text.replace(secret.as_str(), "***"));
        failure::of(error, &format!("{}{key}", self.uri), &scrub)
    }

    pub(crate) async fn stat(&self, key: &str) -> Result<Option<Object>, SinkError> {
        match self.operator.stat(key).await {
            Ok(metadata) => {
                let size = metadata.content_length();
                let note = if self.can.write_with_user_metadata {
                    metadata.user_metadata().and_then(|pairs| Note::from_pairs(|name| pairs.get(name)))
                } else {
                    self.note_beside(key, size).await?
                };
                Ok(Some(Object { size, note, seen: Seen::Remote(Box::new(metadata)) }))
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.failed(&error, key)),
        }
    }

    /// Puts an object whole, or not at all.
    pub(crate) async fn put(&self, key: &str, body: &Arc<Body>, note: &Note, onto: Onto<'_>) -> Result<Put, SinkError> {
        let old = match onto {
            Onto::Nothing => None,
            Onto::Old(Object { seen: Seen::Remote(metadata), .. }) => Some(metadata.as_ref()),
            Onto::Old(_) => unreachable!("a remote object has metadata"),
        };
        if old.is_none() && !self.creates_only() && self.stat(key).await?.is_some() {
            return Ok(Put::Taken);
        }
        if !self.can.write_with_user_metadata {
            self.note_down(key, body.size(), note, old.is_some()).await?;
        }
        let options = self.options(note, old);
        failpoint("before_commit");
        if old.is_some() {
            failpoint("replacing");
        }
        let sent = if body.size() <= self.part_bytes as u64 {
            self.put_whole(key, body, note, options).await
        } else {
            self.put_in_parts(key, body, note, options).await
        };
        match sent {
            Ok(sent) => self.look_after(key, body, note, &sent).await.map(|()| Put::Stored),
            Err(Unsent::Opendal(error))
                if matches!(
                    error.kind(),
                    ErrorKind::ConditionNotMatch | ErrorKind::AlreadyExists | ErrorKind::Conflict
                ) =>
            {
                Ok(Put::Taken)
            }
            // A completion that was repeated: the first one did it, and the upload is no more.
            Err(Unsent::Opendal(error)) if error.kind() == ErrorKind::NotFound => {
                match self.stat(key).await?.and_then(|object| object.note) {
                    Some(there) if there == *note => Ok(Put::Stored),
                    _ => Err(self.failed(&error, key)),
                }
            }
            Err(Unsent::Opendal(error)) => Err(self.failed(&error, key)),
            Err(Unsent::Sink(error)) => Err(error),
        }
    }

    fn creates_only(&self) -> bool {
        self.create_only && self.can.write_with_if_not_exists
    }

    fn options(&self, note: &Note, old: Option<&Metadata>) -> WriteOptions {
        let mut options = WriteOptions::default();
        if self.can.write_with_user_metadata {
            options.user_metadata = Some(note.pairs().into_iter().collect::<HashMap<_, _>>());
        }
        if self.can.write_with_content_type && note.rank.is_some() {
            options.content_type = Some("application/vnd.apache.parquet".to_owned());
        }
        match old {
            None => options.if_not_exists = self.creates_only(),
            Some(old) if self.create_only => {
                let by_version = self.can.write_with_if_version_match && old.version().is_some();
                if by_version || self.can.write_with_if_match && old.etag().is_some() {
                    options.if_not_changed = Some(old.clone());
                }
            }
            Some(_) => (),
        }
        options
    }

    /// Waits until this many bytes may be held.
    async fn memory(&self, bytes: usize) -> tokio::sync::SemaphorePermit<'_> {
        let units = bytes.div_ceil(MEMORY_UNIT).clamp(1, MEMORY_BYTES_MAX / MEMORY_UNIT);
        // Never closed: it lives as long as we do.
        self.memory.acquire_many(units as u32).await.expect("the semaphore is open")
    }

    async fn put_whole(&self, key: &str, body: &Arc<Body>, note: &Note, options: WriteOptions) -> Result<Sent, Unsent> {
        let size = body.size() as usize;
        let _held = self.memory(size).await;
        let bytes = body.read_async(0, size).await?;
        let sha256 = Sha256(sha2::Sha256::digest(&bytes).into());
        if sha256 != note.sha256 {
            return Err(body.changed().into());
        }
        let md5: [u8; 16] = Md5::digest(&bytes).into();
        self.operator.write_options(key, Buffer::from(bytes), options).await?;
        Ok(Sent { sha256, md5, etag: hex(&md5) })
    }

    async fn put_in_parts(
        &self,
        key: &str,
        body: &Arc<Body>,
        note: &Note,
        mut options: WriteOptions,
    ) -> Result<Sent, Unsent> {
        let least = usize::try_from(body.size() / PARTS_MAX).unwrap_or(usize::MAX);
        let part_bytes = self.part_bytes.max(least.next_multiple_of(1 << 20));
        options.concurrent = PARTS_AT_ONCE;
        options.chunk = Some(part_bytes);
        // Besides the parts under way: one that is read, and one that opendal keeps until it knows whether it is the last.
        let _held = self.memory((PARTS_AT_ONCE + 2) * part_bytes).await;
        let mut writer = self.operator.writer_options(key, options).await?;
        match self.send_parts(&mut writer, body, note, part_bytes).await {
            Ok(sent) => Ok(sent),
            Err(error) => {
                // The parts would lie there unseen and be paid for. Where this fails, too, the bucket's own rules clear them.
                writer.abort().await.ok();
                Err(error)
            }
        }
    }

    async fn send_parts(
        &self,
        writer: &mut opendal::Writer,
        body: &Arc<Body>,
        note: &Note,
        part_bytes: usize,
    ) -> Result<Sent, Unsent> {
        let (mut whole, mut of_all, mut of_parts) = (sha2::Sha256::new(), Md5::new(), Md5::new());
        let (mut offset, mut parts) = (0, 0);
        while offset < body.size() {
            let bytes = body.read_async(offset, part_bytes).await?;
            offset += bytes.len() as u64;
            parts += 1;
            whole.update(&bytes);
            of_all.update(&bytes);
            of_parts.update(Md5::digest(&bytes));
            writer.write(Buffer::from(bytes)).await?;
            failpoint("sending_parts");
        }
        let sha256 = Sha256(whole.finalize().into());
        if sha256 != note.sha256 {
            return Err(body.changed().into());
        }
        writer.close().await?;
        let of_parts: [u8; 16] = of_parts.finalize().into();
        Ok(Sent { sha256, md5: of_all.finalize().into(), etag: format!("{}-{parts}", hex(&of_parts)) })
    }

    /// The check after the put.
    async fn look_after(&self, key: &str, body: &Body, note: &Note, sent: &Sent) -> Result<(), SinkError> {
        let wrong = |what: String| {
            SinkError::transient(format!(
                "{}{key}: the service said that it was stored, but {what}\nhint: it is sent again",
                self.uri
            ))
        };
        let Some(object) = self.stat(key).await? else {
            return Err(wrong("it is not there".to_owned()));
        };
        if object.size != body.size() {
            return Err(wrong(format!("{} bytes are there, {} were sent", object.size, body.size())));
        }
        match &object.note {
            Some(there) if there == note => (),
            Some(there) => return Err(wrong(format!("revision {} of run {} is there", there.sha256, there.run_id))),
            None => return Err(wrong("it lacks its metadata".to_owned())),
        }
        let Seen::Remote(metadata) = &object.seen else { return Ok(()) };
        if self.is_checksum_well(metadata, sent) {
            return Ok(());
        }
        // An ETag need not be an MD5: only the bytes themselves can tell.
        match self.sha256(key).await? {
            Some(found) if found == sent.sha256 => {
                self.etags_are_md5.store(false, Ordering::Relaxed);
                Ok(())
            }
            found => {
                let found = found.map_or("nothing".to_owned(), |sha256| format!("sha256 {sha256}"));
                Err(wrong(format!("{found} is there, sha256 {} was sent", sent.sha256)))
            }
        }
    }

    /// Whether what the service says of the bytes fits; true where it says nothing.
    fn is_checksum_well(&self, metadata: &Metadata, sent: &Sent) -> bool {
        if let Some(md5) = metadata.content_md5() {
            return md5 == base64(&sent.md5);
        }
        if !self.etags_are_md5.load(Ordering::Relaxed) {
            return true;
        }
        let etag = metadata.etag().unwrap_or_default().trim_matches('"');
        let digits = etag.split('-').next().unwrap_or_default();
        let like_md5 = digits.len() == 32 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        !like_md5 || etag.eq_ignore_ascii_case(&sent.etag)
    }

    pub(crate) async fn sha256(&self, key: &str) -> Result<Option<Sha256>, SinkError> {
        let reader = self.operator.reader(key).await.map_err(|error| self.failed(&error, key))?;
        let size = match self.operator.stat(key).await {
            Ok(metadata) => metadata.content_length(),
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(self.failed(&error, key)),
        };
        let mut hasher = sha2::Sha256::new();
        let mut offset = 0;
        while offset < size {
            let end = size.min(offset + READ_BYTES);
            let _held = self.memory((end - offset) as usize).await;
            let bytes = match reader.read(offset..end).await {
                Ok(bytes) => bytes,
                // It was removed meanwhile.
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(self.failed(&error, key)),
            };
            bytes.for_each(|chunk| hasher.update(&chunk));
            offset = end;
        }
        Ok(Some(Sha256(hasher.finalize().into())))
    }

    pub(crate) async fn keys(&self, each: &mut (dyn FnMut(String) + Send)) -> Result<(), SinkError> {
        let options = opendal::options::ListOptions { recursive: true, ..Default::default() };
        let mut lister = self.operator.lister_options("", options).await.map_err(|error| self.failed(&error, ""))?;
        loop {
            match lister.try_next().await {
                Ok(None) => return Ok(()),
                Err(error) => return Err(self.failed(&error, "")),
                Ok(Some(entry)) if entry.path().ends_with('/') || entry.path().starts_with(OWN_FOLDER) => (),
                Ok(Some(entry)) => each(entry.path().to_owned()),
            }
        }
    }

    /// An object of our own. One that is longer than it can be is cut, and is nothing that we know.
    async fn read_small(&self, key: &str, bytes_max: usize) -> opendal::Result<Vec<u8>> {
        let mut stream = self.operator.reader(key).await?.into_stream(..).await?;
        let mut bytes = Vec::new();
        while let Some(chunk) = stream.try_next().await? {
            bytes.extend_from_slice(&chunk.to_bytes());
            if bytes.len() > bytes_max {
                break;
            }
        }
        Ok(bytes)
    }

    pub(crate) async fn incarnation(&self, make: bool) -> Result<Option<String>, SinkError> {
        let key = format!("{OWN_FOLDER}id");
        for _ in 0..2 {
            match self.read_small(&key, IDENTITY_BYTES_MAX).await {
                Ok(bytes) => return identity(&bytes, &format!("{}{key}", self.uri)).map(Some),
                Err(error) if error.kind() == ErrorKind::NotFound => (),
                Err(error) => return Err(self.failed(&error, &key)),
            }
            if !make {
                return Ok(None);
            }
            let options = WriteOptions { if_not_exists: self.creates_only(), ..Default::default() };
            let text = format!("{}\n", uuid::Uuid::new_v4());
            match self.operator.write_options(&key, text, options).await {
                Ok(_) => (),
                // Another host was first: its identity is the destination's.
                Err(error)
                    if matches!(
                        error.kind(),
                        ErrorKind::ConditionNotMatch | ErrorKind::AlreadyExists | ErrorKind::Conflict
                    ) => {}
                Err(error) => return Err(self.failed(&error, &key)),
            }
        }
        Err(SinkError::transient(format!("{}{key}: the service says that it is stored, but it is not there", self.uri)))
    }

    fn beside(key: &str) -> String {
        format!("{OWN_FOLDER}{key}.json")
    }

    /// The note in a file of its own. Where several could be meant (a host died between it and the object), the object's
    /// bytes decide.
    async fn note_beside(&self, key: &str, size: u64) -> Result<Option<Note>, SinkError> {
        let mut fitting = self.notes(key).await?.revisions;
        fitting.retain(|entry| entry.size == size);
        if fitting.len() < 2 {
            return Ok(fitting.pop().map(|entry| entry.note));
        }
        let found = self.sha256(key).await?;
        Ok(fitting.into_iter().map(|entry| entry.note).find(|note| Some(note.sha256) == found))
    }

    async fn notes(&self, key: &str) -> Result<Notes, SinkError> {
        match self.read_small(&Self::beside(key), NOTES_BYTES_MAX).await {
            Ok(bytes) => Ok(serde_json::from_slice(&bytes).unwrap_or_default()),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Notes::default()),
            Err(error) => Err(self.failed(&error, key)),
        }
    }

    async fn note_down(&self, key: &str, size: u64, note: &Note, replacing: bool) -> Result<(), SinkError> {
        let mut notes = self.notes(key).await?;
        notes.revisions.retain(|entry| replacing && entry.note.sha256 != note.sha256);
        notes.revisions.push(OfSize { note: note.clone(), size });
        let text = serde_json::to_vec(&notes).unwrap_or_default();
        let written = self.operator.write(&Self::beside(key), text).await;
        written.map(drop).map_err(|error| self.failed(&error, key))
    }

    /// Whether deliveries would work, as far as that can be told without writing.
    pub(crate) async fn check(&self) -> Result<Vec<String>, SinkError> {
        let options = opendal::options::ListOptions { limit: Some(1), ..Default::default() };
        let mut lister = self.operator.lister_options("", options).await.map_err(|error| self.failed(&error, ""))?;
        lister.try_next().await.map_err(|error| self.failed(&error, ""))?;
        let mut notes = vec![self.uri.clone()];
        if !self.creates_only() {
            notes.push(
                "puts that only create are not used: two hosts with one key at one moment could overwrite".into(),
            );
        }
        if !self.can.write_with_user_metadata {
            notes.push("objects carry no metadata here: it lies in .litmus/<key>.json".into());
        }
        Ok(notes)
    }
}

/// Why nothing was put.
enum Unsent {
    Opendal(opendal::Error),
    Sink(SinkError),
}

impl From<opendal::Error> for Unsent {
    fn from(error: opendal::Error) -> Self {
        Self::Opendal(error)
    }
}

impl From<SinkError> for Unsent {
    fn from(error: SinkError) -> Self {
        Self::Sink(error)
    }
}

/// RFC 4648 section 4, with padding: what `Content-MD5` holds.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let bits = (0..3).fold(0u32, |bits, at| bits << 8 | u32::from(chunk.get(at).copied().unwrap_or(0)));
        for at in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * at) & 63) as usize];
            text.push(if at <= chunk.len() { char::from(digit) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_the_rfc() {
        for (plain, coded) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")] {
            assert_eq!(base64(plain.as_bytes()), coded);
        }
    }
}
