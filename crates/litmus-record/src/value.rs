//! Values that go with a run: numbers that were read, and inputs, outputs and custom values of any kind.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// A number that was read, or none where it could not be.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Reading(pub Option<f64>);

impl From<Option<f64>> for Reading {
    fn from(value: Option<f64>) -> Self {
        Self(value)
    }
}

macro_rules! reading_from {
    ($($kind:ty),*) => {$(
        impl From<$kind> for Reading {
            #[allow(clippy::cast_lossless, reason = "one macro for all kinds")]
            fn from(value: $kind) -> Self {
                Self(Some(value as f64))
            }
        }
    )*};
}
reading_from!(f64, f32, i8, i16, i32, i64, isize, u8, u16, u32, u64, usize);

impl From<bool> for Reading {
    fn from(value: bool) -> Self {
        Self(Some(f64::from(u8::from(value))))
    }
}

/// The value of an input, an output or a custom entry.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "value", rename_all = "snake_case")]
pub enum Value {
    /// Known to have no value.
    Null,
    /// A truth value.
    Bool(bool),
    /// An integer.
    Int(i64),
    /// A number; NaN and infinities are kept.
    Float(#[serde(with = "number")] f64),
    /// A text; one that begins with `file://` or `channel://` is a reference.
    Text(String),
    /// A moment.
    Time(Timestamp),
    /// A list or an object.
    Json(serde_json::Value),
}

macro_rules! value_from {
    ($($kind:ty => $variant:ident),*) => {$(
        impl From<$kind> for Value {
            fn from(value: $kind) -> Self {
                Self::$variant(value.into())
            }
        }
    )*};
}
value_from!(
    bool => Bool, i8 => Int, i16 => Int, i32 => Int, i64 => Int, u8 => Int, u16 => Int, u32 => Int,
    f32 => Float, f64 => Float, &str => Text, String => Text, Timestamp => Time
);

impl From<serde_json::Value> for Value {
    /// Scalars become scalars; an integer beyond `i64` becomes a float.
    fn from(value: serde_json::Value) -> Self {
        match value {
            serde_json::Value::Null => Self::Null,
            serde_json::Value::Bool(value) => Self::Bool(value),
            serde_json::Value::String(value) => Self::Text(value),
            serde_json::Value::Number(number) => match (number.as_i64(), number.as_f64()) {
                (Some(int), _) => Self::Int(int),
                (None, Some(float)) => Self::Float(float),
                (None, None) => Self::Text(number.to_string()),
            },
            other => Self::Json(other),
        }
    }
}

impl<T: Into<Self>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

/// Names and values of a vector: `params! { input_voltage: 5.0, mode: "cv", "in °C": 25 }`.
#[macro_export]
macro_rules! params {
    (@name $name:ident) => { stringify!($name) };
    (@name $name:literal) => { $name };
    ($($name:tt : $value:expr),* $(,)?) => {
        [$((::std::string::String::from($crate::params!(@name $name)), $crate::Value::from($value))),*]
    };
}

/// JSON has no NaN and no infinities: they are the texts that the whole project uses for them.
pub(crate) mod number {
    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn text(value: f64) -> Option<&'static str> {
        match value {
            f64::INFINITY => Some("Infinity"),
            f64::NEG_INFINITY => Some("-Infinity"),
            _ if value.is_nan() => Some("NaN"),
            _ => None,
        }
    }

    #[allow(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
    pub(crate) fn serialize<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
        match text(*value) {
            Some(text) => serializer.serialize_str(text),
            None => serializer.serialize_f64(*value),
        }
    }

    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Stored {
        Number(f64),
        Text(String),
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
        match Stored::deserialize(deserializer)? {
            Stored::Number(number) => Ok(number),
            Stored::Text(text) => match text.as_str() {
                "NaN" => Ok(f64::NAN),
                "Infinity" => Ok(f64::INFINITY),
                "-Infinity" => Ok(f64::NEG_INFINITY),
                _ => Err(serde::de::Error::custom(format!("\"{text}\" is no number"))),
            },
        }
    }

    /// The same, where there may be none.
    pub(crate) mod option {
        use serde::{Deserialize, Deserializer, Serializer};

        #[derive(serde::Serialize, Deserialize)]
        struct Wrapped(#[serde(with = "super")] f64);

        #[allow(clippy::ref_option, clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
        pub(crate) fn serialize<S: Serializer>(value: &Option<f64>, serializer: S) -> Result<S::Ok, S::Error> {
            match value {
                Some(value) => super::serialize(value, serializer),
                None => serializer.serialize_none(),
            }
        }

        pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
            Ok(Option::<Wrapped>::deserialize(deserializer)?.map(|wrapped| wrapped.0))
        }
    }
}
