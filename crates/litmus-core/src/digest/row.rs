//! Digests of rows given cell by cell: what a sink's audit uses on the rows it reads back.

use std::ops::Range;

use super::{Cell, TableDigest, encode};

/// Digests rows given cell by cell.
#[derive(Debug, Default)]
pub struct RowDigester {
    total: TableDigest,
    bytes: Vec<u8>,
    cells: Vec<EncodedCell>,
}

/// Where a cell of the row being built lies in the buffer.
#[derive(Debug)]
struct EncodedCell {
    name: Range<usize>,
    end: usize,
}

/// Bytes of the name's length before the name itself.
const NAME_LENGTH_BYTES: usize = 4;

impl RowDigester {
    /// Adds one row's non-null cells, in any order.
    pub fn row<'a>(&mut self, cells: impl IntoIterator<Item = (&'a str, Cell<'a>)>) {
        self.bytes.clear();
        self.cells.clear();
        for (name, cell) in cells {
            let start = self.bytes.len() + NAME_LENGTH_BYTES;
            encode::name(&mut self.bytes, name);
            let name = start..self.bytes.len();
            encode::cell(&mut self.bytes, &cell);
            self.cells.push(EncodedCell { name, end: self.bytes.len() });
        }
        let bytes = &self.bytes;
        self.cells.sort_unstable_by(|a, b| bytes[a.name.clone()].cmp(&bytes[b.name.clone()]));
        let mut hasher = blake3::Hasher::new();
        for cell in &self.cells {
            hasher.update(&bytes[cell.name.start - NAME_LENGTH_BYTES..cell.end]);
        }
        self.total.add(&hasher.finalize());
    }

    /// The table's digest so far.
    pub fn finish(self) -> TableDigest {
        self.total
    }
}
