//! `status`: where each sink stands, read beside a running host.

use super::args::StatusArgs;
use super::failure::{Failure, INCOMPLETE, split_hint};
use super::printed;
use super::session::Session;
use crate::ledger::{read_status, store_folder};
use crate::output::{MergedStatus, write_status_json, write_status_table};

pub(super) fn run(session: &Session, args: &StatusArgs) -> Result<u8, Failure> {
    let state_dir = session.config.state_dir()?;
    let now_ms = jiff::Timestamp::now().as_millisecond();
    let configured = session.config.sink_names();
    let mut status = MergedStatus::default();
    for store in session.config.stores()? {
        // The ledger goes by the canonical path; a store that is away has at least its last known one.
        let data_dir = store.data_dir.canonicalize().unwrap_or(store.data_dir);
        let folder = store_folder(&state_dir, &data_dir);
        status.add(read_status(&folder, &data_dir, &configured, now_ms)?);
    }
    if let [only] = &status.stores[..]
        && let Some(trouble) = only.trouble.as_ref().filter(|_| status.sinks.is_empty())
    {
        // Neither a store nor a ledger: most likely a mistyped path.
        let (message, hint) = split_hint(trouble);
        return Err(Failure { hint, ..Failure::wrong(message) });
    }
    status.add_configured(&configured);
    let mut out = Session::out();
    let written = if session.is_json() {
        write_status_json(&mut out, &status)
    } else {
        write_status_table(&mut out, &status, session.style)
    };
    printed(written.and_then(|()| std::io::Write::flush(&mut out)))?;
    Ok(if status.needs_attention(args.max_age) { INCOMPLETE } else { 0 })
}
