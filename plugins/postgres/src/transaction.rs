//! One transaction: claim the runs, put away what is superseded, COPY, commit.
//!
//! Invariants: a run's rows in all tables and its row in `litmus_deliveries` are there together or not at all; a claim is
//! held from before the first row until after the last; nothing is reported before the commit is known.

use std::pin::Pin;

use bytes::Bytes;
use futures_util::SinkExt;
use futures_util::future::try_join_all;
use litmus_core::{RunId, SinkError, Status, Table};
use litmus_sql::{Dialect, KnownTable, sql_table};
use tokio_postgres::CopyInSink;
use tokio_postgres::types::Type;

use crate::copy::{HEADER, Part, TRAILER};
use crate::deliveries::{self, Row};
use crate::link::{Link, wait};
use crate::session::Session;
use crate::{error, schema};

/// Bytes handed over at once; the connection's own thread writes them while the next are encoded.
const CHUNK_BYTES: usize = 256 << 10;

/// Why a transaction was not committed. It has been rolled back.
pub(crate) enum Failure {
    /// The server or the host: nothing about the runs.
    Batch(SinkError),
    /// The values of a run.
    Data(DataFault),
    /// Somebody else delivered, or replaced, some of the runs meanwhile.
    Raced,
    /// COMMIT was sent, and the answer never came: it may have been done.
    Unknown(SinkError),
}

/// What the server says is wrong with a row.
pub(crate) struct DataFault {
    /// Without the place.
    pub(crate) why: String,
    /// The run (a number of the caller's) and the row of its table, where the server tells.
    pub(crate) at: Option<(usize, Table, u64)>,
    /// In SQL.
    pub(crate) column: Option<String>,
    pub(crate) constraint: Option<String>,
}

impl From<SinkError> for Failure {
    fn from(error: SinkError) -> Self {
        Self::Batch(error)
    }
}

/// An open transaction; rolled back when dropped.
pub(crate) struct Transaction<'a> {
    session: &'a Session<'a>,
    link: &'a mut Link,
    done: bool,
}

impl<'a> Transaction<'a> {
    /// Begins, claims these runs (in the order of their ids), and deletes the rows they had. `replaced` are the revisions
    /// held now, in the same order.
    pub(crate) fn begin(
        session: &'a Session<'a>,
        link: &'a mut Link,
        claims: &[Row],
        replaced: &[Row],
    ) -> Result<Self, Failure> {
        let mut transaction = Self { session, link, done: false };
        let begin = schema::begin(session.settings);
        transaction.link.execute(session.runtime, session.check, "beginning", &begin)?;
        for row in replaced {
            if !deliveries::delete(session, transaction.link, row.run_id, &row.held)? {
                return Err(Failure::Raced);
            }
        }
        if deliveries::insert(session, transaction.link, claims)?.len() != claims.len() {
            return Err(Failure::Raced);
        }
        let run_ids: Vec<RunId> = claims.iter().map(|row| row.run_id).collect();
        transaction.delete_rows(&run_ids)?;
        if !replaced.is_empty() {
            litmus_core::failpoint("replacing");
        }
        Ok(transaction)
    }

