//! The sink: an instance, its runtime, and how a call waits for it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use litmus_core::{Audit, Call, Capabilities, CheckAnswer, Grade, Report, Run, RunId, Sink, SinkError, failpoint};
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;

use crate::audit::{Index, audit_run};
use crate::config::{Config, Settings};
use crate::deliver::{Item, Senders};
use crate::store::Store;

/// How often a waiting call looks whether it is to stop.
const LOOK: Duration = Duration::from_millis(100);
/// How long a cancelled delivery may take to tidy up: abort an upload, remove a copy.
const TIDY_MAX: Duration = Duration::from_secs(2);

/// One bucket, container or folder.
pub(crate) struct CloudSink {
    senders: Arc<Senders>,
    index: Arc<Index>,
    /// The incarnation, as `connect` told the host.
    told: Mutex<Option<String>>,
    /// Made by the first call that needs it: a plugin that is only looked at starts no thread.
    runtime: OnceLock<Runtime>,
}

impl Sink for CloudSink {
    type Config = Config;

    const NAME: &'static str = "cloud";

    const CAPABILITIES: Capabilities = Capabilities {
        dedup: true,
        audit: true,
        moves_file: true,
        dry_run: true,
        grade_max: Grade::Committed,
        max_concurrent_delivers: 2,
        batch_bytes: 64 << 20,
        batch_runs: 200,
    };

    fn configure(config: Config) -> Result<Self, SinkError> {
        let senders = Arc::new(Senders::new(config.try_into()?));
        Ok(Self { senders, index: Arc::default(), told: Mutex::default(), runtime: OnceLock::new() })
    }

    fn destination_id(&self) -> String {
        self.settings().destination.clone()
    }

    fn connect(&self, call: &Call<'_>) -> Result<Option<String>, SinkError> {
        let senders = Arc::clone(&self.senders);
        let incarnation = self.wait(call, async move { senders.settings.store.incarnation(true).await })?;
        self.told().clone_from(&incarnation);
        Ok(incarnation)
    }

    fn check(&self, call: &Call<'_>) -> Result<CheckAnswer, SinkError> {
        let senders = Arc::clone(&self.senders);
        self.wait(call, async move {
            let store = &senders.settings.store;
            let notes = match store {
                Store::Folder(folder) => folder.check()?,
                Store::Remote(remote) => remote.check().await?,
            };
            Ok(CheckAnswer { incarnation: store.incarnation(false).await?, notes })
        })
    }

    fn deliver(&self, call: &Call<'_>, runs: &[Run<'_>]) -> Result<(), SinkError> {
        call.check_cancelled()?;
        let cancelled = Arc::new(AtomicBool::new(false));
        let mut waiting = Vec::with_capacity(runs.len());
        for (at, run) in runs.iter().enumerate() {
            match Item::of(run, self.settings(), &cancelled) {
                Ok(item) => waiting.push((at, item)),
                Err(error) => call.report(at, &Report::failed(&error)),
            }
        }
        waiting.reverse();
        let dry_run = call.dry_run();
        if !dry_run {
            self.wait(call, self.still_there())?;
        }
        self.runtime()?.block_on(async {
            let mut tasks = JoinSet::new();
            let mut look = tokio::time::interval(LOOK);
            loop {
                while tasks.len() < self.settings().concurrency_max && !waiting.is_empty() && !call.is_cancelled() {
                    let Some((at, item)) = waiting.pop() else { break };
                    let (senders, index) = (Arc::clone(&self.senders), Arc::clone(&self.index));
                    tasks.spawn(async move { (at, one(&senders, &index, &item, dry_run).await) });
                }
                tokio::select! {
                    ended = tasks.join_next() => match ended {
                        None if waiting.is_empty() => return Ok(()),
                        None => (),
                        Some(ended) => tell(call, ended),
                    },
                    _ = look.tick() => (),
                }
                if call.is_cancelled() {
                    cancelled.store(true, Ordering::Relaxed);
                    let tidied = tokio::time::timeout(TIDY_MAX, async {
                        while let Some(ended) = tasks.join_next().await {
                            tell(call, ended);
                        }
                    });
                    let all = tidied.await.is_ok() && waiting.is_empty();
                    tasks.abort_all();
                    return if all { Ok(()) } else { Err(SinkError::cancelled()) };
                }
            }
        })
    }

    fn audit(&self, call: &Call<'_>, run_ids: &[RunId]) -> Result<Vec<Audit>, SinkError> {
        self.wait(call, self.still_there())?;
        let (senders, index, wanted) = (Arc::clone(&self.senders), Arc::clone(&self.index), run_ids.to_vec());
        self.wait(call, async move { index.look_up(&senders.settings, &wanted).await })?;
        let mut audits = Vec::with_capacity(run_ids.len());
        for batch in run_ids.chunks(self.settings().concurrency_max) {
            let mut tasks = JoinSet::new();
            for run_id in batch {
                let (senders, index, run_id) = (Arc::clone(&self.senders), Arc::clone(&self.index), *run_id);
                tasks.spawn_on(
                    async move { audit_run(&senders.settings, &index, run_id).await },
                    self.runtime()?.handle(),
                );
            }
            audits.extend(self.wait(call, async move {
                let mut audits = Vec::new();
                while let Some(audit) = tasks.join_next().await {
                    audits.push(audit.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))?);
                }
                Ok(audits)
            })?);
        }
        Ok(audits)
    }
}

