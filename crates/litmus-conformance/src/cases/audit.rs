//! What the audit answers.

use litmus_core::Status;

use crate::bench::{Bench, deliver, holds, holds_none};
use crate::case::{Broken, Case, Need};

pub(super) const CASES: &[Case] = &[Case {
    name: "audit_tells_present_from_absent",
    description: "a run that was never sent is absent, on an empty destination and beside others",
    guarantee: "a missing run is found",
    needs: &[Need::Audit],
    run: present_from_absent,
}];

fn present_from_absent(bench: &Bench) -> Result<(), Broken> {
    let (instance, runs) = (bench.open("destination")?, bench.few_runs(6)?);
    holds_none(&instance, &runs)?;
    let (sent, kept) = runs.split_at(3);
    deliver(&instance, sent).all(Status::Delivered, sent)?;
    holds(&instance, sent)?;
    holds_none(&instance, kept)
}
