//! What is said of a run: which messages, with which values.
//!
//! Measurements come first, then steps, the run itself last: a run's message at the collector says how many there are before
//! it (`messages`), so that what is missing can be counted.

use arrow::record_batch::RecordBatch;
use litmus_core::{Sha256, SinkError, Summary, Table, TableStream};
use serde_json::Value;

use crate::columns::{Extra, Named, Names, floats, integers, texts, times};
use crate::config::{Detail, HOSTNAME_BYTES_MAX, Settings};
use crate::message::{Composer, Shared, param};
use crate::priority::{is_failure, pri};
use crate::text::{self, float, int, readable};

/// How many measurements the message of a failed run names.
const NAMED_FAILURES_MAX: usize = 3;
/// How much of each it quotes: the whole of it is in a message of its own.
const NAMED_FAILURE_BYTES_MAX: usize = 300;

/// A run, as the sink is handed it.
pub(crate) struct Told<'a> {
    pub(crate) summary: &'a Summary,
    pub(crate) supersedes: &'a [Sha256],
    pub(crate) open_table: &'a dyn Fn(Table) -> Result<TableStream, SinkError>,
}

/// Turns runs into messages.
pub(crate) struct Describer<'a> {
    settings: &'a Settings,
    composer: Composer,
    named: Named,
}

/// What became of one run so far.
#[derive(Default)]
struct Counted {
    messages: u64,
    failures: u64,
    /// The first failures, as they stand in MSG.
    named: Vec<Vec<u8>>,
    failed_step: Option<String>,
}

impl<'a> Describer<'a> {
    pub(crate) fn new(settings: &'a Settings) -> Self {
        Self { settings, composer: Composer::new(settings.message_bytes_max), named: Named::new(settings.vocabulary) }
    }

    /// Gives every message of a run to `send`, in order; the answer is how many.
    pub(crate) fn describe(
        &mut self,
        run: &Told<'_>,
        mut send: impl FnMut(&[u8]) -> Result<(), SinkError>,
    ) -> Result<u64, SinkError> {
        let shared = shared(self.settings, run);
        let who = who(run.summary);
        let mut counted = Counted::default();
        // A run that passed is told from its summary alone where nothing else is wanted.
        let needs_rows = self.settings.detail > Detail::Run || is_failure(Some(&run.summary.outcome));
        if needs_rows {
            for batch in (run.open_table)(Table::Measurements)? {
                let batch = batch.map_err(|error| unreadable(run.summary, Table::Measurements, &error))?;
                self.measurements(&batch, &shared, &who, &mut counted, &mut send)?;
            }
            for batch in (run.open_table)(Table::Steps)? {
                let batch = batch.map_err(|error| unreadable(run.summary, Table::Steps, &error))?;
                self.steps(&batch, &shared, &who, &mut counted, &mut send)?;
            }
        }
        self.run(run, &shared, &who, &mut counted, needs_rows, &mut send)?;
        Ok(counted.messages)
    }

    fn wants(&self, outcome: Option<&str>) -> bool {
        match self.settings.detail {
            Detail::Run => false,
            Detail::Failures => is_failure(outcome),
            Detail::Measurements => true,
        }
    }

    fn pri(&self, outcome: Option<&str>) -> u8 {
        pri(self.settings.facility, self.settings.severity.of(outcome))
    }

