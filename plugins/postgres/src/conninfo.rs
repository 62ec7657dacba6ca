//! Which server, as whom: fields over the URL over the `PG…` environment variables over libpq's defaults.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use litmus_core::SinkError;

use crate::pgpass;

/// What the configuration says of the server.
#[derive(Default)]
pub(crate) struct Given<'a> {
    pub(crate) url: Option<&'a str>,
    pub(crate) host: Option<String>,
    pub(crate) port: Option<u16>,
    pub(crate) dbname: Option<String>,
    pub(crate) user: Option<String>,
    pub(crate) password: Option<String>,
    pub(crate) sslmode: Option<String>,
    pub(crate) ca_file: Option<String>,
    pub(crate) cert_file: Option<String>,
    pub(crate) key_file: Option<String>,
    pub(crate) application_name: Option<String>,
    pub(crate) connect_timeout: Option<Duration>,
}

/// What `sslmode` says, as libpq means it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum SslMode {
    /// Never TLS.
    Disable,
    /// TLS where the server has it; nobody is verified.
    Prefer,
    /// TLS; nobody is verified, unless authorities are given.
    Require,
    /// TLS, and an authority that is trusted has signed the server's certificate.
    VerifyCa,
    /// The same, and the certificate is for this host.
    VerifyFull,
}

/// Whom to trust.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Authorities {
    /// The machine's own store.
    System,
    /// A PEM file.
    File(PathBuf),
    /// None are given, and this default is not there.
    Missing(PathBuf),
}

/// A server, and how to log in there. It holds a password: it is never printed as a whole.
pub(crate) struct Server {
    /// Host names, addresses or folders of Unix sockets, each with its port.
    pub(crate) hosts: Vec<(String, u16)>,
    pub(crate) dbname: String,
    pub(crate) user: String,
    pub(crate) password: Option<String>,
    passfile: Option<PathBuf>,
    pub(crate) sslmode: SslMode,
    pub(crate) authorities: Authorities,
    /// Files with the client's certificate and key.
    pub(crate) client: Option<(PathBuf, PathBuf)>,
    pub(crate) application_name: String,
    pub(crate) connect_timeout: Duration,
    pub(crate) options: Option<String>,
    /// Only a server that takes writes (`target_session_attrs=read-write`).
    pub(crate) read_write: bool,
}

const PARAMETERS: [&str; 14] = [
    "host",
    "port",
    "dbname",
    "user",
    "password",
    "passfile",
    "sslmode",
    "sslrootcert",
    "sslcert",
    "sslkey",
    "application_name",
    "connect_timeout",
    "options",
    "target_session_attrs",
];

const PORT_DEFAULT: u16 = 5432;
const CONNECT_TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);
/// Where Debian and most others put the Unix socket; libpq's own default is `/tmp`.
const SOCKET_FOLDERS: [&str; 2] = ["/var/run/postgresql", "/tmp"];

