//! The configuration: flags over environment over `litmus-host.toml`, checked once at the door. See docs/configuration.md.

mod document;
mod environment;
mod error;
mod file;
mod node;
mod places;
mod secret;
mod set;
mod values;

#[cfg(test)]
mod every;
#[cfg(test)]
mod tests;

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use litmus_core::reader::{ReadError, resolve_data_dir};

pub(crate) use environment::Environment;
pub(crate) use error::{ConfigError, Place, nearest};
use file::{FileConfig, Placed, SinkEntry};
pub(crate) use places::Places;
pub(crate) use secret::{PluginConfig, Redactor};
pub(crate) use values::{format_duration, parse_date, parse_duration, parse_start};

use crate::engine_api::{SinkSpec, Start, StoreSpec};
use crate::plugins::PluginSearch;
use crate::trust::{self, Untrusted};

/// The file that is read from the working folder.
pub(crate) const FILE_NAME: &str = "litmus-host.toml";

const GIVE_UP_AFTER: Duration = Duration::from_mins(1);
const GRACE: Duration = Duration::from_secs(30);
const DEADLINE: Duration = Duration::from_mins(5);
const DECODE_CACHE_BYTES_MAX: u64 = 64 << 20;
const IN_FLIGHT_BYTES_MAX: u64 = 64 << 20;

/// What the command line says.
#[derive(Clone, Debug, Default)]
pub(crate) struct Flags {
    pub(crate) config: Option<PathBuf>,
    pub(crate) data_dir: Option<PathBuf>,
    pub(crate) state_dir: Option<PathBuf>,
    pub(crate) plugin_dirs: Vec<PathBuf>,
    pub(crate) plugins: Vec<String>,
    pub(crate) set: Vec<String>,
    pub(crate) give_up_after: Option<Duration>,
    pub(crate) start: Option<Start>,
}

/// The configuration, merged and checked; secrets are fetched by [`Config::sinks`], for the commands that need them.
#[derive(Debug)]
pub(crate) struct Config {
    /// What a person should know about where this came from.
    pub(crate) notes: Vec<String>,
    /// Where plugins are looked for.
    pub(crate) search: PluginSearch,
    /// See [`crate::engine_api::ForwardRequest`].
    pub(crate) give_up_after: Duration,
    /// See [`crate::engine_api::ForwardRequest`].
    pub(crate) grace: Duration,
    /// See [`crate::engine_api::ForwardRequest`].
    pub(crate) decode_cache_bytes_max: u64,
    /// See [`crate::engine_api::ForwardRequest`].
    pub(crate) in_flight_bytes_max: u64,
    stores: Vec<StoreSpec>,
    sinks: Vec<SinkEntry>,
    start: Option<Start>,
    state_dir: Option<PathBuf>,
    writable_plugins: Vec<String>,
    folder: PathBuf,
    environment: Environment,
}

impl Config {
    /// Merges flags, environment and file. `folder` is the working folder.
    pub(crate) fn load(flags: &Flags, environment: Environment, folder: &Path) -> Result<Self, ConfigError> {
        let mut notes = Vec::new();
        let file = find_file(flags, &environment, folder, &mut notes)?;
        let file = file.map(|path| file::read(&path, folder)).transpose()?.unwrap_or_default();
        Self::merge(flags, environment, folder, file, notes)
    }

