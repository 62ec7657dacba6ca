//! The conformance suite: puts a sink plugin, through its built `.so` and against its real backend, to every guarantee
//! that it declares.
//!
//! - [`Case`]: one promise and how it is tried; [`cases`] has them all, by [`GROUPS`].
//! - [`Declaration`]: how one plugin is tested (`plugins/NAME/conformance.toml`).
//! - [`run_case`]: one case, in this process; [`run_all`]: every case in a child process of its own.
//! - [`Report`]: what came out, for a terminal, as JSON and as JUnit XML; [`guarantees`]: who proves what, as Markdown.
//! - [`main_for`]: the whole as a test of somebody's own crate.

mod bench;
mod case;
mod cases;
mod cli;
mod declaration;
mod guarantees;
mod hand;
mod proxy;
mod report;
pub mod rewrite;
mod runner;
mod source;
mod synth;

pub use case::{Case, Need};
pub use cases::{GROUPS, cases};
pub use cli::{built_plugin, main, main_for};
pub use declaration::{Backend, BehindItsBack, Declaration, DeclarationError, Hand, ReadBack};
pub use guarantees::guarantees;
pub use report::{Counts, Outcome, Report, Subject, Verdict};
pub use runner::{Described, Suite, description, run_all, run_case};
