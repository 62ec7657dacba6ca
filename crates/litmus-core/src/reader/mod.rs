//! The run reader: a sealed file of any generation as canonical tables (docs/tables.md).
//!
//! - [`Store`] walks a data dir, [`RunFile`] opens one sealed file, [`resolve_data_dir`] finds the data dir.
//! - `seal` opens and checks, `announced` refuses headers that no decoder should believe, `source` decodes batches (`quick`
//!   those of small files), `catalog` says what each column is, `survey` is the first pass over columns whose place or kind
//!   depends on their values, `plan` lays out a table, `stream` builds its batches.
//!
//! Memory is bounded by a batch: a file small enough is decoded once and kept, any other is streamed for each table.

mod announced;
mod attachments;
mod catalog;
mod convert;
mod data_dir;
mod dynamic;
mod error;
mod footer;
#[cfg(fuzzing)]
pub mod fuzzing;
mod head;
mod json;
mod layout;
mod plan;
mod quick;
mod run_file;
mod runs;
mod seal;
mod source;
mod store;
mod stream;
mod survey;
mod thrift;

pub use data_dir::{DataDir, resolve_data_dir};
pub use error::ReadError;
pub use run_file::RunFile;
pub use store::{FoundFile, Stamp, Store};
