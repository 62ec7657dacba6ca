//! Every way in which the hostile plugin can misbehave, through the built host and beside a sink that does not: the host stays
//! well, says what happened, and the other sink notices nothing.

use std::collections::BTreeSet;
use std::fs;
use std::time::{Duration, Instant};

use litmus_tests::database;
use litmus_tests::generate::{Generated, Plan, write};
use litmus_tests::project::{Ended, Project};

const RUNS: u64 = 3;
/// Nothing here takes longer: a call that does not come back has a second's deadline and a second's grace.
const GIVEN_UP: Duration = Duration::from_secs(45);
/// Whatever a plugin logs.
const OUTPUT_BYTES_MAX: usize = 8 << 20;

struct Bench {
    project: Project,
    runs: Vec<Generated>,
    /// Of the bad sink's calls.
    deadline: &'static str,
}

impl Bench {
    fn new(runs: u64) -> Self {
        let project = Project::new();
        let runs = (0..runs).map(|number| write(&project.data_dir(), &Plan::new(number, 8))).collect();
        Self { project, runs, deadline: "60s" }
    }

    /// One whose calls are given up soon.
    fn impatient() -> Self {
        Self { deadline: "1s", ..Self::new(RUNS) }
    }

    fn configure(&self, bad: &str) {
        let toml = format!(
            "grace = \"1s\"\n[[sink]]\nname = \"bad\"\nplugin = \"hostile.so\"\ndeadline = \"{}\"\nconfig = {{ log = \"bad.jsonl\"{bad} }}\n\
             [[sink]]\nname = \"good\"\nplugin = \"sqlite.so\"\nconfig = {{ path = \"good.db\" }}\n",
            self.deadline
        );
        fs::write(self.project.path("litmus-host.toml"), toml).expect("a configuration");
    }

    fn run(&self, arguments: &[&str]) -> Ended {
        let started = Instant::now();
        let ended =
            self.project.run(arguments.iter().chain(&["--config", "litmus-host.toml", "--format", "json", "-vv"]));
        assert!(started.elapsed() < GIVEN_UP, "{:?}: {ended}", started.elapsed());
        // Exit codes are the host's own: no signal, no panic of the host's.
        assert!(ended.status.code().is_some_and(|code| code <= 2), "{ended}");
        assert!(ended.stdout.len() + ended.stderr.len() < OUTPUT_BYTES_MAX, "{} bytes", ended.stderr.len());
        ended
    }

    fn forward(&self, bad: &str) -> Ended {
        self.configure(bad);
        self.run(&["--give-up-after", "2s"])
    }

    /// The good sink has every run, whatever the other did.
    #[track_caller]
    fn assert_good(&self, ended: &Ended) {
        let there: BTreeSet<String> =
            database::runs(&database::open(&self.project.path("good.db"))).into_keys().collect();
        assert_eq!(there, self.runs.iter().map(|run| run.run_id.clone()).collect(), "{ended}");
        assert_eq!(sink(ended, "good")["delivered"].as_u64(), Some(self.runs.len() as u64), "{ended}");
    }
}

fn sink(ended: &Ended, name: &str) -> serde_json::Value {
    let outcome = ended.json();
    let sinks = outcome["sinks"].as_array().expect("sinks");
    sinks.iter().find(|sink| sink["name"] == name).unwrap_or_else(|| panic!("no sink {name} in {ended}")).clone()
}

/// Delivered, pending and quarantined at the bad sink.
fn bad(ended: &Ended) -> [u64; 3] {
    let sink = sink(ended, "bad");
    ["delivered", "pending", "quarantined"].map(|key| sink[key].as_u64().unwrap_or_else(|| panic!("{key} in {ended}")))
}

#[test]
fn what_it_does_wrong_in_deliver_is_said_and_stays_there() {
    let all = [RUNS, 0, 0];
    // What goes wrong, what the host says of it, its exit code, and how the runs stand at the bad sink.
    let cases = [
        ("report_twice", "a second time; ignored", 0, all),
        ("report_out_of_range", "of a batch of", 0, all),
        ("report_nothing", "without a report for this run", 1, [0, RUNS, 0]),
        ("report_unknown_status", "unknown status 4711", 1, [0, RUNS, 0]),
        ("broken_receipt", "a receipt for run 0 of the batch that is none", 0, all),
        ("leak_stream", "kept 1 streams past the end of its call", 0, all),
        ("call_back_late", "", 0, all),
        ("log_gigabyte", "(cut: 1073741824 bytes in all)", 0, all),
        ("log_flood", "logs too much", 0, all),
        ("claim_grade", "claims grade Verified where it promises Committed", 0, all),
        ("error_after_reports", "", 0, all),
        ("panic_in_thread", "hostile panic in a thread", 0, all),
    ];
    for (mischief, said, code, stand) in cases {
        let bench = Bench::new(RUNS);
        let ended = bench.forward(&format!(", deliver = [\"{mischief}\"]"));
        println!("{mischief}");
        ended.exits(code).says(said);
        assert_eq!(bad(&ended), stand, "{mischief}: {ended}");
        bench.assert_good(&ended);
        if mischief == "claim_grade" {
            let ledgers = fs::read_dir(bench.project.state_dir()).expect("the state").flatten();
            let ledger = ledgers.map(|folder| folder.path().join("ledger.db")).next().expect("a ledger");
            let claimed = "SELECT count(*) FROM deliveries WHERE receipt LIKE '%verified%'";
            assert_eq!(database::count(&database::open(&ledger), claimed), 0, "the claim is not believed");
        }
        // Once it behaves, what did not arrive does.
        let after = bench.forward("");
        after.exits(0);
        assert_eq!(sink(&after, "bad")["pending"], 0, "{mischief}: {after}");
    }
}

