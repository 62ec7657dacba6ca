//! What arrived, as the backend itself shows it: for sinks that cannot audit.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use litmus_core::abi::host::RunSource;
use litmus_core::{RetryClass, Status};

use crate::bench::{Bench, call, deliver, deliver_in};
use crate::case::{Broken, Case, Need};
use crate::source::{Fault, Source};

/// How long a delivered run may take until the backend shows it.
const SHOWN_WITHIN: Duration = Duration::from_secs(20);

pub(super) const CASES: &[Case] = &[
    Case {
        group: "final",
        name: "delivered_runs_show_at_the_backend",
        description: "every real run file, once delivered, shows at the backend",
        guarantee: "every run of every generation arrives",
        needs: &[Need::ReadBack],
        run: delivered_runs_show,
    },
    Case {
        group: "deliver",
        name: "what_was_not_delivered_does_not_show_at_the_backend",
        description: "a cancelled batch, and a dry run where there is one, show nothing at the backend",
        guarantee: "a dry run changes nothing, a call that is cancelled from the start neither",
        needs: &[Need::ReadBack],
        run: nothing_else_shows,
    },
    Case {
        group: "partial failure",
        name: "unopenable_run_leaves_its_neighbours_alone",
        description: "a run without tables, first, in the middle and last in a batch, is not delivered; the others show at the backend",
        guarantee: "a run at fault is never delivered, and its neighbours arrive",
        needs: &[Need::ReadBack],
        run: unopenable_among_others,
    },
];

/// Broken unless just these show in the end.
pub(super) fn show(bench: &Bench, destination: &str, shown: &[Source], hidden: &[Source]) -> Result<(), Broken> {
    let all = [shown, hidden].concat();
    let expected: BTreeSet<_> = shown.iter().map(RunSource::run_id).collect();
    let until = Instant::now() + SHOWN_WITHIN;
    loop {
        let arrived = bench.arrived(destination, &all)?;
        if let Some(run) = hidden.iter().find(|run| arrived.contains(&run.run_id())) {
            return Err(format!("{}: it was not delivered, and shows at the backend", run.name()));
        }
        if arrived == expected {
            return Ok(());
        }
        if Instant::now() >= until {
            let missing: Vec<_> =
                shown.iter().filter(|run| !arrived.contains(&run.run_id())).map(Source::name).collect();
            return Err(format!("delivered, but not seen at the backend: {}", missing.join(", ")));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn delivered_runs_show(bench: &Bench) -> Result<(), Broken> {
    let (instance, runs) = (bench.open("destination")?, bench.runs()?);
    for batch in runs.chunks(bench.capabilities().batch_runs as usize) {
        deliver(&instance, batch).all(Status::Delivered, batch)?;
    }
    instance.close(&call(&|| false)).map_err(|error| format!("close: {error}"))?;
    show(bench, "destination", &runs, &[])
}

fn nothing_else_shows(bench: &Bench) -> Result<(), Broken> {
    let (instance, runs) = (bench.open("destination")?, bench.few_runs(8)?);
    let (kept, sent) = runs.split_at(4);
    if bench.capabilities().dry_run {
        let mut dry = call(&|| false);
        dry.dry_run = true;
        deliver_in(&instance, kept, &dry).ended.map_err(|error| format!("dry run: {error}"))?;
    }
    deliver_in(&instance, kept, &call(&|| true)).all(Status::Cancelled, kept)?;
    // Once these show, what came before them would show as well.
    deliver(&instance, sent).all(Status::Delivered, sent)?;
    show(bench, "destination", sent, kept)
}

fn unopenable_among_others(bench: &Bench) -> Result<(), Broken> {
    for place in [0, 2, 4] {
        let destination = format!("place-{place}");
        let instance = bench.open(&destination)?;
        let good = bench.few_runs(5)?;
        let mut batch = good.clone();
        batch[place] = batch[place].clone().with_fault(Fault::Unopenable);
        let delivered = deliver(&instance, &batch);
        if delivered.status(place).is_none_or(|status| status.class() == RetryClass::Final) {
            return Err(format!("{}: cannot be read, and ended as {:?}", batch[place].name(), delivered.status(place)));
        }
        let others: Vec<Source> = (0..5).filter(|at| *at != place).map(|at| good[at].clone()).collect();
        // What the host does next with those that were not reported.
        let open: Vec<Source> = others
            .iter()
            .filter(|run| {
                let at = good.iter().position(|one| one.run_id() == run.run_id()).expect("it is one of them");
                delivered.status(at) != Some(Status::Delivered)
            })
            .cloned()
            .collect();
        deliver(&instance, &open).all(Status::Delivered, &open)?;
        show(bench, &destination, &others, &good[place..=place])?;
    }
    Ok(())
}
