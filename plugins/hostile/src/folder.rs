//! A sink that does everything right, into a folder, unless it is told which promise to break: what the mutants of the
//! conformance suite are made of. One file a run, `RUN_ID.run`: each table as an Arrow IPC stream, then a note, then the
//! note's length. A file is whole or not there: it is written beside, synced and renamed.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread::ThreadId;
use std::time::Duration;

use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use arrow::record_batch::RecordBatch;
use litmus_core::digest::{BatchDigester, Conversions, Digests, TableDigest};
use litmus_core::{
    AttachmentReceipt, AttachmentState, Audit, Call, Decision, Grade, Held, Receipt, Report, Run, RunId, Sha256,
    SinkError, Status, Table, TableStream, decide,
};
use serde::{Deserialize, Serialize};

use crate::config::{Config, Mutant};
use crate::server::Server;
use crate::spoil::spoil;

/// What lies behind the tables in a run's file.
#[derive(Clone, Serialize, Deserialize)]
struct Note {
    sha256: Sha256,
    rank: String,
    lineage: String,
    /// As written; only [`Mutant::AuditFromNotes`] ever looks at it.
    tables: Digests,
}

impl Note {
    fn held(&self) -> Option<Held> {
        let supersedes = Held::parse_lineage(&self.lineage)?;
        Some(Held { sha256: self.sha256, rank: self.rank.parse().ok()?, supersedes })
    }
}

/// The folder of one destination.
pub(crate) struct Folder {
    path: PathBuf,
    config: Config,
    server: Server,
    home: ThreadId,
    written: Mutex<HashMap<RunId, Note>>,
    in_instance: Mutex<()>,
    was_cancelled: AtomicBool,
    kept: Mutex<Vec<TableStream>>,
}

