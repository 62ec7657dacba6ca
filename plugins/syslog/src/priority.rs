//! Facilities, severities, and which severity an outcome has.

use schemars::JsonSchema;
use serde::Deserialize;

/// RFC 5424, table 1, by the names that collectors use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Facility {
    Kern,
    User,
    Mail,
    Daemon,
    Auth,
    Syslog,
    Lpr,
    News,
    Uucp,
    Cron,
    Authpriv,
    Ftp,
    Ntp,
    Audit,
    Alert,
    Clock,
    #[default]
    Local0,
    Local1,
    Local2,
    Local3,
    Local4,
    Local5,
    Local6,
    Local7,
}

/// RFC 5424, table 2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Severity {
    Emergency,
    Alert,
    Critical,
    Error,
    Warning,
    Notice,
    Info,
    Debug,
}

/// The severity of each outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Severities {
    /// Of what passed.
    pub(crate) passed: Severity,
    /// Of what was skipped.
    pub(crate) skipped: Severity,
    /// Of what was done without a verdict.
    pub(crate) done: Severity,
    /// Of what was aborted.
    pub(crate) aborted: Severity,
    /// Of what was terminated.
    pub(crate) terminated: Severity,
    /// Of what failed.
    pub(crate) failed: Severity,
    /// Of what ended in an error of the test itself.
    pub(crate) errored: Severity,
    /// Of what has no outcome, or one that this version does not know.
    pub(crate) unknown: Severity,
}

impl Default for Severities {
    fn default() -> Self {
        Self {
            passed: Severity::Info,
            skipped: Severity::Notice,
            done: Severity::Notice,
            aborted: Severity::Warning,
            terminated: Severity::Warning,
            failed: Severity::Error,
            errored: Severity::Critical,
            unknown: Severity::Notice,
        }
    }
}

impl Severities {
    /// The severity of an outcome as it stands in a run.
    pub(crate) fn of(&self, outcome: Option<&str>) -> Severity {
        match outcome {
            Some("passed") => self.passed,
            Some("skipped") => self.skipped,
            Some("done") => self.done,
            Some("aborted") => self.aborted,
            Some("terminated") => self.terminated,
            Some("failed") => self.failed,
            Some("errored") => self.errored,
            _ => self.unknown,
        }
    }
}

/// Whether an outcome is one that `detail = "failures"` reports.
pub(crate) fn is_failure(outcome: Option<&str>) -> bool {
    matches!(outcome, Some("failed" | "errored" | "aborted" | "terminated"))
}

/// The number between `<` and `>`: RFC 5424, section 6.2.1.
pub(crate) fn pri(facility: Facility, severity: Severity) -> u8 {
    facility as u8 * 8 + severity as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_the_rfc() {
        assert_eq!(pri(Facility::Kern, Severity::Emergency), 0);
        assert_eq!(pri(Facility::Local0, Severity::Info), 134);
        assert_eq!(pri(Facility::Local7, Severity::Debug), 191);
        assert_eq!((Facility::Authpriv as u8, Facility::Clock as u8), (10, 15));
    }

    #[test]
    fn an_outcome_has_the_documented_severity_and_each_can_be_set() {
        let default = Severities::default();
        let of = |outcome| default.of(Some(outcome));
        assert_eq!((of("passed"), of("failed"), of("errored")), (Severity::Info, Severity::Error, Severity::Critical));
        assert_eq!((of("skipped"), of("done"), of("aborted")), (Severity::Notice, Severity::Notice, Severity::Warning));
        assert_eq!((default.of(None), of("terminated")), (Severity::Notice, Severity::Warning));
        let set: Severities = serde_json::from_value(serde_json::json!({ "failed": "alert" })).unwrap();
        assert_eq!(set, Severities { failed: Severity::Alert, ..default });
        assert!(serde_json::from_value::<Severities>(serde_json::json!({ "fialed": "alert" })).is_err());
    }
}
