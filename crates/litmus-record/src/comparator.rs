//! The ten comparators of ATML (IEEE 1671), and the verdict each gives.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{Outcome, RecordError};

/// How a value is compared with its limits.
///
/// A limit that is not given holds for every value, except the nominal of `EQ` and `NE`: without it nothing passes. NaN
/// passes no comparison but `NE`. (The platform's rule: `litmus/models/test_config.py`, `_COMPARATOR_CHECKS`.)
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Comparator {
    /// value == nominal
    Eq,
    /// value != nominal
    Ne,
    /// value < high
    Lt,
    /// value <= high
    Le,
    /// value > low
    Gt,
    /// value >= low
    Ge,
    /// low <= value <= high
    #[default]
    Gele,
    /// low <= value < high
    Gelt,
    /// low < value <= high
    Gtle,
    /// low < value < high
    Gtlt,
}

impl Comparator {
    /// All ten.
    pub const ALL: [Self; 10] =
        [Self::Eq, Self::Ne, Self::Lt, Self::Le, Self::Gt, Self::Ge, Self::Gele, Self::Gelt, Self::Gtle, Self::Gtlt];

    /// As it stands in the file.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Eq => "EQ",
            Self::Ne => "NE",
            Self::Lt => "LT",
            Self::Le => "LE",
            Self::Gt => "GT",
            Self::Ge => "GE",
            Self::Gele => "GELE",
            Self::Gelt => "GELT",
            Self::Gtle => "GTLE",
            Self::Gtlt => "GTLT",
        }
    }

    /// The outcome of a measurement: none without a value, `done` without any limit, else `passed` or `failed`.
    pub fn judge(
        self,
        value: Option<f64>,
        low: Option<f64>,
        high: Option<f64>,
        nominal: Option<f64>,
    ) -> Option<Outcome> {
        let value = value?;
        if low.is_none() && high.is_none() && nominal.is_none() {
            return Some(Outcome::Done);
        }
        Some(if self.holds(value, low, high, nominal) { Outcome::Passed } else { Outcome::Failed })
    }

    fn holds(self, value: f64, low: Option<f64>, high: Option<f64>, nominal: Option<f64>) -> bool {
        let above = |strict: bool| low.is_none_or(|low| if strict { value > low } else { value >= low });
        let below = |strict: bool| high.is_none_or(|high| if strict { value < high } else { value <= high });
        match self {
            Self::Eq => nominal.is_some_and(|nominal| value == nominal),
            Self::Ne => nominal.is_some_and(|nominal| value != nominal),
            Self::Lt => below(true),
            Self::Le => below(false),
            Self::Gt => above(true),
            Self::Ge => above(false),
            Self::Gele => above(false) && below(false),
            Self::Gelt => above(false) && below(true),
            Self::Gtle => above(true) && below(false),
            Self::Gtlt => above(true) && below(true),
        }
    }
}

impl fmt::Display for Comparator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Comparator {
    type Err = RecordError;
    fn from_str(text: &str) -> Result<Self, RecordError> {
        Self::ALL.into_iter().find(|comparator| comparator.as_str() == text).ok_or_else(|| {
            RecordError::new(format!("\"{text}\" is no comparator"))
                .with_hint("one of EQ, NE, LT, LE, GT, GE, GELE, GELT, GTLE, GTLT")
        })
    }
}
