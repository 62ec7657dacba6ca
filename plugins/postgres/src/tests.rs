//! Deliveries to a real server, fed with batches made here, and looked at through psql.

mod audit;
mod connecting;
mod delivery;
mod made;
mod schema;
