//! Connections to receivers made here, each of which does one thing wrong. (Real receivers: `tests/tests/syslog*.rs`.)

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use litmus_core::Status;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};
use serde_json::json;

use super::*;
use crate::config::Config;

fn settings(config: serde_json::Value) -> Settings {
    let mut all = json!({ "connect_timeout_ms": 3000, "stall_timeout_ms": 400, "close_timeout_ms": 3000 });
    all.as_object_mut().unwrap().extend(config.as_object().unwrap().clone());
    Settings::try_from(serde_json::from_value::<Config>(all).unwrap()).unwrap()
}

fn patient() -> Patience<'static> {
    Patience::new(&|| false, Some(Duration::from_secs(30)))
}

/// Sends these messages over a connection of its own.
fn deliver(settings: &Settings, messages: &[&str]) -> Result<Grade, SinkError> {
    deliver_in(settings, messages, &patient())
}

fn deliver_in(settings: &Settings, messages: &[&str], patience: &Patience<'_>) -> Result<Grade, SinkError> {
    let tls = tls_config(settings)?;
    let mut connection = Connection::open(settings, tls.as_ref(), patience)?;
    for message in messages {
        connection.send(message.as_bytes(), patience)?;
    }
    connection.finish(patience)
}

/// A receiver that accepts one connection, and what it does with it.
fn receiver<T: Send + 'static>(serve: impl FnOnce(TcpStream) -> T + Send + 'static) -> (String, JoinHandle<T>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    (format!("tcp://127.0.0.1:{port}"), thread::spawn(move || serve(listener.accept().unwrap().0)))
}

fn read_all(mut stream: impl Read) -> Vec<u8> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    bytes
}

#[test]
fn a_receiver_that_reads_to_the_end_and_closes_acknowledges() {
    for (framing, expected) in [("octet-counting", "3 one5 tw\\no".to_owned()), ("newline", "one\ntw\\no\n".to_owned())]
    {
        let (address, received) = receiver(read_all);
        let settings = settings(json!({ "address": address, "framing": framing }));
        assert_eq!(deliver(&settings, &["one", "tw\\no"]).unwrap(), Grade::Acknowledged);
        assert_eq!(String::from_utf8(received.join().unwrap()).unwrap(), expected);
    }
}

#[test]
fn a_receiver_that_does_not_close_proves_nothing() {
    let (address, received) = receiver(|mut stream| {
        let mut byte = [0];
        while stream.read(&mut byte).unwrap() > 0 {}
        thread::sleep(Duration::from_secs(2));
    });
    let settings = settings(json!({ "address": address, "close_timeout_ms": 300 }));
    assert_eq!(deliver(&settings, &["one"]).unwrap(), Grade::Sent);
    received.join().unwrap();
}

#[test]
fn a_receiver_that_dies_with_bytes_unread_acknowledges_nothing() {
    let (address, received) = receiver(|mut stream| {
        stream.read_exact(&mut [0; 3]).unwrap();
        thread::sleep(Duration::from_millis(300));
    });
    let error = deliver(&settings(json!({ "address": address })), &[&"x".repeat(1000)]).unwrap_err();
    assert_eq!(error.status(), Status::Transient, "{error}");
    assert!(error.to_string().contains("the connection was lost"), "{error}");
    received.join().unwrap();
}

#[test]
fn a_receiver_that_closes_before_us_acknowledges_nothing() {
    let (address, received) = receiver(drop);
    let settings = settings(json!({ "address": address }));
    let mut connection = Connection::open(&settings, None, &patient()).unwrap();
    received.join().unwrap();
    thread::sleep(Duration::from_millis(100));
    connection.send(b"one", &patient()).unwrap();
    let error = connection.finish(&patient()).unwrap_err();
    assert_eq!(error.status(), Status::Transient, "{error}");
}

/// A connection whose receiver's close comes before the other machine has acknowledged so many bytes, which no connection within
/// one machine ever shows.
struct FarAway {
    outstanding: usize,
}

impl wire::Wire for FarAway {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<bool> {
        Ok(true)
    }

    fn half_close(&mut self) -> std::io::Result<bool> {
        Ok(true)
    }

    fn read_to_end(&mut self) -> std::io::Result<bool> {
        Ok(true)
    }

    fn unacknowledged(&self) -> std::io::Result<usize> {
        Ok(self.outstanding)
    }

    fn has_ended(&mut self) -> std::io::Result<bool> {
        Ok(false)
    }
}

