//! The syslog sink beside what else sends to a collector: each to one rsyslog over TCP, timed until the last line is in its file.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::measure::{self, Cost};
use super::median;
use crate::workspace::{Profile, root, target};
use crate::{Result, build, process};

/// Runs, and measurements in each: the large data set of the performance notes.
const RUNS: u32 = 20;
const MEASUREMENTS: u32 = 100_000;
/// Messages that the others send, of so many bytes.
const PEER_MESSAGES: u64 = 1_000_000;
const PEER_BYTES: usize = 255;
/// What `logger` puts before a line, as it is called below.
const LOGGER_HEADER: &str = "<13>1 - - litmus - - - ";
/// Python takes long enough with a quarter of them.
const PYTHON_MESSAGES: u64 = 250_000;
/// The file has its last line once it has not grown for this long.
const QUIET: Duration = Duration::from_millis(500);

/// How one way went, over all rounds.
struct Way {
    name: &'static str,
    messages: u64,
    bytes: u64,
    took: Vec<Duration>,
    costs: Vec<Cost>,
}

/// Rounds, each with every way once.
pub(super) fn run(rounds: u32) -> Result<()> {
    let profile = Profile::Release;
    build::measured(profile)?;
    let data = super::generated(RUNS, MEASUREMENTS)?;
    let work = target().join("bench/syslog");
    fs::create_dir_all(&work)?;
    let lines = work.join("lines");
    let framed = work.join("framed");
    prepare(&lines, &framed)?;
    let server = Server::start(profile)?;
    let address = format!("127.0.0.1:{}", server.port);
    // What the host sends: a message a measurement, a step and a run.
    let own = u64::from(RUNS) * u64::from(MEASUREMENTS + 8 + 1);
    let mut ways = [
        way("litmus-host, syslog.so", own),
        way("a prepared file, written to the socket", PEER_MESSAGES),
        way("loggen", PEER_MESSAGES),
        way("logger -f", PEER_MESSAGES),
        way("Python SysLogHandler", PYTHON_MESSAGES),
        way("the host's messages, from a file", own),
    ];
    let write = |file: &Path| {
        let mut socket = TcpStream::connect(&address)?;
        std::io::copy(&mut File::open(file)?, &mut socket)?;
        // Only its wall clock is of use: it does nothing that a sender has to do.
        Ok(Cost::default())
    };
    let own_framed = work.join("own-framed");
    for round in 1..=rounds {
        println!("round {round} of {rounds}");
        server.time(&mut ways[0], || measure::run(&mut host(profile, &data, &work, server.port)?))?;
        if round == 1 {
            frame(&server.received, &own_framed)?;
        }
        server.time(&mut ways[5], || write(&own_framed))?;
        server.time(&mut ways[1], || write(&framed))?;
        server.time(&mut ways[2], || measure::run(&mut loggen(server.port)?))?;
        server.time(&mut ways[3], || {
            let mut logger = Command::new("logger");
            logger.args([
                "--tcp",
                "--octet-count",
                "--rfc5424=notime,nohost",
                "--tag",
                "litmus",
                "--server",
                "127.0.0.1",
                "--port",
            ]);
            measure::run(logger.arg(server.port.to_string()).arg("--file").arg(&lines))
        })?;
        server.time(&mut ways[4], || {
            let mut python = Command::new("python3");
            measure::run(python.arg("-c").arg(PYTHON).args([server.port.to_string(), PYTHON_MESSAGES.to_string()]))
        })?;
    }
    print(&mut ways, rounds);
    Ok(())
}

fn way(name: &'static str, messages: u64) -> Way {
    Way { name, messages, bytes: 0, took: Vec::new(), costs: Vec::new() }
}

