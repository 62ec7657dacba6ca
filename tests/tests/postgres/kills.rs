//! kill -9 of the host at every phase, and the server crashed under load: nothing lost, nothing doubled, no manual step.
//!
//! `LITMUS_KILL_ROUNDS` and `LITMUS_SERVER_KILL_ROUNDS` say how often (10 each; `cargo xtask torture` more), and
//! `LITMUS_KILL_SEED` repeats a run.

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use litmus_tests::generate::{Generated, Plan, write};
use litmus_tests::project::{Ended, Project, Running, wait_until};
use litmus_tests::servers::Postgres;
use rustix::process::Signal;

use crate::psql::{holds, rows, to};

/// The phases of a delivery, as the fail points of the host and the sink name them.
const PHASES: [&str; 6] =
    ["pending", "pulling", "before_commit", "between_commit_and_report", "between_report_and_receipt", "replacing"];
/// Runs sealed in each round.
const RUNS_PER_ROUND: u64 = 6;
/// Kills at random moments fall within this.
const RANDOM_KILL_MS_MAX: u64 = 500;

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is a number, not {text}")))
}

fn random() -> fastrand::Rng {
    let seed = number("LITMUS_KILL_SEED").unwrap_or_else(|| fastrand::u64(..));
    println!("LITMUS_KILL_SEED={seed}");
    fastrand::Rng::with_seed(seed)
}

/// Seals new runs, half of them aborted, and replaces two of earlier rounds.
fn seal(project: &Project, sealed: &mut BTreeMap<u64, Generated>, round: u64, rng: &mut fastrand::Rng) {
    let earlier: Vec<_> = sealed.keys().copied().collect();
    for run in 0..RUNS_PER_ROUND {
        let plan = Plan { aborted: run % 2 == 0, ..Plan::new(round * RUNS_PER_ROUND + run, rng.usize(1..60)) };
        sealed.insert(plan.number, write(&project.data_dir(), &plan));
    }
    for _ in 0..2.min(earlier.len()) {
        let number = earlier[rng.usize(..earlier.len())];
        let plan = Plan { revision: 1 + round, ..Plan::new(number, rng.usize(1..60)) };
        sealed.insert(number, write(&project.data_dir(), &plan));
    }
}

#[test]
fn nothing_is_lost_or_doubled_wherever_the_host_dies() {
    let rounds = number("LITMUS_KILL_ROUNDS").unwrap_or(10).max(PHASES.len() as u64);
    let mut rng = random();
    let (project, server) = (Project::new(), Postgres::start());
    let arguments = to(&server);
    let mut sealed: BTreeMap<u64, Generated> = BTreeMap::new();
    let mut hits: BTreeMap<&str, u32> = BTreeMap::new();
    for round in 0..rounds {
        seal(&project, &mut sealed, round, &mut rng);
        // In the first round there is nothing to replace yet.
        let phase = PHASES[((round + PHASES.len() as u64 - 1) % PHASES.len() as u64) as usize];
        let phase = if round == 0 { "pending" } else { phase };
        let nth = if phase == "pulling" { rng.u32(1..=8) } else { 1 };
        let ended = Ended::of(project.command(&arguments).env("LITMUS_FAILPOINT", format!("{phase}:{nth}")));
        if ended.status.signal().is_some() {
            *hits.entry(phase).or_default() += 1;
        } else {
            ended.exits(0);
        }
        // And once more, at no particular moment, on the way out of the first one.
        let mut running = Running::start(&project, &mut project.command(&arguments));
        std::thread::sleep(Duration::from_millis(rng.u64(..RANDOM_KILL_MS_MAX)));
        running.kill();
        if running.wait(Duration::from_secs(10)).is_some_and(|status| status.signal() == Some(9)) {
            *hits.entry("a random moment").or_default() += 1;
        }
        project.run(&arguments).exits(0);
        holds(&server, sealed.values(), &format!("round {round}"));
    }
    println!("killed at: {hits:?}");
    for phase in PHASES {
        assert!(hits.contains_key(phase), "no kill hit the phase {phase} in {rounds} rounds: {hits:?}");
    }
}

#[test]
fn nothing_is_lost_or_doubled_whenever_the_server_dies() {
    let rounds = number("LITMUS_SERVER_KILL_ROUNDS").unwrap_or(10);
    let mut rng = random();
    // Data on disk when COMMIT is answered: a crash that loses nothing must not be luck.
    let (project, mut server) = (Project::new(), Postgres::start());
    let mut sealed: BTreeMap<u64, Generated> = BTreeMap::new();
    seal(&project, &mut sealed, 0, &mut rng);
    project.run(to(&server)).exits(0);
    let mut running = Running::start(&project, project.command(to(&server)).arg("--watch"));
    let mut in_the_middle = 0;
    for round in 1..=rounds {
        // Sealed while the host is at it; the crash falls somewhere into the delivery.
        seal(&project, &mut sealed, round, &mut rng);
        std::thread::sleep(Duration::from_millis(rng.u64(..120)));
        let noted = server.try_psql("postgres", "SELECT count(*) FROM litmus.litmus_deliveries").unwrap_or_default();
        in_the_middle += u64::from(noted.parse::<usize>().is_ok_and(|noted| noted < sealed.len()));
        server.crash();
        std::thread::sleep(Duration::from_millis(rng.u64(..300)));
        server.up();
        // By itself, whatever the wait of the breaker is by now.
        let everything = wait_until(Duration::from_mins(3), || {
            let sha256s = rows(&server, "SELECT count(*) FROM litmus.litmus_deliveries");
            sha256s[0][0].as_deref() == Some(sealed.len().to_string().as_str())
        });
        assert!(everything, "round {round}: the runs did not arrive\n{}", log(&project));
    }
    running.signal(Signal::TERM);
    running.wait(Duration::from_secs(30)).unwrap_or_else(|| panic!("it ends\n{}", log(&project)));
    project.run(to(&server)).exits(0);
    holds(&server, sealed.values(), "at the end");
    assert!(in_the_middle > 0, "no crash in {rounds} fell into a delivery");
    let quarantined = project.run(["status"].map(str::to_owned).into_iter().chain(to(&server))).json();
    assert_eq!(quarantined["sinks"][0]["quarantined"], 0, "{quarantined:#}");
}

fn log(project: &Project) -> String {
    std::fs::read_to_string(project.path("running.log")).unwrap_or_default()
}
