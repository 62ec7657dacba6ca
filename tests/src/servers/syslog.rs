//! What both syslog receivers have in common: where they listen, and what they say they received.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::certificates::{Authority, Certificate};
use super::{PATIENCE, free_port};

/// Years in which a certificate that is good is valid.
pub const GOOD_YEARS: (i32, i32) = (2020, 2120);

/// How long nothing must come for everything to have come.
const QUIET: Duration = Duration::from_millis(300);

/// Where a receiver listens, and what it needs to.
pub struct Listening {
    /// Its folder; gone when dropped.
    pub folder: tempfile::TempDir,
    /// Port for UDP.
    pub udp_port: u16,
    /// Port for TCP.
    pub tcp_port: u16,
    /// Port for TLS.
    pub tls_port: u16,
    /// Who signed its certificate, and whose clients it trusts.
    pub authority: Authority,
    /// Its certificate, for `localhost`.
    pub certificate: Certificate,
}

impl Listening {
    /// Free ports, an empty folder, a good certificate.
    pub fn new(name: &str) -> Self {
        let folder = tempfile::Builder::new().prefix(&format!("litmus-{name}-")).tempdir().expect("a temporary folder");
        let authority = Authority::new(folder.path());
        let certificate = authority.sign("localhost", GOOD_YEARS);
        let [udp_port, tcp_port, tls_port] = [free_port(), free_port(), free_port()];
        Self { folder, udp_port, tcp_port, tls_port, authority, certificate }
    }

    /// `udp://127.0.0.1:…`
    pub fn udp(&self) -> String {
        format!("udp://127.0.0.1:{}", self.udp_port)
    }

    /// `tcp://127.0.0.1:…`
    pub fn tcp(&self) -> String {
        format!("tcp://127.0.0.1:{}", self.tcp_port)
    }

    /// `tcp+tls://localhost:…`
    pub fn tls(&self) -> String {
        format!("tcp+tls://localhost:{}", self.tls_port)
    }

    /// A file of its folder.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// What it received, a JSON object a line.
    pub fn output(&self) -> PathBuf {
        self.file("received.json")
    }

    /// What it logs of itself.
    pub fn log(&self) -> PathBuf {
        self.file("log")
    }

    /// Everything received so far, in order.
    pub fn received(&self) -> Vec<Message> {
        let text = fs::read_to_string(self.output()).unwrap_or_default();
        // The last line may be half written.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole.lines().map(|line| Message::of(after_a_torn_line(line))).collect()
    }

    /// How many lines were received so far.
    pub fn received_count(&self) -> usize {
        count_lines(&self.output())
    }
}

/// A receiver that was killed while it wrote leaves half a line, and its successor's first one follows without a break.
fn after_a_torn_line(line: &str) -> &str {
    &line[line.rfind("{\"pri\":\"").unwrap_or(0)..]
}

/// Lines of a file; 0 where there is none.
pub fn count_lines(path: &Path) -> usize {
    fs::read(path).unwrap_or_default().iter().filter(|byte| **byte == b'\n').count()
}

/// A message as a receiver took it apart.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// `<PRI>`.
    pub pri: u8,
    /// As RFC 3339.
    pub timestamp: String,
    /// HOSTNAME.
    pub host: String,
    /// APP-NAME.
    pub app: String,
    /// PROCID.
    pub procid: String,
    /// MSGID.
    pub msgid: String,
    /// The params of `litmus@32473`.
    pub params: BTreeMap<String, String>,
    /// MSG, without a byte order mark.
    pub msg: String,
}

impl Message {
    fn of(line: &str) -> Self {
        let value: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        let text = |key: &str| value[key].as_str().unwrap_or_else(|| panic!("no {key} in {line}")).to_owned();
        // rsyslog writes structured data as JSON in a text, syslog-ng as an object.
        let data = match (&value["sd"], &value["_SDATA"]) {
            (Value::String(json), _) => serde_json::from_str(json).unwrap_or_else(|error| panic!("{error}: {json}")),
            (_, data) => data.clone(),
        };
        let mut params = BTreeMap::new();
        flatten(String::new(), &data["litmus@32473"], &mut params);
        let timestamp = text("timestamp").replace("+00:00", "Z");
        let msg = text("msg");
        let msg = msg.trim_start_matches('\u{feff}').to_owned();
        let pri = text("pri").parse().unwrap_or_else(|error| panic!("{error}: {line}"));
        let [host, app, procid, msgid] = ["host", "app", "procid", "msgid"].map(text);
        Self { pri, timestamp, host, app, procid, msgid, params, msg }
    }

    /// One value of its structured data.
    #[track_caller]
    pub fn param(&self, name: &str) -> &str {
        self.params.get(name).unwrap_or_else(|| panic!("no {name} in {self:?}"))
    }
}

/// syslog-ng makes objects of names with dots.
fn flatten(prefix: String, value: &Value, params: &mut BTreeMap<String, String>) {
    match value {
        Value::Object(inner) => {
            for (key, value) in inner {
                let name = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
                flatten(name, value, params);
            }
        }
        Value::String(text) => _ = params.insert(prefix, text.clone()),
        Value::Null => (),
        other => _ = params.insert(prefix, other.to_string()),
    }
}

/// Waits until so many messages are there and no more come; all of them.
pub(super) fn settled(at: &Listening, at_least: usize) -> Vec<Message> {
    let until = Instant::now() + PATIENCE;
    let mut seen = at.received_count();
    let mut since = Instant::now();
    while Instant::now() < until && (seen < at_least || since.elapsed() < QUIET) {
        std::thread::sleep(Duration::from_millis(20));
        let now = at.received_count();
        if now != seen {
            (seen, since) = (now, Instant::now());
        }
    }
    at.received()
}
