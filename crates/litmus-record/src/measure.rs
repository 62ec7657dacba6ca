//! Measurements: what is given, and what is recorded.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::value::number;
use crate::{Comparator, Outcome, Reading, RecordError, Step, Vector};

/// What is known of a measurement before it is judged; all but name and value may be left out.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Measure {
    /// Name of the measurement.
    pub name: String,
    /// Value; NaN and infinities are kept, `None` is a value that could not be measured.
    pub value: Option<f64>,
    /// Unit of value and limits.
    pub units: Option<String>,
    /// Lower limit.
    pub low: Option<f64>,
    /// Upper limit.
    pub high: Option<f64>,
    /// Nominal value.
    pub nominal: Option<f64>,
    /// How value and limits are compared.
    pub comparator: Comparator,
    /// Reference into the specification.
    pub spec_ref: Option<String>,
    /// Characteristic of the product measured.
    pub characteristic_id: Option<String>,
    /// Pin of the unit under test.
    pub dut_pin: Option<String>,
    /// Connection of the fixture.
    pub fixture_connection: Option<String>,
    /// Instrument that measured: role name.
    pub instrument_name: Option<String>,
    /// Instrument that measured: resource address.
    pub instrument_resource: Option<String>,
    /// Instrument that measured: channel.
    pub instrument_channel: Option<String>,
    /// An outcome that was judged elsewhere; the limits decide if not given.
    pub outcome: Option<Outcome>,
    /// When it was taken; now if not given.
    pub timestamp: Option<Timestamp>,
}

impl Measure {
    /// A name and a value.
    pub fn new(name: impl Into<String>, value: impl Into<Reading>) -> Self {
        Self { name: name.into(), value: value.into().0, ..Self::default() }
    }

    /// Judges it as of `now`.
    pub(crate) fn judged(self, now: Timestamp) -> Measurement {
        let judged = || self.comparator.judge(self.value, self.low, self.high, self.nominal);
        let outcome = self.outcome.or_else(judged);
        Measurement {
            name: self.name,
            value: self.value,
            units: self.units,
            limit_low: self.low,
            limit_high: self.high,
            limit_nominal: self.nominal,
            limit_comparator: self.comparator,
            outcome,
            spec_ref: self.spec_ref,
            characteristic_id: self.characteristic_id,
            dut_pin: self.dut_pin,
            fixture_connection: self.fixture_connection,
            instrument_name: self.instrument_name,
            instrument_resource: self.instrument_resource,
            instrument_channel: self.instrument_channel,
            timestamp: self.timestamp.unwrap_or(now),
        }
    }
}

/// A measurement as recorded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the fields are those of Measure, under the names of the file's columns")]
pub struct Measurement {
    pub name: String,
    #[serde(with = "number::option", default)]
    pub value: Option<f64>,
    pub units: Option<String>,
    #[serde(with = "number::option", default)]
    pub limit_low: Option<f64>,
    #[serde(with = "number::option", default)]
    pub limit_high: Option<f64>,
    #[serde(with = "number::option", default)]
    pub limit_nominal: Option<f64>,
    pub limit_comparator: Comparator,
    pub outcome: Option<Outcome>,
    pub spec_ref: Option<String>,
    pub characteristic_id: Option<String>,
    pub dut_pin: Option<String>,
    pub fixture_connection: Option<String>,
    pub instrument_name: Option<String>,
    pub instrument_resource: Option<String>,
    pub instrument_channel: Option<String>,
    pub timestamp: Timestamp,
}

/// Where a measurement goes.
#[derive(Debug)]
pub(crate) enum Place {
    Step(Step),
    Vector(Vector),
}

/// A measurement that is being described; recorded when dropped, so that it cannot be forgotten, or by
/// [`record`](Self::record).
#[derive(Debug)]
pub struct Measuring {
    place: Place,
    /// Taken when recorded.
    measure: Option<Measure>,
}

impl Measuring {
    pub(crate) fn new(place: Place, measure: Measure) -> Self {
        Self { place, measure: Some(measure) }
    }

    fn with(mut self, set: impl FnOnce(&mut Measure)) -> Self {
        if let Some(measure) = &mut self.measure {
            set(measure);
        }
        self
    }

    /// Records it now, and says how it was judged. An error says that the run was over already.
    pub fn record(mut self) -> Result<Measurement, RecordError> {
        self.take().unwrap_or_else(|| Err(RecordError::new("the measurement was recorded before")))
    }

    fn take(&mut self) -> Option<Result<Measurement, RecordError>> {
        let measure = self.measure.take()?;
        Some(match &self.place {
            Place::Step(step) => step.record(measure),
            Place::Vector(vector) => vector.record(measure),
        })
    }
}

impl Drop for Measuring {
    fn drop(&mut self) {
        // What comes too late is counted by the run; `record` is for who wants to know at once.
        let _ = self.take();
    }
}

macro_rules! setters {
    (text: $($(#[$doc:meta])* $text:ident),*; number: $($(#[$number_doc:meta])* $number:ident),*) => {
        // Not `must_use`: the end of the statement records.
        #[allow(clippy::return_self_not_must_use, reason = "recorded when dropped")]
        impl Measuring {
            $($(#[$doc])* pub fn $text(self, $text: impl Into<String>) -> Self {
                let text = $text.into();
                self.with(|measure| measure.$text = Some(text))
            })*
            $($(#[$number_doc])* pub fn $number(self, $number: impl Into<Reading>) -> Self {
                let number = $number.into().0;
                self.with(|measure| measure.$number = number)
            })*
            /// How value and limits are compared; `low <= value <= high` if not given.
            pub fn comparator(self, comparator: Comparator) -> Self {
                self.with(|measure| measure.comparator = comparator)
            }
            /// An outcome that was judged elsewhere.
            pub fn outcome(self, outcome: Outcome) -> Self {
                self.with(|measure| measure.outcome = Some(outcome))
            }
            /// When it was taken; now if not given.
            pub fn timestamp(self, timestamp: Timestamp) -> Self {
                self.with(|measure| measure.timestamp = Some(timestamp))
            }
        }
    };
}
setters! {
    text:
        /// Unit of value and limits.
        units,
        /// Reference into the specification.
        spec_ref,
        /// Characteristic of the product measured.
        characteristic_id,
        /// Pin of the unit under test.
        dut_pin,
        /// Connection of the fixture.
        fixture_connection,
        /// Instrument that measured: role name.
        instrument_name,
        /// Instrument that measured: resource address.
        instrument_resource,
        /// Instrument that measured: channel.
        instrument_channel;
    number:
        /// Lower limit.
        low,
        /// Upper limit.
        high,
        /// Nominal value.
        nominal
}
