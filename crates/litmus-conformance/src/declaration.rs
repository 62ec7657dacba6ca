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
    /// The backend's version for the report, where nothing is started that says it.
    #[serde(default)]
    pub backend_version: Option<String>,
    /// How to see at the backend that runs arrived, for a sink that cannot audit.
    #[serde(default)]
    pub read_back: Option<ReadBack>,
    /// How the suite changes and removes a run at the destination without the sink. Needed by whoever declares `audit`: it is
    /// how an audit shows that it reads.
    #[serde(default)]
    pub behind_its_back: Option<BehindItsBack>,
    /// Keys laid over `config` with which the backend refuses to be used: other credentials.
    #[serde(default)]
    pub refused: Option<Value>,
    /// Keys laid over `config`, each with `{secret}` somewhere in a text: that secret may come back in nothing the sink says.
    #[serde(default)]
    pub secret: Vec<Value>,
    /// The destination is made of files that the sink itself writes: it is tried with a limit on their size.
    #[serde(default)]
    pub writes_files: bool,
    /// Files that a run refers to arrive beside it, and each receipt says where: a path on this machine, or `file://` before one.
    #[serde(default)]
    pub attachments_are_files: bool,
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
    /// The value that holds the server's `127.0.0.1:PORT`: for cases about a backend that is away, slow or silent the suite
    /// puts a proxy there.
    #[serde(default)]
    pub proxy: Option<String>,
    /// How the server says that it is asked too much, where it can say for how long.
    #[serde(default)]
    pub busy: Option<Busy>,
}

/// The answer of a backend that wants to be asked later; given by the suite in the backend's place.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Busy {
    /// What goes over the wire, once something was asked.
    pub answer: String,
    /// The wait that it asks for, in seconds; longer than a call of the suite, 30, so that the sink cannot wait itself.
    pub seconds: u64,
}

/// How to get at a destination without the sink.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BehindItsBack {
    /// Changes a value of one run.
    pub change: Hand,
    /// Removes one run.
    pub remove: Hand,
}

/// One of the two: a file that the suite changes (the run's serial where it stands in it as it is, else a byte in the middle)
/// or removes; or a program, beside the suite or on `PATH`, and its arguments. Filled in as the configuration is, and
/// `{run_id}` is the run's.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hand {
    /// A file's path; its last part may begin or end in `*`, and then is looked for below its folder.
    #[serde(default)]
    pub file: Option<String>,
    /// A program and its arguments.
    #[serde(default)]
    pub command: Option<Vec<String>>,
}

/// Where the backend shows what arrived.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReadBack {
    /// A text file: once a run has arrived, a line of it holds the run's id. Filled in as the configuration is. Where neither
    /// `{dir}` nor `{name}` stands in it, it is of all destinations, and the line must hold the destination's `{name}` too, which
    /// the configuration must send along.
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

    /// Some keys laid over that configuration, filled in likewise; `more` are further names and what they stand for.
    pub(crate) fn config_with(
        &self,
        over: &Value,
        folder: &Path,
        backend: &BTreeMap<String, String>,
        more: &[(&str, &str)],
    ) -> Value {
        let mut values = values_of(folder, backend);
        values.extend(more.iter().map(|(key, value)| (format!("{{{key}}}"), (*value).to_owned())));
        let mut config = fill(&self.config, &values);
        lay_over(&mut config, &fill(over, &values));
        config
    }

    /// A text filled in as the configuration is.
    pub(crate) fn text_in(
        template: &str,
        folder: &Path,
        backend: &BTreeMap<String, String>,
        more: &[(&str, &str)],
    ) -> String {
        let mut values = values_of(folder, backend);
        values.extend(more.iter().map(|(key, value)| (format!("{{{key}}}"), (*value).to_owned())));
        values.iter().fold(template.to_owned(), |text, (key, value)| text.replace(key, value))
    }

    /// Whether the file that shows what arrived is of one destination only.
    pub(crate) fn read_back_is_own(&self) -> bool {
        self.read_back.as_ref().is_some_and(|back| back.file.contains("{dir}") || back.file.contains("{name}"))
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

/// Tables are merged, anything else is replaced.
pub(crate) fn lay_over(config: &mut Value, over: &Value) {
    match (config, over) {
        (Value::Object(config), Value::Object(over)) => {
            for (key, value) in over {
                lay_over(config.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (config, over) => *config = over.clone(),
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
