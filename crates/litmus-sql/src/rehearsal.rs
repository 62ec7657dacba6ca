//! What a dry run says: each run's report, and the statements that would come first.

use litmus_core::{Receipt, Report, RunId, SinkError, Status, Table};

use crate::catalog::columns_of;
use crate::{Incoming, SchemaPolicy, UnknownType, Wanted, open_tables, wanted};

/// A dry run, over all its batches. What one batch would change, the next takes for done: the statements of all of them, one
/// after the other, can be run by somebody.
#[derive(Debug)]
pub struct Rehearsal<F> {
    /// What is there, and what was planned so far.
    pub found: F,
    lacking: bool,
}

impl<F> Rehearsal<F> {
    /// Begins with what is there.
    pub fn new(found: F) -> Self {
        Self { found, lacking: false }
    }

    /// What a delivery of these runs would do, in the order of `runs`. `settle` gives the report of a run that needs no
    /// writing; `plan` the statements that writing these schemas needs, and takes them for done. `place` names the
    /// destination in messages, `location` in receipts.
    pub fn batch<R: Incoming>(
        &mut self,
        runs: &[R],
        policy: SchemaPolicy,
        (place, location): (&str, &str),
        mut settle: impl FnMut(&R) -> Result<Option<Report>, SinkError>,
        plan: impl FnOnce(&mut F, &[Wanted]) -> Result<Vec<String>, UnknownType>,
    ) -> Result<Vec<Report>, SinkError> {
        let mut reports: Vec<Option<Report>> = vec![None; runs.len()];
        let mut all: Vec<Wanted> = Vec::new();
        // In the order in which a delivery takes them.
        let mut order: Vec<usize> = (0..runs.len()).collect();
        order.sort_by_key(|at| runs[*at].run_id());
        for at in order {
            reports[at] = match settle(&runs[at])? {
                Some(report) => Some(report),
                None => match schemas(&runs[at]) {
                    Err(error) => Some(Report::failed(&error)),
                    Ok(wanted) => {
                        all.extend(wanted.into_iter().filter(|wanted| !all.contains(wanted)).collect::<Vec<_>>());
                        None
                    }
                },
            };
        }
        if reports.iter().all(Option::is_some) {
            return Ok(reports.into_iter().flatten().collect());
        }
        // Once for the batch, as a delivery does; the first run tells.
        let mut planned = plan(&mut self.found, &all).map_err(|error| SinkError::data(error.to_string()))?;
        self.lacking |= !planned.is_empty();
        let frozen = self.lacking && policy == SchemaPolicy::Freeze;
        let mut would = || {
            let receipt = Receipt {
                planned: std::mem::take(&mut planned),
                location: Some(location.to_owned()),
                ..Receipt::default()
            };
            if !frozen {
                return Report::done(Status::Delivered, receipt);
            }
            let message = format!(
                "{place}: tables or columns are lacking and schema_policy is \"freeze\"\nhint: run the statements that this \
                 dry run lists, or set schema_policy to \"evolve\" or \"ignore\""
            );
            Report { message, ..Report::done(Status::Schema, receipt) }
        };
        Ok(reports.into_iter().map(|report| report.unwrap_or_else(&mut would)).collect())
    }
}

/// What writing a run needs; an error where it could not be written.
fn schemas(run: &impl Incoming) -> Result<Vec<Wanted>, SinkError> {
    let wrong = |run_id: RunId, table: Table, error: &UnknownType| {
        SinkError::data(format!("run {run_id}, table {table}: {error}"))
    };
    let wanted = wanted(&open_tables(run)?);
    for (table, schema) in &wanted {
        columns_of(schema).map_err(|error| wrong(run.run_id(), *table, &error))?;
    }
    Ok(wanted)
}
