//! The cloud sink: sealed run files as objects of a store, or as files of a folder, byte for byte.
//!
//! - `config`: what the user sets; `services`: which stores are built in and how one is opened.
//! - `sink`: the instance and its runtime; `deliver`: one run from its look at the place to its report; `audit`.
//! - `key`, `escape`: where a run lies; names that are safe as keys and as file names, and can be turned back.
//! - `note`: what an object says of itself.
//! - `store`: what a destination can do; `folder`: `file://` by hand; `remote`: object stores through opendal.
//! - `transport`, `limiter`, `failure`: HTTP with the pace that the service allows, and what its refusals mean; `tags`.
//! - `sealed`: reading what is sent, hashed on the way.

mod audit;
mod config;
mod deliver;
mod escape;
mod failure;
mod folder;
mod key;
mod limiter;
mod note;
mod remote;
mod sealed;
mod services;
mod sink;
mod store;
mod tags;
mod transport;

litmus_core::export_sink!(sink::CloudSink);
