//! Every case, by what it is about.

mod abi;
mod audit;
mod backend;
mod config;
mod deliver;
mod describe;
mod exactly_once;
mod fully;
mod kill;
mod partial;
mod read_back;
mod time;
mod values;

use crate::Case;
use crate::bench::Bench;
use crate::case::Broken;

/// What cases are about, in the order in which they run.
pub const GROUPS: &[&str] =
    &["abi", "describe", "config", "deliver", "exactly once", "partial failure", "faults", "time", "audit", "final"];

/// Every case, in the order in which they run.
pub fn cases() -> Vec<Case> {
    [
        abi::CASES,
        describe::CASES,
        config::CASES,
        deliver::CASES,
        values::CASES,
        exactly_once::CASES,
        kill::CASES,
        partial::CASES,
        backend::CASES,
        time::CASES,
        audit::CASES,
        read_back::CASES,
        fully::CASES,
    ]
    .concat()
}

/// The part of a case that runs in a process of its own, which it may end.
pub(crate) fn step(bench: &Bench, step: &str, destination: &str) -> Result<(), Broken> {
    match step.split_once(':') {
        Some(("die-at", at)) => kill::step(bench, destination, at.parse().map_err(|_| format!("no step {step}"))?),
        None if step == "limited" => fully::step(bench, destination),
        _ => Err(format!("there is no step {step}")),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::GROUPS;

    #[test]
    fn names_are_unique_and_fit_for_reports() {
        let cases = super::cases();
        let names: BTreeSet<_> = cases.iter().map(|case| case.name).collect();
        assert_eq!(names.len(), cases.len());
        for case in &cases {
            assert!(case.name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{}", case.name);
            assert!(!case.description.ends_with('.') && !case.guarantee.ends_with('.'), "{}", case.name);
        }
        let used: BTreeSet<_> = cases.iter().map(|case| case.group).collect();
        assert_eq!(used, GROUPS.iter().copied().collect());
    }
}
