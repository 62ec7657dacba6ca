//! `--set key=value`: dotted keys; the value is TOML where it parses as TOML, else text.

use std::path::Path;

use toml::de::{DeTable, DeValue};

use super::error::{ConfigError, Place};
use super::file::SinkEntry;
use super::node::{Node, Origin};
use super::secret::is_secret_name;

/// One `--set`, read but not applied.
#[derive(Debug)]
struct Assignment {
    path: Vec<String>,
    value: Node,
}

/// Applies each `--set` to the sink it means: with one sink to that one, with several `NAME.key=value`.
pub(crate) fn apply(assignments: &[String], sinks: &mut [SinkEntry]) -> Result<(), ConfigError> {
    for text in assignments {
        let Assignment { mut path, value } = parse(text)?;
        let dotted = path.join(".");
        let place = Place::Flag(format!("--set {dotted}"));
        let sink = match &mut *sinks {
            [] => {
                return Err(ConfigError::at(&place, "there is no sink to set this for")
                    .with_hint("name a plugin with --plugin, or a sink in the configuration file"));
            }
            [only] => only,
            several => {
                let name = path.remove(0);
                let names: Vec<String> = several.iter().map(|sink| sink.name.clone()).collect();
                several.iter_mut().find(|sink| sink.name == name && !path.is_empty()).ok_or_else(|| {
                    ConfigError::at(&place, "which sink is meant? There are several")
                        .with_hint(format!("say --set NAME.key=value, where NAME is one of {}", names.join(", ")))
                })?
            }
        };
        if !sink.config.set(&path, value) {
            return Err(ConfigError::at(&place, "a part of this key is set to something that is not a table"));
        }
        sink.config_places.set(&path, &place);
    }
    Ok(())
}

fn parse(text: &str) -> Result<Assignment, ConfigError> {
    let set = Place::flag("--set");
    let (key, value) = text.split_once('=').ok_or_else(|| {
        // What is given may be a secret with its key forgotten: it is not quoted.
        ConfigError::at(&set, "there is no \"=\" in it").with_hint("write --set key=value, such as --set path=out.db")
    })?;
    let path = parse_key(key).ok_or_else(|| {
        ConfigError::at(&set, format!("\"{key}\" is not a key"))
            .with_hint("keys are joined by dots, such as options.endpoint; quote a part that holds anything but letters, digits, - and _")
    })?;
    let place = Place::Flag(format!("--set {}", path.join(".")));
    // A password is the text that it is, though it be all digits.
    let is_secret = path.last().is_some_and(|name| is_secret_name(name));
    let value = if is_secret && !value.trim_start().starts_with(['"', '\'', '{']) {
        Node::Text(value.to_owned())
    } else {
        parse_value(value, &place)?
    };
    Ok(Assignment { path, value })
}

fn parse_key(key: &str) -> Option<Vec<String>> {
    let document = format!("{key} = 0");
    let mut table = DeTable::parse(&document).ok()?.into_inner();
    let mut path = Vec::new();
    loop {
        let mut entries = table.into_iter();
        let (key, value) = entries.next()?;
        path.push(key.into_inner().into_owned());
        match (value.into_inner(), entries.next()) {
            (DeValue::Table(inner), None) => table = inner,
            (DeValue::Integer(_), None) => return Some(path),
            _ => return None,
        }
    }
}

fn parse_value(text: &str, place: &Place) -> Result<Node, ConfigError> {
    let as_text = || Ok(Node::Text(text.to_owned()));
    let Ok(value) = DeValue::parse(text) else { return as_text() };
    // `a # b` parses as `a` and a comment; whoever wrote it on a command line meant all of it.
    if value.span().len() != text.trim().len() {
        return as_text();
    }
    // `inf` and `nan` are numbers of TOML that JSON does not have; here they are names.
    if matches!(value.get_ref(), DeValue::Float(number) if number.as_str().parse::<f64>().is_ok_and(|n| !n.is_finite()))
    {
        return as_text();
    }
    Node::from_toml(&value, &Origin { place: &|_| place.clone(), folder: Path::new("") })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::environment::Environment;
    use serde_json::{Value, json};

    fn sinks(plugins: &[&str]) -> Vec<SinkEntry> {
        plugins.iter().map(|plugin| SinkEntry::of_plugin(plugin, Place::flag("--plugin"))).collect()
    }

    fn set(assignments: &[&str], plugins: &[&str]) -> Result<Vec<Value>, ConfigError> {
        let mut sinks = sinks(plugins);
        apply(&assignments.iter().map(|&text| text.to_owned()).collect::<Vec<_>>(), &mut sinks)?;
        let environment = Environment::from_iter([("DB", "from-env")]);
        sinks.iter().map(|sink| Ok(sink.config.resolve(&environment, &mut Vec::new())?.expose().clone())).collect()
    }

    #[test]
    fn values_are_toml_where_they_parse_and_text_otherwise() {
        let config = set(
            &[
                "path=out.db",
                "columns_max=400",
                "indexes=false",
                "options.endpoint=http://127.0.0.1:9000/?a=b",
                "options.\"strange key\"=1.5",
                "tags=[\"a\", \"b\"]",
                "colour=#ff0000",
                "note=5 # five",
                "limit=inf",
                "quoted='400'",
                "empty=",
                "since=2026-06-01",
                "url={ env = \"DB\" }",
            ],
            &["sqlite.so"],
        );
        assert_eq!(
            config,
            Ok(vec![json!({
                "path": "out.db", "columns_max": 400, "indexes": false,
                "options": {"endpoint": "http://127.0.0.1:9000/?a=b", "strange key": 1.5},
                "tags": ["a", "b"], "colour": "#ff0000", "note": "5 # five", "limit": "inf", "quoted": "400", "empty": "",
                "since": "2026-06-01", "url": "from-env",
            })])
        );
    }

    #[test]
    fn with_several_sinks_the_first_part_names_the_sink() {
        let config = set(&["sqlite.path=a.db", "cloud.uri=file:///tmp/x"], &["sqlite", "./plugins/cloud.so"]);
        assert_eq!(config, Ok(vec![json!({"path": "a.db"}), json!({"uri": "file:///tmp/x"})]));
        for ambiguous in ["path=a.db", "sqlite=a.db", "sqlit.path=a.db"] {
            let error = set(&[ambiguous], &["sqlite", "cloud"]).unwrap_err();
            assert!(error.to_string().contains("which sink is meant?"), "{error}");
            assert!(error.hint().is_some_and(|hint| hint.contains("sqlite, cloud")), "{error:?}");
        }
    }

    #[test]
    fn what_is_no_assignment_is_refused_without_quoting_a_value() {
        for (text, message) in [
            ("hunter2-marker", "--set: there is no \"=\" in it"),
            ("=x", "--set: \"\" is not a key"),
            ("a b=x", "--set: \"a b\" is not a key"),
            ("a..b=x", "--set: \"a..b\" is not a key"),
            ("a=1\nb=marker", ""),
        ] {
            match set(&[text], &["sqlite"]) {
                Err(error) => assert_eq!(error.to_string(), message),
                Ok(config) => assert_eq!(config, [json!({"a": "1\nb=marker"})]),
            }
        }
        let error = set(&["a=1", "a.b=marker"], &["sqlite"]).unwrap_err();
        assert_eq!(error.to_string(), "--set a.b: a part of this key is set to something that is not a table");
        assert_eq!(set(&["a=marker"], &[]).unwrap_err().to_string(), "--set a: there is no sink to set this for");
    }
}
