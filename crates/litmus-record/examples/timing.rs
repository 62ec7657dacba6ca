//! What recording costs: `timing FOLDER flat|nested RUNS`; prints seconds as JSON. Part of `cargo xtask bench record`, which times the
//! platform's client on the same runs.

use std::hint::black_box;
use std::path::Path;
use std::time::{Duration, Instant};

use litmus_record::bridge::{Bridge, Level};
use litmus_record::{Client, Format, Journal, Run, RunOptions};

/// 8 steps of 5, as the platform's side has them.
fn measure(run: &Run) {
    for step in 0..8 {
        let name = format!("step_{step}");
        let step = run.step(name.as_str());
        for at in 0..5 {
            step.measure(format!("m{at}"), 3.3 + f64::from(at) / 100.0).units("V").low(3.0).high(3.6);
        }
    }
}

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort();
    times[times.len() / 2].as_secs_f64()
}

/// Median seconds of `finish`, and of the whole run.
fn runs(client: &Client, count: usize) -> (f64, f64) {
    let (mut seals, mut wholes) = (Vec::new(), Vec::new());
    for serial in 0..count {
        let started = Instant::now();
        let run = client.start_run(RunOptions::new(format!("SN{serial}"), "bench_1")).expect("a run");
        measure(&run);
        let sealing = Instant::now();
        black_box(run.finish().expect("sealed"));
        seals.push(sealing.elapsed());
        wholes.push(started.elapsed());
    }
    (median(seals), median(wholes))
}

/// Nanoseconds that a log record costs.
fn record(bridge: Bridge, level: Level) -> f64 {
    const RECORDS: u32 = 200_000;
    let started = Instant::now();
    for at in 0..RECORDS {
        black_box(bridge.emit(level, "my_test", || format!("rail {at} is up")));
    }
    started.elapsed().as_secs_f64() * 1e9 / f64::from(RECORDS)
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, format, count] = arguments.as_slice() else { panic!("usage: timing FOLDER flat|nested RUNS") };
    let format = if format == "nested" { Format::Nested } else { Format::Flat };
    let count = count.parse().expect("a number");
    let client = Client::new(Path::new(folder)).format(format);
    let (seal, whole) = runs(&client, count);
    let (_, journaled) = runs(&client.clone().journal(Journal::On), count);

    let run = client.start_run(RunOptions::new("LOG", "bench_1")).expect("a run");
    let _step = run.step("step");
    let (ignored, kept) = (record(Bridge::new(), Level::Info), record(Bridge::new().keep_at(Level::Info), Level::Info));
    println!(
        r#"{{"seal": {seal}, "whole": {whole}, "journaled": {journaled}, "ignored_ns": {ignored}, "kept_ns": {kept}}}"#
    );
}
