//! The postgres sink end to end: the built host, the built plugin, a real server, and psql as the one who looks.

mod corpus;
mod faults;
mod kills;
mod many;
mod psql;
mod tls;
