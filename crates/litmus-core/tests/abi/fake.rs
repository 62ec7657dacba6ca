//! The built hostile plugin, runs out of memory to feed it, and a place where its logs go.

use std::os::fd::BorrowedFd;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use arrow::array::{Int64Array, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::record_batch::{RecordBatch, RecordBatchIterator};
use litmus_core::abi::host::{HostCall, Instance, LogFn, Plugin, RunSource};
use litmus_core::{Attachment, OpenMode, Rank, Report, RunId, Sha256, SinkError, Status, Table, TableStream};
use serde_json::{Value, json};

/// The hostile plugin's library: of `LITMUS_ARTIFACTS`, where `cargo xtask test` built it, else built once.
pub(crate) fn hostile_so() -> PathBuf {
    if let Some(folder) = std::env::var_os("LITMUS_ARTIFACTS") {
        return PathBuf::from(folder).join("plugins/hostile.so");
    }
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT
        .get_or_init(|| {
            let output = Command::new(env!("CARGO"))
                .args(["build", "--package", "litmus-sink-hostile", "--message-format", "json"])
                .current_dir(env!("CARGO_MANIFEST_DIR"))
                .output()
                .expect("cargo runs");
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8_lossy(&output.stdout)
                .lines()
                .filter_map(|line| serde_json::from_str::<Value>(line).ok())
                .filter(|message| message["target"]["name"] == "litmus_sink_hostile")
                .find_map(|message| message["filenames"][0].as_str().map(PathBuf::from))
                .expect("cargo names the library")
        })
        .clone()
}

/// What a plugin logged.
#[derive(Clone, Default)]
pub(crate) struct Logs(Arc<Mutex<Vec<(u32, String)>>>);

impl Logs {
    pub(crate) fn sink(&self) -> LogFn {
        let into = Arc::clone(&self.0);
        Arc::new(move |level, _: &str, message: &str| into.lock().unwrap().push((level, message.to_owned())))
    }

    pub(crate) fn all(&self) -> Vec<(u32, String)> {
        self.0.lock().unwrap().clone()
    }

    /// Waits up to five seconds for a message with this text.
    pub(crate) fn wait_for(&self, text: &str) {
        let end = Instant::now() + Duration::from_secs(5);
        while !self.all().iter().any(|(_, message)| message.contains(text)) {
            assert!(Instant::now() < end, "no log says {text:?}: {:?}", self.all());
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// A copy of the plugin of this test's own, so that its logs are its own: a library is loaded once a process.
pub(crate) struct Bench {
    pub(crate) plugin: Plugin,
    pub(crate) logs: Logs,
    _dir: tempfile::TempDir,
}

impl Bench {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("hostile.so");
        std::fs::copy(hostile_so(), &path).unwrap();
        let logs = Logs::default();
        let plugin = Plugin::load(&path, logs.sink()).unwrap();
        Self { plugin, logs, _dir: dir }
    }

    pub(crate) fn open(&self, config: &Value) -> Instance {
        self.plugin.open(config, OpenMode::Live, &call()).unwrap()
    }

    /// A new instance takes a batch and closes: the host, and the plugin, are still well.
    pub(crate) fn assert_well(&self) {
        let instance = self.open(&json!({ "name": "after" }));
        let (result, reports) = deliver(&instance, &runs(2));
        assert!(result.is_ok(), "{result:?}");
        assert_eq!(statuses(&reports), [(0, Status::Delivered), (1, Status::Delivered)]);
        instance.close(&call()).unwrap();
    }
}

pub(crate) fn call() -> HostCall<'static> {
    HostCall { attempt: 1, deadline: None, is_cancelled: &|| false, dry_run: false }
}

pub(crate) fn deliver(
    instance: &Instance,
    runs: &[Arc<dyn RunSource>],
) -> (Result<(), SinkError>, Vec<(usize, Report)>) {
    let reports = Mutex::new(Vec::new());
    let result = instance.deliver(&call(), runs, &|run, report| reports.lock().unwrap().push((run, report)));
    (result, reports.into_inner().unwrap())
}

pub(crate) fn statuses(reports: &[(usize, Report)]) -> Vec<(usize, Status)> {
    reports.iter().map(|(run, report)| (*run, report.status)).collect()
}

/// What a fake run's tables do.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Tables {
    Whole,
    FailToOpen,
    FailInTheMiddle,
    PanicInTheMiddle,
    PanicToOpen,
}

pub(crate) struct FakeRun {
    run_id: RunId,
    sha256: Sha256,
    summary: String,
    supersedes: Vec<Sha256>,
    attachments: Vec<Attachment>,
    tables: Tables,
}

/// Run `n`, serial `SN<n>`.
pub(crate) fn run(n: u8, tables: Tables) -> Arc<dyn RunSource> {
    let (run_id, sha256) = (RunId::from_bytes([n; 16]), Sha256([n; 32]));
    let summary = json!({
        "run_id": run_id, "sha256": sha256, "path": format!("runs/{n}.parquet"), "generation": "flat",
        "run_started_at": null, "run_ended_at": null, "dut_serial": format!("SN{n}"), "dut_part_number": null,
        "station_id": "bench", "run_outcome": "passed", "outcome": "passed", "outcome_derived": false,
        "steps": 1, "vectors": 0, "measurements": 3, "rows": 5,
    });
    let attachments =
        vec![Attachment { reference: "channel://scope".to_owned(), state: litmus_core::AttachmentState::Channel }];
    let supersedes = vec![Sha256([0xaa; 32]), Sha256([0xbb; 32])];
    Arc::new(FakeRun { run_id, sha256, summary: summary.to_string(), supersedes, attachments, tables })
}

/// Runs 1 to `n`.
pub(crate) fn runs(n: u8) -> Vec<Arc<dyn RunSource>> {
    (1..=n).map(|n| run(n, Tables::Whole)).collect()
}

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("row_index", DataType::Int64, true),
        Field::new("measurement_units", DataType::Utf8, true),
    ]))
}

