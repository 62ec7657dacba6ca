//! C's view: the committed header is the generated one, compiles, and lays its structs out as Rust does; and a plugin written
//! in C against it loads, delivers and audits.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use litmus_core::abi::host::{Plugin, precheck};
use litmus_core::abi::layout::{self, STRUCTS};
use litmus_core::{Grade, OpenMode, RunId, Sha256, Status};
use serde_json::json;

use crate::fake::{Logs, call, deliver, runs, statuses};

fn include() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("include")
}

fn cc(dir: &Path, source: &str, args: &[&str]) {
    let file = dir.join("test.c");
    std::fs::write(&file, source).unwrap();
    let output = Command::new("cc")
        .args(["-std=c11", "-Wall", "-Wextra", "-Werror", "-pedantic", "-I"])
        .arg(include())
        .arg(&file)
        .args(args)
        .current_dir(dir)
        .output()
        .expect("a C compiler");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn the_committed_header_is_the_generated_one() {
    let committed = std::fs::read_to_string(include().join("litmus_sink.h")).unwrap();
    assert!(
        committed == litmus_core::abi::header(),
        "include/litmus_sink.h is not what the ABI gives: cargo xtask header"
    );
}

#[test]
fn c_lays_out_every_struct_as_rust_does() {
    let mut source = String::from("#include \"litmus_sink.h\"\n#include <stdio.h>\nint main(void) {\n");
    let mut expected = String::new();
    for c_struct in STRUCTS {
        let name = c_struct.name;
        let _ = writeln!(source, "printf(\"{name} %zu\\n\", sizeof(struct {name}));");
        let _ = writeln!(expected, "{name} {}", c_struct.size);
        for field in c_struct.fields {
            let _ = writeln!(source, "printf(\"{name}.{0} %zu\\n\", offsetof(struct {name}, {0}));", field.name);
            let _ = writeln!(expected, "{name}.{} {}", field.name, field.offset);
        }
    }
    let numbers = [
        ("LITMUS_ABI_MAJOR", u64::from(layout::MAJOR)),
        ("LITMUS_ABI_MINOR", u64::from(layout::MINOR)),
        ("LITMUS_NO_TIME", layout::NO_TIME),
        ("LITMUS_OPEN_OFFLINE", u64::from(layout::OPEN_OFFLINE)),
        ("LITMUS_CALL_DRY_RUN", u64::from(layout::CALL_DRY_RUN)),
        ("LITMUS_RUN_FORCE", u64::from(layout::RUN_FORCE)),
        ("LITMUS_TAG_PANIC_ABORTS", litmus_core::abi::tag::PANIC_ABORTS),
        ("LITMUS_TAG_DEBUG", litmus_core::abi::tag::DEBUG),
        ("sizeof(struct ArrowArrayStream)", size_of::<arrow::ffi_stream::FFI_ArrowArrayStream>() as u64),
        ("sizeof(struct ArrowSchema)", size_of::<arrow::ffi::FFI_ArrowSchema>() as u64),
        ("sizeof(struct ArrowArray)", size_of::<arrow::ffi::FFI_ArrowArray>() as u64),
    ];
    for (name, number) in numbers {
        let _ = writeln!(source, "printf(\"{name} %llu\\n\", (unsigned long long)({name}));");
        let _ = writeln!(expected, "{name} {number}");
    }
    source.push_str("return 0;\n}\n");
    let dir = tempfile::tempdir().unwrap();
    cc(dir.path(), &source, &["-o", "sizes"]);
    let output = Command::new(dir.path().join("sizes")).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), expected);
}

#[test]
fn a_plugin_written_in_c_works() {
    let dir = tempfile::tempdir().unwrap();
    cc(dir.path(), include_str!("../../examples/minimal_sink.c"), &["-shared", "-fPIC", "-o", "minimal.so"]);
    let logs = Logs::default();
    let plugin = Plugin::load(&dir.path().join("minimal.so"), logs.sink()).unwrap();
    assert_eq!(plugin.abi(), "1.0 (C, no layout)");
    assert_eq!((plugin.tag().name.as_str(), plugin.description().capabilities.grade_max), ("minimal", Grade::Sent));

    let refused = plugin.open(&json!({}), OpenMode::Live, &call()).err().expect("no path was given");
    assert_eq!((refused.status(), refused.to_string().as_str()), (Status::Config, "missing key \"path\""));

    let out = dir.path().join("runs.txt");
    let instance = plugin.open(&json!({ "path": out }), OpenMode::Live, &call()).unwrap();
    assert_eq!(instance.destination_id(), format!("minimal://{}", out.display()));
    let (result, reports) = deliver(&instance, &runs(2));
    assert!(result.is_ok(), "{result:?}");
    assert_eq!(statuses(&reports), [(0, Status::Delivered), (1, Status::Delivered)]);
    assert_eq!(reports[0].1.receipt.as_ref().unwrap().grade, Some(Grade::Sent));
    let expected = [1u8, 2].map(|n| format!("{} {} 6\n", RunId::from_bytes([n; 16]), Sha256([n; 32]))).concat();
    assert_eq!(std::fs::read_to_string(&out).unwrap(), expected);
    let audit = instance.audit(&call(), &[RunId::from_bytes([1; 16])]).unwrap_err();
    assert_eq!(audit.status(), Status::Unsupported);
    instance.flush(&call()).unwrap();
    logs.wait_for("2 runs");
    instance.close(&call()).unwrap();
}

