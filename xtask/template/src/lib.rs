//! NAME: runs as files of a folder, `RUN_ID.run`: each table as an Arrow IPC stream, then a note of what it is. Made by
//! `cargo xtask new-plugin`; put your destination in the place of the files.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use arrow::ipc::{reader::StreamReader, writer::StreamWriter};
use litmus_core::digest::{BatchDigester, Conversions, Digests};
use litmus_core::schemars::{self, JsonSchema};
use litmus_core::serde::{self, Deserialize};
use litmus_core::{Audit, Call, Capabilities, CheckAnswer, Decision, Grade, Held, Receipt, Report};
use litmus_core::{Run, RunId, Sink, SinkError, Status, Table, decide};

/// Runs as files of a folder.
#[derive(Deserialize, JsonSchema)]
#[serde(crate = "serde", deny_unknown_fields)]
#[schemars(crate = "schemars")]
pub struct Config {
    /// The folder; made where it is missing.
    folder: PathBuf,
}

/// One destination.
pub struct TYPE(PathBuf);

litmus_core::export_sink!(TYPE);

impl Sink for TYPE {
    type Config = Config;
    const NAME: &'static str = "NAME";
    const CAPABILITIES: Capabilities = Capabilities {
        dedup: true,
        audit: true,
        moves_file: false,
        dry_run: true,
        grade_max: Grade::Committed,
        max_concurrent_delivers: 1,
        batch_bytes: 4 << 20,
        batch_runs: 64,
    };
    // Only looks at what was configured: `litmus-host check` without --live ends here.
    fn configure(config: Config) -> Result<Self, SinkError> {
        Ok(Self(config.folder))
    }
    fn destination_id(&self) -> String {
        format!("NAME://{}", self.0.display())
    }
    // A destination that can hold an identity returns it here: the host then notices when it was exchanged.
    fn connect(&self, _call: &Call<'_>) -> Result<Option<String>, SinkError> {
        fs::create_dir_all(&self.0).map(|()| None).map_err(|why| self.away(why))
    }
    fn check(&self, _call: &Call<'_>) -> Result<CheckAnswer, SinkError> {
        Ok(CheckAnswer { incarnation: None, notes: vec![format!("the folder is there: {}", self.0.is_dir())] })
    }
    fn deliver(&self, call: &Call<'_>, runs: &[Run<'_>]) -> Result<(), SinkError> {
        // Another host may deliver here, too: one at a time, and whoever waits asks whether to go on.
        let lock = File::create(self.0.join("lock")).map_err(|why| self.away(why))?;
        while lock.try_lock().is_err() {
            call.check_cancelled()?;
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        for (at, run) in runs.iter().enumerate() {
            call.check_cancelled()?;
            match self.deliver_run(call, run) {
                Ok(report) => call.report(at, &report),
                // What is wrong with one run is told of that run; anything else speaks for all that are left.
                Err(error) if error.status() == Status::Data => call.report(at, &Report::failed(&error)),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
    // Reads what is there. An answer from notes would prove nothing, and the suite finds out.
    fn audit(&self, call: &Call<'_>, run_ids: &[RunId]) -> Result<Vec<Audit>, SinkError> {
        run_ids.iter().map(|id| call.check_cancelled().and_then(|()| self.audit_run(*id))).collect()
    }
}

impl TYPE {
    fn file(&self, run_id: RunId) -> PathBuf {
        self.0.join(format!("{run_id}.run"))
    }
    fn away(&self, why: impl std::error::Error + Send + Sync + 'static) -> SinkError {
        SinkError::transient(format!("{} cannot be used", self.0.display())).with_source(why)
    }
    fn deliver_run(&self, call: &Call<'_>, run: &Run<'_>) -> Result<Report, SinkError> {
        let path = self.file(run.run_id());
        let held = read_note(&path).map_err(|why| self.away(why))?;
        match decide(held.as_ref(), &run.sha256(), &run.rank(), run.supersedes(), run.force()) {
            Decision::AlreadyPresent => return Ok(Report::done(Status::AlreadyPresent, Receipt::default())),
            Decision::Superseded => return Ok(Report::done(Status::Superseded, Receipt::default())),
            Decision::Insert | Decision::Replace if call.dry_run() => {
                let planned = vec![format!("write {}", path.display())];
                return Ok(Report::done(Status::Delivered, Receipt { planned, ..Receipt::default() }));
            }
            Decision::Insert | Decision::Replace => {}
        }
        // Beside, synced, renamed: the file is whole or not there, whenever the power fails.
        let (beside, mut tables) = (path.with_extension("tmp"), Digests::new());
        let mut out = BufWriter::new(File::create(&beside).map_err(|why| self.away(why))?);
        for table in Table::ALL {
            let rows = run.open_table(table)?;
            let mut digester = BatchDigester::new(&rows.schema(), Conversions::default());
            let mut writer = StreamWriter::try_new(&mut out, &rows.schema()).map_err(|why| self.away(why))?;
            for batch in rows {
                call.check_cancelled()?;
                let batch = batch.map_err(|why| SinkError::data(format!("{}: {why}", run.sealed_path())))?;
                digester.batch(&batch);
                writer.write(&batch).map_err(|why| self.away(why))?;
            }
            writer.finish().map_err(|why| self.away(why))?;
            tables.insert(table.to_string(), digester.finish());
        }
        let held = Held::new(run.sha256(), run.rank(), run.supersedes(), held.as_ref());
        let seal = || write_note(out, &held).and_then(|()| fs::rename(&beside, &path));
        seal().and_then(|()| File::open(&self.0)?.sync_all()).map_err(|why| self.away(why))?;
        let (grade, location) = (Some(Grade::Committed), Some(path.display().to_string()));
        Ok(Report::done(Status::Delivered, Receipt { grade, location, tables, ..Receipt::default() }))
    }
    fn audit_run(&self, run_id: RunId) -> Result<Audit, SinkError> {
        let held = read_note(&self.file(run_id)).map_err(|why| self.away(why))?;
        let mut answer = Audit { run_id, sha256: None, tables: Digests::new(), conversions: BTreeMap::new() };
        let Some(held) = held else { return Ok(answer) };
        answer.sha256 = Some(held.sha256);
        let mut file = BufReader::new(File::open(self.file(run_id)).map_err(|why| self.away(why))?);
        for table in Table::ALL {
            // What cannot be read is not vouched for.
            let Ok(rows) = StreamReader::try_new(&mut file, None) else { break };
            let mut digester = BatchDigester::new(&rows.schema(), Conversions::default());
            rows.map_while(Result::ok).for_each(|batch| digester.batch(&batch));
            answer.tables.insert(table.to_string(), digester.finish());
        }
        Ok(answer)
    }
}

/// What a run's file says it is, at its end: sha256, rank and older revisions, a line each, then their length.
fn write_note(mut out: BufWriter<File>, held: &Held) -> io::Result<()> {
    let note = format!("{}\n{}\n{}", held.sha256, held.rank.encode(), held.lineage());
    out.write_all(note.as_bytes())?;
    out.write_all(&(note.len() as u64).to_le_bytes())?;
    out.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()
}

/// Reads it; `None` without a file.
fn read_note(path: &Path) -> io::Result<Option<Held>> {
    if !path.exists() {
        return Ok(None);
    }
    let (mut file, mut length, mut note) = (File::open(path)?, [0; 8], String::new());
    file.seek(SeekFrom::End(-8))?;
    file.read_exact(&mut length)?;
    file.seek(SeekFrom::End(-8 - (u64::from_le_bytes(length) as i64)))?;
    file.take(u64::from_le_bytes(length)).read_to_string(&mut note)?;
    let parts: Vec<&str> = note.split('\n').collect();
    let [sha256, rank, older] = parts[..] else { return Err(io::ErrorKind::InvalidData.into()) };
    let held = (sha256.parse().ok(), rank.parse().ok(), Held::parse_lineage(older));
    let (Some(sha256), Some(rank), Some(supersedes)) = held else { return Err(io::ErrorKind::InvalidData.into()) };
    Ok(Some(Held { sha256, rank, supersedes }))
}
