//! Object storage: the cloud sink beside what else uploads files, each to an S3 server of its own on loopback, in turn.

mod puts;

use std::collections::BTreeMap;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::measure::{self, Cost};
use super::{fresh, generated, median};
use crate::workspace::{Profile, root, target};
use crate::{Result, build, process, servers};

/// Bench work: many small files.
const RUNS: u32 = 5000;
const MEASUREMENTS: u32 = 40;
const BUCKET: &str = "runs";
const ACCESS_KEY: &str = "K";
const SECRET_KEY: &str = "S";
/// A version that this workspace's oldest Rust compiles.
const SERVER: [&str; 2] = ["s3s-fs", "0.14.1"];
/// Uploads under way at once, with every client that can be told.
const AT_ONCE: usize = 16;
/// What the peers need, from PyPI.
const PEERS: [&str; 3] = ["awscli", "boto3", "pyarrow"];
/// How long the server may take to start.
const PATIENCE: Duration = Duration::from_secs(20);
/// A file of a gigabyte and some: its measurements, each with so much text, and the files beside it.
const LARGE_MEASUREMENTS: u64 = 1 << 18;
const TRACE_BYTES: u64 = 4 << 10;
const ATTACHMENTS: [u64; 2] = [200 << 20, 3 << 20];

/// A way to get files into a bucket.
struct Way {
    name: &'static str,
    /// How it is asked for: `--peer`.
    key: &'static str,
    upload: fn(&Bench, &Server) -> Result<Cost>,
    costs: Vec<Cost>,
}

/// What every way works with.
struct Bench {
    /// A data dir.
    data: PathBuf,
    work: PathBuf,
    python: PathBuf,
    rclone: PathBuf,
}

pub(super) fn run(rounds: u32, only: &[String]) -> Result<()> {
    build::measured(Profile::Release)?;
    let bench = Bench {
        data: generated(RUNS, MEASUREMENTS)?,
        work: target().join("bench/cloud"),
        python: super::python("cloud", &PEERS)?,
        rclone: servers::peer("rclone")?.join("usr/bin/rclone"),
    };
    fresh(&bench.work)?;
    let way = |key, name, upload| Way { name, key, upload, costs: Vec::new() };
    let mut ways = [
        way("limit", "presigned PUTs, kept-alive connections", raw_puts as fn(&Bench, &Server) -> _),
        way("litmus-host", "litmus-host, cloud.so", litmus_host),
        way("rclone", "rclone copy, its best settings", rclone),
        way("aws", "aws s3 cp --recursive", aws),
        way("threads", "boto3 put_object, 16 threads", |bench, server| python(bench, server, "boto3_threads.py")),
        way("loop", "the documented boto3 loop", |bench, server| python(bench, server, "boto3_loop.py")),
    ];
    let is_wanted = |way: &Way| {
        only.is_empty() || ["limit", "litmus-host"].contains(&way.key) || only.iter().any(|name| name == way.key)
    };
    let sealed = contents(&bench.data.join("runs"))?;
    for round in 1..=rounds {
        println!("round {round} of {rounds}");
        for way in ways.iter_mut().filter(|way| is_wanted(way)) {
            let server = Server::start(&bench.work.join("store"))?;
            let cost = (way.upload)(&bench, &server)?;
            println!("  {}: {cost}", way.name);
            way.costs.push(cost);
            if contents(&server.bucket())? != sealed {
                return Err(format!("{}: what lies in the bucket is not what was sealed", way.name).into());
            }
        }
    }
    print(&ways, rounds);
    large(&bench)
}

