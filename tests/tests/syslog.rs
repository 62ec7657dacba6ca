//! The syslog sink against real receivers: rsyslog and syslog-ng take every message apart, and their JSON is the oracle.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use arrow::array::AsArray;
use arrow::datatypes::TimestampMicrosecondType;
use jiff::Timestamp;
use litmus_core::Table;
use litmus_core::reader::RunFile;
use litmus_tests::artifacts::host;
use litmus_tests::corpus::{self, Source};
use litmus_tests::database::{self, Measurement};
use litmus_tests::generate::{Plan, write};
use litmus_tests::project::{Project, Running, wait_until};
use litmus_tests::servers::certificates::Authority;
use litmus_tests::servers::syslog::{GOOD_YEARS, Message};
use litmus_tests::servers::{Rsyslog, Rsyslogs, SyslogNg};

/// A configuration with these stores, and a sink by name for each of these settings.
fn configure(project: &Project, sources: &[Source], sinks: &[(&str, String)]) {
    let store = |source: &Source| {
        let path = fs::canonicalize(&source.data_dir).expect("a data dir");
        format!("[[store]]\nname = '{}'\npath = '{}'\n", source.name.replace('/', "-"), path.display())
    };
    let sink = |(name, settings): &(&str, String)| {
        format!("[[sink]]\nname = '{name}'\nplugin = 'syslog.so'\nstart = 'all'\nconfig = {{ {settings} }}\n")
    };
    let toml = sources.iter().map(store).chain(sinks.iter().map(sink)).collect::<Vec<_>>().join("\n");
    fs::write(project.path("litmus-host.toml"), toml).expect("a configuration");
}

/// What a receiver shows of a text: the documented rule for what a line cannot hold.
fn seen(text: &str) -> String {
    let seen = |character: char| match character as u32 {
        control @ 0..=31 => char::from_u32(0x2400 + control).expect("a picture"),
        0x7f => '␡',
        0x80..=0x9f | 0x2028 | 0x2029 | 0xfeff => '\u{fffd}',
        _ => character,
    };
    text.chars().map(seen).collect()
}

/// What a message says of a measurement.
fn measurement(message: &Message) -> Measurement {
    let text = |name: &str| message.params.get(name).cloned();
    let number = |name: &str| text(name).map(|text| Measurement::bits(text.parse().expect("a number")));
    Measurement {
        step_path: text("step_path"),
        name: text("measurement_name"),
        value: number("measurement_value"),
        units: text("measurement_units"),
        outcome: text("measurement_outcome"),
        limit_low: number("limit_low"),
        limit_high: number("limit_high"),
        limit_nominal: number("limit_nominal"),
        limit_comparator: text("limit_comparator"),
    }
}

fn as_seen(measurement: &Measurement) -> Measurement {
    let text = |text: &Option<String>| text.as_deref().map(seen);
    Measurement {
        step_path: text(&measurement.step_path),
        name: text(&measurement.name),
        units: text(&measurement.units),
        outcome: text(&measurement.outcome),
        limit_comparator: text(&measurement.limit_comparator),
        ..measurement.clone()
    }
}

