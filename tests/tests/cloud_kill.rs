//! kill -9 of the host while it sends to object stores, at every phase and at random moments: no half object under a
//! run's key, nothing lost, nothing sent more often than the kills explain.
//!
//! `LITMUS_KILL_ROUNDS` says how often (10; `cargo xtask torture` kills 100 times), `LITMUS_KILL_SEED` repeats a run.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use litmus_tests::generate::{Generated, Plan, write};
use litmus_tests::objects::{keys_of_folder, s3};
use litmus_tests::project::{Ended, Project, Running};
use litmus_tests::servers::{BUCKET, Fate, Proxy, S3};

/// As the fail points of the host and the sink name them.
const PHASES: [&str; 6] = [
    "pending",
    "before_commit",
    "between_attachments_and_run",
    "between_commit_and_report",
    "between_report_and_receipt",
    "replacing",
];
const RUNS_PER_ROUND: u64 = 5;
const RANDOM_KILL_MS_MAX: u64 = 400;

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable)
        .ok()
        .map(|text| text.parse().unwrap_or_else(|_| panic!("{variable} is a number, not {text}")))
}

/// Kills in every round; `objects` is an independent look at what lies there. How often the host was killed.
fn torture(sink: &str, project: &Project, objects: impl Fn() -> BTreeMap<String, Vec<u8>>) -> u64 {
    let rounds = number("LITMUS_KILL_ROUNDS").unwrap_or(10).max(PHASES.len() as u64);
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
        let phase = PHASES[((round + PHASES.len() as u64 - 1) % PHASES.len() as u64) as usize];
        let phase = if round == 0 { "pending" } else { phase };
        let nth = if phase.starts_with("be") { rng.u32(1..=3) } else { 1 };
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
    for phase in PHASES {
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
    let project = Project::new();
    let root = project.path("objects");
    torture(&format!("uri = 'file://{}'", root.display()), &project, || {
        let keys = keys_of_folder(&root).into_iter().filter(|key| !key.starts_with(".litmus/"));
        keys.map(|key| (key.clone(), fs::read(root.join(key)).unwrap())).collect()
    });
}

#[test]
fn no_half_object_in_a_bucket_wherever_the_host_dies() {
    let (project, server) = (Project::new(), S3::start());
    let proxy = Proxy::before(server.port(), |_| Fate::Forward);
    let kills = torture(&s3(&format!("s3://{BUCKET}"), &proxy.endpoint()), &project, || {
        server.keys("test_results/").into_iter().map(|key| (key.clone(), server.get(&key).unwrap())).collect()
    });
    let puts: Vec<_> = proxy
        .seen()
        .into_iter()
        .filter(|(passing, _)| passing.method == "PUT" && !passing.path.contains(".litmus"))
        .collect();
    let rounds = number("LITMUS_KILL_ROUNDS").unwrap_or(10).max(PHASES.len() as u64);
    // One for each revision sealed, and one for each request that could be under way at a kill.
    let revisions = rounds * (RUNS_PER_ROUND + 2);
    let explained = revisions + kills * (RUNS_PER_ROUND + 2);
    assert!(puts.len() as u64 <= explained, "{} puts, {explained} are explained", puts.len());
}
