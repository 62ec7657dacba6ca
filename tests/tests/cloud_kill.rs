//! kill -9 of the host while it sends to object stores, at every phase and at random moments, and of the server: no half
//! object under a run's key, nothing lost, nothing sent more often than the kills explain.
//!
//! `LITMUS_KILL_ROUNDS` says how often (10; `cargo xtask torture` kills 100 times), `LITMUS_KILL_SEED` repeats a run.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use litmus_tests::generate::{Generated, Plan, write};
use litmus_tests::objects::{keys_of_folder, s3};
use litmus_tests::project::{Ended, Project, Running};
use litmus_tests::servers::{ACCOUNT, Azurite, BUCKET, CONTAINER, Fate, KEY, Passing, Proxy, S3};

/// As the fail points of the host and the sink name them.
const PHASES: [&str; 6] = [
    "pending",
    "before_commit",
    "between_attachments_and_run",
    "between_commit_and_report",
    "between_report_and_receipt",
    "replacing",
];
/// Where files go up in parts.
const PHASES_WITH_PARTS: [&str; 7] = [
    "pending",
    "before_commit",
    "sending_parts",
    "between_attachments_and_run",
    "between_commit_and_report",
    "between_report_and_receipt",
    "replacing",
];
/// Every round looks at every object of its part.
const PART_ROUNDS: u64 = 10;
const RUNS_PER_ROUND: u64 = 5;
const RANDOM_KILL_MS_MAX: u64 = 400;
/// Measurements, each with 4 kB of text, of a file that needs three parts.
const MEASUREMENTS_OF_PARTS: usize = 3000;
/// The server stays away at most this long.
const AWAY_MS_MAX: u64 = 300;

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable)
        .ok()
        .map(|text| text.parse().unwrap_or_else(|_| panic!("{variable} is a number, not {text}")))
}

/// How often kills are to be tried, in parts with a store and a server of their own; each at least so often.
fn parts(least: u64) -> impl Iterator<Item = u64> {
    let rounds = number("LITMUS_KILL_ROUNDS").unwrap_or(PART_ROUNDS);
    (0..rounds.div_ceil(PART_ROUNDS)).map(move |part| PART_ROUNDS.min(rounds - part * PART_ROUNDS).max(least))
}