fn print(ways: &[Way], rounds: u32) {
    println!(
        "\n{RUNS} files of {MEASUREMENTS} measurements to {} {} on loopback, {rounds} rounds in turn; after each the bucket holds every file, byte for byte",
        SERVER[0], SERVER[1]
    );
    println!(
        "{:<42} {:>8} {:>14} {:>8} {:>9} {:>12} {:>8}",
        "", "median s", "least to most", "x limit", "x rclone", "CPU ms/file", "peak MB"
    );
    let wall = |cost: &Cost| cost.wall.as_secs_f64();
    let of = |key: &str| ways.iter().find(|way| way.key == key).and_then(|way| median(&way.costs, wall));
    let (limit, rclone) = (of("limit").unwrap_or(f64::NAN), of("rclone").unwrap_or(f64::NAN));
    for way in ways.iter().filter(|way| !way.costs.is_empty()) {
        let at = median(&way.costs, wall).unwrap_or(f64::NAN);
        let walls = || way.costs.iter().map(wall);
        let (least, most) = (walls().fold(f64::INFINITY, f64::min), walls().fold(0.0, f64::max));
        let cpu = median(&way.costs, |cost| cost.cpu.as_secs_f64() * 1000.0 / f64::from(RUNS)).unwrap_or(f64::NAN);
        let peak = way.costs.iter().map(|cost| cost.peak_bytes >> 20).max().unwrap_or(0);
        println!(
            "{:<42} {at:>8.2} {:>14} {:>8.2} {:>9.2} {cpu:>12.2} {peak:>8}",
            way.name,
            format!("{least:.1} to {most:.1}"),
            at / limit,
            at / rclone
        );
    }
}

/// One file of a gigabyte with attachments: what memory it costs.
fn large(bench: &Bench) -> Result<()> {
    let data = target().join("bench/large");
    if !data.exists() {
        let partial = data.with_extension("partial");
        fresh(&partial)?;
        let mut generate = Command::new(Profile::Release.folder().join("generate-runs"));
        generate.arg(&partial).args(["--runs", "1", "--measurements", &LARGE_MEASUREMENTS.to_string()]);
        generate.args(["--trace-bytes", &TRACE_BYTES.to_string()]);
        for bytes in ATTACHMENTS {
            generate.args(["--attachment", &bytes.to_string()]);
        }
        process::run(&mut generate)?;
        fs::rename(&partial, &data)?;
    }
    let server = Server::start(&bench.work.join("store"))?;
    let cost = measure::run(&mut host(bench, &data, &server)?)?;
    let (there, sealed) = (contents(&server.bucket())?, contents(&data)?);
    if there != sealed {
        return Err("the large file or its attachments are not what was sealed".into());
    }
    let (all, beside): (u64, u64) = (there.keys().map(|(bytes, _)| bytes).sum(), ATTACHMENTS.iter().sum());
    println!("\na file of {} MB with {} MB beside it: {cost}", (all - beside) >> 20, beside >> 20);
    Ok(())
}

fn litmus_host(bench: &Bench, server: &Server) -> Result<Cost> {
    measure::run(&mut host(bench, &bench.data, server)?)
}

/// The host, with a ledger that knows of nothing.
fn host(bench: &Bench, data: &Path, server: &Server) -> Result<Command> {
    let state = bench.work.join("state");
    fresh(&state)?;
    let mut command = Command::new(Profile::Release.folder().join("litmus-host"));
    command.arg("--data-dir").arg(data).arg("--state-dir").arg(state).arg("--quiet");
    command.args(["--plugin", "cloud.so", "--set", &format!("uri=s3://{BUCKET}")]);
    for (key, value) in [
        ("endpoint", server.endpoint().as_str()),
        ("region", "us-east-1"),
        ("access_key_id", ACCESS_KEY),
        ("secret_access_key", SECRET_KEY),
        ("disable_config_load", "true"),
    ] {
        command.args(["--set", &format!("options.{key}={value}")]);
    }
    command.stdout(Stdio::null());
    Ok(command)
}

fn raw_puts(bench: &Bench, server: &Server) -> Result<Cost> {
    let script = root().join("xtask/bench/presign.py");
    let mut presign = Command::new(&bench.python);
    presign.arg(script).arg(bench.data.join("runs")).args([&server.endpoint(), BUCKET]);
    let output = with_credentials(&mut presign).stderr(Stdio::inherit()).output()?;
    let signed = String::from_utf8(output.stdout)?;
    let took = puts::send(server.port, &signed, AT_ONCE)?;
    // Only its wall clock is of use: it does nothing that a client has to do.
    Ok(Cost { wall: took, ..Cost::default() })
}

