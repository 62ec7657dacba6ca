//! What a refusal of an object store means: which status, which words.

use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

use http::{HeaderMap, StatusCode};
use litmus_core::{SinkError, Status};
use opendal::ErrorKind;

/// The longest wait that a service can ask for: one that says a year is wrong, and nobody would notice.
const RETRY_AFTER_MAX: Duration = Duration::from_hours(1);
/// A clock that is this far off makes signatures invalid (S3 allows 15 minutes).
const SKEW_SECONDS_MAX: i64 = 300;

/// An answer that is no success, as the service gave it.
#[derive(Debug)]
pub(crate) struct Refusal {
    status: StatusCode,
    /// `SlowDown`, `AuthenticationFailed`.
    code: String,
    message: String,
    retry_after: Option<Duration>,
    /// Seconds that this machine's clock is ahead of the service's.
    skew_seconds: Option<i64>,
    region: Option<String>,
}

impl Refusal {
    /// From an answer; `body` may be empty (HEAD).
    pub(crate) fn new(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Self {
        let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let body = String::from_utf8_lossy(body);
        let code = tag(&body, "Code").or_else(|| header("x-ms-error-code").map(str::to_owned));
        let message = tag(&body, "Message").or_else(|| {
            let json: serde_json::Value = serde_json::from_str(&body).ok()?;
            Some(json["error"]["message"].as_str()?.to_owned())
        });
        let skew_seconds = header("date").and_then(|date| {
            let theirs = jiff::fmt::rfc2822::parse(date).ok()?.timestamp();
            Some(jiff::Timestamp::now().as_second() - theirs.as_second())
        });
        Self {
            status,
            code: code.unwrap_or_default(),
            message: message.unwrap_or_default(),
            retry_after: retry_after(headers),
            skew_seconds,
            region: header("x-amz-bucket-region").map(str::to_owned),
        }
    }

    pub(crate) fn is_throttled(&self) -> bool {
        matches!(self.status.as_u16(), 429 | 503) || matches!(self.code.as_str(), "SlowDown" | "ServerBusy")
    }

    pub(crate) fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    fn is_auth(&self) -> bool {
        matches!(self.status.as_u16(), 401 | 403)
            || matches!(
                self.code.as_str(),
                "ExpiredToken"
                    | "InvalidToken"
                    | "TokenRefreshRequired"
                    | "InvalidAccessKeyId"
                    | "MissingSecurityHeader"
            )
    }

    fn status(&self) -> Status {
        let is_config = matches!(
            self.code.as_str(),
            "AuthorizationHeaderMalformed"
                | "IllegalLocationConstraintException"
                | "InvalidBucketName"
                | "InvalidEncryptionAlgorithmError"
                | "InvalidStorageClass"
                | "InvalidTag"
                | "KMS.DisabledException"
                | "KMS.NotFoundException"
        );
        match self.status.as_u16() {
            _ if self.is_auth() => Status::Auth,
            _ if is_config => Status::Config,
            _ if self.is_throttled() => Status::Throttled,
            300..=399 | 404 | 405 | 501 => Status::Config,
            413 => Status::Data,
            400 if matches!(self.code.as_str(), "EntityTooLarge" | "KeyTooLongError" | "MetadataTooLarge") => {
                Status::Data
            }
            409 | 412 => Status::Conflict,
            _ => Status::Transient,
        }
    }

    fn hint(&self) -> String {
        let skew = self.skew_seconds.filter(|seconds| seconds.abs() > SKEW_SECONDS_MAX);
        match (self.status(), self.code.as_str()) {
            (Status::Auth, _) if skew.is_some() => format!(
                "this machine's clock is {} {} the service's, and requests are signed with the time: set the clock",
                span(skew.unwrap_or_default().unsigned_abs()),
                if skew > Some(0) { "ahead of" } else { "behind" }
            ),
            (Status::Auth, "RequestTimeTooSkewed") => "requests are signed with the time: set this machine's clock".into(),
            (Status::Auth, "ExpiredToken" | "TokenRefreshRequired") => {
                "the temporary credentials have expired: get new ones".into()
            }
            (Status::Auth, "SignatureDoesNotMatch") => "the secret key does not fit the access key".into(),
            (Status::Auth, _) => "the credentials need to read, write and list here; see docs/sinks/cloud.md".into(),
            (Status::Config, _) if self.region.is_some() => {
                format!("set options.region = \"{}\"", self.region.as_deref().unwrap_or_default())
            }
            (Status::Config, _) if self.status == StatusCode::NOT_IMPLEMENTED => {
                "the service may not know puts that only create: create_only = false does without, with a weaker guarantee".into()
            }
            (Status::Config, "InvalidTag") => "look at tags".into(),
            (Status::Config, code) if code.contains("Storage") || code.contains("KMS") || code.contains("Encryption") => {
                "look at options.default_storage_class and options.server_side_encryption".into()
            }
            (Status::Config, _) => "look at uri, options.endpoint and options.region".into(),
            _ => String::new(),
        }
    }
}

/// A span of time for a person.
fn span(seconds: u64) -> String {
    if seconds < 7200 { format!("{} minutes", seconds / 60) } else { format!("{} hours", seconds / 3600) }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.status.as_u16())?;
        for text in [self.code.as_str(), self.message.as_str()] {
            if !text.is_empty() {
                write!(f, " {text}")?;
            }
        }
        if self.code.is_empty() && self.message.is_empty() {
            write!(f, " {}", self.status.canonical_reason().unwrap_or_default())?;
        }
        Ok(())
    }
}

