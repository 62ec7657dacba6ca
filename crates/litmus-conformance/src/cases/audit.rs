//! What the audit answers.

use litmus_core::Status;
use litmus_core::abi::host::Instance;

use crate::bench::{Bench, audits, deliver, holds, holds_none};
use crate::case::{Broken, Case, Need};
use crate::source::Source;

const READS: &str = "an audit reads: what was changed or removed behind the sink's back is found";

pub(super) const CASES: &[Case] = &[
    Case {
        group: "audit",
        name: "audit_tells_present_from_absent",
        description: "a run that was never sent is absent, on an empty destination and beside others",
        guarantee: "a missing run is found",
        needs: &[Need::Audit],
        run: present_from_absent,
    },
    Case {
        group: "audit",
        name: "audit_finds_a_changed_run",
        description: "one value of one run is changed without the sink: the audit differs for it, and for no other",
        guarantee: READS,
        needs: &[Need::Audit],
        run: finds_a_change,
    },
    Case {
        group: "audit",
        name: "audit_finds_a_removed_run",
        description: "one run is removed without the sink: the audit does not vouch for it, and does for the others",
        guarantee: READS,
        needs: &[Need::Audit],
        run: finds_a_removal,
    },
];

fn finds_a_change(bench: &Bench) -> Result<(), Broken> {
    let (instance, runs) = (bench.open("destination")?, bench.few_runs(5)?);
    deliver(&instance, &runs).all(Status::Delivered, &runs)?;
    holds(&instance, &runs)?;
    bench.behind_its_back("destination", &runs[2], false)?;
    found(&instance, &runs, 2)?;
    // Nor does another instance, which has delivered nothing, take it for what was sent.
    found(&bench.open("destination")?, &runs, 2)
}

fn finds_a_removal(bench: &Bench) -> Result<(), Broken> {
    let (instance, runs) = (bench.open("destination")?, bench.few_runs(5)?);
    deliver(&instance, &runs).all(Status::Delivered, &runs)?;
    holds(&instance, &runs)?;
    bench.behind_its_back("destination", &runs[3], true)?;
    found(&instance, &runs, 3)
}

/// Broken unless the audit vouches for every run but one.
fn found(instance: &Instance, runs: &[Source], but: usize) -> Result<(), Broken> {
    // A destination that cannot be read is no proof of anything, and refusing to vouch for it is right.
    let Ok(_) = audits(instance, runs) else { return others_hold(instance, runs, but) };
    if holds(instance, &runs[but..=but]).is_ok() {
        return Err(format!("{}: changed behind the sink's back, and the audit vouches for it", runs[but].name()));
    }
    others_hold(instance, runs, but)
}

fn others_hold(instance: &Instance, runs: &[Source], but: usize) -> Result<(), Broken> {
    let others: Vec<_> = (0..runs.len()).filter(|at| *at != but).map(|at| runs[at].clone()).collect();
    holds(instance, &others)
}

fn present_from_absent(bench: &Bench) -> Result<(), Broken> {
    let (instance, runs) = (bench.open("destination")?, bench.few_runs(6)?);
    holds_none(&instance, &runs)?;
    let (sent, kept) = runs.split_at(3);
    deliver(&instance, sent).all(Status::Delivered, sent)?;
    holds(&instance, sent)?;
    holds_none(&instance, kept)
}
