//! `retry` and `discard`: done at once where no host is at work, else left to the host.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::PathBuf;

use litmus_core::RunId;
use serde_json::{Map, Value};

use super::args::{DiscardArgs, RetryArgs};
use super::failure::{Failure, split_hint};
use super::printed;
use super::session::Session;
use super::show::id_prefix;
use crate::config::nearest;
use crate::ledger::{Asked, Ledger, Lock, NotTaken, Request, Wish, store_folder};
use crate::output::printable;

/// Runs named in an error.
const LISTED_MAX: usize = 10;

pub(super) fn retry(session: &Session, args: &RetryArgs) -> Result<u8, Failure> {
    let request = Request { wish: Wish::Retry, who: user(), reason: String::new() };
    run(session, &request, args.run.as_deref(), args.sink.as_deref())
}

pub(super) fn discard(session: &Session, args: &DiscardArgs) -> Result<u8, Failure> {
    let request = Request { wish: Wish::Discard, who: user(), reason: args.reason.clone() };
    run(session, &request, Some(&args.run), args.sink.as_deref())
}

/// A store that a host has looked at.
struct Known {
    data_dir: PathBuf,
    folder: PathBuf,
    ledger: Ledger,
}

/// Without a run: all that are quarantined.
fn run(session: &Session, request: &Request, run: Option<&str>, sink: Option<&str>) -> Result<u8, Failure> {
    let stores = known_stores(session)?;
    if let Some(sink) = sink {
        check_sink(&stores, sink)?;
    }
    let run = run.map(|given| find(&stores, given)).transpose()?;
    let mut wanted: Vec<(Known, Vec<Asked>)> = Vec::new();
    let mut others = Vec::new();
    for store in stores {
        let (fit, other): (Vec<_>, Vec<_>) =
            store.ledger.asked(run, sink)?.into_iter().partition(|one| request.wish.is_for(&one.state));
        others.extend(other);
        if !fit.is_empty() {
            wanted.push((store, fit));
        }
    }
    if wanted.is_empty() {
        return Err(nothing(request.wish, run, &others));
    }
    let mut ends = Vec::new();
    for (store, deliveries) in wanted {
        ends.push(carry_out(store, request, deliveries)?);
    }
    let mut out = Session::out();
    let written = if session.is_json() {
        write_json(&mut out, request.wish, &ends)
    } else {
        write_text(&mut out, request.wish, &ends)
    };
    printed(written.and_then(|()| out.flush()))?;
    Ok(0)
}

/// How it ended in one store.
struct End {
    deliveries: Vec<Asked>,
    /// The host that it is left to; `None`: done.
    left_to: Option<String>,
    /// Deliveries moved.
    done: usize,
}

fn carry_out(store: Known, request: &Request, deliveries: Vec<Asked>) -> Result<End, Failure> {
    let Known { data_dir, folder, ledger } = store;
    drop(ledger);
    let (lock, left_to) = match (Lock::take(&folder), Lock::holder(&folder)) {
        (Ok(lock), _) => (Some(lock), None),
        (Err(_), Some(holder)) => (None, Some(holder)),
        (Err(NotTaken::Held(why) | NotTaken::Unusable(why)), None) => {
            let (message, hint) = split_hint(&why);
            return Err(Failure { hint, ..Failure::host(message) });
        }
    };
    let ledger = Ledger::open(&folder, &data_dir)?;
    let now_ms = jiff::Timestamp::now().as_millisecond();
    let done = if lock.is_some() {
        ledger.grant(request, &deliveries, now_ms)?
    } else {
        ledger.request(request, &deliveries, now_ms)?;
        0
    };
    Ok(End { deliveries, left_to, done })
}

fn known_stores(session: &Session) -> Result<Vec<Known>, Failure> {
    let state_dir = session.config.state_dir()?;
    let mut known = Vec::new();
    let mut data_dirs = Vec::new();
    for store in session.config.stores()? {
        // The ledger goes by the canonical path; a store that is away has at least its last known one.
        let data_dir = store.data_dir.canonicalize().unwrap_or(store.data_dir);
        let folder = store_folder(&state_dir, &data_dir);
        data_dirs.push(data_dir.display().to_string());
        if let Some(ledger) = Ledger::open_to_read(&folder)? {
            known.push(Known { data_dir, folder, ledger });
        }
    }
    if known.is_empty() {
        return Err(Failure::wrong(format!("{}: no host has delivered from here yet", data_dirs.join(", ")))
            .with_hint("--data-dir names another data dir, --state-dir another ledger"));
    }
    Ok(known)
}

