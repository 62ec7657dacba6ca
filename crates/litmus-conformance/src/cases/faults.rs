//! A run that cannot be read, among runs that can.

use litmus_core::{RetryClass, Status};

use crate::bench::{Bench, deliver, holds, holds_none};
use crate::case::{Broken, Case, Need};
use crate::source::{Fault, Source};

const ALONE: &str = "a run at fault is never half delivered, and its neighbours arrive";

pub(super) const CASES: &[Case] = &[
    Case {
        name: "unopenable_run_among_others",
        description: "a run without tables, first, in the middle and last in a batch, is not delivered; the others are in the end",
        guarantee: ALONE,
        needs: &[Need::Dedup, Need::Audit],
        run: |bench| among_others(bench, Fault::Unopenable),
    },
    Case {
        name: "broken_stream_among_others",
        description: "a run whose rows break off, first, in the middle and last in a batch, leaves no row; the others arrive in the end",
        guarantee: ALONE,
        needs: &[Need::Dedup, Need::Audit],
        run: |bench| among_others(bench, Fault::BreaksOff),
    },
];

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
