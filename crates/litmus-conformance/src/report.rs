//! What came out of a run of the suite: for a terminal, as JSON and as JUnit XML.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::Duration;

use litmus_core::Description;
use serde_json::json;

use crate::{Case, Need};

/// How a case ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The promise holds.
    Passed,
    /// It does not, for this reason.
    Failed(String),
    /// The process that tried it died, so.
    Crashed(String),
    /// It did not end within its time.
    TimedOut,
    /// It does not apply: the plugin does not declare this.
    Skipped(Need),
}

impl Verdict {
    /// As reports spell it.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed(_) => "failed",
            Self::Crashed(_) => "crashed",
            Self::TimedOut => "timed out",
            Self::Skipped(_) => "skipped",
        }
    }

    /// Why it is not passed; empty where it is.
    pub fn message(&self) -> String {
        match self {
            Self::Passed => String::new(),
            Self::Failed(why) | Self::Crashed(why) => why.clone(),
            Self::TimedOut => "it did not end within its time".to_owned(),
            Self::Skipped(need) => format!("the plugin does not declare {}", need.name()),
        }
    }
}

/// A case and how it ended.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What was tried.
    pub case: Case,
    /// How it ended.
    pub verdict: Verdict,
    /// How long it took.
    pub took: Duration,
}

/// How many cases ended how. A crash and a time-out are failures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Promises that hold.
    pub passed: usize,
    /// Promises that do not, whatever the way.
    pub failed: usize,
    /// Cases that do not apply.
    pub skipped: usize,
}

/// What exactly was tested: what a report must say to be evidence of anything.
#[derive(Clone, Debug, Default)]
pub struct Subject {
    /// The plugin's file name.
    pub file: String,
    /// Of the plugin's file, in hex digits: `litmus-host plugins` prints the same, and `sha256` in a configuration pins it.
    pub sha256: String,
    /// The plugin's ABI, and whether its layout was compared.
    pub abi: String,
    /// The release of litmus-host whose loader and reader the suite is built with.
    pub host_version: String,
    /// What was started as the backend; none for a destination of files.
    pub backend: Option<String>,
    /// Its version.
    pub backend_version: Option<String>,
    /// When, in seconds since 1970, UTC.
    pub tested_at_unix: u64,
}

/// What came out for one plugin.
#[derive(Clone, Debug)]
pub struct Report {
    /// What the plugin says of itself.
    pub description: Description,
    /// What was tested.
    pub subject: Subject,
    /// Every case that was asked for.
    pub outcomes: Vec<Outcome>,
    /// The least number of cases that must run; 0 where a filter was given.
    pub floor: usize,
}

