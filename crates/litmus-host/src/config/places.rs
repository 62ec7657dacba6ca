//! Where each key of a sink's own configuration was given. The plugin checks that configuration and knows no file and no line;
//! its message names the key.

use std::collections::BTreeMap;

use toml::de::{DeTable, DeValue};

use super::error::Place;
use super::node::Origin;

/// Places by dotted key.
#[derive(Clone, Debug, Default)]
pub(crate) struct Places(BTreeMap<String, Place>);

impl Places {
    /// Those of a table and all below it.
    pub(super) fn of(table: &DeTable<'_>, origin: &Origin<'_>) -> Self {
        let mut places = Self::default();
        places.note("", table, origin);
        places
    }

    fn note(&mut self, above: &str, table: &DeTable<'_>, origin: &Origin<'_>) {
        for (key, value) in table {
            let path = if above.is_empty() { key.get_ref().to_string() } else { format!("{above}.{}", key.get_ref()) };
            if let DeValue::Table(inner) = value.get_ref() {
                self.note(&path, inner, origin);
            }
            self.0.insert(path, (origin.place)(key.span().start));
        }
    }

    /// A key that was given elsewhere, such as by a flag.
    pub(super) fn set(&mut self, path: &[String], place: &Place) {
        self.0.insert(path.join("."), place.clone());
    }

    /// The place of the first key that a message quotes, be it with the keys above it or without.
    pub(crate) fn named_in(&self, message: &str) -> Option<&Place> {
        message.split('"').skip(1).step_by(2).find_map(|quoted| {
            let by_end =
                || self.0.iter().find(|(path, _)| path.rsplit('.').next() == Some(quoted)).map(|(_, place)| place);
            self.0.get(quoted).or_else(by_end)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn a_quoted_key_has_its_place() {
        let table = DeTable::parse("a = 1\noptions = { retry = 2 }\n").unwrap();
        let place = |offset: usize| Place::Env(offset.to_string());
        let mut places = Places::of(table.get_ref(), &Origin { place: &place, folder: Path::new("") });
        places.set(&["b".to_owned()], &Place::flag("--set b"));
        let found = |message| places.named_in(message).map(ToString::to_string);
        assert_eq!(found(r#"unknown key "a"; did you mean "b"?"#).as_deref(), Some("$0"));
        assert_eq!(found(r#""options.retry": invalid type"#).as_deref(), Some("$18"));
        assert_eq!(found(r#"unknown key "retry" in "options""#).as_deref(), Some("$18"));
        assert_eq!(found(r#""b" is no number"#).as_deref(), Some("--set b"));
        assert_eq!(found(r#"missing "url""#), None);
    }
}
