//! Delivery when all is well.

use litmus_core::digest::Conversions;
use litmus_core::{Grade, Status};

use crate::bench::{Bench, Delivered, call, deliver, deliver_in, equal, holds, holds_none};
use crate::case::{Broken, Case, Need};
use crate::source::Source;

pub(super) const CASES: &[Case] = &[
    Case {
        group: "deliver",
        name: "deliver_corpus",
        description: "every real run file, in batches of the preferred size, is delivered with a receipt that agrees",
        guarantee: "every run of every generation arrives",
        needs: &[],
        run: corpus,
    },
    Case {
        group: "deliver",
        name: "deliver_corpus_and_audit",
        description: "every real run file is delivered, and the audit's digests equal the source's",
        guarantee: "every run arrives whole: what is read back equals what was sealed",
        needs: &[Need::Audit],
        run: corpus_and_audit,
    },
    Case {
        group: "deliver",
        name: "deliver_one_at_a_time",
        description: "batches of one run hold the same as one batch of all",
        guarantee: "how runs are batched does not show at the destination",
        needs: &[Need::Audit],
        run: one_at_a_time,
    },
    Case {
        group: "deliver",
        name: "deliver_no_runs",
        description: "an empty batch is no error",
        guarantee: "a batch holds any number of runs",
        needs: &[],
        run: no_runs,
    },
    Case {
        group: "deliver",
        name: "close_keeps_what_was_delivered",
        description: "after close and open, everything is still there",
        guarantee: "a delivered run is durable",
        needs: &[Need::Audit],
        run: close_keeps,
    },
    Case {
        group: "deliver",
        name: "dry_run_writes_nothing",
        description: "a dry run reports every run, and none is there afterwards",
        guarantee: "a dry run changes nothing",
        needs: &[Need::DryRun, Need::Audit],
        run: dry_run,
    },
    Case {
        group: "deliver",
        name: "two_instances_in_one_process",
        description: "two destinations open at once do not mix",
        guarantee: "instances share nothing",
        needs: &[Need::Audit],
        run: two_instances,
    },
];

/// Delivers in batches as the plugin prefers them, checking each receipt.
fn deliver_all(bench: &Bench, instance: &litmus_core::abi::host::Instance, runs: &[Source]) -> Result<(), Broken> {
    for batch in runs.chunks(bench.capabilities().batch_runs as usize) {
        let delivered = deliver(instance, batch);
        delivered.all(Status::Delivered, batch)?;
        receipts(bench, &delivered, batch)?;
    }
    Ok(())
}

/// A receipt has a grade within what was declared, and digests that equal the source's where it has any.
fn receipts(bench: &Bench, delivered: &Delivered, batch: &[Source]) -> Result<(), Broken> {
    for (run, report) in batch.iter().zip(&delivered.reports) {
        let of_run = |why: String| format!("{}: {why}", run.name());
        let receipt = report.as_ref().and_then(|report| report.receipt.as_ref()).ok_or(of_run("no receipt".into()))?;
        let grade_max = bench.capabilities().grade_max;
        match receipt.grade {
            None => return Err(of_run("its receipt has no grade".into())),
            Some(grade) if grade > grade_max || grade == Grade::Verified => {
                return Err(of_run(format!("its receipt says {grade:?}; a delivery reaches {grade_max:?} at most")));
            }
            Some(_) => (),
        }
        if !receipt.tables.is_empty() {
            let conversions = Conversions::from_names(receipt.conversions.keys().map(String::as_str))?;
            equal(&run.digests(conversions)?, &receipt.tables).map_err(|why| of_run(format!("its receipt: {why}")))?;
        }
    }
    Ok(())
}

fn corpus(bench: &Bench) -> Result<(), Broken> {
    deliver_all(bench, &bench.open("destination")?, &bench.runs()?)
}

fn corpus_and_audit(bench: &Bench) -> Result<(), Broken> {
    let (instance, runs) = (bench.open("destination")?, bench.runs()?);
    deliver_all(bench, &instance, &runs)?;
    holds(&instance, &runs)
}

fn one_at_a_time(bench: &Bench) -> Result<(), Broken> {
    let (instance, runs) = (bench.open("destination")?, bench.few_runs(12)?);
    for run in &runs {
        let batch = std::slice::from_ref(run);
        deliver(&instance, batch).all(Status::Delivered, batch)?;
    }
    holds(&instance, &runs)
}

fn no_runs(bench: &Bench) -> Result<(), Broken> {
    deliver(&bench.open("destination")?, &[]).ended.map_err(|error| error.to_string())
}

fn close_keeps(bench: &Bench) -> Result<(), Broken> {
    let (instance, runs) = (bench.open("destination")?, bench.few_runs(8)?);
    deliver_all(bench, &instance, &runs)?;
    instance.flush(&call(&|| false)).map_err(|error| format!("flush: {error}"))?;
    instance.close(&call(&|| false)).map_err(|error| format!("close: {error}"))?;
    holds(&bench.open("destination")?, &runs)
}

fn dry_run(bench: &Bench) -> Result<(), Broken> {
    let (instance, runs) = (bench.open("destination")?, bench.few_runs(4)?);
    let mut dry = call(&|| false);
    dry.dry_run = true;
    let delivered = deliver_in(&instance, &runs, &dry);
    if let Some(at) = delivered.reports.iter().position(Option::is_none) {
        return Err(format!("{}: a dry run did not report it", runs[at].name()));
    }
    holds_none(&instance, &runs)?;
    // Nothing was noted either: it is not "already present" now.
    deliver_all(bench, &instance, &runs)
}

fn two_instances(bench: &Bench) -> Result<(), Broken> {
    let (a, b, runs) = (bench.open("a")?, bench.open("b")?, bench.few_runs(6)?);
    let (of_a, of_b) = runs.split_at(3);
    deliver_all(bench, &a, of_a)?;
    deliver_all(bench, &b, of_b)?;
    holds(&a, of_a)?;
    holds_none(&a, of_b)?;
    holds(&b, of_b)?;
    holds_none(&b, of_a)
}
