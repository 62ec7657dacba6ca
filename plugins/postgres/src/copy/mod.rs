//! Rows from Arrow as binary COPY takes them.
//!
//! - `convert`: a column as its destination can hold it; what cannot be held goes to `extra`.
//! - `document`: which JSON a `jsonb` holds as the digest counts it.
//! - `field`: one column's values as the bytes of COPY's fields.
//! - `table`: rows of many runs, gathered for as few COPYs as can be.

mod convert;
mod document;
mod field;
mod table;

pub(crate) use table::{Mark, Part, TableWriter, Written};

/// How a binary COPY begins: signature, flags, length of the header's extension (PostgreSQL, "COPY", "Binary Format").
pub(crate) const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
/// How it ends.
pub(crate) const TRAILER: &[u8] = &[0xff, 0xff];
/// 2000-01-01T00:00:00Z, from which PostgreSQL counts, in microseconds since the epoch.
pub(crate) const EPOCH_US: i64 = 946_684_800_000_000;
/// What a `timestamptz` holds, in microseconds since the epoch: from 4714-11-24 BC to before 294277-01-01 (`timestamp.h`).
pub(crate) const TIME_US_MIN: i64 = -211_813_488_000_000_000 + EPOCH_US;
pub(crate) const TIME_US_END: i64 = 9_223_371_331_200_000_000;
