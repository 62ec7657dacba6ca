//! A batch, cut into transactions.
//!
//! Small runs are encoded before their transaction begins, as many as fit into memory, so that it is short and its receipts
//! are known when the runs are claimed. A large run gets a transaction of its own, into which it is streamed. A run whose
//! values the server refuses is found, reported and left out, and the others are tried again.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use arrow::record_batch::RecordBatchReader as _;
use litmus_core::digest::NUL_TO_REPLACEMENT;
use litmus_core::{Decision, Grade, Held, Receipt, Report, RunId, SinkError, Status, Table, TableStream, decide};
use litmus_sql::{Catalog, Incoming, SchemaPolicy, Wanted, open_tables, wanted};

use crate::copy::{Mark, TableWriter, Written};
use crate::deliveries::{self, Delivery, Row};
use crate::link::{Link, is_stop};
use crate::session::Session;
use crate::transaction::{DataFault, Failure, Open, Transaction};
use crate::{fault, schema};

/// Encoded bytes that make a transaction; with two connections twice that is held.
const GROUP_BYTES: usize = 6 << 20;
/// Rows of a file from which a run is streamed.
const STREAMED_ROWS: u64 = 10_000;
/// Encoded bytes of one run beyond which it is streamed after all: long texts, few rows.
const RUN_BYTES_MAX: usize = 16 << 20;
/// Encoded bytes of a streamed run's table that are sent at once.
const STREAMED_BYTES: usize = 512 << 10;
/// Runs at fault in a batch after which each of the others is tried by itself.
const FAULTS_MAX: usize = 3;
/// Races with other hosts in a batch after which it is left for later.
const RACES_MAX: usize = 10;

/// What calls leave for the next ones; shared by both connections.
#[derive(Default)]
pub(crate) struct Memory {
    catalog: Mutex<Option<Arc<Catalog>>>,
    /// By table: the columns that rows filled lately.
    columns: Mutex<[Vec<usize>; Table::ALL.len()]>,
}

impl Memory {
    /// Forgets the catalog: something there is not as it was.
    pub(crate) fn forget(&self) {
        *self.catalog.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Notes what the schema holds now.
    pub(crate) fn note(&self, catalog: Catalog) -> Arc<Catalog> {
        let catalog = Arc::new(catalog);
        *self.catalog.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&catalog));
        catalog
    }

    fn catalog(&self, session: &Session<'_>, link: &mut Link) -> Result<Arc<Catalog>, SinkError> {
        let known = self.catalog.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(catalog) = known {
            return Ok(catalog);
        }
        let found = session.reading(link, |link| schema::look(session, link))?;
        Ok(self.note(found.whole(session.settings)?))
    }

    fn writers(&self) -> Vec<TableWriter> {
        let columns = self.columns.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Table::ALL.into_iter().zip(columns).map(|(table, columns)| TableWriter::new(table, columns)).collect()
    }

    fn learn(&self, writers: &[TableWriter]) {
        *self.columns.lock().unwrap_or_else(PoisonError::into_inner) = std::array::from_fn(|at| writers[at].used());
    }
}

/// Delivers a batch; `report` is told of each run as it becomes durable. An error speaks for all others.
pub(crate) fn deliver<R: Incoming>(
    session: &Session<'_>,
    link: &mut Link,
    memory: &Memory,
    runs: &[R],
    report: &dyn Fn(usize, Report),
) -> Result<(), SinkError> {
    let catalog = memory.catalog(session, link)?;
    let mut pending: Vec<usize> = (0..runs.len()).collect();
    pending.sort_by_key(|at| runs[*at].run_id());
    let held = look_up(session, link, runs, &pending)?;
    let mut batch = Batch {
        session,
        link,
        memory,
        runs,
        report,
        catalog,
        held,
        pending,
        faults: 0,
        races: 0,
        alone: BTreeSet::new(),
        streamed: BTreeSet::new(),
    };
    while !batch.pending.is_empty() {
        (session.check)()?;
        batch.settle_known();
        batch.next()?;
    }
    Ok(())
}

