//! A plugin that misbehaves on request: for tests of the host, the engine and the conformance suite.
//!
//! Left alone it is a well-behaved sink into a file of JSON lines (`log`). Each field of its configuration is one way to
//! misbehave. With `folder` it is a sink that keeps every promise of the suite, but for the one that `mutant` breaks.

mod config;
mod folder;
mod server;
mod sink;
mod spoil;
mod store;

use sink::HostileSink;

litmus_core::export_sink!(HostileSink);
