//! Which cell a column can hold without altering it.

use litmus_core::digest::Cell;
use litmus_core::tables::Kind;

/// Every whole number up to here is a float exactly, and every whole float up to here stands for one number only.
const EXACT_MAX: i64 = 1 << 53;

/// The cell as a column of this kind holds it; `None`: it cannot, and the cell goes to `extra`. Numbers cross between
/// whole and float where that is exact (the digest counts equal numbers alike); nothing else is converted.
pub fn fit(column: Kind, cell: Cell<'_>) -> Option<Cell<'_>> {
    match (column, &cell) {
        (Kind::Text, Cell::Text(_))
        | (Kind::Int, Cell::Int(_))
        | (Kind::Float, Cell::Float(_))
        | (Kind::Bool, Cell::Bool(_))
        | (Kind::Timestamp, Cell::Timestamp(_))
        | (Kind::Json, Cell::Json(_)) => Some(cell),
        (Kind::TextList, Cell::List(list)) => {
            list.iter().flatten().all(|cell| matches!(cell, Cell::Text(_))).then_some(cell)
        }
        (Kind::BoolList, Cell::List(list)) => {
            list.iter().flatten().all(|cell| matches!(cell, Cell::Bool(_))).then_some(cell)
        }
        (Kind::Float, Cell::Int(whole)) => {
            (-EXACT_MAX..=EXACT_MAX).contains(whole).then_some(Cell::Float(*whole as f64))
        }
        (Kind::Int, Cell::Float(number)) => {
            (number.trunc() == *number && number.abs() <= EXACT_MAX as f64).then_some(Cell::Int(*number as i64))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_cross_only_where_that_is_exact() {
        assert_eq!(fit(Kind::Float, Cell::Int(5)), Some(Cell::Float(5.0)));
        assert_eq!(fit(Kind::Float, Cell::Int(EXACT_MAX)), Some(Cell::Float(9_007_199_254_740_992.0)));
        assert_eq!(fit(Kind::Float, Cell::Int(EXACT_MAX + 1)), None);
        assert_eq!(fit(Kind::Float, Cell::Int(i64::MIN)), None);
        assert_eq!(fit(Kind::Int, Cell::Float(-3.0)), Some(Cell::Int(-3)));
        for number in [0.5, 1e300, f64::NAN, f64::INFINITY] {
            assert_eq!(fit(Kind::Int, Cell::Float(number)), None, "{number}");
        }
    }

    #[test]
    fn nothing_else_crosses() {
        assert_eq!(fit(Kind::Text, Cell::Int(1)), None);
        assert_eq!(fit(Kind::Bool, Cell::Int(1)), None);
        assert_eq!(fit(Kind::Json, Cell::Text("{}")), None);
        assert_eq!(fit(Kind::Int, Cell::Timestamp(1)), None);
        assert_eq!(fit(Kind::TextList, Cell::List(vec![Some(Cell::Bool(true))])), None);
        let nulls = Cell::List(vec![None]);
        assert_eq!(fit(Kind::TextList, nulls.clone()), Some(nulls));
    }
}
