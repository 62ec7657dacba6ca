//! syslog-ng, of a test's own. Its Debian package conflicts with rsyslog's, so it is unpacked where it is not installed.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use rustix::process::Signal;

use super::syslog::{Listening, Message};
use super::{end, library_path, program, tail, unpacked, wait};

/// The package's name in `target/servers`.
const PACKAGE: &str = "syslog-ng";

/// A running syslog-ng; ended when dropped. What it receives it writes to a file, as its own JSON template sees it.
pub struct SyslogNg {
    listening: Listening,
    child: Option<Child>,
}

impl SyslogNg {
    /// With a listener for each transport.
    pub fn start() -> Self {
        Self::start_as(configuration)
    }

    /// With a configuration of the test's own.
    pub fn start_as(configuration: impl FnOnce(&Listening) -> String) -> Self {
        let listening = Listening::new(PACKAGE);
        fs::write(listening.file("syslog-ng.conf"), configuration(&listening)).expect("the folder is ours");
        let log = File::create(listening.log()).expect("the folder is ours");
        let program = program("syslog-ng", PACKAGE, &["usr/sbin"]).unwrap_or_else(|error| panic!("{error}"));
        let mut command = Command::new(&program);
        command.arg("--foreground").arg("--no-caps").arg("--cfgfile").arg(listening.file("syslog-ng.conf"));
        for (option, name) in [("--persist-file", "persist"), ("--pidfile", "pid"), ("--control", "control")] {
            command.arg(format!("{option}={}", listening.file(name).display()));
        }
        if program.starts_with(unpacked()) {
            let root = unpacked().join(PACKAGE);
            let own = root.join("usr/lib/syslog-ng");
            command.arg(format!("--module-path={}", modules(&own).display()));
            command.env("SYSLOGNG_PREFIX", root.join("usr"));
            command.env("LD_LIBRARY_PATH", format!("{}:{}", own.display(), library_path(PACKAGE)));
        }
        command.stderr(log.try_clone().expect("a file")).stdout(log).stdin(Stdio::null());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{}: {error}", program.display()));
        let listens = |port| TcpStream::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).is_ok();
        let ready = wait(&mut child, || listens(listening.tcp_port) && listens(listening.tls_port));
        let server = Self { listening, child: Some(child) };
        ready.unwrap_or_else(|why| panic!("syslog-ng: {why}\n{}", tail(&server.listening.log())));
        server
    }

    /// Where it listens.
    pub fn at(&self) -> &Listening {
        &self.listening
    }

    /// `unix+stream://…`
    pub fn unix_stream(&self) -> String {
        format!("unix+stream://{}", self.listening.file("stream").display())
    }

    /// `unix://…`
    pub fn unix_datagram(&self) -> String {
        format!("unix://{}", self.listening.file("datagram").display())
    }

    /// Waits until it has received so many messages and no more come; what it received.
    pub fn received(&self, at_least: usize) -> Vec<Message> {
        super::syslog::settled(&self.listening, at_least)
    }
}

impl Drop for SyslogNg {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            end(&mut child, Signal::TERM).ok();
        }
    }
}

/// The folder with its modules is named after its version.
fn modules(own: &std::path::Path) -> PathBuf {
    let folders = fs::read_dir(own).into_iter().flatten().flatten().map(|entry| entry.path());
    folders.filter(|path| path.is_dir()).max().unwrap_or_else(|| own.to_path_buf())
}

fn configuration(at: &Listening) -> String {
    // Without flow-control syslog-ng throws messages away once 10,000 wait for the file.
    format!(
        r#"@version: 3.38
options {{ keep-hostname(yes); use-dns(no); dns-cache(no); log-msg-size(65536); stats-freq(0); frac-digits(6); }};
source litmus {{
  syslog(ip("127.0.0.1") port({udp}) transport("udp") so-rcvbuf(8388608));
  syslog(ip("127.0.0.1") port({tcp}) transport("tcp") log-iw-size(10000));
  syslog(ip("127.0.0.1") port({tls}) transport("tls") log-iw-size(10000)
         tls(key-file("{key}") cert-file("{cert}") ca-file("{ca}") peer-verify(optional-untrusted)));
  unix-stream("{folder}/stream" flags(syslog-protocol));
  unix-dgram("{folder}/datagram" flags(syslog-protocol));
}};
destination file {{
  file("{output}" template("$(format-json pri=$PRI timestamp=$S_ISODATE host=$HOST app=$PROGRAM procid=$PID msgid=$MSGID msg=$MESSAGE --key .SDATA.*)\n"));
}};
log {{ source(litmus); destination(file); flags(flow-control); }};
"#,
        udp = at.udp_port,
        tcp = at.tcp_port,
        tls = at.tls_port,
        key = at.certificate.key_file.display(),
        cert = at.certificate.cert_file.display(),
        ca = at.authority.ca_file().display(),
        folder = at.folder.path().display(),
        output = at.output().display(),
    )
}
