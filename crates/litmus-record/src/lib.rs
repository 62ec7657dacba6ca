//! Records test runs: the write side of litmus-host, for test programs in Rust and, through `litmus-python`, in Python.
//!
//! What is recorded becomes one sealed file that Litmus and TesterKit read as their own, and litmus-host forwards. Names and
//! behaviour follow the platform's Python client (docs/recording.md says where they differ, and why):
//!
//! ```
//! # let folder = tempfile::tempdir()?;
//! use litmus_record::{Client, Outcome, RunOptions, params};
//!
//! let client = Client::new(folder.path());
//! let run = client.start_run(RunOptions::new("SN12345", "bench_1").operator("Jane Doe"))?;
//! {
//!     let step = run.step("voltage_check"); // ends when dropped
//!     step.measure("vcc", 3.31).units("V").low(3.0).high(3.6); // recorded at the end of the statement
//!     let vector = step.vector(params! { load_ma: 100 });
//!     vector.measure("efficiency", 91.5).units("%").low(80);
//! }
//! let sealed = run.finish()?;
//! assert_eq!(sealed.outcome, Some(Outcome::Passed));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! - [`Client`], [`RunOptions`]: where runs go, what is known of one when it starts.
//! - [`Run`], [`Step`], [`Vector`]: handles, cheap to clone, usable from any thread; [`StepGuard`] and [`VectorGuard`] end
//!   what they hold when dropped.
//! - [`Measure`], [`Comparator`], [`Outcome`]: what was measured, and the verdict.
//! - [`active_step`], [`Activation`], [`scope`]: the step that a log record belongs to.
//! - [`bridge`]: log records at a level fail the active step.
//! - [`recover`]: seals what a program that died left in its journal.

mod active;
pub mod bridge;
mod client;
mod comparator;
mod data;
mod error;
mod measure;
mod options;
mod outcome;
mod recover;
mod run;
mod seal;
mod step;
mod value;
mod vector;

pub use active::{Activation, Scoped, active_step, active_vector, scope};
pub use client::{Client, Format, Journal};
pub use comparator::Comparator;
pub use error::RecordError;
pub use measure::{Measure, Measurement, Measuring};
pub use options::{Instrument, RunOptions, StepOptions};
pub use outcome::Outcome;
pub use recover::{Recovered, recover};
pub use run::{Run, Sealed};
pub use step::{Step, StepGuard};
pub use value::{Reading, Value};
pub use vector::{Vector, VectorGuard};

#[doc(hidden)]
pub use jiff;
pub use litmus_core::RunId;
