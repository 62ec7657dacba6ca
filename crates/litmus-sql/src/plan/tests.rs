use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use arrow::datatypes::Schema;

use super::*;
use crate::{Placement, quoted};

/// Short names, ASCII folding: enough to see what a dialect decides.
struct Plain;

impl Dialect for Plain {
    fn name_bytes_max(&self) -> usize {
        40
    }
    fn folded(&self, name: &str) -> String {
        name.to_ascii_lowercase()
    }
    fn reserved(&self) -> &'static [&'static str] {
        &["ctid"]
    }
    fn column_type(&self, _canonical: &str, kind: Kind) -> &'static str {
        crate::kind_name(kind)
    }
    fn literal(&self, text: &str) -> String {
        format!("'{}'", text.replace('\'', "''"))
    }
    fn view_columns_max(&self) -> usize {
        300
    }
    fn view_cell(&self, expression: String, from: Kind, to: Kind) -> Option<String> {
        (from == to).then_some(expression)
    }
    fn view_null(&self, _kind: Kind) -> String {
        "NULL".to_owned()
    }
    fn replace_view(&self, view: &str, query: &str) -> Vec<String> {
        vec![format!("VIEW {view} {query}")]
    }
}

fn planner(policy: SchemaPolicy) -> Planner<'static> {
    Planner { dialect: &Plain, vocabulary: Vocabulary::Litmus, policy, columns_max: 400 }
}

fn steps(columns: &[(&str, Kind)]) -> Wanted {
    let core = Table::Steps.core_columns().iter().map(|column| column.kind.field(column.name));
    let fields: Vec<_> = core.chain(columns.iter().map(|(name, kind)| kind.field(name))).collect();
    (Table::Steps, Arc::new(Schema::new(fields)))
}

fn place(catalog: &Catalog, wanted: &Wanted, name: &str) -> Option<String> {
    let known = catalog.table(wanted.0);
    let (_, placement) = known.placements(&wanted.1).unwrap()[wanted.1.index_of(name).unwrap()];
    match placement {
        Placement::Column(at) => Some(known.columns()[at].name.clone()),
        Placement::Extra => None,
    }
}

#[test]
fn the_first_plan_creates_all_tables_and_the_second_only_adds() {
    let mut catalog = Catalog::empty(&Plain);
    let first = planner(SchemaPolicy::Evolve).plan(&mut catalog, &[steps(&[("in_v", Kind::Int)])]).unwrap();
    assert_eq!(first.iter().filter(|statement| statement.starts_with("CREATE TABLE")).count(), 5);
    let created = first.iter().find(|statement| statement.starts_with("CREATE TABLE \"steps\"")).unwrap();
    assert!(created.contains("\"run_id\" text NOT NULL, \"row_index\" int NOT NULL, \"step_index\" int,"), "{created}");
    assert!(created.ends_with("\"in_v\" float, \"extra\" json, PRIMARY KEY (\"run_id\", \"row_index\"))"), "{created}");
    assert!(planner(SchemaPolicy::Evolve).plan(&mut catalog, &[steps(&[("in_v", Kind::Float)])]).unwrap().is_empty());

    let wanted = [steps(&[("out_\"x'", Kind::Text)]), steps(&[("out_\"x'", Kind::Bool)])];
    let second = planner(SchemaPolicy::Evolve).plan(&mut catalog, &wanted).unwrap();
    assert_eq!(second.len(), 3, "{second:?}");
    assert_eq!(second[0], "ALTER TABLE \"steps\" ADD COLUMN \"out_\"\"x'\" text");
    assert!(second[1].ends_with("'steps', 'out_\"x''', 'out_\"x''', 'text')"), "{}", second[1]);
    assert!(second[2].starts_with("VIEW \"run_rows\" SELECT 'run' AS \"record_type\", "), "{}", second[2]);
    assert_eq!(place(&catalog, &wanted[0], "out_\"x'").as_deref(), Some("out_\"x'"));
    assert_eq!(place(&catalog, &wanted[1], "out_\"x'"), None, "the first kind stays");
}

#[test]
fn what_evolve_adds_freeze_asks_for_and_ignore_leaves() {
    let wanted = [steps(&[("in_v", Kind::Text)])];
    let mut evolved = Catalog::empty(&Plain);
    let statements = planner(SchemaPolicy::Evolve).plan(&mut evolved, &wanted).unwrap();
    let mut frozen = Catalog::empty(&Plain);
    assert_eq!(planner(SchemaPolicy::Freeze).plan(&mut frozen, &wanted).unwrap(), statements);

    let mut ignored = Catalog::empty(&Plain);
    let created = planner(SchemaPolicy::Ignore).plan(&mut ignored, &wanted).unwrap();
    assert!(created.iter().all(|statement| !statement.contains("in_v")));
    assert_eq!(place(&ignored, &wanted[0], "in_v"), None);
    assert_eq!(place(&ignored, &wanted[0], "step_name").as_deref(), Some("step_name"));
    assert!(planner(SchemaPolicy::Ignore).plan(&mut ignored, &wanted).unwrap().is_empty());
}

#[test]
fn columns_past_the_limit_go_to_extra() {
    let core = Table::Steps.core_columns().len();
    let planner = Planner { columns_max: core + 1, ..planner(SchemaPolicy::Evolve) };
    let mut catalog = Catalog::empty(&Plain);
    let wanted = [steps(&[("in_a", Kind::Text), ("in_b", Kind::Text)])];
    planner.plan(&mut catalog, &wanted).unwrap();
    assert_eq!(place(&catalog, &wanted[0], "in_a").as_deref(), Some("in_a"));
    assert_eq!(place(&catalog, &wanted[0], "in_b"), None);
    assert!(planner.plan(&mut catalog, &wanted).unwrap().is_empty(), "a full table needs no change");
}