    fn merge(
        flags: &Flags,
        environment: Environment,
        folder: &Path,
        file: FileConfig,
        notes: Vec<String>,
    ) -> Result<Self, ConfigError> {
        let mut sinks = file.sinks;
        for plugin in &flags.plugins {
            let added = SinkEntry::of_plugin(plugin, Place::flag("--plugin"));
            match sinks.iter_mut().find(|sink| sink.name == added.name && sink.place != added.place) {
                Some(sink) => {
                    *sink = SinkEntry { plugin: added.plugin, folder: added.folder, place: added.place, ..sink.clone() }
                }
                None => sinks.push(added),
            }
        }
        file::unique(sinks.iter().map(|sink| (sink.name.as_str(), &sink.place)), "sinks")?;
        set::apply(&flags.set, &mut sinks)?;

        let mut used = Vec::new();
        for sink in &sinks {
            sink.config.variables(&mut used);
        }
        environment.check_names(&used)?;

        let data_dir = flags.data_dir.clone().map(|path| (path, Place::flag("--data-dir")));
        let data_dir = data_dir.or_else(|| environment_path(&environment, "LITMUS_HOST_DATA_DIR"));
        let stores = match data_dir.or(file.data_dir) {
            Some((path, place)) => vec![store(folder, &path, &place, None)],
            None => {
                file.stores.iter().map(|entry| store(folder, &entry.path, &entry.place, Some(&entry.name))).collect()
            }
        };
        let state_dir = flags.state_dir.clone().map(|path| (path, Place::flag("--state-dir")));
        let state_dir = state_dir
            .or_else(|| environment_path(&environment, "LITMUS_HOST_STATE_DIR"))
            .or(file.state_dir)
            .map(|(path, _)| path)
            .or_else(|| default_state_dir(&environment));
        let search = PluginSearch::new(
            &flags.plugin_dirs,
            environment.get("LITMUS_PLUGIN_PATH").as_deref(),
            file.plugin_dir.as_ref().map(|(path, _)| path.as_path()),
            std::env::current_exe().ok().as_deref(),
            folder,
        );
        let mut writable_plugins = file.writable_plugins;
        let named = environment.text("LITMUS_HOST_WRITABLE_PLUGINS")?.unwrap_or_default();
        writable_plugins.extend(named.split(':').filter(|name| !name.is_empty()).map(str::to_owned));
        let give_up_after = environment_value(&environment, "LITMUS_HOST_GIVE_UP_AFTER", parse_duration)?;
        let grace = environment_value(&environment, "LITMUS_HOST_GRACE", parse_duration)?;
        let decode_cache = environment_value(&environment, "LITMUS_HOST_DECODE_CACHE_BYTES_MAX", values::parse_bytes)?;
        let in_flight = environment_value(&environment, "LITMUS_HOST_IN_FLIGHT_BYTES_MAX", values::parse_bytes)?;
        Ok(Self {
            notes,
            state_dir: state_dir.map(|path| folder.join(path)),
            search,
            give_up_after: flags.give_up_after.or(give_up_after).or(value(file.give_up_after)).unwrap_or(GIVE_UP_AFTER),
            grace: grace.or(value(file.grace)).unwrap_or(GRACE),
            decode_cache_bytes_max: decode_cache
                .or(value(file.decode_cache_bytes_max))
                .unwrap_or(DECODE_CACHE_BYTES_MAX),
            in_flight_bytes_max: in_flight.or(value(file.in_flight_bytes_max)).unwrap_or(IN_FLIGHT_BYTES_MAX),
            stores,
            sinks,
            writable_plugins,
            start: flags.start,
            folder: folder.to_owned(),
            environment,
        })
    }

    /// The data dirs: as configured, else found as Litmus finds its own.
    pub(crate) fn stores(&self) -> Result<Vec<StoreSpec>, ReadError> {
        if !self.stores.is_empty() {
            return Ok(self.stores.clone());
        }
        let found = resolve_data_dir(None, &self.folder, &|name| self.environment.get(name))?;
        Ok(vec![StoreSpec { name: store_name(&found.path), data_dir: found.path, found_by: found.found_by }])
    }

    /// The parent of the ledgers.
    pub(crate) fn state_dir(&self) -> Result<PathBuf, ConfigError> {
        self.state_dir.clone().ok_or_else(|| {
            ConfigError::new("there is no place for the ledger: HOME is not set")
                .with_hint("name a folder with --state-dir, or set LITMUS_HOST_STATE_DIR")
        })
    }

    /// The names of the sinks, in order.
    pub(crate) fn sink_names(&self) -> Vec<&str> {
        self.sinks.iter().map(|sink| sink.name.as_str()).collect()
    }

    /// The plugin's file of one sink.
    pub(crate) fn find_plugin(&self, sink: &str) -> Result<PathBuf, ConfigError> {
        let entry = self.sinks.iter().find(|entry| entry.name == sink).expect("a name out of `sink_names`");
        self.search
            .find(&entry.plugin, &self.folder.join(&entry.folder))
            .map_err(|miss| ConfigError::at(&entry.place, miss.to_string()).with_hint(miss.hint()))
    }

    /// Why a plugin's file may not be loaded; `sink` where it is one's, which may pin it.
    pub(crate) fn trust(&self, path: &Path, sink: Option<&str>) -> Result<(), Untrusted> {
        let entry = self.sinks.iter().find(|entry| Some(entry.name.as_str()) == sink);
        trust::check(path, &self.writable_plugins, entry.and_then(|entry| entry.sha256.as_ref()))
    }

    /// One sink, its plugin found and its secrets fetched; these are added to `secrets`.
    pub(crate) fn sink(&self, name: &str, secrets: &mut Vec<String>) -> Result<SinkSpec, ConfigError> {
        let entry = self.sinks.iter().find(|entry| entry.name == name).expect("a name out of `sink_names`");
        let plugin_path = self.find_plugin(name)?;
        self.trust(&plugin_path, Some(name))
            .map_err(|why| ConfigError::at(&entry.place, why.message).with_hint(why.hint))?;
        Ok(SinkSpec {
            name: entry.name.clone(),
            plugin_path,
            plugin_given: entry.plugin.clone(),
            config: entry.config.resolve(&self.environment, secrets)?,
            places: entry.config_places.clone(),
            place: entry.place.clone(),
            start: self.start.or(entry.start),
            deadline: entry.deadline.unwrap_or(DEADLINE),
            batch_bytes_max: entry.batch_bytes_max,
            batch_runs_max: entry.batch_runs_max,
        })
    }

