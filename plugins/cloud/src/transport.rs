//! HTTP under opendal: TLS by rustls with ring, the pace of the limiter, and refusals as typed errors.
//!
//! Requests of the store itself are repeated here where that is safe: all of them are, since a put names the state it
//! expects, and what it left is looked at afterwards. Requests for credentials pass through untouched: who makes them knows
//! better what an answer means.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use http::{Method, Request, Response, StatusCode};
use litmus_core::SinkError;
use opendal::raw::Operation;
use opendal::raw::oio::ReadStream;
use opendal::{Buffer, Error, ErrorKind, HttpBody, HttpTransport, HttpTransporter};
use opendal_http_transport_reqwest::ReqwestTransport;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::failure::Refusal;
use crate::limiter::{Limiter, WAIT_MAX};
use crate::tags::Tags;

/// A request that fails for no fault of its own is made this often.
const TRIES_MAX: u32 = 3;
/// One that is told to slow down: this often.
const SLOWED_TRIES_MAX: u32 = 10;
/// The wait where the service names none, doubled with each try.
const BACKOFF: Duration = Duration::from_millis(200);
/// What a request may take, and more for its body at a slow line's pace.
const REQUEST_MAX: Duration = Duration::from_mins(1);
const BYTES_A_SECOND_MIN: u64 = 32 << 10;
/// The end of an upload in parts: some services put them together before they answer.
const COMPLETION_MAX: Duration = Duration::from_mins(10);
const CONNECT_MAX: Duration = Duration::from_secs(10);
/// How much of the body of an error is looked at.
const ERROR_BYTES_MAX: usize = 64 << 10;

/// A client with this pace.
pub(crate) struct Transport {
    client: ReqwestTransport,
    limiter: Arc<Limiter>,
    tags: Option<Tags>,
}