fn batch() -> RecordBatch {
    let units = StringArray::from(vec![Some("°C"), None, Some("µA")]);
    RecordBatch::try_new(schema(), vec![Arc::new(Int64Array::from(vec![0, 1, 2])), Arc::new(units)]).unwrap()
}

impl RunSource for FakeRun {
    fn run_id(&self) -> RunId {
        self.run_id
    }
    fn sha256(&self) -> Sha256 {
        self.sha256
    }
    fn rank(&self) -> Rank {
        Rank { finished: true, ended_at_us: None, rows: 5, sha256: self.sha256 }
    }
    fn supersedes(&self) -> &[Sha256] {
        &self.supersedes
    }
    fn force(&self) -> bool {
        false
    }
    fn summary_json(&self) -> &str {
        &self.summary
    }
    fn sealed_path(&self) -> &'static str {
        "runs/fake.parquet"
    }
    fn sealed_fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }
    fn attachments(&self) -> &[Attachment] {
        &self.attachments
    }
    fn open_table(&self, table: Table) -> Result<TableStream, String> {
        assert!(self.tables != Tables::PanicToOpen, "the decoder panics");
        if self.tables == Tables::FailToOpen {
            return Err("the footer is damaged".to_owned());
        }
        let batches: Vec<RecordBatch> = if table == Table::Measurements { vec![batch(); 2] } else { Vec::new() };
        let tables = self.tables;
        let mut at = 0;
        let batches = batches.into_iter().map(move |batch| {
            at += 1;
            match tables {
                Tables::FailInTheMiddle if at == 2 => Err(ArrowError::ParseError("page 2 is damaged".to_owned())),
                Tables::PanicInTheMiddle if at == 2 => panic!("page 2 makes the decoder panic"),
                _ => Ok(batch),
            }
        });
        Ok(Box::new(RecordBatchIterator::new(batches, schema())))
    }
}
