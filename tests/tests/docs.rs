//! Commands that the README tells people to type exist.

use std::fs;

use litmus_tests::artifacts::root;
use litmus_tests::project::{Ended, Project};

#[test]
fn the_readmes_commands_exist() {
    let readme = fs::read_to_string(root().join("README.md")).expect("README.md");
    let help = Project::new().run(["--help"]).stdout + &Project::new().run(["forward", "--help"]).stdout;
    let xtask = Ended::of(std::process::Command::new(env!("CARGO")).args(["xtask", "--help"]).current_dir(root()));
    let mut seen = 0;
    for line in readme.lines().map(str::trim).map(|line| line.strip_prefix("$ ").unwrap_or(line)) {
        if let Some(command) = line.strip_prefix("cargo xtask ") {
            let name = command.split([' ', '#']).next().unwrap_or_default();
            assert!(xtask.stdout.contains(&format!("  {name} ")), "README: there is no `cargo xtask {name}`");
            seen += 1;
        } else if let Some(arguments) = line.strip_prefix("litmus-host ") {
            let words = arguments.split('#').next().unwrap_or_default().split_whitespace();
            for flag in words.filter(|word| word.starts_with("--")) {
                let flag = flag.split('=').next().unwrap_or(flag);
                assert!(help.contains(flag), "README: litmus-host has no {flag}");
                seen += 1;
            }
        }
    }
    assert!(seen >= 4, "the README shows how it is used");
}
