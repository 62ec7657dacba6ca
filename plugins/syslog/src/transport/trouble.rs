//! What went wrong with TLS, in words of the person who has to mend it.

use std::io;

use litmus_core::{SinkError, Status};
use rustls::{AlertDescription, CertificateError, Error};

use super::wire::Answered;
use crate::address::Address;

/// Trouble with TLS: which certificate, why, and what to do.
pub(super) struct Trouble {
    status: Status,
    what: String,
    hint: &'static str,
}

/// What an error of a stream says about TLS, or about who is there, if it does.
pub(super) fn of(error: &io::Error) -> Option<Trouble> {
    let error = error.get_ref()?;
    if let Some(answered) = error.downcast_ref::<Answered>() {
        return Some(Trouble {
            status: Status::Config,
            what: format!("{answered}, so it is no receiver of syslog"),
            hint: "is `address` the port of another service?",
        });
    }
    error.downcast_ref::<Error>().map(explain)
}

impl Trouble {
    /// As an error of this receiver.
    pub(super) fn at(self, address: &Address) -> SinkError {
        SinkError::new(self.status, format!("{address}: {}\nhint: {}", self.what, self.hint))
    }
}

fn explain(error: &Error) -> Trouble {
    let trouble = |status, what: String, hint| Trouble { status, what, hint };
    match error {
        Error::InvalidCertificate(why) => {
            let (what, hint) = of_certificate(why);
            trouble(Status::Auth, format!("the receiver's certificate {what}"), hint)
        }
        Error::NoCertificatesPresented => trouble(
            Status::Auth,
            "the receiver shows no certificate".into(),
            "give the receiver a certificate; an anonymous one proves nothing",
        ),
        Error::AlertReceived(alert) => of_alert(*alert),
        Error::InvalidMessage(_) | Error::InappropriateMessage { .. } | Error::InappropriateHandshakeMessage { .. } => {
            trouble(
                Status::Config,
                "the receiver does not speak TLS".into(),
                "its TLS port is another one (6514 by custom); without TLS the address is tcp://HOST:PORT",
            )
        }
        other => trouble(Status::Transient, format!("TLS failed: {other}"), "the receiver's log says more"),
    }
}

/// What is wrong with the receiver's certificate, as we see it.
fn of_certificate(error: &CertificateError) -> (String, &'static str) {
    match error {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            (format!("has expired: {error}"), "renew it at the receiver; if it is good, this machine's clock is wrong")
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            (format!("is not valid yet: {error}"), "is this machine's clock right?")
        }
        CertificateError::UnknownIssuer | CertificateError::BadSignature => (
            format!("is not signed by an authority that is trusted here: {error}"),
            "set ca_file to the PEM file of the authority that signed it",
        ),
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => (
            format!("is for another name: {error}"),
            "use the name in the certificate in `address`, or set server_name to it",
        ),
        CertificateError::Revoked => ("was revoked".into(), "give the receiver a new one"),
        other => (format!("is refused: {other}"), "look at it with `openssl x509 -noout -text`"),
    }
}

/// What the receiver finds wrong, nearly always with our certificate.
fn of_alert(alert: AlertDescription) -> Trouble {
    let ours =
        |what: &str, hint| Trouble { status: Status::Auth, what: format!("the receiver refuses us: {what}"), hint };
    match alert {
        AlertDescription::CertificateRequired => {
            ours("it wants a client certificate", "set client_cert_file and client_key_file")
        }
        AlertDescription::CertificateExpired => ours("our client certificate has expired", "renew client_cert_file"),
        AlertDescription::CertificateRevoked => ours("our client certificate was revoked", "renew client_cert_file"),
        AlertDescription::UnknownCA => ours(
            "it does not trust the authority of our client certificate",
            "have client_cert_file signed by an authority that the receiver's CA file holds",
        ),
        AlertDescription::BadCertificate
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::CertificateUnknown
        | AlertDescription::DecryptError
        | AlertDescription::AccessDenied => ours(
            &format!("it does not accept our client certificate (alert {alert:?})"),
            "the receiver's log says why; set client_cert_file and client_key_file if it wants one",
        ),
        AlertDescription::HandshakeFailure => ours(
            "no common ground for TLS (alert HandshakeFailure)",
            "with TLS 1.2 this is also how a receiver asks for a client certificate: set client_cert_file and client_key_file",
        ),
        AlertDescription::ProtocolVersion => Trouble {
            status: Status::Config,
            what: "the receiver speaks no TLS version that is safe".into(),
            hint: "it needs TLS 1.2 or 1.3",
        },
        other => Trouble {
            status: Status::Transient,
            what: format!("the receiver ended TLS: alert {other:?}"),
            hint: "the receiver's log says more",
        },
    }
}
