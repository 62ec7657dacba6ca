//! A server that echoes what it is sent: the backend of `plugins/hostile` where that is put through the conformance suite.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};

/// A running server; it ends with the process.
pub struct Echo {
    port: u16,
}

impl Echo {
    /// On a free port.
    pub fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has a free port");
        let port = listener.local_addr().expect("it is bound").port();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                std::thread::spawn(move || echo(client));
            }
        });
        Self { port }
    }

    /// `127.0.0.1:PORT`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }
}

fn echo(mut client: TcpStream) {
    let mut buffer = [0; 4096];
    while let Ok(n @ 1..) = client.read(&mut buffer) {
        if client.write_all(&buffer[..n]).is_err() {
            return;
        }
    }
}
