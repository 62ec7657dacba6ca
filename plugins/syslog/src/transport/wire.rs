//! What a stream can do, TLS or not. Each call to the kernel returns within [`POLL`], with `WouldBlock` where nothing happened.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;

use super::POLL;

/// A stream.
pub(super) trait Wire: Send {
    /// Hands over some bytes; 0 where only what was handed over before made progress.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize>;

    /// Pushes what it holds back towards the kernel; whether the kernel has all of it.
    fn flush(&mut self) -> io::Result<bool>;

    /// Says that nothing more comes; whether the kernel has that, too.
    fn half_close(&mut self) -> io::Result<bool>;

    /// Reads something and forgets it; `true` at the end. Receivers of syslog have nothing to say, but TLS does.
    fn read_to_end(&mut self) -> io::Result<bool>;

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
}

macro_rules! socket {
    ($socket:ty) => {
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
        }
    };
}

socket!(TcpStream);
socket!(UnixStream);

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
        Ok(Read::read(self, &mut [0; 4096])? == 0)
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
