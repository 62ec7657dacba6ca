//! Hashes of rows, many of which begin like one shortly before: the uses of instruments differ in their last cells only.

/// How much of a row BLAKE3 takes at a time.
const BLOCK_BYTES: usize = 64;
/// A common beginning shorter than this is not worth remembering.
const PREFIX_BYTES_MIN: usize = 4 * BLOCK_BYTES;
/// Rows remembered: at least as many as a step has instruments, as a rule.
const SEEN_MAX: usize = 8;
/// Rows in a row that began like none before them, after which no other is compared.
const MISSES_MAX: u32 = 32;

/// Hashes the rows of a table.
#[derive(Debug, Default)]
pub(super) struct RowHasher {
    seen: Vec<Seen>,
    /// The row that the next one is likely to begin like.
    next: usize,
    misses: u32,
}

/// A row, and what BLAKE3 made of its beginning.
#[derive(Debug)]
struct Seen {
    row: Vec<u8>,
    /// Bytes that `state` has taken; 0 until another row began alike.
    prefix: usize,
    state: blake3::Hasher,
}

impl RowHasher {
    /// The same as `blake3::hash`.
    pub(super) fn hash(&mut self, row: &[u8]) -> blake3::Hash {
        if self.misses >= MISSES_MAX || row.len() < PREFIX_BYTES_MIN {
            return blake3::hash(row);
        }
        for nth in 0..self.seen.len() {
            let at = (self.next + nth) % self.seen.len();
            let seen = &mut self.seen[at];
            let common = common_blocks(&seen.row, row);
            if common >= PREFIX_BYTES_MIN {
                if seen.prefix == 0 || common < seen.prefix {
                    seen.state = blake3::Hasher::new();
                    seen.state.update(&row[..common]);
                    seen.prefix = common;
                }
                self.next = at + 1;
                self.misses = 0;
                return seen.state.clone().update(&row[seen.prefix..]).finalize();
            }
        }
        self.misses += 1;
        let seen = Seen { row: row.to_vec(), prefix: 0, state: blake3::Hasher::new() };
        if self.seen.len() < SEEN_MAX {
            self.seen.push(seen);
        } else {
            // The one whose turn comes last.
            self.next %= SEEN_MAX;
            self.seen[self.next] = seen;
            self.next += 1;
        }
        blake3::hash(row)
    }
}

/// How many bytes two rows have in common at their beginning, in whole blocks.
fn common_blocks(a: &[u8], b: &[u8]) -> usize {
    let blocks = a.chunks_exact(BLOCK_BYTES).zip(b.chunks_exact(BLOCK_BYTES));
    blocks.take_while(|(a, b)| a == b).count() * BLOCK_BYTES
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Rows out of a few beginnings and a few ends, so that some are remembered, some share less than before, and runs of
        /// misses come up.
        #[test]
        fn a_remembered_beginning_changes_no_hash(
            rows in proptest::collection::vec((0..12u8, 0..1500usize, any::<u8>(), 0..200usize), 0..120),
        ) {
            let mut hasher = RowHasher::default();
            for (beginning, length, end, end_length) in rows {
                let mut row = vec![beginning; length];
                row.resize(length + end_length, end);
                prop_assert_eq!(hasher.hash(&row), blake3::hash(&row));
            }
        }
    }
}