/// Puts it all together. `environment` answers for `PG…`, `HOME` and `USER`.
pub(crate) fn resolve(given: Given<'_>, environment: &dyn Fn(&str) -> Option<String>) -> Result<Server, SinkError> {
    let of_url = given.url.map(parse).transpose()?.unwrap_or_default();
    let variable = |name: &str| environment(name).filter(|value| !value.is_empty());
    let pick = |field: Option<String>, key: &str, name: &str| {
        field.or_else(|| of_url.get(key).cloned()).or_else(|| variable(name)).filter(|value| !value.is_empty())
    };
    let home = variable("HOME").map(PathBuf::from);
    let in_home = |path: &str| home.as_ref().map(|home| home.join(path));

    let user = pick(given.user, "user", "PGUSER").or_else(|| operating_system_user(&variable)).ok_or_else(|| {
        SinkError::config("no user is given\nhint: url = \"postgresql://USER@HOST/DATABASE\", user, or PGUSER")
    })?;
    let dbname = pick(given.dbname, "dbname", "PGDATABASE").unwrap_or_else(|| user.clone());
    let hosts = pick(given.host, "host", "PGHOST").unwrap_or_else(default_host);
    let ports = given.port.map(|port| port.to_string());
    let ports = pick(ports, "port", "PGPORT").unwrap_or_default();
    let hosts = hosts_and_ports(&hosts, &ports)?;
    let only_sockets = hosts.iter().all(|(host, _)| is_socket(host));

    let sslmode = pick(given.sslmode, "sslmode", "PGSSLMODE").map_or(Ok(SslMode::Prefer), |text| ssl_mode(&text))?;
    let ca_file = pick(given.ca_file, "sslrootcert", "PGSSLROOTCERT");
    let authorities = match ca_file.as_deref() {
        Some("system") => Authorities::System,
        Some(path) => Authorities::File(path.into()),
        None => match in_home(".postgresql/root.crt") {
            Some(path) if path.exists() => Authorities::File(path),
            path => Authorities::Missing(path.unwrap_or_default()),
        },
    };
    // "For backwards compatibility with earlier versions of PostgreSQL, if a root CA file exists, the behavior of
    // sslmode=require will be the same as that of verify-ca" (libpq, "SSL Mode Descriptions").
    let sslmode = match (sslmode, &authorities) {
        (SslMode::Require, Authorities::File(_)) => SslMode::VerifyCa,
        (SslMode::Require | SslMode::VerifyCa, Authorities::System) => SslMode::VerifyFull,
        (mode, _) => mode,
    };
    let sslmode = if only_sockets { SslMode::Disable } else { sslmode };
    let client = match (pick(given.cert_file, "sslcert", "PGSSLCERT"), pick(given.key_file, "sslkey", "PGSSLKEY")) {
        (Some(certificate), Some(key)) => Some((certificate.into(), key.into())),
        (None, None) => in_home(".postgresql/postgresql.crt")
            .zip(in_home(".postgresql/postgresql.key"))
            .filter(|(certificate, key)| certificate.exists() && key.exists()),
        (one, _) => {
            let missing = if one.is_some() { "key_file" } else { "cert_file" };
            return Err(SinkError::config(format!(
                "{missing} is not given\nhint: a client certificate needs both cert_file and key_file"
            )));
        }
    };
    if sslmode >= SslMode::VerifyCa
        && let Authorities::Missing(path) = &authorities
    {
        return Err(SinkError::config(format!(
            "sslmode {} needs authorities to trust, and {} is not there\nhint: ca_file = \"FILE.pem\", or \"system\" for the machine's own",
            if sslmode == SslMode::VerifyCa { "verify-ca" } else { "verify-full" },
            path.display()
        )));
    }
    let in_seconds = || of_url.get("connect_timeout").cloned().or_else(|| variable("PGCONNECT_TIMEOUT"));
    let connect_timeout = match (given.connect_timeout, in_seconds()) {
        (Some(given), _) => given,
        (None, None) => CONNECT_TIMEOUT_DEFAULT,
        (None, Some(text)) => {
            let seconds: u64 = text.parse().map_err(|_| {
                SinkError::config(format!("connect_timeout={text} is no number of seconds\nhint: connect_timeout=10"))
            })?;
            Duration::from_secs(if seconds == 0 { 3600 } else { seconds })
        }
    };
    let read_write = match of_url.get("target_session_attrs").cloned().or_else(|| variable("PGTARGETSESSIONATTRS")) {
        None => false,
        Some(text) => match text.as_str() {
            "any" => false,
            "read-write" | "primary" => true,
            other => {
                return Err(SinkError::config(format!(
                    "target_session_attrs={other} makes no sense here\nhint: any, read-write or primary"
                )));
            }
        },
    };
    Ok(Server {
        passfile: of_url
            .get("passfile")
            .cloned()
            .or_else(|| variable("PGPASSFILE"))
            .map(PathBuf::from)
            .or_else(|| in_home(".pgpass")),
        password: pick(given.password, "password", "PGPASSWORD"),
        application_name: pick(given.application_name, "application_name", "PGAPPNAME")
            .unwrap_or_else(|| "litmus-host".to_owned()),
        options: of_url.get("options").cloned().or_else(|| variable("PGOPTIONS")),
        hosts,
        dbname,
        user,
        sslmode,
        authorities,
        client,
        connect_timeout,
        read_write,
    })
}

impl Server {
    /// `postgresql://host:5432/db`, without a role and without a secret.
    pub(crate) fn name(&self) -> String {
        let hosts: Vec<_> = self.hosts.iter().map(|(host, port)| Self::spelled(host, *port)).collect();
        format!("postgresql://{}/{}", hosts.join(","), encoded(&self.dbname))
    }

    /// The same of one host alone.
    pub(crate) fn name_at(&self, host: &str, port: u16) -> String {
        format!("postgresql://{}/{}", Self::spelled(host, port), encoded(&self.dbname))
    }

    fn spelled(host: &str, port: u16) -> String {
        let host = if is_socket(host) { encoded(host) } else { host.to_owned() };
        if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
    }

    /// The password at this host: as given, else from the password file as it is now.
    pub(crate) fn password_now(&self, host: &str, port: u16) -> Option<String> {
        let of_file = || pgpass::look_up(self.passfile.as_deref()?, host, port, &self.dbname, &self.user);
        self.password.clone().or_else(of_file)
    }
}

/// Whether a host is the folder of a Unix socket.
pub(crate) fn is_socket(host: &str) -> bool {
    host.starts_with('/')
}

fn default_host() -> String {
    let found = SOCKET_FOLDERS.iter().find(|folder| Path::new(folder).is_dir());
    found.map_or_else(|| "localhost".to_owned(), |folder| (*folder).to_owned())
}

