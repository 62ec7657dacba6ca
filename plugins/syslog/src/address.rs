//! Where messages go: `address = "tcp+tls://collector:6514"`.

use std::fmt;
use std::path::PathBuf;

use litmus_core::SinkError;

/// A transport and its receiver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    /// RFC 5426.
    Udp(Host),
    /// RFC 6587.
    Tcp(Host),
    /// RFC 5425.
    Tls(Host),
    /// A datagram socket of this machine, such as `/dev/log`.
    UnixDatagram(PathBuf),
    /// A stream socket of this machine.
    UnixStream(PathBuf),
}

/// A host and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Host {
    /// A name or an address; IPv6 without brackets, lower case.
    pub(crate) name: String,
    pub(crate) port: u16,
}

/// RFC 5426, section 3.3; what receivers listen on for TCP, too.
const PLAIN_PORT: u16 = 514;
/// RFC 5425, section 4.1.
const TLS_PORT: u16 = 6514;

const EXAMPLES: &str =
    "hint: udp://HOST:514, tcp://HOST:514, tcp+tls://HOST:6514, unix:///dev/log (datagrams) or unix+stream:///PATH";

impl Address {
    /// Reads it; the error says what an address looks like.
    pub(crate) fn parse(text: &str) -> Result<Self, SinkError> {
        let wrong = |why: &str| SinkError::config(format!("address = {text:?} {why}\n{EXAMPLES}"));
        let (scheme, rest) = text.split_once("://").ok_or_else(|| wrong("has no transport"))?;
        let host = |port| Host::parse(rest, port).map_err(|why| wrong(&why));
        let path = || {
            let good = rest.starts_with('/') && !rest.contains('\0') && rest.len() <= UNIX_PATH_BYTES_MAX;
            if good { Ok(PathBuf::from(rest)) } else { Err(wrong("needs an absolute path of at most 107 bytes")) }
        };
        match scheme.to_ascii_lowercase().as_str() {
            "udp" => host(PLAIN_PORT).map(Self::Udp),
            "tcp" => host(PLAIN_PORT).map(Self::Tcp),
            "tcp+tls" | "tls" => host(TLS_PORT).map(Self::Tls),
            "unix" | "unix+dgram" => path().map(Self::UnixDatagram),
            "unix+stream" => path().map(Self::UnixStream),
            other => Err(wrong(&format!("has the unknown transport \"{other}\""))),
        }
    }

    /// Whether a message is a datagram of its own, with nothing around it.
    pub(crate) fn is_datagram(&self) -> bool {
        matches!(self, Self::Udp(_) | Self::UnixDatagram(_))
    }
}

/// `sun_path` has 108 bytes, one of them for the end.
const UNIX_PATH_BYTES_MAX: usize = 107;

impl Host {
    fn parse(text: &str, default_port: u16) -> Result<Self, String> {
        let text = text.strip_suffix('/').unwrap_or(text);
        let (name, port) = if let Some(rest) = text.strip_prefix('[') {
            let (name, port) = rest.split_once(']').ok_or("lacks a ]")?;
            (name, if port.is_empty() { None } else { Some(port.strip_prefix(':').ok_or("has text after the ]")?) })
        } else {
            match text.rsplit_once(':') {
                Some((name, _)) if name.contains(':') => {
                    return Err("has an IPv6 address without brackets, as in [::1]:514".into());
                }
                Some((name, port)) => (name, Some(port)),
                None => (text, None),
            }
        };
        let is_plain = |byte: u8| byte.is_ascii_graphic() && !b"/?#@\"\\".contains(&byte);
        if name.is_empty() || !name.bytes().all(is_plain) {
            return Err("names no host".into());
        }
        let port = match port {
            None => default_port,
            Some(port) => port
                .parse()
                .ok()
                .filter(|port| *port != 0)
                .ok_or_else(|| format!("has the port {port:?}, which is no number from 1 to 65535"))?,
        };
        Ok(Self { name: name.to_ascii_lowercase(), port })
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.name.contains(':') {
            write!(f, "[{}]:{}", self.name, self.port)
        } else {
            write!(f, "{}:{}", self.name, self.port)
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Udp(host) => write!(f, "udp://{host}"),
            Self::Tcp(host) => write!(f, "tcp://{host}"),
            Self::Tls(host) => write!(f, "tcp+tls://{host}"),
            Self::UnixDatagram(path) => write!(f, "unix://{}", path.display()),
            Self::UnixStream(path) => write!(f, "unix+stream://{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_prints_in_one_way() {
        for (given, printed) in [
            ("udp://Collector", "udp://collector:514"),
            ("tcp://10.0.0.7:1514/", "tcp://10.0.0.7:1514"),
            ("tls://logs.example", "tcp+tls://logs.example:6514"),
            ("TCP+TLS://[2001:db8::1]", "tcp+tls://[2001:db8::1]:6514"),
            ("unix:///dev/log", "unix:///dev/log"),
            ("unix+stream:///run/log.sock", "unix+stream:///run/log.sock"),
        ] {
            let address = Address::parse(given).unwrap();
            assert_eq!(address.to_string(), printed);
            assert_eq!(Address::parse(printed).unwrap(), address);
        }
    }

    #[test]
    fn what_is_no_address_is_refused_with_examples() {
        for (given, why) in [
            ("collector:514", "has no transport"),
            ("http://collector", "unknown transport \"http\""),
            ("tcp://", "names no host"),
            ("tcp://user@host", "names no host"),
            ("tcp://host:0", "has the port \"0\""),
            ("tcp://host:99999", "has the port \"99999\""),
            ("tcp://::1:514", "without brackets"),
            ("tcp://[::1", "lacks a ]"),
            ("unix://dev/log", "absolute path"),
        ] {
            let error = Address::parse(given).unwrap_err().to_string();
            assert!(error.contains(why) && error.contains("\nhint: udp://HOST:514"), "{error}");
        }
    }
}
