//! Every wrong key, type and value is named with its place; flags beat environment beats file; secrets do not print.

use super::*;
use serde_json::json;
use std::fmt::Debug;

fn parsed(text: &str) -> Result<FileConfig, ConfigError> {
    file::parse(Path::new("litmus-host.toml"), Path::new("/work"), text)
}

fn merged(text: &str, flags: &Flags, variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let environment = variables.iter().copied().chain([("HOME", "/home/me")]).collect();
    let file = file::parse(Path::new("/etc/litmus/litmus-host.toml"), Path::new("/work"), text)?;
    Config::merge(flags, environment, Path::new("/work"), file, Vec::new())
}

/// `message` or `message | hint`, of a file that must be wrong.
fn complaint<T: Debug>(result: Result<T, ConfigError>) -> String {
    let error = result.expect_err("this configuration is wrong");
    error.hint().map_or_else(|| error.to_string(), |hint| format!("{error} | {hint}"))
}

#[test]
fn every_wrong_key_is_named_with_its_place_and_the_nearest() {
    let cases = [
        ("data_dri = 'x'", r#"1:1: unknown key "data_dri" in the file | did you mean "data_dir"?"#),
        ("\n\nplugin = 'x.so'", r#"3:1: unknown key "plugin" in the file | "plugin" belongs under [[sink]]"#),
        ("[[sink]]\nplugn = 'x.so'", r#"2:1: unknown key "plugn" in [[sink]] | did you mean "plugin"?"#),
        ("[[store]]\nname = 'a'\npaht = 'b'", r#"3:1: unknown key "paht" in [[store]] | did you mean "path"?"#),
        ("[[store]]\nzzz = 1", r#"2:1: unknown key "zzz" in [[store]] | the keys here are name, path"#),
        ("sinks = []", r#"1:1: unknown key "sinks" in the file | did you mean "sink"?"#),
        (
            "[[sink]]\nplugin = 'x'\n'°C' = 1",
            "3:1: unknown key \"°C\" in [[sink]] | the keys here are name, plugin, sha256, config, start, deadline, batch_bytes_max, batch_runs_max",
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(complaint(parsed(text)), format!("litmus-host.toml:{expected}"));
    }
}

#[test]
fn every_wrong_type_is_named_with_its_place_and_never_with_its_value() {
    let sink = "[[sink]]\nplugin = 'x'\n";
    let cases = [
        (
            "data_dir = 4711",
            r#"1:12: "data_dir" is a whole number where text was expected | write data_dir = "results""#,
        ),
        ("data_dir = ['a', 'b']", r#"1:12: "data_dir" is a list where text was expected | write data_dir = "results""#),
        ("[sink]\nplugin = 'x'", r#"1:1: "sink" is a table where a list of tables was expected | write [[sink]]"#),
        ("sink = ['x']", r#"1:8: "sink" is a list where a list of tables was expected | write [[sink]]"#),
        (
            "grace = true",
            r#"1:9: "grace" is true or false where text or a whole number was expected | write grace = "30s""#,
        ),
        (
            "grace = 1.5",
            r#"1:9: "grace" is a number with a fraction where text or a whole number was expected | write grace = "30s""#,
        ),
        (
            "[[sink]]\nplugin = 2026-06-01",
            r#"2:10: "plugin" is a date where text was expected | write plugin = "postgres.so""#,
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(complaint(parsed(text)), format!("litmus-host.toml:{expected}"));
    }
    assert_eq!(
        complaint(parsed(&format!("{sink}config = 'postgresql://u:marker@h'"))),
        "litmus-host.toml:3:10: \"config\" is text where a table was expected | write config = { … } or [sink.config]"
    );
    assert_eq!(
        complaint(parsed(&format!("{sink}config = {{ url = {{ env = 5 }} }}"))),
        "litmus-host.toml:3:18: a secret names one environment variable or one file | write { env = \"NAME\" } or { file = \"PATH\" }"
    );
    assert_eq!(
        complaint(parsed(&format!("{sink}config = {{ limit = nan }}"))),
        "litmus-host.toml:3:20: the number is not finite | write it as text, in quotes, if it is a name"
    );
}

#[test]
fn every_wrong_value_is_named_with_its_place() {
    let cases = [
        (
            "grace = 'soon'",
            r#"1:9: "grace": "soon" is not a duration such as 500ms, 60s, 5m, 2h or 7d | write grace = "30s""#,
        ),
        (
            "in_flight_bytes_max = 0",
            r#"1:23: "in_flight_bytes_max": "0" is not a size such as 67108864, 64MB or 64MiB | write in_flight_bytes_max = "64MiB""#,
        ),
        ("state_dir = ''", r#"1:13: "state_dir" is empty | write state_dir = "/var/lib/litmus-host""#),
        (
            "[[sink]]\nplugin = 'x'\nstart = 'later'",
            r#"3:9: "start": "later" is neither now nor all nor a date such as 2026-06-01 | write start = "all""#,
        ),
        (
            "[[sink]]\nplugin = 'x'\nbatch_runs_max = 0",
            r#"3:18: "batch_runs_max": "0" is not a number from 1 | write batch_runs_max = 500"#,
        ),
        ("[[sink]]\nname = 'x'", r#"1:1: [[sink]] has no "plugin" | add plugin = "postgres.so""#),
        ("[[store]]\npath = 'x'", r#"1:1: [[store]] has no "name" | add name = "bench-7""#),
        (
            "data_dir = 'a'\n[[store]]\nname = 'b'\npath = 'c'",
            "1:12: data_dir and [[store]] (litmus-host.toml:2:1) are both given | give one data_dir, or one [[store]] for each data dir",
        ),
        (
            "[[sink]]\nplugin = 'a.so'\n[[sink]]\nplugin = './b/a.so'",
            "4:10: two sinks are called \"a\"; the other is at litmus-host.toml:2:10 | give each a name of its own, in the configuration file",
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(complaint(parsed(text)), format!("litmus-host.toml:{expected}"));
    }
    let broken = complaint(parsed("data_dir = 'x'\npassword = marker secret"));
    assert!(broken.starts_with("litmus-host.toml:2:12: this is not TOML: ") && !broken.contains("marker"), "{broken}");
    let twice = complaint(parsed("data_dir = 'x'\ndata_dir = 'y'"));
    assert!(twice.starts_with("litmus-host.toml:2:1: this is not TOML: duplicate key"), "{twice}");
}

#[test]
fn wrong_variables_are_named() {
    let flags = Flags::default();
    let of = |name, value| complaint(merged("", &flags, &[(name, value)]));
    assert_eq!(
        of("LITMUS_HOST_GIVE_UP_AFTER", "soon"),
        "$LITMUS_HOST_GIVE_UP_AFTER: \"soon\" is not a duration such as 500ms, 60s, 5m, 2h or 7d"
    );
    assert_eq!(
        of("LITMUS_HOST_IN_FLIGHT_BYTES_MAX", "many"),
        "$LITMUS_HOST_IN_FLIGHT_BYTES_MAX: \"many\" is not a size such as 67108864, 64MB or 64MiB"
    );
    assert_eq!(
        of("LITMUS_HOST_GIVEUP_AFTER", "5s"),
        "$LITMUS_HOST_GIVEUP_AFTER: unknown variable | did you mean LITMUS_HOST_GIVE_UP_AFTER?"
    );
}

#[test]
fn flags_beat_the_environment_which_beats_the_file() {
    let text = "data_dir = 'results'\nstate_dir = '/file'\ngive_up_after = 1\ngrace = '2s'";
    let variables = [("LITMUS_HOST_STATE_DIR", "env-state"), ("LITMUS_HOST_GIVE_UP_AFTER", "3")];
    let flags = Flags { give_up_after: Some(Duration::from_secs(5)), ..Flags::default() };

    let file_only = merged(text, &Flags::default(), &[]).unwrap();
    assert_eq!(file_only.stores().unwrap()[0].data_dir, Path::new("/etc/litmus/results"));
    assert_eq!(file_only.stores().unwrap()[0].found_by, "/etc/litmus/litmus-host.toml:1:12");
    assert_eq!(file_only.state_dir().unwrap(), Path::new("/file"));
    assert_eq!((file_only.give_up_after.as_secs(), file_only.grace.as_secs()), (1, 2));

    let with_environment = merged(text, &Flags::default(), &variables).unwrap();
    assert_eq!(with_environment.state_dir().unwrap(), Path::new("/work/env-state"));
    assert_eq!(with_environment.give_up_after.as_secs(), 3);

    let all = merged(text, &flags, &variables).unwrap();
    assert_eq!(all.give_up_after.as_secs(), 5);
    let data_dir = Flags { data_dir: Some("here".into()), ..Flags::default() };
    let overridden = merged(text, &data_dir, &[("LITMUS_HOST_DATA_DIR", "/env")]).unwrap();
    assert_eq!(overridden.stores().unwrap()[0].data_dir, Path::new("/work/here"));
    assert_eq!(overridden.stores().unwrap()[0].found_by, "--data-dir");
}

#[test]
fn the_state_folder_follows_systemd_then_xdg_then_home() {
    let state = |variables: &[(&str, &str)]| merged("", &Flags::default(), variables).unwrap().state_dir().unwrap();
    assert_eq!(state(&[]), Path::new("/home/me/.local/state/litmus-host"));
    assert_eq!(state(&[("XDG_STATE_HOME", "/xdg")]), Path::new("/xdg/litmus-host"));
    assert_eq!(state(&[("XDG_STATE_HOME", "relative")]), Path::new("/home/me/.local/state/litmus-host"));
    assert_eq!(
        state(&[("XDG_STATE_HOME", "/xdg"), ("STATE_DIRECTORY", "/var/lib/lh:/other")]),
        Path::new("/var/lib/lh")
    );
}

#[test]
fn plugins_on_the_command_line_add_to_the_file_or_take_the_place_of_a_namesake() {
    let text = "[[sink]]\nname = 'db'\nplugin = 'postgres.so'\nconfig = { schema = 'litmus' }";
    let flags =
        |plugins: &[&str]| Flags { plugins: plugins.iter().map(|&p| p.to_owned()).collect(), ..Flags::default() };
    let added = merged(text, &flags(&["sqlite.so"]), &[]).unwrap();
    assert_eq!(added.sink_names(), ["db", "sqlite"]);
    let replaced = merged(text, &flags(&["./new/db.so"]), &[]).unwrap();
    assert_eq!(replaced.sink_names(), ["db"]);
    assert_eq!(replaced.sinks[0].plugin, "./new/db.so");
    assert_eq!(
        replaced.sinks[0].config.resolve(&Environment::default(), &mut Vec::new()).unwrap().expose(),
        &json!({"schema": "litmus"})
    );
    assert_eq!(
        complaint(merged("", &flags(&["sqlite", "./x/sqlite.so"]), &[])),
        "--plugin: two sinks are called \"sqlite\"; the other is at --plugin | give each a name of its own, in the configuration file"
    );
    assert!(complaint(merged("", &flags(&[]), &[]).unwrap().sinks()).starts_with("there is nothing to forward to"));
}

#[test]
fn the_file_of_the_working_folder_is_read_unless_a_plugin_is_named() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join(FILE_NAME), "grace = 7").unwrap();
    let environment = Environment::from_iter([("HOME", "/home/me")]);
    let alone = Config::load(&Flags::default(), environment.clone(), folder.path()).unwrap();
    assert_eq!((alone.grace.as_secs(), alone.notes.len()), (7, 1));
    let flags = Flags { plugins: vec!["sqlite".into()], ..Flags::default() };
    let with_plugin = Config::load(&flags, environment.clone(), folder.path()).unwrap();
    assert_eq!(with_plugin.grace, GRACE);
    assert!(with_plugin.notes[0].contains("is not read, because --plugin is given"), "{:?}", with_plugin.notes);
    let flags = Flags { config: Some("/nowhere/x.toml".into()), ..Flags::default() };
    let error = complaint(Config::load(&flags, environment, folder.path()));
    assert!(error.starts_with("/nowhere/x.toml: the configuration cannot be read: "), "{error}");
}

#[test]
fn secrets_are_resolved_for_the_plugin_and_print_nowhere() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("password"), "file-marker\n").unwrap();
    let path = folder.path().join("litmus-host.toml");
    let text = "[[sink]]\nplugin = './x.so'\n[sink.config]\nurl = 'pg://u:url-marker@h/d'\nkey = { env = 'KEY' }\n\
                password = { file = 'password' }\ntokens = ['plain-marker']\nlist = [{ env = 'KEY' }]";
    std::fs::write(&path, text).unwrap();
    std::fs::write(folder.path().join("x.so"), "").unwrap();
    let environment = Environment::from_iter([("KEY", "env-marker"), ("HOME", "/home/me")]);
    let flags = Flags { config: Some(path), set: vec!["secret=set-marker".into()], ..Flags::default() };
    let config = Config::load(&flags, environment, folder.path()).unwrap();
    let (sinks, redactor) = config.sinks().unwrap();
    assert_eq!(
        sinks[0].config.expose(),
        &json!({
            "key": "env-marker", "list": ["env-marker"], "password": "file-marker", "secret": "set-marker",
            "tokens": ["plain-marker"], "url": "pg://u:url-marker@h/d",
        })
    );
    let printed = format!("{config:?} {sinks:?} {redactor:?}");
    assert!(!printed.contains("marker"), "{printed}");
    assert!(printed.contains("pg://u:***@h/d"), "{printed}");
    let message = "refused: env-marker, file-marker, url-marker, plain-marker, set-marker";
    assert_eq!(redactor.redact(message), "refused: ***, ***, ***, ***, ***");
}

#[test]
fn a_secret_that_is_not_there_is_named_without_stopping_commands_that_do_not_need_it() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("x.so"), "").unwrap();
    let path = folder.path().join("c.toml");
    let complaint_of = |secret: &str| {
        std::fs::write(&path, format!("[[sink]]\nplugin = './x.so'\nconfig = {{ url = {secret} }}")).unwrap();
        let flags = Flags { config: Some(path.clone()), ..Flags::default() };
        let config = Config::load(&flags, Environment::from_iter([("EMPTY", "")]), folder.path()).unwrap();
        complaint(config.sinks()).replace(folder.path().to_str().unwrap(), "")
    };
    assert_eq!(
        complaint_of("{ env = 'FACTORY_DB' }"),
        "/c.toml:3:18: the environment variable FACTORY_DB is not set | set FACTORY_DB to the secret, or use { file = \"…\" }"
    );
    assert!(complaint_of("{ env = 'EMPTY' }").contains("EMPTY is not set"));
    assert_eq!(
        complaint_of("{ file = 'gone' }"),
        "/c.toml:3:18: the secret's file /gone cannot be read: No such file or directory (os error 2)"
    );
}

#[test]
fn the_examples_of_the_documentation_parse() {
    let page = include_str!("../../../../docs/configuration.md");
    let mut blocks = 0;
    for block in page.split("```toml\n").skip(1) {
        let text = block.split("```").next().unwrap();
        parsed(text).unwrap_or_else(|error| panic!("docs/configuration.md: {error}\n{text}"));
        blocks += 1;
    }
    assert!(blocks >= 2, "{blocks} examples");
    for variable in environment::VARIABLES {
        assert!(page.contains(variable), "docs/configuration.md does not name {variable}");
    }
}
