//! The store, the data dir and attachments on a real file system.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;

use crate::written::{Layout, flat, write};
use arrow::array::{ArrayRef, StringArray};
use litmus_core::AttachmentState;
use litmus_core::reader::{Store, resolve_data_dir};

fn touch(path: &Path) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, "x").unwrap();
}

#[test]
fn a_walk_finds_the_candidates_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let runs = dir.path().join("runs");
    let store = Store::open(dir.path()).unwrap();
    assert!(store.walk().0.is_empty() && store.walk().1.is_empty(), "a data dir without runs/ is an empty store");
    for name in
        ["runs/d/b.parquet", "a.parquet", "d/x_LOT/7/SN9.parquet", "d/b_ref/wave.parquet", "lonely_ref/c.parquet"]
    {
        touch(&runs.join(name));
    }
    for name in [".hidden.parquet", "d/tmp1234.tmp", "d/b.tmp.parquet", "d/notes.txt"] {
        touch(&runs.join(name));
    }
    fs::create_dir(runs.join("folder.parquet")).unwrap();
    touch(&runs.join("folder.parquet/inside.parquet"));
    touch(&runs.join("d/b.parquet"));
    symlink(&runs, runs.join("loop")).unwrap();
    symlink(runs.join("a.parquet"), runs.join("link.parquet")).unwrap();
    symlink("nowhere", runs.join("dangling.parquet")).unwrap();
    let (found, errors) = store.walk();
    let names: Vec<_> = found.iter().map(|file| file.path.to_str().unwrap()).collect();
    assert_eq!(
        names,
        [
            "runs/a.parquet",
            "runs/d/b.parquet",
            "runs/d/x_LOT/7/SN9.parquet",
            "runs/dangling.parquet",
            "runs/folder.parquet",
            "runs/folder.parquet/inside.parquet",
            "runs/link.parquet",
            "runs/lonely_ref/c.parquet",
            "runs/runs/d/b.parquet",
        ]
    );
    // One link that leads nowhere is one unreadable file, not a folder that could not be read.
    assert!(errors.is_empty(), "{errors:?}");
    let dangling = store.open_run(Path::new("runs/dangling.parquet")).unwrap_err();
    assert!(dangling.to_string().starts_with("runs/dangling.parquet: "), "{dangling}");
    assert_eq!(found[0].stamp.size, 1);
    let missing = Store::open(&dir.path().join("gone")).unwrap_err();
    assert!(missing.is_transient() && missing.message().starts_with("cannot open the data dir"), "{missing}");
    assert!(Store::open(&runs.join("a.parquet")).unwrap_err().message().contains("not a folder"));
}

#[test]
fn links_to_folders_are_followed_last_and_into_no_folder_twice() {
    let dir = tempfile::tempdir().unwrap();
    let (runs, archive) = (dir.path().join("data/runs"), dir.path().join("archive"));
    for name in ["d/a.parquet", "d/a_ref/wave.parquet"] {
        touch(&runs.join(name));
    }
    for name in ["2024/b.parquet", "2025/c.parquet"] {
        touch(&archive.join(name));
    }
    // What sorts before the real folder still gives way to it.
    symlink(runs.join("d"), runs.join("a-before-d")).unwrap();
    symlink(&archive, runs.join("m")).unwrap();
    symlink(&archive, runs.join("z")).unwrap();
    symlink("m", runs.join("link-to-link")).unwrap();
    // Loops: back to the start, up past it, and in each other.
    symlink(&runs, archive.join("2025/back")).unwrap();
    symlink(dir.path(), archive.join("up")).unwrap();
    symlink("round", archive.join("round")).unwrap();
    symlink(runs.join("d/a_ref"), runs.join("attachments")).unwrap();
    let store = Store::open(&dir.path().join("data")).unwrap();
    let (found, errors) = store.walk();
    assert!(errors.is_empty(), "{errors:?}");
    let names: Vec<_> = found.iter().map(|file| file.path.to_str().unwrap()).collect();
    assert_eq!(
        names,
        ["runs/d/a.parquet", "runs/link-to-link/2024/b.parquet", "runs/link-to-link/2025/c.parquet"],
        "the first link in path order"
    );
    // The same with the link that was followed out of the way.
    fs::remove_file(runs.join("link-to-link")).unwrap();
    assert_eq!(store.walk().0[1].path, Path::new("runs/m/2024/b.parquet"));
}

#[test]
fn a_data_dir_without_runs_says_which_folder_is_meant() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().canonicalize().unwrap();
    fs::create_dir_all(dir.join("data/runs/2026")).unwrap();
    let said = |name: &str| Store::open(&dir.join(name)).unwrap().missing_runs().map(|error| error.to_string());
    assert_eq!(said("data"), None);
    let above =
        format!("hint: this lies in a runs/ folder; name the folder above that: {}", dir.join("data").display());
    for inside in ["data/runs", "data/runs/2026"] {
        let said = said(inside).unwrap();
        assert!(said.ends_with(&above), "{said}");
    }
    let other = said("").unwrap();
    assert!(other.ends_with("there is no runs/ in the data dir\nhint: name the folder that holds runs/; Litmus makes that with its first run"), "{other}");
}