impl StdError for Refusal {}

/// What stands in an XML element; error documents are flat.
fn tag(body: &str, name: &str) -> Option<String> {
    let (_, rest) = body.split_once(&format!("<{name}>"))?;
    let (text, _) = rest.split_once(&format!("</{name}>"))?;
    let first = text.lines().next().unwrap_or_default().trim();
    (!first.is_empty()).then(|| first.to_owned())
}

/// `Retry-After`: seconds, or a date (RFC 9110 section 10.2.3).
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(http::header::RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = match text.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) if text.bytes().all(|byte| byte.is_ascii_digit()) => RETRY_AFTER_MAX,
        Err(_) => {
            let until = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
            Duration::try_from(until - jiff::Timestamp::now()).unwrap_or_default()
        }
    };
    Some(wait.min(RETRY_AFTER_MAX))
}

/// The sink's error for opendal's: `what` names the object or the destination.
pub(crate) fn of(error: &opendal::Error, what: &str, scrub: &dyn Fn(&str) -> String) -> SinkError {
    if let Some(refusal) = refusal_in(error) {
        let hint = refusal.hint();
        let hint = if hint.is_empty() { hint } else { format!("\nhint: {hint}") };
        let sink_error =
            SinkError::new(refusal.status(), scrub(&format!("{what}: the service answered {refusal}{hint}")));
        return match refusal.retry_after() {
            Some(wait) => sink_error.with_retry_after(wait),
            None => sink_error,
        };
    }
    let mut text = error.message().to_owned();
    let mut cause = error.source();
    while let Some(source) = cause {
        let said = source.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        cause = source.source();
    }
    let is_certificate = text.contains("invalid peer certificate");
    let is_signing = text.contains("sign") || text.contains("credential");
    let (status, hint) = match error.kind() {
        ErrorKind::NotFound => (Status::Config, "\nhint: the bucket or container has to exist"),
        ErrorKind::ConfigInvalid if text.contains("NoSuchBucket") => {
            (Status::Config, "\nhint: the bucket or container has to exist")
        }
        ErrorKind::ConfigInvalid | ErrorKind::Unsupported => (Status::Config, ""),
        ErrorKind::PermissionDenied => (Status::Auth, ""),
        _ if is_certificate => (
            Status::Config,
            "\nhint: set ca_file to the authority that signed it; options.endpoint has the name in it, and this machine's clock is right",
        ),
        ErrorKind::RateLimited => (Status::Throttled, ""),
        ErrorKind::Conflict | ErrorKind::ConditionNotMatch | ErrorKind::AlreadyExists => (Status::Conflict, ""),
        ErrorKind::Unexpected if is_signing && !error.is_temporary() => {
            (Status::Auth, "\nhint: set credentials as the cloud's own tools take them, or in options")
        }
        _ => (Status::Transient, ""),
    };
    SinkError::new(status, scrub(&format!("{what}: {text}{hint}")))
}

