//! What was built: `litmus-host`, and the plugins beside it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The workspace's root.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests lie in the workspace's root")
}

/// The folder with `litmus-host` and `plugins/`. `LITMUS_ARTIFACTS` names one (as `cargo xtask test` does, or to test an
/// installation); without it everything is built first, so that `cargo test -p litmus-tests` works on its own.
pub fn folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        if let Some(folder) = std::env::var_os("LITMUS_ARTIFACTS") {
            return PathBuf::from(folder);
        }
        let output = Command::new(env!("CARGO"))
            .args(["run", "--quiet", "--package", "xtask", "--", "build"])
            .current_dir(root())
            .output()
            .expect("cargo runs");
        assert!(output.status.success(), "cargo xtask build: {}", String::from_utf8_lossy(&output.stderr));
        PathBuf::from(String::from_utf8(output.stdout).expect("a path in UTF-8").trim_end())
    })
}

/// The binary.
pub fn host() -> PathBuf {
    folder().join("litmus-host")
}

/// A plugin's file.
pub fn plugin(name: &str) -> PathBuf {
    folder().join("plugins").join(format!("{name}.so"))
}
