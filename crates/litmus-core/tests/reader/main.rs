//! The reader, from outside: against real run files and what the platform says of them, against files written here, against
//! damaged files, and on a real file system.
#![cfg(feature = "reader")]

mod corpus;
mod damaged;
mod projection;
mod rows;
mod store;
mod written;
