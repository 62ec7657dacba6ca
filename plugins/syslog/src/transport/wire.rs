//! What a stream can do, TLS or not. Each call to the kernel returns within [`POLL`], with `WouldBlock` where nothing happened.

use std::ffi::c_int;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;

use super::POLL;
use crate::text::readable;

/// A stream.
pub(super) trait Wire: Send {
    /// Hands over some bytes; 0 where only what was handed over before made progress.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize>;

    /// Pushes what it holds back towards the kernel; whether the kernel has all of it.
    fn flush(&mut self) -> io::Result<bool>;

    /// Says that nothing more comes; whether the kernel has that, too.
    fn half_close(&mut self) -> io::Result<bool>;

    /// Looks for the end; `true` there. Receivers of syslog have nothing to say, but TLS does: who says more is none.
    fn read_to_end(&mut self) -> io::Result<bool>;

    /// How many bytes the other machine has not acknowledged, our end among them. 0 where there is no other machine.
    fn unacknowledged(&self) -> io::Result<usize>;

    /// Whether the receiver ended the connection already.
    fn has_ended(&mut self) -> io::Result<bool>;

    /// What a person may want to know of it.
    fn notes(&self) -> Vec<String> {
        Vec::new()
    }
}

/// A socket that a wire may lie on.
pub(super) trait Socket: Read + Write + Send {
    /// Whether a call returns at once.
    fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()>;
    /// Sets how long a call waits.
    fn set_poll(&self) -> io::Result<()>;
    /// Ends the sending side.
    fn end_sending(&self) -> io::Result<()>;
    /// See [`Wire::unacknowledged`].
    fn unacknowledged(&self) -> io::Result<usize>;
}

/// What a TCP socket holds that the other side's kernel has not acknowledged.
fn outstanding(socket: &TcpStream) -> io::Result<usize> {
    /// `SIOCOUTQ` of linux/sockios.h.
    const SIOCOUTQ: rustix::ioctl::Opcode = 0x5411;
    // SAFETY: this ioctl writes one int and nothing else.
    let bytes = unsafe { rustix::ioctl::ioctl(socket, rustix::ioctl::Getter::<SIOCOUTQ, c_int>::new()) }?;
    Ok(usize::try_from(bytes).unwrap_or(0))
}

macro_rules! socket {
    ($socket:ty, $unacknowledged:expr) => {
        impl Socket for $socket {
            fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()> {
                <$socket>::set_nonblocking(self, nonblocking)
            }

            fn set_poll(&self) -> io::Result<()> {
                self.set_read_timeout(Some(POLL))?;
                self.set_write_timeout(Some(POLL))
            }

            fn end_sending(&self) -> io::Result<()> {
                self.shutdown(Shutdown::Write)
            }

            fn unacknowledged(&self) -> io::Result<usize> {
                let unacknowledged: fn(&Self) -> io::Result<usize> = $unacknowledged;
                unacknowledged(self)
            }
        }
    };
}

socket!(TcpStream, outstanding);
// Its other end is here: what it did not read when it closes makes the kernel reset the connection.
socket!(UnixStream, |_| Ok(0));

/// What somebody said that is no receiver of syslog: they say nothing.
#[derive(Debug)]
pub(super) struct Answered(String);

impl Answered {
    /// How much of it is told.
    const BYTES_MAX: usize = 60;

    pub(super) fn error(bytes: &[u8]) -> io::Error {
        let mut text = Vec::new();
        readable(&mut text, &String::from_utf8_lossy(&bytes[..bytes.len().min(Self::BYTES_MAX)]));
        let text = String::from_utf8_lossy(&text).into_owned();
        io::Error::new(io::ErrorKind::InvalidData, Self(text))
    }
}

impl std::fmt::Display for Answered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "it answered \"{}\"", self.0)
    }
}

impl std::error::Error for Answered {}

impl<S: Socket> Wire for S {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Write::write(self, bytes)
    }

    fn flush(&mut self) -> io::Result<bool> {
        Ok(true)
    }

    fn half_close(&mut self) -> io::Result<bool> {
        self.end_sending().map(|()| true)
    }

    fn read_to_end(&mut self) -> io::Result<bool> {
        let mut buffer = [0; 4096];
        match Read::read(self, &mut buffer)? {
            0 => Ok(true),
            read => Err(Answered::error(&buffer[..read])),
        }
    }

    fn unacknowledged(&self) -> io::Result<usize> {
        Socket::unacknowledged(self)
    }

    fn has_ended(&mut self) -> io::Result<bool> {
        at_once(self, Wire::read_to_end)
    }
}

/// Whether the end is there without waiting for it.
pub(super) fn at_once<S: Socket>(socket: &mut S, mut read: impl FnMut(&mut S) -> io::Result<bool>) -> io::Result<bool> {
    socket.set_nonblocking(true)?;
    let ended = loop {
        match read(socket) {
            Ok(false) => (),
            Err(error) if is_idle(&error) => break Ok(false),
            other => break other,
        }
    };
    socket.set_nonblocking(false)?;
    ended
}

/// Whether an error only says that nothing happened within the poll.
pub(super) fn is_idle(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted)
}
