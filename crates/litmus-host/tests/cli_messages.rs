//! What the built program says: its help texts, and its errors with their exit codes. `cargo insta review` shows a change.

use std::path::Path;
use std::process::{Command, Output};

/// The program in an empty environment, in this folder.
fn program(folder: &Path) -> Command {
    let mut program = Command::new(env!("CARGO_BIN_EXE_litmus-host"));
    program.env_clear().env("HOME", folder.join("home")).current_dir(folder);
    program
}

/// Exit code, stdout and stderr as one text; the folder is `[DIR]`, the program's own folder `[BIN]`.
fn shown(output: &Output, folder: &Path) -> String {
    let bin = Path::new(env!("CARGO_BIN_EXE_litmus-host")).parent().unwrap();
    let text = |bytes: &[u8]| {
        String::from_utf8_lossy(bytes)
            .replace(folder.to_str().unwrap(), "[DIR]")
            .replace(bin.parent().unwrap().join("lib").to_str().unwrap(), "[BIN]/../lib")
            .replace(bin.to_str().unwrap(), "[BIN]")
    };
    format!("exit {}\n{}{}", output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
}

fn said(arguments: &[&str]) -> String {
    said_with(arguments, |_| {})
}

/// As [`said`], after the folder was prepared.
fn said_with(arguments: &[&str], prepare: impl FnOnce(&Path)) -> String {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().canonicalize().unwrap();
    prepare(&folder);
    shown(&program(&folder).args(arguments).output().unwrap(), &folder)
}

fn configured(text: &'static str) -> impl FnOnce(&Path) {
    move |folder| std::fs::write(folder.join("litmus-host.toml"), text).unwrap()
}

#[test]
fn help() {
    insta::assert_snapshot!("help", said(&["--help"]));
    for command in ["forward", "runs", "show", "status", "retry", "discard", "plugins", "check"] {
        insta::assert_snapshot!(format!("help_{command}"), said(&[command, "--help"]));
    }
}

#[test]
fn without_any_sink_it_says_what_to_give() {
    insta::assert_snapshot!(said(&[]), @r"
    exit 2
    error: there is nothing to forward to: no sink is configured
    hint: name a plugin (litmus-host --plugin sqlite.so --set path=out.db), or write [[sink]] into litmus-host.toml
    ");
}

#[test]
fn a_plugin_alone_is_parsed_as_forward_and_a_miss_lists_every_place() {
    insta::assert_snapshot!(said(&["--plugin", "factory-mes.so", "--set", "path=out.db", "--plugin-dir", "mine"]), @r#"
    exit 2
    error: --plugin: the plugin "factory-mes.so" was not found; tried:
      [DIR]/mine/factory-mes.so (--plugin-dir)
      [BIN]/plugins/factory-mes.so (beside litmus-host)
      [BIN]/../lib/litmus/plugins/factory-mes.so (beside litmus-host)
    hint: --plugin-dir names another folder; a path with a / in it is taken as it is
    "#);
}

#[test]
fn a_wrong_flag_value_or_command_has_a_hint() {
    insta::assert_snapshot!(said(&["--wach"]), @r"
    exit 2
    error: unexpected argument '--wach' found
    hint: a similar argument exists: '--watch'
    ");
    insta::assert_snapshot!(said(&["forwrd"]), @r"
    exit 2
    error: unrecognized subcommand 'forwrd'
    hint: a similar subcommand exists: 'forward'
    ");
    insta::assert_snapshot!(said(&["show"]), @r"
    exit 2
    error: the following required arguments were not provided:
      <RUN>
    hint: litmus-host --help lists commands and options
    ");
    insta::assert_snapshot!(said(&["forward", "--since", "yesterday"]), @r#"
    exit 2
    error: invalid value 'yesterday' for '--since <DATE>': "yesterday" is not a date such as 2026-06-01 or 2026-06-01T08:30:00Z
    hint: litmus-host --help lists commands and options
    "#);
    insta::assert_snapshot!(said(&["runs", "--format", "yaml"]), @r"
    exit 2
    error: invalid value 'yaml' for '--format <FORMAT>'
      [possible values: table, json]
    hint: litmus-host --help lists commands and options
    ");
    insta::assert_snapshot!(said(&["forward", "--watch", "--dry-run"]), @r"
    exit 2
    error: the argument '--watch' cannot be used with '--dry-run'
    hint: litmus-host --help lists commands and options
    ");
    insta::assert_snapshot!(said(&["--watch", "runs"]), @r"
    exit 2
    error: options of forward stand before the command
    hint: put the command first, as in litmus-host forward --watch
    ");
    insta::assert_snapshot!(said(&["show", "bench-7"]), @r#"
    exit 2
    error: "bench-7" is not the beginning of a run's id
    hint: ids are UUIDs, such as 0198c2d4-…; litmus-host runs lists them
    "#);
    insta::assert_snapshot!(said(&["--plugin", "sqlite", "--set", "out.db"]), @r#"
    exit 2
    error: --set: there is no "=" in it
    hint: write --set key=value, such as --set path=out.db
    "#);
    insta::assert_snapshot!(said(&["--plugin", "a", "--plugin", "b", "--set", "path=out.db"]), @r"
    exit 2
    error: --set path: which sink is meant? There are several
    hint: say --set NAME.key=value, where NAME is one of a, b
    ");
}

#[test]
fn a_wrong_file_is_named_with_line_and_column() {
    insta::assert_snapshot!(said_with(&[], configured("[[sink]]\nplugn = 'sqlite.so'")), @r#"
    exit 2
    error: litmus-host.toml:2:1: unknown key "plugn" in [[sink]]
    hint: did you mean "plugin"?
    "#);
    insta::assert_snapshot!(said_with(&["runs"], configured("data_dir = 4711")), @r#"
    exit 2
    error: litmus-host.toml:1:12: "data_dir" is a whole number where text was expected
    hint: write data_dir = "results"
    "#);
    insta::assert_snapshot!(said_with(&["check"], configured("data_dir = 'x\n[[sink]]")), @r"
    exit 2
    error: litmus-host.toml:1:14: this is not TOML: invalid literal string, expected `'`
    ");
    insta::assert_snapshot!(said(&["check", "--config", "gone.toml"]), @r"
    exit 2
    error: gone.toml: the configuration cannot be read: No such file or directory (os error 2)
    hint: --config names another file
    ");
}

#[test]
fn a_wrong_variable_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().canonicalize().unwrap();
    let said =
        |name: &str, value: &str| shown(&program(&folder).env(name, value).arg("runs").output().unwrap(), &folder);
    insta::assert_snapshot!(said("LITMUS_HOST_GIVE_UP_AFTER", "soon"), @r#"
    exit 2
    error: $LITMUS_HOST_GIVE_UP_AFTER: "soon" is not a duration such as 500ms, 60s, 5m, 2h or 7d
    "#);
    insta::assert_snapshot!(said("LITMUS_HOST_DATADIR", "x"), @r"
    exit 2
    error: $LITMUS_HOST_DATADIR: unknown variable
    hint: did you mean LITMUS_HOST_DATA_DIR?
    ");
    insta::assert_snapshot!(said("LITMUS_HOST_LOG_FORMAT", "yaml"), @r#"
    exit 2
    error: $LITMUS_HOST_LOG_FORMAT: "yaml" is not a log format
    hint: text and json are
    "#);
}

#[test]
fn a_secret_is_in_no_message() {
    const MARKER: &str = "s3cr3t-marker";
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    std::fs::create_dir(folder.join("data")).unwrap();
    std::fs::write(folder.join("bad.so"), MARKER).unwrap();
    std::fs::write(folder.join("secret"), MARKER).unwrap();
    let config = "[[sink]]\nplugin = './bad.so'\nconfig = { url = { env = 'MARKER' }, key = { file = 'secret' } }";
    std::fs::write(folder.join("litmus-host.toml"), config).unwrap();
    let url = format!("url=postgresql://bench:{MARKER}@db/litmus");
    let calls: &[&[&str]] = &[
        &["check", "--data-dir", "data"],
        &["check", "--data-dir", "data", "--live", "--format", "json"],
        &["forward", "--data-dir", "data", "-v"],
        &["forward", "--data-dir", "data", "--log-format", "json", "--format", "json"],
        &["--plugin", "./bad.so", "--data-dir", "data", "--set", &url],
        &["check", "--plugin", "./bad.so", "--data-dir", "data", "--set", &url],
        &["check", "--plugin", "./bad.so", "--data-dir", "data", "--set", &format!("password={MARKER}")],
        &["--plugin", "./bad.so", "--set", MARKER],
    ];
    for call in calls {
        let output = program(folder).env("MARKER", MARKER).args(*call).output().unwrap();
        let text = shown(&output, folder);
        assert!(!text.contains(MARKER), "{call:?}\n{text}");
        assert_eq!(output.status.code(), Some(2), "{call:?}\n{text}");
    }
}

#[test]
fn a_reader_that_goes_away_is_no_panic() {
    let folder = tempfile::tempdir().unwrap();
    for arguments in [&["--help"][..], &["plugins"], &["plugins", "--format", "json"]] {
        let mut child = program(folder.path())
            .args(arguments)
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{arguments:?}");
    }
}
