//! `cargo xtask dist`: a release build laid out as it installs, and packed.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{fs, io};

use crate::workspace::{Profile, plugins, root, target};
use crate::{Result, build, process};

pub(crate) fn run() -> Result<()> {
    let profile = Profile::Release;
    let dist = target().join("dist");
    if dist.exists() {
        fs::remove_dir_all(&dist)?;
    }
    build::package("litmus-host", profile)?;
    copy(&profile.folder().join("litmus-host"), &dist.join("bin/litmus-host"))?;
    for folder in plugins()?.iter().filter(|folder| folder.is_shipped()) {
        build::plugin(folder, profile)?;
        copy(&folder.installed(profile), &dist.join(format!("lib/litmus/plugins/{}.so", folder.name)))?;
    }
    copy(&root().join("crates/litmus-core/include/litmus_sink.h"), &dist.join("include/litmus_sink.h"))?;
    for file in ["README.md", "CHANGELOG.md", "LICENSE-APACHE", "LICENSE-MIT"] {
        copy(&root().join(file), &dist.join("share/doc/litmus-host").join(file))?;
    }

    let name = format!("litmus-host-{}-{}-linux-gnu", env!("CARGO_PKG_VERSION"), std::env::consts::ARCH);
    let packed = target().join(format!("{name}.tar.gz"));
    let rename = format!("--transform=s,^\\.,{name},");
    process::run(
        Command::new("tar")
            .arg("--create")
            .arg("--gzip")
            .arg("--file")
            .arg(&packed)
            .arg("--directory")
            .arg(&dist)
            .args(
                // The same input gives the same archive, whoever packs it.
                ["--sort=name", "--owner=0", "--group=0", "--numeric-owner", "--mtime=@0", &rename, "."],
            ),
    )?;
    list(&dist, &dist)?;
    println!("{}: {} KB", packed.display(), fs::metadata(&packed)?.len() / 1000);
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    let name_both = |error: io::Error| format!("{} to {}: {error}", from.display(), to.display());
    fs::create_dir_all(to.parent().expect("a shipped file lies in a folder")).map_err(name_both)?;
    fs::copy(from, to).map_err(name_both)?;
    Ok(())
}

fn list(folder: &Path, below: &Path) -> Result<()> {
    let mut paths = fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<PathBuf>>>()?;
    paths.sort();
    for path in paths {
        if path.is_dir() {
            list(&path, below)?;
        } else {
            let shown = path.strip_prefix(below).unwrap_or(&path).display();
            println!("{:>8} KB  {shown}", fs::metadata(&path)?.len().div_ceil(1000));
        }
    }
    Ok(())
}
