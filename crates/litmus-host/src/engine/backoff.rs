//! How long to wait before the next try: exponential with full jitter, so that a hundred hosts do not come back at once.

use std::time::Duration;

const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_mins(5);
/// A destination may ask for more than that, and is believed up to here.
const ASKED_LONGEST: Duration = Duration::from_hours(1);

/// A wait after the `failures`-th failure in a row (from 1): uniform between 0 and the exponential bound, but never so
/// short that a dead destination is hammered.
pub(super) fn wait(failures: u32, random: &mut fastrand::Rng) -> Duration {
    let bound = FIRST.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(LONGEST);
    let shortest = shortest();
    shortest + bound.saturating_sub(shortest).mul_f64(random.f64())
}

/// The wait that a destination asks for: one that asks for none is not hammered, and one that asks for a year is asked again.
pub(super) fn asked(wait: Duration) -> Duration {
    wait.clamp(shortest(), ASKED_LONGEST)
}

fn shortest() -> Duration {
    FIRST / 10
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_destination_is_believed_within_reason() {
        let as_asked = Duration::from_secs(90);
        assert_eq!(asked(as_asked), as_asked);
        assert_eq!(
            (asked(Duration::ZERO), asked(Duration::MAX)),
            (Duration::from_millis(100), Duration::from_hours(1))
        );
    }

    #[test]
    fn waits_grow_to_five_minutes_and_never_reach_zero() {
        let mut random = fastrand::Rng::with_seed(1);
        for failures in 1..40 {
            let longest = (0..500).map(|_| wait(failures, &mut random)).max().unwrap();
            let shortest = (0..500).map(|_| wait(failures, &mut random)).min().unwrap();
            assert!(longest <= LONGEST && shortest >= FIRST / 10);
            if failures >= 10 {
                assert!(longest > LONGEST.mul_f64(0.9), "the jitter covers the whole range");
            }
        }
    }
}
