//! How many files the process may have open, and what that leaves for batches: a run's file is open while a sink has it.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// As many as anything here can use; a limit of a million is not asked for in full.
const WANTED: u64 = 8192;

/// Raises the soft limit, which is 1,024 on most systems for the sake of programs that use `select`, as far as the hard one
/// allows; says how many descriptors there are.
pub(super) fn raise() -> usize {
    let limit = getrlimit(Resource::Nofile);
    let hard = limit.maximum.unwrap_or(WANTED).min(WANTED);
    let soft = limit.current.unwrap_or(WANTED);
    // What is refused is done without.
    let raised = soft < hard && setrlimit(Resource::Nofile, Rlimit { current: Some(hard), ..limit }).is_ok();
    usize::try_from(if raised { hard } else { soft }).unwrap_or(usize::MAX)
}

/// Runs of one batch where this many calls may be under way at a time. Half of the descriptors are for batches; the rest is for
/// what is kept open ([`super::files`]), the ledgers, and whatever the plugins have.
pub(super) fn for_batch(descriptors: usize, calls: usize) -> usize {
    (descriptors / 2 / calls.max(1)).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_shrink_with_the_descriptors_and_never_to_nothing() {
        assert_eq!(for_batch(8192, 4), 1024);
        assert_eq!(for_batch(64, 1), 32);
        assert_eq!(for_batch(64, 2 * 16), 1);
        assert_eq!(for_batch(3, 0), 1);
        assert!(raise() >= 3);
    }
}
