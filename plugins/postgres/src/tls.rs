//! TLS with rustls, verified as `sslmode` says.

use std::future::Future;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use litmus_core::SinkError;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::Socket;
use tokio_postgres::tls::{ChannelBinding, MakeTlsConnect, TlsConnect, TlsStream};

use crate::conninfo::{Authorities, Server, SslMode};

/// Reads the files that the settings name; anew for each connection, so that renewed certificates are used.
pub(crate) fn connector(server: &Server) -> Result<Connector, SinkError> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| SinkError::config("TLS cannot be set up").with_source(error))?;
    let verifier: Arc<dyn ServerCertVerifier> = if server.sslmode >= SslMode::VerifyCa {
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots(&server.authorities)?), provider)
            .build()
            .map_err(|error| SinkError::config("ca_file: no authority in it can be used").with_source(error))?;
        if server.sslmode == SslMode::VerifyFull { verifier } else { Arc::new(AnyName(verifier)) }
    } else {
        Arc::new(Anybody(provider))
    };
    let builder = builder.dangerous().with_custom_certificate_verifier(verifier);
    let config = match &server.client {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let chain = certificates(certificate)?;
            let key_der = PrivateKeyDer::from_pem_file(key).map_err(|error| {
                SinkError::config(format!(
                    "key_file: {}: {error}\nhint: a PEM file with a key that is not encrypted",
                    key.display()
                ))
            })?;
            builder.with_client_auth_cert(chain, key_der).map_err(|error| {
                SinkError::config(format!(
                    "cert_file: {}: {error}\nhint: cert_file and key_file must belong together",
                    certificate.display()
                ))
            })?
        }
    };
    Ok(Connector(tokio_rustls::TlsConnector::from(Arc::new(config))))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, SinkError> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match read {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) => Err(SinkError::config(format!("{}: it holds no certificate\nhint: give a PEM file", path.display()))),
        Err(error) => Err(SinkError::config(format!("{}: {error}\nhint: give a readable PEM file", path.display()))),
    }
}

fn roots(authorities: &Authorities) -> Result<RootCertStore, SinkError> {
    let mut roots = RootCertStore::empty();
    match authorities {
        Authorities::File(path) => {
            for certificate in certificates(path)? {
                roots.add(certificate).map_err(|error| {
                    SinkError::config(format!(
                        "ca_file: {}: {error}\nhint: give the certificate of the authority that signed the server's",
                        path.display()
                    ))
                })?;
            }
        }
        Authorities::System => {
            let found = rustls_native_certs::load_native_certs();
            roots.add_parsable_certificates(found.certs);
            if roots.is_empty() {
                return Err(SinkError::config(
                    "ca_file = \"system\": this machine has no store of authorities\nhint: install ca-certificates, or name a file",
                ));
            }
        }
        Authorities::Missing(path) => {
            return Err(SinkError::config(format!("{} is not there\nhint: ca_file = \"FILE.pem\"", path.display())));
        }
    }
    Ok(roots)
}

/// `prefer` and `require`: whoever answers, as long as it holds the key of the certificate that it shows.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// `verify-ca`: all but the name.
#[derive(Debug)]
struct AnyName(Arc<WebPkiServerVerifier>);

impl ServerCertVerifier for AnyName {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        // The chain and the dates are looked at before the name is.
        match self.0.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            answer => answer,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

/// What the client library asks for streams.
#[derive(Clone)]
pub(crate) struct Connector(tokio_rustls::TlsConnector);

/// One handshake to come.
pub(crate) struct Handshake {
    connector: tokio_rustls::TlsConnector,
    name: ServerName<'static>,
}

/// A stream after its handshake.
pub(crate) struct Stream(tokio_rustls::client::TlsStream<Socket>);

impl MakeTlsConnect<Socket> for Connector {
    type Stream = Stream;
    type TlsConnect = Handshake;
    type Error = io::Error;

    fn make_tls_connect(&mut self, domain: &str) -> io::Result<Handshake> {
        let name = ServerName::try_from(domain.to_owned())
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, format!("{domain:?} is no name of a host")))?;
        Ok(Handshake { connector: self.0.clone(), name })
    }
}

impl TlsConnect<Socket> for Handshake {
    type Stream = Stream;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Stream>> + Send>>;

    fn connect(self, stream: Socket) -> Self::Future {
        Box::pin(async move { self.connector.connect(self.name, stream).await.map(Stream) })
    }
}

impl TlsStream for Stream {
    fn channel_binding(&self) -> ChannelBinding {
        ChannelBinding::none()
    }
}

impl AsyncRead for Stream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// What was wrong with the server's certificate, where that is why a connection failed.
pub(crate) fn fault(error: &(dyn std::error::Error + 'static)) -> Option<String> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        let found = inner.and_then(|inner| inner.downcast_ref::<Error>()).or_else(|| error.downcast_ref::<Error>());
        if let Some(found) = found {
            return Some(match found {
                Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
                    "the server's certificate is signed by nobody in ca_file\nhint: ca_file is the certificate of the authority that signed it".to_owned()
                }
                Error::InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. }) => {
                    format!("the server's certificate has expired ({found})\nhint: renew it at the server")
                }
                Error::InvalidCertificate(
                    CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
                ) => format!(
                    "the server's certificate is for another host ({found})\nhint: connect by a name that is in it (subjectAltName), or use sslmode = \"verify-ca\""
                ),
                // webpki's own word, which rustls passes on without a type.
                other if other.to_string().contains("CaUsedAsEndEntity") => {
                    "the server's certificate is its own authority (self-signed)\nhint: have an authority sign one for the server, and name that authority's certificate in ca_file".to_owned()
                }
                other => format!("TLS failed: {other}"),
            });
        }
        cause = error.source();
    }
    None
}
