//! What the end to end tests stand on: the built binary and plugins, a project folder of their own, run files, and an
//! independent look into the database. Nothing here uses our own code to say what is right.

pub mod artifacts;
pub mod corpus;
pub mod database;
pub mod generate;
pub mod measure;
pub mod namespace;
pub mod objects;
pub mod project;
pub mod servers;
pub mod wild;

pub use litmus_conformance::rewrite;
