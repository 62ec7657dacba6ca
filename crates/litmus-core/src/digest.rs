//! The digest: what two tables share when they hold the same rows. (Encoding: docs/digest.md.)

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

mod batch;
mod encode;
mod hash;
mod json;
mod row;

pub use batch::BatchDigester;
pub use row::RowDigester;

/// Row count and digest of one table of one run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableDigest {
    /// How many rows.
    pub rows: u64,
    /// Sum modulo 2^128 of the rows' digests.
    pub digest: Digest,
}

/// 128 bits; prints and serialises as 32 hex digits.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Digest(pub u128);

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Digest {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        u128::from_str_radix(&text, 16).map(Self).map_err(serde::de::Error::custom)
    }
}

/// One cell as the digest sees it.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell<'a> {
    /// Text.
    Text(&'a str),
    /// A whole number.
    Int(i64),
    /// A number; equal to [`Cell::Int`] of the same value.
    Float(f64),
    /// True or false.
    Bool(bool),
    /// Microseconds since the epoch, UTC.
    Timestamp(i64),
    /// A JSON document; compared by value (keys sorted, numbers as IEEE doubles or exact i64), not by spelling.
    Json(&'a str),
    /// A list of texts or bools; elements may be null.
    List(Vec<Option<Cell<'a>>>),
}

/// What a destination cannot hold is converted by a named rule; the source's digest is taken with the same rules.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Conversions {
    /// `nul_to_replacement`: U+0000 in text becomes U+FFFD.
    pub nul_to_replacement: bool,
}

/// The name of [`Conversions::nul_to_replacement`] in receipts.
pub const NUL_TO_REPLACEMENT: &str = "nul_to_replacement";

impl Conversions {
    /// The rules that a receipt or an audit names; an unknown name is an error.
    pub fn from_names<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Self, String> {
        let mut conversions = Self::default();
        for name in names {
            match name {
                NUL_TO_REPLACEMENT => conversions.nul_to_replacement = true,
                _ => {
                    return Err(format!(
                        "\"{name}\" is not a conversion this version knows; it knows {NUL_TO_REPLACEMENT}"
                    ));
                }
            }
        }
        Ok(conversions)
    }
}

impl TableDigest {
    /// Adds one row, given the BLAKE3 hash of its bytes.
    fn add(&mut self, hash: &blake3::Hash) {
        let (first, _) = hash.as_bytes().split_at(16);
        let row = u128::from_be_bytes(first.try_into().expect("16 bytes are 16 bytes"));
        self.digest.0 = self.digest.0.wrapping_add(row);
        self.rows += 1;
    }
}

/// Digests by table name.
pub type Digests = BTreeMap<String, TableDigest>;

#[cfg(test)]
mod tests;
