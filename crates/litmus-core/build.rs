//! Tells the crate which compiler builds it: a plugin's tag says so.

use std::process::Command;

fn main() {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc).arg("--version").output();
    let version = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default();
    println!("cargo::rustc-env=LITMUS_RUSTC={version}");
    println!("cargo::rerun-if-changed=build.rs");
}
