//! The bridge for programs that log with the crate `tracing`.

use std::fmt;

use tracing_core::field::{Field, Visit};
use tracing_core::span::{Attributes, Id};
use tracing_core::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use super::{Bridge, Level};
use crate::active::{self, Active};

/// A layer that feeds a [`Bridge`]: `registry().with(BridgeLayer::new(Bridge::new())).init()`.
///
/// A span belongs to the step that was active where it was made. While it is entered, on whatever thread, that step is the
/// active one, so that an instrumented task fails the step it was started for; a step opened inside it comes first.
#[derive(Debug, Default)]
pub struct BridgeLayer {
    bridge: Bridge,
}

impl BridgeLayer {
    /// Feeds this bridge.
    pub fn new(bridge: Bridge) -> Self {
        Self { bridge }
    }
}

fn level(level: tracing_core::Level) -> Level {
    match level {
        tracing_core::Level::ERROR => Level::Error,
        tracing_core::Level::WARN => Level::Warn,
        tracing_core::Level::INFO => Level::Info,
        tracing_core::Level::DEBUG => Level::Debug,
        _ => Level::Trace,
    }
}

impl<S: Subscriber + for<'span> LookupSpan<'span>> Layer<S> for BridgeLayer {
    fn on_new_span(&self, _: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if let (Some(active), Some(span)) = (active::active(), context.span(id)) {
            span.extensions_mut().replace(active);
        }
    }

    fn on_enter(&self, id: &Id, context: Context<'_, S>) {
        let active = context.span(id).and_then(|span| span.extensions().get::<Active>().cloned());
        if let Some(active) = active {
            active::enter_span(id.into_u64(), active);
        }
    }

    fn on_exit(&self, id: &Id, _: Context<'_, S>) {
        active::exit_span(id.into_u64());
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let metadata = event.metadata();
        let level = level(*metadata.level());
        if !self.bridge.wants(level) {
            return;
        }
        let message = || {
            let mut text = Text::default();
            event.record(&mut text);
            text.0
        };
        // An event with a span named as its parent belongs to that span's step, wherever it was sent from.
        let named = event.parent().and_then(|id| context.span(id));
        let named = named.and_then(|span| span.extensions().get::<Active>().cloned());
        match named {
            Some(active) => self.bridge.emit_to_active(active, level, metadata.target(), message),
            None => self.bridge.emit(level, metadata.target(), message),
        };
    }
}

/// The message, then the other fields as `name=value`.
#[derive(Default)]
struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        use fmt::Write;
        let gap = if self.0.is_empty() { "" } else { " " };
        // Writing into a String does not fail; a value whose formatting fails is left half written.
        let _ = match field.name() {
            "message" => {
                let rest = std::mem::take(&mut self.0);
                let gap = if rest.is_empty() { "" } else { " " };
                write!(self.0, "{value:?}{gap}{rest}")
            }
            name => write!(self.0, "{gap}{name}={value:?}"),
        };
    }
}