/// Compares what arrived with what the platform itself reads of the corpus.
fn compare(way: &str, messages: &[&Message], sources: &[Source]) {
    let ids: BTreeSet<_> = messages.iter().map(|message| message.param("msg_id")).collect();
    assert_eq!(ids.len(), messages.len(), "{way}: each msg_id once");
    let mut by_run: BTreeMap<&str, Vec<&Message>> = BTreeMap::new();
    for message in messages {
        by_run.entry(message.param("run_id")).or_default().push(message);
    }
    let runs: usize = sources.iter().map(|source| source.files.len()).sum();
    assert_eq!(by_run.len(), runs, "{way}: every run, and no other");
    for source in sources {
        for (path, file) in &source.files {
            let named = format!("{way}: {} {path}", source.name);
            let of_run = by_run.remove(file.run_id.as_str()).unwrap_or_else(|| panic!("{named}: it did not arrive"));
            let count = |msgid: &str| of_run.iter().filter(|message| message.msgid == msgid).count();
            let run = of_run.iter().find(|message| message.msgid == "run").unwrap_or_else(|| panic!("{named}: no run"));
            assert_eq!(count("run"), 1, "{named}");
            assert_eq!(run.param("messages"), of_run.len().to_string(), "{named}");
            assert_eq!(run.param("steps"), count("step").to_string(), "{named}");
            assert_eq!(run.param("measurements"), count("measurement").to_string(), "{named}");
            for message in &of_run {
                assert_eq!(message.params.get("dut_serial"), file.serial.as_deref().map(seen).as_ref(), "{named}");
                assert_eq!(message.procid, file.run_id[..8], "{named}");
                assert_eq!(message.params.get("truncated"), None, "{named}");
                assert!(message.timestamp.ends_with('Z') && message.timestamp.len() == 27, "{named}: {message:?}");
                assert_eq!(message.pri, 16 * 8 + severity(message), "{named}: {message:?}");
            }
            at_the_time_of_the_event(
                &named,
                &of_run,
                run,
                &RunFile::open(&source.data_dir, Path::new(path)).expect("a run"),
            );
            if corpus::is_exempt(source) {
                continue;
            }
            assert_eq!(Some(run.param("outcome")), file.outcome.as_deref(), "{named}");
            assert_eq!(count("measurement"), file.count, "{named}");
            if let Some(all) = &file.measurements {
                let mut expected: Vec<_> = all.iter().map(as_seen).collect();
                let of_measurements = of_run.iter().filter(|message| message.msgid == "measurement");
                let mut found: Vec<_> = of_measurements.map(|message| measurement(message)).collect();
                expected.sort();
                found.sort();
                let differ = found.iter().zip(&expected).find(|(found, expected)| found != expected);
                assert_eq!(differ, None, "{named}: found, then what the platform reads");
            }
        }
    }
}

/// TIMESTAMP is when it happened, and HOSTNAME where.
fn at_the_time_of_the_event(named: &str, of_run: &[&Message], run: &Message, file: &RunFile) {
    let written = |time: Timestamp| time.strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string();
    let summary = file.summary();
    if let Some(ended) = summary.run_ended_at {
        assert_eq!(run.timestamp, written(ended), "{named}");
    }
    let hostname = summary.columns.get("station_hostname").and_then(serde_json::Value::as_str);
    if let Some(hostname) = hostname.or(summary.station_id.as_deref()).filter(|name| is_plain_hostname(name)) {
        assert_eq!(run.host, hostname, "{named}");
    }
    let mut taken = Vec::new();
    for batch in file.open_table(Table::Measurements).expect("a table") {
        let batch = batch.expect("a batch");
        let times = batch.column_by_name("measurement_timestamp").expect("a core column");
        let times = times.as_primitive::<TimestampMicrosecondType>().iter().flatten();
        taken.extend(times.map(|time| written(Timestamp::from_microsecond(time).expect("a time"))));
    }
    taken.sort();
    let of_measurements = of_run.iter().filter(|message| message.msgid == "measurement");
    let mut found: Vec<_> = of_measurements.map(|message| message.timestamp.clone()).collect();
    found.sort();
    // The receiver puts its own time where a measurement has none.
    if taken.len() == found.len() {
        assert_eq!(found, taken, "{named}");
    }
}

fn is_plain_hostname(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte))
}

fn severity(message: &Message) -> u8 {
    let outcome = ["outcome", "step_outcome", "measurement_outcome"].iter().find_map(|name| message.params.get(*name));
    match outcome.map(String::as_str) {
        Some("passed") => 6,
        Some("aborted" | "terminated") => 4,
        Some("failed") => 3,
        Some("errored") => 2,
        _ => 5,
    }
}