#[test]
fn a_data_dir_is_found_as_the_platform_finds_it() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    for folder in ["project/deep", "bare/deep", "home/.local/share/testerkit/data", "xdg/litmus/data"] {
        fs::create_dir_all(at(folder)).unwrap();
    }
    fs::write(at("project/litmus.yaml"), "name: demo\ndata_dir: results # here\nprofiles: {a: [1, 2]}\n").unwrap();
    fs::write(at("bare/testerkit.yaml"), "name: bare\n").unwrap();
    let home = |name: &str| at(name).into_os_string();
    let resolve = |argument: Option<&str>, start: &str, environment: &[(&str, OsString)]| {
        let environment: HashMap<_, _> = environment.iter().cloned().collect();
        let found = resolve_data_dir(argument.map(Path::new), &at(start), &|name| environment.get(name).cloned());
        found.map(|found| (found.path, found.found_by)).map_err(|error| error.to_string())
    };
    let all = [("LITMUS_HOME", home("lh")), ("TESTERKIT_HOME", home("th")), ("HOME", home("home"))];
    assert_eq!(resolve(Some("/x"), "project", &all), Ok(("/x".into(), "--data-dir".to_owned())));
    let project = Ok((at("project/results"), at("project/litmus.yaml").display().to_string()));
    assert_eq!(resolve(None, "project/deep", &all), project);
    assert_eq!(resolve(None, "bare/deep", &all), Ok((at("lh/data"), "$LITMUS_HOME".to_owned())));
    assert_eq!(resolve(None, "bare", &all[1..]), Ok((at("th/data"), "$TESTERKIT_HOME".to_owned())));
    let user = |path: &str| Ok((at(path), "the user data folder".to_owned()));
    assert_eq!(resolve(None, "bare", &all[2..]), user("home/.local/share/testerkit/data"));
    let xdg = [("HOME", home("home")), ("XDG_DATA_HOME", home("xdg"))];
    assert_eq!(resolve(None, "bare", &xdg), user("xdg/litmus/data"));
    let none = resolve(None, "bare", &[("XDG_DATA_HOME", home("project"))]).unwrap_err();
    assert!(none.contains("testerkit.yaml has no data_dir") && none.contains("$LITMUS_HOME is not set"), "{none}");
    assert!(none.contains("project/litmus/data is not there") && none.contains("\nhint: name the folder"), "{none}");
    fs::write(at("bare/testerkit.yaml"), "data_dir: [unclosed\n").unwrap();
    let broken = resolve(None, "bare", &all).unwrap_err();
    assert!(broken.contains("bare/testerkit.yaml: is not a project file: "), "{broken}");
    fs::write(at("bare/testerkit.yaml"), "").unwrap();
    assert_eq!(resolve(None, "bare", &all).unwrap().1, "$LITMUS_HOME");
}

#[test]
fn references_are_followed_inside_the_data_dir_only() {
    let dir = tempfile::tempdir().unwrap();
    let references = [
        Some("file://_ref/wave.npz"),
        Some("file://2026/session/blob 100%25.bin"),
        Some("file://2026/gone.bin"),
        Some("file://../secret"),
        Some("file:///etc/hostname"),
        Some("file://2026/link.bin"),
        Some("channel://scope.ch1?session=1"),
        Some("plain text"),
    ];
    for file in [
        "secret",
        "runs/x_ref/wave.npz",
        "files/2026/session/blob 100%25.bin",
        "files/2026/session/blob 100%25.bin.meta.json",
    ] {
        touch(&dir.path().join(file));
    }
    symlink(dir.path().join("secret"), dir.path().join("files/2026/link.bin")).unwrap();
    let column: ArrayRef = Arc::new(references.into_iter().collect::<StringArray>());
    let types = ["run", "measurement", "measurement", "measurement", "step", "step", "step", "step"];
    let run = write(dir.path(), "x", &flat(&types, vec![("out_file", column)]), &Layout::default()).unwrap();
    let real = dir.path().canonicalize().unwrap();
    let present = |path: &str| AttachmentState::Present {
        path: path.to_owned(),
        file: real.join(path).display().to_string(),
        size: 1,
    };
    let refused = |reason: &str| AttachmentState::Refused { reason: reason.to_owned() };
    let expected = [
        ("file://_ref/wave.npz", present("runs/x_ref/wave.npz")),
        ("file://2026/session/blob 100%25.bin", present("files/2026/session/blob 100%25.bin")),
        ("file://2026/session/blob 100%25.bin.meta.json", present("files/2026/session/blob 100%25.bin.meta.json")),
        ("file://2026/gone.bin", AttachmentState::Missing { path: "files/2026/gone.bin".to_owned() }),
        ("file://../secret", refused("it leads out of the data dir")),
        ("file:///etc/hostname", refused("it leads out of the data dir")),
        ("file://2026/link.bin", refused("it goes through a symbolic link")),
        ("channel://scope.ch1?session=1", AttachmentState::Channel),
    ];
    let found: Vec<_> = run.attachments().unwrap().into_iter().map(|found| (found.reference, found.state)).collect();
    assert_eq!(found, expected.map(|(reference, state)| (reference.to_owned(), state)));
}