impl Transport {
    pub(crate) fn new(
        ca_file: Option<&Path>,
        proxy: Option<&str>,
        limiter: Arc<Limiter>,
        connections: usize,
        tags: Option<Tags>,
    ) -> Result<Self, SinkError> {
        let mut client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls(ca_file)?)
            .user_agent(concat!("litmus-host/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_MAX)
            .pool_max_idle_per_host(connections)
            .http1_only();
        if let Some(proxy) = proxy {
            // The address may hold a password: the message does not repeat it.
            let proxy = reqwest::Proxy::all(proxy).map_err(|_| {
                SinkError::config("proxy is no address of a proxy\nhint: proxy = \"http://proxy.example.com:3128\"")
            })?;
            client = client.proxy(proxy);
        }
        let client = client
            .build()
            .map_err(|error| SinkError::config("the HTTP client cannot be made").with_source(error.without_url()))?;
        Ok(Self { client: ReqwestTransport::new(client), limiter, tags })
    }

    async fn once(&self, request: Request<Buffer>) -> opendal::Result<Response<HttpBody>> {
        let limit = patience(&request);
        let answer = tokio::time::timeout(limit, self.client.fetch(request)).await.unwrap_or_else(|_| {
            Err(Error::new(ErrorKind::Unexpected, format!("no answer within {} s", limit.as_secs())).set_temporary())
        });
        answer.map(|response| response.map(impatient))
    }
}

/// How long the answer to a request may take. Not the client's own timeout for reading: that one runs while the body is
/// still on its way, and a slow line would never get through.
fn patience(request: &Request<Buffer>) -> Duration {
    let query = request.uri().query().unwrap_or_default();
    let completes = match *request.method() {
        Method::POST => query.contains("uploadId="),
        Method::PUT => query.contains("comp=blocklist"),
        _ => false,
    };
    let at_once = if completes { COMPLETION_MAX } else { REQUEST_MAX };
    at_once + Duration::from_secs(request.body().len() as u64 / BYTES_A_SECOND_MIN)
}

/// An answer that stops in the middle is lost, too.
fn impatient(body: HttpBody) -> HttpBody {
    body.map_inner(|stream| {
        let chunks = futures_util::stream::unfold(stream, |mut stream| async move {
            if let Ok(chunk) = tokio::time::timeout(REQUEST_MAX, stream.next()).await {
                return Some((chunk?, stream));
            }
            let error = Error::new(ErrorKind::Unexpected, "the answer stopped in the middle").set_temporary();
            Some((Err(error), stream))
        });
        Box::new(Box::pin(chunks))
    })
}

impl HttpTransport for Transport {
    async fn fetch(&self, request: Request<Buffer>) -> opendal::Result<Response<HttpBody>> {
        if request.extensions().get::<Operation>().is_none() {
            return self.once(request).await;
        }
        let (mut parts, body) = request.into_parts();
        if let Some(tags) = &self.tags {
            tags.add(&mut parts, &HttpTransporter::new(self.client.clone())).await?;
        }
        let mut tries = 0;
        loop {
            tries += 1;
            let permit = self.limiter.acquire().await;
            let answer = self.once(Request::from_parts(parts.clone(), body.clone())).await;
            let (error, again, wait) = match answer {
                Ok(response) if is_for_opendal(response.status()) => {
                    self.limiter.went_well();
                    return Ok(response);
                }
                Ok(response) => {
                    let (parts, body) = response.into_parts();
                    let body = beginning(body).await;
                    let refusal = Refusal::new(parts.status, &parts.headers, &body);
                    let wait = refusal.retry_after().unwrap_or_else(|| backoff(tries));
                    let again = if refusal.is_throttled() {
                        self.limiter.slow_down(wait);
                        tries < SLOWED_TRIES_MAX && wait <= WAIT_MAX
                    } else {
                        let is_passing = parts.status.is_server_error() && parts.status != StatusCode::NOT_IMPLEMENTED;
                        is_passing && tries < TRIES_MAX
                    };
                    (Error::new(ErrorKind::Unexpected, "the service refused").set_source(refusal), again, wait)
                }
                Err(error) => {
                    let again = error.is_temporary() && tries < TRIES_MAX;
                    (error, again, backoff(tries))
                }
            };
            drop(permit);
            if !again {
                return Err(error);
            }
            tokio::time::sleep(wait).await;
        }
    }
}

/// What an answer that is no success begins with: it may have no end.
async fn beginning(mut body: HttpBody) -> Vec<u8> {
    let mut bytes = Vec::new();
    let read = async {
        while bytes.len() < ERROR_BYTES_MAX {
            match body.read().await {
                Ok(chunk) if !chunk.is_empty() => bytes.extend_from_slice(&chunk.to_bytes()),
                _ => break,
            }
        }
    };
    tokio::time::timeout(CONNECT_MAX, read).await.ok();
    bytes.truncate(ERROR_BYTES_MAX);
    bytes
}

/// Success, and the refusals that opendal has to see: "not there", and "not as you expected".
fn is_for_opendal(status: StatusCode) -> bool {
    status.is_success() || matches!(status.as_u16(), 304 | 308 | 404 | 409 | 412 | 416)
}

/// Doubled with each try, and spread: requests that failed together do not come back together.
fn backoff(tries: u32) -> Duration {
    let most = BACKOFF * 2_u32.pow(tries.min(6));
    most.mul_f64(0.5 + fastrand::f64() / 2.0)
}

/// The machine's own certificates, and those of a file.
fn tls(ca_file: Option<&Path>) -> Result<rustls::ClientConfig, SinkError> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Some(path) = ca_file {
        let wrong = |why: &dyn std::fmt::Display| {
            SinkError::config(format!(
                "ca_file = {}: {why}\nhint: a file of certificates in PEM, such as those of your own authority",
                path.display()
            ))
        };
        let certificates = CertificateDer::pem_file_iter(path).map_err(|error| wrong(&error))?;
        let mut count = 0;
        for certificate in certificates {
            roots.add(certificate.map_err(|error| wrong(&error))?).map_err(|error| wrong(&error))?;
            count += 1;
        }
        if count == 0 {
            return Err(wrong(&"it holds no certificate"));
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| SinkError::config("TLS cannot be set up").with_source(error))?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_line_and_a_slow_completion_have_their_time() {
        let of = |method: &str, uri: &str, bytes: usize| {
            let body = Buffer::from(vec![0; bytes]);
            patience(&Request::builder().method(method).uri(uri).body(body).unwrap())
        };
        assert_eq!(of("HEAD", "http://h/b/k", 0), REQUEST_MAX);
        let part = of("PUT", "http://h/b/k?partNumber=1&uploadId=x", 8 << 20);
        assert_eq!(part, REQUEST_MAX + Duration::from_secs(256));
        assert_eq!(of("POST", "http://h/b/k?uploadId=x", 100), COMPLETION_MAX);
        assert_eq!(of("PUT", "http://h/c/k?comp=blocklist", 100), COMPLETION_MAX);
        assert_eq!(of("POST", "http://h/b/k?uploads", 0), REQUEST_MAX);
    }
}
