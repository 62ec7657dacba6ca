//! The conformance suite: puts a sink plugin, through its built `.so` and against its real backend, to every guarantee
//! that it declares.
//!
//! - [`Case`]: one promise and how it is tried; [`cases`] has them all.
//! - [`Declaration`]: how one plugin is tested (`plugins/NAME/conformance.toml`).
//! - [`run_case`]: one case, in this process; [`run_all`]: every case in a child process of its own.
//! - [`Report`]: what came out, for a terminal, as JSON and as JUnit XML.

mod bench;
mod case;
mod cases;
mod declaration;
mod report;
pub mod rewrite;
mod runner;
mod source;

pub use case::{Case, Need};
pub use cases::cases;
pub use declaration::{Backend, Declaration, DeclarationError, ReadBack};
pub use report::{Counts, Outcome, Report, Verdict};
pub use runner::{Suite, description, run_all, run_case};