fn look_up<R: Incoming>(
    session: &Session<'_>,
    link: &mut Link,
    runs: &[R],
    wanted: &[usize],
) -> Result<HashMap<RunId, Result<Delivery, SinkError>>, SinkError> {
    let run_ids: Vec<RunId> = wanted.iter().map(|at| runs[*at].run_id()).collect();
    session.reading(link, |link| deliveries::look_up(session, link, &run_ids))
}

/// The report of a run that needs no writing; else what to do.
pub(crate) fn settle(run: &impl Incoming, delivery: Option<&Delivery>) -> Result<Report, Decision> {
    let held = delivery.map(|delivery| &delivery.held);
    match (decide(held, &run.sha256(), &run.rank(), run.supersedes(), run.force()), delivery) {
        (Decision::AlreadyPresent, Some(delivery)) => {
            Ok(Report::done(Status::AlreadyPresent, delivery.receipt.clone()))
        }
        (Decision::Superseded, Some(delivery)) => {
            let message = format!("the database holds a newer revision, {}", delivery.held.sha256);
            Ok(Report { message, ..Report::done(Status::Superseded, Receipt::default()) })
        }
        (decision, _) => Err(decision),
    }
}

/// Whether the run itself is at fault.
enum Fault {
    Run(SinkError),
    Batch(SinkError),
    /// It is no fault: the run must be streamed.
    TooLarge,
}

/// A run, encoded.
struct Encoded {
    at: usize,
    row: Row,
}

struct Batch<'a, R> {
    session: &'a Session<'a>,
    link: &'a mut Link,
    memory: &'a Memory,
    runs: &'a [R],
    report: &'a dyn Fn(usize, Report),
    catalog: Arc<Catalog>,
    held: HashMap<RunId, Result<Delivery, SinkError>>,
    /// Places in `runs`, in the order of their run ids: hosts with the same runs take them in the same order.
    pending: Vec<usize>,
    faults: usize,
    races: usize,
    /// Runs that go by themselves: one of them is at fault, and the server did not say which.
    alone: BTreeSet<usize>,
    /// Runs that turned out too large to be held.
    streamed: BTreeSet<usize>,
}

