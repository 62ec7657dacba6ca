//! `forward`: assembles the request, starts the engine, prints how it ended.

use std::io::Write;
use std::sync::Arc;

use litmus_core::reader::Store;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::args::ForwardArgs;
use super::failure::{Failure, INCOMPLETE};
use super::printed;
use super::session::Session;
use crate::config::format_duration;
use crate::engine_api::{ForwardOutcome, ForwardRequest, Level, Stop};
use crate::output::{Console, write_outcome_json, write_outcome_table};

/// What a shell expects of a program ended by an interrupt: 128 + 2.
const INTERRUPTED: i32 = 130;

pub(super) fn run(session: &Session, args: &ForwardArgs) -> Result<u8, Failure> {
    let config = &session.config;
    let (sinks, redactor) = config.sinks()?;
    let request = ForwardRequest {
        stores: config.stores()?,
        sinks,
        state_dir: config.state_dir()?,
        watch: args.watch,
        dry_run: args.dry_run,
        run: args.run.clone(),
        since: args.since,
        give_up_after: config.give_up_after,
        decode_cache_bytes_max: config.decode_cache_bytes_max,
        in_flight_bytes_max: config.in_flight_bytes_max,
        grace: config.grace,
        redactor: redactor.clone(),
    };
    let console = Arc::new(Console::with_bars(session.console, redactor));
    session.tell_notes(&console);
    for store in &request.stores {
        let message = format!("forwarding from {} (found by {})", store.data_dir.display(), store.found_by);
        console.log(Level::Info, &store.name, &message, &[]);
        // A store that is not there at all is the engine's to tell.
        if let Some(trouble) = Store::open(&store.data_dir).ok().and_then(|store| store.missing_runs()) {
            console.log(Level::Warn, &store.name, &trouble.to_string(), &[]);
        }
    }
    let stop = Arc::new(Stop::default());
    listen(&stop, &console, &request)?;

    let ended = crate::engine::forward(&request, &console, &stop);
    console.finish();
    let outcome = masked(ended.map_err(Failure::from).map_err(|failure| masked_failure(failure, &console))?, &console);

    let mut out = Session::out();
    let written = if session.is_json() {
        write_outcome_json(&mut out, &outcome)
    } else {
        write_outcome_table(&mut out, &outcome, session.style)
    };
    printed(written.and_then(|()| out.flush()))?;
    // What a dry run leaves pending is no trouble; a destination that cannot be asked is.
    let is_well =
        if args.dry_run { outcome.sinks.iter().all(|sink| sink.state == "up") } else { outcome.is_complete() };
    Ok(if is_well { 0 } else { INCOMPLETE })
}

/// The first signal ends admission, the second cancels what is in flight, the third ends the process where it stands:
/// nothing is lost by that, only the grace.
fn listen(stop: &Arc<Stop>, console: &Arc<Console>, request: &ForwardRequest) -> Result<(), Failure> {
    let no_signals = |error: std::io::Error| Failure::host(format!("signals cannot be received: {error}"));
    let mut signals = Signals::new([SIGINT, SIGTERM]).map_err(no_signals)?;
    let (stop, console, grace) = (Arc::clone(stop), Arc::clone(console), request.grace);
    let wait = move || {
        for _ in signals.forever() {
            match stop.request() {
                1 => {
                    let grace = format_duration(grace);
                    let message = format!("stopping: what is in flight has {grace} to end (once more to cancel it)");
                    console.log(Level::Warn, "litmus-host", &message, &[]);
                }
                2 => console.log(Level::Warn, "litmus-host", "cancelling (once more to end at once)", &[]),
                _ => std::process::exit(INTERRUPTED),
            }
        }
    };
    std::thread::Builder::new().name("signals".to_owned()).spawn(wait).map_err(no_signals)?;
    Ok(())
}

fn masked(mut outcome: ForwardOutcome, console: &Console) -> ForwardOutcome {
    for sink in &mut outcome.sinks {
        sink.destination = console.redact(&sink.destination);
        sink.problems.iter_mut().for_each(|problem| *problem = console.redact(problem));
        sink.planned.iter_mut().for_each(|statement| *statement = console.redact(statement));
    }
    outcome
}

fn masked_failure(failure: Failure, console: &Console) -> Failure {
    Failure {
        message: console.redact(&failure.message),
        hint: failure.hint.map(|hint| console.redact(&hint)),
        ..failure
    }
}