/// Every message, with the comparator besides what is always sent.
const ALL: &str = "detail = 'measurements', columns = ['limit_comparator']";
/// Over UDP nothing says that a receiver cannot keep up, and this machine is busy; loopback takes long datagrams.
const SLOWLY: &str = "messages_per_second_max = 3000, max_message_bytes = 8192";

#[test]
fn the_corpus_arrives_at_rsyslog_over_udp_tcp_and_tls() {
    let (project, sources, server) = (Project::new(), corpus::sources(), Rsyslog::start());
    let (at, ca_file) = (server.at(), server.at().authority.ca_file());
    let sinks = [
        ("udp", format!("address = '{}', app_name = 'udp', {ALL}, {SLOWLY}", at.udp())),
        ("tcp", format!("address = '{}', app_name = 'tcp', {ALL}", at.tcp())),
        ("lines", format!("address = '{}', app_name = 'lines', framing = 'newline', {ALL}", at.tcp())),
        ("tls", format!("address = '{}', app_name = 'tls', ca_file = '{}', {ALL}", at.tls(), ca_file.display())),
    ];
    arrives(&project, &sources, &sinks, |at_least| server.received(at_least));
}

#[test]
fn the_corpus_arrives_at_syslog_ng_over_udp_tcp_tls_and_unix_sockets() {
    let (project, sources, server) = (Project::new(), corpus::sources(), SyslogNg::start());
    let (at, ca_file) = (server.at(), server.at().authority.ca_file());
    let sinks = [
        ("udp", format!("address = '{}', app_name = 'udp', {ALL}, {SLOWLY}", at.udp())),
        ("tcp", format!("address = '{}', app_name = 'tcp', {ALL}", at.tcp())),
        ("tls", format!("address = '{}', app_name = 'tls', ca_file = '{}', {ALL}", at.tls(), ca_file.display())),
        ("stream", format!("address = '{}', app_name = 'stream', {ALL}", server.unix_stream())),
        ("datagram", format!("address = '{}', app_name = 'datagram', {ALL}", server.unix_datagram())),
    ];
    arrives(&project, &sources, &sinks, |at_least| server.received(at_least));
}

fn arrives(project: &Project, sources: &[Source], sinks: &[(&str, String)], received: impl Fn(usize) -> Vec<Message>) {
    configure(project, sources, sinks);
    let ended = project.run(["--config", "litmus-host.toml", "--format", "json"]);
    ended.exits(0);
    let each: usize = sources.iter().flat_map(|source| source.files.values()).map(|file| file.count + 1).sum();
    let messages = received(each * sinks.len());
    for (way, _) in sinks {
        let of_way: Vec<_> = messages.iter().filter(|message| message.app == *way).collect();
        compare(way, &of_way, sources);
        let expected = if ["udp", "datagram"].contains(way) { "sent" } else { "acknowledged" };
        assert_eq!(grades(project, way), BTreeSet::from([expected.to_owned()]), "{way}");
    }
    assert!(messages.iter().all(|message| sinks.iter().any(|(way, _)| message.app == *way)));
    // Nothing is sent twice to a ledger that knows.
    project.run(["--config", "litmus-host.toml"]).exits(0);
    assert_eq!(received(messages.len()).len(), messages.len());
}

/// The grades of all receipts of a sink, as the ledgers keep them.
fn grades(project: &Project, sink: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for ledger in fs::read_dir(project.state_dir()).expect("a state dir") {
        let connection = database::open(&ledger.expect("an entry").path().join("ledger.db"));
        let sql = "SELECT receipt ->> '$.grade' FROM deliveries JOIN destinations ON deliveries.destination = id WHERE name = ?1";
        let mut statement = connection.prepare(sql).expect("a ledger");
        let rows = statement.query_map([sink], |row| row.get::<_, Option<String>>(0)).expect("a query");
        found.extend(rows.map(|grade| grade.expect("a text").unwrap_or_else(|| "none".into())));
    }
    found
}

