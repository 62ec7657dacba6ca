//! What people and programs see: tables, JSON, log lines, progress.

mod console;
pub(crate) mod json;
mod status;
mod style;
mod summary;
mod table;

pub(crate) use console::{Console, ConsoleSettings, say};
pub(crate) use status::{MergedStatus, write_status_json, write_status_table};
pub(crate) use style::{Style, Tone, outcome_tone, printable};
pub(crate) use summary::{write_outcome_json, write_outcome_table};
pub(crate) use table::{Align, Cell, TableWriter};
