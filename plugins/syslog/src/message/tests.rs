use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::text::{readable, sd_name};

/// A message taken apart by one of two parsers that know nothing of us.
#[derive(Debug, PartialEq)]
pub(crate) struct Parsed {
    pub(crate) pri: u8,
    /// Nanoseconds since the epoch.
    pub(crate) at_ns: Option<i64>,
    pub(crate) hostname: Option<String>,
    pub(crate) app_name: Option<String>,
    pub(crate) procid: Option<String>,
    pub(crate) msgid: Option<String>,
    pub(crate) sd_id: String,
    pub(crate) params: BTreeMap<String, String>,
    /// Without its byte order mark.
    pub(crate) msg: String,
}

fn without_bom(msg: &str) -> String {
    msg.strip_prefix('\u{feff}').unwrap_or(msg).to_owned()
}

/// Parses with both, and panics where they differ.
pub(crate) fn parse(bytes: &[u8]) -> Parsed {
    let text = std::str::from_utf8(bytes).expect("a message is UTF-8");
    let loose = loose(text);
    let strict = strict(text);
    // The loose one trims what it is given.
    assert_eq!(Parsed { msg: strict.msg.trim().to_owned(), ..strict }, loose, "{text}");
    self::strict(text)
}

fn loose(text: &str) -> Parsed {
    let message = syslog_loose::parse_message(text, syslog_loose::Variant::RFC5424);
    assert_eq!(message.protocol, syslog_loose::Protocol::RFC5424(1), "{text}");
    let [element] = &message.structured_data[..] else { panic!("one element: {text}") };
    let owned = |text: &str| text.to_owned();
    let facility = message.facility.expect("a facility") as u8;
    Parsed {
        pri: facility * 8 + message.severity.expect("a severity") as u8,
        at_ns: message.timestamp.map(|at| at.timestamp_nanos_opt().expect("a time of these centuries")),
        hostname: message.hostname.map(owned),
        app_name: message.appname.map(owned),
        procid: message.procid.map(|procid| match procid {
            syslog_loose::ProcId::PID(number) => format!("{number:08}"),
            syslog_loose::ProcId::Name(name) => name.to_owned(),
        }),
        msgid: message.msgid.map(owned),
        sd_id: element.id.to_owned(),
        params: element.params().map(|(name, value)| ((*name).to_owned(), value)).collect(),
        msg: without_bom(message.msg).trim().to_owned(),
    }
}

fn strict(text: &str) -> Parsed {
    let message = syslog_rfc5424::parse_message(text).unwrap_or_else(|error| panic!("{error}: {text}"));
    let facility = message.facility as u8;
    let ids = [32_473, 4_294_967_295u32].map(|number| format!("litmus@{number}"));
    let (sd_id, params) =
        ids.into_iter().find_map(|id| Some((id.clone(), message.sd.find_sdid(&id)?.clone()))).expect("our element");
    assert_eq!(message.sd.len(), 1, "{text}");
    Parsed {
        pri: facility * 8 + message.severity as u8,
        at_ns: message.timestamp.map(|at| at * 1_000_000_000 + i64::from(message.timestamp_nanos.unwrap_or(0))),
        hostname: message.hostname,
        app_name: message.appname,
        procid: message.procid.map(|procid| match procid {
            syslog_rfc5424::message::ProcId::PID(number) => format!("{number:08}"),
            syslog_rfc5424::message::ProcId::Name(name) => name,
        }),
        msgid: message.msgid,
        sd_id,
        params,
        msg: without_bom(&message.msg),
    }
}

/// What a reader gets for a value: the documented rule, written down a second time.
pub(crate) fn seen(value: &str) -> String {
    let seen = |character: char| match character as u32 {
        control @ 0..=31 => char::from_u32(0x2400 + control).unwrap(),
        0x7f => '␡',
        0x80..=0x9f | 0x2028 | 0x2029 | 0xfeff => '\u{fffd}',
        _ => character,
    };
    value.chars().map(seen).collect()
}

/// Text as somebody could have typed it into a test, and worse.
pub(crate) fn any_text() -> impl Strategy<Value = String> {
    let pieces = prop_oneof![
        4 => "[a-zA-Z0-9_. -]{0,12}",
        2 => "\\PC{0,8}",
        2 => any::<String>(),
        1 => Just("\\".to_owned()),
        1 => Just("]\"".to_owned()),
        1 => Just("\u{feff}\n\0\u{2028}\u{85}".to_owned()),
        1 => Just("<13>1 - - - - - [x@1 y=\"z\"] ".to_owned()),
        1 => Just("é°Ω漢🙂".repeat(20)),
    ];
    prop::collection::vec(pieces, 0..4).prop_map(|pieces| pieces.concat())
}

/// A message with these values, as [`Composer`] builds it.
fn built(bytes_max: usize, identity: &[(String, String)], values: &[(String, String)], message: &str) -> Vec<u8> {
    let mut shared = Shared::new(32_473);
    shared.header = b" bench-07 litmus 3f2a9c10 ".to_vec();
    shared.msg_id = b"0123456789abcdef-".to_vec();
    shared.identify("run_id", "3f2a9c10-0000-4000-8000-000000000000");
    for (name, value) in identity {
        shared.identify(name, value);
    }
    let mut composer = Composer::new(bytes_max);
    composer.begin(131, Some(1_780_277_402_250_000), "measurement", &shared, |out| out.extend_from_slice(b"m7.0"));
    for (name, value) in values {
        composer.text(&param(&sd_name(name)), Some(value));
    }
    composer.finish(|out| readable(out, message)).to_vec()
}