#[test]
fn failures_and_runs_are_the_default_detail() {
    let (project, server) = (Project::new(), Rsyslog::start());
    let runs: Vec<_> = (0..6).map(|number| write(&project.data_dir(), &Plan::new(number, 400))).collect();
    project.run(["--plugin", "syslog.so", "--set", &format!("address={}", server.at().tcp())]).exits(0);
    let failed = |run: &litmus_tests::generate::Generated| {
        run.measurements.iter().filter(|measurement| measurement.outcome.as_deref() == Some("failed")).count()
    };
    let messages = server.received(runs.len());
    let measurements = messages.iter().filter(|message| message.msgid == "measurement");
    assert_eq!(measurements.count(), runs.iter().map(failed).sum::<usize>());
    assert!(runs.iter().any(|run| failed(run) > 0), "a test of failures needs some");
    for run in &runs {
        let of_run = messages.iter().find(|message| message.msgid == "run" && message.param("run_id") == run.run_id);
        let of_run = of_run.unwrap_or_else(|| panic!("{} did not arrive", run.run_id));
        assert_eq!(of_run.host, "bench-01");
        assert!(of_run.msg.starts_with(&format!("{} {}: ", run.serial, run.outcome)), "{}", of_run.msg);
    }
}

#[test]
fn a_receiver_that_stops_reading_holds_nobody_up_and_gets_everything_later() {
    /// Without a limit the 100 MB of messages would stand in memory, besides what the host has there.
    const RESIDENT_KB_MAX: u64 = 180 << 10;
    assert!(host().is_file());
    let (project, server) = (Project::new(), Rsyslog::start());
    let runs: Vec<_> = (0..30).map(|number| write(&project.data_dir(), &Plan::new(number, 6000))).collect();
    let config = |deadline: &str, stall_timeout_ms: u64| {
        format!(
            "decode_cache_bytes_max = '8MiB'\n[[sink]]\nname = 'log'\nplugin = 'syslog.so'\n{deadline}config = {{ address = '{}', detail = 'measurements', stall_timeout_ms = {stall_timeout_ms} }}\n\n\
             [[sink]]\nname = 'good'\nplugin = 'sqlite.so'\nconfig = {{ path = 'good.db' }}\n",
            server.at().tcp()
        )
    };
    fs::write(project.path("litmus-host.toml"), config("deadline = '20s'\n", 3_600_000)).expect("a configuration");
    // What connects needs an answer; after that nothing is read any more.
    server.freeze(true);
    let mut running = Running::start(&project, &mut project.command(["--config", "litmus-host.toml", "--watch"]));
    let all_there = || {
        project.path("good.db").exists() && {
            let sql = "SELECT count(*) FROM test_runs";
            let count = database::open(&project.path("good.db")).query_row(sql, [], |row| row.get::<_, i64>(0));
            count.is_ok_and(|count| count as usize == runs.len())
        }
    };
    assert!(wait_until(Duration::from_mins(2), all_there), "the other sink waited");
    let status = fs::read_to_string(format!("/proc/{}/status", running.id())).expect("it still runs");
    let resident = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("Linux says so");
    let resident: u64 = resident.trim().trim_end_matches(" kB").parse().expect("a number");
    println!("the host had {resident} kB at most");
    assert!(resident < RESIDENT_KB_MAX, "{resident} kB");
    running.signal(rustix::process::Signal::TERM);
    let ended = running.wait(Duration::from_mins(1));
    assert!(ended.is_some(), "it hangs in a sink that does not move");

    server.freeze(false);
    fs::write(project.path("litmus-host.toml"), config("", 30_000)).expect("a configuration");
    project.run(["--config", "litmus-host.toml"]).exits(0);
    let expected = runs.iter().map(|run| run.measurements.len() + 9).sum();
    let messages = server.received(expected);
    let ids: BTreeSet<_> = messages.iter().map(|message| message.param("msg_id")).collect();
    assert_eq!(ids.len(), expected, "each message, however often");
}

