//! Real servers for tests: each test starts its own on a free loopback port, with its data in a temporary folder, and ends
//! it. A program that is installed is used; else what `cargo xtask servers` unpacked into `target/servers`.

mod azurite;
pub mod behind;
pub mod certificates;
mod echo;
mod gcs;
mod postgres;
mod proxy;
mod rsyslog;
mod s3;
pub mod syslog;
mod syslog_ng;

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

pub use azurite::{ACCOUNT, Azurite, CONTAINER, KEY};
pub use echo::Echo;
pub use gcs::Gcs;
pub use postgres::Postgres;
pub use proxy::{Fate, Passing, Proxy};
pub use rsyslog::{Rsyslog, Rsyslogs};
pub use s3::{BUCKET, S3};
pub use syslog_ng::SyslogNg;

/// How long a server may take to start or to end.
pub const PATIENCE: Duration = Duration::from_mins(1);

/// Where `cargo xtask servers` unpacks what is not installed.
pub fn unpacked() -> PathBuf {
    crate::artifacts::root().join("target/servers")
}

/// A program: on `PATH`, else below an unpacked package at one of these paths.
pub fn program(name: &str, package: &str, below: &[&str]) -> Result<PathBuf, String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let sbin = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    let installed = std::env::split_paths(&path).chain(sbin).map(|folder| folder.join(name));
    let unpacked = below.iter().map(|folder| unpacked().join(package).join(folder).join(name));
    installed.chain(unpacked).find(|file| file.is_file()).ok_or(format!(
        "{name} is neither installed nor below {}\nhint: `cargo xtask servers` gets it",
        unpacked_of(package).display()
    ))
}

fn unpacked_of(package: &str) -> PathBuf {
    unpacked().join(package)
}

/// The folders with the shared libraries of an unpacked package, for `LD_LIBRARY_PATH`; empty where it is installed.
pub fn library_path(package: &str) -> String {
    let root = unpacked_of(package);
    let machine = format!("{}-linux-gnu", std::env::consts::ARCH);
    let folders = ["usr/lib", "lib"].map(|lib| root.join(lib).join(&machine));
    let there = folders.iter().filter(|folder| folder.is_dir());
    there.map(|folder| folder.to_string_lossy().into_owned()).collect::<Vec<_>>().join(":")
}

/// A port nobody listens on now.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has a free port");
    listener.local_addr().expect("it is bound").port()
}

/// Waits until something accepts connections on a loopback port, or the process has ended.
pub fn wait_for_port(child: &mut Child, port: u16) -> Result<(), String> {
    wait(child, || TcpStream::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).is_ok())
}

/// Waits until it is ready; an error where it ends first.
pub fn wait(child: &mut Child, mut is_ready: impl FnMut() -> bool) -> Result<(), String> {
    let until = Instant::now() + PATIENCE;
    while !is_ready() {
        if let Some(status) = child.try_wait().map_err(|error| error.to_string())? {
            return Err(format!("it ended at once: {status}"));
        }
        if Instant::now() >= until {
            return Err(format!("it was not ready after {PATIENCE:?}"));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// Sends a signal and waits for the end; SIGKILL where that does not help.
pub fn end(child: &mut Child, signal: Signal) -> io::Result<ExitStatus> {
    if let Some(status) = child.try_wait()? {
        return Ok(status);
    }
    kill_process(Pid::from_child(child), signal)?;
    let until = Instant::now() + PATIENCE;
    while Instant::now() < until {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill()?;
    child.wait()
}

/// User and group of somebody who is not root, where we are root: some servers refuse to run as root.
pub fn somebody(names: &[&str]) -> Option<(u32, u32)> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    let passwd = std::fs::read_to_string("/etc/passwd").ok()?;
    names.iter().find_map(|name| {
        let line = passwd.lines().find(|line| line.split(':').next() == Some(name))?;
        let mut fields = line.split(':').skip(2);
        Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
    })
}

/// The end of a log, for a message.
pub fn tail(log: &Path) -> String {
    let text = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(15)..].join("\n")
}
