//! What is to be known of a root column before its pages are read.

use arrow::datatypes::{DataType, Field, TimeUnit};
use parquet::basic::{ConvertedType, LogicalType, Repetition, Type as ParquetPhysical};
use parquet::schema::types::Type;

/// How values are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Physical {
    Text,
    Int64,
    Int32,
    Double,
    Bool,
}

/// A leaf column.
#[derive(Clone, Copy, Debug)]
pub(super) struct Leaf {
    pub(super) physical: Physical,
    pub(super) max_def: u8,
    pub(super) max_rep: u8,
}

/// How a root column is laid out, if the decoder knows it.
#[derive(Debug)]
pub(in crate::reader) struct RootPlan {
    pub(super) data_type: DataType,
    pub(super) leaves: Vec<Leaf>,
    pub(super) nesting: Nesting,
}

/// What the definition levels of a column mean.
#[derive(Clone, Copy, Debug)]
pub(super) enum Nesting {
    Flat,
    List {
        /// From here on the list is not NULL.
        list_def: u8,
        /// From here on the element, or the struct, is not NULL.
        element_def: u8,
    },
}

/// From this definition level on a list has an entry.
pub(super) fn entry_def(list_def: u8) -> u8 {
    list_def + 1
}

impl RootPlan {
    /// How many leaf columns it has.
    pub(in crate::reader) fn leaves(&self) -> usize {
        self.leaves.len()
    }

    /// `None`: a layout that is left to the parquet crate.
    pub(in crate::reader) fn of(stored: &Type, field: &Field) -> Option<Self> {
        let data_type = field.data_type().clone();
        if stored.is_primitive() {
            let leaf = leaf(stored, &data_type, 0, 0)?;
            return Some(Self { data_type, leaves: vec![leaf], nesting: Nesting::Flat });
        }
        let DataType::List(element) = &data_type else { return None };
        let [entry] = stored.get_fields() else { return None };
        let is_list = stored.get_basic_info().converted_type() == ConvertedType::LIST
            || stored.get_basic_info().logical_type_ref() == Some(&LogicalType::List);
        if !is_list || entry.is_primitive() || repetition(entry)? != Repetition::REPEATED || is_old_style(stored, entry)
        {
            return None;
        }
        let [stored_element] = entry.get_fields() else { return None };
        let list_def = optional(stored)?;
        let element_def = entry_def(list_def) + optional(stored_element)?;
        let leaves = match element.data_type() {
            DataType::Struct(members) => {
                let stored_members = if stored_element.is_primitive() { &[] } else { stored_element.get_fields() };
                if stored_members.len() != members.len() || members.is_empty() {
                    return None;
                }
                let member = |(stored, member): (&std::sync::Arc<Type>, &std::sync::Arc<Field>)| {
                    leaf(stored, member.data_type(), element_def, 1)
                };
                stored_members.iter().zip(members).map(member).collect::<Option<_>>()?
            }
            element => vec![leaf(stored_element, element, entry_def(list_def), 1)?],
        };
        Some(Self { data_type, leaves, nesting: Nesting::List { list_def, element_def } })
    }
}

fn repetition(stored: &Type) -> Option<Repetition> {
    stored.get_basic_info().has_repetition().then(|| stored.get_basic_info().repetition())
}

/// The definition levels that a column adds.
fn optional(stored: &Type) -> Option<u8> {
    match repetition(stored)? {
        Repetition::REQUIRED => Some(0),
        Repetition::OPTIONAL => Some(1),
        Repetition::REPEATED => None,
    }
}

/// Lists whose repeated group is the element itself (LogicalTypes.md, "Backward-compatibility rules").
fn is_old_style(stored: &Type, entry: &Type) -> bool {
    entry.name() == "array" || entry.name() == format!("{}_tuple", stored.name())
}

fn leaf(stored: &Type, data_type: &DataType, def: u8, max_rep: u8) -> Option<Leaf> {
    if !stored.is_primitive() {
        return None;
    }
    let physical = match (stored.get_physical_type(), data_type) {
        (ParquetPhysical::BYTE_ARRAY, DataType::Utf8) => Physical::Text,
        (ParquetPhysical::INT64, DataType::Int64 | DataType::Timestamp(TimeUnit::Microsecond, _)) => Physical::Int64,
        (ParquetPhysical::INT32, DataType::Int32) => Physical::Int32,
        (ParquetPhysical::DOUBLE, DataType::Float64) => Physical::Double,
        (ParquetPhysical::BOOLEAN, DataType::Boolean) => Physical::Bool,
        _ => return None,
    };
    Some(Leaf { physical, max_def: def + optional(stored)?, max_rep })
}
