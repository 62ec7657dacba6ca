//! `cargo xtask servers`: the real servers that tests start. What is installed is used; the rest comes from Debian's packages,
//! PyPI or npm into `target/servers`, without root and with nothing system-wide.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::workspace::root;
use crate::{Result, process};

/// One server, client or library that tests need.
struct Server {
    /// Its folder in `target/servers`.
    name: &'static str,
    /// Installed if one of these is there; `*` stands for one path part.
    programs: &'static [&'static str],
    /// The packages that bring it; what they depend on comes along.
    packages: From,
}

/// Where packages come from.
enum From {
    Debian(&'static [&'static str]),
    PyPi(&'static [&'static str]),
    Npm(&'static str),
}

const SERVERS: &[Server] = &[
    Server {
        name: "postgresql",
        programs: &["usr/lib/postgresql/*/bin/postgres"],
        packages: From::Debian(&["postgresql"]),
    },
    Server { name: "moto", programs: &["bin/moto_server"], packages: From::PyPi(&["moto[server]==5.2.*"]) },
    // No server: another writer of Parquet, to compare with.
    Server { name: "pyarrow", programs: &["pyarrow/__init__.py"], packages: From::PyPi(&["pyarrow==21.*"]) },
    Server { name: "azurite", programs: &["node_modules/.bin/azurite-blob"], packages: From::Npm("azurite@3") },
    Server {
        name: "gcp-storage-emulator",
        programs: &["bin/gcp-storage-emulator"],
        packages: From::PyPi(&["gcp-storage-emulator"]),
    },
    // What the tests of the Python package run with, and what its tables are handed to. Those that only import it need none.
    Server {
        name: "python",
        programs: &["mypy/__init__.py"],
        packages: From::PyPi(&["pytest==9.*", "pyarrow", "polars", "duckdb==1.5.5", "boto3", "mypy"]),
    },
    // Found by its TLS driver, which is a package of its own.
    Server {
        name: "rsyslog",
        programs: &["usr/lib/*/rsyslog/lmnsd_gtls.so"],
        packages: From::Debian(&["rsyslog", "rsyslog-gnutls"]),
    },
    // With loggen, which the benchmark of the syslog sink compares with.
    Server { name: "syslog-ng", programs: &["usr/sbin/syslog-ng"], packages: From::Debian(&["syslog-ng-core"]) },
];

/// What only benchmarks need.
const PEERS: &[Server] =
    &[Server { name: "rclone", programs: &["usr/bin/rclone"], packages: From::Debian(&["rclone"]) }];

/// Where no `python3` with pip is installed: packages from PyPI are installed and run with this.
const PYTHON: Server = Server {
    name: "python3",
    programs: &["usr/lib/python3/dist-packages/pip/__init__.py"],
    packages: From::Debian(&["python3", "python3-pip"]),
};

/// The Python of the machine, if it has pip; else Debian's, unpacked.
pub(crate) fn python() -> Command {
    let unpacked = root().join("target/servers").join(PYTHON.name).join("usr/bin/python3");
    Command::new(if unpacked.is_file() { unpacked } else { "python3".into() })
}

pub(crate) fn run() -> Result<()> {
    let into = root().join("target/servers").join(PYTHON.name);
    if process::is_installed("python3", &["-m", "pip", "--version"]) || PYTHON.is_in(&into) {
        println!("{}: installed", PYTHON.name);
    } else {
        PYTHON.unpack(&into).map_err(|error| format!("{}: {error}", PYTHON.name))?;
        println!("{}: unpacked into {}", PYTHON.name, into.display());
    }
    for server in SERVERS {
        let there = server.get()?;
        let place = if there == Path::new("/") { "installed".to_owned() } else { format!("in {}", there.display()) };
        println!("{}: {place}", server.name);
    }
    Ok(())
}

/// The folder below which a peer of a benchmark lies, as it would below `/`; unpacked when first asked for.
pub(crate) fn peer(name: &str) -> Result<PathBuf> {
    PEERS.iter().find(|peer| peer.name == name).ok_or(format!("there is no peer {name}"))?.get()
}

impl Server {
    /// The folder below which it lies; unpacked where it is not there.
    fn get(&self) -> Result<PathBuf> {
        let into = root().join("target/servers").join(self.name);
        if self.is_in(Path::new("/")) || self.is_on_path() {
            return Ok(PathBuf::from("/"));
        }
        if !self.is_in(&into) {
            self.unpack(&into).map_err(|error| format!("{}: {error}", self.name))?;
        }
        Ok(into)
    }

    fn is_in(&self, folder: &Path) -> bool {
        self.programs.iter().any(|program| !matching(folder, program).is_empty())
    }

    /// For packages that bring a command; Debian's are found by their own layout.
    fn is_on_path(&self) -> bool {
        if matches!(self.packages, From::Debian(_)) {
            return false;
        }
        let path = std::env::var_os("PATH").unwrap_or_default();
        let names = || self.programs.iter().filter_map(|program| Path::new(program).file_name());
        std::env::split_paths(&path).any(|folder| names().any(|name| folder.join(name).is_file()))
    }

    fn unpack(&self, into: &Path) -> Result<()> {
        match self.packages {
            From::Debian(packages) => Self::unpack_debian(packages, into)?,
            From::PyPi(packages) => {
                let arguments = ["-m", "pip", "install", "--quiet", "--target"];
                process::run(python().args(arguments).arg(into).args(packages))?;
            }
            From::Npm(package) => {
                let arguments = ["install", "--silent", "--no-audit", "--no-fund", "--prefix"];
                process::run(Command::new("npm").args(arguments).arg(into).arg(package))?;
            }
        }
        if self.is_in(into) {
            Ok(())
        } else {
            Err(format!("the packages do not hold {}", self.programs.join(", ")).into())
        }
    }

    fn unpack_debian(packages: &[&str], into: &Path) -> Result<()> {
        let apt = Apt::new(&root().join("target/servers/apt"))?;
        apt.update()?;
        let downloads = into.with_extension("download");
        fs::create_dir_all(&downloads)?;
        let packages = apt.missing(packages)?;
        process::run(apt.command("apt-get").arg("download").args(packages).current_dir(&downloads))?;
        for package in fs::read_dir(&downloads)? {
            process::run(Command::new("dpkg").arg("-x").arg(package?.path()).arg(into))?;
        }
        fs::remove_dir_all(&downloads)?;
        Ok(())
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
