//! A run that cannot be read, among runs that can.

use litmus_core::{RetryClass, Status};

use crate::bench::{Bench, deliver, holds, holds_none};
use crate::case::{Broken, Case, Need};
use crate::source::{Fault, Source};

const ALONE: &str = "a run at fault is never half delivered, and its neighbours arrive";

pub(super) const CASES: &[Case] = &[
    Case {
        group: "partial failure",
        name: "unopenable_run_among_others",
        description: "a run without tables, first, in the middle and last in a batch, is not delivered; the others are in the end",
        guarantee: ALONE,
        needs: &[Need::Dedup, Need::Audit],
        run: |bench| among_others(bench, Fault::Unopenable),
    },
    Case {
        group: "partial failure",
        name: "broken_stream_among_others",
        description: "a run whose rows break off, first, in the middle and last in a batch, leaves no row; the others arrive in the end",
        guarantee: ALONE,
        needs: &[Need::Dedup, Need::Audit],
        run: |bench| among_others(bench, Fault::BreaksOff),
    },
    Case {
        group: "partial failure",
        name: "reports_are_for_the_right_run",
        description: "two runs at fault among six: those two are not delivered, and what is reported of the others is true",
        guarantee: ALONE,
        needs: &[Need::Dedup],
        run: right_run,
    },
];

fn right_run(bench: &Bench) -> Result<(), Broken> {
    let (instance, good) = (bench.open("destination")?, bench.few_runs(6)?);
    let mut batch = good.clone();
    for (place, fault) in [(1, Fault::Unopenable), (4, Fault::BreaksOff)] {
        batch[place] = batch[place].clone().with_fault(fault);
    }
    let delivered = deliver(&instance, &batch);
    for (at, run) in batch.iter().enumerate() {
        let reported = delivered.reports[at].as_ref().map(|report| report.status);
        match reported {
            Some(status) if [1, 4].contains(&at) && status.class() == RetryClass::Final => {
                return Err(format!("{}: cannot be read, and was reported as {status}", run.name()));
            }
            Some(status) if ![1, 4].contains(&at) && status.class() == RetryClass::Suspect => {
                return Err(format!("{}: nothing is wrong with it, and it was reported as {status}", run.name()));
            }
            _ => (),
        }
    }
    // What was reported as done is there, and what cannot be read is not.
    for (at, run) in good.iter().enumerate() {
        let alone = std::slice::from_ref(run);
        let again = deliver(&instance, alone);
        if [1, 4].contains(&at) {
            again.all(Status::Delivered, alone)?;
        } else if delivered.reports[at].as_ref().is_some_and(|report| report.status.class() == RetryClass::Final) {
            again.all(Status::AlreadyPresent, alone)?;
        }
    }
    Ok(())
}

fn among_others(bench: &Bench, fault: Fault) -> Result<(), Broken> {
    for place in [0, 2, 4] {
        let instance = bench.open(&format!("place-{place}"))?;
        let good = bench.few_runs(5)?;
        let mut batch = good.clone();
        batch[place] = batch[place].clone().with_fault(fault);

        let delivered = deliver(&instance, &batch);
        match delivered.status(place) {
            Some(status) if status.class() == RetryClass::Final => {
                return Err(format!("{}: cannot be read, and ended as {status}", batch[place].name()));
            }
            None => return Err("the call succeeded and left the run at fault without a report".into()),
            Some(_) => (),
        }
        holds_none(&instance, &batch[place..=place])?;

        // What the host does next: the rest alone, then the run itself once it can be read.
        let others: Vec<Source> = (0..5).filter(|at| *at != place).map(|at| good[at].clone()).collect();
        let again = deliver(&instance, &others);
        for (at, run) in others.iter().enumerate() {
            let done = matches!(again.status(at), Some(Status::Delivered | Status::AlreadyPresent));
            if !done {
                return Err(format!("{}: {:?} after a batch with a run at fault", run.name(), again.status(at)));
            }
        }
        deliver(&instance, &good[place..=place]).all(Status::Delivered, &good[place..=place])?;
        holds(&instance, &good)?;
    }
    Ok(())
}
