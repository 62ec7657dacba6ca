//! The key template: where a run's object lies below the destination's prefix.

use litmus_core::{SinkError, Summary};
use serde_json::Value;

use crate::escape::{VALUE_BYTES_MAX, escape, escape_first, shortened};
use crate::store::OWN_FOLDER;

/// One folder a unit under test, one object a run.
pub(crate) const DEFAULT: &str = "test_results/{dut_serial}/{run_id}.parquet";
/// The longest key of a run with its prefix, in bytes. Stores take 1,024; the rest is room for `.<sha256>` and for the
/// names of attachments.
const RUN_KEY_BYTES_MAX: usize = 640;
/// The longest path of several parts, escaped.
const PATH_BYTES_MAX: usize = 300;
/// How a key ends that is to be changed before its end.
const EXTENSION: &str = ".parquet";

/// A checked template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Template {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Literal(String),
    Field(String),
}

impl Template {
    /// Parses it; `prefix_bytes` lie before every key.
    pub(crate) fn parse(text: &str, prefix_bytes: usize) -> Result<Self, SinkError> {
        let wrong = |why: &str| {
            SinkError::config(format!(
                "key = {text:?}: {why}\nhint: a template such as {DEFAULT:?}; a field is a column of the run's summary, {{date}}, {{sha256}}, {{file_name}} or {{store_path}}"
            ))
        };
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((literal, tail)) = rest.split_once('{') {
            let (field, tail) = tail.split_once('}').ok_or_else(|| wrong("a { is not closed"))?;
            let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
            if field.is_empty() || !field.bytes().all(is_name) {
                return Err(wrong(&format!("{{{field}}} is no field")));
            }
            if !literal.is_empty() {
                parts.push(Part::Literal(literal.to_owned()));
            }
            parts.push(Part::Field(field.to_owned()));
            rest = tail;
        }
        if !rest.is_empty() {
            parts.push(Part::Literal(rest.to_owned()));
        }
        let literals: String = text.split(['{', '}']).step_by(2).collect();
        if literals.contains('}') || literals.chars().any(|char| char.is_control() || char == '\\') {
            return Err(wrong("it has a character that keys should not have"));
        }
        if parts.iter().all(|part| matches!(part, Part::Literal(_))) {
            return Err(wrong("without a field every run would have the same key"));
        }
        if text.split('/').any(|part| matches!(part, "" | "." | "..")) || text.starts_with(OWN_FOLDER) {
            return Err(wrong("its parts are neither empty nor \".\", \"..\" or \".litmus\""));
        }
        let longest: usize = prefix_bytes
            + parts
                .iter()
                .map(|part| match part {
                    Part::Literal(literal) => literal.len(),
                    Part::Field(field) if field == "store_path" => PATH_BYTES_MAX,
                    Part::Field(field) if field == "run_id" => 36,
                    Part::Field(_) => VALUE_BYTES_MAX,
                })
                .sum::<usize>();
        if longest > RUN_KEY_BYTES_MAX {
            return Err(wrong(&format!("keys could get {longest} bytes long; {RUN_KEY_BYTES_MAX} are the most")));
        }
        Ok(Self { parts })
    }

    /// Whether a key tells which run it is.
    pub(crate) fn names_the_run(&self) -> bool {
        self.parts.contains(&Part::Field("run_id".to_owned()))
    }

    /// The key of a run.
    pub(crate) fn render(&self, summary: &Summary) -> String {
        let columns = serde_json::to_value(summary).unwrap_or_default();
        let mut key = String::new();
        for part in &self.parts {
            match part {
                Part::Literal(literal) => key.push_str(literal),
                Part::Field(field) => key.push_str(&value_of(field, summary, &columns)),
            }
        }
        key
    }
}

fn value_of(field: &str, summary: &Summary, columns: &Value) -> String {
    let value = match field {
        "date" => summary.run_started_at.map(|time| time.to_string().split('T').next().unwrap_or_default().to_owned()),
        "file_name" => summary.path.rsplit('/').next().map(str::to_owned),
        "store_path" => return path(summary.path.strip_prefix("runs/").unwrap_or(&summary.path)),
        other => match columns.get(other) {
            None | Some(Value::Null) => None,
            Some(Value::String(text)) => Some(text.clone()),
            Some(other) => Some(other.to_string()),
        },
    };
    let absent = format!("no-{}", field.strip_prefix("dut_").unwrap_or(field));
    match value {
        None => absent,
        Some(value) if value == absent => escape_first(&value),
        Some(value) => escape(&value),
    }
}

/// A path as several parts of a key.
fn path(path: &str) -> String {
    let escaped = path.split('/').map(escape).collect::<Vec<_>>().join("/");
    shortened(escaped, path, PATH_BYTES_MAX)
}

/// The key of one revision among several of its run: the sha256 before the extension.
pub(crate) fn of_revision(key: &str, sha256: &litmus_core::Sha256) -> String {
    match key.strip_suffix(EXTENSION) {
        Some(stem) => format!("{stem}.{sha256}{EXTENSION}"),
        None => format!("{key}.{sha256}"),
    }
}

