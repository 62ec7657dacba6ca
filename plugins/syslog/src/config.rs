//! What the user sets, and what becomes of it.

use std::path::PathBuf;
use std::time::Duration;

use litmus_core::{SinkError, Vocabulary};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::address::Address;
use crate::priority::{Facility, Severities};

/// Runs as syslog messages (RFC 5424).
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    /// Transport and receiver: `udp://HOST:514`, `tcp://HOST:514`, `tcp+tls://HOST:6514`, `unix:///dev/log` (datagrams) or
    /// `unix+stream:///PATH`.
    pub(crate) address: String,
    /// What is sent: `run` (one message a run), `failures` (and one for each step and measurement that did not pass) or
    /// `measurements` (one for each step and measurement).
    #[serde(default)]
    pub(crate) detail: Detail,
    /// How messages are told apart on a stream: `octet-counting` or `newline` (both RFC 6587).
    #[serde(default)]
    pub(crate) framing: Option<Framing>,
    /// The facility of every message: `local0` to `local7`, `user`, `daemon`, ….
    #[serde(default)]
    pub(crate) facility: Facility,
    /// The severity of each outcome, such as `{ failed = "alert" }`; others keep their default.
    #[serde(default)]
    pub(crate) severity: Severities,
    /// APP-NAME: at most 48 letters, digits and punctuation, without a space.
    #[serde(default = "app_name_default")]
    pub(crate) app_name: String,
    /// HOSTNAME; else the station's host name, else its id.
    #[serde(default)]
    pub(crate) hostname: Option<String>,
    /// The private enterprise number in `[litmus@NUMBER …]`. The default is the one that RFC 5612 sets aside for
    /// documentation; put your company's there if your collector tells senders apart by it.
    #[serde(default = "enterprise_number_default")]
    pub(crate) enterprise_number: u32,
    /// How structured data is spelled: `litmus` (dut_serial, product_id) or `testerkit` (uut_serial_number, part_id).
    #[serde(default)]
    pub(crate) vocabulary: Vocabulary,
    /// Columns to add to the structured data, by canonical name; a `*` at the end stands for any ending.
    #[serde(default = "columns_default")]
    pub(crate) columns: Vec<String>,
    /// The longest message; default 8192, over UDP 1180, which fits any path unfragmented.
    #[serde(default)]
    #[schemars(range(min = MESSAGE_BYTES_LEAST, max = STREAM_MESSAGE_BYTES_MOST))]
    pub(crate) max_message_bytes: Option<usize>,
    /// The most messages in a second; 0: no limit. Default 0, over UDP 10000, because nothing there says that a receiver
    /// cannot keep up.
    #[serde(default)]
    pub(crate) messages_per_second_max: Option<u32>,
    /// PEM file with the authorities that may have signed the receiver's certificate; else those of this machine.
    #[serde(default)]
    pub(crate) ca_file: Option<PathBuf>,
    /// PEM file with the certificate that this sender shows, and its chain.
    #[serde(default)]
    pub(crate) client_cert_file: Option<PathBuf>,
    /// PEM file with the private key of `client_cert_file`.
    #[serde(default)]
    pub(crate) client_key_file: Option<PathBuf>,
    /// The name in the receiver's certificate, where it is not the host of `address`.
    #[serde(default)]
    pub(crate) server_name: Option<String>,
    /// How long connecting may take, TLS included.
    #[serde(default = "connect_timeout_ms_default")]
    pub(crate) connect_timeout_ms: u64,
    /// How long a receiver may take nothing before the connection counts as lost.
    #[serde(default = "stall_timeout_ms_default")]
    pub(crate) stall_timeout_ms: u64,
    /// How long to wait at the end of a batch for the receiver to close the connection, too: what proves that it read
    /// everything. 0: do not wait; receipts then say `sent`.
    #[serde(default = "close_timeout_ms_default")]
    pub(crate) close_timeout_ms: u64,
}

