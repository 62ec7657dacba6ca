//! Every key, variable and type, one by one: nothing wrong passes, and what is said of it names the place and the nearest key.

use super::*;

/// Kinds of TOML values, each with one that is wrong everywhere but where its kind is asked for.
const VALUES: [(&str, &str); 7] = [
    ("text", "'marker'"),
    ("number", "4711"),
    ("fraction", "1.5"),
    ("bool", "true"),
    ("date", "2026-06-01"),
    ("list", "['marker']"),
    ("table", "{ marker = 'marker' }"),
];

/// A key: the section it stands in, the kinds of values that it takes, a good value, and a wrong one of a kind that it takes.
struct Key(&'static str, &'static str, &'static [&'static str], &'static str, Option<&'static str>);

const TEXT: &[&str] = &["text"];
// A number or a date is text to what is parsed from text: no wrong type, and then a wrong value.
const DURATION: &[&str] = &["text", "number", "date"];
const SIZE: &[&str] = DURATION;

const DIGEST: &str = "'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855'";

const KEYS: &[Key] = &[
    Key("", "data_dir", TEXT, "'x'", Some("''")),
    Key("", "state_dir", TEXT, "'x'", Some("''")),
    Key("", "plugin_dir", TEXT, "'x'", Some("''")),
    Key("", "give_up_after", DURATION, "'5s'", Some("'soon'")),
    Key("", "grace", DURATION, "'5s'", Some("'-5s'")),
    Key("", "decode_cache_bytes_max", SIZE, "'64MiB'", Some("'64 parsecs'")),
    Key("", "in_flight_bytes_max", SIZE, "'64MiB'", Some("0")),
    Key("", "writable_plugins", &["list"], "['x.so']", Some("[5]")),
    Key("[[store]]", "name", TEXT, "'a'", Some("''")),
    Key("[[store]]", "path", TEXT, "'x'", Some("''")),
    Key("[[sink]]", "name", TEXT, "'a'", Some("''")),
    Key("[[sink]]", "plugin", TEXT, "'x.so'", Some("''")),
    Key("[[sink]]", "sha256", SIZE, DIGEST, Some("'0123'")),
    Key("[[sink]]", "config", &["table"], "{ a = 1 }", None),
    Key("[[sink]]", "start", DURATION, "'all'", Some("'later'")),
    Key("[[sink]]", "deadline", DURATION, "'5s'", Some("0")),
    Key("[[sink]]", "batch_bytes_max", SIZE, "'1MiB'", Some("'-1'")),
    Key("[[sink]]", "batch_runs_max", SIZE, "5", Some("-1")),
];

/// A file with this key and all that it needs beside it; the key stands in line 2, at the beginning.
fn file_with(section: &str, key: &str, value: &str) -> String {
    let needed = match section {
        "[[store]]" => [("name", "'n'"), ("path", "'p'")].as_slice(),
        "[[sink]]" => [("plugin", "'p.so'")].as_slice(),
        _ => &[],
    };
    let needed = needed.iter().filter(|(name, _)| *name != key).map(|(name, value)| format!("{name} = {value}\n"));
    format!("{section}\n{key} = {value}\n{}", needed.collect::<String>())
}

fn complaint(text: &str) -> Option<String> {
    let parsed = file::parse(Path::new("f.toml"), Path::new("/work"), text);
    let merged = parsed.and_then(|file| {
        Config::merge(&Flags::default(), Environment::from_iter([("HOME", "/h")]), Path::new("/w"), file, Vec::new())
    });
    merged.err().map(|error| error.hint().map_or_else(|| error.to_string(), |hint| format!("{error} | {hint}")))
}

#[test]
fn the_list_of_keys_is_whole_and_every_good_value_passes() {
    for Key(section, key, _, good, _) in KEYS {
        assert_eq!(complaint(&file_with(section, key, good)), None, "{section} {key}");
    }
    let known: Vec<_> = KEYS.iter().map(|Key(_, key, ..)| *key).collect();
    for key in file::every_key() {
        assert!(known.contains(&key) || ["sink", "store"].contains(&key), "{key} is not tested here");
    }
}

#[test]
fn every_misspelling_of_every_key_is_named_with_its_place_and_the_key_that_was_meant() {
    let mut tried = 0;
    for Key(section, key, _, good, _) in KEYS {
        let letters: Vec<char> = key.chars().collect();
        let without = (0..letters.len()).map(|at| [&letters[..at], &letters[at + 1..]].concat());
        let doubled = (0..letters.len()).map(|at| [&letters[..=at], &letters[at..]].concat());
        let swapped = (1..letters.len()).map(|at| {
            let mut letters = letters.clone();
            letters.swap(at - 1, at);
            letters
        });
        for wrong in without.chain(doubled).chain(swapped).map(String::from_iter) {
            if wrong == *key {
                continue;
            }
            let said =
                complaint(&file_with(section, &wrong, good)).unwrap_or_else(|| panic!("{section} {wrong} passes"));
            let place = if section.is_empty() { "the file" } else { section };
            let expected = format!("f.toml:2:1: unknown key \"{wrong}\" in {place} | did you mean \"{key}\"?");
            assert_eq!(said, expected);
            tried += 1;
        }
    }
    assert!(tried > 300, "{tried}");
}

#[test]
fn every_wrong_type_of_every_key_is_named_with_its_place_and_without_its_value() {
    for Key(section, key, kinds, ..) in KEYS {
        for (kind, value) in VALUES.iter().filter(|(kind, _)| !kinds.contains(kind)) {
            let said = complaint(&file_with(section, key, value)).unwrap_or_else(|| panic!("{key} = {value} passes"));
            assert!(said.starts_with(&format!("f.toml:2:{}: \"{key}\" is ", key.len() + 4)), "{kind}: {said}");
            assert!(said.contains(" was expected | write "), "{kind}: {said}");
            assert!(!said.contains("marker"), "a value of a wrong type may be a secret in the wrong place: {said}");
        }
    }
}

#[test]
fn every_wrong_value_of_every_key_is_named_with_its_place() {
    for Key(section, key, _, _, wrong) in KEYS {
        let Some(wrong) = wrong else { continue };
        let said = complaint(&file_with(section, key, wrong)).unwrap_or_else(|| panic!("{key} = {wrong} passes"));
        assert!(said.starts_with(&format!("f.toml:2:{}: \"{key}\"", key.len() + 4)), "{said}");
        assert!(said.contains(" | "), "no remedy: {said}");
    }
}

#[test]
fn every_misspelt_variable_is_named_with_the_one_that_was_meant() {
    for name in environment::VARIABLES.iter().filter(|name| name.starts_with("LITMUS_HOST_")) {
        for at in "LITMUS_HOST_".len()..name.len() {
            let wrong = format!("{}{}", &name[..at], &name[at + 1..]);
            let environment = Environment::from_iter([(wrong.as_str(), "x")]);
            let error = environment.check_names(&[]).expect_err(&wrong);
            assert_eq!(error.to_string(), format!("${wrong}: unknown variable"));
            assert_eq!(error.hint(), Some(&*format!("did you mean {name}?")), "{wrong}");
        }
    }
}