fn rclone(bench: &Bench, server: &Server) -> Result<Cost> {
    let mut command = Command::new(&bench.rclone);
    command.args(["copy", "--config", "/dev/null", "--s3-no-head", "--s3-no-check-bucket", "--no-traverse"]);
    command.args(["--no-check-dest", "--transfers", &AT_ONCE.to_string(), "--log-level", "ERROR"]);
    command.arg(bench.data.join("runs")).arg(format!("bench:{BUCKET}"));
    for (key, value) in [
        ("TYPE", "s3"),
        ("PROVIDER", "Other"),
        ("ENDPOINT", &server.endpoint()),
        ("REGION", "us-east-1"),
        ("ACCESS_KEY_ID", ACCESS_KEY),
        ("SECRET_ACCESS_KEY", SECRET_KEY),
    ] {
        command.env(format!("RCLONE_CONFIG_BENCH_{key}"), value);
    }
    // Debian's rclone fails where it is set.
    measure::run(command.env_remove("AWS_CA_BUNDLE"))
}

fn aws(bench: &Bench, server: &Server) -> Result<Cost> {
    let mut command = Command::new(bench.python.with_file_name("aws"));
    command.args(["s3", "cp", "--recursive", "--only-show-errors", "--endpoint-url", &server.endpoint()]);
    command.arg(bench.data.join("runs")).arg(format!("s3://{BUCKET}"));
    measure::run(with_credentials(&mut command))
}

fn python(bench: &Bench, server: &Server, script: &str) -> Result<Cost> {
    let mut command = Command::new(&bench.python);
    command.arg(root().join("xtask/bench").join(script)).arg(bench.data.join("runs"));
    command.args([&server.endpoint(), BUCKET]);
    measure::run(with_credentials(&mut command))
}

/// As the AWS tools look for them, and nothing else of this machine.
fn with_credentials(command: &mut Command) -> &mut Command {
    for (key, value) in [
        ("AWS_ACCESS_KEY_ID", ACCESS_KEY),
        ("AWS_SECRET_ACCESS_KEY", SECRET_KEY),
        ("AWS_DEFAULT_REGION", "us-east-1"),
        ("AWS_CONFIG_FILE", "/dev/null"),
        ("AWS_SHARED_CREDENTIALS_FILE", "/dev/null"),
        // This server knows no checksums after a body.
        ("AWS_REQUEST_CHECKSUM_CALCULATION", "when_required"),
    ] {
        command.env(key, value);
    }
    command
}

/// An S3 server over a folder; ended when dropped.
struct Server {
    child: Child,
    port: u16,
    store: PathBuf,
}

impl Server {
    /// With one empty bucket.
    fn start(store: &Path) -> Result<Self> {
        fresh(store)?;
        fs::create_dir(store.join(BUCKET))?;
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let mut command = Command::new(program()?);
        command.args(["--access-key", ACCESS_KEY, "--secret-key", SECRET_KEY, "--host", "127.0.0.1"]);
        command.args(["--port", &port.to_string()]).arg(store);
        command.env("RUST_LOG", "error").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut server = Self { child: command.spawn()?, port, store: store.to_path_buf() };
        let until = Instant::now() + PATIENCE;
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            if let Some(status) = server.child.try_wait()? {
                return Err(format!("{} ended at once: {status}", SERVER[0]).into());
            }
            if Instant::now() > until {
                return Err(format!("{} does not listen", SERVER[0]).into());
            }
            thread::sleep(Duration::from_millis(10));
        }
        Ok(server)
    }

    fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    fn bucket(&self) -> PathBuf {
        self.store.join(BUCKET)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// The server's program, compiled when first asked for.
fn program() -> Result<PathBuf> {
    let root = target().join("servers").join(SERVER[0]);
    let program = root.join("bin").join(SERVER[0]);
    if !program.is_file() {
        let [name, version] = SERVER;
        let mut install = process::cargo(["install", "--quiet", "--locked", "--features", "binary", name]);
        process::run(install.args(["--version", version, "--root"]).arg(&root))?;
    }
    Ok(program)
}

/// What lies below a folder, the sink's own left out: how often each content, by length and hash.
fn contents(folder: &Path) -> Result<BTreeMap<(u64, u64), u32>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with('.') {
                continue;
            }
            if entry.file_type()?.is_dir() {
                folders.push(entry.path());
                continue;
            }
            let bytes = fs::read(entry.path())?;
            let mut hasher = DefaultHasher::new();
            bytes.hash(&mut hasher);
            *found.entry((bytes.len() as u64, hasher.finish())).or_default() += 1;
        }
    }
    Ok(found)
}
