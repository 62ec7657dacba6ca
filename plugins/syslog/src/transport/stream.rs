//! Messages on a stream: RFC 6587 over TCP or a Unix socket, RFC 5425 over TLS.
//!
//! Syslog has no answer, so what a sender can know is what the transport tells it. At the end of a batch the sending side is
//! closed, and the receiver's close is waited for. A receiver closes when it has read our end, which comes after the last
//! message: that is *acknowledged*. (A receiver that dies with bytes unread makes the kernel reset the connection, and that is
//! an error here.) But a receiver may also have closed before anything of ours reached it, and far away that looks alike: so
//! its kernel must have acknowledged our end by then, which is what a receiver that read it does no later than with its own. A
//! receiver that does not close in time proves nothing: *sent*, provided that its kernel took everything. Nothing here proves
//! that a message was stored.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use litmus_core::{Grade, SinkError};
use rustls::ClientConfig;

use super::wire::{Socket, Wire, is_idle};
use super::{Patience, connect, tls, trouble};
use crate::address::Address;
use crate::config::{Framing, Settings};
use crate::text::int;

/// Gathered before it is written: some hundred messages a system call.
const BUFFER_BYTES: usize = 256 << 10;

/// A stream connection.
pub(super) struct Stream {
    wire: Box<dyn Wire>,
    address: Address,
    framing: Framing,
    buffer: Vec<u8>,
    stall_timeout: Duration,
    close_timeout: Duration,
    /// Of a loss that TLS did not explain.
    hint: &'static str,
}

/// Receivers with GnuTLS, rsyslog's among them, refuse a client without a word: they reset the connection.
const REFUSED_CLIENT: &str = "it ended soon after TLS was agreed: it was restarted, and everything is sent again, or it wants a client certificate: then set client_cert_file and client_key_file";
const REFUSED_CERTIFICATE: &str = "it ended soon after TLS was agreed: it was restarted, and everything is sent again, or it does not accept the certificate in client_cert_file: then its log says why";
const CLOSED_EARLY: &str = "everything is sent again; if it stays so, the receiver turns this machine away: by an access list, or a limit of connections";
const SENT_AGAIN: &str = "what was sent over it and not acknowledged is sent again, with the same msg_id";

impl Stream {
    pub(super) fn open(
        settings: &Settings,
        tls: Option<&Arc<ClientConfig>>,
        patience: &Patience<'_>,
    ) -> Result<Self, SinkError> {
        let Settings { address, connect_timeout, .. } = settings;
        let wire: Box<dyn Wire> = match (address, tls) {
            (Address::UnixStream(path), _) => ready(connect::unix(path, address, *connect_timeout, patience)?)?,
            (Address::Tcp(host), _) => ready(connect::tcp(host, address, *connect_timeout, patience)?)?,
            (Address::Tls(host), Some(config)) => {
                let until = Instant::now() + *connect_timeout;
                let socket = connect::tcp(host, address, *connect_timeout, patience)?;
                socket.set_poll().map_err(|error| lost(address, &error, SENT_AGAIN))?;
                Box::new(tls::Tls::handshake(socket, config, host, settings, until, patience)?)
            }
            (Address::Tls(_), None) => {
                return Err(SinkError::config(format!("{address}: TLS was not prepared before it was used")));
            }
            (Address::Udp(_) | Address::UnixDatagram(_), _) => {
                return Err(SinkError::config(format!("{address} is no stream")));
            }
        };
        Ok(Self::over(wire, settings))
    }

    pub(super) fn over(wire: Box<dyn Wire>, settings: &Settings) -> Self {
        let address = &settings.address;
        Self {
            wire,
            address: address.clone(),
            framing: settings.framing,
            buffer: Vec::with_capacity(BUFFER_BYTES + settings.message_bytes_max + 16),
            stall_timeout: settings.stall_timeout,
            close_timeout: settings.close_timeout,
            hint: match (address, &settings.tls.client) {
                (Address::Tls(_), None) => REFUSED_CLIENT,
                (Address::Tls(_), Some(_)) => REFUSED_CERTIFICATE,
                _ => SENT_AGAIN,
            },
        }
    }

    pub(super) fn send(&mut self, message: &[u8], patience: &Patience<'_>) -> Result<(), SinkError> {
        match self.framing {
            Framing::OctetCounting => {
                int(&mut self.buffer, message.len() as i64);
                self.buffer.push(b' ');
                self.buffer.extend_from_slice(message);
            }
            // No message has a line feed in it: `text` made each of them visible.
            Framing::Newline => {
                self.buffer.extend_from_slice(message);
                self.buffer.push(b'\n');
            }
        }
        if self.buffer.len() < BUFFER_BYTES {
            return Ok(());
        }
        self.flush(patience)?;
        // Whoever took so much did not refuse us at the door.
        self.hint = SENT_AGAIN;
        Ok(())
    }