    /// Also where nothing is replaced: rows may be left whose note somebody deleted.
    fn delete_rows(&mut self, run_ids: &[RunId]) -> Result<(), Failure> {
        // Borrowed apart, so that all five go out in one breath, in the order in which everybody takes the tables.
        let ids: Vec<String> = run_ids.iter().map(ToString::to_string).collect();
        let statements = Table::ALL.map(|table| {
            let table = self.session.settings.dialect.table(sql_table(table));
            format!("DELETE FROM {table} WHERE run_id = ANY (($1::text[])::uuid[])")
        });
        let client = &self.link.client;
        let all = async {
            let one = |sql: &'_ String| {
                let (sql, ids) = (sql.clone(), &ids);
                async move { client.execute_typed(&sql, &[(ids, Type::TEXT_ARRAY)]).await }
            };
            try_join_all(statements.iter().map(one)).await
        };
        match wait(self.session.runtime, self.session.check, all) {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(failure)) => Err(Failure::Batch(self.link.failed(&failure, "deleting superseded rows"))),
            Err(stopped) => Err(self.stopped(stopped)),
        }
    }

    /// Sends a part as one COPY.
    pub(crate) fn copy(&mut self, table: Table, known: &KnownTable, mut part: Part) -> Result<(), Failure> {
        let bytes = std::mem::take(&mut part.bytes);
        let mut open = self.open_copy(table, known, part)?;
        self.send(&mut open, bytes)?;
        self.finish(open)
    }

    /// Begins a COPY into the columns of this part, whose own bytes are not sent yet.
    pub(crate) fn open_copy(&mut self, table: Table, known: &KnownTable, part: Part) -> Result<Open, Failure> {
        let sql = format!(
            "COPY {} ({}) FROM STDIN (FORMAT binary)",
            self.session.settings.dialect.table(sql_table(table)),
            part.names(known).join(", ")
        );
        let (client, statements) = self.link.parts();
        let begun = wait(self.session.runtime, self.session.check, async {
            let statement = Link::prepared(client, statements, &sql).await?;
            let mut sink = Box::pin(client.copy_in::<_, Bytes>(&statement).await?);
            sink.feed(Bytes::from_static(HEADER)).await?;
            Ok(sink)
        });
        match begun {
            Ok(Ok(sink)) => Ok(Open { table, part, sink }),
            Ok(Err(failure)) => Err(self.failed(&failure, table, None)),
            Err(stopped) => Err(self.stopped(stopped)),
        }
    }

    /// Sends tuples.
    pub(crate) fn send(&mut self, open: &mut Open, tuples: Vec<u8>) -> Result<(), Failure> {
        let mut tuples = Bytes::from(tuples);
        let sent = wait(self.session.runtime, self.session.check, async {
            while !tuples.is_empty() {
                let chunk = tuples.split_to(tuples.len().min(CHUNK_BYTES));
                open.sink.feed(chunk).await?;
            }
            Ok(())
        });
        match sent {
            Ok(Ok(())) => Ok(()),
            // What is wrong with a row the server says at the end; this is the connection.
            Ok(Err(failure)) => Err(self.failed(&failure, open.table, Some(&open.part))),
            Err(stopped) => Err(self.stopped(stopped)),
        }
    }

    /// Ends a COPY; every row is in then.
    pub(crate) fn finish(&mut self, mut open: Open) -> Result<(), Failure> {
        let finished = wait(self.session.runtime, self.session.check, async {
            open.sink.feed(Bytes::from_static(TRAILER)).await.ok();
            open.sink.as_mut().finish().await
        });
        match finished {
            Ok(Ok(rows)) if rows == open.part.rows => Ok(()),
            Ok(Ok(rows)) => Err(Failure::Batch(SinkError::new(
                Status::Schema,
                format!(
                    "{}: table {}: {} rows were sent and {rows} written\nhint: a trigger or a rule of that table drops rows",
                    self.link.place, open.table, open.part.rows
                ),
            ))),
            Ok(Err(failure)) => Err(self.failed(&failure, open.table, Some(&open.part))),
            Err(stopped) => Err(self.stopped(stopped)),
        }
    }

    /// Writes the row of a run anew, now that its receipt is known.
    pub(crate) fn note(&mut self, row: &Row) -> Result<(), Failure> {
        let gone = deliveries::delete(self.session, self.link, row.run_id, &row.held)?;
        let row = std::slice::from_ref(row);
        if !gone || deliveries::insert(self.session, self.link, row)?.len() != 1 {
            return Err(Failure::Raced);
        }
        Ok(())
    }

    /// Commits.
    pub(crate) fn commit(mut self) -> Result<(), Failure> {
        (self.session.check)()?;
        litmus_core::failpoint("before_commit");
        let answer = wait(self.session.runtime, self.session.check, self.link.client.batch_execute("COMMIT"));
        match answer {
            Ok(Ok(())) => {
                self.done = true;
                Ok(())
            }
            // A deferred constraint: the server has rolled back.
            Ok(Err(failure)) if !error::is_broken(&failure) => {
                if error::is_data(&failure) {
                    return Err(Failure::Data(fault(&failure, None)));
                }
                Err(Failure::Batch(error::of(&failure, &self.link.place, "committing")))
            }
            Ok(Err(failure)) => Err(Failure::Unknown(self.link.failed(&failure, "committing"))),
            // Told to stop while the server was at it.
            Err(stopped) => {
                self.link.spoiled = true;
                Err(Failure::Unknown(stopped))
            }
        }
    }

    fn failed(&mut self, failure: &tokio_postgres::Error, table: Table, part: Option<&Part>) -> Failure {
        if error::is_data(failure) {
            return Failure::Data(fault(failure, part.map(|part| (table, part))));
        }
        Failure::Batch(self.link.failed(failure, &format!("writing the table {}", sql_table(table))))
    }

    fn stopped(&mut self, stopped: SinkError) -> Failure {
        self.link.abandon(self.session.runtime);
        Failure::Batch(stopped)
    }
}

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        if !self.done {
            self.link.roll_back(self.session.runtime);
        }
    }
}

/// A COPY under way.
pub(crate) struct Open {
    table: Table,
    pub(crate) part: Part,
    sink: Pin<Box<CopyInSink<Bytes>>>,
}

fn fault(failure: &tokio_postgres::Error, copied: Option<(Table, &Part)>) -> DataFault {
    let db = failure.as_db_error();
    let at = copied.zip(error::copy_line(failure)).and_then(|((table, part), line)| {
        let (run, row) = part.at_line(line)?;
        Some((run, table, row))
    });
    DataFault {
        why: error::text(failure),
        at,
        column: db.and_then(|db| db.column()).map(str::to_owned).or_else(|| error::copy_column(failure)),
        constraint: db.and_then(|db| db.constraint()).map(str::to_owned),
    }
}
