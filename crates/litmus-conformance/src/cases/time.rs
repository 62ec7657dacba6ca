//! Cancellation and deadlines.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use litmus_core::abi::host::HostCall;
use litmus_core::{OpenMode, RetryClass, SinkError, Status};

use crate::bench::{Bench, Delivered, call, deliver, deliver_in};
use crate::case::{Broken, Case, Need};
use crate::proxy::Way;
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
    Case {
        group: "time",
        name: "backend_asks_to_wait",
        description: "the wait that the backend asks for is passed on to the host; later everything arrives",
        guarantee: "a sink that is asked to wait says so, for as long as it was asked to, and blames no run",
        needs: &[Need::Proxy, Need::Busy],
        run: asks_to_wait,
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

fn asks_to_wait(bench: &Bench) -> Result<(), Broken> {
    let busy = bench.declaration.backend.as_ref().and_then(|backend| backend.busy.as_ref());
    let busy = busy.ok_or("conformance.toml has no backend.busy")?;
    let asked = Duration::from_secs(busy.seconds);
    let (proxy, config) = bench.through_proxy("destination")?;
    let runs = bench.few_runs(3)?;
    let instance = bench.open_with(&config, OpenMode::Live).map_err(|error| format!("open: {error}"))?;
    proxy.set(Way::Answers(busy.answer.as_str().into()));
    let delivered = deliver(&instance, &runs);
    super::backend::blames_no_run(&delivered, &runs)?;
    let of_call = delivered.ended.as_ref().err().and_then(SinkError::retry_after);
    let of_runs = delivered.reports.iter().flatten().filter_map(|report| report.retry_after);
    let longest = of_runs.chain(of_call).max();
    if longest.is_none_or(|wait| wait.abs_diff(asked) > Duration::from_secs(1)) {
        let told = longest.map_or("nothing of it".to_owned(), |wait| format!("{wait:?}"));
        return Err(format!("the backend asked to wait for {asked:?}, and the host was told {told}"));
    }
    proxy.set(Way::Through);
    super::backend::arrive(bench, &config, &runs)
}