    /// All sinks, and what takes their secrets out of texts. None at all is an error.
    pub(crate) fn sinks(&self) -> Result<(Vec<SinkSpec>, Redactor), ConfigError> {
        if self.sinks.is_empty() {
            return Err(ConfigError::new("there is nothing to forward to: no sink is configured").with_hint(format!(
                "name a plugin (litmus-host --plugin sqlite.so --set path=out.db), or write [[sink]] into {FILE_NAME}"
            )));
        }
        let mut secrets = Vec::new();
        let sinks: Vec<SinkSpec> =
            self.sinks.iter().map(|sink| self.sink(&sink.name, &mut secrets)).collect::<Result<_, _>>()?;
        for (entry, sink) in self.sinks.iter().zip(&sinks) {
            self.keep_out_of_state(entry, sink)?;
        }
        Ok((sinks, Redactor::new(secrets)))
    }

    /// A sink with a `path` writes there: among the ledgers it would write into one.
    fn keep_out_of_state(&self, entry: &SinkEntry, sink: &SinkSpec) -> Result<(), ConfigError> {
        let path = sink.config.expose().get("path").and_then(serde_json::Value::as_str);
        if let (Some(path), Some(state_dir)) = (path, &self.state_dir)
            && resolved(&self.folder.join(path)).starts_with(resolved(state_dir))
        {
            let message = format!(
                "the path of sink \"{}\" lies in the state folder {}, where the ledgers are",
                entry.name,
                state_dir.display()
            );
            return Err(ConfigError::at(&entry.place, message)
                .with_hint("give a path elsewhere, or keep the ledgers elsewhere with --state-dir"));
        }
        Ok(())
    }
}

/// A path with its links resolved, as far as it is there.
fn resolved(path: &Path) -> PathBuf {
    for folder in path.ancestors() {
        if let (Ok(real), Ok(rest)) = (folder.canonicalize(), path.strip_prefix(folder)) {
            return real.join(rest);
        }
    }
    path.to_owned()
}

/// The file to read: as named, or the one in the working folder unless a plugin is named.
fn find_file(
    flags: &Flags,
    environment: &Environment,
    folder: &Path,
    notes: &mut Vec<String>,
) -> Result<Option<PathBuf>, ConfigError> {
    let named =
        flags.config.clone().or_else(|| environment_path(environment, "LITMUS_HOST_CONFIG").map(|(path, _)| path));
    if named.is_some() {
        return Ok(named);
    }
    match folder.join(FILE_NAME).try_exists() {
        Ok(false) => Ok(None),
        Ok(true) if flags.plugins.is_empty() => {
            notes.push(format!("using {FILE_NAME} of the working folder"));
            Ok(Some(PathBuf::from(FILE_NAME)))
        }
        Ok(true) => {
            notes.push(format!(
                "{FILE_NAME} of the working folder is not read, because --plugin is given (--config names it)"
            ));
            Ok(None)
        }
        Err(error) => Err(ConfigError::new(format!("{FILE_NAME}: the configuration cannot be read: {error}"))),
    }
}

fn environment_path(environment: &Environment, name: &str) -> Option<Placed<PathBuf>> {
    environment.get(name).map(|path| (PathBuf::from(path), Place::Env(name.to_owned())))
}

fn environment_value<T>(
    environment: &Environment,
    name: &str,
    parse: impl Fn(&str) -> Result<T, String>,
) -> Result<Option<T>, ConfigError> {
    let parsed = environment.text(name)?.map(|text| parse(&text)).transpose();
    parsed.map_err(|message| ConfigError::at(&Place::Env(name.to_owned()), message))
}

fn value<T>(placed: Option<Placed<T>>) -> Option<T> {
    placed.map(|(value, _)| value)
}

fn store(folder: &Path, path: &Path, place: &Place, name: Option<&str>) -> StoreSpec {
    let data_dir = folder.join(path);
    let name = name.map_or_else(|| store_name(&data_dir), str::to_owned);
    StoreSpec { name, data_dir, found_by: place.to_string() }
}

fn store_name(data_dir: &Path) -> String {
    data_dir.file_name().map_or_else(|| "store".to_owned(), |name| name.to_string_lossy().into_owned())
}

/// `$STATE_DIRECTORY` (systemd; the first of several), else the XDG state folder.
fn default_state_dir(environment: &Environment) -> Option<PathBuf> {
    if let Some(folders) = environment.get("STATE_DIRECTORY") {
        let bytes = folders.as_encoded_bytes();
        let first = bytes.split(|byte| *byte == b':').next().unwrap_or(bytes);
        return Some(PathBuf::from(OsStr::from_bytes(first)));
    }
    // The XDG specification: a relative path is to be ignored.
    let xdg = environment.get("XDG_STATE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let home = || environment.get("HOME").map(|home| PathBuf::from(home).join(".local/state"));
    xdg.or_else(home).map(|parent| parent.join("litmus-host"))
}
