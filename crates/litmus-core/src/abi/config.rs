//! A sink's configuration out of the host's JSON, with errors that name the key and never show a value.

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::SinkError;

/// Reads the configuration. A wrong key is named with its nearest known one, a wrong value by its key.
pub(crate) fn parse<C: DeserializeOwned>(json: &str) -> Result<C, SinkError> {
    let value: Value = serde_json::from_str(json)
        .map_err(|why| SinkError::config(format!("the configuration is no JSON: {}", place(&why))))?;
    serde_path_to_error::deserialize::<_, C>(&value).map_err(|error| {
        let path = error.path().to_string();
        let text = without_values(&error.into_inner().to_string(), &value);
        SinkError::config(describe(&path, &text))
    })
}

/// Where JSON went wrong, not what stood there.
fn place(error: &serde_json::Error) -> String {
    format!("{:?} error at line {} column {}", error.classify(), error.line(), error.column())
}

/// One line for a person out of serde's message and the key it happened at.
fn describe(path: &str, text: &str) -> String {
    let Some(rest) = text.strip_prefix("unknown field ") else {
        return if path == "." { text.to_owned() } else { format!("\"{path}\": {text}") };
    };
    let mut names = rest.split('`').skip(1).step_by(2);
    let unknown = names.next().unwrap_or_default();
    let known: Vec<&str> = names.collect();
    let parent = path.rsplit_once('.').map_or("", |(parent, _)| parent);
    let place = if parent.is_empty() { String::new() } else { format!(" in \"{parent}\"") };
    let near = known.iter().max_by(|a, b| strsim::jaro(a, unknown).total_cmp(&strsim::jaro(b, unknown)));
    match near.filter(|near| strsim::jaro(near, unknown) > 0.7) {
        Some(near) => format!("unknown key \"{unknown}\"{place}; did you mean \"{near}\"?"),
        None if known.is_empty() => format!("unknown key \"{unknown}\"{place}; there are no keys here"),
        None => format!("unknown key \"{unknown}\"{place}; known are {}", known.join(", ")),
    }
}

/// The message with every text of the configuration blotted out: any of them may be a secret.
fn without_values(text: &str, value: &Value) -> String {
    match value {
        Value::String(secret) if !secret.is_empty() => text.replace(&format!("string {secret:?}"), "a string"),
        Value::Array(values) => values.iter().fold(text.to_owned(), |text, value| without_values(&text, value)),
        Value::Object(values) => values.values().fold(text.to_owned(), |text, value| without_values(&text, value)),
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Config {
        path: String,
        #[serde(default)]
        columns_max: u32,
        #[serde(default)]
        options: Option<Options>,
    }

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Options {
        retries: u8,
    }

    fn error(json: &str) -> String {
        parse::<Config>(json).unwrap_err().to_string()
    }

    #[test]
    fn a_good_configuration_is_read() {
        let config = parse::<Config>(r#"{"path": "x", "columns_max": 7, "options": {"retries": 3}}"#).unwrap();
        assert_eq!((config.path.as_str(), config.columns_max), ("x", 7));
        assert_eq!(config.options.map(|options| options.retries), Some(3));
    }

    #[test]
    fn errors_name_the_key_and_the_nearest_one() {
        assert_eq!(error(r#"{"paht": "x"}"#), r#"unknown key "paht"; did you mean "path"?"#);
        assert_eq!(error(r#"{"path": "x", "zzz": 1}"#), r#"unknown key "zzz"; known are path, columns_max, options"#);
        assert_eq!(
            error(r#"{"path": "x", "options": {"retry": 1}}"#),
            r#"unknown key "retry" in "options"; did you mean "retries"?"#
        );
        assert_eq!(error("{}"), "missing field `path`");
        assert_eq!(
            error(r#"{"path": "x", "options": {"retries": 999}}"#),
            r#""options.retries": invalid value: integer `999`, expected u8"#
        );
    }

    #[test]
    fn errors_never_show_a_text_of_the_configuration() {
        let error = error(r#"{"path": "x", "columns_max": "hunter2"}"#);
        assert_eq!(error, r#""columns_max": invalid type: a string, expected u32"#);
    }
}
