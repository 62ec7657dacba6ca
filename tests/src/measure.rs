//! What a host costs: wall clock and peak memory, of one that runs to its end.

use std::fs;
use std::io::Read;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::project::Ended;

/// How often the peak memory is looked at; the kernel keeps the peak, so that only the last look before the end counts.
const LOOK: Duration = Duration::from_millis(2);

/// A host that ended, and what it cost.
#[derive(Debug)]
pub struct Measured {
    /// How it ended.
    pub ended: Ended,
    /// From start to end.
    pub wall: Duration,
    /// Of the process itself, resident.
    pub peak_bytes: u64,
}

/// Runs a command to its end.
pub fn run(command: &mut Command) -> Measured {
    let started = Instant::now();
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{}: {error}", command.get_program().display()));
    let read = |mut from: Box<dyn Read + Send>| {
        std::thread::spawn(move || {
            let mut text = String::new();
            from.read_to_string(&mut text).expect("output in UTF-8");
            text
        })
    };
    let stdout = read(Box::new(child.stdout.take().expect("a pipe")));
    let stderr = read(Box::new(child.stderr.take().expect("a pipe")));
    let file = format!("/proc/{}/status", child.id());
    let mut peak_bytes = 0;
    let status = loop {
        if let Some(peak) = fs::read_to_string(&file).ok().as_deref().and_then(peak_in) {
            peak_bytes = peak;
        }
        match child.try_wait().expect("a child of ours") {
            Some(status) => break status,
            None => std::thread::sleep(LOOK),
        }
    };
    let wall = started.elapsed();
    let text = |reader: std::thread::JoinHandle<String>| reader.join().expect("a reader");
    Measured { ended: Ended { status, stdout: text(stdout), stderr: text(stderr) }, wall, peak_bytes }
}

/// `VmHWM:   123 kB`
fn peak_in(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kb| kb << 10)
}
