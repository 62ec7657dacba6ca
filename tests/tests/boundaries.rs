//! Dependencies point one way (DESIGN: the workspace). What cargo resolves, and one name in the sources.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use litmus_tests::artifacts::root;

/// Every package below this one, by name: built as a user of it builds it, without what only its tests need.
fn below(package: &str, arguments: &[&str]) -> BTreeSet<String> {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--locked", "--offline", "--package", package, "--edges", "normal,build", "--prefix", "none"])
        .args(["--format", "{p}"])
        .args(arguments)
        .current_dir(root())
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = String::from_utf8(output.stdout).expect("names in UTF-8");
    let mut names: BTreeSet<_> = lines.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect();
    assert!(names.remove(package), "{package} is not in its own tree");
    names.remove("");
    names
}

fn plugins() -> Vec<String> {
    let entries = fs::read_dir(root().join("plugins")).expect("plugins/");
    let rust = entries.map(|entry| entry.expect("an entry")).filter(|entry| entry.path().join("Cargo.toml").is_file());
    let names = rust.map(|entry| entry.file_name().into_string().expect("a name in UTF-8"));
    names.map(|name| format!("litmus-sink-{name}")).collect()
}

fn ours(names: &BTreeSet<String>) -> Vec<&str> {
    names.iter().map(String::as_str).filter(|name| name.starts_with("litmus-") || *name == "xtask").collect()
}

#[test]
fn plugins_know_core_and_sql_only() {
    let found = plugins();
    assert!(found.len() >= 2, "plugins/ has {found:?}");
    for plugin in found {
        let below = below(&plugin, &[]);
        let unknown: Vec<_> =
            ours(&below).into_iter().filter(|name| !["litmus-core", "litmus-sql"].contains(name)).collect();
        assert!(unknown.is_empty(), "{plugin} depends on {unknown:?}");
        for foreign in ["parquet", "object"] {
            assert!(!below.contains(foreign), "{plugin} builds {foreign}: it has litmus-core's `reader` or `host`");
        }
    }
}

#[test]
fn core_knows_nobody_and_sql_and_host_and_suite_know_core() {
    assert_eq!(ours(&below("litmus-core", &["--features", "reader,host"])), Vec::<&str>::new());
    assert_eq!(ours(&below("litmus-sql", &[])), ["litmus-core"]);
    assert_eq!(ours(&below("litmus-record", &["--features", "tracing,log"])), ["litmus-core"]);
    assert_eq!(ours(&below("litmus-host", &[])), ["litmus-core", "litmus-record"]);
    assert_eq!(ours(&below("litmus-conformance", &[])), ["litmus-core"]);
    assert_eq!(ours(&below("litmus-python", &[])), ["litmus-core", "litmus-record"]);
    assert_eq!(ours(&below("xtask", &[])), Vec::<&str>::new());
}

#[test]
fn core_for_a_plugin_has_no_runtime_no_reader_no_database() {
    let below = below("litmus-core", &["--no-default-features"]);
    for foreign in ["tokio", "parquet", "rusqlite", "object", "sha2"] {
        assert!(!below.contains(foreign), "litmus-core without features builds {foreign}");
    }
}

#[test]
fn there_is_one_arrow_and_one_parquet() {
    let lock = fs::read_to_string(root().join("Cargo.lock")).expect("Cargo.lock");
    for package in ["arrow", "arrow-array", "arrow-schema", "parquet"] {
        let count = lock.lines().filter(|line| *line == format!("name = \"{package}\"")).count();
        assert_eq!(count, 1, "versions of {package} in Cargo.lock");
    }
}

#[test]
fn abi_stable_is_named_in_one_folder() {
    let mut named = Vec::new();
    // This test names it too.
    let allowed = ["crates/litmus-core/src/abi", "crates/litmus-core/tests/abi"].map(|folder| root().join(folder));
    for folder in ["crates", "plugins", "xtask"] {
        sources(&root().join(folder), &mut |path, text| {
            if text.contains("abi_stable") && !allowed.iter().any(|folder| path.starts_with(folder)) {
                named.push(path.to_path_buf());
            }
        });
    }
    assert!(named.is_empty(), "abi_stable is named outside crates/litmus-core's abi: {named:?}");
}

fn sources(folder: &Path, see: &mut impl FnMut(&Path, &str)) {
    for entry in fs::read_dir(folder).expect("a source folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            sources(&path, see);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            see(&path, &fs::read_to_string(&path).expect("a source in UTF-8"));
        }
    }
}
