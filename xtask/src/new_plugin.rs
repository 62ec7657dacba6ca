//! `cargo xtask new-plugin NAME`: a plugin crate that builds, passes the suite, and is ready to edit.

use std::fs;
use std::path::{Path, PathBuf};

use crate::Result;
use crate::workspace::root;

const LIB: &str = include_str!("../template/src/lib.rs");
const TEST: &str = include_str!("../template/tests/conformance.rs");
const CONFORMANCE: &str = include_str!("../template/conformance.toml");
const README: &str = include_str!("../template/README.md");

/// Plugins have their names in paths, messages and `--plugin`: the suite holds them to this, too.
const NAME_LENGTH_MAX: usize = 31;

#[derive(clap::Args)]
pub(crate) struct Options {
    /// As in `--plugin NAME.so`: lower-case letters, digits, - and _
    name: String,
    /// The crate's folder; else plugins/NAME of this workspace
    #[arg(long, value_name = "FOLDER")]
    into: Option<PathBuf>,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let name = &options.name;
    check_name(name)?;
    let inside = options.into.is_none();
    let folder = match &options.into {
        Some(folder) => std::path::absolute(folder)?,
        None => root().join("plugins").join(name),
    };
    if folder.exists() && fs::read_dir(&folder)?.next().is_some() {
        return Err(
            format!("{} is there already, and not empty\nhint: --into names another folder", folder.display()).into()
        );
    }
    let filled =
        |text: &str| text.replace("NAME", name).replace("TYPE", &type_name(name)).replace("CRATE", &library(name));
    write(&folder.join("src/lib.rs"), &filled(LIB))?;
    write(&folder.join("tests/conformance.rs"), TEST)?;
    write(&folder.join("conformance.toml"), CONFORMANCE)?;
    write(&folder.join("README.md"), &filled(README))?;
    write(&folder.join("Cargo.toml"), &manifest(name, inside))?;
    println!("{}", folder.display());
    if inside {
        println!("next: cargo xtask test-plugins {name}");
    } else {
        println!("next: cd {} && cargo test --test conformance", folder.display());
    }
    Ok(())
}

fn check_name(name: &str) -> Result<()> {
    let good = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'_';
    if name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.bytes().all(good)
        && name.len() <= NAME_LENGTH_MAX
    {
        return Ok(());
    }
    Err(format!("\"{name}\" cannot be a plugin's name\nhint: at most {NAME_LENGTH_MAX} lower-case letters, digits, - and _, a letter first").into())
}

/// `MyBroker` of `my-broker`.
fn type_name(name: &str) -> String {
    let words = name.split(['-', '_']).filter(|word| !word.is_empty());
    words.map(|word| word[..1].to_uppercase() + &word[1..]).collect::<String>() + "Sink"
}

/// What cargo calls the library it builds.
fn library(name: &str) -> String {
    format!("litmus_sink_{}", name.replace('-', "_"))
}

/// Outside, the crate is a workspace of its own, so that it builds wherever it lies.
fn manifest(name: &str, inside: bool) -> String {
    let package = format!(
        "[package]\nname = \"litmus-sink-{name}\"\ndescription = \"A sink plugin for litmus-host: runs as files of a folder\"\n"
    );
    let crate_type = "\n[lib]\ncrate-type = [\"cdylib\"]\n\n[[test]]\nname = \"conformance\"\nharness = false\n";
    if inside {
        let shared =
            ["version", "edition", "rust-version", "license", "publish"].map(|key| format!("{key}.workspace = true\n"));
        return format!(
            "{package}{}{crate_type}\n[dependencies]\narrow = {{ workspace = true, features = [\"ipc\"] }}\n\
             litmus-core.workspace = true\n\n[dev-dependencies]\nlitmus-conformance.workspace = true\n",
            shared.concat()
        );
    }
    let path = |below: &str| toml_text(&root().join(below));
    format!(
        "{package}version = \"0.1.0\"\nedition = \"2024\"\nrust-version = \"1.91\"\npublish = false\n{crate_type}\n[dependencies]\n\
         arrow = {{ version = \"59\", default-features = false, features = [\"ffi\", \"ipc\"] }}\n\
         # Or as git = \"…\" of the litmus-host repository.\n\
         litmus-core = {{ path = {} }}\n\n[dev-dependencies]\nlitmus-conformance = {{ path = {} }}\n\n[workspace]\n",
        path("crates/litmus-core"),
        path("crates/litmus-conformance"),
    )
}

/// A path as a TOML text.
fn toml_text(path: &Path) -> String {
    format!("{:?}", path.to_string_lossy())
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::create_dir_all(path.parent().expect("a file lies in a folder"))?;
    fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newcomer_has_less_than_150_lines_of_code_to_read() {
        let code = LIB.lines().filter(|line| !line.trim().is_empty() && !line.trim_start().starts_with("//"));
        assert!(code.count() < 150);
    }

    #[test]
    fn names_follow_the_rules_and_become_types_and_libraries() {
        assert!(check_name("my-broker_2").is_ok());
        for wrong in ["", "My", "2x", "a b", "a/b", "-a", &"a".repeat(32)] {
            assert!(check_name(wrong).is_err(), "{wrong}");
        }
        assert_eq!(
            (type_name("my-broker").as_str(), library("my-broker").as_str()),
            ("MyBrokerSink", "litmus_sink_my_broker")
        );
    }
}
