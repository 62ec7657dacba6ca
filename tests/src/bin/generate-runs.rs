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
}

fn main() {
    let options = Options::parse();
    for number in 0..options.runs {
        write(&options.data_dir, &Plan::new(number, options.measurements));
    }
}
