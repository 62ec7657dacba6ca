//! kill -9 of the receiver at random moments, over TCP: no run is lost that the protocol lets a sender know of, and what comes
//! twice has the same `msg_id`.
//!
//! The receiver writes each message to its file before it reads on, so that what it read and did not write is only what it had
//! in its hands. If it is killed just then, the kernel closes the connection as if all was well: no sender can know. Such a run
//! was acknowledged in the moment of the kill, never before; that is what is looked at here.
//!
//! `LITMUS_KILL_ROUNDS` says how often (10; `cargo xtask torture` kills 100 times), `LITMUS_KILL_SEED` repeats a run.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::{Duration, SystemTime};

use litmus_tests::database;
use litmus_tests::generate::{Generated, Plan, write};
use litmus_tests::project::{Project, Running};
use litmus_tests::servers::syslog::Message;
use litmus_tests::servers::{Rsyslog, Rsyslogs};

/// Runs sealed in each round.
const RUNS_PER_ROUND: u64 = 40;
/// Kills fall within this after the host was started.
const KILL_MS_MAX: u64 = 700;
/// The receiver stays away at most this long.
const AWAY_MS_MAX: u64 = 300;
/// A ledger's entry may be this much older or younger than the kill that it crossed.
const CROSSING_MS: i64 = 500;

fn number(variable: &str) -> Option<u64> {
    let parse = |text: String| text.parse().unwrap_or_else(|_| panic!("{variable} is a number, not {text}"));
    std::env::var(variable).ok().map(parse)
}

fn now_ms() -> i64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_millis() as i64
}

#[test]
fn no_run_is_lost_that_a_sender_can_know_of_wherever_the_receiver_dies() {
    let rounds = number("LITMUS_KILL_ROUNDS").unwrap_or(10);
    let seed = number("LITMUS_KILL_SEED").unwrap_or_else(|| fastrand::u64(..));
    println!("LITMUS_KILL_SEED={seed}, {rounds} rounds");
    let mut rng = fastrand::Rng::with_seed(seed);
    let project = Project::new();
    let mut server = Rsyslog::start_with(Rsyslogs { direct: true, ..Rsyslogs::default() });
    let toml = format!(
        "[[sink]]\nname = 'log'\nplugin = 'syslog.so'\nbatch_runs_max = 4\n\
         config = {{ address = '{}', detail = 'measurements' }}\n",
        server.at().tcp()
    );
    fs::write(project.path("litmus-host.toml"), toml).expect("a configuration");
    let arguments = ["--config", "litmus-host.toml", "--give-up-after", "120s"];
    let mut sealed: Vec<Generated> = Vec::new();
    let mut kills = Vec::new();
    let mut in_delivery = 0;

    for round in 0..rounds {
        for run in 0..RUNS_PER_ROUND {
            let plan = Plan::new(round * RUNS_PER_ROUND + run, rng.usize(200..900));
            sealed.push(write(&project.data_dir(), &plan));
        }
        let mut running = Running::start(&project, &mut project.command(arguments));
        std::thread::sleep(Duration::from_millis(rng.u64(..KILL_MS_MAX)));
        let before = committed(&project).len();
        kills.push(now_ms());
        server.kill();
        std::thread::sleep(Duration::from_millis(rng.u64(..AWAY_MS_MAX)));
        server.up();
        let status = running.wait(Duration::from_secs(180)).expect("the host ends");
        assert!(status.success(), "{}", fs::read_to_string(project.path("running.log")).unwrap_or_default());
        in_delivery += u32::from(before < sealed.len());
    }

    assert!(in_delivery > 0, "no kill fell into a delivery in {rounds} rounds");
    let expected = sealed.iter().map(|run| run.measurements.len() + 9).sum();
    let messages = server.received(expected);
    let copies = by_id(&messages);
    let committed = committed(&project);
    assert_eq!(committed.len(), sealed.len(), "every run has its receipt");
    let mut crossed = 0;
    for run in &sealed {
        let ids = &copies.by_run.get(&run.run_id).cloned().unwrap_or_default();
        if ids.len() == run.measurements.len() + 9 {
            continue;
        }
        let (grade, at_ms) = &committed[&run.run_id];
        assert_eq!(grade, "acknowledged");
        let crosses = |kill: &i64| (kill - CROSSING_MS..kill + CROSSING_MS).contains(at_ms);
        assert!(
            kills.iter().any(crosses),
            "{} was acknowledged at {at_ms}, when no kill was ({kills:?}), and {} of its messages are there",
            run.run_id,
            ids.len()
        );
        crossed += 1;
    }
    println!(
        "{rounds} kills, {in_delivery} in a delivery; {} runs, {} messages, {} of them twice; {crossed} runs acknowledged in the moment of a kill",
        sealed.len(),
        messages.len(),
        messages.len() - copies.ids
    );
    // A batch at most is in the receiver's hands.
    assert!(crossed <= rounds as usize * 4, "more runs crossed a kill than were on their way");
}

struct Copies {
    by_run: BTreeMap<String, BTreeSet<String>>,
    ids: usize,
}

/// Panics where two messages share a `msg_id` and differ.
fn by_id(messages: &[Message]) -> Copies {
    let mut first: BTreeMap<&str, &Message> = BTreeMap::new();
    let mut by_run: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for message in messages {
        let (id, run_id) = (message.param("msg_id"), message.param("run_id"));
        assert_eq!(*first.entry(id).or_insert(message), message, "two messages share a msg_id");
        by_run.entry(run_id.to_owned()).or_default().insert(id.to_owned());
    }
    Copies { by_run, ids: first.len() }
}

/// Grade and time of each receipt, by run.
fn committed(project: &Project) -> BTreeMap<String, (String, i64)> {
    let Ok(entries) = fs::read_dir(project.state_dir()) else { return BTreeMap::new() };
    let mut found = BTreeMap::new();
    for ledger in entries {
        let path = ledger.expect("an entry").path().join("ledger.db");
        if !path.exists() {
            continue;
        }
        let connection = database::open(&path);
        let sql = "SELECT run_id, receipt ->> '$.grade', changed_ms FROM deliveries JOIN revisions ON revision = seq
                   WHERE state = 'committed'";
        let Ok(mut statement) = connection.prepare(sql) else { continue };
        let rows = statement.query_map([], |row| Ok((row.get(0)?, (row.get(1)?, row.get(2)?)))).expect("a query");
        found.extend(rows.map(|row| row.expect("a receipt")));
    }
    found
}
