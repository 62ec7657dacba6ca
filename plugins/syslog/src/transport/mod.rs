//! A connection to the receiver, from its first message to what its end proves.
//!
//! - `connect`: names, addresses and sockets, within a time and never deaf to a cancel.
//! - `stream`: framing, buffering, and the close that proves how much was read.
//! - `wire`: what streams of either kind can do.
//! - `tls`: TLS on a stream.
//! - `trouble`: what went wrong with a certificate, and what to do about it.
//! - `datagram`: UDP and datagram sockets of this machine.

mod connect;
mod datagram;
mod stream;
mod tls;
mod trouble;
mod wire;

use std::sync::Arc;
use std::time::{Duration, Instant};

use litmus_core::{Grade, SinkError};
use rustls::ClientConfig;

use crate::address::Address;
use crate::config::Settings;
use datagram::Datagrams;
use stream::Stream;

/// How long any one call to the kernel may wait before we look whether to stop.
const POLL: Duration = Duration::from_millis(100);

/// How long a caller is willing to wait.
pub(crate) struct Patience<'a> {
    is_cancelled: &'a dyn Fn() -> bool,
    until: Option<Instant>,
}

impl<'a> Patience<'a> {
    pub(crate) fn new(is_cancelled: &'a dyn Fn() -> bool, remaining: Option<Duration>) -> Self {
        Self { is_cancelled, until: remaining.and_then(|remaining| Instant::now().checked_add(remaining)) }
    }

    /// An error once it is over. Running out of time says nothing about a run: the receiver was slow.
    pub(crate) fn check(&self) -> Result<(), SinkError> {
        if (self.is_cancelled)() {
            return Err(SinkError::cancelled());
        }
        match self.until {
            Some(until) if Instant::now() >= until => Err(SinkError::transient(
                "the receiver did not take everything in the time allowed\nhint: raise the sink's `deadline`, lower `batch_runs_max`, or raise messages_per_second_max if it is set",
            )),
            _ => Ok(()),
        }
    }
}

/// A receiver's TLS configuration; read from its files when the sink connects, so that a renewed certificate is found.
pub(crate) fn tls_config(settings: &Settings) -> Result<Option<Arc<ClientConfig>>, SinkError> {
    match &settings.address {
        Address::Tls(_) => tls::config(&settings.tls).map(Some),
        _ => Ok(None),
    }
}

/// A connection.
pub(crate) struct Connection {
    kind: Kind,
    pace: Option<Pace>,
}

enum Kind {
    Stream(Stream),
    Datagrams(Datagrams),
}

impl Connection {
    pub(crate) fn open(
        settings: &Settings,
        tls: Option<&Arc<ClientConfig>>,
        patience: &Patience<'_>,
    ) -> Result<Self, SinkError> {
        let kind = if settings.address.is_datagram() {
            Kind::Datagrams(Datagrams::open(settings, patience)?)
        } else {
            Kind::Stream(Stream::open(settings, tls, patience)?)
        };
        Ok(Self { kind, pace: settings.messages_per_second_max.map(Pace::new) })
    }

    /// Sends one message. It may still lie in a buffer when this returns.
    pub(crate) fn send(&mut self, message: &[u8], patience: &Patience<'_>) -> Result<(), SinkError> {
        if let Some(pace) = &mut self.pace {
            pace.wait(patience)?;
        }
        match &mut self.kind {
            Kind::Stream(stream) => stream.send(message, patience),
            Kind::Datagrams(datagrams) => datagrams.send(message, patience),
        }
    }

    /// Sends what is left and ends the connection; the answer is what its end proves of all that was sent over it.
    pub(crate) fn finish(self, patience: &Patience<'_>) -> Result<Grade, SinkError> {
        match self.kind {
            Kind::Stream(stream) => stream.finish(patience),
            Kind::Datagrams(datagrams) => datagrams.finish(),
        }
    }

    /// What a person may want to know of it.
    pub(crate) fn notes(&self) -> Vec<String> {
        match &self.kind {
            Kind::Stream(stream) => stream.notes(),
            Kind::Datagrams(_) => Datagrams::notes(),
        }
    }
}

/// Holds messages back so that no more than so many leave in a second. What a pause left unused is not made up for.
struct Pace {
    interval: Duration,
    due: Instant,
}

/// How far a sender may run ahead of its pace: a sleep is no shorter than this.
const AHEAD: Duration = Duration::from_millis(5);

impl Pace {
    fn new(per_second: u32) -> Self {
        Self { interval: Duration::from_secs(1) / per_second, due: Instant::now() }
    }

    fn wait(&mut self, patience: &Patience<'_>) -> Result<(), SinkError> {
        while let Some(early) = self.due.checked_duration_since(Instant::now()).filter(|early| *early >= AHEAD) {
            patience.check()?;
            std::thread::sleep(early.min(POLL));
        }
        // A sleep may be late by as much.
        let late = Instant::now().checked_sub(AHEAD).filter(|earliest| self.due < *earliest);
        self.due = late.unwrap_or(self.due) + self.interval;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
