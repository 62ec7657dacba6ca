//! Where things lie in this workspace, and which plugins it has.

use std::fs;
use std::path::{Path, PathBuf};

use crate::Result;

/// The workspace's root.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the workspace's root").to_path_buf()
}

/// Cargo's target folder.
pub(crate) fn target() -> PathBuf {
    root().join(std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into()))
}

/// How to build: the folder's name under `target/`, and whether it is the release profile.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Profile {
    Debug,
    Release,
}

impl Profile {
    /// `target/debug` or `target/release`.
    pub(crate) fn folder(self) -> PathBuf {
        target().join(match self {
            Self::Debug => "debug",
            Self::Release => "release",
        })
    }

    /// What cargo wants to hear.
    pub(crate) fn arguments(self) -> &'static [&'static str] {
        match self {
            Self::Debug => &[],
            Self::Release => &["--release"],
        }
    }
}

/// One folder of `plugins/`.
pub(crate) struct PluginFolder {
    /// As in `--plugin NAME.so`.
    pub(crate) name: String,
    /// `plugins/NAME`.
    pub(crate) path: PathBuf,
}

impl PluginFolder {
    /// The cargo package.
    pub(crate) fn package(&self) -> String {
        format!("litmus-sink-{}", self.name)
    }

    /// Whether a user gets it; the others exist to misbehave in tests, and to be copied from.
    pub(crate) fn is_shipped(&self) -> bool {
        self.name != "hostile" && self.c_source().is_none()
    }

    /// The one source file of a plugin written in C, whose folder is called NAME-c.
    pub(crate) fn c_source(&self) -> Option<PathBuf> {
        let source = self.path.join(format!("{}_sink.c", self.name));
        source.is_file().then_some(source)
    }

    /// What cargo calls the library it builds.
    pub(crate) fn built(&self, profile: Profile) -> PathBuf {
        profile.folder().join(format!("liblitmus_sink_{}.so", self.name.replace('-', "_")))
    }

    /// Where the host beside it finds the plugin.
    pub(crate) fn installed(&self, profile: Profile) -> PathBuf {
        profile.folder().join("plugins").join(format!("{}.so", self.name))
    }

    /// How the conformance suite is to treat it.
    pub(crate) fn conformance(&self) -> PathBuf {
        self.path.join("conformance.toml")
    }
}

/// Every plugin of this workspace, found by its `Cargo.toml` or, in `NAME-c`, by its `NAME_sink.c`; by name.
pub(crate) fn plugins() -> Result<Vec<PluginFolder>> {
    let folder = root().join("plugins");
    let mut found = Vec::new();
    for entry in fs::read_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))? {
        let path = entry?.path();
        if path.join("Cargo.toml").is_file() {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            found.push(PluginFolder { name, path });
        } else if let Some(name) = path.file_name().and_then(|name| name.to_str()?.strip_suffix("-c")) {
            let folder = PluginFolder { name: name.to_owned(), path: path.clone() };
            found.extend(folder.c_source().is_some().then_some(folder));
        }
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}
