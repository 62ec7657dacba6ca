//! `cargo xtask header`: the C header, written by the ABI itself. A test of litmus-core fails where the committed one differs.

use std::fs;

use crate::{Result, process, workspace};

pub(crate) fn run() -> Result<()> {
    let path = workspace::root().join("crates/litmus-core/include/litmus_sink.h");
    let arguments = ["run", "--quiet", "--package", "litmus-core", "--features", "host", "--bin", "litmus-header"];
    let output = process::cargo(arguments).stderr(std::process::Stdio::inherit()).output()?;
    if !output.status.success() {
        return Err(format!("litmus-header failed: {}", output.status).into());
    }
    let same = fs::read(&path).is_ok_and(|committed| committed == output.stdout);
    if !same {
        fs::create_dir_all(path.parent().expect("the header lies in a folder"))?;
        fs::write(&path, output.stdout)?;
    }
    println!("{}{}", path.display(), if same { " is up to date" } else { " written" });
    Ok(())
}
