//! The cloud sink where the network and the service misbehave: what arrives, and what is said.

use std::collections::HashSet;
use std::fs;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use litmus_tests::generate::{Generated, Plan, write};
use litmus_tests::objects::s3;
use litmus_tests::project::{Ended, Project};
use litmus_tests::servers::{BUCKET, Fate, Passing, Proxy, S3};

const RUNS: u64 = 24;

struct Bench {
    project: Project,
    server: S3,
    runs: Vec<Generated>,
}

impl Bench {
    fn new() -> Self {
        let (project, server) = (Project::new(), S3::start());
        let runs = (0..RUNS).map(|number| write(&project.data_dir(), &Plan::new(number, 20))).collect();
        Self { project, server, runs }
    }

    fn forward(&self, uri: &str, endpoint: &str) -> Ended {
        let toml = format!("[[sink]]\nname = 'o'\nplugin = 'cloud.so'\nconfig = {{ {} }}\n", s3(uri, endpoint));
        fs::write(self.project.path("litmus-host.toml"), toml).unwrap();
        self.project.run(["--config", "litmus-host.toml", "--give-up-after", "5"])
    }

    /// Forwards through a proxy with this rule, and panics unless every run lies there once, byte for byte.
    fn all_arrive(&self, rule: impl Fn(&Passing) -> Fate + Send + Sync + 'static) -> Proxy {
        let proxy = Proxy::before(self.server.port(), rule);
        self.forward(&format!("s3://{BUCKET}"), &proxy.endpoint()).exits(0);
        let keys = self.server.keys("test_results/");
        assert_eq!(keys.len(), self.runs.len(), "{keys:?}");
        for run in &self.runs {
            let key =
                keys.iter().find(|key| key.contains(&run.run_id)).unwrap_or_else(|| panic!("{} is lost", run.run_id));
            assert!(
                self.server.get(key).unwrap() == fs::read(self.project.data_dir().join(&run.path)).unwrap(),
                "{key} differs"
            );
        }
        proxy
    }

    /// Forwards through a proxy that answers every request of objects so; what the host says.
    fn refused(&self, status: u16, headers: &str, body: &str) -> Ended {
        let (headers, body) = (headers.to_owned(), body.to_owned());
        let proxy = Proxy::before(self.server.port(), move |_| Fate::Answer(status, headers.clone(), body.clone()));
        let ended = self.forward(&format!("s3://{BUCKET}"), &proxy.endpoint());
        assert!(!ended.stdout.contains("S3CRET") && !ended.stderr.contains("S3CRET"), "{ended}");
        ended
    }
}

fn is_put(passing: &Passing) -> bool {
    passing.method == "PUT" && !passing.path.contains(".litmus")
}

#[test]
fn throttled_runs_arrive_at_the_pace_that_was_asked_for() {
    let proxy = Bench::new().all_arrive(|passing| match passing.number % 3 {
        1 => Fate::Answer(503, "Retry-After: 1\r\n".to_owned(), "<Error><Code>SlowDown</Code></Error>".to_owned()),
        _ => Fate::Forward,
    });
    let slowed = proxy.seen().iter().filter(|(_, fate)| *fate != Fate::Forward).count();
    assert!(slowed > RUNS as usize / 3, "{slowed} requests were slowed down");
}

#[test]
fn connections_cut_in_a_body_leave_no_half_object() {
    let puts = AtomicU64::new(0);
    let proxy = Bench::new().all_arrive(move |passing| {
        let cut = is_put(passing) && puts.fetch_add(1, Ordering::SeqCst).is_multiple_of(3);
        if cut { Fate::CutInBody } else { Fate::Forward }
    });
    assert!(proxy.seen().iter().any(|(_, fate)| *fate == Fate::CutInBody));
}