/// How much is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Detail {
    /// One message a run.
    Run,
    /// And one for each step and measurement that did not pass.
    #[default]
    Failures,
    /// And one for each step and measurement.
    Measurements,
}

/// How messages are told apart on a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Framing {
    /// The length before each message: RFC 6587, section 3.4.1, and the only one RFC 5425 knows.
    OctetCounting,
    /// A line feed after each message: RFC 6587, section 3.4.2.
    Newline,
}

/// A message of this size holds header, `msg_id` and `run_id`, however long the other values are.
const MESSAGE_BYTES_LEAST: usize = 600;
const STREAM_MESSAGE_BYTES_MOST: usize = 1 << 20;
/// The largest UDP payload over IPv4.
const DATAGRAM_MESSAGE_BYTES_MOST: usize = 65_507;
/// 1,280, the least MTU of IPv6 (RFC 8200), less 40 for its header, 8 for UDP's, and some room for extension headers.
const UDP_MESSAGE_BYTES: usize = 1180;
/// What rsyslog takes by default; RFC 5425, section 4.3.1, asks receivers for 8192.
const MESSAGE_BYTES: usize = 8192;
/// About 10 MB/s of the default size at most: what a receiver with the kernel's default buffer keeps up with.
const UDP_MESSAGES_PER_SECOND: u32 = 10_000;

fn app_name_default() -> String {
    "litmus".into()
}

const fn enterprise_number_default() -> u32 {
    32_473
}

fn columns_default() -> Vec<String> {
    vec!["in_*".into(), "custom_*".into()]
}

const fn connect_timeout_ms_default() -> u64 {
    10_000
}

const fn stall_timeout_ms_default() -> u64 {
    30_000
}

const fn close_timeout_ms_default() -> u64 {
    5_000
}

/// The configuration, checked.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) address: Address,
    pub(crate) detail: Detail,
    pub(crate) framing: Framing,
    pub(crate) facility: Facility,
    pub(crate) severity: Severities,
    pub(crate) app_name: String,
    pub(crate) hostname: Option<String>,
    pub(crate) enterprise_number: u32,
    pub(crate) vocabulary: Vocabulary,
    pub(crate) columns: Vec<String>,
    pub(crate) message_bytes_max: usize,
    /// `None`: no limit.
    pub(crate) messages_per_second_max: Option<u32>,
    pub(crate) tls: TlsFiles,
    pub(crate) connect_timeout: Duration,
    pub(crate) stall_timeout: Duration,
    pub(crate) close_timeout: Duration,
}

/// What TLS needs from this machine.
#[derive(Clone, Debug, Default)]
pub(crate) struct TlsFiles {
    pub(crate) ca_file: Option<PathBuf>,
    /// Certificate and key.
    pub(crate) client: Option<(PathBuf, PathBuf)>,
    pub(crate) server_name: Option<String>,
}

impl TryFrom<Config> for Settings {
    type Error = SinkError;