    fn measurements(
        &mut self,
        batch: &RecordBatch,
        shared: &Shared,
        who: &[u8],
        counted: &mut Counted,
        send: &mut impl FnMut(&[u8]) -> Result<(), SinkError>,
    ) -> Result<(), SinkError> {
        let row_index = integers(batch, "row_index")?;
        let measurement_index = integers(batch, "measurement_index")?;
        let taken = times(batch, "measurement_timestamp")?;
        let path = texts(batch, "step_path")?;
        let name = texts(batch, "measurement_name")?;
        let value = floats(batch, "measurement_value")?;
        let units = texts(batch, "measurement_units")?;
        let outcome = texts(batch, "measurement_outcome")?;
        let [low, high, nominal] =
            [floats(batch, "limit_low")?, floats(batch, "limit_high")?, floats(batch, "limit_nominal")?];
        let vector = integers(batch, "vector_index")?;
        let extra = Extra::of(batch, self.settings, Table::Measurements)?;
        let [mut value_text, mut low_text, mut high_text, mut nominal_text] = [const { Number::new() }; 4];

        for at in 0..batch.num_rows() {
            let outcome = outcome.at(at);
            let is_failure = is_failure(outcome);
            let wanted = self.wants(outcome);
            if !is_failure && !wanted {
                continue;
            }
            value_text.set(value.at(at));
            low_text.set(low.at(at));
            high_text.set(high.at(at));
            nominal_text.set(nominal.at(at));
            let write_message = |out: &mut Vec<u8>| {
                measured(out, name.at(at), &value_text, units.at(at), [&low_text, &high_text, &nominal_text]);
            };
            if is_failure {
                counted.failures += 1;
                if counted.named.len() < NAMED_FAILURES_MAX {
                    let mut named = Vec::new();
                    write_message(&mut named);
                    counted.named.push(named);
                }
            }
            if !wanted {
                continue;
            }
            let pri = self.pri(outcome);
            let (composer, names) = (&mut self.composer, &self.named);
            composer.begin(pri, taken.at(at), "measurement", shared, |out| {
                out.push(b'm');
                int(out, row_index.at(at).unwrap_or(-1));
                out.push(b'.');
                int(out, measurement_index.at(at).unwrap_or(-1));
            });
            composer.text(&names.measurement_name, name.at(at));
            value_text.add(composer, &names.measurement_value);
            composer.text(&names.measurement_units, units.at(at));
            composer.text(&names.measurement_outcome, outcome);
            low_text.add(composer, &names.limit_low);
            high_text.add(composer, &names.limit_high);
            nominal_text.add(composer, &names.limit_nominal);
            composer.text(&names.step_path, path.at(at));
            composer.int(&names.vector_index, vector.at(at));
            extra.add(composer, at);
            send(composer.finish(|out| {
                subject(out, who, outcome);
                write_message(out);
            }))?;
            counted.messages += 1;
        }
        Ok(())
    }

    fn steps(
        &mut self,
        batch: &RecordBatch,
        shared: &Shared,
        who: &[u8],
        counted: &mut Counted,
        send: &mut impl FnMut(&[u8]) -> Result<(), SinkError>,
    ) -> Result<(), SinkError> {
        let row_index = integers(batch, "row_index")?;
        let [started, ended] = [times(batch, "step_started_at")?, times(batch, "step_ended_at")?];
        let [path, name, outcome] =
            [texts(batch, "step_path")?, texts(batch, "step_name")?, texts(batch, "step_outcome")?];
        let [vector, retry] = [integers(batch, "vector_index")?, integers(batch, "step_retry")?];
        let extra = Extra::of(batch, self.settings, Table::Steps)?;
        for at in 0..batch.num_rows() {
            let outcome = outcome.at(at);
            let path = path.at(at).filter(|path| !path.is_empty()).or(name.at(at));
            if is_failure(outcome) && counted.failed_step.is_none() {
                counted.failed_step = Some(path.unwrap_or_default().to_owned());
            }
            if !self.wants(outcome) {
                continue;
            }
            let pri = self.pri(outcome);
            let (composer, names) = (&mut self.composer, &self.named);
            composer.begin(pri, ended.at(at).or(started.at(at)), "step", shared, |out| {
                out.push(b's');
                int(out, row_index.at(at).unwrap_or(-1));
            });
            composer.text(&names.step_outcome, outcome);
            composer.text(&names.step_path, path);
            composer.int(&names.vector_index, vector.at(at));
            composer.int(&names.step_retry, retry.at(at));
            extra.add(composer, at);
            send(composer.finish(|out| {
                subject(out, who, outcome);
                out.extend_from_slice(b"step ");
                readable(out, path.unwrap_or("without a name"));
            }))?;
            counted.messages += 1;
        }
        Ok(())
    }

