//! What `status` prints, over all stores.

use std::io::{self, Write};
use std::time::Duration;

use serde::Serialize;

use super::style::{Style, Tone, printable};
use super::table::{Align, Cell, TableWriter};
use crate::config::format_duration;
use crate::ledger::{DuplicateStatus, GoneStatus, SinkStatus, StoreFiles, StoreStatus, UnreadableStatus};

/// The ledgers of all stores as one, with the keys that scripts rely on.
#[derive(Debug, Default, Serialize)]
pub(crate) struct MergedStatus {
    pub(crate) stores: Vec<StoreFiles>,
    pub(crate) sinks: Vec<SinkStatus>,
    pub(crate) unreadable: Vec<UnreadableStatus>,
    pub(crate) duplicates: Vec<DuplicateStatus>,
    pub(crate) gone: Vec<GoneStatus>,
}

impl MergedStatus {
    /// Adds a store. A sink that serves several stores is one line: its counts add up, its oldest run is the oldest.
    pub(crate) fn add(&mut self, store: StoreStatus) {
        for sink in store.sinks {
            let same = |other: &&mut SinkStatus| other.name == sink.name && other.destination == sink.destination;
            let Some(known) = self.sinks.iter_mut().find(same) else {
                self.sinks.push(sink);
                continue;
            };
            known.pending += sink.pending;
            known.committed += sink.committed;
            known.verified += sink.verified;
            known.retrying += sink.retrying;
            known.quarantined += sink.quarantined;
            known.skipped += sink.skipped;
            known.gone += sink.gone;
            known.discarded += sink.discarded;
            known.attachments_missing += sink.attachments_missing;
            known.oldest_pending_seconds = known.oldest_pending_seconds.max(sink.oldest_pending_seconds);
            known.unused_seconds = known.unused_seconds.min(sink.unused_seconds);
            known.is_current |= sink.is_current;
            if known.state == "up" {
                (known.state, known.why) = (sink.state, sink.why);
            }
        }
        self.stores.extend(store.stores);
        self.unreadable.extend(store.unreadable);
        self.duplicates.extend(store.duplicates);
        self.gone.extend(store.gone);
    }

    /// Adds the configured sinks that no ledger knows.
    pub(crate) fn add_configured(&mut self, names: &[&str]) {
        for name in names {
            if self.sinks.iter().all(|sink| sink.name != *name) {
                self.sinks.push(SinkStatus::never_used(name));
            }
        }
    }

    /// Whether somebody must look: a sink is blocked or down, a run was set aside or lost, a store is away, or a run has waited
    /// for longer than `age_max`, be it for a sink or for a host that looks at it.
    pub(crate) fn needs_attention(&self, age_max: Duration) -> bool {
        let too_old = |age: Option<u64>| age.is_some_and(|age| age > age_max.as_secs());
        let sink = |sink: &SinkStatus| {
            let at_fault = sink.state.starts_with("blocked") || sink.state == "down";
            at_fault || sink.quarantined + sink.gone > 0 || too_old(sink.oldest_pending_seconds)
        };
        let store = |store: &StoreFiles| store.trouble.is_some() || too_old(store.oldest_new_seconds);
        self.sinks.iter().filter(|sink| sink.is_current).any(sink) || self.stores.iter().any(store)
    }
}

/// For programs.
pub(crate) fn write_status_json(out: &mut impl Write, status: &MergedStatus) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, status)?;
    writeln!(out)
}

