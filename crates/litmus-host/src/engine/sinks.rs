//! The sinks of a session before it begins: plugins loaded, configurations looked at.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use litmus_core::abi::host::{HostCall, Plugin};
use litmus_core::{Capabilities, OpenMode};

use super::{LOOK, host_failed};
use crate::config::Redactor;
use crate::engine_api::{Event, ForwardError, ForwardRequest, Level, Observer, SinkSpec};
use crate::within::within;

/// A sink, loaded and with its configuration checked.
pub(super) struct ReadySink {
    pub(super) spec: SinkSpec,
    pub(super) plugin: Plugin,
    pub(super) destination: String,
    pub(super) capabilities: Capabilities,
}

/// Loads a sink's plugin and lets it look at its configuration. A plugin that does not come back from that holds up those before
/// whom it would otherwise hang for ever.
pub(super) fn ready_sink(
    spec: &SinkSpec,
    request: &ForwardRequest,
    observer: &Arc<dyn Observer>,
) -> Result<ReadySink, ForwardError> {
    let (for_call, redactor, listener) = (spec.clone(), request.redactor.clone(), Arc::clone(observer));
    let dry_run = request.dry_run;
    let limit = spec.deadline + request.grace;
    // Twice: it is closed as well.
    let opened =
        within(limit * 2 + LOOK, &spec.name, move || checked_sink(for_call, dry_run, limit, &redactor, &listener));
    opened.map_err(|error| host_failed(Path::new("a thread"), &error))?.unwrap_or_else(|| {
        Err(ForwardError::Config {
            message: format!(
                "sink \"{}\" ({}): the plugin did not return in time from the look at its configuration",
                spec.name, spec.plugin_given
            ),
            hint: "leave the sink out of the configuration, or install a version of the plugin that works".into(),
        })
    })
}

fn checked_sink(
    spec: SinkSpec,
    dry_run: bool,
    limit: Duration,
    redactor: &Redactor,
    observer: &Arc<dyn Observer>,
) -> Result<ReadySink, ForwardError> {
    let redacted =
        |message: String| ForwardError::Config { message: redactor.redact(&message).into_owned(), hint: String::new() };
    let (listener, for_log) = (Arc::clone(observer), redactor.clone());
    let log = move |level: u32, target: &str, message: &str| {
        listener.event(&Event::Log {
            level: Level::from_number(level),
            target: target.to_owned(),
            message: for_log.redact(message).into_owned(),
        });
    };
    let plugin = Plugin::load(&spec.plugin_path, Arc::new(log)).map_err(|error| redacted(error.to_string()))?;
    let call = HostCall { attempt: 1, deadline: None, is_cancelled: &|| false, dry_run };
    let instance = plugin
        .open(spec.config.expose(), OpenMode::Offline, &call)
        .map_err(|error| redacted(spec.complaint(&error)))?;
    let destination = shown_destination(redactor, instance.destination_id());
    let capabilities = plugin.description().capabilities;
    // What goes wrong here is no reason not to start.
    let closed = within(limit, &spec.name, move || {
        let call = HostCall { attempt: 1, deadline: None, is_cancelled: &|| false, dry_run };
        instance.close(&call).map_err(|error| error.to_string())
    });
    let closed = closed
        .map_err(|error| error.to_string())
        .map(|closed| closed.unwrap_or_else(|| Err("it did not return in time".to_owned())));
    if let Err(error) = closed.and_then(|closed| closed) {
        let message = redactor.redact(&format!("closing after the check: {error}")).into_owned();
        observer.event(&Event::Log { level: Level::Warn, target: spec.name.clone(), message });
    }
    Ok(ReadySink { spec, plugin, destination, capabilities })
}

/// A destination id has no secret in it; what else the redactor knows may be in it all the same (a path out of the environment).
/// Two such ids stay two.
fn shown_destination(redactor: &Redactor, id: &str) -> String {
    let shown = redactor.redact(id);
    if shown == id { shown.into_owned() } else { format!("{shown}#{}", &blake3::hash(id.as_bytes()).to_hex()[..8]) }
}
