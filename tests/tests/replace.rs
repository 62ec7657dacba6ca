//! Two revisions of one run: an aborted file replaced by the real end, and hosts that saw different ones.

use std::fs;
use std::path::{Path, PathBuf};

use litmus_tests::database::{self, Measurement};
use litmus_tests::generate::{Generated, Plan, write};
use litmus_tests::project::Project;
use litmus_tests::{corpus, rewrite};

/// The revision sealed as `aborted`, and the real end: same run, same path, other bytes, other measurements.
fn plans() -> [Plan; 2] {
    [Plan { aborted: true, ..Plan::new(7, 16) }, Plan { revision: 1, ..Plan::new(7, 40) }]
}

fn assert_holds(database: &Path, expected: &Generated) {
    let connection = database::open(database);
    let runs = database::runs(&connection);
    assert_eq!(runs.keys().collect::<Vec<_>>(), [&expected.run_id]);
    assert_eq!(runs[&expected.run_id].run_outcome.as_deref(), Some(expected.outcome));
    let found: Vec<Measurement> = database::measurements(&connection).remove(&expected.run_id).unwrap_or_default();
    assert_eq!(found, expected.measurements);
    assert_eq!(database::count(&connection, "SELECT count(*) FROM litmus_deliveries"), 1);
}

#[test]
fn a_file_replaced_at_its_path_replaces_its_rows() {
    let project = Project::new();
    let [aborted, ended] = plans();
    let first = write(&project.data_dir(), &aborted);
    project.forward("out.db").exits(0);
    assert_holds(&project.path("out.db"), &first);

    let second = write(&project.data_dir(), &ended);
    assert_eq!((&first.path, &first.run_id), (&second.path, &second.run_id), "the generator replaces");
    project.forward("out.db").delivered(1, 0);
    assert_holds(&project.path("out.db"), &second);
    project.forward("out.db").delivered(0, 0);
}

#[test]
fn a_file_put_back_replaces_what_replaced_it() {
    // The lineage decides where it is known: this host saw the other revision at this path.
    let project = Project::new();
    let [aborted, ended] = plans();
    write(&project.data_dir(), &ended);
    project.forward("out.db").exits(0);
    let back = write(&project.data_dir(), &aborted);
    project.forward("out.db").exits(0);
    assert_holds(&project.path("out.db"), &back);
}

#[test]
fn two_hosts_with_different_revisions_settle_alike_in_either_order() {
    let [aborted, ended] = plans();
    for turned in [false, true] {
        let (one, other) = (Project::new(), Project::new());
        let database = one.path("shared.db");
        let path = format!("path={}", database.display());
        let [first, second] = if turned { [&ended, &aborted] } else { [&aborted, &ended] };
        write(&one.data_dir(), first);
        let expected = write(&other.data_dir(), second);
        let expected = if turned { write(&one.data_dir(), first) } else { expected };
        for project in [&one, &other, &one, &other] {
            project.run(["--plugin", "sqlite.so", "--set", &path]).exits(0);
            // The lower one may be there until the higher one came; from then on, the higher one stays.
            let rows = database::runs(&database::open(&database)).len();
            assert_eq!(rows, 1, "one run, whichever revision");
        }
        assert_holds(&database, &expected);
    }
}

#[test]
fn real_files_replace_too() {
    let source =
        corpus::sources().into_iter().find(|source| source.name.contains("testerkit")).expect("a newer release");
    let (path, file) = source.files.iter().find(|(_, file)| file.count > 2).expect("a run with measurements");
    let project = Project::new();
    let (original, sealed) = (source.data_dir.join(path), project.data_dir().join(path));
    rewrite::with_texts(&original, &sealed, &[("run_outcome", "aborted")]);
    project.forward("out.db").exits(0);
    let outcome = || database::runs(&database::open(&project.path("out.db")))[&file.run_id].run_outcome.clone();
    assert_eq!(outcome().as_deref(), Some("aborted"));

    fs::write(sealed.with_extension("tmp"), fs::read(&original).expect("a run file")).expect("a copy");
    fs::rename(sealed.with_extension("tmp"), &sealed).expect("a rename");
    project.forward("out.db").exits(0);
    assert_eq!(outcome(), file.run_outcome);
    let connection = database::open(&project.path("out.db"));
    assert_eq!(database::measurements(&connection)[&file.run_id].len(), file.count);
}

#[test]
fn a_copy_is_one_run_and_a_lower_revision_beside_it_is_shown_as_duplicate() {
    let project = Project::new();
    let [aborted, ended] = plans();
    let low = write(&project.data_dir(), &aborted);
    let kept = PathBuf::from("runs/kept/low.parquet");
    fs::create_dir_all(project.data_dir().join("runs/kept")).expect("a folder");
    fs::copy(project.data_dir().join(&low.path), project.data_dir().join(&kept)).expect("a copy");
    let high = write(&project.data_dir(), &ended);
    fs::copy(project.data_dir().join(&high.path), project.data_dir().join("runs/kept/high.parquet")).expect("a copy");

    project.forward("out.db").exits(0);
    assert_holds(&project.path("out.db"), &high);
    let status = project.run(["status", "--plugin", "sqlite.so", "--set", "path=out.db", "--format", "json"]).json();
    let duplicates = status["duplicates"].to_string();
    assert!(duplicates.contains("kept/low.parquet"), "{status:#}");
}
