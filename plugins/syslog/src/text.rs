//! Text as a syslog message can hold it: names and values are untrusted.
//!
//! Two steps, in this order. *Readable*: what would break a line or a terminal becomes a visible character, by a fixed rule
//! ([`readable`]). *Escaped*: `"`, `\` and `]` in a value of structured data get a `\` before them (RFC 5424, section 6.3.3).

/// The visible character that stands for one that a line cannot hold; `None`: it can.
///
/// Control characters have pictures in Unicode (U+2400 and on); those from U+0080 to U+009F, the line and paragraph separator
/// and the byte order mark have none and become U+FFFD.
pub(crate) fn picture(character: char) -> Option<char> {
    match character {
        '\0'..='\x1f' => char::from_u32(0x2400 + character as u32),
        '\x7f' => Some('\u{2421}'),
        '\u{80}'..='\u{9f}' | '\u{2028}' | '\u{2029}' | '\u{feff}' => Some('\u{fffd}'),
        _ => None,
    }
}

/// Appends text for MSG.
pub(crate) fn readable(out: &mut Vec<u8>, text: &str) {
    if text.bytes().all(|byte| (b' '..0x7f).contains(&byte)) {
        out.extend_from_slice(text.as_bytes());
        return;
    }
    for character in text.chars() {
        push(out, picture(character).unwrap_or(character));
    }
}

/// Appends a value of structured data, without its quotes.
pub(crate) fn escaped(out: &mut Vec<u8>, value: &str) {
    let plain = |byte: u8| (b' '..0x7f).contains(&byte) && !matches!(byte, b'"' | b'\\' | b']');
    if value.bytes().all(plain) {
        out.extend_from_slice(value.as_bytes());
        return;
    }
    for character in value.chars() {
        if matches!(character, '"' | '\\' | ']') {
            out.push(b'\\');
        }
        push(out, picture(character).unwrap_or(character));
    }
}

fn push(out: &mut Vec<u8>, character: char) {
    out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
}

/// Appends a HOSTNAME: what host names and addresses are made of, at most so many bytes; `-` for nothing. The RFC would take
/// any printable ASCII (section 6), collectors do not.
pub(crate) fn hostname(out: &mut Vec<u8>, text: &str, bytes_max: usize) {
    if text.is_empty() {
        out.push(b'-');
    }
    let is_plain = |character: char| character.is_ascii_alphanumeric() || matches!(character, '.' | '-' | '_');
    out.extend(text.chars().map(|character| if is_plain(character) { character as u8 } else { b'_' }).take(bytes_max));
}

/// RFC 5424, section 6.3.3: the longest SD-NAME.
const SD_NAME_BYTES_MAX: usize = 32;

/// A name for structured data: printable ASCII but `=`, space, `]` and `"`, at most 32 bytes. A name that had to be changed
/// ends in a hash of the original, so that two names stay two.
pub(crate) fn sd_name(name: &str) -> String {
    let good = |character: char| character.is_ascii_graphic() && !matches!(character, '=' | ']' | '"');
    if (1..=SD_NAME_BYTES_MAX).contains(&name.len()) && name.chars().all(good) {
        return name.to_owned();
    }
    hashed(name)
}

/// The name of one value among others: one that another has already gets a hash, too. Files bring names of their own, and
/// none of them may pass for a value of the message.
pub(crate) fn sd_name_beside(name: &str, is_taken: impl Fn(&str) -> bool) -> String {
    let plain = sd_name(name);
    if is_taken(&plain) { hashed(name) } else { plain }
}

fn hashed(name: &str) -> String {
    let good = |character: char| character.is_ascii_graphic() && !matches!(character, '=' | ']' | '"');
    let kept = name.chars().map(|character| if good(character) { character } else { '_' });
    let kept: String = kept.take(SD_NAME_BYTES_MAX - 9).collect();
    format!("{kept}_{:08x}", fnv1a(name.as_bytes()))
}

