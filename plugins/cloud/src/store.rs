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
