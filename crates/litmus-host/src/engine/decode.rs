//! A sealed run as the plugins see it, and the cache that lets several sinks share one decoding of a small run.

use std::collections::{HashMap, VecDeque};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Mutex, PoisonError};

use arrow::datatypes::SchemaRef;
use arrow::record_batch::{RecordBatch, RecordBatchIterator, RecordBatchReader};
use litmus_core::abi::host::RunSource;
use litmus_core::reader::RunFile;
use litmus_core::{Attachment, Rank, RunId, Sha256, Table, TableStream};

use super::files::NotOpened;
use super::queue::Item;

/// A table larger than this is decoded again by each sink: it would push many small ones out.
const SHARED_TABLE_BYTES_MAX: usize = 4 << 20;

/// Decoded tables of small runs, shared between sinks; bounded in Arrow bytes.
#[derive(Debug)]
pub(crate) struct DecodeCache {
    bytes_max: usize,
    state: Mutex<CacheState>,
}

#[derive(Debug, Default)]
struct CacheState {
    tables: HashMap<(Sha256, Table), (Decoded, usize)>,
    order: VecDeque<(Sha256, Table)>,
    bytes: usize,
}

#[derive(Clone, Debug)]
struct Decoded {
    schema: SchemaRef,
    batches: Arc<Vec<RecordBatch>>,
}

impl Decoded {
    fn stream(&self) -> TableStream {
        let batches: Vec<_> = self.batches.iter().cloned().map(Ok).collect();
        Box::new(RecordBatchIterator::new(batches, Arc::clone(&self.schema)))
    }
}

impl DecodeCache {
    pub(crate) fn new(bytes_max: u64) -> Self {
        Self { bytes_max: usize::try_from(bytes_max).unwrap_or(usize::MAX), state: Mutex::default() }
    }

    fn get(&self, key: (Sha256, Table)) -> Option<Decoded> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.tables.get(&key).map(|(decoded, _)| decoded.clone())
    }

    fn put(&self, key: (Sha256, Table), decoded: &Decoded, bytes: usize) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if bytes > self.bytes_max || state.tables.contains_key(&key) {
            return;
        }
        while state.bytes + bytes > self.bytes_max {
            let Some(oldest) = state.order.pop_front() else { return };
            if let Some((_, freed)) = state.tables.remove(&oldest) {
                state.bytes -= freed;
            }
        }
        state.bytes += bytes;
        state.order.push_back(key);
        state.tables.insert(key, (decoded.clone(), bytes));
    }
}

/// One run in the hands of one sink.
pub(crate) struct OpenRun {
    file: Arc<RunFile>,
    supersedes: Vec<Sha256>,
    summary_json: String,
    path: String,
    attachments: Vec<Attachment>,
    cache: Option<Arc<DecodeCache>>,
}

impl OpenRun {
    /// `cache`: where several sinks may want the same tables.
    pub(crate) fn new(file: Arc<RunFile>, item: &Item, cache: Option<Arc<DecodeCache>>) -> Result<Self, NotOpened> {
        let attachments = file.attachments().map_err(|error| {
            let why = error.to_string();
            if error.is_transient() { NotOpened::Later(why) } else { NotOpened::Damaged(why) }
        })?;
        let summary_json =
            serde_json::to_string(file.summary()).map_err(|error| NotOpened::Damaged(error.to_string()))?;
        Ok(Self {
            path: file.summary().path.clone(),
            supersedes: item.run.supersedes.clone(),
            summary_json,
            attachments,
            cache,
            file,
        })
    }
}

impl RunSource for OpenRun {
    fn run_id(&self) -> RunId {
        self.file.run_id()
    }

    fn sha256(&self) -> Sha256 {
        self.file.sha256()
    }

    fn rank(&self) -> Rank {
        self.file.rank()
    }

    fn supersedes(&self) -> &[Sha256] {
        &self.supersedes
    }

    fn force(&self) -> bool {
        false
    }

    fn summary_json(&self) -> &str {
        &self.summary_json
    }

    fn sealed_path(&self) -> &str {
        &self.path
    }

    fn sealed_fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.file.file().as_fd())
    }

    fn attachments(&self) -> &[Attachment] {
        &self.attachments
    }

    fn open_table(&self, table: Table) -> Result<TableStream, String> {
        litmus_core::failpoint("pulling");
        let open = || self.file.open_table(table).map_err(|error| error.to_string());
        let Some(cache) = &self.cache else { return open() };
        let key = (self.sha256(), table);
        if let Some(decoded) = cache.get(key) {
            return Ok(decoded.stream());
        }
        let mut stream = open()?;
        let schema = stream.schema();
        let (mut batches, mut bytes) = (Vec::new(), 0);
        for batch in stream.by_ref() {
            let batch = batch.map_err(|error| error.to_string())?;
            bytes += batch.get_array_memory_size();
            batches.push(batch);
            if bytes > SHARED_TABLE_BYTES_MAX {
                // Too large to share: hand out what is decoded, then the rest as it comes.
                let head = batches.into_iter().map(Ok);
                return Ok(Box::new(RecordBatchIterator::new(head.chain(stream), schema)));
            }
        }
        let decoded = Decoded { schema, batches: Arc::new(batches) };
        cache.put(key, &decoded, bytes);
        Ok(decoded.stream())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::Int64Array;
    use arrow::datatypes::{DataType, Field, Schema};

    fn decoded(rows: usize) -> (Decoded, usize) {
        let schema = Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, true)]));
        let column = Arc::new(Int64Array::from(vec![7; rows]));
        let batch = RecordBatch::try_new(Arc::clone(&schema), vec![column]).unwrap();
        let bytes = batch.get_array_memory_size();
        (Decoded { schema, batches: Arc::new(vec![batch]) }, bytes)
    }

    #[test]
    fn the_cache_keeps_to_its_bytes_and_drops_the_oldest() {
        let (one, bytes) = decoded(1000);
        let cache = DecodeCache::new(2 * bytes as u64);
        let key = |n: u8| (Sha256([n; 32]), Table::Runs);
        for n in 1..=3 {
            cache.put(key(n), &one, bytes);
        }
        assert!(cache.get(key(1)).is_none(), "the oldest made room");
        assert!(cache.get(key(2)).is_some() && cache.get(key(3)).is_some());
        let rows: usize = cache.get(key(3)).unwrap().stream().map(|batch| batch.unwrap().num_rows()).sum();
        assert_eq!(rows, 1000);
        cache.put(key(4), &one, 3 * bytes);
        assert!(cache.get(key(4)).is_none(), "larger than the whole cache");
        assert!(cache.get(key(3)).is_some(), "and it pushed nothing out");
    }
}
