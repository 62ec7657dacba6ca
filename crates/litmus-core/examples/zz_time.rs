use std::time::Instant;
use litmus_core::{reader::*, Table, digest::Conversions};
fn main() {
    let dir = std::env::args().nth(1).unwrap();
    let reps: u32 = std::env::args().nth(2).map_or(1, |n| n.parse().unwrap());
    let store = Store::open(std::path::Path::new(&dir)).unwrap();
    let found = store.walk().0;
    let (mut open, mut first, mut tables, mut digests) = (0u128, 0, 0, 0);
    let mut n = 0;
    for _ in 0..reps { for f in &found {
        let t = Instant::now(); let run = store.open_run(&f.path).unwrap(); open += t.elapsed().as_nanos();
        let t = Instant::now(); let _s = run.open_table(Table::Measurements).unwrap(); first += t.elapsed().as_nanos();
        let t = Instant::now(); for table in Table::ALL { let mut rows = 0; let mut batches = 0; for b in run.open_table(table).unwrap() { rows += b.unwrap().num_rows(); batches += 1; } if reps == 1 { println!("{table} {rows} {batches}"); } } tables += t.elapsed().as_nanos();
        let t = Instant::now(); run.digests(Conversions::default()).unwrap(); digests += t.elapsed().as_nanos();
        n += 1;
    } }
    println!("{n} files: open {} us, survey {} us, tables {} us, tables+digests {} us", open/1000/n, first/1000/n, tables/1000/n, digests/1000/n);
    println!("{}", std::fs::read_to_string("/proc/self/status").unwrap().lines().filter(|l| l.starts_with("VmHWM")).collect::<String>());
}