    fn run(
        &mut self,
        run: &Told<'_>,
        shared: &Shared,
        who: &[u8],
        counted: &mut Counted,
        has_rows: bool,
        send: &mut impl FnMut(&[u8]) -> Result<(), SinkError>,
    ) -> Result<(), SinkError> {
        let summary = run.summary;
        let outcome = Some(summary.outcome.as_str());
        let pri = self.pri(outcome);
        let at = summary.run_ended_at.or(summary.run_started_at).map(jiff::Timestamp::as_microsecond);
        let spelled = |name: &str| param(&text::sd_name(&self.settings.vocabulary.spell(name)));
        let composer = &mut self.composer;
        composer.begin(pri, at, "run", shared, |out| out.extend_from_slice(b"run"));
        composer.text(&spelled("outcome"), outcome);
        composer.text(&spelled("dut_part_number"), summary.dut_part_number.as_deref());
        composer.int(&param("steps"), Some(summary.steps as i64));
        composer.int(&param("measurements"), Some(summary.measurements as i64));
        composer.int(&param("failures"), has_rows.then_some(counted.failures as i64));
        composer.int(&param("messages"), Some(counted.messages as i64 + 1));
        if let Some(started) = summary.run_started_at {
            composer.raw(&param("run_started_at"), |out| text::timestamp(out, Some(started.as_microsecond())));
        }
        composer.text(&param("sha256"), Some(&summary.sha256.to_string()));
        if !run.supersedes.is_empty() {
            let earlier: Vec<_> = run.supersedes.iter().map(|sha256| revision(*sha256)).collect();
            composer.text(&param("supersedes"), Some(&earlier.join(",")));
        }
        let columns = &self.settings.columns;
        let always = |name: &str| RUN_COLUMNS.contains(&name) || crate::columns::is_wanted(columns, name);
        let mut names = Names::after(self.settings, RUN_VALUES);
        for (name, value) in summary.columns.iter().filter(|(name, _)| always(name)) {
            let name = param(&names.next(name));
            match value {
                Value::String(value) => composer.text(&name, Some(value)),
                Value::Null => (),
                other => composer.text(&name, Some(&other.to_string())),
            }
        }
        send(composer.finish(|out| {
            subject(out, who, outcome);
            verdict(out, summary, counted);
        }))?;
        counted.messages += 1;
        Ok(())
    }
}

/// What the message of a run says of it.
const RUN_VALUES: &[&str] = &[
    "outcome",
    "dut_part_number",
    "steps",
    "measurements",
    "failures",
    "messages",
    "run_started_at",
    "sha256",
    "supersedes",
];

/// What the message of a run says of it besides what identifies it, where the run has it.
const RUN_COLUMNS: &[&str] = &[
    "dut_revision",
    "dut_lot_number",
    "product_id",
    "product_revision",
    "operator_id",
    "test_phase",
    "fixture_id",
    "project_name",
];

/// The first 16 digits of a file's sha256: what tells revisions of a run apart in `msg_id`.
fn revision(sha256: Sha256) -> String {
    let mut text = sha256.to_string();
    text.truncate(16);
    text
}

fn shared(settings: &Settings, run: &Told<'_>) -> Shared {
    let summary = run.summary;
    let run_id = summary.run_id.to_string();
    let station_hostname = summary.columns.get("station_hostname").and_then(Value::as_str);
    let hostname = settings.hostname.as_deref().or(station_hostname).or(summary.station_id.as_deref());
    let mut shared = Shared::new(settings.enterprise_number);
    shared.header.push(b' ');
    text::hostname(&mut shared.header, hostname.unwrap_or_default(), HOSTNAME_BYTES_MAX);
    // PROCID is the run's, so that a collector shows the messages of a run together.
    shared.header.extend_from_slice(format!(" {} {} ", settings.app_name, &run_id[..8]).as_bytes());
    shared.msg_id = format!("{}-", revision(summary.sha256)).into_bytes();
    shared.identify("run_id", &run_id);
    for (name, value) in [("dut_serial", &summary.dut_serial), ("station_id", &summary.station_id)] {
        if let Some(value) = value {
            shared.identify(&settings.vocabulary.spell(name), value);
        }
    }
    shared
}

