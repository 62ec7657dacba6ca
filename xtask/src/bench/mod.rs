//! `cargo xtask bench`: measurements of a release build. Figures go to docs/performance.md by hand, with the machine.

mod cloud;
mod host;
mod measure;
mod postgres;
mod record;
mod syslog;

use std::path::{Path, PathBuf};

use clap::ValueEnum;

use crate::workspace::{Profile, target};
use crate::{Result, process};

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Which ones; without a name all of them
    #[arg(value_enum)]
    names: Vec<Name>,
    /// How many run files (host)
    #[arg(long, default_value_t = 5000)]
    files: u32,
    /// How often each way is measured, in turn (postgres, cloud, record)
    #[arg(long, default_value_t = 5)]
    rounds: u32,
    /// Only these peers, of rclone, aws, threads and loop; may be given several times (cloud)
    #[arg(long = "peer")]
    peers: Vec<String>,
    /// Only this data set (postgres)
    #[arg(long, value_enum)]
    data: Option<Data>,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Name {
    /// A pass over files that are all delivered
    Host,
    /// To an S3 server, beside rclone, the aws cli and boto3; and what a file of a gigabyte costs
    Cloud,
    /// Into PostgreSQL, beside what a user could take instead
    Postgres,
    /// Recording a run, beside the platform's own client
    Record,
    /// The syslog sink beside `loggen`, `logger -f` and Python's SysLogHandler, into rsyslog
    Syslog,
}

/// A set of generated run files.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Data {
    /// 5,000 runs of 40 measurements
    Small,
    /// 20 runs of 100,000 measurements
    Big,
}

impl Data {
    fn name(self) -> &'static str {
        match self {
            Self::Small => "small",
            Self::Big => "big",
        }
    }

    fn size(self) -> (u32, u32) {
        match self {
            Self::Small => (5000, 40),
            Self::Big => (20, 100_000),
        }
    }
}

pub(crate) fn run(options: &Options) -> Result<()> {
    for name in Name::value_variants() {
        if options.names.is_empty() || options.names.contains(name) {
            match name {
                Name::Host => host::run(options.files)?,
                Name::Record => record::run(options.rounds)?,
                Name::Syslog => syslog::run(options.rounds)?,
                Name::Cloud => cloud::run(options.rounds, &options.peers)?,
                Name::Postgres => {
                    let all = Data::value_variants().iter().copied();
                    for data in all.filter(|data| options.data.is_none_or(|only| only == *data)) {
                        postgres::run(data, options.rounds)?;
                    }
                }
            }
        }
    }
    Ok(())
}

/// A data dir of this many generated runs, made once.
fn generated(runs: u32, measurements: u32) -> Result<PathBuf> {
    let data = target().join(format!("bench/{runs}x{measurements}"));
    if !data.exists() {
        let partial = data.with_extension("partial");
        fresh(&partial)?;
        let counts = ["--runs", &runs.to_string(), "--measurements", &measurements.to_string()].map(str::to_owned);
        process::run(
            std::process::Command::new(Profile::Release.folder().join("generate-runs")).arg(&partial).args(counts),
        )?;
        std::fs::rename(&partial, &data)?;
    }
    Ok(data)
}

/// A Python with these packages of PyPI.
fn python(name: &str, packages: &[&str]) -> Result<PathBuf> {
    let venv = target().join("bench/venv").join(name);
    let python = venv.join("bin/python");
    if !python.exists() {
        process::run(std::process::Command::new("python3").args(["-m", "venv"]).arg(&venv))?;
        let install = ["-m", "pip", "install", "--quiet"];
        process::run(std::process::Command::new(&python).args(install).args(packages))?;
    }
    Ok(python)
}

/// The one in the middle.
fn median<T>(costs: &[T], of: impl Fn(&T) -> f64) -> Option<f64> {
    let mut values: Vec<f64> = costs.iter().map(of).collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

/// An empty folder.
fn fresh(folder: &Path) -> Result<()> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(std::fs::create_dir_all(folder)?),
    }
}