#[test]
fn a_close_that_crossed_our_messages_acknowledges_nothing() {
    let settings = settings(json!({ "address": "tcp://far.example" }));
    let finish = |outstanding| {
        let mut stream = Stream::over(Box::new(FarAway { outstanding }), &settings);
        stream.send(b"one", &patient()).unwrap();
        stream.finish(&patient())
    };
    assert_eq!(finish(0).unwrap(), Grade::Acknowledged);
    for outstanding in [1, 3001] {
        let error = finish(outstanding).unwrap_err();
        assert_eq!(error.status(), Status::Transient, "{error}");
        assert!(error.to_string().contains("closed it before we did"), "{error}");
    }
}

#[test]
fn a_receiver_whose_machine_does_not_take_everything_is_no_delivery() {
    let (address, received) = receiver(|stream| {
        thread::sleep(Duration::from_secs(2));
        drop(stream);
    });
    // More than the window of a receiver that never reads, less than our kernel keeps.
    let settings = settings(json!({ "address": address, "close_timeout_ms": 200, "stall_timeout_ms": 600 }));
    let error = deliver(&settings, &vec!["x".repeat(8000).as_str(); 100]).unwrap_err();
    assert_eq!(error.status(), Status::Transient, "{error}");
    assert!(error.to_string().contains("took nothing for 0."), "{error}");
    received.join().unwrap();
}

#[test]
fn whoever_answers_is_no_receiver_of_syslog() {
    let (address, received) = receiver(|mut stream| {
        stream.read_exact(&mut [0; 5]).unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").ok();
    });
    let error = deliver(&settings(json!({ "address": address })), &["one"]).unwrap_err();
    assert_eq!(error.status(), Status::Config, "{error}");
    let text = error.to_string();
    assert!(text.contains("it answered \"HTTP/1.1 400") && text.contains("\nhint: is `address`"), "{text}");
    received.join().unwrap();
}

#[test]
fn a_receiver_that_stops_reading_is_left_after_the_stall_timeout_with_bounded_memory() {
    let (address, received) = receiver(|stream| {
        thread::sleep(Duration::from_secs(3));
        drop(stream);
    });
    let settings = settings(json!({ "address": address }));
    let mut connection = Connection::open(&settings, None, &patient()).unwrap();
    let message = "x".repeat(8000);
    // More than any kernel keeps for a socket; what it does not take must not pile up here.
    let error = (0..10_000).find_map(|_| connection.send(message.as_bytes(), &patient()).err()).expect("it stalls");
    assert_eq!(error.status(), Status::Transient);
    assert!(error.to_string().contains("took nothing for 0.4 s"), "{error}");
    received.join().unwrap();
}

#[test]
fn a_cancel_and_a_deadline_end_a_stalled_delivery() {
    let (address, received) = receiver(|stream| {
        thread::sleep(Duration::from_secs(3));
        drop(stream);
    });
    let settings = settings(json!({ "address": address, "stall_timeout_ms": 60_000 }));
    let cancelled = AtomicBool::new(false);
    let is_cancelled = || cancelled.load(Ordering::SeqCst);
    let patience = Patience::new(&is_cancelled, None);
    let message = "x".repeat(8000);
    let error = thread::scope(|scope| {
        scope.spawn(|| {
            thread::sleep(Duration::from_millis(300));
            cancelled.store(true, Ordering::SeqCst);
        });
        deliver_in(&settings, &vec![message.as_str(); 10_000], &patience).unwrap_err()
    });
    assert_eq!(error.status(), Status::Cancelled);
    received.join().unwrap();

    let (address, received) = receiver(|stream| {
        thread::sleep(Duration::from_secs(2));
        drop(stream);
    });
    let settings = self::settings(json!({ "address": address, "stall_timeout_ms": 60_000 }));
    let patience = Patience::new(&|| false, Some(Duration::from_millis(500)));
    let error = deliver_in(&settings, &vec![message.as_str(); 10_000], &patience).unwrap_err();
    assert_eq!(error.status(), Status::Transient, "a slow receiver says nothing about a run: {error}");
    assert!(error.to_string().contains("in the time allowed"), "{error}");
    received.join().unwrap();
}

#[test]
fn nobody_there_is_transient_and_says_what_to_look_at() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("no.sock");
    for address in [
        format!("tcp://127.0.0.1:{port}"),
        format!("udp://127.0.0.1:{port}"),
        format!("unix://{}", missing.display()),
        format!("unix+stream://{}", missing.display()),
    ] {
        let error = deliver(&settings(json!({ "address": address })), &["one"]).unwrap_err();
        assert_eq!(error.status(), Status::Transient, "{error}");
        assert!(error.to_string().contains(&address) && error.to_string().contains("\nhint: "), "{error}");
    }
}

