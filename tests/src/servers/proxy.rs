//! A proxy before an HTTP server that does to requests what networks and overloaded services do.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// One request as it passes.
#[derive(Clone, Debug)]
pub struct Passing {
    /// From 0.
    pub number: u64,
    /// `PUT`.
    pub method: String,
    /// With its query.
    pub path: String,
    /// Of its body.
    pub bytes: u64,
    /// Its head, as it came.
    pub head: String,
}

/// What becomes of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It goes to the server.
    Forward,
    /// The server never sees it: this status, these header lines, this body.
    Answer(u16, String, String),
    /// Half of its body goes to the server, then both connections are cut.
    CutInBody,
    /// The server has done it, but the answer is cut off.
    CutAnswer,
}

type Rule = dyn Fn(&Passing) -> Fate + Send + Sync;

/// A running proxy; ended when dropped.
pub struct Proxy {
    port: u16,
    over: Arc<AtomicBool>,
    seen: Arc<Mutex<Vec<(Passing, Fate)>>>,
}

impl Proxy {
    /// Before a server on a loopback port.
    pub fn before(server: u16, rule: impl Fn(&Passing) -> Fate + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has a free port");
        let port = listener.local_addr().expect("it is bound").port();
        let over = Arc::new(AtomicBool::new(false));
        let seen: Arc<Mutex<Vec<(Passing, Fate)>>> = Arc::default();
        let (rule, next): (Arc<Rule>, _) = (Arc::new(rule), Arc::new(AtomicU64::new(0)));
        let (is_over, log) = (Arc::clone(&over), Arc::clone(&seen));
        std::thread::spawn(move || {
            for client in listener.incoming() {
                if is_over.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(client) = client else { continue };
                let (rule, next, log) = (Arc::clone(&rule), Arc::clone(&next), Arc::clone(&log));
                // A connection that ends is its own affair.
                std::thread::spawn(move || pass(client, server, &*rule, &next, &log).ok());
            }
        });
        Self { port, over, seen }
    }

    /// `http://127.0.0.1:PORT`.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Every request so far, and what became of it.
    pub fn seen(&self) -> Vec<(Passing, Fate)> {
        self.seen.lock().expect("no test panics in it").clone()
    }

    /// The bytes of all bodies that came by PUT and POST to objects of runs.
    pub fn body_bytes(&self) -> u64 {
        self.seen()
            .iter()
            .filter(|(passing, _)| !passing.path.contains(".litmus"))
            .map(|(passing, _)| passing.bytes)
            .sum()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        // Wakes the thread that accepts.
        TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).ok();
    }
}

/// One request a connection: the answer says that it is closed.
fn pass(
    client: TcpStream,
    server: u16,
    rule: &Rule,
    next: &AtomicU64,
    log: &Mutex<Vec<(Passing, Fate)>>,
) -> io::Result<()> {
    let mut reader = BufReader::new(client.try_clone()?);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head)? == 0 {
            return Ok(());
        }
    }
    let header = |name: &str| {
        head.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
        })
    };
    let length: u64 = header("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
    let mut words = head.split(' ');
    let passing = Passing {
        number: next.fetch_add(1, Ordering::SeqCst),
        method: words.next().unwrap_or_default().to_owned(),
        path: words.next().unwrap_or_default().to_owned(),
        bytes: length,
        head: head.clone(),
    };
    let fate = rule(&passing);
    let is_head = passing.method == "HEAD";
    log.lock().expect("no test panics in it").push((passing, fate.clone()));
    let mut body = vec![0; length as usize];
    reader.read_exact(&mut body)?;
    if let Fate::Answer(status, headers, text) = fate {
        let text = if is_head { String::new() } else { text };
        return write!(
            &client,
            "HTTP/1.1 {status} Said\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n{text}",
            text.len()
        );
    }
    let mut upstream = TcpStream::connect((Ipv4Addr::LOCALHOST, server))?;
    let plain: Vec<&str> =
        head.trim_end().split("\r\n").filter(|line| !line.to_lowercase().starts_with("connection:")).collect();
    upstream.write_all(format!("{}\r\nConnection: close\r\n\r\n", plain.join("\r\n")).as_bytes())?;
    if fate == Fate::CutInBody {
        upstream.write_all(&body[..body.len() / 2])?;
        upstream.shutdown(Shutdown::Both)?;
        return client.shutdown(Shutdown::Both);
    }
    upstream.write_all(&body)?;
    let mut answer = Vec::new();
    upstream.read_to_end(&mut answer)?;
    if fate == Fate::CutAnswer {
        return client.shutdown(Shutdown::Both);
    }
    // Azurite keeps the connection's fate open where the client wants to; ours is one request long.
    let text = String::from_utf8_lossy(&answer);
    let end = text.find("\r\n\r\n").unwrap_or(0);
    let says_close = text[..end].to_lowercase().contains("connection: close");
    if says_close || end == 0 {
        (&client).write_all(&answer)
    } else {
        let line = answer.windows(2).position(|two| two == b"\r\n").unwrap_or(0) + 2;
        (&client).write_all(&answer[..line])?;
        (&client).write_all(b"Connection: close\r\n")?;
        (&client).write_all(&answer[line..])
    }
}
