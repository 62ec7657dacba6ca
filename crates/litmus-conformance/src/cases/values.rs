//! What may stand in a run: every kind of value at its edges, hostile names, and runs of any size.

use std::fs;

use arrow::array::{BooleanArray, Int64Array};
use litmus_core::Status;

use crate::bench::{Bench, deliver, holds};
use crate::case::{Broken, Case, Need};
use crate::synth::Plan;

const WHOLE: &str = "every value arrives as it is, or converted by a rule that the receipt names";
const NAMES: &str = "whatever names and serials are, nothing is mixed up, lost or executed";
const SIZES: &str = "runs and batches of any size arrive, in bounded memory";

/// What one run of 80,000 measurements may add to the memory of a process that runs plugin and reader.
const MEMORY_BYTES_MAX: u64 = 160 << 20;

pub(super) const CASES: &[Case] = &[
    Case {
        group: "deliver",
        name: "deliver_numbers",
        description: "NaN, infinities, zeros, the largest, the smallest, subnormals, integers to 64 bits, booleans, nulls",
        guarantee: WHOLE,
        needs: &[Need::Audit],
        run: numbers,
    },
    Case {
        group: "deliver",
        name: "deliver_texts",
        description: "empty beside null, quotes, control characters, U+0000, every plane of Unicode, 100,000 characters",
        guarantee: WHOLE,
        needs: &[Need::Audit],
        run: texts,
    },
    Case {
        group: "deliver",
        name: "deliver_times",
        description: "microseconds before 1970, in 1700 and at the end of 9999, beside null",
        guarantee: WHOLE,
        needs: &[Need::Audit],
        run: times,
    },
    Case {
        group: "deliver",
        name: "deliver_hostile_names",
        description: "inputs and outputs named with quotes, semicolons, spaces, key words, 200 letters, and by case alone",
        guarantee: NAMES,
        needs: &[Need::Audit],
        run: hostile_names,
    },
    Case {
        group: "deliver",
        name: "deliver_hostile_serials",
        description: "serials with slashes, dots, line ends, none, empty, very long, and two that differ by case alone",
        guarantee: NAMES,
        needs: &[],
        run: hostile_serials,
    },
    Case {
        group: "deliver",
        name: "deliver_many_columns",
        description: "a run with 600 outputs",
        guarantee: SIZES,
        needs: &[Need::Audit],
        run: many_columns,
    },
    Case {
        group: "deliver",
        name: "deliver_empty_run",
        description: "a run without a measurement, alone and among others",
        guarantee: SIZES,
        needs: &[],
        run: empty_run,
    },
    Case {
        group: "deliver",
        name: "deliver_huge_run",
        description: "a run of 80,000 measurements adds less than 160 MiB to the process",
        guarantee: SIZES,
        needs: &[],
        run: huge_run,
    },
    Case {
        group: "deliver",
        name: "deliver_five_hundred_runs",
        description: "a batch of 500 runs is delivered, each with its report",
        guarantee: SIZES,
        needs: &[Need::Audit],
        run: five_hundred,
    },
];

/// Delivers runs in one batch, and looks at all their rows where that can be done.
fn arrive(bench: &Bench, plans: &[Plan]) -> Result<(), Broken> {
    let (instance, runs) = (bench.open("destination")?, bench.made(plans)?);
    deliver(&instance, &runs).all(Status::Delivered, &runs)?;
    if bench.capabilities().audit { holds(&instance, &runs) } else { Ok(()) }
}

fn at<T: Clone>(values: &[T], row: usize) -> Option<T> {
    values.get(row).cloned()
}