    fn flush(&mut self, patience: &Patience<'_>) -> Result<(), SinkError> {
        let Self { wire, buffer, .. } = self;
        let mut written = 0;
        let outcome = push(self.stall_timeout, patience, || {
            if written < buffer.len() {
                written += wire.write(&buffer[written..])?;
                return Ok(false);
            }
            wire.flush()
        });
        self.buffer.clear();
        outcome.map_err(|stopped| self.explain(stopped))
    }

    pub(super) fn finish(mut self, patience: &Patience<'_>) -> Result<Grade, SinkError> {
        self.flush(patience)?;
        match self.wire.has_ended() {
            Ok(false) => (),
            Ok(true) => return Err(closed_early(&self.address, self.hint)),
            Err(error) => return Err(lost_by(&self.address, &error, self.hint)),
        }
        let (wire, address, hint) = (&mut self.wire, &self.address, self.hint);
        push(self.stall_timeout, patience, || wire.half_close())
            .map_err(|stopped| stopped.into_error(address, hint))?;
        if self.close_timeout.is_zero() {
            return Ok(Grade::Sent);
        }
        let started = Instant::now();
        let (mut outstanding, mut progress) = (usize::MAX, started);
        loop {
            patience.check()?;
            let has_ended = match wire.read_to_end() {
                Ok(has_ended) => has_ended,
                Err(error) if is_idle(&error) => false,
                Err(error) => return Err(lost_by(address, &error, hint)),
            };
            let now = wire.unacknowledged().map_err(|error| lost_by(address, &error, hint))?;
            if has_ended {
                // It closed before our end was there: its end says nothing of what was still on the way.
                return match now {
                    0 => Ok(Grade::Acknowledged),
                    _ => Err(closed_early(address, hint)),
                };
            }
            if now < outstanding {
                (outstanding, progress) = (now, Instant::now());
            }
            if now == 0 && started.elapsed() >= self.close_timeout {
                return Ok(Grade::Sent);
            }
            // As long as its machine did not take everything, it is the receiver that is waited for, and not its close.
            if now > 0 && progress.elapsed() >= self.stall_timeout.max(self.close_timeout) {
                return Err(Stopped::Stalled(progress.elapsed()).into_error(address, hint));
            }
        }
    }

    pub(super) fn notes(&self) -> Vec<String> {
        self.wire.notes()
    }

    /// A receiver that refuses us often says why before it closes, and we learn of the close first.
    fn explain(&mut self, stopped: Stopped) -> SinkError {
        match stopped {
            Stopped::Lost(error) => match self.wire.has_ended() {
                Err(why) if trouble::of(&why).is_some() => lost_by(&self.address, &why, self.hint),
                _ => lost_by(&self.address, &error, self.hint),
            },
            other => other.into_error(&self.address, self.hint),
        }
    }
}

fn ready(socket: impl Socket + 'static) -> Result<Box<dyn Wire>, SinkError> {
    socket.set_poll().map_err(|error| SinkError::transient("cannot set a socket's timeout").with_source(error))?;
    Ok(Box::new(socket))
}

/// Why a step towards the kernel did not come to its end.
enum Stopped {
    Impatient(SinkError),
    Stalled(Duration),
    Lost(io::Error),
}

impl Stopped {
    fn into_error(self, address: &Address, hint: &str) -> SinkError {
        match self {
            Self::Impatient(error) => error,
            Self::Stalled(time) => SinkError::transient(format!(
                "{address}: the receiver took nothing for {:.1} s\nhint: it hangs, or its disk is full; stall_timeout_ms says how long to wait",
                time.as_secs_f64()
            )),
            Self::Lost(error) => lost_by(address, &error, hint),
        }
    }
}

/// Repeats a step until it is done, as long as there is progress.
fn push(
    stall_timeout: Duration,
    patience: &Patience<'_>,
    mut step: impl FnMut() -> io::Result<bool>,
) -> Result<(), Stopped> {
    let mut progress = Instant::now();
    loop {
        patience.check().map_err(Stopped::Impatient)?;
        match step() {
            Ok(true) => return Ok(()),
            Ok(false) => progress = Instant::now(),
            Err(error) if is_idle(&error) => {
                if progress.elapsed() >= stall_timeout {
                    return Err(Stopped::Stalled(stall_timeout));
                }
            }
            Err(error) => return Err(Stopped::Lost(error)),
        }
    }
}

/// The connection is gone; TLS may know why.
fn lost_by(address: &Address, error: &io::Error, hint: &str) -> SinkError {
    match trouble::of(error) {
        Some(trouble) => trouble.at(address),
        None => lost(address, error, hint),
    }
}

fn closed_early(address: &Address, hint: &str) -> SinkError {
    let hint = if hint == SENT_AGAIN { CLOSED_EARLY } else { hint };
    lost(address, &"the receiver closed it before we did", hint)
}

fn lost(address: &Address, why: &dyn std::fmt::Display, hint: &str) -> SinkError {
    SinkError::transient(format!("{address}: the connection was lost: {why}\nhint: {hint}"))
}
