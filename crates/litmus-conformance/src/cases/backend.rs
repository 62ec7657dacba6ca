//! A backend that is away, dies, is silent, is slow, or refuses credentials; and is well again.

use std::time::{Duration, Instant};

use litmus_core::abi::host::Instance;
use litmus_core::{OpenMode, RetryClass, SinkError, Status};
use serde_json::Value;

use crate::bench::{Bench, Delivered, call, deliver, deliver_in, holds};
use crate::case::{Broken, Case, Need};
use crate::proxy::Way;
use crate::source::Source;

/// What a call may take beyond its deadline.
const GRACE: Duration = Duration::from_secs(5);
/// How long the backend stays silent before the host has enough.
const SILENCE: Duration = Duration::from_secs(2);
/// What a slow backend adds to each answer.
const SLOW: Duration = Duration::from_millis(150);

const HELD_UP: &str = "a backend that is away, dies or is slow holds runs up, blames none and loses none";

pub(super) const CASES: &[Case] = &[
    Case {
        group: "faults",
        name: "backend_away_at_open",
        description: "the backend ends every connection; once it is back, everything arrives",
        guarantee: HELD_UP,
        needs: &[Need::Proxy],
        run: away_at_open,
    },
    Case {
        group: "faults",
        name: "backend_away_and_back",
        description: "the backend goes away from under an open instance; that one goes on where the backend is back",
        guarantee: HELD_UP,
        needs: &[Need::Proxy],
        run: away_and_back,
    },
    Case {
        group: "faults",
        name: "backend_dies_in_the_middle",
        description: "connections are cut at several points of a batch; what was reported holds, the rest arrives once",
        guarantee: HELD_UP,
        needs: &[Need::Proxy],
        run: dies_in_the_middle,
    },
    Case {
        group: "faults",
        name: "backend_is_silent",
        description: "the backend takes everything and answers nothing: the call ends soon after its deadline",
        guarantee: HELD_UP,
        needs: &[Need::Proxy],
        run: is_silent,
    },
    Case {
        group: "faults",
        name: "backend_is_slow",
        description: "every answer comes 150 ms late, and everything arrives",
        guarantee: HELD_UP,
        needs: &[Need::Proxy],
        run: is_slow,
    },
    Case {
        group: "faults",
        name: "backend_refuses_credentials",
        description: "refused credentials are `auth`, at no run's cost, and the right ones work afterwards",
        guarantee: "refused credentials stop the sink, not a run, and are named as such",
        needs: &[Need::Refused],
        run: refuses_credentials,
    },
];

/// Fine where a backend is at fault: done, or to be tried again.
pub(super) fn blames_no_run(delivered: &Delivered, runs: &[Source]) -> Result<(), Broken> {
    for (at, run) in runs.iter().enumerate() {
        let fine = match delivered.status(at) {
            None => return Err(format!("{}: the call succeeded without a report of it", run.name())),
            Some(status) => {
                matches!(status.class(), RetryClass::Final | RetryClass::Retry) || status == Status::Deadline
            }
        };
        if !fine {
            let message = delivered.reports[at].as_ref().map(|report| report.message.clone());
            let of_call = delivered.ended.as_ref().err().map(ToString::to_string);
            let why = message.or(of_call).unwrap_or_default();
            return Err(format!("{}: {:?} where the backend was at fault: {why}", run.name(), delivered.status(at)));
        }
    }
    Ok(())
}

fn is_retry(error: &SinkError, doing: &str) -> Result<(), Broken> {
    if error.status().class() == RetryClass::Retry || error.status() == Status::Deadline {
        Ok(())
    } else {
        Err(format!("{doing} with the backend away ended as {}: {error}", error.status()))
    }
}

/// Delivers until it is done, as the host would, opening anew where the old instance cannot go on.
pub(super) fn arrive(bench: &Bench, config: &Value, runs: &[Source]) -> Result<(), Broken> {
    let instance = bench.open_with(config, OpenMode::Live).map_err(|error| format!("open once it is well: {error}"))?;
    arrive_at(bench, &instance, runs)
}

fn arrive_at(bench: &Bench, instance: &Instance, runs: &[Source]) -> Result<(), Broken> {
    super::exactly_once::until_final(instance, runs)?;
    if bench.capabilities().audit { holds(instance, runs) } else { Ok(()) }
}

fn away_at_open(bench: &Bench) -> Result<(), Broken> {
    let (proxy, config) = bench.through_proxy("destination")?;
    let runs = bench.few_runs(4)?;
    proxy.set(Way::Away);
    match bench.open_with(&config, OpenMode::Live) {
        Err(error) => is_retry(&error, "open")?,
        // One that connects when it has something to send.
        Ok(instance) => blames_no_run(&deliver(&instance, &runs), &runs)?,
    }
    proxy.set(Way::Through);
    arrive(bench, &config, &runs)
}

