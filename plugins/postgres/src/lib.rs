//! The postgres sink: runs as rows of a PostgreSQL database. (For users: docs/sinks/postgres.md.)
//!
//! - `config`, `conninfo`, `pgpass`: what the user sets, checked.
//! - `link`, `tls`, `pool`: connections.
//! - `sink`, `session`: the `Sink` itself, and what each of its calls needs.
//! - `dialect`, `schema`: what the tables are called, and how they grow.
//! - `deliver`, `transaction`, `deliveries`: a batch, its transactions, and the table that settles who delivers what.
//! - `copy`: rows from Arrow as binary COPY takes them.
//! - `audit`, `cells`: rows read back and digested.
//! - `error`, `fault`: the server's errors as the host's statuses, and which value was at fault.

mod audit;
mod cells;
mod config;
mod conninfo;
mod copy;
mod deliver;
mod deliveries;
mod dialect;
mod error;
mod fault;
mod link;
mod pgpass;
mod pool;
mod schema;
mod session;
mod sink;
#[cfg(test)]
mod tests;
mod tls;
mod transaction;

litmus_core::export_sink!(sink::PostgresSink);
