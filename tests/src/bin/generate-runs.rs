//! Fills a data dir with generated run files, for measurements.

use std::path::PathBuf;

use clap::Parser;
use litmus_tests::generate::{Plan, write};

#[derive(Parser)]
#[command(about = "Fill a data dir with generated run files")]
struct Options {
    /// The data dir; made where it is not there
    data_dir: PathBuf,
    /// How many
    #[arg(long, default_value_t = 5000)]
    runs: u64,
    /// Measurements in each
    #[arg(long, default_value_t = 40)]
    measurements: usize,
    /// Text of so many bytes with each measurement
    #[arg(long, default_value_t = 0)]
    trace_bytes: usize,
    /// The size of a file beside each run; may be given several times
    #[arg(long = "attachment")]
    attachments: Vec<u64>,
}

fn main() {
    let options = Options::parse();
    for number in 0..options.runs {
        let plan = Plan {
            trace_bytes: options.trace_bytes,
            attachments: options.attachments.clone(),
            ..Plan::new(number, options.measurements)
        };
        write(&options.data_dir, &plan);
    }
}
