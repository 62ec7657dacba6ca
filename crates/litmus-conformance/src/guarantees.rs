//! Who proves what: a table for docs/guarantees.md, made of what plugins declare. That a case which applies also passes is what
//! `cargo xtask test-plugins` shows.

use std::fmt::Write as _;

use litmus_core::Capabilities;

use crate::{Declaration, GROUPS, cases};

/// A Markdown table: a line for each guarantee with its cases, a column for each plugin. `proved`: every case applies.
pub fn guarantees(plugins: &[(&str, Capabilities, Declaration)]) -> String {
    let mut text = String::from("| group | guarantee | cases |");
    for (name, ..) in plugins {
        write!(text, " {name} |").expect("a String takes all");
    }
    text.push_str("\n|---|---|---|");
    text.push_str(&"---|".repeat(plugins.len()));
    text.push('\n');
    let all = cases();
    for group in GROUPS {
        let mut told: Vec<&str> = Vec::new();
        for case in all.iter().filter(|case| case.group == *group) {
            if told.contains(&case.guarantee) {
                continue;
            }
            told.push(case.guarantee);
            let together: Vec<_> =
                all.iter().filter(|other| other.group == *group && other.guarantee == case.guarantee).collect();
            let names: Vec<_> = together.iter().map(|case| format!("`{}`", case.name)).collect();
            write!(text, "| {group} | {} | {} |", case.guarantee, names.join(", ")).expect("a String takes all");
            for (_, capabilities, declaration) in plugins {
                let lacking: Vec<_> =
                    together.iter().filter_map(|case| case.lacks(capabilities, declaration)).collect();
                let cell = match (lacking.first(), lacking.len() == together.len()) {
                    (None, _) => "proved".to_owned(),
                    (Some(need), true) => format!("no `{}`", need.name()),
                    (Some(_), false) => format!("{} of {} cases", together.len() - lacking.len(), together.len()),
                };
                write!(text, " {cell} |").expect("a String takes all");
            }
            text.push('\n');
        }
    }
    text
}