/// One run.
async fn one(senders: &Senders, index: &Index, item: &Item, dry_run: bool) -> Report {
    if dry_run {
        return item.plan(senders).await.unwrap_or_else(|error| Report::failed(&error));
    }
    let (report, key) = item.deliver(senders).await;
    if let Some(key) = key {
        index.add(item.run_id(), key);
    }
    report
}

/// Reports a run; a panic in its task goes on in the call.
fn tell(call: &Call<'_>, ended: Result<(usize, Report), tokio::task::JoinError>) {
    match ended {
        Ok((at, report)) => {
            failpoint("between_commit_and_report");
            call.report(at, &report);
        }
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

impl CloudSink {
    fn settings(&self) -> &Settings {
        &self.senders.settings
    }

    fn told(&self) -> MutexGuard<'_, Option<String>> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the destination is still the one that `connect` found: a share that is not mounted any more, or a bucket
    /// that was emptied, must not be filled as if nothing had happened.
    fn still_there(&self) -> impl Future<Output = Result<(), SinkError>> + Send + use<> {
        let (senders, told) = (Arc::clone(&self.senders), self.told().clone());
        async move {
            let settings = &senders.settings;
            if told.is_none() || settings.store.incarnation(false).await? == told {
                return Ok(());
            }
            Err(SinkError::transient(format!(
                "{}: another destination has taken its place, or its .litmus/id was removed\nhint: the host opens it again and asks what is there",
                settings.uri
            )))
        }
    }

    fn runtime(&self) -> Result<&Runtime, SinkError> {
        if let Some(runtime) = self.runtime.get() {
            return Ok(runtime);
        }
        // The calling thread does the work: for small files, handing it to another thread and back costs as much as hashing
        // them. What may block has threads of its own.
        let made = Builder::new_current_thread().enable_all().thread_name("litmus-cloud").build();
        let made = made.map_err(|error| SinkError::transient("no thread can be started").with_source(error))?;
        Ok(self.runtime.get_or_init(|| made))
    }

    /// Waits for a future, and leaves it when the host asks to stop.
    fn wait<T: Send + 'static>(
        &self,
        call: &Call<'_>,
        future: impl Future<Output = Result<T, SinkError>> + Send + 'static,
    ) -> Result<T, SinkError> {
        let runtime = self.runtime()?;
        let mut task = runtime.spawn(future);
        runtime.block_on(async {
            let mut look = tokio::time::interval(LOOK);
            loop {
                tokio::select! {
                    ended = &mut task => {
                        return ended.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
                    }
                    _ = look.tick() => {
                        if call.is_cancelled() {
                            task.abort();
                            return Err(SinkError::cancelled());
                        }
                    }
                }
            }
        })
    }
}
