//! `cargo xtask header`: the C header, written by the ABI itself so that the two cannot differ.

use std::fs;

use crate::{Result, process, workspace};

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Write nothing; fail if the committed header differs
    #[arg(long)]
    check: bool,
}

/// Fails where the committed header is not what the ABI says; for `cargo xtask test`.
pub(crate) fn check() -> Result<()> {
    run(&Options { check: true })
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let path = workspace::root().join("crates/litmus-core/include/litmus_sink.h");
    let arguments = ["run", "--quiet", "--package", "litmus-core", "--features", "host", "--bin", "litmus-header"];
    let output = process::cargo(arguments).stderr(std::process::Stdio::inherit()).output()?;
    if !output.status.success() {
        return Err(format!("litmus-header failed: {}", output.status).into());
    }
    let same = fs::read(&path).is_ok_and(|committed| committed == output.stdout);
    if options.check {
        return if same {
            Ok(())
        } else {
            Err(format!("{} is stale\nhint: cargo xtask header", path.display()).into())
        };
    }
    if !same {
        fs::create_dir_all(path.parent().expect("the header lies in a folder"))?;
        fs::write(&path, output.stdout)?;
    }
    println!("{}{}", path.display(), if same { " is up to date" } else { " written" });
    Ok(())
}
