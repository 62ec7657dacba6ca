//! The sqlite sink: runs as rows of one SQLite file that any SQL tool opens. (For users: docs/sinks/sqlite.md.)
//!
//! - `config`: what the user sets, checked.
//! - `sink`: the `Sink` itself: when the file is opened, and when it is found to be another.
//! - `file`: what kind of file system the file lies on, and whether it is still the same file.
//! - `database`: opening, the pragmas, what the file says of itself.
//! - `batch`, `insert`: one transaction a batch, one savepoint a run, rows straight from Arrow.
//! - `audit`: rows read back and digested.
//! - `cells`: cells as SQLite values and back.

mod audit;
mod batch;
mod cells;
mod config;
mod database;
mod dialect;
mod error;
mod file;
mod insert;
mod sink;
#[cfg(test)]
mod tests;

litmus_core::export_sink!(sink::SqliteSink);