/// libpq takes the name of the effective user.
fn operating_system_user(variable: &dyn Fn(&str) -> Option<String>) -> Option<String> {
    let of_passwd = || {
        let uid = rustix::process::geteuid().as_raw().to_string();
        let passwd = std::fs::read_to_string("/etc/passwd").ok()?;
        let line = passwd.lines().find(|line| line.split(':').nth(2) == Some(&uid))?;
        line.split(':').next().map(str::to_owned)
    };
    of_passwd().or_else(|| variable("USER"))
}

fn ssl_mode(text: &str) -> Result<SslMode, SinkError> {
    Ok(match text {
        "disable" => SslMode::Disable,
        // libpq's `allow` begins without TLS and takes it if the server insists; `prefer` is never less safe.
        "allow" | "prefer" => SslMode::Prefer,
        "require" => SslMode::Require,
        "verify-ca" => SslMode::VerifyCa,
        "verify-full" => SslMode::VerifyFull,
        other => {
            return Err(SinkError::config(format!(
                "sslmode = {other:?} is unknown\nhint: disable, prefer, require, verify-ca or verify-full"
            )));
        }
    })
}

fn hosts_and_ports(hosts: &str, ports: &str) -> Result<Vec<(String, u16)>, SinkError> {
    let hosts: Vec<&str> = hosts.split(',').collect();
    let ports: Vec<&str> = ports.split(',').collect();
    if ports.len() > 1 && ports.len() != hosts.len() {
        return Err(SinkError::config(format!(
            "there are {} hosts and {} ports\nhint: one port for all, or one for each host",
            hosts.len(),
            ports.len()
        )));
    }
    hosts
        .iter()
        .enumerate()
        .map(|(at, host)| {
            let text = ports.get(at).or(ports.first()).copied().unwrap_or_default();
            let port = if text.is_empty() { Ok(PORT_DEFAULT) } else { text.parse() };
            let port = port.map_err(|_| SinkError::config(format!("port {text:?} is no port\nhint: 1 to 65535")))?;
            let host = if is_socket(host) { (*host).to_owned() } else { host.to_ascii_lowercase() };
            Ok((if host.is_empty() { default_host() } else { host }, port))
        })
        .collect()
}

/// A URL's parts under libpq's names. The URL may hold a password, so no error quotes it.
fn parse(url: &str) -> Result<BTreeMap<String, String>, SinkError> {
    let wrong = |why: &str| {
        SinkError::config(format!(
            "url: {why}\nhint: url = \"postgresql://USER@HOST:5432/DATABASE?sslmode=verify-full\""
        ))
    };
    let rest = url
        .strip_prefix("postgresql://")
        .or_else(|| url.strip_prefix("postgres://"))
        .ok_or_else(|| wrong("it does not begin with postgresql://"))?;
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let decode =
        |text: &str| decoded(text).ok_or_else(|| wrong("a % is not followed by two hex digits of a UTF-8 text"));
    let mut parts = BTreeMap::new();
    let mut put = |key: &str, value: String| {
        if !value.is_empty() {
            parts.insert(key.to_owned(), value);
        }
    };
    let (login, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));
    let (user, password) = login.split_once(':').unwrap_or((login, ""));
    put("user", decode(user)?);
    put("password", decode(password)?);
    put("dbname", decode(path)?);
    let (mut names, mut ports) = (Vec::new(), Vec::new());
    for host in hosts.split(',') {
        let (name, port) = match host.strip_prefix('[').and_then(|host| host.split_once(']')) {
            Some((address, port)) => (address, port.strip_prefix(':').unwrap_or(port)),
            None => host.split_once(':').unwrap_or((host, "")),
        };
        names.push(decode(name)?);
        ports.push(port.to_owned());
    }
    put("host", if names.iter().all(String::is_empty) { String::new() } else { names.join(",") });
    put("port", if ports.iter().all(String::is_empty) { String::new() } else { ports.join(",") });
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').ok_or_else(|| wrong("a parameter has no value"))?;
        if !PARAMETERS.contains(&key) {
            return Err(SinkError::config(format!(
                "url: the parameter \"{key}\" is unknown\nhint: known are {}",
                PARAMETERS.join(", ")
            )));
        }
        put(key, decode(value)?);
    }
    Ok(parts)
}

fn decoded(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at] == b'%' {
            let hex = std::str::from_utf8(bytes.get(at + 1..at + 3)?).ok()?;
            out.push(u8::from_str_radix(hex, 16).ok()?);
            at += 3;
        } else {
            out.push(bytes[at]);
            at += 1;
        }
    }
    String::from_utf8(out).ok()
}

const HEX: [char; 16] = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'A', 'B', 'C', 'D', 'E', 'F'];

