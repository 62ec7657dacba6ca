//! The sink itself.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use litmus_core::abi::guest::log;
use litmus_core::{
    Audit, Call, Capabilities, CheckAnswer, Grade, Receipt, Report, Run, RunId, Sha256, Sink, SinkError, Status, Table,
    TableStream,
};

use crate::config::{Config, Entry, Fault, Lie, Mischief};
use crate::folder::Folder;
use crate::store::Store;

/// Delivers, unless it is told not to.
pub(crate) struct HostileSink {
    config: Config,
    folder: Option<Folder>,
    store: Store,
    delivers: AtomicU64,
    leaked: Mutex<Option<TableStream>>,
}

impl HostileSink {
    /// What was asked for at an entry.
    fn enter(&self, entry: Entry) {
        misbehave(&self.config, entry);
    }

    fn does(&self, mischief: Mischief) -> bool {
        self.config.deliver.contains(&mischief)
    }

    fn is_among(serials: &[String], run: &Run<'_>) -> bool {
        run.summary().dut_serial.as_ref().is_some_and(|serial| serials.contains(serial))
    }

    fn deliver_run(&self, call: &Call<'_>, at: usize, run: &Run<'_>) -> Result<(), SinkError> {
        let config = &self.config;
        assert!(!Self::is_among(&config.panic_serials, run), "poisoned by run {}", run.run_id());
        if Self::is_among(&config.data_error_serials, run) {
            let error = SinkError::data(format!("run {} is not to my taste", run.run_id()));
            call.report(at, &Report::failed(&error));
            return Ok(());
        }
        let mut receipt = Receipt { grade: Some(Grade::Committed), ..Receipt::default() };
        if config.read_tables {
            for table in Table::ALL {
                let mut rows = 0;
                for batch in run.open_table(table)? {
                    rows += batch.map_err(|why| SinkError::data(why.to_string()))?.num_rows();
                }
                receipt.extra.insert(table.to_string(), rows as u64);
            }
        }
        if self.does(Mischief::LeakStream) {
            *self.leaked.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(run.open_table(Table::Runs)?);
        }
        if call.dry_run() {
            receipt.grade = None;
            receipt.planned.push(format!("append {}", run.run_id()));
            call.report(at, &Report::done(Status::Delivered, receipt));
            return Ok(());
        }
        let status = self.store.put(run.run_id(), run.sha256())?;
        if self.does(Mischief::ReportNothing) {
            return Ok(());
        }
        if self.does(Mischief::ReportUnknownStatus) {
            call.report_number(at, 4711, "");
        }
        if self.does(Mischief::BrokenReceipt) {
            call.report_number(at, status.number(), "{\"grade\":");
        }
        if self.does(Mischief::ClaimGrade) {
            receipt.grade = Some(Grade::Verified);
        }
        if !self.does(Mischief::ReportUnknownStatus) && !self.does(Mischief::BrokenReceipt) {
            call.report(at, &Report::done(status, receipt));
        }
        if self.does(Mischief::ReportTwice) {
            call.report(at, &Report::failed(&SinkError::data("on second thoughts")));
        }
        Ok(())
    }
}

fn misbehave(config: &Config, entry: Entry) {
    if config.hang_in == Some(entry) {
        std::thread::sleep(Duration::from_millis(config.hang_ms));
    }
    assert!(config.panic_in != Some(entry), "hostile panic in {entry:?}");
}

fn fail(fault: Fault) -> SinkError {
    match fault {
        Fault::Transient => SinkError::transient("the destination is away, as asked"),
        Fault::Throttled => {
            SinkError::new(Status::Throttled, "slow down, as asked").with_retry_after(Duration::from_millis(50))
        }
        Fault::Auth => SinkError::new(Status::Auth, "the credentials are wrong, as asked"),
        Fault::Config => SinkError::config("the configuration cannot work, as asked"),
        Fault::Schema => SinkError::schema("the schema does not fit, as asked"),
        Fault::Conflict => SinkError::new(Status::Conflict, "the place is taken, as asked"),
        Fault::Data => SinkError::data("the data is wrong, as asked"),
    }
}

impl Sink for HostileSink {
    type Config = Config;
    const NAME: &'static str = "hostile";
    const CAPABILITIES: Capabilities = Capabilities {
        dedup: true,
        audit: true,
        moves_file: false,
        dry_run: true,
        grade_max: Grade::Committed,
        max_concurrent_delivers: 4,
        batch_bytes: 1 << 20,
        batch_runs: 16,
    };

