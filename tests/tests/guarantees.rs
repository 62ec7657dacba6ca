//! What the documents say of the suite is what the suite is.

use std::collections::BTreeSet;
use std::fs;

use litmus_conformance::{Declaration, cases, description, guarantees};
use litmus_tests::artifacts::{plugin, root};

const PLUGINS: [(&str, &str); 5] =
    [("sqlite", "sqlite"), ("postgres", "postgres"), ("cloud", "cloud"), ("syslog", "syslog"), ("jsonl", "jsonl-c")];
const BEGIN: &str = "<!-- guarantees: made by LITMUS_WRITE_DOCS=1 cargo test -p litmus-tests --test guarantees -->\n";
const END: &str = "<!-- end of guarantees -->\n";

#[test]
fn the_table_in_the_guarantees_is_what_the_plugins_declare() {
    let plugins: Vec<_> = PLUGINS
        .iter()
        .map(|(name, folder)| {
            let declared = Declaration::read(&root().join("plugins").join(folder).join("conformance.toml")).unwrap();
            (*name, description(&plugin(name)).unwrap().description.capabilities, declared)
        })
        .collect();
    let table = guarantees(&plugins);
    let path = root().join("docs/guarantees.md");
    let text = fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once(BEGIN).expect("docs/guarantees.md has a place for the table");
    let (there, after) = rest.split_once(END).expect("the table ends");
    if std::env::var_os("LITMUS_WRITE_DOCS").is_some() {
        fs::write(&path, format!("{before}{BEGIN}{table}{END}{after}")).unwrap();
        return;
    }
    assert!(there == table, "docs/guarantees.md is not what plugins declare: LITMUS_WRITE_DOCS=1 writes it\n{table}");
}

#[test]
fn every_case_has_a_mutant_and_every_mutant_a_case() {
    let text = fs::read_to_string(root().join("plugins/hostile/mutants.toml")).unwrap();
    let named: BTreeSet<&str> =
        text.lines().filter_map(|line| line.strip_prefix("case = \"")?.strip_suffix('"')).collect();
    let known: BTreeSet<&str> = cases().iter().map(|case| case.name).collect();
    assert_eq!(known.difference(&named).collect::<Vec<_>>(), Vec::<&&str>::new(), "cases without a mutant");
    assert_eq!(named.difference(&known).collect::<Vec<_>>(), Vec::<&&str>::new(), "mutants of no case");
}
