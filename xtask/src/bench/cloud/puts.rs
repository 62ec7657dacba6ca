//! The limit: requests that somebody else signed, over connections that stay open, with nothing else to do.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::Result;

/// Sends every file; `signed` has a line for each: its path, a tab, path and query of its request. The time it took.
pub(super) fn send(port: u16, signed: &str, at_once: usize) -> Result<Duration> {
    let files: Vec<(&str, &str)> = signed.lines().filter_map(|line| line.split_once('\t')).collect();
    if files.is_empty() {
        return Err("nothing was signed".into());
    }
    let (next, started) = (AtomicUsize::new(0), Instant::now());
    let sent: io::Result<Vec<()>> = thread::scope(|scope| {
        let workers: Vec<_> = (0..at_once)
            .map(|_| {
                scope.spawn(|| -> io::Result<()> {
                    let mut connection = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
                    connection.set_nodelay(true)?;
                    let mut answers = BufReader::new(connection.try_clone()?);
                    while let Some((path, target)) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
                        put(&mut connection, &mut answers, port, path, target)?;
                    }
                    Ok(())
                })
            })
            .collect();
        workers.into_iter().map(|worker| worker.join().expect("a worker does not panic")).collect()
    });
    sent?;
    Ok(started.elapsed())
}

fn put(
    connection: &mut TcpStream,
    answers: &mut BufReader<TcpStream>,
    port: u16,
    path: &str,
    target: &str,
) -> io::Result<()> {
    let mut request = Vec::new();
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    write!(request, "PUT {target} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Length: {length}\r\n\r\n")?;
    file.read_to_end(&mut request)?;
    connection.write_all(&request)?;

    let (mut line, mut is_ok, mut length) = (String::new(), false, 0);
    loop {
        line.clear();
        answers.read_line(&mut line)?;
        let header = line.trim_end().to_ascii_lowercase();
        if header.is_empty() {
            break;
        }
        is_ok |= header.starts_with("http/1.1 200");
        if let Some(text) = header.strip_prefix("content-length:") {
            length = text.trim().parse().map_err(io::Error::other)?;
        }
    }
    let mut body = vec![0; length];
    answers.read_exact(&mut body)?;
    if is_ok { Ok(()) } else { Err(io::Error::other(String::from_utf8_lossy(&body).into_owned())) }
}