#[test]
fn a_name_that_folds_onto_another_or_is_reserved_gets_one_of_its_own() {
    let mut catalog = Catalog::empty(&Plain);
    let long = "in_".to_owned() + &"x".repeat(60);
    let wanted = [steps(&[
        ("in_v", Kind::Text),
        ("IN_V", Kind::Text),
        ("extra", Kind::Text),
        ("Ctid", Kind::Text),
        (&long, Kind::Text),
    ])];
    planner(SchemaPolicy::Evolve).plan(&mut catalog, &wanted).unwrap();
    let names: HashSet<_> =
        catalog.table(Table::Steps).columns().iter().map(|column| column.name.to_ascii_lowercase()).collect();
    assert_eq!(names.len(), catalog.table(Table::Steps).columns().len());
    assert!(place(&catalog, &wanted[0], "IN_V").unwrap().starts_with("IN_V_"));
    assert!(place(&catalog, &wanted[0], "extra").unwrap().starts_with("extra_"));
    assert!(place(&catalog, &wanted[0], "Ctid").unwrap().starts_with("Ctid_"));
    assert_eq!(place(&catalog, &wanted[0], &long).unwrap().len(), 40);
}

#[test]
fn names_once_recorded_stay_whatever_the_vocabulary() {
    let mut catalog = Catalog::empty(&Plain);
    planner(SchemaPolicy::Evolve).plan(&mut catalog, &[]).unwrap();
    let recorded: Vec<_> = Table::ALL
        .iter()
        .flat_map(|table| catalog.table(*table).columns().iter().map(|column| (*table, column.clone())))
        .collect();
    let mut physical: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for (table, column) in &recorded {
        physical.entry(*table).or_default().push(column.name.clone());
    }
    let (mut again, gone) = Catalog::load(&Plain, recorded.clone(), &physical);
    assert!(gone.is_empty());
    let newer = Planner { vocabulary: Vocabulary::Testerkit, ..planner(SchemaPolicy::Evolve) };
    let measurements: Vec<_> =
        Table::Measurements.core_columns().iter().map(|column| column.kind.field(column.name)).collect();
    let wanted = [
        (Table::Measurements, Arc::new(Schema::new(measurements))),
        (Table::Runs, Arc::new(Schema::new(vec![Kind::Text.field("dut_colour")]))),
    ];
    let statements = newer.plan(&mut again, &wanted).unwrap();
    assert_eq!(statements[0], "ALTER TABLE \"test_runs\" ADD COLUMN \"uut_colour\" text");
    assert_eq!(again.table(Table::Runs).column("dut_serial").unwrap().name, "dut_serial");
    let newest = again.table(Table::Runs).column("dut_colour").unwrap().ordinal;
    assert!(recorded.iter().all(|(_, column)| column.ordinal < newest));

    physical.get_mut(&Table::Runs).unwrap().retain(|name| name != "dut_serial");
    let (_, gone) = Catalog::load(&Plain, recorded, &physical);
    assert_eq!(gone.len(), 1, "a dropped column is noticed");
}

#[test]
fn the_view_only_grows_at_its_end_and_keeps_its_kinds() {
    let view = |catalog: &Catalog| {
        let statement = crate::view::statements(&Plain, catalog).remove(0);
        let branches: Vec<_> = statement.split(" UNION ALL ").map(str::to_owned).collect();
        let names = |branch: &str| -> Vec<String> {
            let selected = &branch[..branch.find(" FROM ").unwrap()];
            selected.split(", ").map(|column| column.rsplit(" AS ").next().unwrap().to_owned()).collect()
        };
        (names(&branches[0]), branches)
    };
    let mut catalog = Catalog::empty(&Plain);
    planner(SchemaPolicy::Evolve).plan(&mut catalog, &[]).unwrap();
    let (before, _) = view(&catalog);
    let measurement = (Table::Measurements, Arc::new(Schema::new(vec![Kind::Text.field("in_v")])));
    planner(SchemaPolicy::Evolve).plan(&mut catalog, &[steps(&[("in_v", Kind::Float)]), measurement]).unwrap();
    let (after, branches) = view(&catalog);
    assert_eq!(after[..before.len()], before);
    assert_eq!(after[before.len()..], [quoted("in_v")]);
    assert_eq!(after.iter().collect::<HashSet<_>>().len(), after.len());
    assert!(branches[0].contains("NULL AS \"step_name\"") && branches[0].contains("t.\"environment_json\" AS"));
    assert!(
        branches[1].contains("t.\"in_v\" AS \"in_v\"") && branches[1].contains("r.\"dut_serial\" AS \"dut_serial\"")
    );
    assert!(branches[1].contains("NULL AS \"environment_json\""), "a run's documents are not repeated on every row");
    assert!(branches[3].contains("NULL AS \"in_v\""), "a text cannot stand in a column of floats");
}

#[test]
fn a_type_that_is_not_canonical_is_named() {
    let schema = Schema::new(vec![arrow::datatypes::Field::new("in_x", arrow::datatypes::DataType::Int8, true)]);
    let error = planner(SchemaPolicy::Evolve).plan(&mut Catalog::empty(&Plain), &[(Table::Steps, Arc::new(schema))]);
    assert_eq!(error.unwrap_err().to_string(), "column \"in_x\" is Int8, which no canonical column is");
}
