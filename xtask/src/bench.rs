//! `cargo xtask bench`: measurements of a release build. Figures go to docs/performance.md by hand, with the machine.

mod syslog;

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use std::{fs, io};

use clap::ValueEnum;

use crate::workspace::{Profile, target};
use crate::{Result, build, process};

/// Passes that are timed; the first is not, it warms the page cache.
const PASSES: usize = 21;

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Which ones; without a name all of them
    #[arg(value_enum)]
    names: Vec<Name>,
    /// How many run files
    #[arg(long, default_value_t = 5000)]
    files: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Name {
    /// A pass over files that are all delivered
    Host,
    /// The syslog sink beside `loggen`, `logger -f` and Python's SysLogHandler, into rsyslog
    Syslog,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    for name in Name::value_variants() {
        if options.names.is_empty() || options.names.contains(name) {
            match name {
                Name::Host => host(options.files)?,
                Name::Syslog => syslog::run()?,
            }
        }
    }
    Ok(())
}

/// A pass over files that are all delivered: what a cron job or a `--watch` rescan costs.
fn host(files: u32) -> Result<()> {
    let profile = Profile::Release;
    build::all(profile)?;
    let data = target().join(format!("bench/{files}x40"));
    if !data.exists() {
        process::run(
            process::cargo([
                "run",
                "--quiet",
                "--release",
                "--package",
                "litmus-tests",
                "--bin",
                "generate-runs",
                "--",
            ])
            .arg(&data)
            .args(["--runs", &files.to_string(), "--measurements", "40"]),
        )?;
    }
    let work = target().join("bench/host");
    match fs::remove_dir_all(&work) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
        _ => fs::create_dir_all(&work)?,
    }
    let forward = || {
        let mut command = Command::new(profile.folder().join("litmus-host"));
        command.arg("--data-dir").arg(&data).args([
            "--plugin",
            "sqlite.so",
            "--set",
            "path=bench.db",
            "--state-dir",
            "state",
        ]);
        command.current_dir(&work).stdout(Stdio::null());
        command
    };
    let first = time(&mut forward())?;
    println!("{files} files, first pass (read, deliver, commit): {:.2} s", first.as_secs_f64());
    let mut passes = (0..PASSES).map(|_| time(&mut forward())).collect::<Result<Vec<_>>>()?.split_off(1);
    passes.sort();
    let ms = |time: Duration| time.as_secs_f64() * 1000.0;
    println!(
        "{files} files, nothing to do, {} passes: median {:.1} ms, least {:.1} ms, most {:.1} ms",
        passes.len(),
        ms(passes[passes.len() / 2]),
        ms(passes[0]),
        ms(passes[passes.len() - 1])
    );
    Ok(())
}

fn time(command: &mut Command) -> Result<Duration> {
    let started = Instant::now();
    process::run(command)?;
    Ok(started.elapsed())
}