#[test]
fn datagrams_are_one_message_each_and_only_sent() {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = format!("udp://{}", socket.local_addr().unwrap());
    assert_eq!(deliver(&settings(json!({ "address": address })), &["one", "two"]).unwrap(), Grade::Sent);
    let mut buffer = [0; 100];
    for expected in ["one", "two"] {
        let read = socket.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..read], expected.as_bytes());
    }

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let socket = UnixDatagram::bind(&path).unwrap();
    let address = format!("unix://{}", path.display());
    assert_eq!(deliver(&settings(json!({ "address": address })), &["one"]).unwrap(), Grade::Sent);
    let read = socket.recv(&mut buffer).unwrap();
    assert_eq!(&buffer[..read], b"one");
}

#[test]
fn a_unix_stream_has_lines() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("stream");
    let listener = UnixListener::bind(&path).unwrap();
    let received = thread::spawn(move || read_all(listener.accept().unwrap().0));
    let address = format!("unix+stream://{}", path.display());
    assert_eq!(deliver(&settings(json!({ "address": address })), &["one", "two"]).unwrap(), Grade::Acknowledged);
    assert_eq!(received.join().unwrap(), b"one\ntwo\n");
}

#[test]
fn a_socket_of_the_other_kind_is_a_configuration_error_that_names_the_right_one() {
    let folder = tempfile::tempdir().unwrap();
    let [stream, datagram] = ["stream", "datagram"].map(|name| folder.path().join(name));
    let _listener = UnixListener::bind(&stream).unwrap();
    let _socket = UnixDatagram::bind(&datagram).unwrap();
    for (address, right) in [
        (format!("unix://{}", stream.display()), format!("unix+stream://{}", stream.display())),
        (format!("unix+stream://{}", datagram.display()), format!("unix://{}", datagram.display())),
    ] {
        let error = deliver(&settings(json!({ "address": address })), &["one"]).unwrap_err();
        assert_eq!(error.status(), Status::Config, "{error}");
        assert!(error.to_string().ends_with(&format!("hint: address = \"{right}\"")), "{error}");
    }
}

#[test]
fn messages_leave_no_faster_than_was_set() {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = format!("udp://{}", socket.local_addr().unwrap());
    let settings = settings(json!({ "address": address, "messages_per_second_max": 200 }));
    let started = Instant::now();
    deliver(&settings, &["x"; 100]).unwrap();
    assert!(started.elapsed() >= Duration::from_millis(450), "{:?}", started.elapsed());

    // What a pause left unused is not made up for.
    let patience = patient();
    let mut connection = Connection::open(&settings, None, &patience).unwrap();
    connection.send(b"x", &patience).unwrap();
    thread::sleep(Duration::from_millis(500));
    let started = Instant::now();
    (0..60).for_each(|_| connection.send(b"x", &patience).unwrap());
    assert!(started.elapsed() >= Duration::from_millis(270), "{:?}", started.elapsed());
}

/// An authority, and what it signs.
struct Authority {
    folder: tempfile::TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("ca.pem"), issuer.pem()).unwrap();
        Self { folder, issuer }
    }

    fn ca_file(&self) -> std::path::PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// Certificate and key, and the files they are in.
    fn sign(
        &self,
        name: &str,
        change: impl FnOnce(&mut CertificateParams),
    ) -> (std::path::PathBuf, std::path::PathBuf) {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let [cert_file, key_file] = ["cert", "key"].map(|kind| self.folder.path().join(format!("{name}.{kind}.pem")));
        fs::write(&cert_file, certificate.pem()).unwrap();
        fs::write(&key_file, key.serialize_pem()).unwrap();
        (cert_file, key_file)
    }
}

fn server_config(
    (cert_file, key_file): &(std::path::PathBuf, std::path::PathBuf),
    clients: Option<&Path>,
) -> Arc<ServerConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder =
        ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions().unwrap();
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(file) => {
            let mut roots = RootCertStore::empty();
            roots.add(CertificateDer::from_pem_file(file).unwrap()).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
            builder.with_client_cert_verifier(verifier)
        }
    };
    let chain = vec![CertificateDer::from_pem_file(cert_file).unwrap()];
    Arc::new(builder.with_single_cert(chain, PrivateKeyDer::from_pem_file(key_file).unwrap()).unwrap())
}

/// A TLS receiver that reads to the end, if it gets so far.
fn tls_receiver(config: Arc<ServerConfig>) -> (u16, JoinHandle<std::io::Result<Vec<u8>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let received = thread::spawn(move || {
        let mut stream = StreamOwned::new(ServerConnection::new(config).unwrap(), listener.accept().unwrap().0);
        let mut bytes = Vec::new();
        let read = stream.read_to_end(&mut bytes).map(|_| bytes);
        stream.conn.send_close_notify();
        stream.flush().ok();
        read
    });
    (port, received)
}

