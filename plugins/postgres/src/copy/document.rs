//! JSON documents. `jsonb` and the digest must agree on what a document is: a text that one of them takes and the other
//! does not, or reads as another value, would look like damage.

use std::borrow::Cow;

use litmus_sql::extra::whole;
use serde::de::IgnoredAny;
use serde_json::{Map, Value};

/// What becomes of a text that is said to be JSON.
#[derive(Debug, PartialEq)]
pub(super) enum Document<'a> {
    /// A document for `jsonb`.
    Json(Cow<'a, str>),
    /// The same, with each U+0000 replaced, which `jsonb` cannot hold.
    Replaced(String),
    /// No JSON, or nothing that `jsonb` takes: it counts as the text it is.
    Text,
}

/// Deeper documents, longer numbers and escapes get a close look; nearly all have none of them.
const DEPTH_PLAIN: usize = 64;
const NUMBER_PLAIN: usize = 300;

pub(super) fn document(text: &str) -> Document<'_> {
    if is_plain(text.as_bytes()) {
        return match serde_json::from_str::<IgnoredAny>(text) {
            Ok(_) => Document::Json(Cow::Borrowed(text)),
            Err(_) => Document::Text,
        };
    }
    // As the digest reads it: out-of-range numbers, lone surrogates and very deep documents are no JSON to it.
    let Ok(value) = serde_json::from_str::<Value>(text) else { return Document::Text };
    // Written anew, numbers are what the digest counts (IEEE doubles), and short enough for PostgreSQL's `numeric`.
    let has_nul = has_nul(&value);
    let text = anew(value).to_string();
    if has_nul { Document::Replaced(text) } else { Document::Json(Cow::Owned(text)) }
}

/// Whether nothing in it can be read in two ways: no `\u` escape, no exponent, no long number, not deep.
fn is_plain(text: &[u8]) -> bool {
    let (mut in_string, mut depth, mut number) = (false, 0usize, 0usize);
    let mut at = 0;
    while at < text.len() {
        let byte = text[at];
        if in_string {
            match byte {
                b'\\' => {
                    if text.get(at + 1) == Some(&b'u') {
                        return false;
                    }
                    at += 1;
                }
                b'"' => in_string = false,
                _ => {}
            }
        } else {
            number = if byte.is_ascii_digit() || byte == b'.' { number + 1 } else { number };
            match byte {
                b'"' => in_string = true,
                b'[' | b'{' => depth += 1,
                b']' | b'}' => depth = depth.saturating_sub(1),
                b'e' | b'E' if number > 0 => return false,
                b'0'..=b'9' | b'.' => {}
                _ => number = 0,
            }
            if depth > DEPTH_PLAIN || number > NUMBER_PLAIN {
                return false;
            }
        }
        at += 1;
    }
    true
}

fn has_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(elements) => elements.iter().any(has_nul),
        Value::Object(members) => members.iter().any(|(key, value)| key.contains('\0') || has_nul(value)),
        _ => false,
    }
}

/// With U+0000 replaced, and numbers spelled so that `numeric` means the same ([`whole`]).
fn anew(value: Value) -> Value {
    match value {
        Value::String(text) => Value::String(clean(text)),
        Value::Array(elements) => elements.into_iter().map(anew).collect(),
        Value::Object(members) => {
            Value::Object(members.into_iter().map(|(key, value)| (clean(key), anew(value))).collect::<Map<_, _>>())
        }
        Value::Number(number) if number.is_f64() => match number.as_f64().and_then(whole) {
            Some(whole) => Value::from(whole),
            None => Value::Number(number),
        },
        other => other,
    }
}

fn clean(text: String) -> String {
    if text.contains('\0') { text.replace('\0', "\u{fffd}") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_documents_stay_as_they_are() {
        for text in [r#"{"a": [1, 2.50, "x\n\"e5"], "b": null}"#, "1.50", "\"°C\"", "[]", " true "] {
            assert_eq!(document(text), Document::Json(Cow::Borrowed(text)));
        }
    }

    #[test]
    fn what_the_two_sides_read_differently_is_written_anew_or_is_text() {
        let json = |text: &str| match document(text) {
            Document::Json(json) => json.into_owned(),
            other => panic!("{text}: {other:?}"),
        };
        assert_eq!(json("1e2"), "100.0");
        assert_eq!(json("[1e-400]"), "[0.0]");
        // The double, not the decimal.
        assert_eq!(json("[9.223372036854775e18]"), "[9223372036854774784]");
        assert_eq!(json(r#""\u00b0""#), "\"°\"");
        assert_eq!(document(r#"{"a\u0000":"\u0000"}"#), Document::Replaced("{\"a\u{fffd}\":\"\u{fffd}\"}".to_owned()));
        let deep = "[".repeat(200) + &"]".repeat(200);
        for text in ["", "{oops", "NaN", "1e400", r#""\ud800""#, "\"a\0\"", deep.as_str(), &"9".repeat(400)] {
            assert_eq!(document(text), Document::Text, "{text}");
        }
    }
}
