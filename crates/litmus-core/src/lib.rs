//! What a litmus-host plugin author needs, and what the host shares with it.
//!
//! - [`Sink`], [`export_sink!`]: write a plugin in Rust.
//! - [`RunId`], [`Rank`], [`Summary`], [`Table`]: the run model every sink sees.
//! - [`digest`]: the proof that what arrived is what was sealed.
//! - [`abi`]: the C boundary itself; its host side is behind the feature `host`.
//! - `reader`: sealed run files of every generation as canonical tables; behind the feature `reader`.

pub mod abi;
pub mod digest;
mod error;
mod failpoint;
#[cfg(feature = "reader")]
pub mod reader;
mod receipt;
mod run;
mod sink;
mod status;
pub mod tables;

pub use error::SinkError;
#[doc(hidden)]
pub use failpoint::failpoint;
pub use receipt::{AttachmentReceipt, Grade, Receipt};
pub use run::{Attachment, AttachmentState, Decision, Held, Rank, RunId, Sha256, Summary, decide};
pub use sink::{Audit, Call, Capabilities, CheckAnswer, Description, OpenMode, Report, Run, Sink, TableStream};
pub use status::{RetryClass, Status};
pub use tables::{Table, Vocabulary};

#[doc(hidden)]
pub use {schemars, serde, serde_json};