fn numbered(prefix: &str, values: Vec<String>) -> Vec<(String, String)> {
    values.into_iter().enumerate().map(|(at, value)| (format!("{prefix}{at}"), value)).collect()
}

#[test]
fn a_message_reads_as_the_rfc_writes_it() {
    let identity = [("dut_serial".to_owned(), "SN\"1\"".to_owned())];
    let message = built(8192, &identity, &[("measurement_units".into(), "°C".into())], "SN1 failed: t = 90 °C");
    assert_eq!(
        String::from_utf8(message).unwrap(),
        "<131>1 2026-06-01T01:30:02.250000Z bench-07 litmus 3f2a9c10 measurement [litmus@32473 \
         msg_id=\"0123456789abcdef-m7.0\" run_id=\"3f2a9c10-0000-4000-8000-000000000000\" dut_serial=\"SN\\\"1\\\"\" \
         measurement_units=\"°C\"] \u{feff}SN1 failed: t = 90 °C"
    );
}

#[test]
fn what_is_too_long_loses_the_end_of_msg_then_what_describes_then_what_identifies() {
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let identity = [pair("dut_serial", "SN1"), pair("station_id", "bench")];
    let values = [pair("measurement_name", "rail"), pair("in_blob", &"x".repeat(3000)), pair("in_vin", "12.0")];
    let cut = parse(&built(1180, &identity, &values, &"word ".repeat(400)));
    assert_eq!(cut.params["truncated"], "true");
    assert_eq!((cut.params["dut_serial"].as_str(), cut.params["station_id"].as_str()), ("SN1", "bench"));
    assert_eq!(cut.params["in_vin"], "12.0", "what comes after a value that is too long still has its place");
    assert!(!cut.params.contains_key("in_blob"));
    assert!(cut.msg.ends_with("..."), "{}", cut.msg);

    let long =
        parse(&built(600, &[pair("dut_serial", &"é".repeat(900)), pair("station_id", "bench")], &values, "short"));
    assert!(long.params["dut_serial"].ends_with("é...") && long.params["dut_serial"].len() > 50, "{long:?}");
    assert_eq!((long.params["station_id"].as_str(), long.msg.as_str()), ("bench", "short"));

    let whole = parse(&built(8192, &identity, &values, "short"));
    assert!(!whole.params.contains_key("truncated"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn two_parsers_get_every_value_back(
        identity in prop::collection::vec(any_text(), 0..3),
        values in prop::collection::vec(any_text(), 0..6),
        message in any_text(),
    ) {
        let (identity, values) = (numbered("id", identity), numbered("value", values));
        let parsed = parse(&built(1 << 20, &identity, &values, &message));
        prop_assert_eq!(parsed.pri, 131);
        prop_assert_eq!(parsed.at_ns, Some(1_780_277_402_250_000_000));
        let header = [parsed.hostname, parsed.app_name, parsed.procid, parsed.msgid].map(Option::unwrap);
        prop_assert_eq!(header, ["bench-07", "litmus", "3f2a9c10", "measurement"]);
        let mut expected: BTreeMap<String, String> =
            identity.iter().chain(&values).map(|(name, value)| (name.clone(), seen(value))).collect();
        expected.insert("msg_id".into(), "0123456789abcdef-m7.0".into());
        expected.insert("run_id".into(), "3f2a9c10-0000-4000-8000-000000000000".into());
        prop_assert_eq!(parsed.params, expected);
        prop_assert_eq!(parsed.msg, seen(&message));
    }

    #[test]
    fn no_message_is_too_long_and_each_one_still_parses(
        identity in prop::collection::vec(any_text(), 0..4),
        values in prop::collection::vec(any_text(), 0..12),
        message in any_text(),
        bytes_max in 600usize..1300,
    ) {
        let (identity, values) = (numbered("id", identity), numbered("value", values));
        let bytes = built(bytes_max, &identity, &values, &message);
        prop_assert!(bytes.len() <= bytes_max, "{} bytes", bytes.len());
        prop_assert!(!bytes.iter().any(u8::is_ascii_control));
        let parsed = parse(&bytes);
        prop_assert_eq!(&parsed.params["run_id"], "3f2a9c10-0000-4000-8000-000000000000");
        prop_assert_eq!(&parsed.params["msg_id"], "0123456789abcdef-m7.0");
        let whole = built(1 << 20, &identity, &values, &message).len() <= bytes_max;
        prop_assert_eq!(whole, !parsed.params.contains_key("truncated"));
        for (name, value) in identity.iter().chain(&values) {
            let Some(found) = parsed.params.get(name) else {
                prop_assert!(!whole, "{name} was dropped from a message that fits");
                continue;
            };
            let value = seen(value);
            let is_start = found.strip_suffix("...").is_some_and(|start| value.starts_with(start));
            prop_assert!(*found == value || is_start && !whole, "{name} is {found:?}, not {value:?}");
        }
    }
}