/// For people.
pub(crate) fn write_status_table(out: &mut impl Write, status: &MergedStatus, style: Style) -> io::Result<()> {
    let mut columns = vec![("SINK", Align::Left), ("DESTINATION", Align::Left), ("STATE", Align::Left)];
    let counts = ["PENDING", "RETRYING", "QUARANTINED", "GONE", "COMMITTED", "VERIFIED", "OLDEST PENDING"];
    columns.extend(counts.map(|name| (name, Align::Right)));
    let mut table = TableWriter::new(&mut *out, style, &columns);
    for sink in &status.sinks {
        let tone = match sink.state.as_str() {
            "up" => Tone::Good,
            _ if !sink.is_current => Tone::Faint,
            "degraded" | "half_open" => Tone::Warn,
            _ => Tone::Bad,
        };
        let mut cells =
            vec![Cell::from(&sink.name), Cell::from(&sink.destination), Cell::toned(&sink.state, Some(tone))];
        let counts = [sink.pending, sink.retrying, sink.quarantined, sink.gone, sink.committed, sink.verified];
        cells.extend(counts.map(|count| Cell::from(count.to_string())));
        let age = sink.oldest_pending_seconds.map(|seconds| format_duration(Duration::from_secs(seconds)));
        cells.push(Cell::from(age.unwrap_or_default()));
        table.row(cells)?;
    }
    table.finish()?;
    if status.sinks.is_empty() {
        writeln!(out, "no sink has been used yet")?;
    }
    for store in &status.stores {
        let host = store.host.as_ref().map_or("no host is running".to_owned(), |host| format!("host: {host}"));
        let new = match (store.new_files, store.oldest_new_seconds) {
            (0, _) | (_, None) => String::new(),
            (count, Some(age)) => {
                format!("; {count} new files wait, the oldest for {}", format_duration(Duration::from_secs(age)))
            }
        };
        writeln!(out, "{}: {host}{new}", printable(&store.data_dir))?;
        if let Some(trouble) = &store.trouble {
            writeln!(out, "{}: {}", printable(&store.data_dir), printable(trouble))?;
        }
    }
    for sink in status.sinks.iter().filter(|sink| !sink.is_current) {
        let name = printable(&sink.name);
        match sink.unused_seconds.map(|seconds| format_duration(Duration::from_secs(seconds))) {
            Some(unused) => writeln!(out, "{name} ({}): not used for {unused}", printable(&sink.destination))?,
            None => writeln!(out, "{name}: configured, and no host has used it yet")?,
        }
    }
    for sink in status.sinks.iter().filter(|sink| sink.attachments_missing > 0) {
        let runs = if sink.attachments_missing == 1 { "run" } else { "runs" };
        let name = printable(&sink.name);
        writeln!(out, "{name}: {} {runs} went without a file that they refer to", sink.attachments_missing)?;
    }
    for sink in status.sinks.iter().filter(|sink| sink.state != "up" && !sink.why.is_empty()) {
        writeln!(out, "{}: {}: {}", printable(&sink.name), sink.state, printable(&sink.why))?;
    }
    section(
        out,
        style,
        "unreadable",
        status.unreadable.iter().map(|file| {
            if file.reason.contains(&file.path) {
                file.reason.clone()
            } else {
                format!("{}: {}", file.path, file.reason)
            }
        }),
    )?;
    section(out, style, "duplicates", status.duplicates.iter().map(|file| format!("{}: {}", file.run_id, file.path)))?;
    section(
        out,
        style,
        "gone",
        status.gone.iter().map(|run| format!("{}: not delivered to {}", run.run_id, run.destination)),
    )
}

