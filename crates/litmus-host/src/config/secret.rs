//! Secrets: where they come from, and how they are kept out of every output.
//!
//! Two lines of defence. What holds a plugin's configuration prints masked. And whatever a plugin says passes the
//! [`Redactor`], which knows the texts themselves: an error of some client library may well quote a connection string.

use std::borrow::Cow;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde_json::Value;

use super::environment::Environment;
use super::error::{ConfigError, Place};

/// What stands in the place of a secret.
pub(crate) const MASK: &str = "***";

/// Texts shorter than this are not searched for in messages: they would be found everywhere.
const REDACTED_LEN_MIN: usize = 3;

/// Where a secret comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SecretSource {
    /// `{ env = "NAME" }`.
    Env(String),
    /// `{ file = "PATH" }`, made absolute or relative to the working folder.
    File(PathBuf),
}

impl SecretSource {
    /// Fetches it. A file's last line break is no part of the secret.
    pub(crate) fn resolve(&self, place: &Place, environment: &Environment) -> Result<String, ConfigError> {
        match self {
            Self::Env(name) => environment
                .text(name)
                .map_err(|_| ConfigError::at(place, format!("the environment variable {name} is not UTF-8")))?
                .ok_or_else(|| {
                    ConfigError::at(place, format!("the environment variable {name} is not set"))
                        .with_hint(format!("set {name} to the secret, or use {{ file = \"…\" }}"))
                }),
            Self::File(path) => {
                let text = std::fs::read_to_string(path).map_err(|error| {
                    ConfigError::at(place, format!("the secret's file {} cannot be read: {error}", path.display()))
                })?;
                let secret =
                    text.strip_suffix('\n').map_or(text.as_str(), |line| line.strip_suffix('\r').unwrap_or(line));
                if secret.is_empty() {
                    return Err(ConfigError::at(place, format!("the secret's file {} is empty", path.display())));
                }
                Ok(secret.to_owned())
            }
        }
    }
}

/// A plugin's configuration with its secrets resolved. It prints masked; [`PluginConfig::expose`] is for the plugin alone.
#[derive(Clone)]
pub(crate) struct PluginConfig {
    value: Value,
    masked: Value,
}

impl PluginConfig {
    /// The configuration, and the same with secrets masked.
    pub(crate) fn new(value: Value, masked: Value) -> Self {
        Self { value, masked }
    }

    /// As the plugin gets it, secrets and all.
    pub(crate) fn expose(&self) -> &Value {
        &self.value
    }
}

impl fmt::Debug for PluginConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.masked, f)
    }
}

/// Takes known secrets out of texts.
#[derive(Clone, Default)]
pub(crate) struct Redactor(Arc<Vec<String>>);

impl Redactor {
    /// Over these secrets, and the other spellings in which they may turn up.
    pub(crate) fn new(secrets: impl IntoIterator<Item = String>) -> Self {
        let mut known = Vec::new();
        for secret in secrets {
            known.extend(secrets_in_text(&secret));
            let json = Value::String(secret.clone()).to_string();
            known.push(json[1..json.len() - 1].to_owned());
            known.push(format!("{secret:?}").trim_matches('"').to_owned());
            known.extend(percent_encoded(&secret));
            known.push(secret);
        }
        known.retain(|text| text.len() >= REDACTED_LEN_MIN);
        // The longest first: a password may lie within a connection string that is a secret itself.
        known.sort_unstable_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        known.dedup();
        Self(Arc::new(known))
    }

    /// The text without them.
    pub(crate) fn redact<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let mut text = Cow::Borrowed(text);
        for secret in self.0.iter() {
            if text.contains(secret.as_str()) {
                text = Cow::Owned(text.replace(secret.as_str(), MASK));
            }
        }
        text
    }
}

impl fmt::Debug for Redactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Redactor({} texts)", self.0.len())
    }
}

