//! Delivery when all is well.

use litmus_core::abi::host::RunSource;
use litmus_core::digest::Conversions;
use litmus_core::{Attachment, AttachmentReceipt, AttachmentState, Grade, Sha256, Status};
use sha2::Digest;

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
    Case {
        group: "deliver",
        name: "deliver_attachments",
        description: "every file that real runs refer to arrives byte for byte, where the receipt says; nothing is made up for one that is not there",
        guarantee: "what a run refers to arrives with it",
        needs: &[Need::Attachments],
        run: attachments,
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

fn attachments(bench: &Bench) -> Result<(), Broken> {
    let (instance, mut runs) = (bench.open("destination")?, bench.runs()?);
    let has_files = |run: &Source| {
        run.attachments().iter().any(|attachment| matches!(attachment.state, AttachmentState::Present { .. }))
    };
    runs.retain(has_files);
    if runs.is_empty() {
        return Err("no run of the corpus refers to a file".into());
    }
    for batch in runs.chunks(bench.capabilities().batch_runs as usize) {
        let delivered = deliver(&instance, batch);
        delivered.all(Status::Delivered, batch)?;
        for (run, report) in batch.iter().zip(&delivered.reports) {
            let told = report.as_ref().and_then(|report| report.receipt.as_ref());
            let told = told.map_or(&[][..], |receipt| &receipt.attachments);
            for attachment in run.attachments() {
                arrived(attachment, told).map_err(|why| format!("{}: {}: {why}", run.name(), attachment.reference))?;
            }
        }
    }
    Ok(())
}

/// Compares a file with what lies where the receipt says.
fn arrived(attachment: &Attachment, told: &[AttachmentReceipt]) -> Result<(), Broken> {
    let told = told.iter().find(|one| one.reference == attachment.reference);
    let AttachmentState::Present { file, .. } = &attachment.state else {
        let made_up = told.is_some_and(|one| one.location.is_some() || one.size.is_some());
        return if made_up { Err("the receipt tells of a file that is not there".into()) } else { Ok(()) };
    };
    let told = told.ok_or("the receipt does not mention it")?;
    let read = |path: &str| std::fs::read(path).map_err(|error| format!("{path}: {error}"));
    let sealed = read(file)?;
    let location = told.location.as_deref().ok_or("the receipt does not say where it is")?;
    if read(location.strip_prefix("file://").unwrap_or(location))? != sealed {
        return Err(format!("{location} holds other bytes"));
    }
    if told.size != Some(sealed.len() as u64) {
        return Err(format!("the receipt says {:?} bytes, there are {}", told.size, sealed.len()));
    }
    let sha256 = Sha256(sha2::Sha256::digest(&sealed).into());
    if told.sha256.is_some_and(|told| told != sha256) { Err("the receipt has another sha256".into()) } else { Ok(()) }
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
