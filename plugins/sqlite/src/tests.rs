//! Deliveries into real files, fed with batches made here, and looked at through plain SQL on a connection of their own.

mod audit;
mod delivery;
mod file;
mod made;
mod schema;
mod views;
