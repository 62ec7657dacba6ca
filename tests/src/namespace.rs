//! A shell script with mounts of its own: full, read-only and unmounted file systems that nobody else sees.

use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::project::{Ended, Project};

/// Runs a script in a mount namespace of its own, as root there. It has `$PROJECT`, the project's folder, and `host`, a
/// function that runs litmus-host there and prints `NAME: exit CODE` after what that printed (`host NAME ARGUMENTS…`).
///
/// Where neither a user namespace nor root is to be had, the test fails: there is no other way to have a disk that is full.
pub fn run(project: &Project, script: &str) -> Ended {
    let host = project.command(std::iter::empty::<&str>());
    let function = "host() { name=$1; shift; code=0; \"$HOST\" \"$@\" || code=$?; echo \"$name: exit $code\"; }";
    let mut command = Command::new("unshare");
    // As root the namespace of users is not needed, and containers often forbid it.
    if rustix::process::geteuid().is_root() {
        command.arg("--mount");
    } else {
        command.args(["--mount", "--user", "--map-root-user"]);
    }
    command.args(["sh", "-euc"]).arg(format!("{function}\n{script}")).current_dir(project.path(""));
    command.env_clear().envs(host.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.env("HOST", host.get_program()).env("PROJECT", project.path(""));
    // A process group of its own: what a script leaves running ends with it.
    let ended = Ended::of(command.process_group(0));
    assert!(ended.status.success(), "the script failed (are mounts allowed here?)\n{script}\n{ended}");
    ended
}

/// What stands between the end of one call of `host` and the end of the call of this name.
pub fn said<'a>(ended: &'a Ended, name: &str) -> (i32, &'a str) {
    let mark = format!("{name}: exit ");
    let at = ended.stdout.find(&mark).unwrap_or_else(|| panic!("there is no \"{mark}\" in\n{ended}"));
    let before = &ended.stdout[..at];
    let start = before.rfind(": exit ").map_or(0, |at| at + before[at..].find('\n').map_or(0, |end| end + 1));
    let code = ended.stdout[at + mark.len()..].lines().next().and_then(|code| code.parse().ok());
    (code.expect("an exit code"), &before[start..])
}
