//! What every command starts from: the configuration, and how to print.

use std::io::{BufWriter, IsTerminal, StdoutLock};

use super::args::{Cli, ColorWhen, Format, LogFormat};
use super::failure::Failure;
use crate::config::{Config, ConfigError, Environment, Place};
use crate::engine_api::Level;
use crate::output::{Console, ConsoleSettings, Style};

/// One invocation.
pub(super) struct Session {
    /// Flags, environment and file, merged.
    pub(super) config: Config,
    /// What to print data as.
    pub(super) format: Format,
    /// How to print data.
    pub(super) style: Style,
    /// How to print the log.
    pub(super) console: ConsoleSettings,
    plugins_given: bool,
}

impl Session {
    /// Reads the configuration.
    pub(super) fn open(cli: &Cli) -> Result<Self, Failure> {
        let environment = Environment::of_process();
        let log_format = match (cli.global.log_format, environment.text("LITMUS_HOST_LOG_FORMAT")?) {
            (Some(format), _) => format,
            (None, None) => LogFormat::default(),
            (None, Some(text)) => <LogFormat as clap::ValueEnum>::from_str(&text, false).map_err(|_| {
                let place = Place::Env("LITMUS_HOST_LOG_FORMAT".to_owned());
                ConfigError::at(&place, format!("\"{text}\" is not a log format")).with_hint("text and json are")
            })?,
        };
        let colour = |terminal: bool| match cli.global.color {
            ColorWhen::Always => true,
            ColorWhen::Never => false,
            ColorWhen::Auto => {
                let dumb = environment.get("TERM").is_some_and(|term| term == "dumb");
                terminal && !dumb && environment.get("NO_COLOR").is_none()
            }
        };
        let level = match (cli.global.quiet, cli.global.verbose) {
            (true, _) => Level::Error,
            (false, 0) => Level::Info,
            (false, _) => Level::Debug,
        };
        let terminal = std::io::stderr().is_terminal();
        let console = ConsoleSettings {
            level,
            json: log_format == LogFormat::Json,
            style: Style::new(colour(terminal)),
            terminal,
        };
        let style = Style::new(colour(std::io::stdout().is_terminal()));
        let folder =
            std::env::current_dir().map_err(|error| Failure::host(format!("the working folder is gone: {error}")))?;
        let config = Config::load(&cli.flags(), environment, &folder)?;
        let plugins_given = !cli.flags().plugins.is_empty();
        Ok(Self { config, format: cli.global.format, style, console, plugins_given })
    }

    /// Standard output, for data.
    pub(super) fn out() -> BufWriter<StdoutLock<'static>> {
        BufWriter::with_capacity(64 * 1024, std::io::stdout().lock())
    }

    /// Whether data goes to a program.
    pub(super) fn is_json(&self) -> bool {
        self.format == Format::Json
    }

    /// Whether `--plugin` was given.
    pub(super) fn plugins_given(&self) -> bool {
        self.plugins_given
    }

    /// Tells where the configuration came from, where that matters.
    pub(super) fn tell_notes(&self, console: &Console) {
        for note in &self.config.notes {
            console.log(Level::Info, "litmus-host", note, &[]);
        }
    }
}
