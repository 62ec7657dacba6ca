//! What the command line and the delivery engine say to each other: a request, events while it runs, an outcome.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use litmus_core::{RunId, Status};
use serde::Serialize;

use crate::config::{Place, Places, PluginConfig, Redactor};

/// A data dir to forward from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StoreSpec {
    /// For messages; unique.
    pub(crate) name: String,
    /// Where it is; it need not be there now.
    pub(crate) data_dir: PathBuf,
    /// How it was found, for messages: `--data-dir`, `litmus-host.toml:3:1`, `/home/me/project/litmus.yaml`.
    pub(crate) found_by: String,
}

/// What a new ledger does with runs that were sealed before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    /// Forward all of them.
    All,
    /// Forward only what is sealed from now on.
    Now,
    /// Forward what started at this time or later.
    Since(Timestamp),
}

/// A sink to forward to.
#[derive(Clone, Debug)]
pub(crate) struct SinkSpec {
    /// For messages; unique.
    pub(crate) name: String,
    /// The plugin's file, absolute.
    pub(crate) plugin_path: PathBuf,
    /// As the user gave it.
    pub(crate) plugin_given: String,
    /// Secrets resolved; it prints masked.
    pub(crate) config: PluginConfig,
    /// Where the keys of `config` were given.
    pub(crate) places: Places,
    /// Where the sink itself was.
    pub(crate) place: Place,
    /// For a new ledger.
    pub(crate) start: Option<Start>,
    /// Time allowed to one call of the plugin.
    pub(crate) deadline: Duration,
    /// Sealed bytes in a batch; `None`: what the plugin prefers.
    pub(crate) batch_bytes_max: Option<u64>,
    /// Runs in a batch; `None`: what the plugin prefers.
    pub(crate) batch_runs_max: Option<u32>,
}

impl SinkSpec {
    /// What its plugin has to say against its configuration, and where that stands.
    pub(crate) fn complaint(&self, error: &dyn std::fmt::Display) -> String {
        let message = error.to_string();
        let place = self.places.named_in(&message).unwrap_or(&self.place);
        format!("{place}: sink \"{}\" ({}): {message}", self.name, self.plugin_given)
    }
}

/// What `forward` is to do.
#[derive(Clone, Debug)]
pub(crate) struct ForwardRequest {
    /// From where.
    pub(crate) stores: Vec<StoreSpec>,
    /// To where.
    pub(crate) sinks: Vec<SinkSpec>,
    /// The parent of the stores' ledgers.
    pub(crate) state_dir: PathBuf,
    /// Go on until stopped.
    pub(crate) watch: bool,
    /// Say what would be done, and change nothing.
    pub(crate) dry_run: bool,
    /// Only the run whose id starts so.
    pub(crate) run: Option<String>,
    /// Only runs that started at this time or later.
    pub(crate) since: Option<Timestamp>,
    /// How long a sink may be transiently down before `forward` without `--watch` ends.
    pub(crate) give_up_after: Duration,
    /// Cap of the cache that shares decoded runs between sinks.
    pub(crate) decode_cache_bytes_max: u64,
    /// Cap of what is in flight over all sinks.
    pub(crate) in_flight_bytes_max: u64,
    /// How long a shutdown waits for calls to end before it cancels them.
    pub(crate) grace: Duration,
    /// Takes every known secret out of a text; for whatever is kept or printed that a plugin has written.
    pub(crate) redactor: Redactor,
}

/// How much a log line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Level {
    /// Something failed.
    Error,
    /// Something is not as it should be, and work goes on.
    Warn,
    /// What happened.
    Info,
    /// Details for looking into trouble.
    Debug,
}

impl Level {
    /// The level of an ABI number; unknown ones are details.
    pub(crate) fn from_number(number: u32) -> Self {
        match number {
            1 => Self::Error,
            2 => Self::Warn,
            3 => Self::Info,
            _ => Self::Debug,
        }
    }

    /// In log lines.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
        }
    }
}

/// What happens while the engine works.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    /// A walk over a store ended.
    ScanFinished {
        /// The store's name.
        store: String,
        /// Files there.
        files: u64,
        /// Of these, not seen before.
        new: u64,
        /// Of these, unreadable.
        unreadable: u64,
    },
    /// A sink's state changed.
    SinkState {
        /// The sink's name.
        sink: String,
        /// Before: `up`, `degraded`, `open`, `half_open`, `blocked_auth`, …
        from: String,
        /// Now.
        to: String,
        /// In a sentence.
        why: String,
    },
    /// A run's delivery ended, one way or another.
    RunDone {
        /// The sink's name.
        sink: String,
        /// The run.
        run_id: RunId,
        /// How.
        status: Status,
        /// What the sink said.
        message: String,
    },
    /// A batch ended.
    BatchDone {
        /// The sink's name.
        sink: String,
        /// Runs in it.
        runs: u64,
        /// Sealed bytes in it.
        bytes: u64,
        /// How long it took.
        elapsed: Duration,
    },
    /// A file that cannot be read, not reported before.
    Unreadable {
        /// The file.
        path: String,
        /// Why.
        reason: String,
    },
    /// Where a sink stands, in runs.
    Progress {
        /// The sink's name.
        sink: String,
        /// Still to be sent.
        pending: u64,
        /// Arrived in this session.
        committed: u64,
    },
    /// A line for the log.
    Log {
        /// How much it matters.
        level: Level,
        /// Who says so: `engine`, a plugin's name.
        target: String,
        /// What.
        message: String,
    },
}

