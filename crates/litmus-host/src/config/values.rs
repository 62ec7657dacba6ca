//! Durations, sizes and dates as people write them.

use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use crate::engine_api::Start;

const DURATION_MAX: Duration = Duration::from_hours(878_400);

/// `500ms`, `60s`, `1m30s`, `2h`, `7d`; a bare number is seconds.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let bad = || format!("\"{text}\" is not a duration such as 500ms, 60s, 5m, 2h or 7d");
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(bad());
    }
    // Nothing here is waited for that long, and sums of longer ones overflow.
    let in_reason = |duration: Duration| {
        let is_longer = duration > DURATION_MAX;
        if is_longer { Err(format!("\"{text}\" is longer than a hundred years")) } else { Ok(duration) }
    };
    if let Ok(seconds) = rest.parse::<u64>() {
        return in_reason(Duration::from_secs(seconds));
    }
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(bad)?;
        let unit_end =
            rest[digits..].find(|c: char| c.is_ascii_digit() || c == ' ').map_or(rest.len(), |at| digits + at);
        let count: u64 = rest[..digits].parse().map_err(|_| bad())?;
        let unit_ms: u64 = match &rest[digits..unit_end] {
            "ms" => 1,
            "s" | "sec" => 1_000,
            "m" | "min" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(bad()),
        };
        total = in_reason(total + Duration::from_millis(count.checked_mul(unit_ms).ok_or_else(bad)?))?;
        rest = rest[unit_end..].trim_start();
    }
    Ok(total)
}

/// A duration in which something has to be done: not zero.
pub(crate) fn parse_time_allowed(text: &str) -> Result<Duration, String> {
    match parse_duration(text)? {
        Duration::ZERO => Err(format!("\"{text}\" leaves no time at all")),
        duration => Ok(duration),
    }
}

/// `67108864`, `64 MiB`, `64MB`; at least one byte.
pub(crate) fn parse_bytes(text: &str) -> Result<u64, String> {
    let bad = || format!("\"{text}\" is not a size such as 67108864, 64MB or 64MiB");
    let text_trimmed = text.trim();
    let digits = text_trimmed.find(|c: char| !c.is_ascii_digit()).unwrap_or(text_trimmed.len());
    let count: u64 = text_trimmed[..digits].parse().map_err(|_| bad())?;
    let unit: u64 = match text_trimmed[digits..].trim_start() {
        "" | "B" => 1,
        "kB" | "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return Err(bad()),
    };
    count.checked_mul(unit).filter(|bytes| *bytes > 0).ok_or_else(bad)
}

/// `2026-06-01`, `2026-06-01T08:30` (both UTC), or RFC 3339 with an offset.
pub(crate) fn parse_date(text: &str) -> Result<Timestamp, String> {
    let text_trimmed = text.trim();
    if let Ok(time) = text_trimmed.parse::<Timestamp>() {
        return Ok(time);
    }
    // A bare date is midnight. A zone in brackets without an offset would be passed over in silence by this parser.
    let civil = text_trimmed.parse::<DateTime>().ok().filter(|_| !text_trimmed.contains('['));
    let civil = civil.ok_or_else(|| format!("\"{text}\" is not a date such as 2026-06-01 or 2026-06-01T08:30:00Z"))?;
    TimeZone::UTC.to_timestamp(civil).map_err(|error| format!("\"{text}\" is not a date that can be used: {error}"))
}

/// `now`, `all`, or a date.
pub(crate) fn parse_start(text: &str) -> Result<Start, String> {
    match text.trim() {
        "now" => Ok(Start::Now),
        "all" => Ok(Start::All),
        date => parse_date(date)
            .map(Start::Since)
            .map_err(|_| format!("\"{text}\" is neither now nor all nor a date such as 2026-06-01")),
    }
}

/// For messages: `1m 30s`.
pub(crate) fn format_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0 => format!("{} ms", duration.as_millis()),
        1..=59 => format!("{seconds} s"),
        60..=3599 if seconds.is_multiple_of(60) => format!("{} min", seconds / 60),
        60..=3599 => format!("{} min {} s", seconds / 60, seconds % 60),
        3600..=86_399 => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        let parse = |text| parse_duration(text).map(|duration| duration.as_millis());
        assert_eq!(parse("60"), Ok(60_000));
        assert_eq!(parse("500ms"), Ok(500));
        assert_eq!(parse("1m30s"), Ok(90_000));
        assert_eq!(parse("1h 5min"), Ok(3_900_000));
        assert_eq!(parse("7d"), Ok(604_800_000));
        for bad in ["", "-1s", "s", "5 parsecs", "1.5h", "99999999999999999999d", "10m5", "∞"] {
            assert!(parse(bad).unwrap_err().contains("is not a duration"), "{bad}");
        }
        for long in ["18446744073709551615", "18446744073709551615ms18446744073709551615ms", "36601d"] {
            assert!(parse(long).unwrap_err().contains("is longer than a hundred years"), "{long}");
        }
    }

    #[test]
    fn a_time_allowed_is_not_zero() {
        assert_eq!(parse_time_allowed("1ms"), Ok(Duration::from_millis(1)));
        for zero in ["0", "0s", "0h 0ms"] {
            assert!(parse_time_allowed(zero).unwrap_err().contains("no time"), "{zero}");
        }
    }

    #[test]
    fn sizes() {
        assert_eq!(parse_bytes("64 MiB"), Ok(64 << 20));
        assert_eq!(parse_bytes("64MB"), Ok(64_000_000));
        assert_eq!(parse_bytes("1024"), Ok(1024));
        for bad in ["", "0", "-1", "64 mb", "MiB", "99999999999GiB"] {
            assert!(parse_bytes(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn dates_without_an_offset_are_utc() {
        let text = |date: &str| parse_date(date).map(|time| time.to_string());
        assert_eq!(text("2026-06-01"), Ok("2026-06-01T00:00:00Z".to_owned()));
        assert_eq!(text("2026-06-01 08:30"), Ok("2026-06-01T08:30:00Z".to_owned()));
        assert_eq!(text("2026-06-01T08:30:00+02:00"), Ok("2026-06-01T06:30:00Z".to_owned()));
        assert!(text("yesterday").is_err());
        assert!(text("2026-13-01").is_err());
        assert!(text("2026-06-01T08:30[Europe/Berlin]").is_err());
        assert_eq!(parse_start("all"), Ok(Start::All));
        assert!(parse_start("later").unwrap_err().contains("neither now nor all"));
    }

    #[test]
    fn durations_read_back() {
        let text = |seconds| format_duration(Duration::from_secs(seconds));
        assert_eq!(
            [text(5), text(60), text(90), text(3900), text(90_000)],
            ["5 s", "1 min", "1 min 30 s", "1 h 5 min", "1 d 1 h"]
        );
    }
}
