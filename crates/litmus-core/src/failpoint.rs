//! Places where a test lets the process die, to show that dying there loses nothing.

/// Ends the process here, as `kill -9` would, if `LITMUS_FAILPOINT` names this place: `place` or `place:nth` (from 1).
/// Debug builds only; in a release build it is nothing.
///
/// The places: `pending` (recorded, not delivered), `pulling` (a sink asks for a table), `before_commit`,
/// `between_commit_and_report`, `replacing` (a revision is being replaced; these three in sinks),
/// `between_report_and_receipt`.
#[cfg(debug_assertions)]
pub fn failpoint(place: &str) {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};
    static WANTED: OnceLock<Option<(String, u64)>> = OnceLock::new();
    static SEEN: AtomicU64 = AtomicU64::new(0);
    let wanted = WANTED.get_or_init(|| {
        let given = std::env::var("LITMUS_FAILPOINT").ok()?;
        Some(match given.split_once(':') {
            Some((place, nth)) => (place.to_owned(), nth.parse().ok()?),
            None => (given, 1),
        })
    });
    if let Some((wanted, nth)) = wanted
        && wanted == place
        && SEEN.fetch_add(1, Ordering::SeqCst) + 1 == *nth
    {
        eprintln!("failpoint {place} reached");
        std::process::abort();
    }
}

/// Nothing, in a release build.
#[cfg(not(debug_assertions))]
#[inline]
pub fn failpoint(_place: &str) {}
