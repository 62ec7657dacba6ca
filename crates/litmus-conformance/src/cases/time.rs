//! Cancellation and deadlines.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use litmus_core::abi::host::HostCall;
use litmus_core::{RetryClass, Status};

use crate::bench::{Bench, Delivered, call, deliver, deliver_in};
use crate::case::{Broken, Case, Need};
use crate::source::Source;

/// A plugin polls at least every second; the rest is grace for a loaded machine.
const STOPS_WITHIN: Duration = Duration::from_secs(5);

const STOPS: &str = "a sink stops when asked, within seconds, and what it had reported holds";

pub(super) const CASES: &[Case] = &[
    Case {
        group: "time",
        name: "cancelled_before_it_begins",
        description: "a call that is cancelled from the start delivers nothing and ends at once",
        guarantee: STOPS,
        needs: &[],
        run: cancelled_before,
    },
    Case {
        group: "time",
        name: "cancelled_in_the_middle",
        description: "a call cancelled after some polls ends soon; the runs then arrive once, whatever had been done",
        guarantee: STOPS,
        needs: &[Need::Dedup],
        run: cancelled_in_the_middle,
    },
    Case {
        group: "time",
        name: "deadline_has_passed",
        description: "a call whose deadline is over ends at once, and no run is at fault for it",
        guarantee: STOPS,
        needs: &[Need::Dedup],
        run: deadline_has_passed,
    },
];

fn soon(delivered: &Delivered) -> Result<(), Broken> {
    if delivered.took <= STOPS_WITHIN { Ok(()) } else { Err(format!("it took {:?} to stop", delivered.took)) }
}

fn cancelled_before(bench: &Bench) -> Result<(), Broken> {
    let (instance, runs) = (bench.open("destination")?, bench.few_runs(4)?);
    let delivered = deliver_in(&instance, &runs, &call(&|| true));
    soon(&delivered)?;
    delivered.all(Status::Cancelled, &runs)?;
    deliver(&instance, &runs).all(Status::Delivered, &runs)
}

fn cancelled_in_the_middle(bench: &Bench) -> Result<(), Broken> {
    let (instance, runs) = (bench.open("destination")?, bench.few_runs(12)?);
    for polls in [1, 2, 4, 8] {
        let asked = AtomicU32::new(0);
        let after_some = || asked.fetch_add(1, Ordering::Relaxed) >= polls;
        let delivered = deliver_in(&instance, &runs, &call(&after_some));
        soon(&delivered)?;
        no_run_is_at_fault(&delivered, &runs)?;
    }
    arrives(&deliver(&instance, &runs), &runs)
}

fn deadline_has_passed(bench: &Bench) -> Result<(), Broken> {
    let (instance, runs) = (bench.open("destination")?, bench.few_runs(4)?);
    let now = Instant::now();
    let delivered = deliver_in(
        &instance,
        &runs,
        &HostCall { attempt: 1, deadline: Some(now), is_cancelled: &|| true, dry_run: false },
    );
    soon(&delivered)?;
    no_run_is_at_fault(&delivered, &runs)?;
    arrives(&deliver(&instance, &runs), &runs)
}

/// Stopping says nothing about a run.
fn no_run_is_at_fault(delivered: &Delivered, runs: &[Source]) -> Result<(), Broken> {
    for (at, run) in runs.iter().enumerate() {
        let status =
            delivered.status(at).ok_or(format!("{}: the call succeeded without a report of it", run.name()))?;
        if !matches!(status.class(), RetryClass::Final | RetryClass::Retry) && status != Status::Deadline {
            return Err(format!("{}: {status} in a call that was stopped", run.name()));
        }
    }
    Ok(())
}

fn arrives(delivered: &Delivered, runs: &[Source]) -> Result<(), Broken> {
    for (at, run) in runs.iter().enumerate() {
        let status = delivered.status(at);
        if !matches!(status, Some(Status::Delivered | Status::AlreadyPresent)) {
            return Err(format!("{}: {status:?} once it was left alone", run.name()));
        }
    }
    Ok(())
}
