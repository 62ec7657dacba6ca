//! A plugin's file is looked at before it is loaded: who may write it, and whether it is the pinned one.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use litmus_tests::artifacts;
use litmus_tests::generate::{Plan, write};
use litmus_tests::project::Project;

/// A project with one run, and a copy of the sqlite plugin in a folder of its own.
fn project() -> (Project, PathBuf) {
    let project = Project::new();
    write(&project.data_dir(), &Plan::new(1, 5));
    let folder = project.path("own");
    fs::create_dir_all(&folder).unwrap();
    let file = folder.join("sqlite.so");
    fs::copy(artifacts::plugin("sqlite"), &file).unwrap();
    mode(&folder, 0o755);
    mode(&file, 0o755);
    (project, file)
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

const FORWARD: [&str; 4] = ["--plugin", "./own/sqlite.so", "--set", "path=out.db"];

#[test]
fn a_plugin_that_everybody_may_write_is_refused_and_allowed_by_name() {
    let (project, file) = project();
    mode(&file, 0o757);
    project.run(FORWARD).exits(2).says("everybody on this machine may write it").says("hint: chmod o-w");
    project.run(["plugins", "--plugin-dir", "own"]).exits(0).says("everybody on this machine may write it");
    project.run(["check", "--plugin", "./own/sqlite.so", "--set", "path=out.db"]).exits(2).says("everybody");
    assert!(!project.path("out.db").exists());
    let mut named = project.command(FORWARD);
    named.env("LITMUS_HOST_WRITABLE_PLUGINS", "other.so:sqlite.so");
    assert!(named.output().unwrap().status.success());

    mode(&file, 0o755);
    mode(file.parent().unwrap(), 0o777);
    project.run(FORWARD).exits(2).says("its folder");
    let toml = "writable_plugins = ['sqlite.so']\n[[sink]]\nplugin = './own/sqlite.so'\nconfig = { path = 'out.db' }\n";
    fs::write(project.path("litmus-host.toml"), toml).unwrap();
    project.run(["--config", "litmus-host.toml"]).exits(0);
}

#[test]
fn a_pin_takes_the_file_it_names_and_no_other() {
    let (project, file) = project();
    let listed = project.run(["plugins", "--plugin-dir", "own", "--format", "json"]).json();
    let line = listed.as_array().unwrap().iter().find(|line| line["file"].as_str().unwrap().contains("/own/")).unwrap();
    let (sha256, abi) = (line["sha256"].as_str().unwrap().to_owned(), line["abi"].as_str().unwrap());
    assert!(sha256.len() == 64 && abi.starts_with("1.0 ") && line["capabilities"]["dedup"] == true, "{line:#}");
    project.run(["plugins", "--plugin-dir", "own"]).exits(0).says(&sha256).says("committed");
    let pin = |sha256: &str| {
        let toml =
            format!("[[sink]]\nplugin = './own/sqlite.so'\nsha256 = '{sha256}'\nconfig = {{ path = 'out.db' }}\n");
        fs::write(project.path("litmus-host.toml"), toml).unwrap();
        project.run(["--config", "litmus-host.toml"])
    };
    pin(&sha256).exits(0);
    pin("12ab").exits(2).says("litmus-host.toml:3:10").says("is not a sha256");
    // One byte more, as somebody's patched build would have.
    let mut bytes = fs::read(&file).unwrap();
    bytes.push(0);
    fs::write(&file, bytes).unwrap();
    pin(&sha256).exits(2).says(&format!("{sha256} is pinned")).says("hint: put the pinned file back");
}
