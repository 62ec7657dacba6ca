//! Minor 0 is frozen: its layouts are those of the record, and a plugin built from its sources works with this host.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use litmus_core::abi::host::{HostCall, Plugin};
use litmus_core::abi::layout::{self, STRUCTS};
use litmus_core::abi::tag;
use litmus_core::{OpenMode, RunId, Sha256, Status, Table};
use serde_json::json;

use crate::fake::{Logs, call, deliver, run, runs, statuses};

/// What minor 0 is: structs with their sizes, fields with their places and C declarations, numbers with their names.
const RECORD: &str = include_str!("../frozen/minor0/layout.txt");

/// The ABI of this build in the record's words.
fn now() -> String {
    let mut text = String::new();
    for c_struct in STRUCTS {
        let _ = writeln!(text, "struct {} {}", c_struct.name, c_struct.size);
        for field in c_struct.fields {
            let declared = field.c.split_whitespace().collect::<Vec<_>>().join(" ");
            let _ = writeln!(text, "field {}.{} {} {declared}", c_struct.name, field.name, field.offset);
        }
    }
    for status in Status::ALL {
        let _ = writeln!(text, "status {} {}", status.name(), status.number());
    }
    for table in Table::ALL {
        let _ = writeln!(text, "table {table} {}", table.number());
    }
    for (name, number) in [
        ("major", u64::from(layout::MAJOR)),
        ("no_time", layout::NO_TIME),
        ("open_offline", u64::from(layout::OPEN_OFFLINE)),
        ("call_dry_run", u64::from(layout::CALL_DRY_RUN)),
        ("run_force", u64::from(layout::RUN_FORCE)),
        ("tag_panic_aborts", tag::PANIC_ABORTS),
        ("tag_debug", tag::DEBUG),
    ] {
        let _ = writeln!(text, "number {name} {number}");
    }
    for symbol in [tag::TAG_SYMBOL, tag::SINK_SYMBOL, tag::LAYOUT_SYMBOL] {
        let _ = writeln!(text, "symbol {symbol}");
    }
    text
}

#[test]
fn minor_0_is_in_this_abi_as_it_was_recorded() {
    let now = now();
    if layout::MINOR == 0 {
        assert!(now == RECORD, "the ABI is not that of minor 0: raise MINOR, and only append\n{now}");
        return;
    }
    let sizes: BTreeMap<&str, usize> = STRUCTS.iter().map(|found| (found.name, found.size)).collect();
    for line in RECORD.lines() {
        match line.split(' ').collect::<Vec<_>>()[..] {
            // One that begins with `size` may have grown at its end; any other is as it was.
            ["struct", name, size] if RECORD.contains(&format!("field {name}.size 0 ")) => {
                assert!(sizes[name] >= size.parse().unwrap(), "{line}: it has shrunk");
            }
            _ => assert!(now.lines().any(|found| found == line), "{line}: it is not so any more"),
        }
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/frozen/minor0")
}

#[test]
fn a_plugin_of_minor_0_loads_and_does_all_that_it_can() {
    let dir = tempfile::tempdir().unwrap();
    let library = dir.path().join("frozen.so");
    let built = Command::new("cc")
        .args(["-std=c11", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-I"])
        .arg(folder())
        .arg("-o")
        .arg(&library)
        .arg(folder().join("everything_sink.c"))
        .output()
        .expect("a C compiler");
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let logs = Logs::default();
    let plugin = Plugin::load(&library, logs.sink()).unwrap();
    assert_eq!(plugin.abi(), "1.0 (C, no layout)");
    let config = json!({ "path": dir.path().join("runs.txt") });
    let offline = plugin.open(&config, OpenMode::Offline, &call()).unwrap();
    assert_eq!(offline.incarnation(), None);
    offline.close(&call()).unwrap();

    // As this host, and as one of a minor that is yet to come.
    for newer in [false, true] {
        let instance = plugin.open(&config, OpenMode::Live, &call()).unwrap();
        let instance = if newer { instance.as_newer_host() } else { instance };
        assert_eq!(instance.check(&call()).unwrap().notes, ["minor 0"]);
        let expected = if newer { Status::AlreadyPresent } else { Status::Delivered };
        let (result, reports) = deliver(&instance, &runs(3));
        assert!(result.is_ok(), "{result:?}");
        assert_eq!(statuses(&reports), [(0, expected), (1, expected), (2, expected)]);
        let fresh = [run(200 + u8::from(newer), crate::fake::Tables::Whole)];
        let planned = std::sync::Mutex::new(Vec::new());
        let dry = HostCall { dry_run: true, ..call() };
        instance
            .deliver(&dry, &fresh, &|_, report| planned.lock().unwrap().extend(report.receipt.unwrap().planned))
            .unwrap();
        assert_eq!(*planned.lock().unwrap(), ["append a line"]);
        let broken = [run(99, crate::fake::Tables::FailInTheMiddle), run(4, crate::fake::Tables::Whole)];
        assert_eq!(statuses(&deliver(&instance, &broken).1)[0], (0, Status::Data));
        let ids = [RunId::from_bytes([1; 16]), RunId::from_bytes([77; 16]), RunId::from_bytes([0xff; 16])];
        let audits = instance.audit(&call(), &ids).unwrap();
        let told: Vec<_> = audits.iter().map(|audit| (audit.run_id, audit.sha256)).collect();
        assert_eq!(told, [(ids[0], Some(Sha256([1; 32]))), (ids[1], None)]);
        logs.wait_for("cannot audit run 2 of those asked about (status 3): not this one, not now");
        instance.flush(&call()).unwrap();
        logs.wait_for("3 runs, attempt 1");
        instance.close(&call()).unwrap();
    }
    assert_eq!(fs::read_to_string(dir.path().join("runs.txt")).unwrap().lines().count(), 4);
}

/// Nobody mends a frozen file in passing.
#[test]
fn the_frozen_sources_are_what_they_were() {
    let mut found = String::new();
    for name in ["everything_sink.c", "layout.txt", "litmus_sink.h"] {
        let bytes = fs::read(folder().join(name)).unwrap();
        let _ = writeln!(found, "{}  {name}", blake3::hash(&bytes));
    }
    assert_eq!(found, include_str!("../frozen/minor0/blake3sums.txt"), "what is frozen does not change");
}
