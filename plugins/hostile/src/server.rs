//! The server that the sink into a folder asks before it writes a run: one that echoes lines. It exists so that the suite's
//! cases about a backend that is away, slow or silent have a sink to be tried on.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::Mutex;
use std::time::Duration;

use litmus_core::{Call, RunId, SinkError, Status};

use crate::config::{Config, Mutant};

/// How long it waits before it asks whether it is cancelled.
const POLL: Duration = Duration::from_millis(100);
/// How long a connection may take.
const CONNECT_MAX: Duration = Duration::from_secs(1);

/// A connection that is made when it is needed, and again after a fault.
#[derive(Debug, Default)]
pub(crate) struct Server {
    connection: Mutex<Option<TcpStream>>,
    was_away: std::sync::atomic::AtomicBool,
}

impl Server {
    /// Asks about one run; `Ok` once the server has answered well.
    pub(crate) fn ask(&self, config: &Config, call: &Call<'_>, run: Option<RunId>) -> Result<(), SinkError> {
        use std::sync::atomic::Ordering;
        let Some(address) = &config.server else { return Ok(()) };
        let mutant = config.mutant;
        if mutant == Some(Mutant::NeverBack) && self.was_away.load(Ordering::Relaxed) {
            return Err(SinkError::transient("the server was away once"));
        }
        let mut connection = self.connection.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let result = exchange(&mut connection, address, config, call, run);
        match result {
            Err(error) => {
                *connection = None;
                self.was_away.store(true, Ordering::Relaxed);
                match mutant {
                    Some(Mutant::ServerUnheard) if error.status() != Status::Cancelled => Ok(()),
                    Some(Mutant::AwayIsData) if error.status() == Status::Transient => {
                        Err(SinkError::data(error.to_string()))
                    }
                    Some(Mutant::RefusedIsTransient) if error.status() == Status::Auth => {
                        Err(SinkError::transient(error.to_string()))
                    }
                    _ => Err(error),
                }
            }
            Ok(()) => Ok(()),
        }
    }
}

fn exchange(
    connection: &mut Option<TcpStream>,
    address: &str,
    config: &Config,
    call: &Call<'_>,
    run: Option<RunId>,
) -> Result<(), SinkError> {
    let away = |why: std::io::Error| SinkError::transient(format!("{address} does not answer")).with_source(why);
    if connection.is_none() {
        let resolved: SocketAddr = address
            .to_socket_addrs()
            .ok()
            .and_then(|mut found| found.next())
            .ok_or_else(|| SinkError::config(format!("{address} is no HOST:PORT")))?;
        let made = TcpStream::connect_timeout(&resolved, CONNECT_MAX).map_err(away)?;
        made.set_read_timeout(Some(POLL)).and_then(|()| made.set_write_timeout(Some(CONNECT_MAX))).map_err(away)?;
        *connection = Some(made);
    }
    let stream = connection.as_mut().expect("it was just made");
    let password = config.password.as_deref().unwrap_or_default();
    let question = format!("{} {password}\n", run.map_or("open".to_owned(), |run| run.to_string()));
    stream.write_all(question.as_bytes()).map_err(away)?;
    let mut answer = Vec::new();
    while !answer.ends_with(b"\n") {
        let mut buffer = [0; 256];
        match stream.read(&mut buffer) {
            Ok(0) => return Err(SinkError::transient(format!("{address} ended the connection"))),
            Ok(n) => answer.extend_from_slice(&buffer[..n]),
            Err(why) if matches!(why.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                if config.mutant == Some(Mutant::Impatient) {
                    return Err(away(why));
                }
                if config.mutant != Some(Mutant::WaitForever) {
                    call.check_cancelled()?;
                    if call.remaining().is_some_and(|left| left.is_zero()) {
                        return Err(SinkError::new(Status::Deadline, format!("{address} did not answer in time")));
                    }
                }
            }
            Err(why) => return Err(away(why)),
        }
    }
    let answer = String::from_utf8_lossy(&answer).into_owned();
    if let Some(seconds) = answer.strip_prefix("busy ").and_then(|rest| rest.trim().parse().ok()) {
        let busy = SinkError::new(Status::Throttled, format!("{address} asks to wait for {seconds} s"));
        let is_deaf = config.mutant == Some(Mutant::WaitUnheard);
        return Err(if is_deaf { busy } else { busy.with_retry_after(Duration::from_secs(seconds)) });
    }
    if password.starts_with("wrong") {
        return Err(SinkError::new(Status::Auth, format!("{address} refuses the password")));
    }
    if answer == question { Ok(()) } else { Err(SinkError::transient(format!("{address} answers something else"))) }
}
