//! The environment, read once, so that nothing else looks at the process.

use std::collections::BTreeMap;
use std::ffi::OsString;

use super::error::{ConfigError, Place, nearest};

/// Variables that set something. Others that start with `LITMUS_HOST_` belong to somebody else (a Kubernetes service of that
/// name announces itself so), unless they look like one of these misspelt.
pub(crate) const VARIABLES: &[&str] = &[
    "LITMUS_HOST_CONFIG",
    "LITMUS_HOST_DATA_DIR",
    "LITMUS_HOST_STATE_DIR",
    "LITMUS_PLUGIN_PATH",
    "LITMUS_HOST_GIVE_UP_AFTER",
    "LITMUS_HOST_GRACE",
    "LITMUS_HOST_DECODE_CACHE_BYTES_MAX",
    "LITMUS_HOST_IN_FLIGHT_BYTES_MAX",
    "LITMUS_HOST_LOG_FORMAT",
    "LITMUS_HOST_WRITABLE_PLUGINS",
];

const PREFIX: &str = "LITMUS_HOST_";

/// The variables of the process, or of a test.
#[derive(Clone, Default)]
pub(crate) struct Environment(BTreeMap<OsString, OsString>);

impl Environment {
    /// As the process has it.
    pub(crate) fn of_process() -> Self {
        Self(std::env::vars_os().collect())
    }

    /// A variable that is set and not empty: an empty one counts as not set, as the XDG specification has it.
    pub(crate) fn get(&self, name: &str) -> Option<OsString> {
        self.0.get(OsString::from(name).as_os_str()).filter(|value| !value.is_empty()).cloned()
    }

    /// The same as text.
    pub(crate) fn text(&self, name: &str) -> Result<Option<String>, ConfigError> {
        let not_text = |_| ConfigError::at(&Place::Env(name.to_owned()), "the value is not UTF-8");
        self.get(name).map(|value| value.into_string().map_err(not_text)).transpose()
    }

    /// Whether a variable of ours is misspelt. `used` are names that the configuration itself refers to.
    pub(crate) fn check_names(&self, used: &[String]) -> Result<(), ConfigError> {
        let known: Vec<&str> = VARIABLES.iter().filter_map(|name| name.strip_prefix(PREFIX)).collect();
        for name in self.0.keys().filter_map(|name| name.to_str()) {
            let Some(rest) = name.strip_prefix(PREFIX) else { continue };
            if known.contains(&rest) || used.iter().any(|used| used == name) {
                continue;
            }
            if let Some(meant) = nearest(rest, known.iter().copied()) {
                return Err(ConfigError::at(&Place::Env(name.to_owned()), "unknown variable")
                    .with_hint(format!("did you mean {PREFIX}{meant}?")));
            }
        }
        Ok(())
    }
}

impl<K: Into<OsString>, V: Into<OsString>> FromIterator<(K, V)> for Environment {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(variables: I) -> Self {
        Self(variables.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }
}

impl std::fmt::Debug for Environment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Names only: the values may be secrets.
        f.debug_set().entries(self.0.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_variable_is_an_error_and_a_foreign_one_is_not() {
        let foreign =
            Environment::from_iter([("LITMUS_HOST_SERVICE_HOST", "10.0.0.1"), ("LITMUS_HOST_PORT", "tcp://…")]);
        assert_eq!(foreign.check_names(&[]), Ok(()));
        let misspelt = Environment::from_iter([("LITMUS_HOST_DATADIR", "/x")]);
        let error = misspelt.check_names(&[]).unwrap_err();
        assert_eq!(error.to_string(), "$LITMUS_HOST_DATADIR: unknown variable");
        assert_eq!(error.hint(), Some("did you mean LITMUS_HOST_DATA_DIR?"));
        assert_eq!(misspelt.check_names(&["LITMUS_HOST_DATADIR".to_owned()]), Ok(()));
    }

    #[test]
    fn values_do_not_print() {
        let environment = Environment::from_iter([("DB_PASSWORD", "s3cr3t-marker")]);
        assert_eq!(format!("{environment:?}"), "{\"DB_PASSWORD\"}");
    }
}