thread_local! {
    /// What the run at hand would weigh if it were held; only [`Mutant::Hoard`] fills it.
    static HOARD: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// The first folder of the process, for [`Mutant::StaticFolder`].
static FIRST: OnceLock<PathBuf> = OnceLock::new();

impl Folder {
    pub(crate) fn new(path: &Path, config: &Config) -> Result<Self, SinkError> {
        let is = |mutant| config.mutant == Some(mutant);
        let first = FIRST.get_or_init(|| path.to_owned());
        let path = if is(Mutant::StaticFolder) { first.clone() } else { path.to_owned() };
        if is(Mutant::OfflineTouches) {
            fs::create_dir_all(&path)
                .and_then(|()| fs::write(path.join("touched"), ""))
                .map_err(|why| unusable(&path, why))?;
        }
        Ok(Self {
            path,
            config: config.clone(),
            server: Server::default(),
            home: std::thread::current().id(),
            written: Mutex::default(),
            in_instance: Mutex::default(),
            was_cancelled: AtomicBool::new(false),
            kept: Mutex::default(),
        })
    }

    fn is(&self, mutant: Mutant) -> bool {
        self.config.mutant == Some(mutant)
    }

    pub(crate) fn id(&self) -> String {
        if self.is(Mutant::OneId) { "hostile://one".to_owned() } else { format!("hostile://{}", self.path.display()) }
    }

    /// Whether the server answers, and the incarnation that is there.
    pub(crate) fn look(&self, call: &Call<'_>) -> Result<Option<String>, SinkError> {
        self.server.ask(&self.config, call, None)?;
        Ok(fs::read_to_string(self.path.join("incarnation")).ok())
    }

    /// Makes the folder; its incarnation.
    pub(crate) fn connect(&self, call: &Call<'_>) -> Result<String, SinkError> {
        if self.is(Mutant::OneCopyAProcess) {
            let maps = fs::read_to_string("/proc/self/maps").map_err(|why| self.fault(why))?;
            let copies: std::collections::BTreeSet<_> = maps
                .lines()
                .filter_map(|line| line.split_whitespace().last())
                .filter(|path| std::path::Path::new(path).extension().is_some_and(|extension| extension == "so"))
                .collect();
            if copies.iter().filter(|path| path.contains("hostile")).count() > 1 {
                return Err(SinkError::config("another copy of this library is in the process"));
            }
        }
        self.server.ask(&self.config, call, None)?;
        fs::create_dir_all(&self.path).map_err(|why| self.fault(why))?;
        let file = self.path.join("incarnation");
        let fresh = uuid::Uuid::new_v4().to_string();
        if self.is(Mutant::NewIncarnation) {
            return Ok(fresh);
        }
        let _lock = self.lock(call)?;
        match fs::read_to_string(&file) {
            Ok(text) if text.len() == fresh.len() => Ok(text),
            _ => self
                .write_whole(&file, |out| out.write_all(fresh.as_bytes()))
                .map(|()| fresh)
                .map_err(|why| self.fault(why)),
        }
    }

    pub(crate) fn notes(&self) -> Vec<String> {
        let password = self.config.password.as_deref().filter(|_| self.is(Mutant::TellPassword));
        vec![format!("{}{}", self.path.display(), password.map(|word| format!(" ({word})")).unwrap_or_default())]
    }

    /// Held while a run is looked up and written; other hosts wait, and ask whether to go on.
    fn lock(&self, call: &Call<'_>) -> Result<Option<File>, SinkError> {
        if [Mutant::NoLock, Mutant::LockPerInstance, Mutant::SharedScratch].iter().any(|mutant| self.is(*mutant)) {
            return Ok(None);
        }
        let path = self.path.join("lock");
        let file = File::options().create(true).append(true).open(&path).map_err(|why| unusable(&path, why))?;
        while file.try_lock().is_err() {
            self.go_on(call)?;
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(Some(file))
    }

    fn go_on(&self, call: &Call<'_>) -> Result<(), SinkError> {
        if self.is(Mutant::Deaf) || !call.is_cancelled() {
            return Ok(());
        }
        self.was_cancelled.store(true, Ordering::Relaxed);
        if self.is(Mutant::SlowToStop) {
            std::thread::sleep(Duration::from_secs(8));
        }
        if self.is(Mutant::CancelledIsData) {
            return Err(SinkError::data("there was no time for this run"));
        }
        Err(SinkError::cancelled())
    }

    pub(crate) fn deliver(&self, call: &Call<'_>, runs: &[Run<'_>]) -> Result<(), SinkError> {
        if self.is(Mutant::ThreadBound) && std::thread::current().id() != self.home {
            return Err(SinkError::new(Status::Unsupported, "this is not the thread that opened it"));
        }
        if self.is(Mutant::EmptyBatchFails) && runs.is_empty() {
            return Err(SinkError::data("there is nothing in this batch"));
        }
        if self.is(Mutant::KeepLastBatch) {
            for run_id in std::mem::take(&mut *self.memory()).into_keys() {
                fs::remove_file(self.file(run_id)).ok();
            }
        }
        let blind: Vec<Option<Held>> =
            if self.is(Mutant::BatchBlind) { runs.iter().map(|run| self.held(run)).collect() } else { Vec::new() };
        for (at, run) in runs.iter().enumerate() {
            self.go_on(call)?;
            let report = if self.is(Mutant::FirstHundred) && at >= 100 {
                Report::done(Status::Delivered, Receipt { grade: Some(Grade::Committed), ..Receipt::default() })
            } else {
                match self.deliver_run(call, run, blind.get(at)) {
                    Ok(report) => report,
                    // A fault of the run is the run's; any other ends the batch.
                    Err(error) if error.status() == Status::Data => Report::failed(&error),
                    Err(error) => return Err(error),
                }
            };
            let to_next = self.is(Mutant::BlameTheNext) && report.receipt.is_none();
            call.report(if to_next { (at + 1) % runs.len() } else { at }, &report);
        }
        Ok(())
    }

    fn memory(&self) -> std::sync::MutexGuard<'_, HashMap<RunId, Note>> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn held(&self, run: &Run<'_>) -> Option<Held> {
        if self.is(Mutant::DedupInMemory) {
            return self.memory().get(&run.run_id()).and_then(Note::held);
        }
        read_note(&self.file_of(run)).ok().and_then(|note| note.held())
    }

    fn file(&self, run_id: RunId) -> PathBuf {
        self.path.join(format!("{run_id}.run"))
    }

    fn file_of(&self, run: &Run<'_>) -> PathBuf {
        match (&run.summary().dut_serial, self.is(Mutant::SerialAsName)) {
            (Some(serial), true) => self.path.join(serial),
            _ => self.file(run.run_id()),
        }
    }

    fn deliver_run(&self, call: &Call<'_>, run: &Run<'_>, blind: Option<&Option<Held>>) -> Result<Report, SinkError> {
        let dry = call.dry_run() && !self.is(Mutant::DryRunWrites);
        if !dry {
            self.server.ask(&self.config, call, Some(run.run_id()))?;
        }
        let _locked = self.lock(call)?;
        let _in_instance =
            self.is(Mutant::LockPerInstance).then(|| self.in_instance.lock().unwrap_or_else(PoisonError::into_inner));
        let held = blind.map_or_else(|| self.held(run), Clone::clone);
        if self.is(Mutant::NoLock) || self.is(Mutant::LockPerInstance) {
            std::thread::sleep(Duration::from_millis(20));
        }
        let supersedes = if self.is(Mutant::RankOnly) { &[] } else { run.supersedes() };
        let force = run.force() && !self.is(Mutant::NoForce);
        let decision = match decide(held.as_ref(), &run.sha256(), &run.rank(), supersedes, force) {
            Decision::Superseded if self.is(Mutant::LastWins) => Decision::Replace,
            Decision::Replace if self.is(Mutant::KeepFirst) => Decision::Superseded,
            decision => decision,
        };
        match decision {
            Decision::AlreadyPresent if self.is(Mutant::AlwaysDelivered) => {}
            Decision::AlreadyPresent => return Ok(Report::done(Status::AlreadyPresent, Receipt::default())),
            Decision::Superseded => return Ok(Report::done(Status::Superseded, Receipt::default())),
            Decision::Insert | Decision::Replace => {}
        }
        let mut receipt = Receipt { location: Some(self.file_of(run).display().to_string()), ..Receipt::default() };
        if dry {
            receipt.planned.push(format!("{decision:?} {}", run.run_id()));
            return Ok(Report::done(Status::Delivered, receipt));
        }
        receipt.attachments = self.write_attachments(run)?;
        receipt.tables = self.write_run(call, run, held.as_ref())?;
        receipt.grade = Some(Grade::Committed);
        if self.is(Mutant::WrongReceipt) {
            receipt.tables.insert(Table::Steps.to_string(), TableDigest::default());
        }
        if self.is(Mutant::KeepStream) {
            self.kept.lock().unwrap_or_else(PoisonError::into_inner).push(run.open_table(Table::Runs)?);
        }
        Ok(Report::done(Status::Delivered, receipt))
    }

    fn write_attachments(&self, run: &Run<'_>) -> Result<Vec<AttachmentReceipt>, SinkError> {
        let mut receipts = Vec::new();
        for (nth, attachment) in run.attachments().iter().enumerate() {
            let AttachmentState::Present { file, size, .. } = &attachment.state else { continue };
            let mut bytes = fs::read(file)
                .map_err(|why| SinkError::transient(format!("{file}: cannot be read")).with_source(why))?;
            if self.is(Mutant::CutAttachment) {
                bytes.truncate(bytes.len() / 2);
            }
            let to = self.path.join(format!("{}.{nth}.attachment", run.run_id()));
            self.write_whole(&to, |out| out.write_all(&bytes)).map_err(|why| self.fault(why))?;
            let (reference, location) = (attachment.reference.clone(), Some(to.display().to_string()));
            receipts.push(AttachmentReceipt { reference, size: Some(*size), sha256: None, location });
        }
        Ok(receipts)
    }

    fn write_run(&self, call: &Call<'_>, run: &Run<'_>, before: Option<&Held>) -> Result<Digests, SinkError> {
        let supersedes = if self.is(Mutant::ForgetLineage) { &[] } else { run.supersedes() };
        let held = Held::new(run.sha256(), run.rank(), supersedes, before);
        let mut note =
            Note { sha256: run.sha256(), rank: run.rank().encode(), lineage: held.lineage(), tables: Digests::new() };
        let path = self.file_of(run);
        if self.is(Mutant::NoteFirst) {
            self.write_whole(&path, |out| write_note(out, &note)).map_err(|why| self.fault(why))?;
        }
        if self.is(Mutant::EmptyRunFails) && run.summary().measurements == 0 {
            return Err(SinkError::data("a run without measurements"));
        }
        let mut refused = None;
        let written = self.write_whole(&path, |out| {
            for table in Table::ALL {
                match self.write_table(call, run, table, out) {
                    Ok(digest) => note.tables.insert(table.to_string(), digest),
                    Err(Trouble::Run(error)) => {
                        refused = Some(error);
                        return Err(io::ErrorKind::Other.into());
                    }
                    Err(Trouble::Disk(why)) => return Err(why),
                };
            }
            write_note(out, &note)
        });
        HOARD.take();
        match (written, refused) {
            (_, Some(error)) => return Err(error),
            (Err(why), None) => return Err(self.fault(why)),
            (Ok(()), None) => {}
        }
        self.memory().insert(run.run_id(), note.clone());
        Ok(note.tables)
    }

    fn write_table(
        &self,
        call: &Call<'_>,
        run: &Run<'_>,
        table: Table,
        out: &mut impl Write,
    ) -> Result<TableDigest, Trouble> {
        let stream = match run.open_table(table) {
            Err(_) if self.is(Mutant::SwallowOpenError) => return Ok(TableDigest::default()),
            opened => opened.map_err(Trouble::Run)?,
        };
        let (schema, change) = spoil(self.config.mutant, table, &stream.schema());
        let disk = |why: arrow::error::ArrowError| match why {
            arrow::error::ArrowError::IoError(_, why) => Trouble::Disk(why),
            other => Trouble::Disk(io::Error::other(other)),
        };
        let mut digester = BatchDigester::new(&schema, Conversions::default());
        let mut writer = StreamWriter::try_new(out, &schema).map_err(disk)?;
        let mut batches = stream.peekable();
        while let Some(batch) = batches.next() {
            self.go_on(call).map_err(Trouble::Run)?;
            let batch = match batch {
                Err(_) if self.is(Mutant::SwallowStreamError) => break,
                read => read.map_err(|why| Trouble::Run(SinkError::data(format!("{}: {why}", run.sealed_path()))))?,
            };
            let batch = change(batch, batches.peek().is_none());
            if self.is(Mutant::Hoard) {
                HOARD.with_borrow_mut(|hoard| hoard.extend((0..12).map(|_| vec![1; batch.get_array_memory_size()])));
            }
            digester.batch(&batch);
            writer.write(&batch).map_err(disk)?;
        }
        writer.finish().map_err(disk)?;
        Ok(digester.finish())
    }

    /// Beside, synced, renamed: the file is whole or not there.
    fn write_whole(&self, path: &Path, write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>) -> io::Result<()> {
        let unique =
            if self.is(Mutant::SharedScratch) { "scratch".to_owned() } else { uuid::Uuid::new_v4().to_string() };
        let temporary = self.path.join(format!(".{unique}"));
        let in_place = || -> io::Result<()> {
            let mut out = BufWriter::new(File::create(&temporary)?);
            write(&mut out)?;
            out.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
            if self.is(Mutant::SharedScratch) {
                std::thread::sleep(Duration::from_millis(5));
            }
            fs::rename(&temporary, path)?;
            File::open(&self.path)?.sync_all()
        };
        in_place().inspect_err(|_| drop(fs::remove_file(&temporary)))
    }

    fn fault(&self, why: io::Error) -> SinkError {
        if self.is(Mutant::FullIsData) {
            return SinkError::data("the disk has no room for this run").with_source(why);
        }
        unusable(&self.path, why)
    }

    pub(crate) fn audit(&self, call: &Call<'_>, run_ids: &[RunId]) -> Result<Vec<Audit>, SinkError> {
        run_ids.iter().map(|run_id| self.go_on(call).and_then(|()| self.audit_run(*run_id))).collect()
    }

    fn audit_run(&self, run_id: RunId) -> Result<Audit, SinkError> {
        let answer = |note: Option<&Note>, tables: Digests| Audit {
            run_id,
            sha256: note.map(|note| note.sha256),
            tables,
            conversions: BTreeMap::new(),
        };
        let path = self.file(run_id);
        if self.is(Mutant::AuditSaysPresent) && !path.exists() {
            return Ok(Audit { sha256: Some(Sha256([0; 32])), ..answer(None, Digests::new()) });
        }
        if self.is(Mutant::AuditFromMemory)
            && let Some(note) = self.memory().get(&run_id)
        {
            return Ok(answer(Some(note), note.tables.clone()));
        }
        let note = match read_note(&path) {
            Ok(note) => note,
            Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(answer(None, Digests::new())),
            Err(why) => return Err(unusable(&path, why)),
        };
        let tables = if self.is(Mutant::AuditFromNotes) { note.tables.clone() } else { read_tables(&path)? };
        Ok(answer(Some(&note), tables))
    }

    pub(crate) fn close(self) -> Result<(), SinkError> {
        assert!(
            !(self.is(Mutant::CloseNeedsPeace) && self.was_cancelled.load(Ordering::Relaxed)),
            "there is work left from the call that was cancelled"
        );
        if self.is(Mutant::LoseAtClose) {
            for run_id in self.memory().keys() {
                fs::remove_file(self.file(*run_id)).ok();
            }
        }
        Ok(())
    }
}