    fn try_from(config: Config) -> Result<Self, SinkError> {
        let address = Address::parse(&config.address)?;
        let tls = tls_files(&config, &address)?;
        let is_udp = matches!(address, Address::Udp(_));
        let (default, most) = match (is_udp, address.is_datagram()) {
            (true, _) => (UDP_MESSAGE_BYTES, DATAGRAM_MESSAGE_BYTES_MOST),
            (_, true) => (MESSAGE_BYTES, DATAGRAM_MESSAGE_BYTES_MOST),
            (..) => (MESSAGE_BYTES, STREAM_MESSAGE_BYTES_MOST),
        };
        let message_bytes_max = config.max_message_bytes.unwrap_or(default);
        if !(MESSAGE_BYTES_LEAST..=most).contains(&message_bytes_max) {
            return Err(SinkError::config(format!(
                "max_message_bytes = {message_bytes_max} is out of range\nhint: {MESSAGE_BYTES_LEAST} to {most} at {address}"
            )));
        }
        if config.framing.is_some() && address.is_datagram() {
            return Err(SinkError::config(format!(
                "framing has no meaning at {address}: each message is a datagram\nhint: leave it out"
            )));
        }
        // syslog-ng, the only common receiver on a Unix stream, reads lines there.
        let framing = config.framing.unwrap_or(match address {
            Address::UnixStream(_) => Framing::Newline,
            _ => Framing::OctetCounting,
        });
        header_token("app_name", &config.app_name, APP_NAME_BYTES_MAX)?;
        if let Some(hostname) = &config.hostname {
            header_token("hostname", hostname, HOSTNAME_BYTES_MAX)?;
        }
        if let Some(column) =
            config.columns.iter().find(|column| column.is_empty() || column.trim_end_matches('*').contains('*'))
        {
            return Err(SinkError::config(format!(
                "columns: {column:?} is neither a column nor the beginning of one\nhint: \"operator_id\", or \"in_*\" for all that begin so"
            )));
        }
        let default_rate = if is_udp { UDP_MESSAGES_PER_SECOND } else { 0 };
        Ok(Self {
            address,
            detail: config.detail,
            framing,
            facility: config.facility,
            severity: config.severity,
            app_name: config.app_name,
            hostname: config.hostname,
            enterprise_number: config.enterprise_number,
            vocabulary: config.vocabulary,
            columns: config.columns,
            message_bytes_max,
            messages_per_second_max: Some(config.messages_per_second_max.unwrap_or(default_rate))
                .filter(|rate| *rate > 0),
            tls,
            connect_timeout: Duration::from_millis(config.connect_timeout_ms.max(1)),
            stall_timeout: Duration::from_millis(config.stall_timeout_ms.max(1)),
            close_timeout: Duration::from_millis(config.close_timeout_ms),
        })
    }
}

/// RFC 5424, section 6: the longest HOSTNAME and APP-NAME.
pub(crate) const HOSTNAME_BYTES_MAX: usize = 255;
const APP_NAME_BYTES_MAX: usize = 48;

fn header_token(key: &str, value: &str, bytes_max: usize) -> Result<(), SinkError> {
    let good = (1..=bytes_max).contains(&value.len()) && value.bytes().all(|byte| byte.is_ascii_graphic());
    if good {
        return Ok(());
    }
    Err(SinkError::config(format!(
        "{key} = {value:?} cannot stand in a syslog header\nhint: 1 to {bytes_max} ASCII letters, digits and punctuation, no space"
    )))
}

fn tls_files(config: &Config, address: &Address) -> Result<TlsFiles, SinkError> {
    let given = [
        ("ca_file", config.ca_file.is_some()),
        ("client_cert_file", config.client_cert_file.is_some()),
        ("client_key_file", config.client_key_file.is_some()),
        ("server_name", config.server_name.is_some()),
    ];
    if let (false, Some((key, _))) = (matches!(address, Address::Tls(_)), given.iter().find(|(_, given)| *given)) {
        return Err(SinkError::config(format!(
            "{key} has no meaning at {address}\nhint: address = \"tcp+tls://HOST:6514\" for TLS"
        )));
    }
    let client = match (&config.client_cert_file, &config.client_key_file) {
        (Some(cert), Some(key)) => Some((cert.clone(), key.clone())),
        (None, None) => None,
        (Some(_), None) => {
            return Err(SinkError::config("client_cert_file is set without client_key_file\nhint: set both"));
        }
        (None, Some(_)) => {
            return Err(SinkError::config("client_key_file is set without client_cert_file\nhint: set both"));
        }
    };
    if let Some(name) = &config.server_name
        && rustls::pki_types::ServerName::try_from(name.as_str()).is_err()
    {
        return Err(SinkError::config(format!("server_name = {name:?} is neither a host name nor an address")));
    }
    Ok(TlsFiles { ca_file: config.ca_file.clone(), client, server_name: config.server_name.clone() })
}

