//! TLS on a TCP stream (RFC 5425), with rustls.

use std::io;
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use litmus_core::SinkError;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};

use super::wire::{Answered, Socket, Wire, at_once, is_idle};
use super::{Patience, trouble};
use crate::address::{Address, Host};
use crate::config::{Settings, TlsFiles};

/// Reads authorities, certificate and key.
pub(super) fn config(files: &TlsFiles) -> Result<Arc<ClientConfig>, SinkError> {
    let roots = match &files.ca_file {
        Some(file) => roots_in(file)?,
        None => roots_of_this_machine()?,
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| SinkError::config("TLS cannot be set up").with_source(error))?
        .with_root_certificates(roots);
    let config = match &files.client {
        None => builder.with_no_client_auth(),
        Some((cert_file, key_file)) => {
            let chain = certificates(cert_file, "client_cert_file")?;
            let key = PrivateKeyDer::from_pem_file(key_file)
                .map_err(|error| unreadable(key_file, "client_key_file", "an unencrypted private key", &error))?;
            builder.with_client_auth_cert(chain, key).map_err(|error| {
                SinkError::config(format!(
                    "{}: the key does not belong to the certificate in {}: {error}\nhint: client_cert_file holds the sender's own certificate first, then its chain",
                    key_file.display(),
                    cert_file.display()
                ))
            })?
        }
    };
    Ok(Arc::new(config))
}

fn roots_in(file: &Path) -> Result<RootCertStore, SinkError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(file, "ca_file")? {
        roots.add(certificate).map_err(|error| {
            SinkError::config(format!(
                "{}: it holds a certificate that cannot be an authority: {error}",
                file.display()
            ))
        })?;
    }
    Ok(roots)
}

fn roots_of_this_machine() -> Result<RootCertStore, SinkError> {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let why = found.errors.first().map_or(String::new(), |error| format!(": {error}"));
        return Err(SinkError::config(format!(
            "this machine has no certificate authorities{why}\nhint: set ca_file, or install the package ca-certificates"
        )));
    }
    Ok(roots)
}

fn certificates(file: &Path, key: &str) -> Result<Vec<CertificateDer<'static>>, SinkError> {
    let wrong = |error: &dyn std::fmt::Display| unreadable(file, key, "certificates", error);
    let found: Vec<_> =
        CertificateDer::pem_file_iter(file).and_then(Iterator::collect).map_err(|error| wrong(&error))?;
    if found.is_empty() { Err(wrong(&"there is none in it")) } else { Ok(found) }
}

fn unreadable(file: &Path, key: &str, what: &str, error: &dyn std::fmt::Display) -> SinkError {
    SinkError::config(format!(
        "{key} = \"{}\": {error}\nhint: a PEM file with {what}, readable for the host's user",
        file.display()
    ))
}

/// A TLS session.
pub(super) struct Tls {
    session: ClientConnection,
    socket: TcpStream,
    closing: bool,
}

impl Tls {
    /// The socket has its timeouts set.
    pub(super) fn handshake(
        socket: TcpStream,
        config: &Arc<ClientConfig>,
        host: &Host,
        settings: &Settings,
        until: Instant,
        patience: &Patience<'_>,
    ) -> Result<Self, SinkError> {
        let name = settings.tls.server_name.as_deref().unwrap_or(&host.name);
        let address = &settings.address;
        let wrong_name = |error| SinkError::config(format!("{address}: no certificate can be for \"{name}\": {error}"));
        let name = ServerName::try_from(name.to_owned()).map_err(|error| wrong_name(error.to_string()))?;
        let session = ClientConnection::new(Arc::clone(config), name).map_err(|error| wrong_name(error.to_string()))?;
        let mut tls = Self { session, socket, closing: false };
        while tls.session.is_handshaking() || tls.session.wants_write() {
            patience.check()?;
            if Instant::now() >= until {
                return Err(SinkError::transient(format!(
                    "{address}: TLS was not agreed in time\nhint: does the receiver speak TLS there? connect_timeout_ms says how long to wait"
                )));
            }
            let step = if tls.session.wants_write() { tls.push().map(|_| false) } else { tls.pull() };
            match step {
                Ok(false) => (),
                Err(error) if is_idle(&error) => (),
                Ok(true) => return Err(refused(address, "the receiver closed the connection while TLS was agreed")),
                Err(error) => {
                    return Err(match trouble::of(&error) {
                        Some(trouble) => trouble.at(address),
                        None => refused(address, &error.to_string()),
                    });
                }
            }
        }
        Ok(tls)
    }

    /// Hands the kernel what it takes.
    fn push(&mut self) -> io::Result<usize> {
        self.session.write_tls(&mut self.socket)
    }

    /// Takes what the receiver says; whether that was all.
    fn pull(&mut self) -> io::Result<bool> {
        pull(&mut self.session, &mut self.socket)
    }
}

fn pull(session: &mut ClientConnection, socket: &mut TcpStream) -> io::Result<bool> {
    if session.read_tls(socket)? == 0 {
        return Ok(true);
    }
    let state = match session.process_new_packets() {
        Ok(state) => state,
        Err(error) => {
            // Our alert, so that the receiver's log says why, too; it is gone if that cannot be sent.
            session.write_tls(socket).ok();
            return Err(io::Error::new(io::ErrorKind::InvalidData, error));
        }
    };
    if state.plaintext_bytes_to_read() > 0 {
        let mut buffer = [0; 4096];
        let read = io::Read::read(&mut session.reader(), &mut buffer)?;
        return Err(Answered::error(&buffer[..read]));
    }
    Ok(state.peer_has_closed())
}

fn refused(address: &Address, why: &str) -> SinkError {
    SinkError::transient(format!("{address}: TLS failed: {why}\nhint: does the receiver speak TLS on this port?"))
}

impl Wire for Tls {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut progress = false;
        while self.session.wants_write() {
            match self.push() {
                Ok(_) => progress = true,
                Err(error) if is_idle(&error) && progress => return Ok(0),
                Err(error) => return Err(error),
            }
        }
        io::Write::write(&mut self.session.writer(), bytes)
    }

    fn flush(&mut self) -> io::Result<bool> {
        if self.session.wants_write() {
            self.push()?;
        }
        Ok(!self.session.wants_write())
    }

    fn half_close(&mut self) -> io::Result<bool> {
        if !self.closing {
            self.session.send_close_notify();
            self.closing = true;
        }
        if !Wire::flush(self)? {
            return Ok(false);
        }
        self.socket.shutdown(std::net::Shutdown::Write).map(|()| true)
    }

    fn read_to_end(&mut self) -> io::Result<bool> {
        self.pull()
    }

    /// A receiver that closes at the word of TLS does so before our end is there.
    fn unacknowledged(&self) -> io::Result<usize> {
        const END: usize = 1;
        Ok(Socket::unacknowledged(&self.socket)?.saturating_sub(END))
    }

    fn has_ended(&mut self) -> io::Result<bool> {
        let session = &mut self.session;
        at_once(&mut self.socket, |socket| pull(session, socket))
    }

    fn notes(&self) -> Vec<String> {
        let version = self.session.protocol_version().and_then(|version| version.as_str());
        let suite = self.session.negotiated_cipher_suite().and_then(|suite| suite.suite().as_str());
        version.into_iter().chain(suite).map(str::to_owned).collect()
    }
}