fn print(ways: &mut [Way], rounds: u32) {
    println!(
        "messages a second into rsyslog over TCP, to the last line in its file; medians of {rounds} rounds, nothing lost"
    );
    println!(
        "{:<40} {:>9} {:>7} {:>10} {:>22} {:>7} {:>11} {:>11} {:>8}",
        "way", "messages", "bytes", "msg/s", "least to most", "MB/s", "x logger -f", "CPU us/msg", "peak MB"
    );
    for way in ways.iter_mut() {
        way.took.sort();
    }
    let rate = |way: &Way, took: Duration| way.messages as f64 / took.as_secs_f64();
    let rate_of = |way: &Way| rate(way, way.took[way.took.len() / 2]);
    let logger = ways.iter().find(|way| way.name == "logger -f").map_or(1.0, rate_of);
    for way in ways.iter() {
        let (least, most) = (rate(way, way.took[way.took.len() - 1]), rate(way, way.took[0]));
        let cpu = median(&way.costs, |cost| cost.cpu.as_secs_f64() * 1e6 / way.messages as f64).unwrap_or(f64::NAN);
        let peak = way.costs.iter().map(|cost| cost.peak_bytes >> 20).max().unwrap_or(0);
        println!(
            "{:<40} {:>9} {:>7} {:>10.0} {:>22} {:>7.0} {:>11.2} {cpu:>11.2} {peak:>8}",
            way.name,
            way.messages,
            way.bytes / way.messages,
            rate_of(way),
            format!("{least:.0} to {most:.0}"),
            rate_of(way) * (way.bytes / way.messages) as f64 / 1e6,
            rate_of(way) / logger
        );
    }
}

/// The lines of the others: as `logger` reads them, and ready for the socket.
fn prepare(lines: &Path, framed: &Path) -> Result<()> {
    let (mut lines, mut framed) = (BufWriter::new(File::create(lines)?), BufWriter::new(File::create(framed)?));
    for number in 0..PEER_MESSAGES {
        let text = format!("SN{number:07} passed: rail_3v3 = 3.31 V, limits 3.0 to 3.6 ");
        writeln!(lines, "{text:x<width$}", width = PEER_BYTES - LOGGER_HEADER.len())?;
        let header = "<134>1 2026-03-01T06:00:00.000000Z bench-01 litmus 3f2a9c10 measurement - ";
        write!(framed, "{PEER_BYTES} {header}{text:x<width$}", width = PEER_BYTES - header.len())?;
    }
    lines.flush()?;
    framed.flush()?;
    Ok(())
}

/// Lines that arrived, ready for the socket: what the receiver takes at most of these.
fn frame(lines: &Path, framed: &Path) -> Result<()> {
    let mut framed = BufWriter::with_capacity(1 << 20, File::create(framed)?);
    for line in BufReader::with_capacity(1 << 20, File::open(lines)?).split(b'\n') {
        let line = line?;
        write!(framed, "{} ", line.len())?;
        framed.write_all(&line)?;
    }
    Ok(framed.flush()?)
}

/// The host, with a ledger that knows of nothing.
fn host(profile: Profile, data: &Path, work: &Path, port: u16) -> Result<Command> {
    let state = work.join("state");
    if state.exists() {
        fs::remove_dir_all(&state)?;
    }
    let mut command = Command::new(profile.folder().join("litmus-host"));
    command.arg("--data-dir").arg(data).arg("--state-dir").arg(state);
    command.args(["--plugin", "syslog.so", "--start", "all", "--quiet", "--set", "detail=measurements"]);
    command.args(["--set", &format!("address=tcp://127.0.0.1:{port}")]).stdout(Stdio::null());
    Ok(command)
}

