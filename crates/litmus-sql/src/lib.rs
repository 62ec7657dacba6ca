//! What SQL sinks share: how canonical tables become SQL tables, and how they grow.
//!
//! - [`Dialect`]: what differs between databases; everything else here is the same for all of them.
//! - [`Catalog`]: the columns a destination has, as it records them itself in `litmus_columns`.
//! - [`Planner`]: which statements are needed before runs of given schemas can be written ([`SchemaPolicy`]).
//! - [`Placement`], [`fit`]: which cell goes to which column, and which to the row's `extra`.
//! - [`Incoming`]: a run that is to be written; [`Rehearsal`]: what a dry run says of it.
//! - [`Values`], [`extra`], [`timestamp`]: cells out of Arrow arrays, and as text and JSON.
//! - [`bookkeeping`]: the tables beside the data: `litmus_meta`, `litmus_columns`, `litmus_deliveries`.
//!
//! A value is either written so that it reads back as the same value, or it goes to `extra`; nothing is altered.

pub mod bookkeeping;
mod catalog;
mod dialect;
pub mod extra;
mod fit;
mod incoming;
mod kinds;
#[cfg(feature = "testing")]
pub mod made;
mod names;
mod plan;
mod rehearsal;
pub mod timestamp;
mod values;
mod view;

pub use catalog::{Catalog, KnownColumn, KnownTable, Placement, UnknownType, dropped};
pub use dialect::{Dialect, quoted};
pub use fit::fit;
pub use incoming::{Incoming, open_tables, wanted};
pub use kinds::{kind_name, kind_of_name, sql_table};
pub use names::is_unprintable;
pub use plan::{Planner, SchemaPolicy, Wanted};
pub use rehearsal::Rehearsal;
pub use values::Values;
pub use view::RUN_ROWS;