fn section(out: &mut impl Write, style: Style, name: &str, lines: impl Iterator<Item = String>) -> io::Result<()> {
    for (at, line) in lines.enumerate() {
        if at == 0 {
            writeln!(out, "\n{}", style.paint(Tone::Strong, name))?;
        }
        writeln!(out, "  {}", printable(&line))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sink(state: &str, pending: u64, oldest: Option<u64>) -> SinkStatus {
        SinkStatus {
            name: "db".into(),
            destination: "sqlite:/srv/out.db".into(),
            state: state.into(),
            why: if state == "up" { String::new() } else { "password refused".into() },
            pending,
            committed: 10,
            verified: 0,
            retrying: 0,
            quarantined: 0,
            skipped: 0,
            gone: 0,
            discarded: 0,
            attachments_missing: u64::from(state != "up"),
            oldest_pending_seconds: oldest,
            unused_seconds: Some(5),
            is_current: true,
        }
    }

    fn merged() -> MergedStatus {
        let mut status = MergedStatus::default();
        status.add(StoreStatus { sinks: vec![sink("up", 1, Some(30))], ..StoreStatus::default() });
        let unreadable = vec![UnreadableStatus { path: "runs/a.parquet".into(), reason: "torn".into() }];
        status.add(StoreStatus {
            sinks: vec![sink("blocked_auth", 2, Some(90))],
            unreadable,
            ..StoreStatus::default()
        });
        status
    }

    #[test]
    fn stores_add_up_and_the_worse_state_shows() {
        let status = merged();
        assert_eq!(status.sinks.len(), 1);
        assert_eq!((status.sinks[0].pending, status.sinks[0].committed), (3, 20));
        let mut out = Vec::new();
        write_status_table(&mut out, &status, Style::new(false)).unwrap();
        insta::assert_snapshot!(String::from_utf8(out).unwrap(), @r"
        SINK  DESTINATION         STATE         PENDING  RETRYING  QUARANTINED  GONE  COMMITTED  VERIFIED  OLDEST PENDING
        db    sqlite:/srv/out.db  blocked_auth        3         0            0     0         20         0      1 min 30 s
        db: 1 run went without a file that they refer to
        db: blocked_auth: password refused

        unreadable
          runs/a.parquet: torn
        ");
    }

    #[test]
    fn whatever_a_person_must_look_at_needs_attention_and_nothing_else() {
        let hour = Duration::from_hours(1);
        let of = |change: &dyn Fn(&mut SinkStatus)| {
            let mut one = sink("up", 1, Some(30));
            change(&mut one);
            let mut status = MergedStatus::default();
            status.add(StoreStatus { sinks: vec![one], ..StoreStatus::default() });
            status
        };
        assert!(merged().needs_attention(hour), "blocked");
        let well = of(&|_| ());
        assert!(!well.needs_attention(hour));
        assert!(!well.needs_attention(Duration::from_secs(30)));
        assert!(well.needs_attention(Duration::from_secs(29)));
        assert!(of(&|sink| sink.quarantined = 1).needs_attention(hour));
        assert!(of(&|sink| sink.gone = 1).needs_attention(hour));
        assert!(of(&|sink| sink.state = "down".into()).needs_attention(hour));
        assert!(!of(&|sink| sink.state = "half_open".into()).needs_attention(hour));
        let retired = of(&|sink| {
            sink.state = "blocked on config".into();
            sink.is_current = false;
        });
        assert!(!retired.needs_attention(hour));
    }

    #[test]
    fn files_that_no_host_looks_at_need_attention_once_they_are_old() {
        let with = |files: StoreFiles| {
            let mut status = MergedStatus::default();
            status.add(StoreStatus { stores: vec![files], ..StoreStatus::default() });
            status
        };
        let waiting = with(StoreFiles { new_files: 2, oldest_new_seconds: Some(90), ..StoreFiles::default() });
        assert!(!waiting.needs_attention(Duration::from_secs(90)));
        assert!(waiting.needs_attention(Duration::from_secs(89)));
        let away = with(StoreFiles { trouble: Some("not there".into()), ..StoreFiles::default() });
        assert!(away.needs_attention(Duration::from_hours(1)));
    }

    #[test]
    fn programs_get_the_keys_they_rely_on() {
        let mut out = Vec::new();
        write_status_json(&mut out, &merged()).unwrap();
        let value: serde_json::Value = serde_json::from_slice(&out).unwrap();
        for key in [
            "name",
            "destination",
            "state",
            "pending",
            "committed",
            "verified",
            "retrying",
            "quarantined",
            "oldest_pending_seconds",
            "attachments_missing",
        ] {
            assert!(value["sinks"][0].get(key).is_some(), "{key}");
        }
        assert_eq!(value["unreadable"][0]["path"], "runs/a.parquet");
        assert!(value["duplicates"].is_array() && value["gone"].is_array());
    }
}
