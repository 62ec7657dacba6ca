//! All ten comparators against every kind of value and limit. The outcomes are those that the real litmus-test 0.1.3 gave:
//! `cargo xtask compat` asks it, and TesterKit 0.6.0, again, and writes `tests/golden/comparators.json`.

use litmus_record::{Comparator, Measure, Outcome};
use serde_json::Value;

#[test]
fn every_verdict_is_the_platforms() {
    let table: Value = serde_json::from_str(include_str!("../golden/comparators.json")).expect("JSON");
    let numbers = |name: &str| table[name].as_array().expect("numbers").iter().map(number).collect::<Vec<_>>();
    let (values, limits, nominals) = (numbers("values"), numbers("limits"), numbers("nominals"));
    let mut seen = std::collections::BTreeSet::new();
    let mut compared = 0;
    for comparator in Comparator::ALL {
        let mut outcomes = table["outcomes"][comparator.as_str()].as_str().expect("outcomes").chars();
        for (value, low, high, nominal) in product(&values, &limits, &nominals) {
            let theirs = table["letters"][&outcomes.next().expect("an outcome").to_string()].as_str();
            let ours = comparator.judge(value, low, high, nominal);
            let case = format!("{value:?} {comparator} low {low:?} high {high:?} nominal {nominal:?}");
            assert_eq!(ours.map(Outcome::as_str), theirs, "{case}");
            seen.insert((comparator.as_str(), ours));
            compared += 1;
        }
        assert_eq!(outcomes.next(), None, "{comparator}");
    }
    // A table that never passes or never fails a comparator would show nothing.
    for comparator in Comparator::ALL {
        for outcome in [None, Some(Outcome::Done), Some(Outcome::Passed), Some(Outcome::Failed)] {
            assert!(seen.contains(&(comparator.as_str(), outcome)), "{comparator} never came to {outcome:?}");
        }
    }
    assert_eq!(compared, 10 * 9 * 7 * 7 * 5, "comparators, values, limits on each side, nominals");
}

type Number = Option<f64>;

fn product<'a>(
    values: &'a [Number],
    limits: &'a [Number],
    nominals: &'a [Number],
) -> impl Iterator<Item = (Number, Number, Number, Number)> + 'a {
    values.iter().flat_map(move |value| {
        limits.iter().flat_map(move |low| {
            limits.iter().flat_map(move |high| nominals.iter().map(move |nominal| (*value, *low, *high, *nominal)))
        })
    })
}

fn number(value: &Value) -> Number {
    match value {
        Value::String(text) => Some(match text.as_str() {
            "NaN" => f64::NAN,
            "Infinity" => f64::INFINITY,
            "-Infinity" => f64::NEG_INFINITY,
            other => panic!("{other} is no number"),
        }),
        other => other.as_f64(),
    }
}

#[test]
fn a_measurement_is_judged_when_recorded() {
    let mut measure = Measure::new("v", 5.0);
    (measure.high, measure.comparator) = (Some(5.0), Comparator::Lt);
    let folder = tempfile::tempdir().expect("a folder");
    let run =
        litmus_record::Client::new(folder.path()).start_run(litmus_record::RunOptions::new("S", "b")).expect("a run");
    let step = run.step("s");
    assert_eq!(step.record(measure).expect("recorded").outcome, Some(Outcome::Failed));
    assert_eq!(step.outcome(), Some(Outcome::Failed));
    assert!("GEQ".parse::<Comparator>().expect_err("no comparator").hint().expect("a hint").contains("GELE"));
}