/// Hears of events, from any thread; must not block for long.
pub(crate) trait Observer: Send + Sync {
    /// Something happened.
    fn event(&self, event: &Event);
}

/// How a sink ended.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct SinkOutcome {
    /// The sink's name.
    pub(crate) name: String,
    /// The destination id; empty where it never opened.
    pub(crate) destination: String,
    /// `up`, `open`, `blocked_auth`, …
    pub(crate) state: String,
    /// Runs written in this session.
    pub(crate) delivered: u64,
    /// Runs that were there.
    pub(crate) already_present: u64,
    /// Runs of which the destination holds a newer revision.
    pub(crate) superseded: u64,
    /// Runs set aside.
    pub(crate) quarantined: u64,
    /// Runs still to be sent.
    pub(crate) pending: u64,
    /// Pending runs whose file vanished.
    pub(crate) gone: u64,
    /// One line each: which run stays behind, and why.
    pub(crate) problems: Vec<String>,
    /// In a dry run: the runs that would be delivered.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) would_deliver: Vec<RunId>,
    /// In a dry run: the statements that would come first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) planned: Vec<String>,
}

/// How `forward` ended.
#[derive(Clone, Debug, Default)]
pub(crate) struct ForwardOutcome {
    /// By sink, in the order of the request.
    pub(crate) sinks: Vec<SinkOutcome>,
    /// Path and reason of every unreadable file.
    pub(crate) unreadable: Vec<(String, String)>,
    /// How many of them were not reported by an earlier session.
    pub(crate) new_unreadable: usize,
    /// Stores and folders that could not be walked.
    pub(crate) troubles: Vec<String>,
    /// Nothing was pending at the start, anywhere.
    pub(crate) nothing_pending: bool,
    /// Nothing was written: `delivered` counts what would be.
    pub(crate) dry_run: bool,
}

impl ForwardOutcome {
    /// Whether every run that should arrive did, and no unreadable file is news: exit code 0.
    pub(crate) fn is_complete(&self) -> bool {
        self.new_unreadable == 0
            && self.troubles.is_empty()
            && self.sinks.iter().all(|sink| sink.pending == 0 && sink.quarantined == 0 && sink.gone == 0)
    }
}

/// Why `forward` could not do its work at all.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ForwardError {
    /// The request cannot work: exit code 2.
    #[error("{message}")]
    Config {
        /// What is wrong.
        message: String,
        /// The remedy; empty where there is none.
        hint: String,
    },
    /// The host itself failed (the ledger, a thread): exit code 3.
    #[error("{message}")]
    Host {
        /// What failed.
        message: String,
        /// The remedy; empty where there is none.
        hint: String,
    },
}

/// A stop in two levels: first no new work and a grace period, then cancel at once.
#[derive(Debug, Default)]
pub(crate) struct Stop(AtomicU8);

impl Stop {
    /// One level further; returns the level reached: 1 stopping, 2 and more cancelled.
    pub(crate) fn request(&self) -> u8 {
        let raise = |level: u8| Some(level.saturating_add(1));
        self.0
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, raise)
            .map_or(u8::MAX, |before| before.saturating_add(1))
    }

    /// Take up no new work.
    pub(crate) fn is_stopping(&self) -> bool {
        self.0.load(Ordering::SeqCst) >= 1
    }

    /// Cancel what is in flight, now.
    pub(crate) fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::SeqCst) >= 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stop_rises_in_two_levels() {
        let stop = Stop::default();
        assert!(!stop.is_stopping() && !stop.is_cancelled());
        assert_eq!(stop.request(), 1);
        assert!(stop.is_stopping() && !stop.is_cancelled());
        assert_eq!(stop.request(), 2);
        assert!(stop.is_stopping() && stop.is_cancelled());
    }

    #[test]
    fn only_runs_left_behind_and_new_unreadable_files_make_an_outcome_incomplete() {
        let sink = SinkOutcome { delivered: 3, superseded: 1, already_present: 2, ..SinkOutcome::default() };
        let mut outcome = ForwardOutcome {
            sinks: vec![sink],
            unreadable: vec![("a.parquet".into(), "torn".into())],
            ..ForwardOutcome::default()
        };
        assert!(outcome.is_complete());
        outcome.new_unreadable = 1;
        assert!(!outcome.is_complete());
        outcome.new_unreadable = 0;
        outcome.sinks[0].gone = 1;
        assert!(!outcome.is_complete());
    }
}