/// Why a run's file was not written.
enum Trouble {
    Run(SinkError),
    Disk(io::Error),
}

fn write_note(out: &mut impl Write, note: &Note) -> io::Result<()> {
    let text = serde_json::to_vec(note)?;
    out.write_all(&text)?;
    out.write_all(&(text.len() as u32).to_le_bytes())
}

fn read_note(path: &Path) -> io::Result<Note> {
    let mut file = File::open(path)?;
    let mut length = [0; 4];
    file.seek(SeekFrom::End(-4))?;
    file.read_exact(&mut length)?;
    let length = u32::from_le_bytes(length);
    file.seek(SeekFrom::End(-4 - i64::from(length)))?;
    let mut text = vec![0; length as usize];
    file.read_exact(&mut text)?;
    serde_json::from_slice(&text).map_err(io::Error::from)
}

/// The digests of what the file holds now.
fn read_tables(path: &Path) -> Result<Digests, SinkError> {
    let mut file = BufReader::new(File::open(path).map_err(|why| unusable(path, why))?);
    let mut tables = Digests::new();
    for table in Table::ALL {
        // What cannot be read is not there: the digests then differ, as they should.
        let Ok(reader) = StreamReader::try_new(&mut file, None) else { break };
        let mut digester = BatchDigester::new(&reader.schema(), Conversions::default());
        reader.map_while(Result::ok).for_each(|batch: RecordBatch| digester.batch(&batch));
        tables.insert(table.to_string(), digester.finish());
    }
    Ok(tables)
}

fn unusable(path: &Path, why: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> SinkError {
    SinkError::transient(format!("{} cannot be used", path.display())).with_source(why)
}
