//! `conformance.toml`: how one plugin is tested. Where plugins differ, they differ here, never in a case.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

/// How one plugin is tested.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Declaration {
    /// The least number of cases that must run: a plugin that declares fewer capabilities than it had fails.
    pub floor: usize,
    /// How long one case may take, in seconds.
    #[serde(default = "default_case_seconds_max")]
    pub case_seconds_max: u64,
    /// The server that the plugin is tested against, where it needs one.
    #[serde(default)]
    pub backend: Option<Backend>,
    /// How to see at the backend that runs arrived, for a sink that cannot audit.
    #[serde(default)]
    pub read_back: Option<ReadBack>,
    /// The sink's configuration. In a text `{dir}` stands for an empty folder that is a destination of its own, `{name}` for
    /// a name (letter, then letters and digits) of its own, and `{backend.KEY}` for what the backend said of itself.
    pub config: Value,
}

/// A real server for the whole suite.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Backend {
    /// A program, beside the suite or on `PATH`, and its arguments. It prints one line, a JSON object of texts, once the server
    /// is ready, and ends the server when its standard input is closed.
    pub command: Vec<String>,
}

/// Where the backend shows what arrived.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReadBack {
    /// A text file of the backend: once a run has arrived, a line of it holds the run's id and the destination's `{name}`,
    /// which the configuration must send along. Filled in as the configuration is.
    pub file: String,
}

const fn default_case_seconds_max() -> u64 {
    60
}

/// Why a `conformance.toml` cannot be used; names the file.
#[derive(Debug)]
pub struct DeclarationError(String);

impl std::fmt::Display for DeclarationError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for DeclarationError {}

impl Declaration {
    /// Reads it.
    pub fn read(path: &Path) -> Result<Self, DeclarationError> {
        let error = |error: &dyn std::fmt::Display| DeclarationError(format!("{}: {error}", path.display()));
        let text = std::fs::read_to_string(path).map_err(|io| error(&io))?;
        toml::from_str(&text).map_err(|toml| error(&toml))
    }

    /// The configuration of the destination that lies in this folder, at a backend that said these values of itself.
    pub fn config_in(&self, folder: &Path, backend: &BTreeMap<String, String>) -> Value {
        fill(&self.config, &values_of(folder, backend))
    }

    /// The backend's file that shows what arrived at the destination that lies in this folder.
    pub(crate) fn read_back_in(&self, folder: &Path, backend: &BTreeMap<String, String>) -> Option<PathBuf> {
        let file = fill(&self.read_back.as_ref()?.file.clone().into(), &values_of(folder, backend));
        file.as_str().map(PathBuf::from)
    }
}

/// What each `{…}` stands for.
fn values_of(folder: &Path, backend: &BTreeMap<String, String>) -> Vec<(String, String)> {
    let mut values = vec![("{dir}".to_owned(), folder.to_string_lossy().into_owned())];
    values.push(("{name}".to_owned(), name_of(folder)));
    values.extend(backend.iter().map(|(key, value)| (format!("{{backend.{key}}}"), value.clone())));
    values
}

/// A name that no other folder has: servers are shared by all cases, each with its own destinations.
pub(crate) fn name_of(folder: &Path) -> String {
    let mut hasher = DefaultHasher::new();
    folder.hash(&mut hasher);
    format!("c{:016x}", hasher.finish())
}

fn fill(template: &Value, values: &[(String, String)]) -> Value {
    match template {
        Value::String(text) => values.iter().fold(text.clone(), |text, (key, value)| text.replace(key, value)).into(),
        Value::Array(items) => items.iter().map(|item| fill(item, values)).collect(),
        Value::Object(map) => map.iter().map(|(key, item)| (key.clone(), fill(item, values))).collect(),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_folder_has_a_name_of_its_own() {
        let declaration: Declaration = toml::from_str("floor = 3\nconfig = { schema = \"{name}\" }").unwrap();
        let named = |folder: &str| declaration.config_in(Path::new(folder), &BTreeMap::new())["schema"].clone();
        assert_eq!(named("/a/b"), named("/a/b"));
        assert_ne!(named("/a/b"), named("/a/c"));
    }

    #[test]
    fn the_folder_is_filled_in_at_any_depth_and_unknown_keys_are_named() {
        let text = "floor = 3\n[config]\npath = \"{dir}/a.db\"\nmore = { list = [\"{backend.url}/{dir}\"], n = 1 }\n";
        let declaration: Declaration = toml::from_str(text).unwrap();
        let backend = BTreeMap::from([("url".to_owned(), "s3://here".to_owned())]);
        let expected = serde_json::json!({"path": "/x/a.db", "more": {"list": ["s3://here//x"], "n": 1}});
        assert_eq!(declaration.config_in(Path::new("/x"), &backend), expected);
        let wrong = toml::from_str::<Declaration>("floor = 3\nconfg = 1\nconfig = {}").unwrap_err();
        assert!(wrong.to_string().contains("confg"), "{wrong}");
    }
}
