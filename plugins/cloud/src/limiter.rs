//! How many requests are under way at once, and when the next may start.
//!
//! Additive increase, multiplicative decrease, as TCP does it: every request that is answered well lets in a little more,
//! one that is told to slow down halves the number, and nothing starts before the time that the service asked for.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

/// The longest wait that is taken from a service; a longer one goes back to the host.
pub(crate) const WAIT_MAX: Duration = Duration::from_secs(20);
/// Refusals of requests that were sent together count once.
const DECREASE_EVERY: Duration = Duration::from_millis(500);

/// Shared by all requests of an instance.
#[derive(Debug)]
pub(crate) struct Limiter {
    most: f64,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug)]
struct State {
    limit: f64,
    under_way: usize,
    not_before: Option<Instant>,
    decreased: Option<Instant>,
}

/// One request under way.
#[derive(Debug)]
pub(crate) struct Permit<'a>(&'a Limiter);

impl Limiter {
    pub(crate) fn new(most: u32) -> Self {
        let most = f64::from(most.max(1));
        let state = State { limit: most, under_way: 0, not_before: None, decreased: None };
        Self { most, state: Mutex::new(state), changed: Notify::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for its turn.
    pub(crate) async fn acquire(&self) -> Permit<'_> {
        loop {
            let changed = self.changed.notified();
            let wait = {
                let mut state = self.state();
                let now = Instant::now();
                match state.not_before.filter(|until| *until > now) {
                    Some(until) => Some(until),
                    None if state.under_way < state.limit as usize => {
                        state.under_way += 1;
                        return Permit(self);
                    }
                    None => None,
                }
            };
            match wait {
                Some(until) => tokio::time::sleep_until(until).await,
                None => changed.await,
            }
        }
    }

    /// A request was answered well.
    pub(crate) fn went_well(&self) {
        let mut state = self.state();
        state.limit = (state.limit + 1.0 / state.limit).min(self.most);
    }

    /// The service asks to slow down, and how long to wait.
    pub(crate) fn slow_down(&self, wait: Duration) {
        let mut state = self.state();
        let now = Instant::now();
        if state.decreased.is_none_or(|at| now.duration_since(at) >= DECREASE_EVERY) {
            state.limit = (state.limit / 2.0).max(1.0);
            state.decreased = Some(now);
        }
        let until = now + wait.min(WAIT_MAX);
        state.not_before = Some(state.not_before.map_or(until, |at| at.max(until)));
    }

    #[cfg(test)]
    fn limit(&self) -> usize {
        self.state().limit as usize
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.0.state().under_way -= 1;
        // Whoever waits looks again; several, because the limit may have risen.
        self.0.changed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run<F: Future>(future: F) -> F::Output {
        tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(future)
    }

    #[test]
    fn refusals_halve_the_pace_and_success_restores_it() {
        let limiter = Limiter::new(16);
        run(async {
            limiter.slow_down(Duration::ZERO);
            limiter.slow_down(Duration::ZERO);
            assert_eq!(limiter.limit(), 8, "refusals of one moment count once");
            for _ in 0..200 {
                limiter.went_well();
            }
            assert_eq!(limiter.limit(), 16);
        });
    }

    #[test]
    fn nothing_starts_before_the_time_that_was_asked_for() {
        let limiter = Limiter::new(4);
        run(async {
            let began = Instant::now();
            limiter.slow_down(Duration::from_millis(60));
            drop(limiter.acquire().await);
            assert!(began.elapsed() >= Duration::from_millis(60));
        });
    }

    #[test]
    fn no_more_are_under_way_than_allowed() {
        let limiter = Limiter::new(2);
        run(async {
            let (first, _second) = (limiter.acquire().await, limiter.acquire().await);
            let third = tokio::time::timeout(Duration::from_millis(20), limiter.acquire()).await;
            assert!(third.is_err(), "a third got in");
            drop(first);
            limiter.acquire().await;
        });
    }
}
