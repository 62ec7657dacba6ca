//! Names at the destination for what the run model names itself: tables and kinds.

use litmus_core::Table;
use litmus_core::tables::Kind;

/// The SQL table of a canonical one. `runs` is too common a name in a database that others use too.
pub const fn sql_table(table: Table) -> &'static str {
    match table {
        Table::Runs => "test_runs",
        other => other.name(),
    }
}

const KINDS: [(Kind, &str); 8] = [
    (Kind::Text, "text"),
    (Kind::Int, "int"),
    (Kind::Float, "float"),
    (Kind::Bool, "bool"),
    (Kind::Timestamp, "timestamp"),
    (Kind::Json, "json"),
    (Kind::TextList, "text_list"),
    (Kind::BoolList, "bool_list"),
];

/// A kind as `litmus_columns.kind` spells it.
pub fn kind_name(kind: Kind) -> &'static str {
    KINDS.iter().find(|(known, _)| *known == kind).expect("every kind is in the list").1
}

/// The kind of a name in `litmus_columns.kind`; `None`: a newer version wrote it.
pub fn kind_of_name(name: &str) -> Option<Kind> {
    KINDS.iter().find(|(_, known)| *known == name).map(|(kind, _)| *kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_spelled_as_the_run_model_spells_them() {
        for (kind, name) in KINDS {
            assert_eq!(serde_json::to_value(kind).unwrap(), name);
            assert_eq!(kind_of_name(kind_name(kind)), Some(kind));
        }
        assert_eq!(kind_of_name("uuid"), None);
    }
}