/// What MSG calls the unit under test.
fn who(summary: &Summary) -> Vec<u8> {
    let mut who = Vec::new();
    match summary.dut_serial.as_deref() {
        Some(serial) if !serial.is_empty() => readable(&mut who, serial),
        _ => who.extend_from_slice(format!("run {}", &summary.run_id.to_string()[..8]).as_bytes()),
    }
    who
}

/// `SN123 failed: `
fn subject(out: &mut Vec<u8>, who: &[u8], outcome: Option<&str>) {
    out.extend_from_slice(who);
    if let Some(outcome) = outcome {
        out.push(b' ');
        readable(out, outcome);
    }
    out.extend_from_slice(b": ");
}

/// `rail_3v3 = 3.71 V, limits 3.0 to 3.6`
fn measured(
    out: &mut Vec<u8>,
    name: Option<&str>,
    value: &Number,
    units: Option<&str>,
    [low, high, nominal]: [&Number; 3],
) {
    readable(out, name.unwrap_or("measurement"));
    out.extend_from_slice(b" = ");
    out.extend_from_slice(if value.is_there() { value.text() } else { b"no value" });
    if let Some(units) = units.filter(|units| !units.is_empty()) {
        out.push(b' ');
        readable(out, units);
    }
    let mut limit = |words: &[u8], number: &[u8]| {
        out.extend_from_slice(words);
        out.extend_from_slice(number);
    };
    match (low.is_there(), high.is_there()) {
        (true, true) => {
            limit(b", limits ", low.text());
            limit(b" to ", high.text());
        }
        (true, false) => limit(b", lower limit ", low.text()),
        (false, true) => limit(b", upper limit ", high.text()),
        (false, false) if nominal.is_there() => limit(b", nominal ", nominal.text()),
        (false, false) => (),
    }
}

/// What the message of the run itself says.
fn verdict(out: &mut Vec<u8>, summary: &Summary, counted: &Counted) {
    for (at, named) in counted.named.iter().enumerate() {
        if at > 0 {
            out.extend_from_slice(b"; ");
        }
        let end = std::str::from_utf8(named).map_or(0, |named| named.floor_char_boundary(NAMED_FAILURE_BYTES_MAX));
        out.extend_from_slice(&named[..end]);
        if end < named.len() {
            out.extend_from_slice(b"...");
        }
    }
    let unnamed = counted.failures.saturating_sub(counted.named.len() as u64);
    if counted.failures > 0 {
        if unnamed > 0 {
            out.extend_from_slice(format!("; and {unnamed} more").as_bytes());
        }
        return;
    }
    if let Some(step) = counted.failed_step.as_deref().filter(|step| !step.is_empty()) {
        out.extend_from_slice(b"step ");
        readable(out, step);
        out.extend_from_slice(b"; ");
    }
    out.extend_from_slice(format!("{} measurements, {} steps", summary.measurements, summary.steps).as_bytes());
}

/// A number as text, written once however often it is used; limits hardly ever change from row to row.
struct Number {
    bits: Option<u64>,
    text: Vec<u8>,
}

impl Number {
    const fn new() -> Self {
        Self { bits: None, text: Vec::new() }
    }

    fn set(&mut self, value: Option<f64>) {
        let bits = value.map(f64::to_bits);
        if bits != self.bits {
            self.bits = bits;
            self.text.clear();
            if let Some(value) = value {
                float(&mut self.text, value);
            }
        }
    }

    fn is_there(&self) -> bool {
        self.bits.is_some()
    }

    fn text(&self) -> &[u8] {
        &self.text
    }

    fn add(&self, composer: &mut Composer, param: &[u8]) {
        if self.is_there() {
            composer.raw(param, |out| out.extend_from_slice(&self.text));
        }
    }
}

fn unreadable(summary: &Summary, table: Table, error: &arrow::error::ArrowError) -> SinkError {
    SinkError::data(format!("{}: cannot read the table {table}: {error}", summary.path))
}

#[cfg(test)]
mod tests;