fn numbers(bench: &Bench) -> Result<(), Broken> {
    const FLOATS: [f64; 15] = [
        f64::NAN,
        f64::INFINITY,
        f64::NEG_INFINITY,
        0.0,
        -0.0,
        f64::MAX,
        f64::MIN,
        f64::MIN_POSITIVE,
        5e-324,
        0.1,
        1.0 / 3.0,
        -1e-300,
        9_007_199_254_740_993.0,
        1e22,
        123_456_789.123_456_79,
    ];
    const WHOLES: [i64; 6] = [0, -1, 9_007_199_254_740_992, -9_007_199_254_740_992, 1, 42];
    const LARGE: [i64; 4] = [i64::MAX, i64::MIN, 9_007_199_254_740_993, 0];
    let plan = Plan::new(1, FLOATS.len() + 2)
        .with_numbers("measurement_value", |row| at(&FLOATS, row))
        .with_numbers("limit_low", |row| at(&FLOATS, FLOATS.len().wrapping_sub(row + 1)))
        .with_numbers("limit_high", |row| at(&FLOATS, (row + 5) % FLOATS.len()))
        .with_numbers("in_number", |row| at(&FLOATS, (row + 7) % FLOATS.len()))
        .with_numbers("out_never", |_| None)
        .with::<i64, Int64Array>("in_whole", |row| (row > 0).then(|| WHOLES[row % WHOLES.len()]))
        .with::<i64, Int64Array>("out_large", |row| (row > 0).then(|| LARGE[row % LARGE.len()]))
        .with::<bool, BooleanArray>("out_flag", |row| (row % 3 > 0).then_some(row % 2 == 0));
    arrive(bench, &[plan])
}

fn texts(bench: &Bench) -> Result<(), Broken> {
    let long = "The quick brown fox. ".repeat(5000);
    let texts: Vec<Option<String>> = [
        Some(""),
        None,
        Some(" "),
        Some("'); DROP TABLE test_runs; --"),
        Some("\"quoted\" \\backslashed\\ \\N \\. %s $1 {0}"),
        Some("tab\tnewline\nreturn\r\nform\u{c}escape\u{1b}[31mdelete\u{7f}"),
        Some("before\0after"),
        Some("\u{1}\u{2}\u{1f}\u{80}\u{9f}\u{feff}\u{fffd}\u{ffff}"),
        Some("µΩ°C シリアル 序列号 שלום مرحبا \u{202e}left\u{202c}"),
        Some("e\u{301} ≠ \u{e9}"),
        Some("😀👨‍👩‍👧‍👦\u{10ffff}"),
        Some("{\"json\": [1, 2.0, null, \"x\"]}"),
        Some("NaN"),
        Some("NULL"),
        Some("2026-03-01T06:00:00Z"),
        Some("00123"),
        Some(&long),
    ]
    .iter()
    .map(|text| text.map(str::to_owned))
    .collect();
    let count = texts.len();
    let turned = |by: usize| {
        let texts = texts.clone();
        move |row: usize| texts[(row + by) % texts.len()].clone()
    };
    let plan = Plan::new(1, count)
        .with_texts("measurement_name", turned(0))
        .with_texts("measurement_units", turned(1))
        .with_texts("step_name", turned(2))
        .with_texts("in_text", turned(3))
        .with_texts("out_text", turned(4))
        .with_texts("custom_text", turned(5));
    arrive(bench, &[plan])
}

fn times(bench: &Bench) -> Result<(), Broken> {
    /// 1700-01-01, 9999-12-31T23:59:59.999999.
    const TIMES: [i64; 9] = [
        0,
        -1,
        1,
        -8_520_336_000_000_000,
        253_402_300_799_999_999,
        1_772_344_800_123_456,
        -62_135_596_800_000_000,
        951_782_400_000_000,
        1_000_000,
    ];
    let plan = Plan::new(1, TIMES.len() + 1)
        .with_times("measurement_timestamp", |row| at(&TIMES, row))
        .with_times("step_started_at", |row| at(&TIMES, (row + 3) % 10))
        .with_times("out_time", |row| at(&TIMES, (row + 6) % 10));
    arrive(bench, &[plan])
}

