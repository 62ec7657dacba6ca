//! The boundary itself: peers of other versions, several of everything, any thread.

use std::fs;
use std::thread;

use litmus_core::abi::host::{Instance, Plugin};
use litmus_core::{OpenMode, Status};

use crate::bench::{Bench, call, deliver, deliver_in, holds};
use crate::case::{Broken, Case, Need};
use crate::source::Source;

const VERSIONS: &str = "a plugin works with hosts of later minors of the ABI";
const TOGETHER: &str = "instances and libraries in one process share nothing";
const THREADS: &str = "a plugin works on whatever thread it is called, and on as many at once as it declares";

pub(super) const CASES: &[Case] = &[
    Case {
        group: "abi",
        name: "abi_newer_host",
        description: "a host of a later minor: longer structs for call and runs, and flags that nobody knows",
        guarantee: VERSIONS,
        needs: &[],
        run: newer_host,
    },
    Case {
        group: "abi",
        name: "abi_second_copy_in_one_process",
        description: "two copies of the library, loaded from two files, deliver in turn to two destinations",
        guarantee: TOGETHER,
        needs: &[],
        run: second_copy,
    },
    Case {
        group: "abi",
        name: "abi_any_thread",
        description: "each call comes from a thread of its own, which ends after it",
        guarantee: THREADS,
        needs: &[],
        run: any_thread,
    },
    Case {
        group: "abi",
        name: "abi_deliveries_at_once",
        description: "different runs are delivered from as many threads as are declared, over and over",
        guarantee: THREADS,
        needs: &[Need::Concurrent, Need::Audit],
        run: deliveries_at_once,
    },
    Case {
        group: "abi",
        name: "abi_close_after_interruption",
        description: "an instance is closed right after a delivery that was cancelled, and another one takes over",
        guarantee: "close ends an instance, whatever it was doing",
        needs: &[Need::Dedup],
        run: close_after_interruption,
    },
    Case {
        group: "abi",
        name: "abi_host_has_no_complaint",
        description: "no stream kept, no report twice or of no run, no unknown status, no receipt that is none, no grade too high",
        guarantee: "a plugin keeps to the rules of the ABI",
        needs: &[],
        run: no_complaint,
    },
];

fn check_held(bench: &Bench, instance: &Instance, runs: &[Source]) -> Result<(), Broken> {
    if bench.capabilities().audit { holds(instance, runs) } else { Ok(()) }
}

fn newer_host(bench: &Bench) -> Result<(), Broken> {
    let (instance, runs) = (bench.open("destination")?.as_newer_host(), bench.few_runs(5)?);
    deliver(&instance, &runs).all(Status::Delivered, &runs)?;
    check_held(bench, &instance, &runs)?;
    instance.check(&call(&|| false)).map_err(|error| format!("check: {error}"))?;
    instance.flush(&call(&|| false)).map_err(|error| format!("flush: {error}"))?;
    instance.close(&call(&|| false)).map_err(|error| format!("close: {error}"))
}

fn second_copy(bench: &Bench) -> Result<(), Broken> {
    let name = bench.suite.plugin.file_name().ok_or("the plugin has no name")?;
    let copy = bench.folder("copy")?.join(name);
    fs::copy(&bench.suite.plugin, &copy).map_err(|error| format!("{}: {error}", copy.display()))?;
    let other = Plugin::load(&copy, bench.logs.sink()).map_err(|error| error.to_string())?;
    let a = bench.open("a")?;
    let b = other.open(&bench.config("b")?, OpenMode::Live, &call(&|| false));
    let b = b.map_err(|error| format!("open of a second copy of the library: {error}"))?;
    let runs = bench.few_runs(8)?;
    let (of_a, of_b) = runs.split_at(4);
    for (one, other) in of_a.iter().zip(of_b) {
        for (instance, run) in [(&a, one), (&b, other)] {
            let batch = std::slice::from_ref(run);
            deliver(instance, batch).all(Status::Delivered, batch)?;
        }
    }
    check_held(bench, &a, of_a)?;
    check_held(bench, &b, of_b)?;
    a.close(&call(&|| false)).map_err(|error| format!("close: {error}"))?;
    // The second one goes on without the first.
    check_held(bench, &b, of_b)?;
    b.close(&call(&|| false)).map_err(|error| format!("close: {error}"))
}

