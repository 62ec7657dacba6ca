//! Files that are no plugins, or not for this host: one line that names file and remedy, and never a crash.

use std::path::Path;
use std::sync::Arc;

use litmus_core::abi::host::Plugin;
use litmus_core::abi::layout::Tag;
use litmus_core::abi::tag::{MAGIC, PANIC_ABORTS};
use std::mem::offset_of;

use crate::fake::{Bench, Logs, call, deliver, hostile_so, runs};

fn load(path: &Path) -> Result<Plugin, String> {
    let result = Plugin::load(path, Arc::new(|_, _: &str, _: &str| {}));
    result.map_err(|error| {
        let line = error.to_string();
        assert!(!line.contains('\n'), "one line: {line}");
        assert!(line.contains(&*path.file_name().unwrap().to_string_lossy()), "names the file: {line}");
        line
    })
}

fn refusal(path: &Path) -> String {
    load(path).map(|plugin| plugin.path().clone()).expect_err("refused")
}

/// What becomes of bytes as a file.
fn refused_bytes(bytes: &[u8]) -> String {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("patched.so");
    std::fs::write(&path, bytes).unwrap();
    refusal(&path)
}

fn library() -> Vec<u8> {
    std::fs::read(hostile_so()).unwrap()
}

/// Where the one occurrence of something lies.
fn find(bytes: &[u8], needle: &[u8]) -> usize {
    bytes.windows(needle.len()).position(|window| window == needle).expect("there")
}

/// The library with bytes of its tag changed.
fn patched(offset: usize, value: &[u8]) -> Vec<u8> {
    let mut bytes = library();
    // The magic, then the size: the constant may also stand elsewhere.
    let needle = [&MAGIC[..], &(size_of::<Tag>() as u32).to_le_bytes()].concat();
    let at = find(&bytes, &needle) + offset;
    bytes[at..at + value.len()].copy_from_slice(value);
    bytes
}

#[test]
fn what_is_no_library_is_refused_by_what_it_is() {
    let dir = tempfile::tempdir().unwrap();
    assert!(refusal(dir.path()).contains("is a directory; name the plugin's .so file"));
    assert!(refusal(&dir.path().join("absent.so")).contains("cannot be found"));
    assert!(refused_bytes(b"").contains("is empty; copy or build"));
    assert!(refused_bytes(b"#!/bin/sh\nexit 1\n").contains("is not a shared library"));
    assert!(refused_bytes(b"\x7fE").contains("is not a shared library"));
    assert!(refused_bytes(b"\x7fELF\x02\x01\x01").contains("is truncated"));
    assert!(refusal(&std::env::current_exe().unwrap()).contains("not a litmus-host plugin"));
}

#[test]
fn another_library_is_named_as_such() {
    let libc = std::fs::read_to_string("/proc/self/maps").unwrap();
    let libc =
        libc.lines().find_map(|line| line.split_whitespace().last().filter(|path| path.contains("libc.so"))).unwrap();
    assert!(refusal(Path::new(libc)).contains("does not export litmus_sink_abi"));
}

#[test]
fn a_truncated_plugin_never_reaches_the_loader() {
    let bytes = library();
    for part in 1..=40 {
        let len = bytes.len() * part / 41;
        let line = refused_bytes(&bytes[..len]);
        assert!(line.contains("is truncated"), "{len} of {} bytes: {line}", bytes.len());
    }
    assert!(refused_bytes(&bytes[..bytes.len() - 1]).contains("is truncated"));
}

#[test]
fn another_machine_or_kind_of_elf_is_refused() {
    let with = |at: usize, value: u8| {
        let mut bytes = library();
        bytes[at] = value;
        refused_bytes(&bytes)
    };
    let here = std::env::consts::ARCH;
    let line = with(18, if here == "x86_64" { 183 } else { 62 });
    assert!(line.contains("is built for") && line.contains(&format!("build the plugin for {here}")), "{line}");
    assert!(with(18, 243).contains("is built for RISC-V"));
    assert!(with(4, 1).contains("is built for"));
    assert!(with(5, 2).contains("big-endian"));
    assert!(with(16, 2).contains("not a shared library"));
}