const MINIMAL: &str = include_str!("../../examples/minimal_sink.c");

/// The C plugin with one text of its source replaced, as a file.
fn variant(dir: &Path, from: &str, to: &str) -> PathBuf {
    assert_eq!(MINIMAL.matches(from).count(), 1, "{from}");
    cc(dir, &MINIMAL.replace(from, to), &["-shared", "-fPIC", "-o", "variant.so"]);
    dir.join("variant.so")
}

fn refusal(from: &str, to: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    let line = Plugin::load(&variant(dir.path(), from, to), Logs::default().sink()).err().expect("refused").to_string();
    assert!(!line.contains('\n') && line.contains("variant.so "), "{line}");
    line
}

#[test]
fn a_table_that_is_not_whole_and_a_wrong_description_are_refused() {
    assert!(refusal("    .close = minimal_close,", "    .flush = minimal_close,").contains("has no function close"));
    assert!(refusal("    .size = sizeof(struct litmus_sink),", "    .size = 16,").contains("cut short"));
    let line = refusal("\"name\\\":\\\"minimal", "\"nom\\\":\\\"minimal");
    assert!(line.contains("describes itself wrongly: missing field `name`"), "{line}");
    let line = refusal("    return 0;\n}\n\n/* A real plugin", "    return 9;\n}\n\n/* A real plugin");
    assert!(line.contains("cannot describe itself (status 9)"), "{line}");
}

#[test]
fn a_constructor_of_a_refused_library_never_runs() {
    let line = refusal(
        "    .abi_major = LITMUS_ABI_MAJOR,",
        "    .abi_major = 2,\n};\n__attribute__((constructor)) static void bomb(void) { abort(); }\n\
         const struct litmus_tag litmus_unused = {",
    );
    assert!(line.contains("is built for plugin ABI 2.0"), "{line}");
}

#[test]
fn a_table_with_fields_of_a_newer_minor_loads() {
    let dir = tempfile::tempdir().unwrap();
    let newer = "};\nstruct newer { struct litmus_sink sink; void (*more)(void); };\nstatic void more(void) {}\n\
                 extern const struct newer newer_sink __asm__(\"litmus_sink\");\n\
                 const struct newer newer_sink = {.sink = {.size = sizeof(struct newer), .abi_minor = 1, .describe = minimal_describe,\n\
                 .open = minimal_open, .check = minimal_check, .deliver = minimal_deliver, .close = minimal_close}, .more = more};\n";
    let at = MINIMAL.find("\nconst struct litmus_sink litmus_sink = {").unwrap();
    let source = format!("{}{}", &MINIMAL[..at], newer.trim_start_matches("};"))
        .replace(".abi_minor = LITMUS_ABI_MINOR,\n    .name", ".abi_minor = 1,\n    .name");
    cc(dir.path(), &source, &["-shared", "-fPIC", "-o", "newer.so"]);
    let plugin = Plugin::load(&dir.path().join("newer.so"), Logs::default().sink()).unwrap();
    assert_eq!(plugin.abi(), "1.1 (C, no layout)");
    let out = dir.path().join("runs.txt");
    let instance = plugin.open(&json!({ "path": out }), OpenMode::Live, &call()).unwrap();
    assert!(deliver(&instance, &runs(1)).0.is_ok());
}

/// Bytes of the headers, the symbol table and the tag set to what a damaged copy may hold: an answer each time, no panic.
#[test]
fn no_damage_to_a_library_makes_the_look_at_it_panic() {
    use std::os::unix::fs::FileExt;
    let dir = tempfile::tempdir().unwrap();
    cc(dir.path(), MINIMAL, &["-shared", "-fPIC", "-o", "minimal.so"]);
    let path = dir.path().join("minimal.so");
    let bytes = std::fs::read(&path).unwrap();
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    let mut refused = 0;
    for at in (0..bytes.len().min(4096)).chain((4096..bytes.len()).step_by(7)) {
        for value in [0xff, bytes[at] ^ 0x80, 0] {
            file.write_all_at(&[value], at as u64).unwrap();
            refused += u32::from(precheck(&path).is_err());
        }
        file.write_all_at(&[bytes[at]], at as u64).unwrap();
    }
    assert!(precheck(&path).is_ok());
    assert!(refused > 300, "{refused}");
}
