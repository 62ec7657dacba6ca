//! One sealed run file.

use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use arrow::array::RecordBatch;

use super::attachments;
use super::catalog::{Catalog, Generation};
use super::error::{ReadError, guard};
use super::head::{Head, derive_outcome};
use super::layout::{Layout, Layouts};
use super::plan::{Custom, Plans};
use super::runs::{self, RunRow};
use super::seal::{self, Sealed};
use super::source::{Input, Raw, Source};
use super::store::Stamp;
use super::stream::{ReadyTable, TableReader};
use super::survey::Survey;
use crate::digest::{BatchDigester, Conversions, Digests};
use crate::{Attachment, Rank, RunId, Sha256, Summary, Table, TableStream};

/// One sealed run file, opened once: seal check, sha256, summary and decoding use the same descriptor.
pub struct RunFile {
    data_dir: PathBuf,
    relative: PathBuf,
    file: Arc<File>,
    /// As the file was when it was opened; `None` where all of it was read then.
    stamp: Option<Stamp>,
    summary: Summary,
    runs: RecordBatch,
    opened: Arc<Opened>,
}

/// What the streams of a file share.
pub(super) struct Opened {
    pub(super) source: Source,
    pub(super) catalog: Catalog,
    pub(super) run_id_text: String,
    head: Head,
    run_row: Raw,
    pub(super) custom: Custom,
    layout: Arc<Layout>,
    /// Made when the first table is opened; `runs` and listings do without.
    plans: OnceLock<Result<Arc<Plans>, ReadError>>,
}

impl Opened {
    fn plans(&self) -> Result<&Plans, ReadError> {
        let plans = self.plans.get_or_init(|| {
            let read = || Ok(Survey::read(&self.source, &self.catalog, &self.head, &self.run_row));
            let survey = guard(self.source.label(), read).and_then(|survey| survey)?;
            Ok(self.layout.plans(&self.catalog, survey, &self.custom))
        });
        plans.as_deref().map_err(Clone::clone)
    }
}

impl RunFile {
    /// Opens `data_dir/relative`, checks the seal, hashes, and reads the summary.
    pub fn open(data_dir: &Path, relative: &Path) -> Result<Self, ReadError> {
        Self::open_as(data_dir, relative, &Layouts::default())
    }

    /// The same, with the layouts of files opened before.
    pub(super) fn open_as(data_dir: &Path, relative: &Path, layouts: &Layouts) -> Result<Self, ReadError> {
        let label: Arc<str> = relative.display().to_string().into();
        let sealed = seal::open(&data_dir.join(relative), &label)?;
        guard(&label, || Ok(Self::read(sealed, data_dir, relative, &label, layouts))).and_then(|run| run)
    }

    fn read(
        sealed: Sealed,
        data_dir: &Path,
        relative: &Path,
        label: &Arc<str>,
        layouts: &Layouts,
    ) -> Result<Self, ReadError> {
        let stamp = sealed.whole.is_none().then_some(sealed.stamp);
        let footer = Arc::new(sealed.footer);
        footer.check_codecs(label)?;
        let layout = layouts.of(&footer, label)?;
        let catalog = Catalog::new(&layout, &footer);
        let decoded = catalog.decoded();
        let input = match sealed.whole {
            Some(whole) => Input::Whole(whole),
            None => Input::File { file: Arc::clone(&sealed.file), size: sealed.size },
        };
        let source = Source::new(input, &footer, &layout, label, &decoded)?;
        let head = Head::read(&source, &catalog)?;
        let run_row = source.row(head.run_row, &decoded)?;
        let custom = if catalog.generation == Generation::Flat { Vec::new() } else { runs::custom(&footer) };
        let mut row = RunRow::new(&catalog, &head, &run_row, &footer, &custom);
        match row.text("run_outcome") {
            Some(outcome) => row.set_outcome(&outcome, false),
            None => row.set_outcome(derive_outcome(&source, &catalog)?, true),
        }
        let summary = row.summary(&catalog, &head, sealed.sha256, label.to_string(), source.rows());
        let run_id_text = head.run_id.to_string();
        let opened = Opened { source, catalog, run_id_text, head, run_row, custom, layout, plans: OnceLock::new() };
        Ok(Self {
            data_dir: data_dir.to_owned(),
            relative: relative.to_owned(),
            file: sealed.file,
            stamp,
            summary,
            runs: row.batch(),
            opened: Arc::new(opened),
        })
    }

