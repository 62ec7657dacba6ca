//! The sink: one connection a batch, and reports only for what its end proves.

use std::sync::{Arc, Mutex, PoisonError};

use litmus_core::{Call, Capabilities, CheckAnswer, Grade, Receipt, Report, RetryClass, Run, Sink, SinkError, Status};
use rustls::ClientConfig;

use crate::config::{Config, Settings};
use crate::describe::{Describer, Told};
use crate::transport::{Connection, Patience, tls_config};

/// Bytes of messages after which what was sent is settled, at the end of a run: a connection that is lost later costs no more
/// than about this much to send again.
const SETTLE_BYTES: u64 = 64 << 20;

/// One receiver.
pub(crate) struct SyslogSink {
    settings: Settings,
    /// Read from its files by `connect`.
    tls: Mutex<Option<Arc<ClientConfig>>>,
}

impl Sink for SyslogSink {
    type Config = Config;

    const NAME: &'static str = "syslog";

    const CAPABILITIES: Capabilities = Capabilities {
        dedup: false,
        audit: false,
        moves_file: false,
        dry_run: true,
        grade_max: Grade::Acknowledged,
        max_concurrent_delivers: 1,
        batch_bytes: 16 << 20,
        batch_runs: 500,
    };

    fn configure(config: Config) -> Result<Self, SinkError> {
        Ok(Self { settings: config.try_into()?, tls: Mutex::default() })
    }

    fn destination_id(&self) -> String {
        self.settings.destination_id()
    }

    /// Connects and closes again: trouble with names, certificates and ports shows here, not with runs on the way.
    fn connect(&self, call: &Call<'_>) -> Result<Option<String>, SinkError> {
        let tls = tls_config(&self.settings)?;
        self.tls.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&tls);
        let is_cancelled = || call.is_cancelled();
        let patience = Patience::new(&is_cancelled, call.remaining());
        Connection::open(&self.settings, tls.as_ref(), &patience)?.finish(&patience)?;
        Ok(None)
    }

    fn check(&self, call: &Call<'_>) -> Result<CheckAnswer, SinkError> {
        let tls = tls_config(&self.settings)?;
        let is_cancelled = || call.is_cancelled();
        let patience = Patience::new(&is_cancelled, call.remaining());
        let connection = Connection::open(&self.settings, tls.as_ref(), &patience)?;
        let mut notes = connection.notes();
        notes.push(match connection.finish(&patience)? {
            Grade::Acknowledged => "the receiver closes after us: receipts say acknowledged".into(),
            _ => "receipts say sent: the receiver does not tell how far it read".into(),
        });
        Ok(CheckAnswer { incarnation: None, notes })
    }

    fn deliver(&self, call: &Call<'_>, runs: &[Run<'_>]) -> Result<(), SinkError> {
        if call.dry_run() {
            return self.dry_run(call, runs);
        }
        let is_cancelled = || call.is_cancelled();
        let patience = Patience::new(&is_cancelled, call.remaining());
        let mut describer = Describer::new(&self.settings);
        let mut batch = Batch { sink: self, call, patience, connection: None, bytes: 0, unsettled: Vec::new() };
        for (at, run) in runs.iter().enumerate() {
            batch.patience.check()?;
            batch.run(at, run, &mut describer)?;
            if batch.bytes >= SETTLE_BYTES {
                batch.settle(runs)?;
            }
        }
        batch.settle(runs)
    }
}

/// A batch on its way.
struct Batch<'a, 'call> {
    sink: &'a SyslogSink,
    call: &'a Call<'call>,
    patience: Patience<'a>,
    connection: Option<Connection>,
    bytes: u64,
    /// Runs sent over this connection, by their place in the batch, and how many messages each was.
    unsettled: Vec<(usize, u64)>,
}

impl Batch<'_, '_> {
    /// Sends a run's messages. A run that cannot be read is reported and leaves the others alone; the error is one of the
    /// connection.
    fn run(&mut self, at: usize, run: &Run<'_>, describer: &mut Describer<'_>) -> Result<(), SinkError> {
        let connection = match &mut self.connection {
            Some(connection) => connection,
            none => {
                let tls = self.sink.tls.lock().unwrap_or_else(PoisonError::into_inner).clone();
                none.insert(Connection::open(&self.sink.settings, tls.as_ref(), &self.patience)?)
            }
        };
        let mut connection_lost = false;
        let described = describe(describer, run, |message| {
            self.bytes += message.len() as u64;
            connection.send(message, &self.patience).inspect_err(|_| connection_lost = true)
        });
        match described {
            Ok(messages) => self.unsettled.push((at, messages)),
            Err(error) if connection_lost || error.status().class() != RetryClass::Suspect => return Err(error),
            Err(error) => self.call.report(at, &Report::failed(&error)),
        }
        Ok(())
    }

    /// Ends the connection, and reports what its end proves.
    fn settle(&mut self, runs: &[Run<'_>]) -> Result<(), SinkError> {
        let Some(connection) = self.connection.take() else { return Ok(()) };
        litmus_core::failpoint("before_commit");
        let grade = connection.finish(&self.patience)?;
        litmus_core::failpoint("between_commit_and_report");
        for (at, messages) in self.unsettled.drain(..) {
            let sha256 = runs[at].sha256().to_string();
            let location = format!("{}, {messages} messages, msg_id {}-*", self.sink.destination_id(), &sha256[..16]);
            let receipt = Receipt { grade: Some(grade), location: Some(location), ..Receipt::default() };
            self.call.report(at, &Report::done(Status::Delivered, receipt));
        }
        self.bytes = 0;
        Ok(())
    }
}

impl SyslogSink {
    /// Makes every message and sends none, so that a run that cannot be read shows.
    fn dry_run(&self, call: &Call<'_>, runs: &[Run<'_>]) -> Result<(), SinkError> {
        let mut describer = Describer::new(&self.settings);
        for (at, run) in runs.iter().enumerate() {
            call.check_cancelled()?;
            let report = match describe(&mut describer, run, |_| Ok(())) {
                Ok(_) => Report::done(Status::Delivered, Receipt::default()),
                Err(error) => Report::failed(&error),
            };
            call.report(at, &report);
        }
        Ok(())
    }
}

fn describe(
    describer: &mut Describer<'_>,
    run: &Run<'_>,
    send: impl FnMut(&[u8]) -> Result<(), SinkError>,
) -> Result<u64, SinkError> {
    let open_table = |table| run.open_table(table);
    describer.describe(&Told { summary: run.summary(), supersedes: run.supersedes(), open_table: &open_table }, send)
}
