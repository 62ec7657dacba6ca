//! Cells as SQLite holds them, and back.

use litmus_core::digest::Cell;
use litmus_core::tables::Kind;
use litmus_sql::extra::{self, non_finite, non_finite_text};
use litmus_sql::timestamp;
use rusqlite::types::{ToSqlOutput, Value, ValueRef};
use serde_json::Value as Json;

/// The value that a column holds for a cell that [`litmus_sql::fit`]s it; `None`: SQLite has none, as for a time outside
/// the years 0001 to 9999. NaN and the infinities are texts, because SQLite would make NaN NULL.
pub(crate) fn stored<'a>(cell: &Cell<'a>) -> Option<ToSqlOutput<'a>> {
    let value = match cell {
        Cell::Text(text) | Cell::Json(text) => ValueRef::Text(text.as_bytes()),
        Cell::Int(whole) => ValueRef::Integer(*whole),
        Cell::Float(number) => match non_finite_text(*number) {
            Some(text) => ValueRef::Text(text.as_bytes()),
            None => ValueRef::Real(*number),
        },
        Cell::Bool(value) => ValueRef::Integer(i64::from(*value)),
        Cell::Timestamp(us) => {
            let text = String::from_utf8(timestamp::text(*us)?.to_vec()).expect("the text of a time is ASCII");
            return Some(ToSqlOutput::Owned(Value::Text(text)));
        }
        Cell::List(_) => return Some(ToSqlOutput::Owned(Value::Text(extra::encode(cell).to_string()))),
    };
    Some(ToSqlOutput::Borrowed(value))
}

/// A list column's text as JSON, parsed apart so that a cell can borrow from it.
pub(crate) fn parsed_list(kind: Kind, value: ValueRef<'_>) -> Option<Json> {
    match (kind, value) {
        (Kind::TextList | Kind::BoolList, ValueRef::Text(text)) => serde_json::from_slice(text).ok(),
        _ => None,
    }
}

/// The cell of a value read back, for the digest. What this sink never writes into such a column, because somebody else
/// did, becomes a cell that the source cannot have: the digests then differ, which is what an audit is for.
pub(crate) fn read<'a>(kind: Kind, value: ValueRef<'a>, parsed: Option<&'a Json>) -> Option<Cell<'a>> {
    let foreign = || if is_list(kind) { Cell::Int(0) } else { Cell::List(vec![None]) };
    Some(match value {
        ValueRef::Null => return None,
        ValueRef::Integer(whole) => match (kind, whole) {
            (Kind::Bool, 0 | 1) => Cell::Bool(whole == 1),
            (Kind::Int, _) => Cell::Int(whole),
            _ => foreign(),
        },
        ValueRef::Real(number) => match kind {
            Kind::Float => Cell::Float(number),
            _ => foreign(),
        },
        ValueRef::Text(text) => {
            let Ok(text) = std::str::from_utf8(text) else { return Some(foreign()) };
            match kind {
                Kind::Text => Cell::Text(text),
                Kind::Json => Cell::Json(text),
                Kind::Float => non_finite(text).map_or_else(foreign, Cell::Float),
                Kind::Timestamp => timestamp::parse(text).map_or_else(foreign, Cell::Timestamp),
                Kind::TextList | Kind::BoolList => {
                    parsed.and_then(Json::as_array).and_then(|list| extra::list_cell(list)).unwrap_or_else(foreign)
                }
                Kind::Int | Kind::Bool => foreign(),
            }
        }
        ValueRef::Blob(_) => foreign(),
    })
}

fn is_list(kind: Kind) -> bool {
    matches!(kind, Kind::TextList | Kind::BoolList)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_values_become_cells_that_no_source_has() {
        let odd = Some(Cell::List(vec![None]));
        assert_eq!(read(Kind::Float, ValueRef::Text(b"1.5"), None), odd);
        assert_eq!(read(Kind::Float, ValueRef::Text(b"NaN!"), None), odd);
        assert_eq!(read(Kind::Timestamp, ValueRef::Text(b"2026-06-01"), None), odd);
        assert_eq!(read(Kind::Bool, ValueRef::Integer(2), None), odd);
        assert_eq!(read(Kind::Int, ValueRef::Real(1.0), None), odd);
        assert_eq!(read(Kind::Text, ValueRef::Blob(b"a"), None), odd);
        assert_eq!(read(Kind::Text, ValueRef::Text(b"\xff"), None), odd);
        assert_eq!(read(Kind::TextList, ValueRef::Text(b"{}"), Some(&serde_json::json!({}))), Some(Cell::Int(0)));
        assert_eq!(read(Kind::TextList, ValueRef::Text(b"["), None), Some(Cell::Int(0)));
    }

    #[test]
    fn a_time_without_a_text_is_not_stored() {
        assert!(stored(&Cell::Timestamp(i64::MAX)).is_none());
        assert!(stored(&Cell::Timestamp(0)).is_some());
    }
}