impl Settings {
    /// `syslog+tcp+tls://host:6514`. Facility and app_name are part of it where they are not the default: collectors route by
    /// them, so that two sinks at one address that differ in them have a ledger each.
    pub(crate) fn destination_id(&self) -> String {
        let mut id = format!("syslog+{}", self.address);
        let mut separator = '?';
        if self.facility != Facility::default() {
            id.push_str(&format!("{separator}facility={}", format!("{:?}", self.facility).to_lowercase()));
            separator = '&';
        }
        if self.app_name != app_name_default() {
            id.push_str(&format!("{separator}app_name={}", self.app_name));
        }
        id
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn settings(config: serde_json::Value) -> Result<Settings, String> {
        let config: Config = serde_json::from_value(config).map_err(|error| error.to_string())?;
        Settings::try_from(config).map_err(|error| error.to_string())
    }

    #[test]
    fn defaults_are_those_of_the_documentation() {
        let udp = settings(json!({ "address": "udp://h" })).unwrap();
        assert_eq!((udp.message_bytes_max, udp.messages_per_second_max), (1180, Some(10_000)));
        let tcp = settings(json!({ "address": "tcp://h" })).unwrap();
        assert_eq!((tcp.message_bytes_max, tcp.messages_per_second_max), (8192, None));
        assert_eq!(
            (tcp.framing, tcp.detail, tcp.facility),
            (Framing::OctetCounting, Detail::Failures, Facility::Local0)
        );
        assert_eq!((tcp.enterprise_number, tcp.app_name.as_str()), (32_473, "litmus"));
        assert_eq!((tcp.connect_timeout, tcp.close_timeout), (Duration::from_secs(10), Duration::from_secs(5)));
        assert_eq!(tcp.columns, ["in_*", "custom_*"]);
        assert_eq!(settings(json!({ "address": "unix+stream:///s" })).unwrap().framing, Framing::Newline);
    }

    #[test]
    fn a_destination_is_an_address_and_what_collectors_route_by() {
        let id = |config| settings(config).unwrap().destination_id();
        assert_eq!(id(json!({ "address": "tls://Logs.example" })), "syslog+tcp+tls://logs.example:6514");
        assert_eq!(
            id(json!({ "address": "udp://h", "facility": "local3", "app_name": "eol" })),
            "syslog+udp://h:514?facility=local3&app_name=eol"
        );
        let plain = json!({ "address": "tcp://h", "detail": "run", "max_message_bytes": 700 });
        assert_eq!(id(plain), id(json!({ "address": "tcp://h:514" })), "what is sent does not change where it goes");
    }

    #[test]
    fn what_cannot_work_is_refused_with_a_hint() {
        for (config, key) in [
            (json!({ "address": "tcp://h", "max_message_bytes": 599 }), "max_message_bytes"),
            (json!({ "address": "udp://h", "max_message_bytes": 65_508 }), "max_message_bytes"),
            (json!({ "address": "udp://h", "framing": "newline" }), "framing"),
            (json!({ "address": "tcp://h", "app_name": "two words" }), "app_name"),
            (json!({ "address": "tcp://h", "app_name": "x".repeat(49) }), "app_name"),
            (json!({ "address": "tcp://h", "hostname": "" }), "hostname"),
            (json!({ "address": "tcp://h", "columns": ["a*b"] }), "columns"),
            (json!({ "address": "tcp://h", "ca_file": "/ca.pem" }), "ca_file"),
            (json!({ "address": "tls://h", "client_cert_file": "/c.pem" }), "client_key_file"),
            (json!({ "address": "tls://h", "client_key_file": "/k.pem" }), "client_cert_file"),
        ] {
            let error = settings(config).unwrap_err();
            assert!(error.contains(key) && error.contains("\nhint: "), "{error}");
        }
        let error = settings(json!({ "address": "tls://h", "server_name": "no name" })).unwrap_err();
        assert!(error.contains("server_name"), "{error}");
    }
}
