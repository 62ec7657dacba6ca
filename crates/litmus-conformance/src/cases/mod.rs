//! Every case, by what it is about.

mod audit;
mod config;
mod deliver;
mod describe;
mod exactly_once;
mod faults;
mod read_back;
mod time;

use crate::Case;

/// Every case, in the order in which they run.
pub fn cases() -> Vec<Case> {
    [
        describe::CASES,
        config::CASES,
        deliver::CASES,
        exactly_once::CASES,
        faults::CASES,
        time::CASES,
        audit::CASES,
        read_back::CASES,
    ]
    .concat()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    #[test]
    fn names_are_unique_and_fit_for_reports() {
        let cases = super::cases();
        let names: BTreeSet<_> = cases.iter().map(|case| case.name).collect();
        assert_eq!(names.len(), cases.len());
        for case in cases {
            assert!(case.name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{}", case.name);
            assert!(!case.description.ends_with('.') && !case.guarantee.ends_with('.'), "{}", case.name);
        }
    }
}
