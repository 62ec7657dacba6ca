//! What the fuzz targets may turn off, to compare with what is left.

use std::sync::atomic::{AtomicBool, Ordering};

static QUICK: AtomicBool = AtomicBool::new(true);

/// Whether small files are decoded by the decoder made for them, or by the parquet crate like all others.
pub fn use_quick_decoder(quick: bool) {
    QUICK.store(quick, Ordering::Relaxed);
}

pub(super) fn quick() -> bool {
    QUICK.load(Ordering::Relaxed)
}
