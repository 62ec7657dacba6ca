//! What a program costs: wall clock, processor, peak memory.

use std::fmt;
use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::Result;

/// Kernel ticks a second, in `/proc/self/stat`; the same on every Linux that we run on.
const TICKS: u32 = 100;
/// How often the peak memory is looked at; the kernel keeps the peak, so that only the last look before the end counts.
const LOOK: Duration = Duration::from_millis(5);

/// What one call cost.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cost {
    pub(super) wall: Duration,
    /// Of the program and of those it started and waited for.
    pub(super) cpu: Duration,
    /// Of the program itself.
    pub(super) peak_bytes: u64,
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (wall, cpu) = (self.wall.as_secs_f64(), self.cpu.as_secs_f64());
        write!(f, "{wall:.2} s wall, {cpu:.2} s CPU, {} MB peak", self.peak_bytes >> 20)
    }
}

/// Runs a program to its end; anything but success is an error.
pub(super) fn run(command: &mut Command) -> Result<Cost> {
    let (cpu_before, started) = (cpu_of_children()?, Instant::now());
    let mut child = command.spawn().map_err(|error| format!("{}: {error}", command.get_program().display()))?;
    let status = format!("/proc/{}/status", child.id());
    let mut peak_bytes = 0;
    let ended = loop {
        if let Some(peak) = fs::read_to_string(&status).ok().as_deref().and_then(peak_in) {
            peak_bytes = peak;
        }
        match child.try_wait()? {
            Some(ended) => break ended,
            None => std::thread::sleep(LOOK),
        }
    };
    let wall = started.elapsed();
    if !ended.success() {
        return Err(format!("{} failed: {ended}", command.get_program().display()).into());
    }
    Ok(Cost { wall, cpu: cpu_of_children()?.saturating_sub(cpu_before), peak_bytes })
}

/// `VmHWM:   123 kB`
fn peak_in(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kb| kb << 10)
}

/// Processor time of all children that ended and were waited for.
fn cpu_of_children() -> Result<Duration> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    // The name in parentheses may hold anything; cutime and cstime are the 14th and 15th fields after it.
    let (_, fields) = stat.rsplit_once(')').ok_or("/proc/self/stat")?;
    let ticks: u32 = fields.split_whitespace().skip(13).take(2).filter_map(|field| field.parse::<u32>().ok()).sum();
    Ok(Duration::from_secs(1) * ticks / TICKS)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::run;

    #[test]
    fn a_program_that_works_costs_something_and_one_that_fails_is_an_error() {
        let busy = "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done";
        let cost = run(Command::new("sh").args(["-c", busy])).unwrap();
        assert!(cost.cpu.as_millis() >= 10 && cost.wall >= cost.cpu / 2, "{cost:?}");
        assert!(cost.peak_bytes > 100_000, "{cost:?}");
        assert!(run(&mut Command::new("false")).is_err());
    }
}