#[test]
fn a_panic_in_any_entry_is_said_and_stays_there() {
    // In the look at its configuration, nothing can start: that is the configuration's fault, and said so.
    let bench = Bench::new(RUNS);
    let ended = bench.forward(", panic_in = \"configure\"");
    ended.exits(2).says("sink \"bad\" (hostile.so)").says("hostile panic in Configure");
    for (entry, name, code) in
        [("connect", "Connect", 1), ("deliver", "Deliver", 1), ("flush", "Flush", 0), ("close", "Close", 0)]
    {
        let bench = Bench::new(RUNS);
        let ended = bench.forward(&format!(", panic_in = \"{entry}\""));
        ended.exits(code).says(&format!("hostile panic in {name}"));
        assert_eq!(bad(&ended), if code == 0 { [RUNS, 0, 0] } else { [0, RUNS, 0] }, "{entry}: {ended}");
        bench.assert_good(&ended);
        bench.forward("").exits(0);
    }
    let bench = Bench::new(RUNS);
    bench.forward("").exits(0);
    // The newest runs are looked for at each connect.
    bench.forward(", panic_in = \"audit\"").says("hostile panic in Audit");
    bench.configure(", panic_in = \"check\"");
    bench.run(&["check", "--live"]).exits(1).says("hostile panic in Check");
}

#[test]
fn a_hang_in_any_entry_is_given_up_and_stays_there() {
    for (entry, code) in [("connect", 1), ("deliver", 1), ("flush", 0), ("close", 0)] {
        let bench = Bench::impatient();
        let ended = bench.forward(&format!(", hang_in = \"{entry}\""));
        ended.exits(code).says("in time");
        assert_eq!(bad(&ended), if code == 0 { [RUNS, 0, 0] } else { [0, RUNS, 0] }, "{entry}: {ended}");
        bench.assert_good(&ended);
    }
    let bench = Bench::impatient();
    bench.forward(", hang_in = \"configure\"").exits(2).says("sink \"bad\"").says("did not return in time");
    let ended = bench.forward("");
    ended.exits(0);
    bench.forward(", hang_in = \"audit\"").says("its audit did not return in time");
    bench.configure(", hang_in = \"check\"");
    bench.run(&["check", "--live"]).exits(1).says("did not return in time");
}

#[test]
fn a_lie_in_an_audit_is_caught_or_does_no_harm() {
    // Without its ledger the host asks what is there; a sink that says "already present" of a run and "it is not there" of the
    // same run lies one of the two times, and a person must look.
    for (lie, code) in [("other_revision", 1), ("absent", 1), ("stranger", 0), ("twice", 0)] {
        let bench = Bench::new(RUNS);
        bench.forward("").exits(0);
        fs::remove_dir_all(bench.project.state_dir()).expect("the ledger");
        let ended = bench.forward(&format!(", audit = \"{lie}\""));
        ended.exits(code);
        let good = sink(&ended, "good");
        assert_eq!((&good["already_present"], &good["quarantined"]), (&RUNS.into(), &0.into()), "{lie}: {ended}");
        if code == 1 {
            ended.says("the sink says that the run is already present, and its audit says that it is not");
            assert_eq!(sink(&ended, "bad")["quarantined"], RUNS, "{lie}: {ended}");
        } else {
            ended.says("answers audit twice, or for a run not asked about");
            assert_eq!(sink(&ended, "bad")["quarantined"], 0, "{lie}: {ended}");
        }
    }
}

#[test]
fn a_run_that_makes_it_panic_alone_five_times_is_quarantined_and_its_neighbours_arrive() {
    let bench = Bench::new(9);
    bench.configure(", panic_serials = [\"SN100004\"]");
    // The waits between the five tries add up to 15 s at most.
    let ended = bench.run(&["--give-up-after", "30s"]);
    ended.exits(1).says(&bench.runs[4].run_id).says("poisoned by run");
    assert_eq!(bad(&ended), [8, 0, 1], "{ended}");
    bench.assert_good(&ended);
    let ledgers = fs::read_dir(bench.project.state_dir()).expect("the state").flatten();
    let ledger = database::open(&ledgers.map(|folder| folder.path().join("ledger.db")).next().expect("a ledger"));
    let strikes = "SELECT max(strikes) FROM deliveries WHERE state = 'quarantined'";
    assert_eq!(database::count(&ledger, strikes), 4, "the fifth sets it aside: {ended}");
    let struck = "SELECT count(*) FROM deliveries WHERE strikes > 0";
    assert_eq!(database::count(&ledger, struck), 1, "no neighbour was blamed");
}
