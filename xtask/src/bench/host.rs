//! A pass over files that are all delivered: what a cron job or a `--watch` rescan costs.

use std::process::{Command, Stdio};
use std::time::Duration;

use super::{fresh, generated, measure};
use crate::workspace::{Profile, target};
use crate::{Result, build};

/// Passes that are timed; the first is not, it warms the page cache.
const PASSES: usize = 21;

pub(super) fn run(files: u32) -> Result<()> {
    let profile = Profile::Release;
    build::all(profile)?;
    let data = generated(files, 40)?;
    let work = target().join("bench/host");
    fresh(&work)?;
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
        command.current_dir(&work).stdout(Stdio::null()).stderr(Stdio::null());
        command
    };
    let first = measure::run(&mut forward())?;
    println!("{files} files, first pass (read, deliver, commit): {first}");
    let passes = (0..PASSES).map(|_| Ok(measure::run(&mut forward())?.wall)).collect::<Result<Vec<Duration>>>()?;
    let mut passes = passes[1..].to_vec();
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