    /// The open descriptor; read with `pread` only.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Whether somebody has written into the file since it was opened and hashed: what is read of it now may be of another
    /// revision. (The platform never does: it renames. A copy onto a share may.)
    pub fn check_unchanged(&self) -> Result<(), ReadError> {
        let Some(opened) = self.stamp else { return Ok(()) };
        let stat = self.file.metadata().map_err(|error| ReadError::io(&self.relative, "cannot stat", &error))?;
        let now = Stamp::of(&stat);
        // Not the change time: a rename, a link or new permissions change it, too.
        if (now.size, now.mtime_ns) == (opened.size, opened.mtime_ns) {
            return Ok(());
        }
        let error = ReadError::new(&self.relative, "was written to while it was read; it is read again");
        Err(error.with_hint("copy run files under another name and rename them").that_may_pass())
    }

    /// About how many bytes of memory it takes while it is open.
    pub fn held_bytes(&self) -> usize {
        self.opened.source.held_bytes() + self.runs.get_array_memory_size()
    }

    /// What the run is.
    pub fn summary(&self) -> &Summary {
        &self.summary
    }

    /// The run's identity.
    pub fn run_id(&self) -> RunId {
        self.summary().run_id
    }

    /// Of the file's bytes.
    pub fn sha256(&self) -> Sha256 {
        self.summary().sha256
    }

    /// The revision's rank.
    pub fn rank(&self) -> Rank {
        self.summary().rank()
    }

    /// A fresh stream of one table; an absent table is an empty stream with its schema. An error in the middle of the
    /// stream is an [`arrow::error::ArrowError::ExternalError`] around a [`ReadError`].
    pub fn open_table(&self, table: Table) -> Result<TableStream, ReadError> {
        if table == Table::Runs {
            return Ok(Box::new(ReadyTable::new(&self.runs)));
        }
        let opened = &self.opened;
        let plan = opened.plans()?.of(table);
        Ok(Box::new(TableReader::new(Arc::clone(opened), Arc::clone(plan))?))
    }

    /// Row counts and digests of all five tables, as a destination under these conversions would hold them.
    pub fn digests(&self, conversions: Conversions) -> Result<Digests, ReadError> {
        let mut digests = Digests::new();
        for table in Table::ALL {
            let stream = self.open_table(table)?;
            let mut digester = BatchDigester::new(&stream.schema(), conversions);
            for batch in stream {
                digester.batch(&batch.map_err(|error| self.stream_error(error))?);
            }
            digests.insert(table.name().to_owned(), digester.finish());
        }
        Ok(digests)
    }

    fn stream_error(&self, error: arrow::error::ArrowError) -> ReadError {
        let text = error.to_string();
        let inner = match error {
            arrow::error::ArrowError::ExternalError(inner) => inner.downcast::<ReadError>().ok(),
            _ => None,
        };
        inner.map_or_else(|| ReadError::new(&self.relative, text), |error| *error)
    }

    /// What the run refers to, as found now.
    pub fn attachments(&self) -> Result<Vec<Attachment>, ReadError> {
        let opened = &self.opened;
        let references =
            guard(opened.source.label(), || Ok(attachments::references(&opened.source, &opened.catalog)))??;
        Ok(references
            .into_iter()
            .flat_map(|reference| attachments::find(&self.data_dir, &self.relative, reference))
            .collect())
    }
}

impl fmt::Debug for RunFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunFile").field("path", &self.relative).field("run_id", &self.run_id()).finish_non_exhaustive()
    }
}
