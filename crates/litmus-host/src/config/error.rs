//! What is wrong with a configuration, and where.

use std::fmt;
use std::path::PathBuf;

/// Where a setting was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// A spot in a file; line and column from 1.
    File {
        /// As the user gave it.
        file: PathBuf,
        /// From 1.
        line: usize,
        /// In characters, from 1.
        column: usize,
    },
    /// A flag, such as `--data-dir`.
    Flag(String),
    /// An environment variable.
    Env(String),
}

impl Place {
    /// A flag.
    pub(crate) fn flag(name: &str) -> Self {
        Self::Flag(name.to_owned())
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { file, line, column } => write!(f, "{}:{line}:{column}", file.display()),
            Self::Flag(name) => f.write_str(name),
            Self::Env(name) => write!(f, "${name}"),
        }
    }
}

/// A setting that cannot work. It never holds the value of a secret.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) struct ConfigError {
    place: Option<Place>,
    message: String,
    hint: Option<String>,
}

impl ConfigError {
    /// Something wrong with what stands there.
    pub(crate) fn at(place: &Place, message: impl Into<String>) -> Self {
        Self { place: Some(place.clone()), message: message.into(), hint: None }
    }

    /// Something wrong with no place of its own: a thing missing, two that do not go together.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { place: None, message: message.into(), hint: None }
    }

    /// With the remedy.
    #[must_use]
    pub(crate) fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The remedy.
    pub(crate) fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Some(place) => write!(f, "{place}: {}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

/// The known name that was probably meant.
pub(crate) fn nearest<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let given = given.to_lowercase();
    known
        .into_iter()
        .map(|name| (strsim::damerau_levenshtein(&given, &name.to_lowercase()), name))
        .filter(|(distance, name)| {
            // A third of it may be wrong; a beginning of some length ("give_up") is as good.
            *distance <= (name.len().max(given.len()) / 3).max(1) || (given.len() >= 4 && name.starts_with(&given))
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_near() {
        let known = ["plugin", "config", "start", "name", "give_up_after"];
        assert_eq!(nearest("plugn", known), Some("plugin"));
        assert_eq!(nearest("Plugins", known), Some("plugin"));
        assert_eq!(nearest("give_up", known), Some("give_up_after"));
        assert_eq!(nearest("conf", known), Some("config"));
        assert_eq!(nearest("colour", known), None);
    }
}
