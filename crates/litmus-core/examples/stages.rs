//! What reading costs, stage by stage: `cargo run --release -p litmus-core --features reader --example stages -- DATA_DIR
//! [FILES] [PASSES]`. A stage takes what the one before it left; each is a function of its own, so that callgrind counts its
//! instructions (`valgrind --tool=callgrind --toggle-collect=stages::digest …`).

use std::path::Path;
use std::time::{Duration, Instant};

use litmus_core::Table;
use litmus_core::digest::{BatchDigester, Conversions};
use litmus_core::reader::{FoundFile, RunFile, Store};

const STAGES: [&str; 5] = ["open", "attachments", "summary", "tables", "digest"];

#[inline(never)]
fn open(store: &Store, file: &FoundFile) -> RunFile {
    store.open_run(&file.path).expect("a run")
}

#[inline(never)]
fn attachments(run: &RunFile) -> usize {
    run.attachments().expect("attachments").len()
}

#[inline(never)]
fn summary(run: &RunFile) -> usize {
    serde_json::to_string(run.summary()).expect("a summary is JSON").len()
}

#[inline(never)]
fn tables(run: &RunFile) -> Vec<Vec<arrow::array::RecordBatch>> {
    let table = |table| run.open_table(table).expect("a table").map(|batch| batch.expect("a batch")).collect();
    Table::ALL.into_iter().map(table).collect()
}

#[inline(never)]
fn digest(tables: &[Vec<arrow::array::RecordBatch>]) -> u128 {
    let mut sum = 0u128;
    for batches in tables {
        let Some(first) = batches.first() else { continue };
        let mut digester = BatchDigester::new(&first.schema(), Conversions::default());
        for batch in batches {
            digester.batch(batch);
        }
        sum = sum.wrapping_add(digester.finish().digest.0);
    }
    sum
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let data_dir = arguments.next().expect("a data dir");
    let mut number = |default: usize| arguments.next().map_or(default, |text| text.parse().expect("a number"));
    let (files, passes) = (number(usize::MAX), number(5));
    let store = Store::open(Path::new(&data_dir)).expect("a data dir");
    let found = store.walk().0;
    let found = &found[..found.len().min(files)];
    let mut best = [Duration::MAX; STAGES.len()];
    let mut sum = 0u128;
    for _ in 0..passes {
        let mut spent = [Duration::ZERO; STAGES.len()];
        for file in found {
            let mut start = Instant::now();
            let mut lap = |stage: usize| {
                spent[stage] += start.elapsed();
                start = Instant::now();
            };
            let run = open(&store, file);
            lap(0);
            attachments(&run);
            lap(1);
            summary(&run);
            lap(2);
            let tables = tables(&run);
            lap(3);
            sum = sum.wrapping_add(digest(&tables));
            lap(4);
        }
        best = std::array::from_fn(|stage| best[stage].min(spent[stage]));
    }
    for (stage, best) in STAGES.iter().zip(best) {
        println!("{stage:12} {:8.1} µs a run", best.as_secs_f64() * 1e6 / found.len() as f64);
    }
    println!(
        "all          {:8.1} µs a run; sum of all digests {sum:032x}",
        best.iter().sum::<Duration>().as_secs_f64() * 1e6 / found.len() as f64
    );
}