/// Kills in every round; `objects` is an independent look at what lies there. How often the host was killed.
fn torture(
    sink: &str,
    phases: &[&'static str],
    project: &Project,
    rounds: u64,
    objects: impl Fn() -> BTreeMap<String, Vec<u8>>,
) -> u64 {
    let seed = number("LITMUS_KILL_SEED").unwrap_or_else(|| fastrand::u64(..));
    println!("LITMUS_KILL_SEED={seed}, {rounds} rounds");
    let mut rng = fastrand::Rng::with_seed(seed);
    let toml = format!("[[sink]]\nname = 'o'\nplugin = 'cloud.so'\nconfig = {{ {sink} }}\n");
    fs::write(project.path("litmus-host.toml"), toml).unwrap();
    let arguments = ["--config", "litmus-host.toml"];
    let mut sealed: BTreeMap<u64, Generated> = BTreeMap::new();
    let mut versions: BTreeMap<String, Vec<Vec<u8>>> = BTreeMap::new();
    let mut hits: BTreeMap<&str, u64> = BTreeMap::new();
    for round in 0..rounds {
        let phase = phases[((round + phases.len() as u64 - 1) % phases.len() as u64) as usize];
        let phase = if round == 0 { "pending" } else { phase };
        let mut seal = |plan: &Plan| {
            let run = write(&project.data_dir(), plan);
            versions.entry(run.run_id.clone()).or_default().push(fs::read(project.data_dir().join(&run.path)).unwrap());
            sealed.insert(plan.number, run);
        };
        for run in 0..RUNS_PER_ROUND {
            seal(&Plan { aborted: run % 2 == 0, ..Plan::new(round * RUNS_PER_ROUND + run, rng.usize(1..60)) });
        }
        for _ in 0..2.min(round) {
            let earlier = rng.u64(..round * RUNS_PER_ROUND);
            seal(&Plan { revision: 1 + round, ..Plan::new(earlier, rng.usize(1..60)) });
        }
        if phase == "sending_parts" {
            let large = Plan::new(round * RUNS_PER_ROUND, MEASUREMENTS_OF_PARTS);
            seal(&Plan { revision: 1, trace_bytes: 4096, ..large });
        }
        // Several runs of a batch pass the places in the sink; the others are certain to be reached once only.
        let is_of_a_run =
            matches!(phase, "before_commit" | "between_attachments_and_run" | "between_commit_and_report");
        let nth = if is_of_a_run || phase == "sending_parts" { rng.u32(1..=3) } else { 1 };
        let ended = Ended::of(project.command(arguments).env("LITMUS_FAILPOINT", format!("{phase}:{nth}")));
        if ended.status.signal().is_some() {
            *hits.entry(phase).or_default() += 1;
        } else {
            ended.exits(0);
        }
        only_whole(&objects(), &versions, round);

        let mut running = Running::start(project, &mut project.command(arguments));
        std::thread::sleep(Duration::from_millis(rng.u64(..RANDOM_KILL_MS_MAX)));
        running.kill();
        if running.wait(Duration::from_secs(10)).is_some_and(|status| status.signal() == Some(9)) {
            *hits.entry("a random moment").or_default() += 1;
        }
        only_whole(&objects(), &versions, round);

        project.run(arguments).exits(0);
        let there = objects();
        only_whole(&there, &versions, round);
        assert_eq!(there.len(), sealed.len(), "round {round}: objects there, runs sealed");
        for run in sealed.values() {
            let bytes = there.iter().find(|(key, _)| key.contains(&run.run_id)).map(|(_, bytes)| bytes);
            let bytes = bytes.unwrap_or_else(|| panic!("round {round}: {} is lost", run.run_id));
            assert!(
                *bytes == fs::read(project.data_dir().join(&run.path)).unwrap(),
                "round {round}: {} is an old revision",
                run.run_id
            );
        }
    }
    println!("killed at: {hits:?}");
    for phase in phases {
        assert!(hits.contains_key(phase), "no kill hit the phase {phase} in {rounds} rounds: {hits:?}");
    }
    hits.values().sum()
}

/// Whatever lies under a run's key is one of its revisions, whole.
fn only_whole(objects: &BTreeMap<String, Vec<u8>>, versions: &BTreeMap<String, Vec<Vec<u8>>>, round: u64) {
    for (key, bytes) in objects {
        let (_, known) = versions.iter().find(|(run_id, _)| key.contains(*run_id)).expect("an object of a run");
        assert!(known.contains(bytes), "round {round}: {key} is no revision of its run: {} bytes", bytes.len());
    }
}

#[test]
fn no_half_file_in_a_folder_wherever_the_host_dies() {
    for rounds in parts(PHASES.len() as u64) {
        let project = Project::new();
        let root = project.path("objects");
        torture(&format!("uri = 'file://{}'", root.display()), &PHASES, &project, rounds, || {
            let keys = keys_of_folder(&root).into_iter().filter(|key| !key.starts_with(".litmus/"));
            keys.map(|key| (key.clone(), fs::read(root.join(key)).unwrap())).collect()
        });
    }
}

#[test]
fn no_half_object_in_a_bucket_wherever_the_host_dies() {
    let least = PHASES_WITH_PARTS.len() as u64;
    for rounds in parts(least) {
        let (project, server) = (Project::new(), S3::start());
        let proxy = Proxy::before(server.port(), |_| Fate::Forward);
        let sink = s3(&format!("s3://{BUCKET}"), &proxy.endpoint()) + ", part_bytes = 5242880";
        let kills = torture(&sink, &PHASES_WITH_PARTS, &project, rounds, || {
            server.keys("test_results/").into_iter().map(|key| (key.clone(), server.get(&key).unwrap())).collect()
        });
        let puts: Vec<_> = proxy.seen().into_iter().filter(|(passing, _)| is_put(passing)).collect();
        // One for each revision sealed, and one for each request that could be under way at a kill. A large file is three.
        let large = rounds.div_ceil(least);
        let revisions = rounds * (RUNS_PER_ROUND + 2) + 3 * large;
        let explained = revisions + kills * (RUNS_PER_ROUND + 2) + 3 * 2 * large;
        assert!(puts.len() as u64 <= explained, "{} puts, {explained} are explained", puts.len());
        assert!(puts.iter().any(|(passing, _)| passing.path.contains("partNumber=2")), "files went up in parts");
    }
}

fn is_put(passing: &Passing) -> bool {
    passing.method == "PUT" && !passing.path.contains(".litmus")
}

#[test]
fn nothing_is_lost_wherever_the_server_dies() {
    parts(1).for_each(server_dies);
}

fn server_dies(rounds: u64) {
    let seed = number("LITMUS_KILL_SEED").unwrap_or_else(|| fastrand::u64(..));
    println!("LITMUS_KILL_SEED={seed}, {rounds} rounds");
    let mut rng = fastrand::Rng::with_seed(seed);
    let (project, mut server) = (Project::new(), Azurite::start());
    server.has_written(CONTAINER);
    let proxy = Proxy::before(server.port(), |_| Fate::Forward);
    let options =
        format!("endpoint = '{}/{ACCOUNT}', account_name = '{ACCOUNT}', account_key = '{KEY}'", proxy.endpoint());
    let toml = format!(
        "[[sink]]\nname = 'o'\nplugin = 'cloud.so'\nconfig = {{ uri = 'azblob://{CONTAINER}', options = {{ {options} }} }}\n"
    );
    fs::write(project.path("litmus-host.toml"), toml).unwrap();
    let arguments = ["--config", "litmus-host.toml", "--give-up-after", "120s"];
    let mut sealed: Vec<Generated> = Vec::new();
    let (mut in_delivery, mut forgotten) = (0, 0);
    for round in 0..rounds {
        for run in 0..2 * RUNS_PER_ROUND {
            let plan = Plan::new(round * 2 * RUNS_PER_ROUND + run, rng.usize(1..60));
            sealed.push(write(&project.data_dir(), &plan));
        }
        let mut running = Running::start(&project, &mut project.command(arguments));
        std::thread::sleep(Duration::from_millis(rng.u64(..RANDOM_KILL_MS_MAX)));
        server.kill();
        std::thread::sleep(Duration::from_millis(rng.u64(..AWAY_MS_MAX)));
        in_delivery += u64::from(running.wait(Duration::ZERO).is_none());
        server.up();
        // Of runs that were put before, by path of the request: those that are not there any more.
        let there = server.keys("test_results/");
        let seen = proxy.seen();
        let put: BTreeSet<_> =
            seen.iter().filter(|(passing, _)| is_put(passing)).map(|(passing, _)| &passing.path).collect();
        forgotten += put.iter().filter(|path| !there.iter().any(|key| path.contains(key.as_str()))).count();
        let status = running.wait(Duration::from_mins(3)).expect("the host ends");
        assert!(status.success(), "{}", fs::read_to_string(project.path("running.log")).unwrap_or_default());
    }
    assert!(in_delivery > 0, "no kill fell into a delivery in {rounds} rounds");
    // What the server forgot after it had said that it was stored is found by the next delivery.
    sealed.push(write(&project.data_dir(), &Plan::new(rounds * 2 * RUNS_PER_ROUND, 8)));
    project.run(arguments).exits(0);
    let keys = server.keys("test_results/");
    assert_eq!(keys.len(), sealed.len(), "objects there, runs sealed");
    for run in &sealed {
        let key = keys.iter().find(|key| key.contains(&run.run_id));
        let key = key.unwrap_or_else(|| panic!("{} is lost", run.run_id));
        let bytes = fs::read(project.data_dir().join(&run.path)).unwrap();
        assert!(server.get(key).unwrap() == bytes, "{key} is no whole object");
    }
    let puts = proxy.seen().iter().filter(|(passing, _)| is_put(passing)).count();
    println!("{rounds} kills, {in_delivery} in a delivery; {} runs, {puts} puts, {forgotten} forgotten", sealed.len());
    // A put for each run, one for each that the server forgot, and what was under way: 16 at once, each tried three times.
    let explained = sealed.len() + forgotten + rounds as usize * 3 * 16;
    assert!(puts <= explained, "{puts} puts, {explained} are explained");
}