    fn configure(config: Config) -> Result<Self, SinkError> {
        misbehave(&config, Entry::Configure);
        let store = Store::open(config.log.clone())?;
        let folder = config.folder.as_deref().map(|path| Folder::new(path, &config)).transpose()?;
        Ok(Self { config, folder, store, delivers: AtomicU64::new(0), leaked: Mutex::new(None) })
    }

    fn destination_id(&self) -> String {
        self.folder.as_ref().map_or_else(|| format!("hostile://{}", self.config.name), Folder::id)
    }

    fn connect(&self, call: &Call<'_>) -> Result<Option<String>, SinkError> {
        self.enter(Entry::Connect);
        if let Some(folder) = &self.folder {
            return folder.connect(call).map(Some);
        }
        Ok(self.config.incarnation.clone())
    }

    fn check(&self, call: &Call<'_>) -> Result<CheckAnswer, SinkError> {
        self.enter(Entry::Check);
        if let Some(folder) = &self.folder {
            return Ok(CheckAnswer { incarnation: folder.look(call)?, notes: folder.notes() });
        }
        match self.config.check_fault {
            Some(fault) => Err(fail(fault)),
            None => Ok(CheckAnswer { incarnation: self.config.incarnation.clone(), notes: vec!["hostile".to_owned()] }),
        }
    }

    fn deliver(&self, call: &Call<'_>, runs: &[Run<'_>]) -> Result<(), SinkError> {
        self.enter(Entry::Deliver);
        if let Some(folder) = &self.folder {
            return folder.deliver(call, runs);
        }
        let leaked = self.leaked.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        if let Some(mut stream) = leaked {
            log(3, &format!("the leaked stream answers: {:?}", stream.next()));
        }
        let nth = self.delivers.fetch_add(1, Ordering::Relaxed);
        if let Some(fault) = self.config.fault
            && nth < self.config.fault_times
        {
            return Err(fail(fault));
        }
        if runs.iter().any(|run| Self::is_among(&self.config.batch_error_serials, run)) {
            return Err(SinkError::data("there is a run in this batch that cannot be taken"));
        }
        if self.does(Mischief::LogGigabyte) {
            log(3, &"x".repeat(1 << 30));
        }
        if self.does(Mischief::LogFlood) {
            (0..100_000).for_each(|n| log(3, &format!("flood {n} {}", "~".repeat(100))));
        }
        if self.does(Mischief::ReportOutOfRange) {
            call.report(runs.len() + 7, &Report::done(Status::Delivered, Receipt::default()));
        }
        if self.does(Mischief::PanicInThread) {
            let panicked = std::thread::spawn(|| panic!("hostile panic in a thread")).join();
            log(3, &format!("the thread panicked: {}", panicked.is_err()));
        }
        for (at, run) in runs.iter().enumerate() {
            call.check_cancelled()?;
            self.deliver_run(call, at, run)?;
        }
        if self.does(Mischief::CallBackLate) {
            let late = call.outliving();
            std::thread::spawn(move || {
                std::thread::sleep(Duration::from_millis(50));
                late.report(0, &Report::failed(&SinkError::data("too late")));
                log(3, &format!("called back late: cancelled is {}", late.is_cancelled()));
            });
        }
        if self.does(Mischief::ErrorAfterReports) { Err(SinkError::transient("lost the connection")) } else { Ok(()) }
    }

    fn audit(&self, call: &Call<'_>, run_ids: &[RunId]) -> Result<Vec<Audit>, SinkError> {
        self.enter(Entry::Audit);
        if let Some(folder) = &self.folder {
            return folder.audit(call, run_ids);
        }
        let answer = |run_id: RunId, sha256: Option<Sha256>| Audit {
            run_id,
            sha256,
            tables: std::collections::BTreeMap::new(),
            conversions: std::collections::BTreeMap::new(),
        };
        let honest = || run_ids.iter().map(|run_id| answer(*run_id, self.store.held(*run_id)));
        Ok(match self.config.audit {
            None => honest().collect(),
            Some(Lie::OtherRevision) => run_ids.iter().map(|run_id| answer(*run_id, Some(Sha256([0; 32])))).collect(),
            Some(Lie::Absent) => run_ids.iter().map(|run_id| answer(*run_id, None)).collect(),
            Some(Lie::Stranger) => {
                honest().chain([answer(RunId::from_bytes([0xee; 16]), Some(Sha256([1; 32])))]).collect()
            }
            Some(Lie::Twice) => honest().chain(honest()).collect(),
        })
    }

    fn flush(&self, _call: &Call<'_>) -> Result<(), SinkError> {
        self.enter(Entry::Flush);
        Ok(())
    }

    fn close(self, _call: &Call<'_>) -> Result<(), SinkError> {
        self.enter(Entry::Close);
        self.folder.map_or(Ok(()), Folder::close)
    }
}