/// Whether a setting of this name holds a secret even where it is written out.
pub(crate) fn is_secret_name(name: &str) -> bool {
    const PARTS: [&str; 9] =
        ["password", "passwd", "passphrase", "secret", "token", "api_key", "apikey", "access_key", "account_key"];
    let name = name.to_lowercase().replace('-', "_");
    let names_a_place = ["_path", "_file", "_id", "_url", "_uri"].iter().any(|end| name.ends_with(end));
    !names_a_place && (name == "credential" || PARTS.iter().any(|part| name.contains(part)))
}

/// The secrets written out in a text: the password of a URL, and secret parameters of its query or of a `key=value` list.
pub(crate) fn secrets_in_text(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut add = |secret: &str| {
        if !secret.is_empty() {
            found.push(secret.to_owned());
            found.extend(percent_decoded(secret));
        }
    };
    if let Some((_, rest)) = text.split_once("://") {
        let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
        // A password may hold an unescaped '/' or '@': then the longest reading is the careful one.
        let authority = if authority.contains('@') { authority } else { rest };
        if let Some((_, password)) = authority.rsplit_once('@').and_then(|(user, _)| user.split_once(':')) {
            add(password);
        }
    }
    for part in text.split(['?', '&', ' ', ';']) {
        if let Some((_, value)) = part.split_once('=').filter(|(name, _)| is_secret_name(name)) {
            add(value);
        }
    }
    found
}

/// The text as it may stand in a URL, with hexadecimal digits of either case.
fn percent_encoded(text: &str) -> [String; 2] {
    const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
    let parts = || utf8_percent_encode(text, RESERVED);
    let lower = |part: &str| if part.starts_with('%') { part.to_ascii_lowercase() } else { part.to_owned() };
    [parts().to_string(), parts().map(lower).collect()]
}

/// The text with `%41` made `A`; `None` where there is nothing to decode or the bytes are no text.
fn percent_decoded(text: &str) -> Option<String> {
    let decoded = percent_decode_str(text).decode_utf8().ok()?;
    (decoded != text).then(|| decoded.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_in_urls_and_parameters_are_found() {
        let found = secrets_in_text("postgresql://bench:p%40ss-w0rd@db:5432/litmus?sslmode=require&password=two2");
        assert_eq!(found, ["p%40ss-w0rd", "p@ss-w0rd", "two2"]);
        assert_eq!(secrets_in_text("host=db user=bench password=three3"), ["three3"]);
        assert_eq!(secrets_in_text("postgresql://bench@db/litmus"), Vec::<String>::new());
        assert_eq!(secrets_in_text("/srv/mail@home:archive/litmus.db"), Vec::<String>::new());
        assert_eq!(secrets_in_text("pg://u:pa/ss@host/db"), ["pa/ss"]);
    }

    #[test]
    fn names_of_secrets() {
        for name in ["password", "DB_PASSWORD", "secret-access-key", "session_token", "account_key", "credential"] {
            assert!(is_secret_name(name), "{name}");
        }
        for name in ["key", "key_template", "token_file", "access_key_id", "credential_path", "url", "schema"] {
            assert!(!is_secret_name(name), "{name}");
        }
    }

    #[test]
    fn a_redactor_takes_every_spelling_out() {
        let redactor = Redactor::new(["pg://u:p%40ss@h/d".to_owned(), "quo\"te".to_owned(), "ab".to_owned()]);
        assert_eq!(redactor.redact("cannot open pg://u:p%40ss@h/d"), "cannot open ***");
        assert_eq!(redactor.redact("password p@ss refused"), "password *** refused");
        assert_eq!(redactor.redact(r#"{"x":"quo\"te"}"#), r#"{"x":"***"}"#);
        assert_eq!(redactor.redact("about a table"), "about a table");
        let redactor = Redactor::new(["p@ss/word".to_owned()]);
        assert_eq!(redactor.redact("pg://u:p%40ss%2Fword@h and p%40ss%2fword"), "pg://u:***@h and ***");
        assert!(!format!("{redactor:?}").contains("p%40"));
    }
}