/// `loggen`, as fast as it goes; installed, or as `cargo xtask servers` unpacked it.
fn loggen(port: u16) -> Result<Command> {
    let unpacked = root().join("target/servers/syslog-ng/usr");
    let mut command = if process::is_installed("loggen", &["--help"]) {
        Command::new("loggen")
    } else {
        let program = unpacked.join("bin/loggen");
        if !program.is_file() {
            return Err(format!("{} is not there\nhint: `cargo xtask servers` gets it", program.display()).into());
        }
        let machine = unpacked.join(format!("lib/{}-linux-gnu", std::env::consts::ARCH));
        let mut command = Command::new(program);
        command.env("SYSLOGNG_PREFIX", &unpacked);
        command.env("LD_LIBRARY_PATH", format!("{}:{}", unpacked.join("lib/syslog-ng").display(), machine.display()));
        command
    };
    command.args(["--inet", "--stream", "--size", &PEER_BYTES.to_string(), "--number", &PEER_MESSAGES.to_string()]);
    command.args(["--rate", "100000000", "--interval", "600", "--quiet", "127.0.0.1", &port.to_string()]);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    Ok(command)
}

/// What a Python program would do: the standard library's handler, a message a call.
const PYTHON: &str = r#"
import logging, logging.handlers, socket, sys
handler = logging.handlers.SysLogHandler(("127.0.0.1", int(sys.argv[1])), facility="local0", socktype=socket.SOCK_STREAM)
handler.append_nul = False
handler.setFormatter(logging.Formatter("1 2026-03-01T06:00:00.000000Z bench-01 litmus 3f2a9c10 measurement - %(message)s\n"))
logger = logging.getLogger("litmus")
logger.propagate = False
logger.setLevel(logging.INFO)
logger.addHandler(handler)
for number in range(int(sys.argv[2])):
    logger.info("SN%07d passed: rail_3v3 = 3.31 V, limits 3.0 to 3.6 %s", number, "x" * 120)
handler.close()
"#;

/// rsyslog, as the tests start it; ends when its standard input does.
struct Server {
    child: Child,
    port: u16,
    received: PathBuf,
}

impl Server {
    fn start(profile: Profile) -> Result<Self> {
        let mut child = Command::new(profile.folder().join("test-server"))
            .arg("rsyslog-lines")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("it is a pipe")).read_line(&mut line)?;
        let said: serde_json::Value =
            serde_json::from_str(&line).map_err(|_| "rsyslog did not start; what it said is above")?;
        let text = |key: &str| said[key].as_str().unwrap_or_default().to_owned();
        let port = text("tcp").rsplit(':').next().unwrap_or_default().parse()?;
        Ok(Self { child, port, received: text("received").into() })
    }

    /// Sends, and waits for the last line; an error where a message is missing or one too many.
    fn time(&self, way: &mut Way, send: impl FnOnce() -> Result<Cost>) -> Result<()> {
        // rsyslog appends, so it goes on at the new end.
        File::options().write(true).create(true).truncate(false).open(&self.received)?.set_len(0)?;
        let size = || fs::metadata(&self.received).map_or(0, |file| file.len());
        let started = Instant::now();
        let cost = send()?;
        let (mut seen, mut grown) = (size(), Instant::now());
        while grown.elapsed() < QUIET {
            thread::sleep(Duration::from_millis(2));
            let now = size();
            if now != seen {
                (seen, grown) = (now, Instant::now());
            }
        }
        let (lines, bytes) = count(&self.received)?;
        if lines != way.messages {
            return Err(format!("{}: {} messages were sent, {lines} arrived", way.name, way.messages).into());
        }
        way.bytes = bytes;
        way.took.push(grown.duration_since(started));
        way.costs.push(cost);
        println!("  {}: {cost}", way.name);
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        self.child.wait().ok();
    }
}

/// Lines and bytes of a file.
fn count(path: &Path) -> Result<(u64, u64)> {
    let mut reader = BufReader::with_capacity(1 << 20, File::open(path)?);
    let (mut lines, mut bytes) = (0, 0);
    loop {
        let buffer = reader.fill_buf()?;
        if buffer.is_empty() {
            return Ok((lines, bytes));
        }
        lines += buffer.split(|byte| *byte == b'\n').count() as u64 - 1;
        bytes += buffer.len() as u64;
        let read = buffer.len();
        reader.consume(read);
    }
}
