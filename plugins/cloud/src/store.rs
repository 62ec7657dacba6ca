//! What a destination can do: a folder by hand, an object store through opendal.

use std::sync::Arc;

use litmus_core::{Sha256, SinkError};

use crate::folder::{Folder, Stamp};
use crate::note::Note;
use crate::remote::Remote;
use crate::sealed::Body;

/// The folder below the prefix that holds what is the sink's own: the destination's identity, and notes where objects
/// cannot carry them.
pub(crate) const OWN_FOLDER: &str = ".litmus/";

/// Where objects lie.
#[derive(Clone)]
pub(crate) enum Store {
    Folder(Arc<Folder>),
    Remote(Arc<Remote>),
}

/// What is known of an object.
#[derive(Debug)]
pub(crate) struct Object {
    pub(crate) size: u64,
    /// `None`: it says nothing of itself that is ours.
    pub(crate) note: Option<Note>,
    pub(crate) seen: Seen,
}

/// By what the store tells whether an object is still the one that was looked at.
#[derive(Debug)]
pub(crate) enum Seen {
    Folder(Stamp),
    Remote(Box<opendal::Metadata>),
}

/// What a put may meet.
pub(crate) enum Onto<'a> {
    /// Nothing: an object that is there stays.
    Nothing,
    /// This very object, and no other.
    Old(&'a Object),
}

/// How a put ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Put {
    /// It lies there whole: the store was asked again afterwards.
    Stored,
    /// Another object lies there; nothing was changed.
    Taken,
}

/// The identity that stands in `.litmus/id`. Anything else there was written by somebody else, or by something between us and
/// the service that answers every question with a page of its own.
pub(crate) fn identity(text: &[u8], at: &str) -> Result<String, SinkError> {
    let text = String::from_utf8_lossy(text);
    match uuid::Uuid::try_parse(text.trim()) {
        Ok(id) => Ok(id.to_string()),
        Err(_) => Err(SinkError::transient(format!(
            "{at}: {:?} is no identity of a destination\nhint: does something between here and the service answer in its place? if it is the service's own answer, remove the object: the host makes a new one, and asks what is there",
            text.trim().chars().take(IDENTITY_CHARS_SHOWN).collect::<String>()
        ))),
    }
}

/// How much of it a message shows.
const IDENTITY_CHARS_SHOWN: usize = 60;

impl Store {
    /// The object at a key; `None` where there is none.
    pub(crate) async fn stat(&self, key: &str) -> Result<Option<Object>, SinkError> {
        match self {
            Self::Folder(folder) => folder.stat(key).await,
            Self::Remote(remote) => remote.stat(key).await,
        }
    }

    /// Puts an object with its note, whole or not at all, and looks whether it is there.
    pub(crate) async fn put(&self, key: &str, body: &Arc<Body>, note: &Note, onto: Onto<'_>) -> Result<Put, SinkError> {
        match self {
            Self::Folder(folder) => folder.put(key, body, note, onto).await,
            Self::Remote(remote) => remote.put(key, body, note, onto).await,
        }
    }

    /// Reads an object back and hashes it; `None` where there is none.
    pub(crate) async fn sha256(&self, key: &str) -> Result<Option<Sha256>, SinkError> {
        match self {
            Self::Folder(folder) => folder.sha256(key).await,
            Self::Remote(remote) => remote.sha256(key).await,
        }
    }

    /// Every key but the sink's own.
    pub(crate) async fn keys(&self, each: &mut (dyn FnMut(String) + Send)) -> Result<(), SinkError> {
        match self {
            Self::Folder(folder) => folder.keys(each),
            Self::Remote(remote) => remote.keys(each).await,
        }
    }

    /// The destination's identity; made where it is missing and `make` is set.
    pub(crate) async fn incarnation(&self, make: bool) -> Result<Option<String>, SinkError> {
        match self {
            Self::Folder(folder) => folder.incarnation(make),
            Self::Remote(remote) => remote.incarnation(make).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::identity;

    #[test]
    fn only_a_uuid_is_an_identity() {
        let id = "0b54660c-1111-4222-8333-123456789abc";
        assert_eq!(identity(format!(" {id}\n").as_bytes(), "x").unwrap(), id);
        for wrong in [&b""[..], b"<html>", &[0xff; 2000], format!("{id}{id}").as_bytes()] {
            let error = identity(wrong, "s3://b/.litmus/id").unwrap_err().to_string();
            assert!(
                error.starts_with("s3://b/.litmus/id: ") && error.contains("\nhint: ") && error.len() < 1000,
                "{error}"
            );
        }
    }
}
