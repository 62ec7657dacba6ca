//! `cargo xtask fuzz`: the fuzz targets of `fuzz/`, from the corpus of real files on. Needs a nightly toolchain and, the first
//! time, the network (cargo-fuzz is installed into `target/tools`).

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::workspace::{root, target};
use crate::{Result, process};

#[derive(clap::Args)]
pub(crate) struct Options {
    /// How long
    #[arg(long, default_value_t = 30)]
    minutes: u64,
    /// Which target of fuzz/fuzz_targets
    #[arg(long, default_value = "reader")]
    name: String,
}

/// More memory than reading any file of a few hundred kilobytes may take, the sanitizer's own included.
const RSS_MB: u32 = 1536;
/// One allocation of this size is a finding, even where nothing of it is touched.
const MALLOC_MB: u32 = 256;
/// Seconds that one file may take, in a build some thirty times slower than a release.
const TIMEOUT_S: u32 = 20;
/// Larger inputs are slow and find nothing that small ones do not.
const INPUT_BYTES_MAX: usize = 128 << 10;

pub(crate) fn run(options: &Options) -> Result<()> {
    if !process::is_installed("rustup", &["run", "nightly", "rustc", "--version"]) {
        return Err(
            "fuzzing needs a nightly toolchain\nhint: rustup toolchain install nightly --profile minimal".into()
        );
    }
    let cargo_fuzz = cargo_fuzz()?;
    // What was found interesting is kept from one run to the next.
    let corpus = target().join("fuzz/corpus").join(&options.name);
    let seeds = seed(&corpus)?;
    println!("{seeds} seeds from tests/corpus in {}", corpus.display());
    let artifacts = root().join("fuzz/artifacts").join(&options.name);
    fs::create_dir_all(&artifacts)?;
    let mut command = Command::new("rustup");
    command.args(["run", "nightly"]).arg(cargo_fuzz).args(["run", "--fuzz-dir"]).arg(root().join("fuzz"));
    command.arg("--target-dir").arg(target().join("fuzz")).arg(&options.name).arg(&corpus).arg("--");
    command.args([
        format!("-max_total_time={}", options.minutes * 60),
        format!("-rss_limit_mb={RSS_MB}"),
        format!("-malloc_limit_mb={MALLOC_MB}"),
        format!("-timeout={TIMEOUT_S}"),
        format!("-max_len={INPUT_BYTES_MAX}"),
        "-print_final_stats=1".to_owned(),
    ]);
    // The cargo that runs us is another toolchain's.
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| name.starts_with("CARGO") || name.starts_with("RUSTUP_TOOLCHAIN")) {
            command.env_remove(name);
        }
    }
    if let Some(home) = std::env::var_os("CARGO_HOME") {
        command.env("CARGO_HOME", home);
    }
    process::run(command.current_dir(root())).map_err(|error| {
        format!("{error}\nhint: the input that did it lies in {}; mend it, and add it to a test", artifacts.display())
            .into()
    })
}

/// An installed one, else one of our own.
fn cargo_fuzz() -> Result<PathBuf> {
    if process::is_installed("cargo-fuzz", &["--version"]) {
        return Ok("cargo-fuzz".into());
    }
    let tools = target().join("tools");
    let own = tools.join("bin/cargo-fuzz");
    if !own.is_file() {
        println!("installing cargo-fuzz into {}", tools.display());
        process::run(process::cargo(["install", "cargo-fuzz", "--locked", "--root"]).arg(&tools))?;
    }
    Ok(own)
}

/// Real files in the shape that the target takes: the length of the body in four bytes, body, footer.
fn seed(corpus: &Path) -> Result<usize> {
    fs::create_dir_all(corpus)?;
    let mut folders = vec![root().join("tests/corpus")];
    let mut seeds = 0;
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "parquet") {
                let bytes = fs::read(&path)?;
                let input = input_of(&bytes).ok_or_else(|| format!("{} is no Parquet file", path.display()))?;
                if input.len() <= INPUT_BYTES_MAX {
                    fs::write(corpus.join(format!("seed-{seeds:03}")), input)?;
                    seeds += 1;
                }
            }
        }
    }
    if seeds == 0 { Err("there is no run file in tests/corpus".into()) } else { Ok(seeds) }
}

fn input_of(file: &[u8]) -> Option<Vec<u8>> {
    let (rest, tail) = file.strip_prefix(b"PAR1")?.split_last_chunk::<8>()?;
    let footer = u32::from_le_bytes(tail[..4].try_into().ok()?) as usize;
    let body = rest.len().checked_sub(footer)?;
    Some([&(body as u32).to_le_bytes()[..], rest].concat())
}

#[cfg(test)]
mod tests {
    use super::input_of;

    #[test]
    fn an_input_is_the_body_with_its_length_and_the_footer() {
        assert_eq!(input_of(b"PAR1bodyfoot!\x05\0\0\0PAR1").unwrap(), b"\x04\0\0\0bodyfoot!");
        assert_eq!(input_of(b"PAR1\x05\0\0\0PAR1"), None);
        assert_eq!(input_of(b"text"), None);
    }
}