/// The key of an attachment of the run at `key`: in folders beside it, as the platform lays them out.
pub(crate) fn of_attachment(key: &str, reference: &str) -> String {
    let stem = key.strip_suffix(EXTENSION).unwrap_or(key);
    let reference = reference.strip_prefix("file://").unwrap_or(reference);
    match reference.strip_prefix("_ref/") {
        Some(name) => format!("{stem}_ref/{}", path(name)),
        None => format!("{stem}_files/{}", path(reference)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use litmus_core::{RunId, Sha256};
    use proptest::prelude::*;

    fn summary(serial: Option<&str>, path: &str) -> Summary {
        Summary {
            run_id: RunId::from_bytes([7; 16]),
            sha256: Sha256([0xab; 32]),
            path: path.to_owned(),
            generation: "flat".to_owned(),
            run_started_at: Some("2026-06-01T01:30:00Z".parse().unwrap()),
            run_ended_at: None,
            dut_serial: serial.map(str::to_owned),
            dut_part_number: None,
            station_id: Some("bench 7".to_owned()),
            run_outcome: None,
            outcome: "passed".to_owned(),
            outcome_derived: true,
            steps: 0,
            vectors: 0,
            measurements: 0,
            rows: 1,
            columns: [("slot_id".to_owned(), Value::from(3))].into_iter().collect(),
        }
    }

    fn key(template: &str, serial: Option<&str>) -> String {
        let summary = summary(serial, "runs/2026-06-01/20260601T013000Z_LOT/7/SN9.parquet");
        Template::parse(template, 0).unwrap().render(&summary)
    }

    #[test]
    fn templates_are_filled_in() {
        let id = "07070707-0707-0707-0707-070707070707";
        assert_eq!(key(DEFAULT, Some("SN 1")), format!("test_results/SN!201/{id}.parquet"));
        assert_eq!(key(DEFAULT, None), format!("test_results/no-serial/{id}.parquet"));
        assert_eq!(key(DEFAULT, Some("no-serial")), format!("test_results/!6Eo-serial/{id}.parquet"));
        assert_eq!(key("{station_id}/{date}/{slot_id}-{run_id}", None), format!("bench!207/2026-06-01/3-{id}"));
        assert_eq!(key("{store_path}", None), "2026-06-01/20260601T013000Z_LOT/7/SN9.parquet");
        assert_eq!(key("{file_name}", None), "SN9.parquet");
        assert_eq!(key("x/{operator_id}.{sha256}", None), format!("x/no-operator_id.{}", "ab".repeat(32)));
    }

    #[test]
    fn templates_that_cannot_work_are_refused_with_a_hint() {
        let many = "{a}/{b}/{c}/{d}/{e}";
        for wrong in [
            "",
            "a",
            "/{run_id}",
            "a//{run_id}",
            "../{run_id}",
            "{run_id",
            "{run id}",
            "{}",
            "a}{b}",
            many,
            ".litmus/{a}",
        ] {
            let error = Template::parse(wrong, 0).unwrap_err().to_string();
            assert!(error.contains("hint: a template"), "{wrong}: {error}");
        }
        assert!(Template::parse("{a}/{run_id}", 600).is_err(), "the prefix counts");
    }

    #[test]
    fn revisions_and_attachments_have_keys_beside_the_run() {
        let sha256 = Sha256([0xcd; 32]);
        assert_eq!(of_revision("a/b.parquet", &sha256), format!("a/b.{sha256}.parquet"));
        assert_eq!(of_revision("a/b", &sha256), format!("a/b.{sha256}"));
        assert_eq!(of_attachment("a/b.parquet", "file://_ref/wave 1.npz"), "a/b_ref/wave!201.npz");
        assert_eq!(of_attachment("a/b.parquet", "file://2026-11-23/s/w.npz"), "a/b_files/2026-11-23/s/w.npz");
        assert_eq!(of_attachment("a/b.parquet", "file://_ref/../x"), "a/b_ref/!2E!2E/x");
        let long = format!("file://{}", "x/".repeat(400));
        assert!(of_attachment("b", &long).len() <= PATH_BYTES_MAX + 10);
    }

    proptest! {
        #[test]
        fn keys_stay_within_what_stores_take(serial in any::<Option<String>>(), path in any::<String>(), name in any::<String>()) {
            let summary = summary(serial.as_deref(), &path);
            for template in [DEFAULT, "{store_path}/{run_id}.parquet", "{dut_serial}/{file_name}"] {
                let key = Template::parse(template, 80).unwrap().render(&summary);
                let longest = of_attachment(&of_revision(&key, &summary.sha256), &name);
                prop_assert!(80 + longest.len() <= 1024);
                prop_assert!(!longest.split('/').any(|part| part.is_empty() || part.starts_with('.') || part.len() > 255), "{}", longest);
                prop_assert!(!longest.contains("..") , "{}", longest);
            }
        }

        #[test]
        fn two_serials_have_two_keys(a in any::<Option<String>>(), b in any::<Option<String>>()) {
            prop_assert_eq!(a == b, key("{dut_serial}", a.as_deref()) == key("{dut_serial}", b.as_deref()));
        }
    }
}