fn refusal_in(error: &opendal::Error) -> Option<&Refusal> {
    let mut cause: Option<&(dyn StdError + 'static)> = Some(error);
    while let Some(source) = cause {
        if let Some(refusal) = source.downcast_ref::<Refusal>() {
            return Some(refusal);
        }
        cause = source.source();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(status: u16, headers: &[(&str, &str)], body: &str) -> Refusal {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(http::HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
        }
        Refusal::new(StatusCode::from_u16(status).unwrap(), &map, body.as_bytes())
    }

    #[test]
    fn answers_have_the_class_that_the_host_needs() {
        let xml = |code: &str| format!("<Error><Code>{code}</Code><Message>why</Message></Error>");
        for (status, code, expected) in [
            (401, "", Status::Auth),
            (403, "AccessDenied", Status::Auth),
            (403, "RequestTimeTooSkewed", Status::Auth),
            (400, "ExpiredToken", Status::Auth),
            (400, "AuthorizationHeaderMalformed", Status::Config),
            (400, "InvalidStorageClass", Status::Config),
            (400, "KMS.NotFoundException", Status::Config),
            (404, "NoSuchBucket", Status::Config),
            (301, "PermanentRedirect", Status::Config),
            (409, "OperationAborted", Status::Conflict),
            (412, "PreconditionFailed", Status::Conflict),
            (429, "", Status::Throttled),
            (503, "SlowDown", Status::Throttled),
            (500, "InternalError", Status::Transient),
            (400, "KeyTooLongError", Status::Data),
            (400, "RequestTimeout", Status::Transient),
        ] {
            assert_eq!(refusal(status, &[], &xml(code)).status(), expected, "{status} {code}");
        }
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        assert_eq!(refusal(503, &[("retry-after", "7")], "").retry_after(), Some(Duration::from_secs(7)));
        let date = refusal(503, &[("retry-after", "Wed, 21 Oct 2015 07:28:00 GMT")], "");
        assert_eq!(date.retry_after(), Some(Duration::ZERO), "a date that has passed");
        assert_eq!(refusal(503, &[("retry-after", "soon")], "").retry_after(), None);
        for forever in ["86400", "18446744073709551615", "99999999999999999999999", "1 Jan 2900 00:00:00 GMT"] {
            let wait = refusal(503, &[("retry-after", forever)], "").retry_after();
            assert_eq!(wait, Some(RETRY_AFTER_MAX), "{forever}");
        }
    }

    #[test]
    fn a_clock_that_is_off_is_named() {
        let old = refusal(403, &[("date", "Wed, 21 Oct 2015 07:28:00 GMT")], "<Code>RequestTimeTooSkewed</Code>");
        assert!(old.hint().contains("hours ahead of the service's"), "{}", old.hint());
        let error = opendal::Error::new(ErrorKind::Unexpected, "refused").set_source(old);
        let error = of(&error, "s3://b/k", &|text| text.replace("Requ", "***"));
        assert_eq!(error.status(), Status::Auth);
        assert!(
            error.to_string().starts_with("s3://b/k: the service answered 403 ***estTimeTooSkewed\nhint: "),
            "{error}"
        );
    }

    #[test]
    fn json_and_headers_are_understood_too() {
        let gcs = refusal(403, &[], r#"{"error": {"code": 403, "message": "no access"}}"#);
        assert_eq!(gcs.to_string(), "403 no access");
        let azure = refusal(403, &[("x-ms-error-code", "AuthenticationFailed")], "");
        assert_eq!(azure.to_string(), "403 AuthenticationFailed");
        assert_eq!(refusal(502, &[], "").to_string(), "502 Bad Gateway");
    }
}
