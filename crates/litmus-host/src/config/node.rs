//! A sink's own configuration before its secrets are resolved: what `config = { … }` and `--set` build together.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use serde_json::Value;
use toml::Spanned;
use toml::de::DeValue;

use super::environment::Environment;
use super::error::{ConfigError, Place};
use super::secret::{MASK, PluginConfig, SecretSource, is_secret_name, secrets_in_text};

/// A value of a sink's configuration.
#[derive(Clone, PartialEq)]
pub(crate) enum Node {
    /// Text as written.
    Text(String),
    /// A number or a bool.
    Plain(Value),
    /// `{ env = "…" }` or `{ file = "…" }`.
    Secret {
        /// From where.
        source: SecretSource,
        /// Where it is asked for.
        place: Place,
    },
    /// In order.
    Array(Vec<Node>),
    /// By key.
    Table(BTreeMap<String, Node>),
}

impl Default for Node {
    fn default() -> Self {
        Self::Table(BTreeMap::new())
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // Any text may hold a password; only its kind is printed.
            Self::Text(_) => f.write_str(MASK),
            Self::Plain(value) => fmt::Display::fmt(value, f),
            Self::Secret { source, .. } => source.fmt(f),
            Self::Array(nodes) => f.debug_list().entries(nodes).finish(),
            Self::Table(nodes) => f.debug_map().entries(nodes).finish(),
        }
    }
}

/// What a TOML value needs to become a [`Node`]: the place of a span, and the folder relative secret files start from.
pub(super) struct Origin<'a> {
    /// The place of a byte offset.
    pub(super) place: &'a dyn Fn(usize) -> Place,
    /// Relative files of secrets start here.
    pub(super) folder: &'a Path,
}

impl Node {
    /// Reads a TOML value.
    pub(super) fn from_toml(value: &Spanned<DeValue<'_>>, origin: &Origin<'_>) -> Result<Self, ConfigError> {
        let place = (origin.place)(value.span().start);
        Ok(match value.get_ref() {
            DeValue::String(text) => Self::Text(text.to_string()),
            DeValue::Boolean(value) => Self::Plain(Value::Bool(*value)),
            DeValue::Datetime(time) => Self::Text(time.to_string()),
            DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
                .map(|number| Self::Plain(Value::from(number)))
                .map_err(|_| ConfigError::at(&place, "the number does not fit into 64 bits"))?,
            DeValue::Float(number) => {
                let finite = number.as_str().parse::<f64>().ok().and_then(serde_json::Number::from_f64);
                let number = finite.ok_or_else(|| {
                    ConfigError::at(&place, "the number is not finite")
                        .with_hint("write it as text, in quotes, if it is a name")
                })?;
                Self::Plain(Value::Number(number))
            }
            DeValue::Array(values) => {
                Self::Array(values.iter().map(|value| Self::from_toml(value, origin)).collect::<Result<_, _>>()?)
            }
            DeValue::Table(table) => {
                if !table.is_empty() && table.keys().all(|key| matches!(key.get_ref().as_ref(), "env" | "file")) {
                    return Self::secret(table, place, origin);
                }
                let entry = |(key, value): (&Spanned<_>, _)| {
                    Ok((<_ as AsRef<str>>::as_ref(key.get_ref()).to_owned(), Self::from_toml(value, origin)?))
                };
                Self::Table(table.iter().map(entry).collect::<Result<_, ConfigError>>()?)
            }
        })
    }

    fn secret(table: &toml::de::DeTable<'_>, place: Place, origin: &Origin<'_>) -> Result<Self, ConfigError> {
        let mut entries = table.iter();
        if let (Some((key, value)), None) = (entries.next(), entries.next()) {
            let text = value.get_ref().as_str().filter(|text| !text.is_empty());
            if let Some(text) = text {
                let source = match key.get_ref().as_ref() {
                    "env" => SecretSource::Env(text.to_owned()),
                    _ => SecretSource::File(origin.folder.join(text)),
                };
                return Ok(Self::Secret { source, place });
            }
        }
        Err(ConfigError::at(&place, "a secret names one environment variable or one file")
            .with_hint("write { env = \"NAME\" } or { file = \"PATH\" }"))
    }

    /// Sets the value at a dotted key, making the tables on the way; `false` if something on the way is no table.
    pub(super) fn set(&mut self, path: &[String], value: Self) -> bool {
        match (path.split_first(), self) {
            (None, node) => *node = value,
            (Some((first, rest)), Self::Table(table)) => {
                return table.entry(first.clone()).or_default().set(rest, value);
            }
            // A secret asked for in the file is replaced as a whole, or not at all.
            (Some(_), _) => return false,
        }
        true
    }

    /// The names of environment variables referred to.
    pub(super) fn variables(&self, names: &mut Vec<String>) {
        match self {
            Self::Secret { source: SecretSource::Env(name), .. } => names.push(name.clone()),
            Self::Array(nodes) => nodes.iter().for_each(|node| node.variables(names)),
            Self::Table(nodes) => nodes.values().for_each(|node| node.variables(names)),
            Self::Text(_) | Self::Plain(_) | Self::Secret { .. } => {}
        }
    }

    /// Fetches the secrets; adds to `secrets` each text that must not appear anywhere.
    pub(crate) fn resolve(
        &self,
        environment: &Environment,
        secrets: &mut Vec<String>,
    ) -> Result<PluginConfig, ConfigError> {
        let (value, masked) = self.resolve_named("", environment, secrets)?;
        Ok(PluginConfig::new(value, masked))
    }

    fn resolve_named(
        &self,
        name: &str,
        environment: &Environment,
        secrets: &mut Vec<String>,
    ) -> Result<(Value, Value), ConfigError> {
        Ok(match self {
            Self::Text(text) if is_secret_name(name) => {
                secrets.push(text.clone());
                (Value::from(text.as_str()), Value::from(MASK))
            }
            Self::Text(text) => {
                let mut masked = text.clone();
                for secret in secrets_in_text(text) {
                    masked = masked.replace(&secret, MASK);
                    secrets.push(secret);
                }
                (Value::from(text.as_str()), Value::from(masked))
            }
            Self::Plain(value) if is_secret_name(name) => {
                // A number where a text was expected: the plugin's message may quote it.
                secrets.extend(value.is_number().then(|| value.to_string()));
                (value.clone(), Value::from(MASK))
            }
            Self::Plain(value) => (value.clone(), value.clone()),
            Self::Secret { source, place } => {
                let secret = source.resolve(place, environment)?;
                secrets.push(secret.clone());
                (Value::from(secret), Value::from(MASK))
            }
            Self::Array(nodes) => {
                let both = nodes.iter().map(|node| node.resolve_named(name, environment, secrets));
                let (values, masked) = both.collect::<Result<(Vec<_>, Vec<_>), _>>()?;
                (Value::Array(values), Value::Array(masked))
            }
            Self::Table(nodes) => {
                let mut values = serde_json::Map::new();
                let mut masked_values = serde_json::Map::new();
                for (key, node) in nodes {
                    let (value, masked) = node.resolve_named(key, environment, secrets)?;
                    values.insert(key.clone(), value);
                    masked_values.insert(key.clone(), masked);
                }
                (Value::Object(values), Value::Object(masked_values))
            }
        })
    }
}