impl Report {
    /// How many cases ended how.
    pub fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for outcome in &self.outcomes {
            match outcome.verdict {
                Verdict::Passed => counts.passed += 1,
                Verdict::Skipped(_) => counts.skipped += 1,
                Verdict::Failed(_) | Verdict::Crashed(_) | Verdict::TimedOut => counts.failed += 1,
            }
        }
        counts
    }

    /// Why the plugin does not pass; `None`: it does.
    pub fn failure(&self) -> Option<String> {
        let Counts { passed, failed, .. } = self.counts();
        if failed > 0 {
            return Some(format!("{failed} of {} cases failed", passed + failed));
        }
        let least = self.floor.max(1);
        (passed < least).then(|| format!("{passed} cases ran, {least} must: does the plugin declare all it can do?"))
    }

    /// Writes it: JUnit XML where the name ends in `.xml`, else JSON.
    pub fn write(&self, path: &Path) -> std::io::Result<()> {
        let xml = path.extension().is_some_and(|extension| extension == "xml");
        fs::write(path, if xml { self.junit() } else { format!("{:#}\n", self.json()) })
    }

    fn json(&self) -> serde_json::Value {
        let Counts { passed, failed, skipped } = self.counts();
        let case = |outcome: &Outcome| {
            json!({
                "name": outcome.case.name,
                "group": outcome.case.group,
                "description": outcome.case.description,
                "guarantee": outcome.case.guarantee,
                "needs": outcome.case.needs.iter().map(|need| need.name()).collect::<Vec<_>>(),
                "outcome": outcome.verdict.name(),
                "message": outcome.verdict.message(),
                "seconds": outcome.took.as_secs_f64(),
            })
        };
        json!({
            "plugin": self.description.name,
            "version": self.description.version,
            "capabilities": self.description.capabilities,
            "file": self.subject.file,
            "sha256": self.subject.sha256,
            "abi": self.subject.abi,
            "host_version": self.subject.host_version,
            "backend": self.subject.backend,
            "backend_version": self.subject.backend_version,
            "tested_at_unix": self.subject.tested_at_unix,
            "counts": {"passed": passed, "failed": failed, "skipped": skipped},
            "failure": self.failure(),
            "cases": self.outcomes.iter().map(case).collect::<Vec<_>>(),
        })
    }

    /// As CI servers read it: <https://llg.cubic.org/docs/junit/> lists the elements they share.
    fn junit(&self) -> String {
        let Counts { failed, skipped, .. } = self.counts();
        let suite = escape(&format!("litmus-conformance.{}", self.description.name));
        let seconds: f64 = self.outcomes.iter().map(|outcome| outcome.took.as_secs_f64()).sum();
        let mut xml = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuite name=\"{suite}\" tests=\"{}\" failures=\"{failed}\" \
             skipped=\"{skipped}\" time=\"{seconds:.3}\">\n",
            self.outcomes.len()
        );
        xml.push_str("  <properties>\n");
        let subject = &self.subject;
        let seconds = subject.tested_at_unix.to_string();
        for (name, value) in [
            ("plugin", self.description.name.as_str()),
            ("version", self.description.version.as_str()),
            ("file", subject.file.as_str()),
            ("sha256", subject.sha256.as_str()),
            ("abi", subject.abi.as_str()),
            ("host_version", subject.host_version.as_str()),
            ("backend", subject.backend.as_deref().unwrap_or("none")),
            ("backend_version", subject.backend_version.as_deref().unwrap_or("none")),
            ("tested_at_unix", seconds.as_str()),
        ] {
            writeln!(xml, "    <property name=\"{name}\" value=\"{}\"/>", escape(value)).expect("a String takes all");
        }
        xml.push_str("  </properties>\n");
        for Outcome { case, verdict, took } in &self.outcomes {
            let message = escape(&verdict.message());
            let inner = match verdict {
                Verdict::Passed => String::new(),
                Verdict::Skipped(_) => format!("<skipped message=\"{message}\"/>"),
                _ => format!("<failure type=\"{}\" message=\"{message}\"/>", verdict.name()),
            };
            let name = escape(case.name);
            writeln!(
                xml,
                "  <testcase classname=\"{suite}.{}\" name=\"{name}\" time=\"{:.3}\">{inner}</testcase>",
                case.group,
                took.as_secs_f64()
            )
            .expect("a String takes all");
        }
        xml + "</testsuite>\n"
    }
}

/// For attribute values; what XML 1.0 cannot hold becomes U+FFFD.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\n' => escaped.push_str("&#10;"),
            '\0'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => escaped.push('\u{fffd}'),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use litmus_core::{Capabilities, Grade};

    use super::*;

    fn report(verdicts: Vec<Verdict>, floor: usize) -> Report {
        let capabilities = Capabilities {
            dedup: true,
            audit: false,
            moves_file: false,
            dry_run: false,
            grade_max: Grade::Committed,
            max_concurrent_delivers: 1,
            batch_bytes: 1,
            batch_runs: 1,
        };
        let (name, version) = ("x".to_owned(), "1.0.0".to_owned());
        let description = Description { name, version, capabilities, config_schema: json!({}) };
        let cases = crate::cases();
        let took = Duration::from_millis(1500);
        let outcomes = verdicts.into_iter().zip(cases).map(|(verdict, case)| Outcome { case, verdict, took }).collect();
        let subject = Subject { sha256: "ab".repeat(32), ..Subject::default() };
        Report { description, subject, outcomes, floor }
    }

    #[test]
    fn a_crash_fails_the_plugin_and_so_do_too_few_cases() {
        let passing = report(vec![Verdict::Passed, Verdict::Skipped(Need::Audit)], 1);
        assert_eq!(passing.failure(), None);
        assert_eq!(passing.counts(), Counts { passed: 1, failed: 0, skipped: 1 });
        assert!(report(vec![Verdict::Passed, Verdict::Crashed("signal 11".into())], 1).failure().is_some());
        assert!(report(vec![Verdict::Passed, Verdict::TimedOut], 1).failure().is_some());
        assert!(report(vec![Verdict::Passed, Verdict::Skipped(Need::Audit)], 2).failure().is_some());
        assert!(report(vec![], 0).failure().is_some(), "a suite that ran nothing has shown nothing");
    }

    #[test]
    fn junit_holds_what_would_break_it() {
        let xml = report(vec![Verdict::Failed("a < \"b\" & \u{1b}c\nd".into())], 1).junit();
        assert!(xml.contains("message=\"a &lt; &quot;b&quot; &amp; \u{fffd}c&#10;d\""), "{xml}");
        assert!(xml.contains("tests=\"1\" failures=\"1\" skipped=\"0\" time=\"1.500\""), "{xml}");
        assert!(xml.contains(&format!("<property name=\"sha256\" value=\"{}\"/>", "ab".repeat(32))), "{xml}");
    }
}