fn check_sink(stores: &[Known], given: &str) -> Result<(), Failure> {
    let mut names = BTreeSet::new();
    for store in stores {
        names.extend(store.ledger.sink_names()?);
    }
    if names.contains(given) {
        return Ok(());
    }
    let hint = match nearest(given, names.iter().map(String::as_str)) {
        Some(name) => format!("did you mean \"{name}\"?"),
        None => format!("the sinks here are {}", names.into_iter().collect::<Vec<_>>().join(", ")),
    };
    Err(Failure::wrong(format!("no sink called \"{given}\" was ever used")).with_hint(hint))
}

/// The run whose id starts so.
fn find(stores: &[Known], given: &str) -> Result<RunId, Failure> {
    let prefix = id_prefix(given)?;
    let mut found = BTreeSet::new();
    for store in stores {
        found.extend(store.ledger.runs_starting_with(&prefix, LISTED_MAX + 1)?);
    }
    let mut ids = found.iter();
    match (ids.next(), ids.next()) {
        (Some(run), None) => Ok(*run),
        (None, _) => Err(Failure::wrong(format!("no run's id starts with \"{given}\""))
            .with_hint("litmus-host runs lists the runs; one that no forward has seen yet is in no ledger")),
        (Some(_), Some(_)) => {
            let list: Vec<_> = found.iter().take(LISTED_MAX).map(|run| format!("\n  {run}")).collect();
            let more = if found.len() > LISTED_MAX { "\n  and more" } else { "" };
            Err(Failure::wrong(format!("several runs' ids start with \"{given}\":{}{more}", list.concat()))
                .with_hint("give more of the id"))
        }
    }
}

/// Why there is nothing to do; `others`: the run's deliveries, each in a state that this is not for.
fn nothing(wish: Wish, run: Option<RunId>, others: &[Asked]) -> Failure {
    let verb = wish.name();
    let Some(run) = run else {
        return Failure::wrong(format!("there is nothing to {verb}: no run is quarantined"));
    };
    let states: Vec<_> = others.iter().map(|one| format!("{} at {}", one.state, printable(&one.sink))).collect();
    let states = if states.is_empty() { "known to no sink".to_owned() } else { states.join(", ") };
    let hint = match wish {
        Wish::Retry => "retry takes runs that are quarantined; what is pending is sent anyway",
        Wish::Discard => "discard takes runs that did not arrive",
    };
    Failure::wrong(format!("there is nothing to {verb}: run {run} is {states}")).with_hint(hint)
}

const fn past(wish: Wish) -> &'static str {
    match wish {
        Wish::Retry => "retried",
        Wish::Discard => "discarded",
    }
}

/// Counts deliveries: one for each run at each sink.
fn write_json(out: &mut impl Write, wish: Wish, ends: &[End]) -> io::Result<()> {
    let mut counts: Map<String, Value> = Map::new();
    for (key, is_left) in [(past(wish), false), ("requested", true)] {
        let of_kind: Vec<_> = ends.iter().filter(|end| end.left_to.is_some() == is_left).collect();
        if !of_kind.is_empty() {
            let count: usize = of_kind.iter().map(|end| if is_left { end.deliveries.len() } else { end.done }).sum();
            counts.insert(key.to_owned(), count.into());
        }
    }
    writeln!(out, "{}", Value::Object(counts))
}

fn write_text(out: &mut impl Write, wish: Wish, ends: &[End]) -> io::Result<()> {
    for end in ends {
        for delivery in &end.deliveries {
            let word = if end.left_to.is_some() { "requested" } else { past(wish) };
            writeln!(out, "{} at {}: {word} (was {})", delivery.run_id, printable(&delivery.sink), delivery.state)?;
        }
        match (&end.left_to, wish) {
            (Some(host), _) => {
                let host = if host.is_empty() { String::new() } else { format!(" ({})", printable(host)) };
                writeln!(out, "the host at work{host} takes it up; if it ends first, the next one does")?;
            }
            (None, Wish::Retry) => writeln!(out, "the next forward sends it")?,
            (None, Wish::Discard) => {}
        }
    }
    Ok(())
}

/// Who asks, for the history: the user's name, or what is known of it.
fn user() -> String {
    let uid = rustix::process::getuid().as_raw();
    let of_file = std::fs::read_to_string("/etc/passwd").ok().and_then(|users| {
        users.lines().find_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next()?;
            (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
        })
    });
    // A user of a directory service is not in that file.
    let named = || std::env::var("USER").ok().filter(|name| !name.is_empty());
    of_file.or_else(named).unwrap_or_else(|| format!("user {uid}"))
}