/// Percent-encoded but for what a URL's path takes as it is.
pub(crate) fn encoded(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(byte as char),
            _ => out.extend(['%', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(url: &str, environment: &[(&str, &str)]) -> Result<Server, String> {
        let given = Given { url: Some(url), ..Given::default() };
        let environment =
            |name: &str| environment.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        resolve(given, &environment).map_err(|error| error.to_string())
    }

    #[test]
    fn a_url_is_read_as_libpq_reads_it() {
        let url = "postgresql://a%40b:p%2Fw@[::1]:6000,other/my%20db?sslmode=disable&options=-c%20a%3Db";
        let server = server(url, &[]).unwrap();
        assert_eq!(server.hosts, [("::1".to_owned(), 6000), ("other".to_owned(), 5432)]);
        assert_eq!((server.user.as_str(), server.dbname.as_str()), ("a@b", "my db"));
        assert_eq!(server.password.as_deref(), Some("p/w"));
        assert_eq!(server.options.as_deref(), Some("-c a=b"));
        assert_eq!(server.name(), "postgresql://[::1]:6000,other:5432/my%20db");
        let server = self::server("postgresql://u@%2Frun%2Fpg:5433/d?sslmode=require", &[]).unwrap();
        assert_eq!(server.hosts, [("/run/pg".to_owned(), 5433)]);
        assert_eq!(server.sslmode, SslMode::Disable, "there is no TLS on a Unix socket");
    }

    #[test]
    fn the_environment_fills_what_the_url_leaves_out() {
        let environment = [
            ("PGHOST", "h"),
            ("PGPORT", "1234"),
            ("PGDATABASE", "d"),
            ("PGUSER", "u"),
            ("PGPASSWORD", "p"),
            ("PGSSLMODE", "require"),
            ("PGAPPNAME", "app"),
            ("PGCONNECT_TIMEOUT", "3"),
        ];
        let server = server("postgresql://", &environment).unwrap();
        assert_eq!(server.name(), "postgresql://h:1234/d");
        assert_eq!((server.user.as_str(), server.password.as_deref()), ("u", Some("p")));
        assert_eq!((server.sslmode, server.application_name.as_str()), (SslMode::Require, "app"));
        assert_eq!(server.connect_timeout, Duration::from_secs(3));
        let server = self::server("postgresql://v@g:1/e?sslmode=disable", &environment).unwrap();
        assert_eq!((server.name().as_str(), server.user.as_str()), ("postgresql://g:1/e", "v"));
        assert_eq!(server.sslmode, SslMode::Disable);
    }

    #[test]
    fn a_field_wins_over_the_url_and_the_url_over_the_environment() {
        let timeout = |field: Option<u64>, url: &str, variable: &str| {
            let given = Given { url: Some(url), connect_timeout: field.map(Duration::from_millis), ..Given::default() };
            let environment = |name: &str| (name == "PGCONNECT_TIMEOUT").then(|| variable.to_owned());
            resolve(given, &environment).unwrap().connect_timeout.as_millis()
        };
        assert_eq!(timeout(Some(700), "postgresql://u@h/d?connect_timeout=4", "3"), 700);
        assert_eq!(timeout(None, "postgresql://u@h/d?connect_timeout=4", "3"), 4000);
        assert_eq!(timeout(None, "postgresql://u@h/d", "3"), 3000);
        assert_eq!(timeout(None, "postgresql://u@h/d", ""), 10_000);
    }

    #[test]
    fn authorities_make_require_verify() {
        let server = |url| server(url, &[]).unwrap();
        assert_eq!(server("postgresql://u@h/d?sslmode=require&sslrootcert=/ca.pem").sslmode, SslMode::VerifyCa);
        assert_eq!(server("postgresql://u@h/d?sslmode=require&sslrootcert=system").sslmode, SslMode::VerifyFull);
        assert_eq!(server("postgresql://u@h/d?sslrootcert=/ca.pem").sslmode, SslMode::Prefer);
    }

    #[test]
    fn what_cannot_work_is_refused_without_the_password() {
        for (url, word) in [
            ("mysql://u:hidden1@h/d", "postgresql://"),
            ("postgresql://u:hidden1@h/d?sslmod=x", "sslmod"),
            ("postgresql://u:hidden1@h/d?sslmode=maybe", "maybe"),
            ("postgresql://u:hidden1@h:x/d", "port"),
            ("postgresql://u:hidden1%@h/d", "hex digits"),
            ("postgresql://u:hidden1@h/d?sslmode=verify-full", "ca_file"),
            ("postgresql://u:hidden1@h/d?sslcert=/c.pem", "key_file"),
            ("postgresql://u:hidden1@h/d?target_session_attrs=standby", "target_session_attrs"),
        ] {
            let error = server(url, &[]).err().expect(url);
            assert!(error.contains(word) && error.contains("\nhint: ") && !error.contains("hidden1"), "{error}");
        }
    }
}
