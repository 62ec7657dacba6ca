//! Files given as plugins that are none, or not for this host, through the built host: one line that names file and remedy,
//! exit code 2, and never a crash. (`crates/litmus-core/tests/abi/refused.rs` looks at every part of the check.)

use std::fs;
use std::mem::offset_of;
use std::path::{Path, PathBuf};
use std::process::Command;

use litmus_core::abi::layout::Tag;
use litmus_core::abi::tag::{MAGIC, PANIC_ABORTS};
use litmus_tests::artifacts::{plugin, root};
use litmus_tests::database;
use litmus_tests::generate::{Plan, write};
use litmus_tests::project::{Ended, Project};

fn forward(project: &Project, plugin: &Path) -> Ended {
    let given = plugin.to_string_lossy();
    project.run(["--plugin", &*given, "--set", "log=sent.jsonl"])
}

/// Refused with exit code 2 and two lines: what is wrong with which file, and what to do.
#[track_caller]
fn refused(project: &Project, plugin: &Path, why: &str) {
    for command in [None, Some("check")] {
        let given = plugin.to_string_lossy();
        let ended = project
            .run(command.into_iter().chain(["--plugin", &*given, "--set", "log=sent.jsonl"]).collect::<Vec<_>>());
        ended.exits(2).says(why);
        let all = format!("{}{}", ended.stdout, ended.stderr);
        let line = all.lines().find(|line| line.contains(why)).expect("a line");
        let name = plugin.file_name().expect("a name").to_string_lossy();
        assert!(line.contains(&*name), "the line names the file: {line}");
        assert!(!all.contains("panicked"), "{ended}");
    }
    let listed = project.run(["plugins", "--plugin", &*plugin.to_string_lossy()]);
    listed.exits(2).says(why);
    assert!(!project.path("sent.jsonl").exists(), "nothing was sent");
}

fn library() -> Vec<u8> {
    fs::read(plugin("hostile")).expect("the built plugin")
}

fn file(project: &Project, name: &str, bytes: &[u8]) -> PathBuf {
    let path = project.path(name);
    fs::write(&path, bytes).expect("a file");
    path
}

/// The library with bytes of its tag changed.
fn patched(offset: usize, value: &[u8]) -> Vec<u8> {
    let mut bytes = library();
    let needle = [&MAGIC[..], &(size_of::<Tag>() as u32).to_le_bytes()].concat();
    let at = bytes.windows(needle.len()).position(|window| window == needle).expect("a tag") + offset;
    bytes[at..at + value.len()].copy_from_slice(value);
    bytes
}

fn with_byte(at: usize, value: u8) -> Vec<u8> {
    let mut bytes = library();
    bytes[at] = value;
    bytes
}

#[test]
fn what_is_no_plugin_for_this_host_is_refused_by_what_it_is() {
    let project = Project::new();
    write(&project.data_dir(), &Plan::new(1, 8));
    let bytes = library();
    refused(&project, &project.path("absent.so"), "absent.so");
    refused(&project, &file(&project, "text.so", b"#!/bin/sh\nexit 1\n"), "is not a shared library");
    refused(&project, &file(&project, "empty.so", b""), "is empty; copy or build");
    fs::create_dir(project.path("folder.so")).expect("a folder");
    refused(&project, &project.path("folder.so"), "is a directory");
    for part in 1..=10 {
        let name = format!("cut-{part}.so");
        refused(&project, &file(&project, &name, &bytes[..bytes.len() * part / 11]), "is truncated");
    }
    let other = if std::env::consts::ARCH == "x86_64" { 183 } else { 62 };
    refused(&project, &file(&project, "arch.so", &with_byte(18, other)), "is built for");
    let major = patched(offset_of!(Tag, abi_major), &2u16.to_le_bytes());
    refused(&project, &file(&project, "major.so", &major), "is built for plugin ABI 2.0");
    let aborts = patched(offset_of!(Tag, flags), &PANIC_ABORTS.to_le_bytes());
    refused(&project, &file(&project, "abort.so", &aborts), "panic = \"abort\"");
    let mut swapped = library();
    let (ours, theirs) = (b"flush;inst,call,err,close;inst,", b"close;inst,call,err,flush;inst,");
    let at = swapped.windows(ours.len()).position(|window| window == ours).expect("the layout's names");
    swapped[at..at + ours.len()].copy_from_slice(theirs);
    refused(&project, &file(&project, "swapped.so", &swapped), "refused by the layout check");
}

#[test]
fn another_library_of_the_system_is_refused_without_being_loaded() {
    let project = Project::new();
    // What this very process has loaded: a real library that is no plugin.
    let maps = fs::read_to_string("/proc/self/maps").expect("the libraries of this process");
    let library = maps
        .lines()
        .filter_map(|line| line.split_whitespace().last())
        .find(|path| path.contains("libgcc_s") || path.contains("libc.so"));
    refused(&project, Path::new(library.expect("a library")), "does not export litmus_sink_abi");
    let libz = ["/lib/x86_64-linux-gnu/libz.so.1", "/lib/aarch64-linux-gnu/libz.so.1", "/usr/lib64/libz.so.1"];
    if let Some(libz) = libz.into_iter().map(Path::new).find(|path| path.exists()) {
        refused(&project, libz, "does not export litmus_sink_abi");
    }
}

#[test]
fn a_newer_minor_loads_clean_and_delivers() {
    let project = Project::new();
    write(&project.data_dir(), &Plan::new(1, 8));
    // There is no older one yet: the minor is 0.
    let newer = file(&project, "newer.so", &patched(offset_of!(Tag, abi_minor), &1u16.to_le_bytes()));
    forward(&project, &newer).exits(0);
    assert_eq!(fs::read_to_string(project.path("sent.jsonl")).expect("what was sent").lines().count(), 1);
}

/// A library whose constructor would end the host: it is refused before it is loaded, so that the constructor never runs.
#[test]
fn a_constructor_of_a_refused_library_never_runs_beside_a_sink_that_works() {
    let project = Project::new();
    let run = write(&project.data_dir(), &Plan::new(1, 8));
    let minimal = root().join("crates/litmus-core/examples/minimal_sink.c");
    let source = fs::read_to_string(&minimal).expect("the example in C");
    let bomb = "    .abi_major = 2,\n};\n#include <stdlib.h>\n\
                __attribute__((constructor)) static void bomb(void) { abort(); }\nconst struct litmus_tag litmus_unused = {";
    assert_eq!(source.matches("    .abi_major = LITMUS_ABI_MAJOR,").count(), 1);
    let source = source.replace("    .abi_major = LITMUS_ABI_MAJOR,", bomb);
    fs::write(project.path("bomb.c"), source).expect("a source");
    let mut cc = Command::new("cc");
    cc.args(["-std=gnu11", "-shared", "-fPIC", "-I"]).arg(root().join("crates/litmus-core/include"));
    cc.arg("-o").arg(project.path("bomb.so")).arg(project.path("bomb.c"));
    assert!(cc.status().expect("a C compiler").success());
    refused(&project, &project.path("bomb.so"), "is built for plugin ABI 2.0");
    project.run(["plugins", "--plugin-dir", &*project.path("").to_string_lossy()]).exits(0).says("bomb.so");
    project.forward("out.db").exits(0);
    assert!(database::runs(&database::open(&project.path("out.db"))).contains_key(&run.run_id));
}
