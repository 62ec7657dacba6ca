//! How tables grow, what happens where they must not, and the queries of the documentation.

use litmus_core::tables::Kind;
use litmus_core::{Report, Status, Table};
use serde_json::json;

use super::made::{Bench, Made, TestRun, V, column, text};

fn steps(id: u8, columns: &[Made]) -> TestRun {
    TestRun::new(id, 1).with(Table::Steps, columns)
}

fn extra(bench: &Bench) -> String {
    bench.psql("SELECT extra FROM steps WHERE extra IS NOT NULL ORDER BY run_id, row_index")
}

#[test]
fn a_column_that_came_first_as_another_kind_sends_cells_to_extra() {
    let bench = Bench::new();
    bench.deliver_one(&steps(1, &[column("in_x", Kind::Float, [V::Float(1.5)])]));
    let conflict = steps(2, &[column("in_x", Kind::Text, [text("n/a"), V::Null, text("1.5")])]);
    let receipt = bench.deliver_one(&conflict).receipt.unwrap();
    assert_eq!(receipt.extra.into_iter().collect::<Vec<_>>(), [("steps.in_x".to_owned(), 2)]);
    assert_eq!(extra(&bench), "{\"in_x\": \"n/a\"}\n{\"in_x\": \"1.5\"}");
    bench.assert_holds(&conflict);
}

#[test]
fn whole_numbers_go_into_a_float_column_where_that_is_exact() {
    let bench = Bench::new();
    let exact = 1i64 << 53;
    let run = steps(1, &[column("in_n", Kind::Int, [V::Int(7), V::Int(exact), V::Int(exact + 1), V::Int(i64::MIN)])]);
    let receipt = bench.deliver_one(&run).receipt.unwrap();
    assert_eq!(receipt.extra["steps.in_n"], 2);
    assert_eq!(
        bench.psql("SELECT in_n, extra FROM steps ORDER BY row_index"),
        "7|\n9.007199254740992e+15|\n|{\"in_n\": 9007199254740993}\n|{\"in_n\": -9223372036854775808}"
    );
    bench.assert_holds(&run);
}

#[test]
fn times_out_of_range_and_broken_json_go_to_extra() {
    let bench = Bench::new();
    let run = steps(
        1,
        &[
            column("step_started_at", Kind::Timestamp, [V::Time(i64::MAX), V::Time(0)]),
            column("in_j", Kind::Json, [V::Json("{oops".to_owned()), V::Json("1e400".to_owned())]),
        ],
    );
    bench.deliver_one(&run);
    assert_eq!(
        extra(&bench),
        "{\"in_j\": {\"json\": \"{oops\"}, \"step_started_at\": {\"timestamp_us\": 9223372036854775807}}\n{\"in_j\": {\"json\": \"1e400\"}}"
    );
    bench.assert_holds(&run);
}

#[test]
fn ignore_keeps_unknown_columns_in_extra() {
    let bench = Bench::with(json!({ "schema_policy": "ignore" }));
    let columns = [
        column("in_f", Kind::Float, [V::Float(f64::NAN), V::Float(2.5)]),
        column("in_t", Kind::Timestamp, [V::Time(0), V::Null]),
        column("in_l", Kind::BoolList, [V::Null, V::Bools(vec![Some(true), None])]),
        column("in_\0", Kind::Text, [V::Null, text("x\0y")]),
    ];
    let run = steps(1, &columns);
    let receipt = bench.deliver_one(&run).receipt.unwrap();
    assert_eq!(receipt.extra.len(), 4);
    assert_eq!(
        extra(&bench),
        "{\"in_f\": {\"number\": \"NaN\"}, \"in_t\": {\"timestamp\": \"1970-01-01T00:00:00.000000Z\"}}\n\
         {\"in_f\": 2.5, \"in_l\": [true, null], \"in_\\\\0\": \"x\u{fffd}y\"}"
    );
    bench.assert_holds(&run);
    let again = bench.deliver(std::slice::from_ref(&run)).remove(0).receipt.unwrap();
    assert_eq!(again.extra, receipt.extra, "the note names them as they are");
}

#[test]
fn columns_past_the_limit_go_to_extra() {
    let core = Table::Steps.core_columns().len();
    let bench = Bench::with(json!({ "columns_max": core + 1 }));
    let run = steps(1, &[column("in_a", Kind::Text, [text("a")]), column("in_b", Kind::Text, [text("b")])]);
    assert_eq!(bench.deliver_one(&run).receipt.unwrap().extra["steps.in_b"], 1);
    assert_eq!(bench.psql("SELECT in_a, extra FROM steps"), "a|{\"in_b\": \"b\"}");
    bench.assert_holds(&run);
}

