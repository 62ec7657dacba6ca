//! `cargo xtask servers`: the real servers that tests start. What is installed is used; the rest is unpacked from Debian's
//! packages into `target/servers`, without root and with nothing system-wide.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::workspace::root;
use crate::{Result, process};

/// One server, or client, that tests need.
struct Server {
    /// Its folder in `target/servers`.
    name: &'static str,
    /// Installed if one of these is there; `*` stands for one path part.
    programs: &'static [&'static str],
    /// The Debian packages that bring it; what they depend on comes along.
    packages: &'static [&'static str],
}

const SERVERS: &[Server] = &[
    Server { name: "postgresql", programs: &["usr/lib/postgresql/*/bin/postgres"], packages: &["postgresql"] },
    // Found by its TLS driver, which is a package of its own.
    Server {
        name: "rsyslog",
        programs: &["usr/lib/*/rsyslog/lmnsd_gtls.so"],
        packages: &["rsyslog", "rsyslog-gnutls"],
    },
    // With loggen, which the benchmark of the syslog sink compares with.
    Server { name: "syslog-ng", programs: &["usr/sbin/syslog-ng"], packages: &["syslog-ng-core"] },
];

pub(crate) fn run() -> Result<()> {
    for server in SERVERS {
        let into = root().join("target/servers").join(server.name);
        if server.is_in(Path::new("/")) {
            println!("{}: installed", server.name);
        } else if server.is_in(&into) {
            println!("{}: in {}", server.name, into.display());
        } else {
            server.unpack(&into).map_err(|error| format!("{}: {error}", server.name))?;
            println!("{}: unpacked into {}", server.name, into.display());
        }
    }
    Ok(())
}

impl Server {
    fn is_in(&self, folder: &Path) -> bool {
        self.programs.iter().any(|program| !matching(folder, program).is_empty())
    }

    fn unpack(&self, into: &Path) -> Result<()> {
        let apt = Apt::new(&root().join("target/servers/apt"))?;
        apt.update()?;
        let downloads = into.with_extension("download");
        fs::create_dir_all(&downloads)?;
        let packages = apt.missing(self.packages)?;
        process::run(apt.command("apt-get").arg("download").args(packages).current_dir(&downloads))?;
        for package in fs::read_dir(&downloads)? {
            process::run(Command::new("dpkg").arg("-x").arg(package?.path()).arg(into))?;
        }
        fs::remove_dir_all(&downloads)?;
        if self.is_in(into) {
            Ok(())
        } else {
            Err(format!("the packages do not hold {}", self.programs.join(", ")).into())
        }
    }
}

/// Debian's package tool with lists of its own: the machine's may be empty, and only root may fill them.
struct Apt {
    state: PathBuf,
}

impl Apt {
    fn new(state: &Path) -> Result<Self> {
        fs::create_dir_all(state.join("lists/partial"))?;
        fs::create_dir_all(state.join("cache/archives/partial"))?;
        Ok(Self { state: state.to_path_buf() })
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.arg("--quiet").args(["-o", "Debug::NoLocking=1", "-o", "APT::Sandbox::User="]);
        command.arg("-o").arg(format!("Dir::State::Lists={}", self.state.join("lists").display()));
        command.arg("-o").arg(format!("Dir::Cache={}", self.state.join("cache").display()));
        command
    }

    fn update(&self) -> Result<()> {
        process::run(self.command("apt-get").arg("update"))
    }

    /// These packages, and what they need that is not installed.
    fn missing(&self, packages: &[&str]) -> Result<Vec<String>> {
        let mut command = self.command("apt-get");
        command.args(["install", "--simulate", "--no-install-recommends"]).args(packages);
        let output = command.output().map_err(|error| format!("apt-get: {error}"))?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
        }
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        // `Inst NAME (VERSION …)`
        let named = text.lines().filter_map(|line| line.strip_prefix("Inst ")?.split(' ').next().map(str::to_owned));
        Ok(named.collect())
    }
}

/// The files below a folder that match a path in which `*` stands for one part.
fn matching(folder: &Path, pattern: &str) -> Vec<PathBuf> {
    pattern.split('/').fold(vec![folder.to_path_buf()], |found, part| {
        let below = |folder: PathBuf| -> Vec<PathBuf> {
            if part != "*" {
                return vec![folder.join(part)];
            }
            fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
        };
        found.into_iter().flat_map(below).filter(|path| path.exists()).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::matching;

    #[test]
    fn a_star_stands_for_one_part() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
        assert_eq!(matching(folder, "*/servers.rs"), [folder.join("src/servers.rs")]);
        assert_eq!(matching(folder, "*/nothing.rs"), Vec::<std::path::PathBuf>::new());
    }
}
