//! Decodes the columns of small files.
//!
//! The parquet crate sets up readers, buffers and codecs for each column, which costs some 7 µs whatever is in it; a small
//! run is 84 columns of 50 values, so that was most of the cost of reading it. This decoder sets up nothing. It knows what
//! the platform writes: flat columns, lists of values and lists of structs, PLAIN and dictionary pages of version 1, plain
//! or Snappy. Whatever else it meets, and whatever looks wrong, it declines (`None`): the parquet crate then decodes the
//! column, or says what is wrong with it.

mod array;
mod hybrid;
mod page;
mod root;
#[cfg(test)]
mod tests;

pub(super) use page::{ChunkPlace, Codec};
pub(super) use root::RootPlan;

use arrow::array::ArrayRef;
use page::{LeafColumn, Scratch};

/// Decodes root columns of one file, reusing its buffers.
pub(super) struct Decoder<'a> {
    whole: &'a [u8],
    rows: usize,
    scratch: Scratch,
}

impl<'a> Decoder<'a> {
    /// For a file of these bytes and this many rows.
    pub(super) fn new(whole: &'a [u8], rows: usize) -> Self {
        Self { whole, rows, scratch: Scratch::default() }
    }

    /// A root column; `chunks` gives the places of a leaf's chunks, by its place among the root's leaves.
    pub(super) fn root<C>(&mut self, plan: &RootPlan, chunks: impl Fn(usize) -> C) -> Option<ArrayRef>
    where
        C: Iterator<Item = Option<ChunkPlace>>,
    {
        let mut columns = Vec::with_capacity(plan.leaves.len());
        for (at, leaf) in plan.leaves.iter().copied().enumerate() {
            let mut column = LeafColumn::new(leaf);
            for chunk in chunks(at) {
                page::decode(self.whole, leaf, &chunk?, &mut self.scratch, &mut column)?;
            }
            columns.push(column);
        }
        array::assemble(plan, columns, self.rows)
    }
}
