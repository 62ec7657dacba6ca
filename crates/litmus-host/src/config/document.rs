//! A TOML document whose every key and value knows its place, and a table read key by key.

use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{ConfigError, Place, nearest};
use super::node::{Node, Origin};
use super::places::Places;

/// A configuration file's text.
pub(super) struct Document<'a> {
    /// As the user gave it.
    file: &'a Path,
    /// Where it lies; relative paths in it start here.
    folder: &'a Path,
    text: &'a str,
}

impl<'a> Document<'a> {
    pub(super) fn new(file: &'a Path, folder: &'a Path, text: &'a str) -> Self {
        Self { file, folder, text }
    }

    /// Line and column of a byte offset.
    pub(super) fn place(&self, offset: usize) -> Place {
        let before = &self.text[..self.text.floor_char_boundary(offset)];
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        Place::File {
            file: self.file.to_owned(),
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        }
    }

    /// The whole, parsed. The parser's own display quotes the line, which may hold a secret: only its sentence is taken.
    pub(super) fn parse(&self) -> Result<Spanned<DeTable<'a>>, ConfigError> {
        DeTable::parse(self.text).map_err(|error| {
            let place = self.place(error.span().map_or(0, |span| span.start));
            ConfigError::at(&place, format!("this is not TOML: {}", error.message().replace('\n', ", ")))
        })
    }

    /// Where it lies.
    pub(super) fn folder(&self) -> &'a Path {
        self.folder
    }
}

/// A table with known keys.
pub(super) struct TableReader<'d, 't> {
    document: &'d Document<'d>,
    table: &'t DeTable<'t>,
    place: Place,
}

impl<'d, 't> TableReader<'d, 't> {
    /// The table, if it has no other keys than these. `name` is for messages; `elsewhere` are keys of other tables, and which.
    pub(super) fn new(
        document: &'d Document<'d>,
        table: &'t DeTable<'t>,
        offset: usize,
        name: &str,
        known: &[&'static str],
        elsewhere: &[(&str, &[&str])],
    ) -> Result<Self, ConfigError> {
        for key in table.keys() {
            let text = key.get_ref().as_ref();
            if known.contains(&text) {
                continue;
            }
            let hint =
                match (nearest(text, known.iter().copied()), elsewhere.iter().find(|(_, keys)| keys.contains(&text))) {
                    (_, Some((home, _))) => format!("\"{text}\" belongs under {home}"),
                    (Some(meant), None) => format!("did you mean \"{meant}\"?"),
                    (None, None) => format!("the keys here are {}", known.join(", ")),
                };
            let place = document.place(key.span().start);
            return Err(ConfigError::at(&place, format!("unknown key \"{text}\" in {name}")).with_hint(hint));
        }
        Ok(Self { document, table, place: document.place(offset) })
    }

    /// Where the table starts.
    pub(super) fn place(&self) -> &Place {
        &self.place
    }

    /// A value and its place.
    pub(super) fn get(&self, key: &str) -> Option<(&'t Spanned<DeValue<'t>>, Place)> {
        self.table.get(key).map(|value| (value, self.document.place(value.span().start)))
    }

    /// Text that is not empty.
    pub(super) fn text(&self, key: &str, example: &str) -> Result<Option<(String, Place)>, ConfigError> {
        let Some((value, place)) = self.get(key) else { return Ok(None) };
        let text = value.get_ref().as_str().ok_or_else(|| wrong_type(&place, key, value.get_ref(), "text", example))?;
        if text.is_empty() {
            return Err(ConfigError::at(&place, format!("\"{key}\" is empty")).with_hint(format!("write {example}")));
        }
        Ok(Some((text.to_owned(), place)))
    }

    /// A path; a relative one starts at the file's folder.
    pub(super) fn path(&self, key: &str, example: &str) -> Result<Option<(PathBuf, Place)>, ConfigError> {
        Ok(self.text(key, example)?.map(|(text, place)| (self.document.folder().join(text), place)))
    }

    /// Text or a whole number, read by `parse`, which says what is wrong.
    pub(super) fn parsed<T>(
        &self,
        key: &str,
        example: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Result<Option<(T, Place)>, ConfigError> {
        let Some((value, place)) = self.get(key) else { return Ok(None) };
        let text = match value.get_ref() {
            DeValue::String(text) => text.to_string(),
            DeValue::Integer(number) if number.radix() == 10 => number.as_str().to_owned(),
            DeValue::Datetime(time) => time.to_string(),
            other => return Err(wrong_type(&place, key, other, "text or a whole number", example)),
        };
        match parse(&text) {
            Ok(parsed) => Ok(Some((parsed, place))),
            Err(message) => {
                Err(ConfigError::at(&place, format!("\"{key}\": {message}")).with_hint(format!("write {example}")))
            }
        }
    }

    /// A list of texts that are not empty; none where the key is not there.
    pub(super) fn texts(&self, key: &str, example: &str) -> Result<Vec<String>, ConfigError> {
        let Some((value, place)) = self.get(key) else { return Ok(Vec::new()) };
        let wrong = || wrong_type(&place, key, value.get_ref(), "a list of texts", example);
        let texts = value.get_ref().as_array().ok_or_else(wrong)?.iter();
        texts
            .map(|text| text.get_ref().as_str().filter(|text| !text.is_empty()).map(str::to_owned).ok_or_else(wrong))
            .collect()
    }

    /// The tables of `[[key]]`.
    pub(super) fn tables(&self, key: &str) -> Result<Vec<&'t Spanned<DeValue<'t>>>, ConfigError> {
        let Some((value, place)) = self.get(key) else { return Ok(Vec::new()) };
        let example = format!("[[{key}]]");
        match value.get_ref() {
            DeValue::Array(values) if values.iter().all(|value| value.get_ref().is_table()) => {
                Ok(values.iter().collect())
            }
            other => Err(wrong_type(&place, key, other, "a list of tables", &example)),
        }
    }

    /// A table of anything: a sink's own configuration, and where its keys stand.
    pub(super) fn node(&self, key: &str) -> Result<Option<(Node, Places)>, ConfigError> {
        let Some((value, place)) = self.get(key) else { return Ok(None) };
        let DeValue::Table(table) = value.get_ref() else {
            return Err(wrong_type(&place, key, value.get_ref(), "a table", "config = { … } or [sink.config]"));
        };
        let origin = Origin { place: &|offset| self.document.place(offset), folder: self.document.folder() };
        match Node::from_toml(value, &origin)? {
            // `config = { file = "x" }` could be a plugin's one setting called "file".
            node @ Node::Table(_) => Ok(Some((node, Places::of(table, &origin)))),
            _ => Err(ConfigError::at(&place, format!("\"{key}\" cannot be a secret as a whole"))
                .with_hint("give the one setting that is a secret: config = { url = { env = \"NAME\" } }")),
        }
    }
}

/// A value of the wrong type; the value itself is not quoted, it may be a secret.
fn wrong_type(place: &Place, key: &str, value: &DeValue<'_>, expected: &str, example: &str) -> ConfigError {
    let found = match value {
        DeValue::String(_) => "text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    };
    ConfigError::at(place, format!("\"{key}\" is {found} where {expected} was expected"))
        .with_hint(format!("write {example}"))
}