fn any_thread(bench: &Bench) -> Result<(), Broken> {
    fn on_a_thread<T: Send>(body: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| scope.spawn(body).join().expect("the host's side does not panic"))
    }
    let config = bench.config("destination")?;
    let plugin = bench.plugin.clone();
    let runs = bench.few_runs(6)?;
    let instance = on_a_thread(|| plugin.open(&config, OpenMode::Live, &call(&|| false)));
    let instance = instance.map_err(|error| format!("open: {error}"))?;
    for batch in runs.chunks(2) {
        on_a_thread(|| deliver(&instance, batch)).all(Status::Delivered, batch)?;
    }
    on_a_thread(|| instance.check(&call(&|| false))).map_err(|error| format!("check: {error}"))?;
    on_a_thread(|| check_held(bench, &instance, &runs))?;
    on_a_thread(|| instance.flush(&call(&|| false))).map_err(|error| format!("flush: {error}"))?;
    on_a_thread(move || instance.close(&call(&|| false))).map_err(|error| format!("close: {error}"))
}

fn deliveries_at_once(bench: &Bench) -> Result<(), Broken> {
    let threads = bench.capabilities().max_concurrent_delivers.min(8) as usize;
    let (instance, runs) = (bench.open("destination")?, bench.few_runs(threads * 4)?);
    thread::scope(|scope| {
        let started: Vec<_> = runs
            .chunks(4)
            .map(|of_thread| {
                let instance = &instance;
                scope.spawn(move || {
                    of_thread.iter().try_for_each(|run| {
                        let batch = std::slice::from_ref(run);
                        super::exactly_once::until_final(instance, batch).map(|_| ())
                    })
                })
            })
            .collect();
        started.into_iter().try_for_each(|thread| thread.join().expect("no delivery panics"))
    })?;
    holds(&instance, &runs)
}

fn close_after_interruption(bench: &Bench) -> Result<(), Broken> {
    let runs = bench.few_runs(8)?;
    for polls in [0, 2, 6] {
        let instance = bench.open("destination")?;
        let asked = std::sync::atomic::AtomicU32::new(0);
        let after_some = || asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed) >= polls;
        deliver_in(&instance, &runs, &call(&after_some));
        instance.close(&call(&|| false)).map_err(|error| format!("close: {error}"))?;
    }
    let instance = bench.open("destination")?;
    super::exactly_once::until_final(&instance, &runs)?;
    check_held(bench, &instance, &runs)
}

fn no_complaint(bench: &Bench) -> Result<(), Broken> {
    /// Words of the host's own warnings about a plugin.
    const COMPLAINTS: &[&str] = &[
        "past the end of its call",
        "of the batch a second time; ignored",
        "of a batch of",
        "reports the unknown status",
        "of the batch that is none",
        "where it promises",
        "answers audit twice",
        "logs too much",
    ];
    let (instance, runs) = (bench.open("destination")?, bench.few_runs(8)?);
    deliver(&instance, &runs).all(Status::Delivered, &runs)?;
    deliver(&instance, &runs);
    check_held(bench, &instance, &runs)?;
    instance.close(&call(&|| false)).map_err(|error| format!("close: {error}"))?;
    let all = bench.logs.all();
    let complaint = all.iter().find(|(_, text)| COMPLAINTS.iter().any(|words| text.contains(words)));
    complaint.map_or(Ok(()), |(_, text)| Err(format!("the host complains: {text}")))
}
