//! The configuration file, `litmus-host.toml`: its keys and their types.

use std::path::{Path, PathBuf};
use std::time::Duration;

use litmus_core::Sha256;
use toml::Spanned;
use toml::de::DeValue;

use super::document::{Document, TableReader};
use super::error::{ConfigError, Place};
use super::node::Node;
use super::places::Places;
use super::values::{parse_bytes, parse_duration, parse_start, parse_time_allowed};
use crate::engine_api::Start;

const TOP_KEYS: &[&str] = &[
    "data_dir",
    "store",
    "sink",
    "state_dir",
    "plugin_dir",
    "give_up_after",
    "grace",
    "decode_cache_bytes_max",
    "in_flight_bytes_max",
    "writable_plugins",
];
const STORE_KEYS: &[&str] = &["name", "path"];
const SINK_KEYS: &[&str] =
    &["name", "plugin", "sha256", "config", "start", "deadline", "batch_bytes_max", "batch_runs_max"];

/// Each key of each section.
#[cfg(test)]
pub(super) fn every_key() -> impl Iterator<Item = &'static str> {
    [TOP_KEYS, STORE_KEYS, SINK_KEYS].concat().into_iter()
}

/// A value and where it was given.
pub(crate) type Placed<T> = (T, Place);

/// What the file says; nothing is filled in.
#[derive(Debug, Default)]
pub(crate) struct FileConfig {
    pub(crate) data_dir: Option<Placed<PathBuf>>,
    pub(crate) stores: Vec<StoreEntry>,
    pub(crate) sinks: Vec<SinkEntry>,
    pub(crate) state_dir: Option<Placed<PathBuf>>,
    pub(crate) plugin_dir: Option<Placed<PathBuf>>,
    pub(crate) give_up_after: Option<Placed<Duration>>,
    pub(crate) grace: Option<Placed<Duration>>,
    pub(crate) decode_cache_bytes_max: Option<Placed<u64>>,
    pub(crate) in_flight_bytes_max: Option<Placed<u64>>,
    /// Files that are loaded although others may write them.
    pub(crate) writable_plugins: Vec<String>,
}

/// One `[[store]]`.
#[derive(Debug)]
pub(crate) struct StoreEntry {
    pub(crate) name: String,
    pub(crate) path: PathBuf,
    pub(crate) place: Place,
}

/// One `[[sink]]`, or one `--plugin`.
#[derive(Clone, Debug)]
pub(crate) struct SinkEntry {
    pub(crate) name: String,
    /// As given: a name to search for, or a path.
    pub(crate) plugin: String,
    /// Where a relative path starts.
    pub(crate) folder: PathBuf,
    pub(crate) place: Place,
    /// Of the plugin's file: any other is refused.
    pub(crate) sha256: Option<Sha256>,
    pub(crate) config: Node,
    pub(crate) config_places: Places,
    pub(crate) start: Option<Start>,
    pub(crate) deadline: Option<Duration>,
    pub(crate) batch_bytes_max: Option<u64>,
    pub(crate) batch_runs_max: Option<u32>,
}

impl SinkEntry {
    /// A sink that is nothing but a plugin; it is called as the plugin is.
    pub(crate) fn of_plugin(plugin: &str, place: Place) -> Self {
        Self {
            name: plugin_stem(plugin),
            plugin: plugin.to_owned(),
            folder: PathBuf::new(),
            place,
            sha256: None,
            config: Node::default(),
            config_places: Places::default(),
            start: None,
            deadline: None,
            batch_bytes_max: None,
            batch_runs_max: None,
        }
    }
}

/// `postgres` of `postgres.so` and of `./target/plugins/postgres.so`.
pub(crate) fn plugin_stem(plugin: &str) -> String {
    let name = plugin.rsplit('/').next().unwrap_or(plugin);
    name.strip_suffix(".so").unwrap_or(name).to_owned()
}

/// Reads a file; `file` appears in messages as it is given, relative to the working folder.
pub(crate) fn read(file: &Path, working_folder: &Path) -> Result<FileConfig, ConfigError> {
    let text = std::fs::read(working_folder.join(file)).map_err(|error| {
        ConfigError::new(format!("{}: the configuration cannot be read: {error}", file.display()))
            .with_hint("--config names another file")
    })?;
    let text = String::from_utf8(text)
        .map_err(|_| ConfigError::new(format!("{}: the configuration is not UTF-8", file.display())))?;
    parse(file, working_folder, &text)
}