impl<R: Incoming> Batch<'_, R> {
    fn done(&mut self, at: usize, report: Report) {
        self.pending.retain(|pending| *pending != at);
        (self.report)(at, report);
    }

    fn delivery(&self, at: usize) -> Option<&Delivery> {
        self.held.get(&self.runs[at].run_id()).and_then(|held| held.as_ref().ok())
    }

    /// Reports what is settled by what is there already.
    fn settle_known(&mut self) {
        for at in self.pending.clone() {
            if let Some(Err(error)) = self.held.get(&self.runs[at].run_id()) {
                let report = Report::failed(error);
                self.done(at, report);
            } else if let Ok(report) = settle(&self.runs[at], self.delivery(at)) {
                self.done(at, report);
            }
        }
    }

    /// One transaction.
    fn next(&mut self) -> Result<(), SinkError> {
        match self.pending.first() {
            None => Ok(()),
            Some(first) if self.is_streamed(*first) => self.stream(*first),
            Some(_) => self.group(),
        }
    }

    fn is_streamed(&self, at: usize) -> bool {
        self.runs[at].rank().rows >= STREAMED_ROWS || self.streamed.contains(&at)
    }

    /// Runs that fit into memory together.
    fn group(&mut self) -> Result<(), SinkError> {
        let mut writers = self.memory.writers();
        let mut encoded: Vec<Encoded> = Vec::new();
        let mut run_ids = BTreeSet::new();
        for at in self.pending.clone() {
            let alone = self.alone.contains(&at) || self.faults > FAULTS_MAX;
            if self.is_streamed(at) || !run_ids.insert(self.runs[at].run_id()) || (alone && !encoded.is_empty()) {
                continue;
            }
            (self.session.check)()?;
            let marks: Vec<Mark> = writers.iter().map(TableWriter::mark).collect();
            match self.encode(at, &mut writers) {
                Ok(receipt) => encoded.push(Encoded { at, row: self.row(at, receipt) }),
                Err(Fault::Run(error)) => {
                    // A stream that breaks because the host is stopping says nothing about the run.
                    (self.session.check)()?;
                    writers.iter_mut().zip(marks).for_each(|(writer, mark)| writer.roll_back(mark));
                    self.done(at, Report::failed(&error));
                }
                Err(Fault::TooLarge) => {
                    writers.iter_mut().zip(marks).for_each(|(writer, mark)| writer.roll_back(mark));
                    self.streamed.insert(at);
                }
                Err(Fault::Batch(error)) => return Err(error),
            }
            if alone || writers.iter().map(TableWriter::bytes).sum::<usize>() >= GROUP_BYTES {
                break;
            }
        }
        if encoded.is_empty() {
            return Ok(());
        }
        let result = self.write(&encoded, &mut writers);
        if result.is_ok() {
            self.memory.learn(&writers);
        }
        self.settled(encoded, result)
    }

    fn write(&mut self, encoded: &[Encoded], writers: &mut [TableWriter]) -> Result<(), Failure> {
        let claims: Vec<Row> = encoded.iter().map(|one| one.row.clone()).collect();
        let replaced = self.replaced(encoded);
        let mut transaction = Transaction::begin(self.session, self.link, &claims, &replaced)?;
        for writer in writers {
            for part in writer.take() {
                transaction.copy(writer.table, self.catalog.table(writer.table), part)?;
            }
        }
        transaction.commit()
    }

    /// A large run.
    fn stream(&mut self, at: usize) -> Result<(), SinkError> {
        let mut encoded = vec![Encoded { at, row: self.row(at, Receipt::default()) }];
        let result = match self.opened(at, &mut self.memory.writers()) {
            Ok(streams) => self.write_streamed(&mut encoded[0], streams),
            Err(Fault::Run(error)) => Err(FailureOr::Run(error)),
            Err(Fault::Batch(error)) => return Err(error),
            Err(Fault::TooLarge) => unreachable!("opening a run encodes nothing"),
        };
        match result {
            Ok(()) => self.settled(encoded, Ok(())),
            Err(FailureOr::Transaction(failure)) => self.settled(encoded, Err(failure)),
            Err(FailureOr::Run(error)) => {
                (self.session.check)()?;
                self.done(at, Report::failed(&error));
                Ok(())
            }
        }
    }

    fn write_streamed(&mut self, encoded: &mut Encoded, streams: Vec<(Table, TableStream)>) -> Result<(), FailureOr> {
        let run_id = encoded.row.run_id;
        let replaced = self.replaced(std::slice::from_ref(encoded));
        let mut writers = self.memory.writers();
        let claim = std::slice::from_ref(&encoded.row);
        let mut transaction = Transaction::begin(self.session, self.link, claim, &replaced)?;
        let mut receipt = self.session.receipt();
        for ((table, stream), writer) in streams.into_iter().zip(&mut writers) {
            let known = self.catalog.table(table);
            let mut open: Option<Open> = None;
            writer.begin(encoded.at, run_id, &stream.schema(), known).map_err(FailureOr::Run)?;
            for batch in stream {
                (self.session.check)().map_err(Failure::Batch)?;
                writer
                    .batch(run_id, &batch.map_err(|error| broken(run_id, table, &error))?, known)
                    .map_err(FailureOr::Run)?;
                if writer.bytes() >= STREAMED_BYTES {
                    send(&mut transaction, writer, known, &mut open)?;
                }
            }
            send(&mut transaction, writer, known, &mut open)?;
            if let Some(open) = open {
                transaction.finish(open)?;
            }
            add(&mut receipt, table, writer.end());
        }
        encoded.row.receipt = receipt;
        transaction.note(&encoded.row)?;
        transaction.commit()?;
        self.memory.learn(&writers);
        Ok(())
    }

    fn row(&self, at: usize, receipt: Receipt) -> Row {
        let run = &self.runs[at];
        let before = self.delivery(at).map(|delivery| &delivery.held);
        Row { run_id: run.run_id(), held: Held::new(run.sha256(), run.rank(), run.supersedes(), before), receipt }
    }

    /// The revisions that these runs replace.
    fn replaced(&self, encoded: &[Encoded]) -> Vec<Row> {
        let replaced = |one: &Encoded| {
            let delivery = self.delivery(one.at)?;
            Some(Row { run_id: one.row.run_id, held: delivery.held.clone(), receipt: Receipt::default() })
        };
        encoded.iter().filter_map(replaced).collect()
    }

    /// Opens a run's tables, and sees to it that the schema has room for them.
    fn opened(&mut self, at: usize, writers: &mut [TableWriter]) -> Result<Vec<(Table, TableStream)>, Fault> {
        let streams = open_tables(&self.runs[at]).map_err(Fault::Run)?;
        if self.lacks(&streams, writers) {
            self.make_room().map_err(Fault::Batch)?;
        }
        Ok(streams)
    }

    /// Whether the schema may need a change.
    fn lacks(&self, streams: &[(Table, TableStream)], writers: &[TableWriter]) -> bool {
        let settings = self.session.settings;
        streams.iter().zip(writers).any(|((table, stream), writer)| {
            let known = self.catalog.table(*table);
            let schema = stream.schema();
            let unknown = || schema.fields().iter().any(|field| known.column(field.name()).is_none());
            let may_grow =
                settings.schema_policy != SchemaPolicy::Ignore && known.columns().len() < settings.columns_max;
            !known.exists() || (may_grow && !writer.knows(&schema, known.columns().len()) && unknown())
        })
    }

    /// Changes the schema once, for all runs that are still to be written.
    fn make_room(&mut self) -> Result<(), SinkError> {
        let mut all: Vec<Wanted> = Vec::new();
        for at in &self.pending {
            (self.session.check)()?;
            // A run that cannot be opened, or has a column of no canonical type, is reported when its turn comes.
            if let Ok(streams) = open_tables(&self.runs[*at])
                && let wanted = wanted(&streams)
                && schema::planner(self.session.settings).plan(&mut (*self.catalog).clone(), &wanted).is_ok()
            {
                all.extend(wanted.into_iter().filter(|wanted| !all.contains(wanted)).collect::<Vec<_>>());
            }
        }
        let found = schema::ensure(self.session, self.link, &all)?;
        self.catalog = self.memory.note(found.whole(self.session.settings)?);
        Ok(())
    }

    fn encode(&mut self, at: usize, writers: &mut [TableWriter]) -> Result<Receipt, Fault> {
        let streams = self.opened(at, writers)?;
        let run_id = self.runs[at].run_id();
        let mut receipt = self.session.receipt();
        for ((table, stream), writer) in streams.into_iter().zip(writers) {
            let known = self.catalog.table(table);
            let before = writer.bytes();
            writer.begin(at, run_id, &stream.schema(), known).map_err(Fault::Run)?;
            for batch in stream {
                let batch = batch.map_err(|error| Fault::Run(unreadable(run_id, table, &error)))?;
                writer.batch(run_id, &batch, known).map_err(Fault::Run)?;
                if writer.bytes() - before > RUN_BYTES_MAX {
                    return Err(Fault::TooLarge);
                }
            }
            add(&mut receipt, table, writer.end());
        }
        Ok(receipt)
    }

    /// Reports what came of a transaction, or prepares the next try.
    fn settled(&mut self, encoded: Vec<Encoded>, result: Result<(), Failure>) -> Result<(), SinkError> {
        match result {
            Ok(()) => self.committed(encoded),
            Err(Failure::Batch(error)) => {
                if error.status() == Status::Schema {
                    self.memory.forget();
                }
                return Err(error);
            }
            Err(Failure::Raced) => {
                self.races += 1;
                if self.races > RACES_MAX {
                    return Err(SinkError::transient(format!(
                        "{}: other hosts deliver the same runs",
                        self.link.place
                    )));
                }
                let wanted: Vec<usize> = encoded.iter().map(|one| one.at).collect();
                let found = look_up(self.session, self.link, self.runs, &wanted)?;
                for at in wanted {
                    self.held.remove(&self.runs[at].run_id());
                }
                self.held.extend(found);
            }
            Err(Failure::Data(fault)) => self.refused(&encoded, &fault)?,
            Err(Failure::Unknown(error)) => return self.look_after(encoded, error),
        }
        Ok(())
    }

    fn committed(&mut self, encoded: Vec<Encoded>) {
        litmus_core::failpoint("between_commit_and_report");
        for Encoded { at, row } in encoded {
            let delivery =
                Delivery { held: row.held, receipt: Receipt { grade: None, location: None, ..row.receipt.clone() } };
            self.held.insert(row.run_id, Ok(delivery));
            self.done(at, Report::done(Status::Delivered, row.receipt));
        }
    }

    /// The server refused values: the run at fault is reported, and the others are tried again.
    fn refused(&mut self, encoded: &[Encoded], fault: &DataFault) -> Result<(), SinkError> {
        let at = match (fault.at, encoded) {
            (Some((at, ..)), _) => at,
            (None, [one]) => one.at,
            (None, many) => {
                self.alone.extend(many.iter().map(|one| one.at));
                return Ok(());
            }
        };
        self.faults += 1;
        let error = fault::describe(self.session, self.link, &self.catalog, &self.runs[at], fault);
        (self.session.check)()?;
        self.done(at, Report::failed(&error));
        Ok(())
    }

    /// The answer to COMMIT was lost. Before anything is sent again, a fresh connection is asked what is there.
    fn look_after(&mut self, encoded: Vec<Encoded>, error: SinkError) -> Result<(), SinkError> {
        let unknown = |why: &dyn std::fmt::Display| {
            if is_stop(&error) {
                return SinkError::cancelled();
            }
            SinkError::transient(format!("{error}; whether it was committed is not known: {why}"))
        };
        let (session, place) = (self.session, self.link.place.clone());
        *self.link = Link::open(session.runtime, session.settings, session.check).map_err(|why| unknown(&why))?;
        let wanted: Vec<usize> = encoded.iter().map(|one| one.at).collect();
        let found = look_up(session, self.link, self.runs, &wanted).map_err(|why| unknown(&why))?;
        let there = |one: &Encoded| {
            let held = found.get(&one.row.run_id).and_then(|held| held.as_ref().ok());
            held.is_some_and(|delivery| delivery.held.sha256 == one.row.held.sha256)
        };
        // One transaction: all or none.
        if encoded.iter().all(there) {
            self.committed(encoded);
            return Ok(());
        }
        Err(unknown(&format!("{place} does not have it now, and it is tried again")))
    }
}

