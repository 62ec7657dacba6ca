//! The bridge for programs that log with the crate `log`.

use std::fmt;

use log::{Log, Metadata, Record};

use super::{Bridge, Level};

/// A logger that feeds a [`Bridge`], and then hands every record to the logger it wraps.
///
/// `BridgeLogger::new(Bridge::new()).before(Box::new(my_logger)).install(log::LevelFilter::Info)?;`
pub struct BridgeLogger {
    bridge: Bridge,
    next: Option<Box<dyn Log>>,
}

impl BridgeLogger {
    /// Feeds this bridge.
    pub fn new(bridge: Bridge) -> Self {
        Self { bridge, next: None }
    }

    /// Hands every record on to `next`.
    #[must_use]
    pub fn before(mut self, next: Box<dyn Log>) -> Self {
        self.next = Some(next);
        self
    }

    /// Makes it the logger of the process; records up to `level` reach it. Fails where there is one already.
    pub fn install(self, level: log::LevelFilter) -> Result<(), log::SetLoggerError> {
        log::set_boxed_logger(Box::new(self))?;
        log::set_max_level(level);
        Ok(())
    }
}

fn level(level: log::Level) -> Level {
    match level {
        log::Level::Error => Level::Error,
        log::Level::Warn => Level::Warn,
        log::Level::Info => Level::Info,
        log::Level::Debug => Level::Debug,
        log::Level::Trace => Level::Trace,
    }
}

impl Log for BridgeLogger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.bridge.wants(level(metadata.level())) || self.next.as_ref().is_some_and(|next| next.enabled(metadata))
    }

    fn log(&self, record: &Record<'_>) {
        self.bridge.emit(level(record.level()), record.target(), || record.args().to_string());
        if let Some(next) = &self.next
            && next.enabled(record.metadata())
        {
            next.log(record);
        }
    }

    fn flush(&self) {
        if let Some(next) = &self.next {
            next.flush();
        }
    }
}

impl fmt::Debug for BridgeLogger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BridgeLogger").field("bridge", &self.bridge).finish_non_exhaustive()
    }
}
