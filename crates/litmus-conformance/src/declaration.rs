//! `conformance.toml`: how one plugin is tested. Where plugins differ, they differ here, never in a case.

use std::path::Path;

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
    /// The sink's configuration; `{dir}` in a text stands for an empty folder that is a destination of its own.
    pub config: Value,
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

    /// The configuration of the destination that lies in this folder.
    pub fn config_in(&self, folder: &Path) -> Value {
        fill(&self.config, &folder.to_string_lossy())
    }
}

fn fill(template: &Value, folder: &str) -> Value {
    match template {
        Value::String(text) => text.replace("{dir}", folder).into(),
        Value::Array(values) => values.iter().map(|value| fill(value, folder)).collect(),
        Value::Object(map) => map.iter().map(|(key, value)| (key.clone(), fill(value, folder))).collect(),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_is_filled_in_at_any_depth_and_unknown_keys_are_named() {
        let text = "floor = 3\n[config]\npath = \"{dir}/a.db\"\nmore = { list = [\"{dir}\"], n = 1 }\n";
        let declaration: Declaration = toml::from_str(text).unwrap();
        let expected = serde_json::json!({"path": "/x/a.db", "more": {"list": ["/x"], "n": 1}});
        assert_eq!(declaration.config_in(Path::new("/x")), expected);
        let wrong = toml::from_str::<Declaration>("floor = 3\nconfg = 1\nconfig = {}").unwrap_err();
        assert!(wrong.to_string().contains("confg"), "{wrong}");
    }
}