#[test]
fn fifteen_hundred_columns_fit_if_they_may_and_the_view_still_works() {
    let bench = Bench::with(json!({ "columns_max": 1500 }));
    let wide: Vec<_> = (0..1400).map(|at| column(&format!("in_{at}"), Kind::Bool, [V::Bool(true)])).collect();
    let wider: Vec<_> = (0..1400).map(|at| column(&format!("out_{at}"), Kind::Bool, [V::Bool(true)])).collect();
    let run = steps(1, &wide).with(Table::Measurements, &wider);
    bench.deliver_one(&run);
    bench.assert_holds(&run);
    assert_eq!(bench.psql("SELECT record_type, in_7 FROM run_rows WHERE in_7 IS NOT NULL"), "step|t");
}

#[test]
fn freeze_stops_with_statements_that_somebody_can_run_and_a_role_without_create_can_use() {
    let bench = Bench::new();
    let role = format!("writer_{}", bench.schema);
    let own = format!("frozen_{}", bench.schema);
    bench.psql(&format!("CREATE ROLE {role} LOGIN"));
    let url = bench.server.url().replace("litmus@", &format!("{role}@"));
    let frozen = bench.another(json!({ "schema_policy": "freeze", "schema": own, "url": url }));
    let error = frozen.connect().unwrap_err();
    assert_eq!(error.status(), Status::Schema);
    let message = error.to_string();
    assert!(message.contains("schema_policy is \"freeze\"\nhint: run these statements"), "{message}");
    assert!(message.contains("CREATE SCHEMA") && message.contains(".\"steps\" ("), "{message}");
    let statements = |message: &str| message.split_once("\"ignore\":\n").unwrap().1.to_owned();
    bench.psql(&statements(&message));
    bench.psql(&format!(
        "GRANT USAGE ON SCHEMA {own} TO {role}; GRANT SELECT, INSERT, DELETE ON ALL TABLES IN SCHEMA {own} TO {role}"
    ));
    frozen.connect().unwrap();

    let runs = [
        steps(1, &[column("in_it's", Kind::Text, [text("a")])]),
        steps(2, &[column("in_a\0", Kind::Float, [V::Float(1.0)])]),
    ];
    frozen.deliver_one(&TestRun::new(9, 1));
    let (reports, ended) = frozen.try_deliver(&runs);
    let error = ended.unwrap_err();
    assert_eq!(error.status(), Status::Schema);
    assert!(reports.iter().all(Option::is_none));
    let message = error.to_string();
    assert!(message.contains("\"in_it's\" text") && message.contains("\"in_a__"), "{message}");
    assert_eq!(frozen.dry_run(&runs)[0].status, Status::Schema);
    bench.psql(&statements(&message));
    for (run, report) in runs.iter().zip(frozen.deliver(&runs)) {
        assert_eq!(report.status, Status::Delivered, "{}", report.message);
        assert!(report.receipt.unwrap().extra.is_empty());
        frozen.assert_holds(run);
    }
    // Known runs need nothing, a conflict of kinds no statement, and a replaced run no more than DELETE and INSERT.
    assert_eq!(frozen.deliver(&runs[..1])[0].status, Status::AlreadyPresent);
    let conflict = steps(1, &[column("in_it's", Kind::Bool, [V::Bool(true)])]);
    let newer = TestRun { force: true, ..conflict };
    assert_eq!(frozen.deliver_one(&newer).receipt.unwrap().extra["steps.in_it's"], 1);
    frozen.assert_holds(&newer);
}

#[test]
fn a_role_that_may_not_create_is_told_what_it_lacks() {
    let bench = Bench::new();
    let role = format!("reader_{}", bench.schema);
    bench.psql(&format!("CREATE ROLE {role} LOGIN"));
    let url = bench.server.url().replace("litmus@", &format!("{role}@"));
    let error = bench.another(json!({ "schema": "not_there", "url": url })).connect().unwrap_err();
    assert_eq!(error.status(), Status::Config);
    assert!(error.to_string().contains("permission denied") && error.to_string().contains("hint: grant"), "{error}");
}