#[test]
fn a_part_that_never_arrives_leaves_nothing_behind() {
    let (project, server) = (Project::new(), S3::start());
    write(&project.data_dir(), &Plan { trace_bytes: 4096, ..Plan::new(1, 3000) });
    let proxy = Proxy::before(server.port(), |passing| {
        if passing.path.contains("partNumber=2") {
            Fate::Answer(500, String::new(), "<Error><Code>InternalError</Code></Error>".to_owned())
        } else {
            Fate::Forward
        }
    });
    let sink = s3(&format!("s3://{BUCKET}"), &proxy.endpoint()) + ", part_bytes = 5242880";
    let toml = format!("[[sink]]\nname = 'o'\nplugin = 'cloud.so'\nconfig = {{ {sink} }}\n");
    fs::write(project.path("litmus-host.toml"), toml).unwrap();
    let ended = project.run(["--config", "litmus-host.toml", "--give-up-after", "1s"]);
    ended.exits(1).says("InternalError");
    assert_eq!(server.keys("test_results/"), Vec::<String>::new());
    assert_eq!(server.open_uploads(), 0, "parts that nobody sees are paid for");
}

#[test]
fn an_answer_that_is_lost_makes_no_second_object_and_no_conflict() {
    let puts = AtomicU64::new(0);
    let proxy = Bench::new().all_arrive(move |passing| {
        let cut = is_put(passing) && puts.fetch_add(1, Ordering::SeqCst).is_multiple_of(3);
        if cut { Fate::CutAnswer } else { Fate::Forward }
    });
    assert!(proxy.seen().iter().any(|(_, fate)| *fate == Fate::CutAnswer));
}

#[test]
fn an_answer_of_200_without_an_object_is_not_believed() {
    let swallowed: Mutex<HashSet<String>> = Mutex::default();
    let proxy = Bench::new().all_arrive(move |passing| {
        let first = is_put(passing) && swallowed.lock().unwrap().insert(passing.path.clone());
        if first { Fate::Answer(200, "ETag: \"0\"\r\n".to_owned(), String::new()) } else { Fate::Forward }
    });
    let swallowed = proxy.seen().iter().filter(|(_, fate)| *fate != Fate::Forward).count();
    assert_eq!(swallowed, RUNS as usize, "the first put of each run");
}

#[test]
fn a_page_in_the_services_place_is_not_taken_for_it() {
    // What a hotel's network, or a proxy that wants a login, answers to everything.
    let bench = Bench::new();
    let page = format!("<html><body>Please log in{}</body></html>", " ".repeat(100_000));
    bench.refused(200, "Content-Type: text/html\r\n", &page).exits(1).says("is no identity of a destination");
    assert_eq!(bench.server.keys(""), Vec::<String>::new());
    // Once it is gone, everything arrives.
    bench.forward(&format!("s3://{BUCKET}"), &bench.server.endpoint()).exits(0);
    assert_eq!(bench.server.keys("test_results/").len(), bench.runs.len());
}

#[test]
fn refusals_block_the_sink_with_a_class_and_a_remedy() {
    let bench = Bench::new();
    let xml = |code: &str| format!("<Error><Code>{code}</Code><Message>why</Message></Error>");
    bench
        .refused(403, "", &xml("InvalidAccessKeyId"))
        .exits(1)
        .says("auth")
        .says("InvalidAccessKeyId")
        .says("hint: the credentials need");
    bench.refused(403, "", &xml("SignatureDoesNotMatch")).exits(1).says("the secret key does not fit");
    bench.refused(400, "", &xml("ExpiredToken")).exits(1).says("auth").says("have expired: get new ones");
    let skewed = "Date: Wed, 21 Oct 2015 07:28:00 GMT\r\n";
    bench.refused(403, skewed, &xml("RequestTimeTooSkewed")).exits(1).says("auth").says("hours ahead of the service's");
    bench
        .refused(301, "x-amz-bucket-region: eu-west-1\r\n", &xml("PermanentRedirect"))
        .exits(1)
        .says("options.region = \"eu-west-1\"");
    bench
        .forward("s3://not-there", &bench.server.endpoint())
        .exits(1)
        .says("config")
        .says("hint: the bucket or container has to exist");
    assert_eq!(bench.server.keys(""), Vec::<String>::new(), "nothing was written");
}
