//! The bytes of a JSON document, written while it is parsed: no tree is made of it.

use std::fmt;
use std::ops::Range;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use super::{Conversions, encode};

/// Writes documents; its buffers are kept from one to the next.
#[derive(Debug, Default)]
pub(super) struct JsonWriter {
    /// Members of the objects that are open, innermost last.
    members: Vec<Member>,
    sorted: Vec<u8>,
}

/// Where a member of an object lies in the output.
#[derive(Clone, Debug)]
struct Member {
    key: Range<usize>,
    end: usize,
}

impl Member {
    /// Key and value, with the key's length before them.
    fn whole(&self) -> Range<usize> {
        self.key.start - encode::LENGTH_BYTES..self.end
    }
}

impl JsonWriter {
    /// Appends the document by value; text that is not JSON counts as the text it is.
    pub(super) fn document(&mut self, out: &mut Vec<u8>, document: &str, conversions: Conversions) {
        let start = out.len();
        self.members.clear();
        out.push(encode::JSON);
        let mut parser = serde_json::Deserializer::from_str(document);
        let value = JsonValue { writer: self, out, conversions };
        let parsed = value.deserialize(&mut parser).and_then(|()| parser.end());
        if parsed.is_err() {
            out.truncate(start);
            encode::text(out, document, conversions);
        }
    }

    /// Puts the members from `first` on in the order of their keys; of two with one key the last counts. Returns how many
    /// there are then.
    fn sort(&mut self, out: &mut Vec<u8>, first: usize) -> usize {
        let members = &mut self.members[first..];
        let key = |member: &Member| &out[member.key.clone()];
        if members.windows(2).all(|pair| key(&pair[0]) < key(&pair[1])) {
            return members.len();
        }
        // `Range` has no order: the later of equal keys comes last because it lies further back.
        members.sort_unstable_by(|a, b| key(a).cmp(key(b)).then(a.end.cmp(&b.end)));
        let start = members.iter().map(|member| member.whole().start).min().unwrap_or(out.len());
        let mut kept = 0;
        self.sorted.clear();
        for (at, member) in members.iter().enumerate() {
            if members.get(at + 1).is_none_or(|next| key(next) != key(member)) {
                self.sorted.extend_from_slice(&out[member.whole()]);
                kept += 1;
            }
        }
        out.truncate(start);
        out.extend_from_slice(&self.sorted);
        kept
    }
}

/// A value that is to be written.
struct JsonValue<'a> {
    writer: &'a mut JsonWriter,
    out: &'a mut Vec<u8>,
    conversions: Conversions,
}

impl<'de> DeserializeSeed<'de> for JsonValue<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

/// The length of what `out` got from `at` on is known now.
fn set_length(out: &mut [u8], at: usize, length: usize) {
    out[at..at + encode::LENGTH_BYTES].copy_from_slice(&encode::length_bytes(length));
}

impl<'de> Visitor<'de> for JsonValue<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        encode::null(self.out);
        Ok(())
    }

    fn visit_bool<E>(self, value: bool) -> Result<(), E> {
        encode::bool(self.out, value);
        Ok(())
    }

    fn visit_i64<E>(self, value: i64) -> Result<(), E> {
        encode::int(self.out, value);
        Ok(())
    }

    fn visit_u64<E>(self, value: u64) -> Result<(), E> {
        match i64::try_from(value) {
            Ok(value) => encode::int(self.out, value),
            Err(_) => encode::float(self.out, value as f64),
        }
        Ok(())
    }

    fn visit_f64<E>(self, value: f64) -> Result<(), E> {
        encode::float(self.out, value);
        Ok(())
    }

    fn visit_str<E>(self, value: &str) -> Result<(), E> {
        encode::text(self.out, value, self.conversions);
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        let Self { writer, out, conversions } = self;
        encode::list_head(out, 0);
        let length_at = out.len() - encode::LENGTH_BYTES;
        let mut length = 0;
        while elements.next_element_seed(JsonValue { writer: &mut *writer, out: &mut *out, conversions })?.is_some() {
            length += 1;
        }
        set_length(out, length_at, length);
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let Self { writer, out, conversions } = self;
        encode::object_head(out, 0);
        let length_at = out.len() - encode::LENGTH_BYTES;
        let first = writer.members.len();
        while let Some(key) = members.next_key_seed(JsonKey { out: &mut *out, conversions })? {
            members.next_value_seed(JsonValue { writer: &mut *writer, out: &mut *out, conversions })?;
            writer.members.push(Member { key, end: out.len() });
        }
        let length = writer.sort(out, first);
        writer.members.truncate(first);
        set_length(out, length_at, length);
        Ok(())
    }
}

/// A key that is to be written; gives its place.
struct JsonKey<'a> {
    out: &'a mut Vec<u8>,
    conversions: Conversions,
}

impl<'de> DeserializeSeed<'de> for JsonKey<'_> {
    type Value = Range<usize>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Range<usize>, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for JsonKey<'_> {
    type Value = Range<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<Range<usize>, E> {
        let start = self.out.len() + encode::LENGTH_BYTES;
        encode::bare_text(self.out, key, self.conversions);
        Ok(start..self.out.len())
    }
}
