//! The `extra` JSON of a row: cells that have no column, by canonical name, exactly as they were.
//!
//! Text, booleans, finite numbers and lists are plain JSON. What JSON has no form for is an object of one member:
//! `{"number": "NaN"}`, `{"timestamp": "2026-06-01T01:30:00.000000Z"}` (`{"timestamp_us": N}` outside the years 0001 to
//! 9999) and `{"json": "…"}`, whose text stays as it was written: it may be no valid JSON, or nested too deep to embed.

use litmus_core::digest::Cell;
use serde_json::{Number, Value, json};

use crate::timestamp;

/// A float that JSON (and SQLite) has no number for, as text; `None` for a finite one.
pub fn non_finite_text(number: f64) -> Option<&'static str> {
    if number.is_nan() {
        Some("NaN")
    } else if number == f64::INFINITY {
        Some("Infinity")
    } else if number == f64::NEG_INFINITY {
        Some("-Infinity")
    } else {
        None
    }
}

/// The float of such a text.
pub fn non_finite(text: &str) -> Option<f64> {
    match text {
        "NaN" => Some(f64::NAN),
        "Infinity" => Some(f64::INFINITY),
        "-Infinity" => Some(f64::NEG_INFINITY),
        _ => None,
    }
}

/// The float as a whole number, where its shortest spelling means another one: `9.223372036854775e18` is the double
/// 9223372036854774784, but a database that keeps decimals (`jsonb`) writes it out as 9223372036854775000, an integer of
/// its own. Below 2^53 the spelling is exact; past 64 bits every reader takes a double.
pub fn whole(number: f64) -> Option<i64> {
    const EXACT: std::ops::Range<f64> = 9_007_199_254_740_992.0..9_223_372_036_854_775_808.0;
    EXACT.contains(&number.abs()).then_some(number as i64)
}

/// A cell as `extra` holds it.
pub fn encode(cell: &Cell<'_>) -> Value {
    match cell {
        Cell::Text(text) => Value::from(*text),
        Cell::Int(whole) => Value::from(*whole),
        Cell::Float(number) => match (whole(*number), Number::from_f64(*number)) {
            (Some(whole), _) => Value::from(whole),
            (None, Some(number)) => Value::Number(number),
            (None, None) => json!({ "number": non_finite_text(*number) }),
        },
        Cell::Bool(value) => Value::from(*value),
        Cell::Timestamp(us) => match timestamp::text(*us) {
            Some(text) => json!({ "timestamp": String::from_utf8_lossy(&text) }),
            None => json!({ "timestamp_us": us }),
        },
        Cell::Json(text) => json!({ "json": text }),
        Cell::List(list) => list.iter().map(|element| element.as_ref().map_or(Value::Null, encode)).collect(),
    }
}

/// The cell of a value in `extra`; `None` if [`encode`] never writes such a value.
pub fn decode(value: &Value) -> Option<Cell<'_>> {
    match value {
        Value::Null => None,
        Value::Bool(value) => Some(Cell::Bool(*value)),
        Value::Number(number) => number.as_i64().map(Cell::Int).or_else(|| number.as_f64().map(Cell::Float)),
        Value::String(text) => Some(Cell::Text(text)),
        Value::Array(list) => list_cell(list),
        Value::Object(members) => {
            let (form, value) = members.iter().next().filter(|_| members.len() == 1)?;
            match form.as_str() {
                "number" => non_finite(value.as_str()?).map(Cell::Float),
                "timestamp" => timestamp::parse(value.as_str()?).map(Cell::Timestamp),
                "timestamp_us" => value.as_i64().map(Cell::Timestamp),
                "json" => value.as_str().map(Cell::Json),
                _ => None,
            }
        }
    }
}

