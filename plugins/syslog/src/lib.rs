//! The syslog sink: runs as messages after RFC 5424. (For users: docs/sinks/syslog.md.)
//!
//! - `config`, `address`, `priority`: what the user sets, checked.
//! - `sink`: the `Sink` itself: batches, connections, and what is reported when.
//! - `describe`, `columns`: what is said of a run, straight from Arrow.
//! - `message`: one message, built and if need be shortened.
//! - `text`: names and values, made harmless.
//! - `transport`: UDP, TCP, TLS and sockets of this machine, and what each proves.

mod address;
mod columns;
mod config;
mod describe;
mod message;
mod priority;
mod sink;
mod text;
mod transport;

litmus_core::export_sink!(sink::SyslogSink);
