//! Cells as PostgreSQL sends them in binary, for the digest.

use litmus_core::digest::Cell;
use litmus_core::tables::Kind;
use tokio_postgres::types::{FromSql, Type};

use crate::copy::EPOCH_US;

/// The bytes of a value, whatever its type.
pub(crate) struct Raw<'a>(pub(crate) &'a [u8]);

impl<'a> FromSql<'a> for Raw<'a> {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Self(raw))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

/// A UUID as a text; a cell must live somewhere.
pub(crate) fn uuid(kind: Kind, data_type: &Type, raw: &[u8]) -> Option<String> {
    let bytes: [u8; 16] = (kind == Kind::Text && *data_type == Type::UUID).then(|| raw.try_into().ok()).flatten()?;
    Some(litmus_core::RunId::from_bytes(bytes).to_string())
}

/// The cell of a value. What this sink never writes into such a column, because somebody changed its type, becomes a cell
/// that no source has: the digests then differ, which is what an audit is for.
pub(crate) fn read<'a>(kind: Kind, data_type: &Type, raw: &'a [u8]) -> Cell<'a> {
    known(kind, data_type, raw).unwrap_or(match kind {
        Kind::TextList | Kind::BoolList => Cell::Int(0),
        _ => Cell::List(vec![None]),
    })
}

fn known<'a>(kind: Kind, data_type: &Type, raw: &'a [u8]) -> Option<Cell<'a>> {
    let eight = || raw.try_into().ok();
    Some(match kind {
        Kind::Text if matches!(*data_type, Type::TEXT | Type::VARCHAR) => Cell::Text(std::str::from_utf8(raw).ok()?),
        Kind::Int if *data_type == Type::INT8 => Cell::Int(i64::from_be_bytes(eight()?)),
        Kind::Float if *data_type == Type::FLOAT8 => Cell::Float(f64::from_be_bytes(eight()?)),
        Kind::Bool if *data_type == Type::BOOL => Cell::Bool(bool(raw)?),
        Kind::Timestamp if *data_type == Type::TIMESTAMPTZ => time(i64::from_be_bytes(eight()?))?,
        Kind::Json if *data_type == Type::JSONB => Cell::Json(json(raw)?),
        Kind::TextList if *data_type == Type::TEXT_ARRAY => {
            Cell::List(list(raw, |raw| Some(Cell::Text(std::str::from_utf8(raw).ok()?)))?)
        }
        Kind::BoolList if *data_type == Type::BOOL_ARRAY => Cell::List(list(raw, |raw| Some(Cell::Bool(bool(raw)?)))?),
        _ => return None,
    })
}

/// The text of a `jsonb`.
pub(crate) fn json(raw: &[u8]) -> Option<&str> {
    let (version, text) = raw.split_first()?;
    std::str::from_utf8(text).ok().filter(|_| *version == 1)
}

fn bool(raw: &[u8]) -> Option<bool> {
    match raw {
        [0] => Some(false),
        [1] => Some(true),
        _ => None,
    }
}

/// The infinities, which we never write, are the ends of the range.
fn time(us: i64) -> Option<Cell<'static>> {
    if us == i64::MIN || us == i64::MAX {
        return None;
    }
    us.checked_add(EPOCH_US).map(Cell::Timestamp)
}

/// A one-dimensional array that begins at 1, as we write them.
fn list<'a>(raw: &'a [u8], element: impl Fn(&'a [u8]) -> Option<Cell<'a>>) -> Option<Vec<Option<Cell<'a>>>> {
    let mut rest = raw;
    let mut number = || {
        let (bytes, after) = rest.split_first_chunk::<4>()?;
        rest = after;
        Some(i32::from_be_bytes(*bytes))
    };
    let (dimensions, _flags, _oid) = (number()?, number()?, number()?);
    if dimensions == 0 {
        return Some(Vec::new());
    }
    let (count, first) = (number()?, number()?);
    if dimensions != 1 || first != 1 {
        return None;
    }
    let mut elements = Vec::new();
    for _ in 0..count {
        let (bytes, after) = rest.split_first_chunk::<4>()?;
        rest = after;
        elements.push(match usize::try_from(i32::from_be_bytes(*bytes)) {
            Err(_) => None,
            Ok(length) => {
                let (value, after) = rest.split_at_checked(length)?;
                rest = after;
                Some(element(value)?)
            }
        });
    }
    Some(elements)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_of_another_type_is_a_cell_that_no_source_has() {
        let odd = Cell::List(vec![None]);
        assert_eq!(read(Kind::Float, &Type::NUMERIC, &[0; 8]), odd);
        assert_eq!(read(Kind::Int, &Type::INT4, &[0; 4]), odd);
        assert_eq!(read(Kind::Text, &Type::BYTEA, b"a"), odd);
        assert_eq!(read(Kind::Timestamp, &Type::TIMESTAMPTZ, &i64::MAX.to_be_bytes()), odd);
        assert_eq!(read(Kind::Json, &Type::JSON, b"{}"), odd);
        assert_eq!(read(Kind::TextList, &Type::TEXT, b"{}"), Cell::Int(0));
        assert_eq!(read(Kind::TextList, &Type::TEXT_ARRAY, &[0, 0, 0, 2]), Cell::Int(0));
    }
}