fn away_and_back(bench: &Bench) -> Result<(), Broken> {
    let (proxy, config) = bench.through_proxy("destination")?;
    let runs = bench.few_runs(8)?;
    let (first, then) = runs.split_at(4);
    let instance = bench.open_with(&config, OpenMode::Live).map_err(|error| format!("open: {error}"))?;
    deliver(&instance, first).all(Status::Delivered, first)?;
    proxy.set(Way::Away);
    let delivered = deliver(&instance, then);
    blames_no_run(&delivered, then)?;
    if delivered.reports.iter().flatten().any(|report| report.status == Status::Delivered) {
        return Err("a run was reported as delivered while the backend was away".into());
    }
    if let Err(error) = instance.check(&call(&|| false)) {
        is_retry(&error, "check")?;
    }
    proxy.set(Way::Through);
    let until = Instant::now() + GRACE;
    while deliver(&instance, then).all(Status::Delivered, then).is_err() && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(100));
        if super::exactly_once::until_final(&instance, then).is_ok() {
            break;
        }
    }
    arrive_at(bench, &instance, then)?;
    if bench.capabilities().audit { holds(&instance, &runs) } else { Ok(()) }
}

fn dies_in_the_middle(bench: &Bench) -> Result<(), Broken> {
    let runs = bench.few_runs(6)?;
    let (proxy, config) = bench.through_proxy("whole")?;
    let instance = bench.open_with(&config, OpenMode::Live).map_err(|error| format!("open: {error}"))?;
    proxy.set(Way::Through);
    deliver(&instance, &runs).all(Status::Delivered, &runs)?;
    let whole = proxy.sent();
    let mut cut = 0;
    for (nth, part) in [1, 20, 50, 80, 95, 99].into_iter().enumerate() {
        let (proxy, config) = bench.through_proxy(&format!("cut-{nth}"))?;
        let instance = bench.open_with(&config, OpenMode::Live).map_err(|error| format!("open: {error}"))?;
        proxy.set(Way::CutAfter(whole * part / 100));
        let delivered = deliver(&instance, &runs);
        let of_part = |why: Broken| format!("cut at {part} % of {whole} bytes: {why}");
        blames_no_run(&delivered, &runs).map_err(of_part)?;
        // A sink may end the call well and say it of each run.
        let is_open = |at: usize| delivered.status(at).is_none_or(|status| status.class() != RetryClass::Final);
        cut += u32::from(delivered.ended.is_err() || (0..runs.len()).any(is_open));
        proxy.set(Way::Through);
        arrive(bench, &config, &runs).map_err(of_part)?;
    }
    if cut > 0 { Ok(()) } else { Err("no delivery noticed that its connection was cut".into()) }
}

fn is_silent(bench: &Bench) -> Result<(), Broken> {
    let (proxy, config) = bench.through_proxy("destination")?;
    let runs = bench.few_runs(4)?;
    let instance = bench.open_with(&config, OpenMode::Live).map_err(|error| format!("open: {error}"))?;
    proxy.set(Way::Silent);
    let deadline = Instant::now() + SILENCE;
    let over = || Instant::now() >= deadline;
    let mut limited = call(&over);
    limited.deadline = Some(deadline);
    let delivered = deliver_in(&instance, &runs, &limited);
    if delivered.took > SILENCE + GRACE {
        return Err(format!("with a silent backend a call of {SILENCE:?} took {:?}", delivered.took));
    }
    blames_no_run(&delivered, &runs)?;
    if delivered.reports.iter().flatten().any(|report| report.status == Status::Delivered) && bench.capabilities().dedup
    {
        return Err("a run was reported as delivered, and the backend had said nothing".into());
    }
    proxy.set(Way::Through);
    arrive(bench, &config, &runs)
}

fn is_slow(bench: &Bench) -> Result<(), Broken> {
    let (proxy, config) = bench.through_proxy("destination")?;
    let runs = bench.few_runs(3)?;
    let instance = bench.open_with(&config, OpenMode::Live).map_err(|error| format!("open: {error}"))?;
    proxy.set(Way::Slow(SLOW));
    deliver(&instance, &runs).all(Status::Delivered, &runs)?;
    proxy.set(Way::Through);
    if bench.capabilities().audit { holds(&instance, &runs) } else { Ok(()) }
}

fn refuses_credentials(bench: &Bench) -> Result<(), Broken> {
    let over = bench.declaration.refused.clone().ok_or("conformance.toml has no [refused]")?;
    let config = bench.config_with("destination", &over, &[])?;
    let runs = bench.few_runs(3)?;
    let status = match bench.open_with(&config, OpenMode::Live) {
        Err(error) => error.status(),
        Ok(instance) => {
            let delivered = deliver(&instance, &runs);
            if let Some(report) = delivered.reports.iter().flatten().find(|report| report.status != Status::Auth) {
                return Err(format!("with refused credentials a run ended as {}: {}", report.status, report.message));
            }
            delivered.status(0).ok_or("with refused credentials a delivery succeeded")?
        }
    };
    if status != Status::Auth {
        return Err(format!("refused credentials ended as {status}, not auth"));
    }
    arrive(bench, &bench.config("destination")?, &runs)
}