#[test]
fn a_receiver_that_takes_nothing_is_given_up_and_says_so() {
    let (project, server) = (Project::new(), Rsyslog::start());
    for number in 0..30 {
        write(&project.data_dir(), &Plan::new(number, 1000));
    }
    server.freeze(true);
    let settings = ["address=ADDRESS", "detail=measurements", "stall_timeout_ms=500", "close_timeout_ms=500"]
        .map(|setting| setting.replace("ADDRESS", &server.at().tcp()));
    let settings = settings.iter().flat_map(|setting| ["--set", setting]);
    let ended = project.run(["--plugin", "syslog.so", "--give-up-after", "2s"].into_iter().chain(settings));
    ended.exits(1).says("took nothing for 0.5 s").says("hint: it hangs, or its disk is full");
}

#[test]
fn certificate_trouble_names_the_certificate_and_the_remedy() {
    let project = Project::new();
    write(&project.data_dir(), &Plan::new(1, 8));
    let forward = |server: &Rsyslog, more: &[String]| {
        let address = format!("address={}", server.at().tls());
        let settings = std::iter::once(&address).chain(more).flat_map(|setting| ["--set", setting]);
        project.run(["--plugin", "syslog.so", "--give-up-after", "1s"].into_iter().chain(settings))
    };
    let file = |key: &str, path: &std::path::Path| format!("{key}={}", path.display());

    let expired = Rsyslog::start_with(Rsyslogs { expired: true, ..Rsyslogs::default() });
    let ended = forward(&expired, &[file("ca_file", &expired.at().authority.ca_file())]);
    ended.exits(1).says("the receiver's certificate has expired").says("hint: renew it at the receiver");
    drop(expired);

    let strict = Rsyslog::start_with(Rsyslogs { wants_client_certificate: true, ..Rsyslogs::default() });
    let at = strict.at();
    let ca_file = file("ca_file", &at.authority.ca_file());
    let other = Authority::new(project.path("").as_path());
    let ended = forward(&strict, &[file("ca_file", &other.ca_file())]);
    ended.exits(1).says("is not signed by an authority that is trusted here").says("hint: set ca_file");
    let ended = forward(&strict, &[ca_file.clone(), "server_name=logs.example".into()]);
    ended.exits(1).says("is for another name").says("hint: use the name in the certificate");
    let ended = forward(&strict, &[file("ca_file", &project.path("nowhere.pem"))]);
    ended.exits(1).says("nowhere.pem").says("hint: a PEM file with certificates");
    let ended = forward(&strict, std::slice::from_ref(&ca_file));
    // rsyslog's GnuTLS says nothing, it only hangs up.
    ended.exits(1).says("set client_cert_file and client_key_file");
    assert_eq!(strict.at().received_count(), 0, "nothing was sent to a receiver that did not want it");

    let client = at.authority.sign("bench-07", GOOD_YEARS);
    let (cert, key) = (file("client_cert_file", &client.cert_file), file("client_key_file", &client.key_file));
    forward(&strict, &[ca_file, cert, key]).exits(0);
    assert!(strict.received(1).iter().any(|message| message.msgid == "run"));
}

#[test]
fn a_new_ledger_over_an_old_store_asks_where_to_start() {
    let (project, server) = (Project::new(), Rsyslog::start());
    let run = write(&project.data_dir(), &Plan::new(1, 8));
    let sealed = fs::File::options().write(true).open(project.data_dir().join(&run.path)).expect("a run file");
    sealed.set_modified(SystemTime::now() - Duration::from_hours(72)).expect("the file is ours");
    let arguments = ["--plugin", "syslog.so", "--set", &format!("address={}", server.at().tcp())];
    project.run(arguments).exits(2).says("say where to start: `--start all`");
    assert_eq!(server.at().received_count(), 0);
    project.run(arguments.iter().chain(&["--start", "all"])).exits(0);
    assert_eq!(server.received(1).iter().filter(|message| message.msgid == "run").count(), 1);
    // Once it is known it is not asked again.
    project.run(arguments).exits(0);
}