fn hostile_names(bench: &Bench) -> Result<(), Broken> {
    let long = "n".repeat(200);
    let longer = format!("{}_2", "n".repeat(200));
    let names = [
        "select",
        "order by",
        "a\"b",
        "a'b",
        "x; DROP TABLE runs",
        "a b",
        "a.b",
        "a-b",
        "a_b",
        "Load",
        "load",
        "LOAD",
        "µ",
        "温度",
        "1st",
        "%d",
        "run_id",
        "extra",
        "rowid",
        "_",
        "tab\there",
        &long,
        &longer,
    ];
    let mut plan = Plan::new(1, 3);
    for (index, name) in names.iter().enumerate() {
        plan = plan.with_numbers(&format!("in_{name}"), move |row| Some((index * 10 + row) as f64));
        plan = plan.with_texts(&format!("out_{name}"), move |row| Some(format!("{index}/{row}")));
    }
    // A second run with some of the names of another kind: it must not bend the first one.
    let other =
        Plan::new(2, 3).with_texts("in_load", |row| Some(format!("text {row}"))).with_numbers("in_Load", |_| None);
    arrive(bench, &[plan, other])
}

fn hostile_serials(bench: &Bench) -> Result<(), Broken> {
    let long = "S".repeat(3000);
    let serials = [
        Some("LOT/7/SN9"),
        Some("../../etc/passwd"),
        Some(".."),
        Some("."),
        Some("/absolute"),
        Some("line\nend"),
        Some("nul\0byte"),
        Some(""),
        None,
        Some("sn-1"),
        Some("SN-1"),
        Some("with space "),
        Some("100%25"),
        Some("a\\b:c*d?e<f>g|h\"i"),
        Some("シリアル-Ω"),
        Some(&long),
    ];
    let plans: Vec<_> = serials
        .iter()
        .enumerate()
        .map(|(index, serial)| Plan { serial: serial.map(str::to_owned), ..Plan::new(index as u128 + 1, 2) })
        .collect();
    arrive(bench, &plans)
}

fn many_columns(bench: &Bench) -> Result<(), Broken> {
    let plan = (0..600).fold(Plan::new(1, 2), |plan, index| {
        plan.with_numbers(&format!("out_{index:03}"), move |row| Some((index * 2 + row) as f64))
    });
    arrive(bench, &[plan])
}

fn empty_run(bench: &Bench) -> Result<(), Broken> {
    arrive(bench, &[Plan::new(1, 0)])?;
    arrive(bench, &[Plan::new(2, 1), Plan::new(3, 0), Plan::new(4, 1)])
}

fn huge_run(bench: &Bench) -> Result<(), Broken> {
    let mut plan = Plan::new(1, 80_000);
    for column in 0..10 {
        plan = plan.with_texts(&format!("out_note_{column}"), move |row| {
            Some(format!(
                "note {column} of measurement {row}: {:016x}",
                (row as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)
            ))
        });
    }
    let (instance, runs) = (bench.open("destination")?, bench.made(&[plan, Plan::new(2, 3)])?);
    // The first delivery brings in what a plugin allocates once.
    deliver(&instance, &runs[1..]).all(Status::Delivered, &runs[1..])?;
    let before = memory("VmRSS:")?;
    // Sets the peak back to what is used now (proc_pid_clear_refs(5)).
    fs::write("/proc/self/clear_refs", "5").map_err(|error| format!("/proc/self/clear_refs: {error}"))?;
    deliver(&instance, &runs[..1]).all(Status::Delivered, &runs[..1])?;
    let grown = memory("VmHWM:")?.saturating_sub(before);
    if grown <= MEMORY_BYTES_MAX {
        Ok(())
    } else {
        Err(format!("a run of {} sealed bytes added {} MiB to the process", runs[0].sealed_bytes(), grown >> 20))
    }
}

/// A line of `/proc/self/status`, in bytes.
fn memory(line: &str) -> Result<u64, Broken> {
    let text = fs::read_to_string("/proc/self/status").map_err(|error| error.to_string())?;
    let found = text.lines().find_map(|text| text.strip_prefix(line));
    let kibibytes = found.and_then(|text| text.split_whitespace().next()?.parse::<u64>().ok());
    Ok(kibibytes.ok_or(format!("/proc/self/status has no {line}"))? << 10)
}

fn five_hundred(bench: &Bench) -> Result<(), Broken> {
    let plans: Vec<_> = (1..=500).map(|number| Plan::new(number, 1)).collect();
    arrive(bench, &plans)
}