#[test]
fn names_are_spelled_as_asked_and_stay_so() {
    let bench = Bench::with(json!({ "vocabulary": "testerkit", "prefix": "x_" }));
    bench.deliver_one(&TestRun::new(1, 1));
    assert_eq!(bench.psql("SELECT uut_serial_number, part_id FROM x_test_runs"), "SN1|");
    let other = bench.another(json!({ "prefix": "x_" }));
    other.connect().unwrap();
    let run = TestRun::new(2, 1).with(Table::Steps, &[column("step_name", Kind::Text, [text("a")])]);
    other.deliver_one(&run);
    other.assert_holds(&run);
    assert_eq!(bench.psql("SELECT uut_serial_number FROM x_test_runs ORDER BY 1"), "SN1\nSN2");
    assert_eq!(bench.psql("SELECT count(*) FROM x_run_rows"), "3");
    let names = "SELECT count(*) FROM pg_class WHERE relnamespace = current_schema::regnamespace AND relname !~ '^x_' \
                 AND relkind IN ('r', 'v', 'i')";
    assert_eq!(bench.psql(names), "0");
}

#[test]
fn names_that_fold_together_or_are_too_long_are_told_apart_and_stay() {
    let long = |end: &str| format!("in_{}{end}", "ü".repeat(60));
    let names = ["in_V", "in_v", "IN_V", "ctid", &long("a"), &long("b")];
    let columns: Vec<_> = names.iter().map(|name| column(name, Kind::Text, [text(name)])).collect();
    let read = |bench: &Bench| {
        bench.psql("SELECT column_name, canonical_name FROM litmus_columns WHERE table_name = 'steps' ORDER BY ordinal")
    };
    let (one, two) = (Bench::new(), Bench::new());
    for bench in [&one, &two] {
        let run = steps(1, &columns);
        bench.deliver_one(&run);
        bench.assert_holds(&run);
    }
    assert_eq!(read(&one), read(&two), "the same runs give the same names");
    let folded = "SELECT count(DISTINCT lower(column_name)) = count(*) AND max(octet_length(column_name)) <= 63 \
                  FROM litmus_columns WHERE table_name = 'steps'";
    assert_eq!(one.psql(folded), "t");
}

#[test]
fn users_views_grants_columns_and_comments_survive_a_new_column() {
    let bench = Bench::new();
    bench.deliver_one(&steps(1, &[column("step_name", Kind::Text, [text("a")])]));
    let role = format!("analyst_{}", bench.schema);
    bench.psql(&format!(
        "CREATE ROLE {role}; GRANT SELECT ON run_rows TO {role}; GRANT SELECT ON steps TO {role}; \
         CREATE VIEW mine AS SELECT step_name, dut_serial FROM run_rows WHERE record_type = 'step'; \
         CREATE MATERIALIZED VIEW frozen AS SELECT * FROM steps; \
         ALTER TABLE steps ADD COLUMN note text DEFAULT 'mine'; COMMENT ON COLUMN steps.note IS 'of the lab'"
    ));
    let run =
        steps(2, &[column("in_load", Kind::Float, [V::Float(2.0)]), column("note", Kind::Text, [text("theirs")])]);
    bench.deliver_one(&run);
    bench.assert_holds(&run);
    assert_eq!(bench.psql("SELECT dut_serial FROM mine ORDER BY 1"), "SN1\nSN2");
    assert_eq!(bench.psql("SELECT in_load FROM run_rows WHERE in_load IS NOT NULL"), "2");
    assert_eq!(bench.psql("SELECT note FROM steps ORDER BY run_id"), "mine\nmine");
    assert_eq!(bench.psql(&format!("SELECT has_table_privilege('{role}', 'run_rows', 'select')")), "t");
    let comment = |column: &str| {
        bench.psql(&format!(
            "SELECT col_description('steps'::regclass, attnum) FROM pg_attribute WHERE attrelid = 'steps'::regclass AND attname = '{column}'"
        ))
    };
    assert_eq!(comment("note"), "of the lab");
    assert_eq!(comment("in_load"), "Input \"load\"");
    let doc = Table::Steps.core_columns().iter().find(|column| column.name == "step_name").unwrap().doc;
    assert_eq!(comment("step_name"), doc);
}

