//! Times as text: `YYYY-MM-DDTHH:MM:SS.ffffffZ`, years 0001 to 9999, so that text order is time order and every SQL tool
//! can read them. A time outside those years has no such text.

/// 0001-01-01T00:00:00Z in microseconds since the epoch.
pub const US_MIN: i64 = -62_135_596_800_000_000;
/// 9999-12-31T23:59:59.999999Z in microseconds since the epoch.
pub const US_MAX: i64 = 253_402_300_799_999_999;

const US_PER_DAY: i64 = 86_400_000_000;

/// The text of a time in microseconds since the epoch, as ASCII bytes.
pub fn text(us: i64) -> Option<[u8; 27]> {
    if !(US_MIN..=US_MAX).contains(&us) {
        return None;
    }
    let (year, month, day) = date(us.div_euclid(US_PER_DAY));
    let of_day = us.rem_euclid(US_PER_DAY);
    let seconds = of_day / 1_000_000;
    let mut out = *b"0000-00-00T00:00:00.000000Z";
    put(&mut out[0..4], year);
    put(&mut out[5..7], month);
    put(&mut out[8..10], day);
    put(&mut out[11..13], seconds / 3600);
    put(&mut out[14..16], seconds / 60 % 60);
    put(&mut out[17..19], seconds % 60);
    put(&mut out[20..26], of_day % 1_000_000);
    Some(out)
}

/// The time of a text written by [`text`]; `None` for any other spelling.
pub fn parse(given: &str) -> Option<i64> {
    let bytes = given.as_bytes();
    if bytes.len() != 27 {
        return None;
    }
    let number = |from: usize, to: usize| {
        bytes[from..to]
            .iter()
            .try_fold(0i64, |sum, byte| byte.is_ascii_digit().then(|| sum * 10 + i64::from(byte - b'0')))
    };
    let days = days(number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let seconds = number(11, 13)? * 3600 + number(14, 16)? * 60 + number(17, 19)?;
    let us = days * US_PER_DAY + seconds * 1_000_000 + number(20, 26)?;
    // Whatever is not spelled as we spell it (a 31st of June, a blank for the T) does not come back as it was given.
    (text(us)? == bytes).then_some(us)
}

fn put(out: &mut [u8], mut value: i64) {
    for digit in out.iter_mut().rev() {
        *digit = b'0' + (value % 10) as u8;
        value /= 10;
    }
}

/// Year, month and day of a day since the epoch (H. Hinnant, "chrono-compatible low-level date algorithms").
fn date(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// The day since the epoch; the inverse of [`date`].
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let month_from_march = (month + 9) % 12;
    let of_year = (153 * month_from_march + 2) / 5 + day - 1;
    let of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + of_year;
    era * 146_097 + of_era - 719_468
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn string(us: i64) -> Option<String> {
        text(us).map(|bytes| String::from_utf8(bytes.to_vec()).unwrap())
    }

    #[test]
    fn the_ends_of_the_range() {
        assert_eq!(string(0).unwrap(), "1970-01-01T00:00:00.000000Z");
        assert_eq!(string(US_MIN).unwrap(), "0001-01-01T00:00:00.000000Z");
        assert_eq!(string(US_MAX).unwrap(), "9999-12-31T23:59:59.999999Z");
        for us in [US_MIN - 1, US_MAX + 1, i64::MIN, i64::MAX] {
            assert_eq!(text(us), None);
        }
    }

    #[test]
    fn another_spelling_is_no_time() {
        for text in [
            "",
            "2026-06-01T01:30:00Z",
            "2026-06-01 01:30:00.000000Z",
            "2026-06-31T01:30:00.000000Z",
            "2026-06-01T24:30:00.000000Z",
            "2026-00-01T01:30:00.000000Z",
            "+026-06-01T01:30:00.000000Z",
            "2026-06-01T01:30:00.00000éé",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn agrees_with_jiff_and_comes_back(us in US_MIN..=US_MAX) {
            let text = string(us).unwrap();
            let jiff = jiff::Timestamp::from_microsecond(us).unwrap();
            prop_assert_eq!(text.parse::<jiff::Timestamp>().unwrap(), jiff);
            prop_assert_eq!(parse(&text), Some(us));
        }
    }
}
