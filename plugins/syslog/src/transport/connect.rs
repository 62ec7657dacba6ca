//! Names, addresses and sockets.

use std::io;
use std::net::{SocketAddr, TcpStream, ToSocketAddrs, UdpSocket};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use litmus_core::SinkError;

use super::{POLL, Patience};
use crate::address::{Address, Host};

/// Connects over TCP, to each address of the host in turn.
pub(super) fn tcp(
    host: &Host,
    address: &Address,
    timeout: Duration,
    patience: &Patience<'_>,
) -> Result<TcpStream, SinkError> {
    let name = (host.name.clone(), host.port);
    let socket = in_time(address, timeout, patience, move || {
        let until = Instant::now() + timeout;
        let addresses = resolve(&name)?;
        let mut untried = addresses.len() as u32;
        each(addresses, |to| {
            // One that swallows everything leaves the others their share.
            let left = until.saturating_duration_since(Instant::now()) / untried;
            untried -= 1;
            TcpStream::connect_timeout(&to, left.max(Duration::from_millis(1)))
        })
    })?;
    // Messages are gathered before they are written; nothing is gained by the kernel waiting for more.
    socket.set_nodelay(true).map_err(|error| failed(address, error))?;
    Ok(socket)
}

/// A UDP socket that sends to the host and hears when it refuses.
pub(super) fn udp(
    host: &Host,
    address: &Address,
    timeout: Duration,
    patience: &Patience<'_>,
) -> Result<UdpSocket, SinkError> {
    let name = (host.name.clone(), host.port);
    in_time(address, timeout, patience, move || {
        each(resolve(&name)?, |to| {
            let socket = UdpSocket::bind(if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" })?;
            socket.connect(to)?;
            Ok(socket)
        })
    })
}

/// Connects to a stream socket of this machine.
pub(super) fn unix(
    path: &Path,
    address: &Address,
    timeout: Duration,
    patience: &Patience<'_>,
) -> Result<UnixStream, SinkError> {
    let path = path.to_path_buf();
    in_time(address, timeout, patience, move || UnixStream::connect(path))
}

fn resolve((name, port): &(String, u16)) -> io::Result<Vec<SocketAddr>> {
    let addresses: Vec<_> = (name.as_str(), *port).to_socket_addrs()?.collect();
    if addresses.is_empty() {
        Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address"))
    } else {
        Ok(addresses)
    }
}

/// The first that works; the error of the last that does not.
fn each<T>(addresses: Vec<SocketAddr>, mut connect: impl FnMut(SocketAddr) -> io::Result<T>) -> io::Result<T> {
    let mut outcome = Err(io::Error::from(io::ErrorKind::NotFound));
    for address in addresses {
        outcome = connect(address);
        if outcome.is_ok() {
            break;
        }
    }
    outcome
}

/// Does what blocks on a thread of its own: neither a name server nor a full backlog can be asked to hurry. A thread that is
/// not waited for any longer ends when the kernel lets it.
fn in_time<T: Send + 'static>(
    address: &Address,
    timeout: Duration,
    patience: &Patience<'_>,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, SinkError> {
    let (answer, answered) = sync_channel(1);
    let until = Instant::now() + timeout;
    thread::Builder::new()
        .name("syslog-connect".into())
        .spawn(move || answer.send(work()))
        .map_err(|error| failed(address, error))?;
    loop {
        patience.check()?;
        let left = until.saturating_duration_since(Instant::now());
        match answered.recv_timeout(left.min(POLL)) {
            Ok(outcome) => return outcome.map_err(|error| failed(address, error)),
            Err(RecvTimeoutError::Timeout) if !left.is_zero() => (),
            Err(_) => return Err(failed(address, io::ErrorKind::TimedOut.into())),
        }
    }
}

/// The error of a socket of this machine that is of the other kind: it stays so until the configuration is another.
pub(super) fn other_kind(address: &Address, error: &io::Error) -> Option<SinkError> {
    const EPROTOTYPE: i32 = 91;
    let (path, is, scheme) = match address {
        Address::UnixDatagram(path) => (path, "stream", "unix+stream"),
        Address::UnixStream(path) => (path, "datagram", "unix"),
        _ => return None,
    };
    (error.raw_os_error() == Some(EPROTOTYPE)).then(|| {
        let path = path.display();
        SinkError::config(format!("{address}: it is a {is} socket\nhint: address = \"{scheme}://{path}\""))
    })
}

fn failed(address: &Address, error: io::Error) -> SinkError {
    if let Some(error) = other_kind(address, &error) {
        return error;
    }
    let hint = match error.kind() {
        io::ErrorKind::ConnectionRefused => "nothing listens there: is the receiver running, and is this its port?",
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => {
            "does a firewall drop it? connect_timeout_ms says how long to wait"
        }
        io::ErrorKind::NotFound if matches!(address, Address::UnixStream(_) | Address::UnixDatagram(_)) => {
            "there is no such socket: is the receiver running?"
        }
        io::ErrorKind::PermissionDenied => "the host's user may not write to this socket",
        _ => "check `address`, and that this machine reaches it",
    };
    // The hint is the last line, so the cause goes before it.
    SinkError::transient(format!("cannot connect to {address}: {error}\nhint: {hint}"))
}