#[test]
fn a_change_waits_for_readers_and_gives_up_without_harm() {
    let bench = Bench::with(json!({ "lock_timeout_ms": 700 }));
    bench.deliver_one(&steps(1, &[column("step_name", Kind::Text, [text("a")])]));
    let mut reader = bench
        .server
        .command("psql")
        .args(["-X", "-q", "-U", "litmus", "-d", "postgres", "-h"])
        .arg(bench.server.socket_folder())
        .args(["-p", &bench.server.port().to_string()])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut to_reader = reader.stdin.take().unwrap();
    let mut from_reader = std::io::BufReader::new(reader.stdout.take().unwrap());
    let say = |to: &mut std::process::ChildStdin, sql: &str| std::io::Write::write_all(to, sql.as_bytes()).unwrap();
    say(&mut to_reader, &format!("BEGIN; SELECT count(*) FROM \"{}\".steps;\n\\echo there\n", bench.schema));
    let mut line = String::new();
    while !line.contains("there") {
        line.clear();
        assert!(std::io::BufRead::read_line(&mut from_reader, &mut line).unwrap() > 0);
    }
    let grown = steps(2, &[column("in_new", Kind::Text, [text("x")])]);
    let (_, ended) = bench.try_deliver(std::slice::from_ref(&grown));
    let error = ended.unwrap_err();
    assert_eq!(error.status(), Status::Transient);
    assert!(error.to_string().contains("lock timeout"), "{error}");
    assert_eq!(bench.deliver(&[TestRun::new(3, 1)])[0].status, Status::Delivered, "what needs no change goes on");
    say(&mut to_reader, "COMMIT;\n\\q\n");
    drop(to_reader);
    reader.wait().unwrap();
    bench.deliver_one(&grown);
}

