//! rsyslog, of a test's own.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};

use rustix::process::Signal;

use super::syslog::{Listening, Message};
use super::{end, library_path, program, tail, unpacked, wait};

/// The package's name in `target/servers`.
const PACKAGE: &str = "rsyslog";

/// A running rsyslogd; ended when dropped. What it receives it writes to a file, as its own JSON template sees it.
pub struct Rsyslog {
    listening: Listening,
    child: Option<Child>,
}

/// What differs from the defaults of a test.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rsyslogs {
    /// Messages are written to the file by the thread that read them from the socket, before it reads on: nothing that was
    /// read waits in memory.
    pub direct: bool,
    /// TLS clients need a certificate of the receiver's authority.
    pub wants_client_certificate: bool,
    /// The receiver's certificate ended in 2021.
    pub expired: bool,
    /// Lines as they came in, without taking them apart: for benchmarks.
    pub raw: bool,
}

impl Rsyslog {
    /// With defaults.
    pub fn start() -> Self {
        Self::start_with(Rsyslogs::default())
    }

    /// With what a test wants.
    pub fn start_with(options: Rsyslogs) -> Self {
        let mut listening = Listening::new(PACKAGE);
        if options.expired {
            listening.certificate = listening.authority.sign("localhost", (2020, 2021));
        }
        let configuration = configuration(&listening, options);
        Self::launch(listening, &configuration)
    }

    /// With a configuration of the test's own. A test cannot have `/var/spool`, so the folder for work is set before it.
    pub fn start_as(configuration: impl FnOnce(&Listening) -> String) -> Self {
        let listening = Listening::new(PACKAGE);
        let work = format!("global(workDirectory=\"{}\")\n", listening.folder.path().display());
        let configuration = work + &configuration(&listening);
        Self::launch(listening, &configuration)
    }

    fn launch(listening: Listening, configuration: &str) -> Self {
        fs::write(listening.file("rsyslog.conf"), configuration).expect("the folder is ours");
        let mut server = Self { listening, child: None };
        server.up();
        server
    }

    /// Starts it, again after [`Self::kill`], on the same ports and file.
    pub fn up(&mut self) {
        let program = program("rsyslogd", PACKAGE, &["usr/sbin"]).unwrap_or_else(|error| panic!("{error}"));
        let log = File::options().create(true).append(true).open(self.listening.log()).expect("the folder is ours");
        let mut command = Command::new(&program);
        command.arg("-n").arg("-f").arg(self.listening.file("rsyslog.conf"));
        command.arg("-i").arg(self.listening.file("pid"));
        if program.starts_with(unpacked()) {
            let modules = format!("usr/lib/{}-linux-gnu/rsyslog", std::env::consts::ARCH);
            command.arg("-M").arg(unpacked().join(PACKAGE).join(modules));
            command.env("LD_LIBRARY_PATH", library_path(PACKAGE));
        }
        command.stderr(log.try_clone().expect("a file")).stdout(log).stdin(Stdio::null());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{}: {error}", program.display()));
        let listens = |port| TcpStream::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).is_ok();
        let ready = wait(&mut child, || listens(self.listening.tcp_port) && listens(self.listening.tls_port));
        self.child = Some(child);
        ready.unwrap_or_else(|why| panic!("rsyslogd: {why}\n{}", tail(&self.listening.log())));
    }

    /// kill -9.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("a child of ours");
            child.wait().expect("a child of ours");
        }
    }

    /// Stops it from doing anything, its sockets stay open; or lets it go on.
    pub fn freeze(&self, freeze: bool) {
        let child = self.child.as_ref().expect("it runs");
        let signal = if freeze { Signal::STOP } else { Signal::CONT };
        rustix::process::kill_process(rustix::process::Pid::from_child(child), signal).expect("a child of ours");
    }

    /// Where it listens.
    pub fn at(&self) -> &Listening {
        &self.listening
    }

    /// Waits until it has received so many messages and no more come; what it received.
    pub fn received(&self, at_least: usize) -> Vec<Message> {
        super::syslog::settled(&self.listening, at_least)
    }
}

impl Drop for Rsyslog {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // A frozen one would not hear.
            rustix::process::kill_process(rustix::process::Pid::from_child(&child), Signal::CONT).ok();
            end(&mut child, Signal::TERM).ok();
        }
    }
}

fn configuration(at: &Listening, options: Rsyslogs) -> String {
    let auth = if options.wants_client_certificate { "x509/certvalid" } else { "anon" };
    let queue = if options.direct { "main_queue(queue.type=\"Direct\")\n" } else { "" };
    let (template, parse) = if options.raw {
        ("template(name=\"out\" type=\"string\" string=\"%rawmsg%\\n\")".to_owned(), "")
    } else {
        (TEMPLATE.to_owned(), "action(type=\"mmpstrucdata\" sd_name.lowercase=\"off\")\n")
    };
    format!(
        r#"global(workDirectory="{folder}" net.enableDNS="off" maxMessageSize="64k"
       defaultNetstreamDriverCAFile="{folder}/ca.pem" defaultNetstreamDriverCertFile="{cert}" defaultNetstreamDriverKeyFile="{key}")
{queue}module(load="imudp")
module(load="imtcp")
module(load="mmpstrucdata")
input(type="imudp" address="127.0.0.1" port="{udp}" rcvbufSize="8m")
input(type="imtcp" address="127.0.0.1" port="{tcp}")
input(type="imtcp" address="127.0.0.1" port="{tls}" streamDriver.name="gtls" streamDriver.mode="1" streamDriver.authMode="{auth}")
{template}
{parse}action(type="omfile" file="{output}" template="out")
"#,
        folder = at.folder.path().display(),
        cert = at.certificate.cert_file.display(),
        key = at.certificate.key_file.display(),
        udp = at.udp_port,
        tcp = at.tcp_port,
        tls = at.tls_port,
        output = at.output().display(),
    )
}

/// rsyslog's own view of a message, as JSON.
const TEMPLATE: &str = r#"template(name="out" type="list" option.jsonf="on") {
  property(outname="pri" name="pri" format="jsonf")
  property(outname="timestamp" name="timereported" dateFormat="rfc3339" format="jsonf")
  property(outname="host" name="hostname" format="jsonf")
  property(outname="app" name="app-name" format="jsonf")
  property(outname="procid" name="procid" format="jsonf")
  property(outname="msgid" name="msgid" format="jsonf")
  property(outname="sd" name="$!rfc5424-sd" format="jsonf")
  property(outname="msg" name="msg" format="jsonf")
}"#;
