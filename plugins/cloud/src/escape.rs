//! Values as parts of keys: safe at every store and on every file system, and reversible.
//!
//! ASCII letters, digits, `_` and `-` stay; so does a `.` that is neither first nor last nor follows another one. Every
//! other byte of the UTF-8 text becomes `!` and two upper-case hex digits (`!` is among the characters that S3 calls safe,
//! `%` is not). An empty value is `!-`. A value that gets longer than its limit is cut and ends in `!!` and 32 hex digits
//! of its SHA-256: still one key a value, but the rest has to be read from the run.

use sha2::{Digest, Sha256};

/// The longest value in a key, in bytes; file systems take 255 for a name.
pub(crate) const VALUE_BYTES_MAX: usize = 160;
/// An empty value.
const EMPTY: &str = "!-";
/// Before the digits of the hash of a value that was cut.
const CUT: &str = "!!";
/// Hex digits of that hash: 128 bits.
const HASH_DIGITS: usize = 32;

/// The value as one part of a key, without `/`.
pub(crate) fn escape(value: &str) -> String {
    shortened(escape_whole(value), value, VALUE_BYTES_MAX)
}

/// Cuts an escaped text that is too long.
pub(crate) fn shortened(mut escaped: String, value: &str, bytes_max: usize) -> String {
    if escaped.len() <= bytes_max {
        return escaped;
    }
    let mut keep = bytes_max - CUT.len() - HASH_DIGITS;
    // Not in the middle of an escape: `!` stands at most two bytes before the cut.
    if let Some(at) = (1..=2).find(|at| escaped.as_bytes()[keep - at] == b'!') {
        keep -= at;
    }
    escaped.truncate(keep);
    let hash = Sha256::digest(value.as_bytes());
    escaped + CUT + &hex(&hash[..HASH_DIGITS / 2])
}

/// Lower-case hex digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let digit = |half: u8| char::from_digit(u32::from(half), 16).unwrap_or_default();
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

fn escape_whole(value: &str) -> String {
    if value.is_empty() {
        return EMPTY.to_owned();
    }
    let bytes = value.as_bytes();
    let mut escaped = String::with_capacity(bytes.len());
    for (at, byte) in bytes.iter().enumerate() {
        let plain = match byte {
            b'.' => at > 0 && at + 1 < bytes.len() && bytes[at - 1] != b'.',
            other => other.is_ascii_alphanumeric() || matches!(other, b'_' | b'-'),
        };
        if plain {
            escaped.push(char::from(*byte));
        } else {
            push_escaped(&mut escaped, *byte);
        }
    }
    escaped
}

/// The value with its first byte escaped: for one that would read as something else.
pub(crate) fn escape_first(value: &str) -> String {
    let mut escaped = String::new();
    if let Some((first, rest)) = value.as_bytes().split_first() {
        push_escaped(&mut escaped, *first);
        escaped.push_str(std::str::from_utf8(rest).unwrap_or_default());
    }
    escaped
}

fn push_escaped(text: &mut String, byte: u8) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    text.push('!');
    text.push(char::from(DIGITS[usize::from(byte >> 4)]));
    text.push(char::from(DIGITS[usize::from(byte & 15)]));
}

/// The value of an escaped part; `None` where it was cut, or was never escaped. What docs/sinks/cloud.md tells users to do.
#[cfg(test)]
pub(crate) fn unescape(escaped: &str) -> Option<String> {
    if escaped == EMPTY {
        return Some(String::new());
    }
    let mut bytes = Vec::new();
    let mut rest = escaped.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        rest = tail;
        if *first != b'!' {
            bytes.push(*first);
            continue;
        }
        let digits = std::str::from_utf8(rest.get(..2)?).ok()?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        rest = &rest[2..];
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn serials_that_bite_become_harmless() {
        for (value, escaped) in [
            ("SN-0001", "SN-0001"),
            ("../../x", "!2E!2E!2F.!2E!2Fx"),
            ("LOT/7/SN9", "LOT!2F7!2FSN9"),
            ("a..b", "a.!2Eb"),
            (".hidden", "!2Ehidden"),
            ("ends.", "ends!2E"),
            ("v1.2", "v1.2"),
            ("line\nbreak", "line!0Abreak"),
            ("", "!-"),
            ("!-", "!21-"),
            ("😀", "!F0!9F!98!80"),
        ] {
            assert_eq!(escape(value), escaped, "{value:?}");
            assert_eq!(unescape(escaped).as_deref(), Some(value));
        }
    }

    #[test]
    fn a_long_value_is_cut_and_stays_distinct() {
        let long = "x".repeat(400);
        let other = "x".repeat(399) + "y";
        assert_eq!(escape(&long).len(), VALUE_BYTES_MAX);
        assert_ne!(escape(&long), escape(&other));
        assert!(escape(&"😀".repeat(100)).len() <= VALUE_BYTES_MAX);
        assert_eq!(unescape(&escape(&long)), None);
    }

    /// Texts with much of what bites.
    fn nasty() -> impl Strategy<Value = String> {
        proptest::collection::vec(
            prop_oneof![
                Just(".".to_owned()),
                Just("/".to_owned()),
                Just("!".to_owned()),
                Just("!-".to_owned()),
                any::<char>().prop_map(String::from),
                "[A-Za-z0-9_-]{0,60}"
            ],
            0..12,
        )
        .prop_map(|parts| parts.concat())
    }

    proptest! {
        #[test]
        fn escaped_values_are_safe_and_turn_back(value in nasty()) {
            let escaped = escape(&value);
            prop_assert!(escaped.len() <= VALUE_BYTES_MAX && !escaped.is_empty());
            prop_assert!(escaped.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.!".contains(&byte)), "{escaped}");
            prop_assert!(!escaped.starts_with('.') && !escaped.ends_with('.') && !escaped.contains(".."), "{escaped}");
            if !escaped.contains(CUT) {
                prop_assert_eq!(unescape(&escaped), Some(value));
            }
        }

        #[test]
        fn different_values_are_escaped_differently(a in nasty(), b in nasty()) {
            prop_assert_eq!(a == b, escape(&a) == escape(&b));
        }
    }
}