/// Reads a file's text.
pub(crate) fn parse(file: &Path, working_folder: &Path, text: &str) -> Result<FileConfig, ConfigError> {
    let path = working_folder.join(file);
    let document = Document::new(file, path.parent().unwrap_or(working_folder), text);
    let root = document.parse()?;
    let elsewhere: &[(&str, &[&str])] = &[("[[sink]]", SINK_KEYS), ("[[store]]", STORE_KEYS)];
    let top = TableReader::new(&document, root.get_ref(), 0, "the file", TOP_KEYS, elsewhere)?;

    let config = FileConfig {
        data_dir: top.path("data_dir", "data_dir = \"results\"")?,
        stores: top.tables("store")?.into_iter().map(|table| store(&document, table)).collect::<Result<_, _>>()?,
        sinks: top.tables("sink")?.into_iter().map(|table| sink(&document, table)).collect::<Result<_, _>>()?,
        state_dir: top.path("state_dir", "state_dir = \"/var/lib/litmus-host\"")?,
        plugin_dir: top.path("plugin_dir", "plugin_dir = \"plugins\"")?,
        give_up_after: top.parsed("give_up_after", "give_up_after = \"60s\"", parse_duration)?,
        grace: top.parsed("grace", "grace = \"30s\"", parse_duration)?,
        decode_cache_bytes_max: top.parsed(
            "decode_cache_bytes_max",
            "decode_cache_bytes_max = \"64MiB\"",
            parse_bytes,
        )?,
        in_flight_bytes_max: top.parsed("in_flight_bytes_max", "in_flight_bytes_max = \"64MiB\"", parse_bytes)?,
        writable_plugins: top.texts("writable_plugins", "writable_plugins = [\"postgres.so\"]")?,
    };
    if let (Some((_, place)), Some(store)) = (&config.data_dir, config.stores.first()) {
        return Err(ConfigError::at(place, format!("data_dir and [[store]] ({}) are both given", store.place))
            .with_hint("give one data_dir, or one [[store]] for each data dir"));
    }
    unique(config.stores.iter().map(|store| (store.name.as_str(), &store.place)), "stores")?;
    unique(config.sinks.iter().map(|sink| (sink.name.as_str(), &sink.place)), "sinks")?;
    Ok(config)
}

/// Two of one name would share their lines in every message and in the ledger.
pub(crate) fn unique<'a>(names: impl Iterator<Item = (&'a str, &'a Place)>, kind: &str) -> Result<(), ConfigError> {
    let mut seen: Vec<(&str, &Place)> = Vec::new();
    for (name, place) in names {
        if let Some((_, first)) = seen.iter().find(|(other, _)| *other == name) {
            return Err(ConfigError::at(place, format!("two {kind} are called \"{name}\"; the other is at {first}"))
                .with_hint("give each a name of its own, in the configuration file"));
        }
        seen.push((name, place));
    }
    Ok(())
}

fn store(document: &Document<'_>, value: &Spanned<DeValue<'_>>) -> Result<StoreEntry, ConfigError> {
    let table = value.get_ref().as_table().expect("`tables` yields tables");
    let reader = TableReader::new(document, table, value.span().start, "[[store]]", STORE_KEYS, &[])?;
    let example = "path = \"/mnt/bench-7/data\"";
    let (path, _) = reader.path("path", example)?.ok_or_else(|| missing(&reader, "[[store]]", "path", example))?;
    let example = "name = \"bench-7\"";
    let (name, _) = reader.text("name", example)?.ok_or_else(|| missing(&reader, "[[store]]", "name", example))?;
    Ok(StoreEntry { name, path, place: reader.place().clone() })
}

fn sink(document: &Document<'_>, value: &Spanned<DeValue<'_>>) -> Result<SinkEntry, ConfigError> {
    let table = value.get_ref().as_table().expect("`tables` yields tables");
    let reader = TableReader::new(document, table, value.span().start, "[[sink]]", SINK_KEYS, &[])?;
    let example = "plugin = \"postgres.so\"";
    let (plugin, place) =
        reader.text("plugin", example)?.ok_or_else(|| missing(&reader, "[[sink]]", "plugin", example))?;
    let name = reader.text("name", "name = \"factory-db\"")?;
    let parse_count = |text: &str| {
        text.parse::<u32>().ok().filter(|count| *count > 0).ok_or_else(|| format!("\"{text}\" is not a number from 1"))
    };
    let (config, config_places) = reader.node("config")?.unwrap_or_default();
    Ok(SinkEntry {
        name: name.map_or_else(|| plugin_stem(&plugin), |(name, _)| name),
        folder: document.folder().to_owned(),
        place,
        sha256: reader
            .parsed("sha256", "sha256 = \"64 hex digits, as litmus-host plugins prints them\"", |text| {
                text.parse::<Sha256>().map_err(|error| error.to_string())
            })?
            .map(|(sha256, _)| sha256),
        config,
        config_places,
        start: reader.parsed("start", "start = \"all\"", parse_start)?.map(|(start, _)| start),
        deadline: reader.parsed("deadline", "deadline = \"5m\"", parse_time_allowed)?.map(|(deadline, _)| deadline),
        batch_bytes_max: reader
            .parsed("batch_bytes_max", "batch_bytes_max = \"16MiB\"", parse_bytes)?
            .map(|(max, _)| max),
        batch_runs_max: reader.parsed("batch_runs_max", "batch_runs_max = 500", parse_count)?.map(|(max, _)| max),
        plugin,
    })
}

fn missing(reader: &TableReader<'_, '_>, table: &str, key: &str, example: &str) -> ConfigError {
    ConfigError::at(reader.place(), format!("{table} has no \"{key}\"")).with_hint(format!("add {example}"))
}
