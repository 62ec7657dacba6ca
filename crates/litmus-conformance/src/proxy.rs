//! A proxy before a TCP backend: lets everything through, or is away, silent, slow, or cuts connections.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use crate::case::Broken;

/// What becomes of the connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// Everything passes.
    Through,
    /// A connection ends as soon as it is made, and those there are end.
    Away,
    /// Connections are made, and nothing passes.
    Silent,
    /// Each piece of an answer passes after this time.
    Slow(Duration),
    /// All connections end, and the proxy is away, once so many bytes have passed towards the backend.
    CutAfter(u64),
    /// Nothing passes towards the backend any more; whoever asks anything on a connection gets this in its place.
    Answers(Arc<str>),
}

struct Shared {
    way: Mutex<Way>,
    sent: AtomicU64,
    /// Both ends of each connection, to cut them.
    open: Mutex<Vec<TcpStream>>,
}

/// Ends with the process: every case has one of its own.
pub(crate) struct Proxy(Arc<Shared>);

impl Proxy {
    /// Listens for a backend whose `127.0.0.1:PORT` stands in a value; the value that leads through the proxy.
    pub(crate) fn before(value: &str) -> Result<(Self, String), Broken> {
        const HOST: &str = "127.0.0.1:";
        let at = value.find(HOST).ok_or(format!("no 127.0.0.1:PORT stands in {value}"))? + HOST.len();
        let digits = value[at..].bytes().take_while(u8::is_ascii_digit).count();
        let port: u16 = value[at..at + digits].parse().map_err(|_| format!("no port stands in {value}"))?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(|error| error.to_string())?;
        let own = listener.local_addr().map_err(|error| error.to_string())?.port();
        let shared =
            Arc::new(Shared { way: Mutex::new(Way::Through), sent: AtomicU64::new(0), open: Mutex::default() });
        let accepting = Arc::clone(&shared);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let shared = Arc::clone(&accepting);
                thread::spawn(move || shared.serve(client, port));
            }
        });
        Ok((Self(shared), format!("{}{own}{}", &value[..at], &value[at + digits..])))
    }

    /// From now on; connections that are open go that way, too.
    pub(crate) fn set(&self, way: Way) {
        self.0.sent.store(0, Ordering::SeqCst);
        let is_away = way == Way::Away;
        *self.0.way.lock().unwrap_or_else(PoisonError::into_inner) = way;
        if is_away {
            self.0.cut();
        }
    }

    /// Bytes that have passed towards the backend since [`Self::set`].
    pub(crate) fn sent(&self) -> u64 {
        self.0.sent.load(Ordering::SeqCst)
    }
}

impl Shared {
    fn way(&self) -> Way {
        self.way.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// With a reset, as when the machine behind dies. An orderly end would look like a backend that has read everything.
    fn cut(&self) {
        for stream in self.open.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            rustix::net::connect_unspec(&stream).ok();
        }
    }

    fn serve(self: Arc<Self>, client: TcpStream, port: u16) {
        if self.way() == Way::Away {
            return;
        }
        let Ok(backend) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)) else { return };
        client.set_nodelay(true).ok();
        backend.set_nodelay(true).ok();
        let Ok(clones) =
            [&client, &backend, &client, &backend].map(TcpStream::try_clone).into_iter().collect::<Result<Vec<_>, _>>()
        else {
            return;
        };
        let [client_in, backend_in, client_kept, backend_kept]: [TcpStream; 4] =
            clones.try_into().expect("there are four");
        self.open.lock().unwrap_or_else(PoisonError::into_inner).extend([client_kept, backend_kept]);
        let back = Arc::clone(&self);
        thread::spawn(move || back.pass(backend_in, client, false));
        self.pass(client_in, backend, true);
    }

    fn pass(&self, mut from: TcpStream, mut to: TcpStream, towards: bool) {
        let mut buffer = vec![0; 16 << 10];
        let mut has_answered = false;
        loop {
            let n = match from.read(&mut buffer) {
                Ok(0) => break,
                Ok(n) => n,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(_) => break,
            };
            while self.way() == Way::Silent {
                thread::sleep(Duration::from_millis(20));
            }
            if let (Way::Answers(answer), true) = (self.way(), towards) {
                if !has_answered && (&from).write_all(answer.as_bytes()).is_err() {
                    break;
                }
                has_answered = true;
                continue;
            }
            if let (Way::Slow(wait), false) = (self.way(), towards) {
                thread::sleep(wait);
            }
            let mut pass = n;
            if towards {
                let before = self.sent.fetch_add(n as u64, Ordering::SeqCst);
                if let Way::CutAfter(max) = self.way() {
                    pass = n.min(max.saturating_sub(before) as usize);
                }
            }
            let written = to.write_all(&buffer[..pass]);
            if pass < n {
                *self.way.lock().unwrap_or_else(PoisonError::into_inner) = Way::Away;
                self.cut();
                break;
            }
            if written.is_err() {
                break;
            }
        }
        to.shutdown(Shutdown::Write).ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that echoes, for one test.
    fn echo() -> u16 {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        thread::spawn(move || {
            for mut client in listener.incoming().flatten() {
                thread::spawn(move || {
                    let mut buffer = [0; 64];
                    while let Ok(n @ 1..) = client.read(&mut buffer) {
                        client.write_all(&buffer[..n]).unwrap();
                    }
                });
            }
        });
        port
    }

    fn says(value: &str, text: &str) -> std::io::Result<String> {
        let mut stream = TcpStream::connect(value.trim_start_matches("tcp://"))?;
        stream.set_read_timeout(Some(Duration::from_millis(300)))?;
        stream.write_all(text.as_bytes())?;
        let mut answer = vec![0; text.len()];
        stream.read_exact(&mut answer)?;
        Ok(String::from_utf8(answer).unwrap())
    }

    #[test]
    fn each_way_is_what_it_says() {
        let (proxy, value) = Proxy::before(&format!("tcp://127.0.0.1:{}", echo())).unwrap();
        assert_eq!(says(&value, "hello").unwrap(), "hello");
        assert_eq!(proxy.sent(), 5);
        proxy.set(Way::Away);
        assert!(says(&value, "hello").is_err());
        proxy.set(Way::Silent);
        assert!(says(&value, "hello").is_err());
        proxy.set(Way::CutAfter(3));
        assert!(says(&value, "hello").is_err());
        proxy.set(Way::Answers("later".into()));
        assert_eq!(says(&value, "hello").unwrap(), "later");
        assert_eq!(proxy.sent(), 0);
        proxy.set(Way::Slow(Duration::from_millis(50)));
        assert_eq!(says(&value, "hello").unwrap(), "hello");
        assert!(Proxy::before("unix:/run/x").is_err());
    }
}