#[test]
fn tls_with_certificates_on_both_sides_acknowledges() {
    let authority = Authority::new();
    let server = authority.sign("localhost", |_| ());
    let client = authority.sign("bench-07", |_| ());
    let (port, received) = tls_receiver(server_config(&server, Some(&authority.ca_file())));
    let settings = settings(json!({
        "address": format!("tls://localhost:{port}"), "ca_file": authority.ca_file(),
        "client_cert_file": client.0, "client_key_file": client.1,
    }));
    let message = "x".repeat(7000);
    assert_eq!(deliver(&settings, &vec![message.as_str(); 200]).unwrap(), Grade::Acknowledged);
    assert_eq!(received.join().unwrap().unwrap().len(), 200 * (message.len() + "7000 ".len()));
}

/// What the sender says of a receiver with this certificate.
fn trouble(server: &Arc<ServerConfig>, more: serde_json::Value) -> SinkError {
    let (port, received) = tls_receiver(Arc::clone(server));
    let mut config = json!({ "address": format!("tls://localhost:{port}") });
    config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let error = deliver(&settings(config), &["one"]).unwrap_err();
    drop(received.join().unwrap());
    error
}

#[test]
fn certificate_trouble_says_which_and_why() {
    let (authority, other) = (Authority::new(), Authority::new());
    let ca = json!({ "ca_file": authority.ca_file() });
    let good = authority.sign("localhost", |_| ());
    let server = |files, clients: Option<&Path>| server_config(files, clients);
    let expired = authority.sign("localhost.expired", |params| {
        params.subject_alt_names = vec![rcgen::SanType::DnsName("localhost".try_into().unwrap())];
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2021, 1, 1);
    });
    let future = authority.sign("localhost.future", |params| {
        params.subject_alt_names = vec![rcgen::SanType::DnsName("localhost".try_into().unwrap())];
        params.not_before = rcgen::date_time_ymd(2999, 1, 1);
        params.not_after = rcgen::date_time_ymd(3000, 1, 1);
    });
    let elsewhere = authority.sign("logs.example", |_| ());
    let mine = authority.sign("bench-07", |_| ());
    let foreign = other.sign("bench-07", |_| ());
    let with_client = |(cert, key): &(std::path::PathBuf, std::path::PathBuf)| json!({ "ca_file": authority.ca_file(), "client_cert_file": cert, "client_key_file": key });
    let wants_client = server(&good, Some(&authority.ca_file()));
    for (error, says) in [
        (trouble(&server(&expired, None), ca.clone()), "the receiver's certificate has expired"),
        (trouble(&server(&future, None), ca.clone()), "the receiver's certificate is not valid yet"),
        (trouble(&server(&elsewhere, None), ca.clone()), "the receiver's certificate is for another name"),
        (
            trouble(&server(&good, None), json!({ "ca_file": other.ca_file() })),
            "not signed by an authority that is trusted here",
        ),
        (
            trouble(&server(&good, None), json!({ "ca_file": authority.ca_file(), "server_name": "bench" })),
            "for another name",
        ),
        (trouble(&wants_client, ca.clone()), "it wants a client certificate"),
        (trouble(&wants_client, with_client(&foreign)), "it does not"),
    ] {
        assert_eq!(error.status(), Status::Auth, "{error}");
        assert!(error.to_string().contains(says) && error.to_string().contains("\nhint: "), "{says}: {error}");
    }
    // What is wrong on our side is found before anybody is asked.
    let files = |more: serde_json::Value| {
        let mut config = json!({ "address": "tls://localhost:1" });
        config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let error = tls_config(&settings(config)).expect_err("it cannot work");
        assert_eq!(error.status(), Status::Config, "{error}");
        error.to_string()
    };
    let crossed = json!({ "ca_file": authority.ca_file(), "client_cert_file": mine.0, "client_key_file": foreign.1 });
    assert!(files(crossed).contains("the key does not belong to the certificate"));
    let missing = files(json!({ "ca_file": "/nowhere/ca.pem" }));
    assert!(missing.contains("ca_file = \"/nowhere/ca.pem\"") && missing.contains("\nhint: "), "{missing}");
    let no_certificate = files(json!({ "ca_file": mine.1 }));
    assert!(no_certificate.contains("ca_file = "), "{no_certificate}");
}

#[test]
fn a_receiver_without_tls_is_told_from_one_that_refuses_us() {
    let (address, received) = receiver(|mut stream| {
        stream.write_all(b"220 mail.example ESMTP\r\n").ok();
        thread::sleep(Duration::from_millis(300));
    });
    let authority = Authority::new();
    let settings = settings(json!({ "address": address.replace("tcp", "tls"), "ca_file": authority.ca_file() }));
    let error = deliver(&settings, &["one"]).unwrap_err();
    assert_eq!(error.status(), Status::Config, "{error}");
    assert!(error.to_string().contains("does not speak TLS"), "{error}");
    received.join().unwrap();
}