/// A failure of the transaction, or of the run that is streamed into it.
enum FailureOr {
    Transaction(Failure),
    Run(SinkError),
}

impl From<Failure> for FailureOr {
    fn from(failure: Failure) -> Self {
        Self::Transaction(failure)
    }
}

fn unreadable(run_id: RunId, table: Table, error: &dyn std::fmt::Display) -> SinkError {
    SinkError::data(format!("run {run_id}, table {table}: cannot be read: {error}"))
}

fn broken(run_id: RunId, table: Table, error: &dyn std::fmt::Display) -> FailureOr {
    FailureOr::Run(unreadable(run_id, table, error))
}

/// Hands over what a writer has gathered; a COPY goes on as long as its columns do.
fn send(
    transaction: &mut Transaction<'_>,
    writer: &mut TableWriter,
    known: &litmus_sql::KnownTable,
    open: &mut Option<Open>,
) -> Result<(), Failure> {
    for mut part in writer.take() {
        let bytes = std::mem::take(&mut part.bytes);
        match open {
            Some(under_way) if under_way.part.columns == part.columns => under_way.part.append(&part),
            _ => {
                if let Some(finished) = open.take() {
                    transaction.finish(finished)?;
                }
                *open = Some(transaction.open_copy(writer.table, known, part)?);
            }
        }
        if let Some(open) = open {
            transaction.send(open, bytes)?;
        }
    }
    Ok(())
}

/// Adds what was written of a table.
fn add(receipt: &mut Receipt, table: Table, written: Written) {
    receipt.tables.insert(table.name().to_owned(), written.digest);
    receipt.extra.extend(written.extra.into_iter().map(|(column, cells)| (format!("{table}.{column}"), cells)));
    if written.replaced > 0 {
        *receipt.conversions.entry(NUL_TO_REPLACEMENT.to_owned()).or_default() += written.replaced;
    }
}

impl Session<'_> {
    /// A receipt to be filled.
    fn receipt(&self) -> Receipt {
        let location = Some(self.settings.destination_id());
        Receipt { grade: Some(Grade::Committed), location, ..Receipt::default() }
    }
}
