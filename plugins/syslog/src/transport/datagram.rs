//! Datagrams: RFC 5426 over UDP, and `/dev/log`. Whoever sends them learns nothing but that nobody listens, and that only
//! sometimes: *sent* is all that can be said.

use std::io;
use std::net::UdpSocket;
use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

use litmus_core::{Grade, SinkError};

use super::wire::is_idle;
use super::{POLL, Patience, connect};
use crate::address::Address;
use crate::config::Settings;

/// How long a refusal may take to come back; one from another network is not waited for.
const REFUSAL: Duration = Duration::from_millis(20);
/// A full queue at a Unix socket is looked at again after this.
const QUEUE_FULL: Duration = Duration::from_millis(5);

/// A socket that is connected to one receiver.
pub(super) struct Datagrams {
    socket: Socket,
    address: Address,
    stall_timeout: Duration,
}

enum Socket {
    Udp(UdpSocket),
    Unix(UnixDatagram),
}

impl Datagrams {
    pub(super) fn open(settings: &Settings, patience: &Patience<'_>) -> Result<Self, SinkError> {
        let Settings { address, connect_timeout, stall_timeout, .. } = settings;
        let failed = |error: &io::Error| {
            if let Some(error) = connect::other_kind(address, error) {
                return error;
            }
            let hint = match error.kind() {
                io::ErrorKind::PermissionDenied => "the host's user may not write to this socket",
                _ => "is the receiver running?",
            };
            SinkError::transient(format!("cannot send to {address}: {error}\nhint: {hint}"))
        };
        let socket = match address {
            Address::Udp(host) => Socket::Udp(connect::udp(host, address, *connect_timeout, patience)?),
            Address::UnixDatagram(path) => {
                let connect = || {
                    let socket = UnixDatagram::unbound()?;
                    socket.connect(path)?;
                    Ok(socket)
                };
                Socket::Unix(connect().map_err(|error| failed(&error))?)
            }
            _ => return Err(SinkError::config(format!("{address} is no datagram socket"))),
        };
        let timeout = match &socket {
            Socket::Udp(socket) => socket.set_write_timeout(Some(POLL)),
            Socket::Unix(socket) => socket.set_write_timeout(Some(POLL)),
        };
        timeout.map_err(|error| failed(&error))?;
        Ok(Self { socket, address: address.clone(), stall_timeout: *stall_timeout })
    }

    pub(super) fn send(&mut self, message: &[u8], patience: &Patience<'_>) -> Result<(), SinkError> {
        /// The kernel has no room for it now.
        const ENOBUFS: i32 = 105;
        const EMSGSIZE: i32 = 90;
        let started = Instant::now();
        loop {
            patience.check()?;
            let sent = match &self.socket {
                Socket::Udp(socket) => socket.send(message),
                Socket::Unix(socket) => socket.send(message),
            };
            match sent {
                Ok(_) => return Ok(()),
                Err(error) if error.raw_os_error() == Some(EMSGSIZE) => {
                    return Err(SinkError::config(format!(
                        "{}: a message of {} bytes is too long for it\nhint: lower max_message_bytes",
                        self.address,
                        message.len()
                    )));
                }
                Err(error) if is_idle(&error) || error.raw_os_error() == Some(ENOBUFS) => {
                    if started.elapsed() >= self.stall_timeout {
                        return Err(SinkError::transient(format!(
                            "{}: the receiver took nothing for {:.1} s\nhint: it hangs, or its disk is full",
                            self.address,
                            self.stall_timeout.as_secs_f64()
                        )));
                    }
                    std::thread::sleep(QUEUE_FULL);
                }
                Err(error) => return Err(self.gone(&error)),
            }
        }
    }

    /// Waits a little for a refusal of the last ones.
    pub(super) fn finish(self) -> Result<Grade, SinkError> {
        if let Socket::Udp(socket) = &self.socket {
            std::thread::sleep(REFUSAL);
            match socket.take_error() {
                Ok(Some(error)) | Err(error) => return Err(self.gone(&error)),
                Ok(None) => (),
            }
        }
        Ok(Grade::Sent)
    }

    pub(super) fn notes() -> Vec<String> {
        vec!["datagrams: whether anybody reads them cannot be told".into()]
    }

    fn gone(&self, error: &io::Error) -> SinkError {
        SinkError::transient(format!("{}: {error}\nhint: is the receiver running, and is this its port?", self.address))
    }
}
