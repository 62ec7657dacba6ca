//! The way of docs/writing-a-plugin.md, from nothing to a plugin that is forwarded through, outside of the workspace.

use std::fs;
use std::path::Path;
use std::process::Command;

use litmus_tests::artifacts::{self, root};
use litmus_tests::generate::{Plan, write};
use litmus_tests::project::{Ended, Project};

/// A cargo command in a folder, offline and with this workspace's versions.
fn cargo(folder: &Path, arguments: &[&str]) -> Ended {
    let mut command = Command::new(env!("CARGO"));
    command.args(arguments).current_dir(folder).env("CARGO_NET_OFFLINE", "true");
    // What it has to compile is compiled once for all runs of this test.
    command.env("CARGO_TARGET_DIR", root().join("target/outside"));
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")) {
            command.env_remove(name);
        }
    }
    Ended::of(&mut command)
}

#[test]
fn a_new_plugin_outside_the_workspace_builds_passes_the_suite_and_is_forwarded_through() {
    let project = Project::new();
    let folder = project.path("my-broker");
    let into = folder.to_string_lossy().into_owned();
    let made = cargo(
        root(),
        &["run", "--quiet", "-p", "xtask", "--target-dir", "target", "--", "new-plugin", "my-broker", "--into", &into],
    );
    made.exits(0).says("cargo test --test conformance");
    fs::copy(root().join("Cargo.lock"), folder.join("Cargo.lock")).unwrap();
    cargo(&folder, &["build", "--quiet"]).exits(0);
    let library = root().join("target/outside/debug/liblitmus_sink_my_broker.so");

    let suite = Ended::of(
        Command::new(artifacts::folder().join("litmus-conformance"))
            .arg("--plugin")
            .arg(&library)
            .arg("--config")
            .arg(folder.join("conformance.toml"))
            .arg("--corpus")
            .arg(root().join("tests/corpus")),
    );
    suite.exits(0).says(" 0 failed, ");

    for number in 1..=3 {
        write(&project.data_dir(), &Plan::new(number, 20));
    }
    let library = library.to_string_lossy().into_owned();
    let forward = ["--plugin", &library, "--set", "folder=objects", "--format", "json"];
    project.run(forward).delivered(3, 0);
    project.run(forward).delivered(0, 0);
    fs::remove_dir_all(project.state_dir()).unwrap();
    project.run(forward).delivered(0, 3);
    let files = fs::read_dir(project.path("objects")).unwrap().flatten();
    assert_eq!(files.filter(|file| file.path().extension().is_some_and(|suffix| suffix == "run")).count(), 3);
    made.says(&into);
    cargo(
        root(),
        &["run", "--quiet", "-p", "xtask", "--target-dir", "target", "--", "new-plugin", "my-broker", "--into", &into],
    )
    .exits(1)
    .says("is there already");
}
