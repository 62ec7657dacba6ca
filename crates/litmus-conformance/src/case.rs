//! What a case is.

use litmus_core::Capabilities;

use crate::Declaration;
use crate::bench::Bench;

/// What a case answers: why the promise is broken.
pub(crate) type Broken = String;

/// One promise, and how it is tried.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// What it is about: one of [`GROUPS`](crate::GROUPS).
    pub group: &'static str,
    /// Stable: reports and mutants refer to it.
    pub name: &'static str,
    /// What is done, in a line.
    pub description: &'static str,
    /// The promise that it proves, as `docs/guarantees.md` words it.
    pub guarantee: &'static str,
    /// What the plugin must declare for the case to apply.
    pub needs: &'static [Need],
    pub(crate) run: fn(&Bench) -> Result<(), Broken>,
}

impl Case {
    /// The first thing that the case needs and neither the plugin nor its `conformance.toml` declares.
    pub fn lacks(&self, declared: &Capabilities, declaration: &Declaration) -> Option<Need> {
        self.needs.iter().copied().find(|need| !need.is_met(declared, declaration))
    }
}

/// A capability that a case needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Delivering a revision twice leaves one.
    Dedup,
    /// `audit` works.
    Audit,
    /// `deliver` understands a dry run.
    DryRun,
    /// More than one thread may be inside `deliver`.
    Concurrent,
    /// `conformance.toml` says how to see at the backend what arrived; for sinks that cannot audit.
    ReadBack,
    /// `conformance.toml` says which value of the backend the suite may stand before: `backend.proxy`.
    Proxy,
    /// `conformance.toml` says how the backend asks to wait: `backend.busy`.
    Busy,
    /// `conformance.toml` gives credentials that the backend refuses: `[refused]`.
    Refused,
    /// `conformance.toml` gives configurations with a secret in them: `[[secret]]`.
    Secret,
    /// The destination is made of files that the sink itself writes: `writes_files`.
    WritesFiles,
    /// The suite can look at the attachments that arrived: `attachments_are_files`.
    Attachments,
}

impl Need {
    /// As `describe`, or `conformance.toml`, spells it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Dedup => "dedup",
            Self::Audit => "audit",
            Self::DryRun => "dry_run",
            Self::Concurrent => "max_concurrent_delivers > 1",
            Self::ReadBack => "read_back",
            Self::Proxy => "backend.proxy",
            Self::Busy => "backend.busy",
            Self::Refused => "refused",
            Self::Secret => "secret",
            Self::WritesFiles => "writes_files",
            Self::Attachments => "attachments_are_files",
        }
    }

    fn is_met(self, declared: &Capabilities, declaration: &Declaration) -> bool {
        match self {
            Self::Dedup => declared.dedup,
            Self::Audit => declared.audit,
            Self::DryRun => declared.dry_run,
            Self::Concurrent => declared.max_concurrent_delivers > 1,
            Self::ReadBack => declaration.read_back.is_some(),
            Self::Proxy => declaration.backend.as_ref().is_some_and(|backend| backend.proxy.is_some()),
            Self::Busy => declaration.backend.as_ref().is_some_and(|backend| backend.busy.is_some()),
            Self::Refused => declaration.refused.is_some(),
            Self::Secret => !declaration.secret.is_empty(),
            Self::WritesFiles => declaration.writes_files,
            Self::Attachments => declaration.attachments_are_files,
        }
    }
}
