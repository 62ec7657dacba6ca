//! What a [`Lane`](super::lane::Lane) and its driver say to each other.

use std::time::Duration;

use litmus_core::{RunId, Status};

use super::queue::Item;
use crate::ledger::Settled;

/// The time, from outside: `mono` only moves forward and drives every wait; `wall_ms` is for the ledger's notes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Now {
    pub(crate) mono: Duration,
    pub(crate) wall_ms: i64,
}

/// A sink's settings.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Policy {
    pub(crate) batch_runs: usize,
    pub(crate) batch_bytes: u64,
    /// Calls of `deliver` at once.
    pub(crate) concurrency: usize,
    /// End when the sink has been transiently down this long; `None`: never end (`--watch`).
    pub(crate) give_up_after: Option<Duration>,
    /// Nothing is written: what the destination has is asked run by run, not by audit.
    pub(crate) dry_run: bool,
}

/// How the sink is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Health {
    Up,
    /// It failed; the next try is not far.
    Degraded(String),
    /// The breaker is open: it failed again and again.
    Open(String),
    /// One probe is under way.
    HalfOpen(String),
    /// It cannot go on until somebody mends it: auth, config, schema.
    Blocked(Status, String),
    /// Its instance hung past the deadline and is left alone; after a long wait a fresh one is opened.
    Down(String),
}

impl Health {
    /// The name in `status`.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Up => "up".into(),
            Self::Degraded(_) => "degraded".into(),
            Self::Open(_) => "open".into(),
            Self::HalfOpen(_) => "half_open".into(),
            Self::Blocked(status, _) => format!("blocked on {status}"),
            Self::Down(_) => "down".into(),
        }
    }

    /// Why it is not up.
    pub(crate) fn why(&self) -> &str {
        match self {
            Self::Up => "",
            Self::Degraded(why) | Self::Open(why) | Self::HalfOpen(why) | Self::Blocked(_, why) | Self::Down(why) => {
                why
            }
        }
    }
}

/// What the driver does next.
#[derive(Debug)]
pub(crate) enum Step {
    /// Close the old instance if there is one, open a new one; then [`Lane::connected`] or [`Lane::connect_failed`].
    Connect,
    /// Ask what the destination still has; then [`Lane::audited`].
    Audit(Vec<Item>),
    /// Deliver; then [`Lane::delivered`].
    Deliver(Vec<Item>),
    /// Nothing to do until then, or until something happens.
    Wait(Option<Duration>),
    /// Nothing more can be done.
    Finished,
}

/// A failed call.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub(crate) status: Status,
    pub(crate) message: String,
    pub(crate) retry_after: Option<Duration>,
}

/// One run's report.
#[derive(Clone, Debug)]
pub(crate) struct RunReport {
    pub(crate) status: Status,
    pub(crate) message: String,
    pub(crate) retry_after: Option<Duration>,
    pub(crate) receipt: Option<String>,
}

/// How a call of `deliver` ended.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    /// By place in the batch; `None`: the sink did not say.
    pub(crate) reports: Vec<Option<RunReport>>,
    pub(crate) end: End,
}

/// How the call itself ended.
#[derive(Clone, Debug)]
pub(crate) enum End {
    Returned,
    Failed {
        failure: Failure,
        /// Whether the sink's own check was well right after it; asked for suspect failures only.
        sink_well: bool,
    },
    /// It did not come back in time, and never will.
    Abandoned,
    /// The host asked it to stop.
    Stopped,
}

/// How a run ended, for whoever watches.
#[derive(Clone, Debug)]
pub(crate) struct Ended {
    pub(crate) run_id: RunId,
    pub(crate) settled: Settled,
}