/// A list of texts, booleans and nulls as a cell; `None` if anything else is in it.
pub fn list_cell(list: &[Value]) -> Option<Cell<'_>> {
    let element = |value| match value {
        &Value::Null => Some(None),
        &Value::Bool(value) => Some(Some(Cell::Bool(value))),
        Value::String(text) => Some(Some(Cell::Text(text))),
        _ => None,
    };
    list.iter().map(element).collect::<Option<_>>().map(Cell::List)
}

#[cfg(test)]
mod tests {
    use litmus_core::digest::RowDigester;
    use proptest::prelude::*;

    use super::*;

    /// Through text and back, as a destination keeps it.
    fn round_trip(cell: &Cell<'_>) -> Value {
        serde_json::from_str(&encode(cell).to_string()).unwrap()
    }

    fn digest(cell: Cell<'_>) -> String {
        let mut digester = RowDigester::default();
        digester.row([("x", cell)]);
        digester.finish().digest.to_string()
    }

    #[test]
    fn the_forms_that_json_lacks() {
        let form = |cell: Cell<'_>| encode(&cell).to_string();
        assert_eq!(form(Cell::Float(f64::NAN)), r#"{"number":"NaN"}"#);
        assert_eq!(form(Cell::Float(f64::NEG_INFINITY)), r#"{"number":"-Infinity"}"#);
        assert_eq!(form(Cell::Timestamp(0)), r#"{"timestamp":"1970-01-01T00:00:00.000000Z"}"#);
        assert_eq!(form(Cell::Timestamp(i64::MAX)), r#"{"timestamp_us":9223372036854775807}"#);
        assert_eq!(form(Cell::Json("{oops")), r#"{"json":"{oops"}"#);
        assert_eq!(form(Cell::List(vec![Some(Cell::Text("a")), None])), r#"["a",null]"#);
    }

    #[test]
    fn large_whole_floats_are_spelled_out() {
        for number in [9.223_372_036_854_775e18, -9.223_372_036_854_775e18, 9_007_199_254_740_994.0] {
            assert_eq!(encode(&Cell::Float(number)).to_string(), format!("{}", number as i64));
        }
        for number in [-9.223_372_036_854_775e18, 9_007_199_254_740_991.0, 1e19, f64::MIN] {
            assert_eq!(encode(&Cell::Float(number)).as_f64(), Some(number), "{number}");
        }
        assert_eq!(encode(&Cell::Float(5.0)).to_string(), "5.0");
    }

    #[test]
    fn what_is_never_written_is_not_read() {
        for text in ["null", "{}", r#"{"number":"1"}"#, r#"{"timestamp":"now"}"#, r#"{"a":1,"b":2}"#, "[1]", "[[]]"] {
            assert_eq!(decode(&serde_json::from_str(text).unwrap()), None, "{text}");
        }
    }

    fn cell() -> impl Strategy<Value = Value> {
        // Owned stand-ins for cells: (kind, value) pairs that the test turns into cells.
        prop_oneof![
            "(?s).{0,12}".prop_map(|text| json!(["text", text])),
            any::<i64>().prop_map(|us| json!(["timestamp", us])),
            "(?s).{0,12}".prop_map(|text| json!(["json", text])),
        ]
    }

    proptest! {
        #[test]
        fn texts_times_and_json_come_back(cell in cell()) {
            let cell = match cell[0].as_str().unwrap() {
                "text" => Cell::Text(cell[1].as_str().unwrap()),
                "timestamp" => Cell::Timestamp(cell[1].as_i64().unwrap()),
                _ => Cell::Json(cell[1].as_str().unwrap()),
            };
            let value = round_trip(&cell);
            prop_assert_eq!(decode(&value), Some(cell));
        }

        #[test]
        fn numbers_come_back_as_the_digest_counts_them(float in proptest::num::f64::ANY, whole in any::<i64>()) {
            for cell in [Cell::Float(float), Cell::Int(whole)] {
                let value = round_trip(&cell);
                prop_assert_eq!(digest(decode(&value).unwrap()), digest(cell));
            }
        }
    }
}