/// FNV-1a with 32 bits: the same in every version, unlike the standard library's hasher.
fn fnv1a(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

/// Where escaped or plain text of at most `bytes_max` bytes may end: not within a character, not between `\` and what it
/// escapes.
pub(crate) fn boundary(text: &[u8], bytes_max: usize) -> usize {
    if text.len() <= bytes_max {
        return text.len();
    }
    let mut end = bytes_max;
    while end > 0 && text[end] & 0xc0 == 0x80 {
        end -= 1;
    }
    let backslashes = text[..end].iter().rev().take_while(|byte| **byte == b'\\').count();
    end - backslashes % 2
}

/// Appends a time as RFC 5424, section 6.2.3, writes it: UTC, microseconds; `-` where there is none, or where the year has no
/// four digits.
pub(crate) fn timestamp(out: &mut Vec<u8>, at_us: Option<i64>) {
    let Some((year, month, day, us)) = at_us.and_then(civil) else {
        out.push(b'-');
        return;
    };
    let seconds = us / 1_000_000;
    let mut text = *b"0000-00-00T00:00:00.000000Z";
    digits(&mut text[0..4], year);
    digits(&mut text[5..7], month);
    digits(&mut text[8..10], day);
    digits(&mut text[11..13], seconds / 3600);
    digits(&mut text[14..16], seconds / 60 % 60);
    digits(&mut text[17..19], seconds % 60);
    digits(&mut text[20..26], us % 1_000_000);
    out.extend_from_slice(&text);
}

fn digits(text: &mut [u8], mut number: u64) {
    for digit in text.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

const DAY_US: i64 = 86_400_000_000;

/// Year, month, day and microseconds of the day; `None` outside the years 1 to 9999. By hand because it is done for each
/// message: Howard Hinnant's `civil_from_days`, held against jiff in a test.
fn civil(at_us: i64) -> Option<(u64, u64, u64, u64)> {
    let (days, us) = (at_us.div_euclid(DAY_US), at_us.rem_euclid(DAY_US));
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let fits = (1..=9999).contains(&year);
    fits.then_some((year as u64, month as u64, day as u64, us as u64))
}

/// Appends a whole number.
pub(crate) fn int(out: &mut Vec<u8>, number: i64) {
    if number < 0 {
        out.push(b'-');
    }
    let mut text = [0; 20];
    let mut at = text.len();
    let mut rest = number.unsigned_abs();
    loop {
        at -= 1;
        text[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(&text[at..]);
}

/// Appends a number: the shortest text that reads back as it; `NaN`, `Infinity`, `-Infinity`.
pub(crate) fn float(out: &mut Vec<u8>, number: f64) {
    let text = match number {
        number if number.is_nan() => "NaN",
        f64::INFINITY => "Infinity",
        f64::NEG_INFINITY => "-Infinity",
        number => {
            out.extend_from_slice(zmij::Buffer::new().format_finite(number).as_bytes());
            return;
        }
    };
    out.extend_from_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn what_breaks_lines_becomes_visible() {
        assert_eq!(text(|out| readable(out, "a\nb\0c\x7f\u{85}\u{2028}\u{feff}°")), "a␊b␀c␡\u{fffd}\u{fffd}\u{fffd}°");
        assert_eq!(text(|out| escaped(out, "C:\\x \"y\" [z]\t")), "C:\\\\x \\\"y\\\" [z\\]␉");
    }

    #[test]
    fn a_host_name_is_plain() {
        assert_eq!(text(|out| hostname(out, "prüf stand\n1:a", 255)), "pr_f_stand_1_a");
        assert_eq!(text(|out| hostname(out, "", 255)), "-");
        assert_eq!(text(|out| hostname(out, "bench-07.line_3", 8)), "bench-07");
    }

    #[test]
    fn a_changed_name_is_short_plain_and_its_own() {
        assert_eq!(sd_name("in_vin"), "in_vin");
        let long = ["in_temperature_of_the_left_heat_sink_a", "in_temperature_of_the_left_heat_sink_b"].map(sd_name);
        assert_ne!(long[0], long[1]);
        assert!(long[0].starts_with("in_temperature_of_the_l_") && long[0].len() == 32, "{}", long[0]);
        assert!(sd_name("in_V=\"x\"]").starts_with("in_V__x___"));
    }

    #[test]
    fn numbers_read_back() {
        assert_eq!(text(|out| float(out, 3.71)), "3.71");
        assert_eq!(text(|out| float(out, f64::NAN)), "NaN");
        assert_eq!(text(|out| float(out, f64::NEG_INFINITY)), "-Infinity");
        assert_eq!(text(|out| int(out, i64::MIN)), i64::MIN.to_string());
    }

    proptest! {
        #[test]
        fn times_are_those_of_jiff(at_us in any::<i64>(), near in 0i64..4_102_444_800_000_000) {
            for at_us in [at_us, near, -near] {
                let expected = jiff::Timestamp::from_microsecond(at_us)
                    .ok()
                    .map(|at| at.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string())
                    .filter(|text| !text.starts_with('-') && !text.starts_with("0000"))
                    .unwrap_or_else(|| "-".into());
                // Timestamps of jiff end a little before the end of 9999, and begin before the year 1.
                let found = text(|out| timestamp(out, Some(at_us)));
                prop_assert!(found == expected || found.starts_with("9999-12-3"), "{found} is not {expected}");
            }
        }

        #[test]
        fn numbers_are_those_of_the_standard_library(whole in any::<i64>(), number in any::<f64>()) {
            prop_assert_eq!(text(|out| int(out, whole)), whole.to_string());
            let found: f64 = text(|out| float(out, number)).parse().unwrap();
            prop_assert!(found.to_bits() == number.to_bits() || found.is_nan() && number.is_nan());
        }

        #[test]
        fn a_cut_is_never_inside_a_character_or_an_escape(value in "\\PC*", bytes_max in 0usize..40) {
            let whole = text(|out| escaped(out, &value));
            let cut = &whole.as_bytes()[..boundary(whole.as_bytes(), bytes_max)];
            prop_assert!(cut.len() <= bytes_max);
            let cut = std::str::from_utf8(cut).unwrap();
            let unescaped = cut.replace("\\\\", "").replace("\\\"", "").replace("\\]", "");
            prop_assert!(!unescaped.contains(['\\', '"', ']']), "{cut}");
        }
    }
}