#[test]
fn hosts_that_start_at_once_from_nothing_make_one_schema() {
    let first = Bench::new();
    let hosts: Vec<_> = (0..6).map(|_| first.another(json!({ "schema": format!("{}_new", first.schema) }))).collect();
    let told: Vec<String> = std::thread::scope(|scope| {
        let threads: Vec<_> = hosts
            .iter()
            .enumerate()
            .map(|(at, host)| {
                scope.spawn(move || {
                    let told = host.connect().unwrap();
                    let name = format!("in_{}", at / 2);
                    let id = at as u8 + 1;
                    host.deliver_one(&steps(
                        id,
                        &[column(&name, Kind::Text, [text("x")]), column("in_all", Kind::Bool, [V::Bool(true)])],
                    ));
                    told
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(told.iter().all(|incarnation| *incarnation == told[0]), "{told:?}");
    let schema = format!("{}_new", first.schema);
    assert_eq!(first.psql(&format!("SELECT count(in_all), count(in_0), count(in_2) FROM {schema}.steps")), "6|2|2");
}

#[test]
fn tables_of_somebody_else_are_left_alone() {
    let bench = Bench::new();
    bench.psql("CREATE SCHEMA theirs; CREATE TABLE theirs.steps (n int)");
    let error = bench.another(json!({ "schema": "theirs" })).connect().unwrap_err();
    assert_eq!(error.status(), Status::Config);
    assert!(error.to_string().contains("\"steps\" that this sink did not make"), "{error}");
    bench.another(json!({ "schema": "theirs", "prefix": "litmus_" })).connect().unwrap();
    bench.psql("DROP SCHEMA theirs CASCADE");
}

#[test]
fn a_dropped_column_is_named() {
    let bench = Bench::new();
    bench.deliver_one(&steps(1, &[column("in_x", Kind::Text, [text("a")])]));
    bench.psql("DROP VIEW run_rows; ALTER TABLE steps DROP COLUMN in_x");
    let other = bench.another(json!({}));
    other.connect().unwrap();
    let error = other.try_deliver(&[TestRun::new(2, 1)]).1.unwrap_err();
    assert_eq!(error.status(), Status::Schema);
    assert!(error.to_string().contains("\"steps\".\"in_x\" was dropped"), "{error}");
}

#[test]
fn a_dry_run_says_what_it_would_do_and_does_nothing() {
    let first = Bench::new();
    let schema = format!("{}_dry", first.schema);
    let bench = first.another(json!({ "schema": schema }));
    let runs = [steps(1, &[column("in_x", Kind::Text, [text("a")])]), TestRun::new(2, 1)];
    let reports = bench.dry_run(&runs);
    let planned = |at: usize| reports[at].receipt.as_ref().unwrap().planned.clone();
    assert_eq!([reports[0].status, reports[1].status], [Status::Delivered; 2]);
    assert_eq!(planned(0)[0], format!("CREATE SCHEMA \"{schema}\""));
    assert!(planned(0).iter().any(|statement| statement.contains(".\"steps\" (")));
    assert!(planned(1).is_empty(), "the first run's statements are enough for both: {:?}", planned(1));
    assert_eq!(first.psql(&format!("SELECT count(*) FROM pg_namespace WHERE nspname = '{schema}'")), "0");

    bench.connect().unwrap();
    bench.deliver_one(&runs[0]);
    let more = steps(3, &[column("out_y", Kind::Bool, [V::Bool(true)])]);
    let reports = bench.dry_run(&[runs[0].clone(), more]);
    assert_eq!([reports[0].status, reports[1].status], [Status::AlreadyPresent, Status::Delivered]);
    let planned = &reports[1].receipt.as_ref().unwrap().planned;
    assert_eq!(planned[0], format!("ALTER TABLE \"{schema}\".\"steps\" ADD COLUMN \"out_y\" boolean"));
    assert_eq!(first.psql(&format!("SELECT count(*) FROM {schema}.test_runs")), "1");
}

/// Names that a terminal does not show as they are, in a dry run of several batches: what it lists is run by psql, and is then
/// enough under `freeze`.
#[test]
fn what_a_dry_run_lists_can_be_run_and_is_enough() {
    let first = Bench::new();
    let names = ["in_a\nb", "in_tab\tx", "in_e\u{1b}[31m", "in_rtl\u{202e}y", "in_it's\\"];
    let runs: Vec<_> =
        (1..).zip(names).map(|(id, name)| steps(id, &[column(name, Kind::Text, [text(name)])])).collect();
    let batches: Vec<&[TestRun]> = runs.chunks(2).collect();
    for (round, there) in [false, true].into_iter().enumerate() {
        let schema = format!("{}_listed_{round}", first.schema);
        let frozen = first.another(json!({ "schema": schema, "schema_policy": "freeze" }));
        if there {
            first.another(json!({ "schema": schema })).connect().unwrap();
        }
        let reports = frozen.dry_runs(&batches);
        assert!(reports.iter().all(|report| report.status == Status::Schema), "{reports:?}");
        let evolving = first.another(json!({ "schema": schema })).dry_runs(&batches);
        assert!(evolving.iter().all(|report| report.status == Status::Delivered), "{evolving:?}");
        let listed = |reports: &[Report]| -> Vec<String> {
            reports.iter().flat_map(|report| report.receipt.as_ref().unwrap().planned.clone()).collect()
        };
        let statements = listed(&reports);
        assert_eq!(statements, listed(&evolving), "the policy does not change what is needed");
        assert!(!statements.iter().any(|statement| statement.contains(litmus_sql::is_unprintable)), "{statements:?}");
        first.psql(&format!("{};", statements.join(";\n")));
        frozen.connect().unwrap();
        for (run, report) in runs.iter().zip(frozen.deliver(&runs)) {
            assert_eq!(report.status, Status::Delivered, "{}", report.message);
            assert!(report.receipt.unwrap().extra.is_empty());
            frozen.assert_holds(run);
        }
        assert!(listed(&frozen.dry_runs(&batches)).is_empty());
    }
}

#[test]
fn a_dropped_view_is_made_again_and_a_dropped_table_is_named_as_one() {
    let bench = Bench::new();
    let run = steps(1, &[column("in_x", Kind::Text, [text("a")]), column("in_y", Kind::Text, [text("b")])]);
    bench.deliver_one(&run);
    bench.psql("DROP VIEW run_rows");
    let frozen = bench.another(json!({ "schema_policy": "freeze" }));
    frozen.connect().unwrap();
    assert_eq!(frozen.deliver(&[TestRun::new(2, 1)])[0].status, Status::Delivered, "no run needs the view");
    bench.connect().unwrap();
    assert_eq!(bench.psql("SELECT in_x, in_y FROM run_rows WHERE record_type = 'step'"), "a|b");

    // A role that may not make it delivers all the same.
    let role = format!("viewless_{}", bench.schema);
    bench.psql(&format!(
        "DROP VIEW run_rows; CREATE ROLE {role} LOGIN; GRANT USAGE ON SCHEMA {0} TO {role}; \
         GRANT SELECT, INSERT, DELETE ON ALL TABLES IN SCHEMA {0} TO {role}",
        bench.schema
    ));
    let url = bench.server.url().replace("litmus@", &format!("{role}@"));
    let humble = bench.another(json!({ "url": url }));
    humble.connect().unwrap();
    humble.deliver_one(&TestRun::new(3, 1));

    bench.psql("ALTER TABLE steps DROP COLUMN in_x, DROP COLUMN in_y");
    let error = humble.another(json!({})).try_deliver(&[TestRun::new(4, 1)]).1.unwrap_err().to_string();
    assert!(error.contains("\"in_x\", ") && error.contains("\"steps\".\"in_y\" were dropped"), "{error}");
    bench.psql("DROP TABLE steps");
    let error = bench.another(json!({})).try_deliver(&[TestRun::new(4, 1)]).1.unwrap_err();
    assert_eq!(error.status(), Status::Schema);
    let error = error.to_string();
    assert!(
        error.contains("the table ") && error.contains("\"steps\" was dropped") && !error.contains("in_x"),
        "{error}"
    );
    // As the hint says.
    bench.psql("DELETE FROM litmus_columns WHERE table_name = 'steps'");
    let again = bench.another(json!({}));
    again.connect().unwrap();
    again.deliver_one(&TestRun::new(4, 1));
    assert_eq!(bench.psql("SELECT count(*) FROM run_rows WHERE record_type = 'run'"), "4");
}

#[test]
fn a_trigger_finds_what_its_owner_finds_and_row_level_security_is_told() {
    let bench = Bench::new();
    let (log, role) = (format!("log_of_{}", bench.schema), format!("secured_{}", bench.schema));
    bench.server.psql(&format!(
        "CREATE TABLE public.{log} (n int); CREATE FUNCTION {0}.noted() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
         INSERT INTO {log} VALUES (1); RETURN NEW; END $$; \
         CREATE TRIGGER noted BEFORE INSERT ON {0}.test_runs FOR EACH ROW EXECUTE FUNCTION {0}.noted()",
        bench.schema
    ));
    bench.deliver_one(&TestRun::new(1, 1));
    assert_eq!(bench.server.psql(&format!("SELECT count(*) FROM public.{log}")), "1");
    bench.server.psql(&format!("DROP TABLE public.{log}"));
    let error = bench.try_deliver(&[TestRun::new(2, 1)]).1.unwrap_err();
    assert!(error.status() == Status::Schema && error.to_string().contains("a trigger names"), "{error}");
    bench.psql(&format!(
        "DROP TRIGGER noted ON test_runs; CREATE ROLE {role} LOGIN; GRANT USAGE ON SCHEMA {0} TO {role}; \
         GRANT SELECT, INSERT, DELETE ON ALL TABLES IN SCHEMA {0} TO {role}; ALTER TABLE test_runs ENABLE ROW LEVEL SECURITY",
        bench.schema
    ));
    let url = bench.server.url().replace("litmus@", &format!("{role}@"));
    let error = bench.another(json!({ "url": url })).try_deliver(&[TestRun::new(2, 1)]).1.unwrap_err();
    assert!(error.status() == Status::Config && error.to_string().contains("BYPASSRLS"), "{error}");
}

#[test]
fn indexes_are_made_unless_they_are_not_wanted() {
    let count = "SELECT count(*) FROM pg_indexes WHERE schemaname = current_schema AND indexname LIKE '%_idx'";
    assert_eq!(Bench::new().psql(count), "3");
    assert_eq!(Bench::with(json!({ "indexes": false })).psql(count), "0");
}

const PAGE: &str = include_str!("../../../../docs/sinks/postgres.md");

#[test]
fn every_query_of_the_page_runs_and_finds_something() {
    let bench = Bench::new();
    let instruments = [V::Texts(vec![Some("dmm".to_owned())])];
    let run = TestRun::of(1, 1, &[column("station_id", Kind::Text, [text("B1")])])
        .with(
            Table::Steps,
            &[
                column("step_outcome", Kind::Text, [text("failed")]),
                column("step_instruments_name", Kind::TextList, instruments),
            ],
        )
        .with(
            Table::Measurements,
            &[column("measurement_value", Kind::Float, [1.0, 1e308, 1e308, f64::INFINITY].map(V::Float))],
        );
    bench.deliver_one(&run);
    let blocks: Vec<_> = PAGE.split("```sql").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert!(blocks.len() >= 5);
    for query in blocks {
        let query = query.replace("litmus.", &format!("{}.", bench.schema));
        assert!(!bench.psql(&query).is_empty(), "{query}");
    }
}

#[test]
fn the_page_names_every_option_with_its_default() {
    let schema = litmus_core::schemars::schema_for!(crate::config::Config).to_value();
    let properties = schema["properties"].as_object().unwrap();
    assert_eq!(properties.len(), 21);
    for (name, property) in properties {
        let default = property.get("default").filter(|default| !default.is_null());
        let default = default.map_or("none".to_owned(), |default| format!("`{default}`"));
        assert!(PAGE.contains(&format!("| `{name}` | {default} |")), "{name}, default {default}");
    }
}
