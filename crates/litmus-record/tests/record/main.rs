//! Recording, end to end: what is recorded is what the reader reads, whatever happens in between.

mod active;
mod bridge;
mod comparators;
mod golden;
mod journal;
mod life;
mod rows;
mod sealed;

#[path = "../../examples/scenarios/runs.rs"]
mod runs;