#[test]
fn a_tag_of_another_major_a_broken_one_and_panic_abort_are_refused() {
    let line = refused_bytes(&patched(offset_of!(Tag, abi_major), &2u16.to_le_bytes()));
    assert!(line.contains("is built for plugin ABI 2.0, this host speaks 1.0; install a newer litmus-host"), "{line}");
    let line = refused_bytes(&patched(offset_of!(Tag, abi_major), &0u16.to_le_bytes()));
    assert!(line.contains("build the plugin against this release"), "{line}");
    assert!(refused_bytes(&patched(0, b"litmsink")).contains("damaged tag"));
    assert!(refused_bytes(&patched(offset_of!(Tag, size), &8u32.to_le_bytes())).contains("damaged tag"));
    let line = refused_bytes(&patched(offset_of!(Tag, flags), &PANIC_ABORTS.to_le_bytes()));
    assert!(line.contains("panic = \"abort\"") && line.contains("build it with panic = \"unwind\""), "{line}");
}

#[test]
fn a_newer_and_an_older_minor_load_clean() {
    // There is no minor -1 yet: what counts is that the host looks at the major alone.
    for minor in [1u16, u16::MAX] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("minor.so");
        std::fs::write(&path, patched(offset_of!(Tag, abi_minor), &minor.to_le_bytes())).unwrap();
        let plugin = load(&path).unwrap();
        assert_eq!(plugin.abi(), format!("1.{minor} (layout checked)"));
        assert_eq!(plugin.description().name, "hostile");
    }
}

/// Two functions of one type in the table change places: same size, same minor, so that nothing but the layout check can
/// tell. The layout names fields in one text, and a plugin built from the swapped struct differs there alone.
#[test]
fn two_fields_swapped_are_refused_by_the_layout_check() {
    let mut bytes = library();
    let (ours, theirs) = (b"flush;inst,call,err,close;inst,", b"close;inst,call,err,flush;inst,");
    let at = find(&bytes, ours);
    bytes[at..at + ours.len()].copy_from_slice(theirs);
    let line = refused_bytes(&bytes);
    assert!(line.contains("refused by the layout check"), "{line}");
    assert!(line.contains("field \"close\" stands where \"flush\" belongs"), "{line}");
    assert!(line.contains("build it against this release"), "{line}");
    // The same file loads where the check has nothing to compare: it is the check, and nothing else, that refuses it.
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("unchecked.so");
    std::fs::write(&path, of_another_abi_stable(bytes)).unwrap();
    assert!(load(&path).is_ok());
}

/// The library telling another version of abi_stable than the host's.
fn of_another_abi_stable(mut bytes: Vec<u8>) -> Vec<u8> {
    let version = b"0.11.3";
    let mut from = 0;
    while let Some(at) = bytes[from..].windows(version.len()).position(|window| window == version) {
        bytes[from + at..from + at + version.len()].copy_from_slice(b"0.11.9");
        from += at + 1;
    }
    bytes
}

#[test]
fn a_layout_of_another_abi_stable_is_not_compared_and_said() {
    let bytes = of_another_abi_stable(library());
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("other.so");
    std::fs::write(&path, &bytes).unwrap();
    let plugin = load(&path).unwrap();
    assert_eq!(plugin.abi(), "1.0 (layout not comparable: abi_stable 0.11.9 there, 0.11.3 here)");
}

#[test]
fn a_good_plugin_says_what_it_is() {
    let bench = Bench::new();
    let plugin = &bench.plugin;
    assert_eq!(plugin.abi(), "1.0 (layout checked)");
    assert!(plugin.path().is_absolute());
    assert_eq!((plugin.tag().name.as_str(), plugin.tag().version.as_str()), ("hostile", env!("CARGO_PKG_VERSION")));
    assert!(plugin.tag().built_with.starts_with("rustc "));
    let description = plugin.description();
    assert_eq!((description.name.as_str(), description.version.as_str()), ("hostile", env!("CARGO_PKG_VERSION")));
    assert_eq!(description.capabilities.max_concurrent_delivers, 4);
    assert!(description.config_schema["properties"]["panic_in"].is_object());
    assert_eq!(Logs::default().all(), []);
    let instance = bench.open(&serde_json::json!({ "name": "a", "incarnation": "one" }));
    assert_eq!((instance.destination_id(), instance.incarnation()), ("hostile://a", Some("one")));
    assert_eq!(deliver(&instance, &runs(3)).1.len(), 3);
    instance.flush(&call()).unwrap();
    instance.close(&call()).unwrap();
}
