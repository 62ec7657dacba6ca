//! Where plugins are looked for: in named places only, never on the system's library path.

use std::ffi::OsStr;
use std::fmt;
use std::path::{Path, PathBuf};

use crate::config::nearest;

/// A folder that is searched, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SearchFolder {
    /// Absolute.
    pub(crate) path: PathBuf,
    /// `--plugin-dir`, `$LITMUS_PLUGIN_PATH`, `plugin_dir` of the file, `beside litmus-host`.
    pub(crate) because: &'static str,
}

/// The folders, in the order in which they are searched.
#[derive(Clone, Debug, Default)]
pub(crate) struct PluginSearch {
    folders: Vec<SearchFolder>,
}

/// A plugin's file in one of the folders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FoundPlugin {
    /// Absolute.
    pub(crate) path: PathBuf,
    /// Why its folder is searched.
    pub(crate) because: &'static str,
    /// A file of the same name in an earlier folder is taken instead.
    pub(crate) shadowed: bool,
}

impl PluginSearch {
    /// `environment` is `$LITMUS_PLUGIN_PATH`, `file` the configuration's `plugin_dir`, `executable` ourselves; relative paths
    /// start at `working_folder`.
    pub(crate) fn new(
        flags: &[PathBuf],
        environment: Option<&OsStr>,
        file: Option<&Path>,
        executable: Option<&Path>,
        working_folder: &Path,
    ) -> Self {
        let mut folders: Vec<SearchFolder> = Vec::new();
        let mut add = |path: &Path, because: &'static str| {
            let path = working_folder.join(path);
            if !path.as_os_str().is_empty() && folders.iter().all(|folder| folder.path != path) {
                folders.push(SearchFolder { path, because });
            }
        };
        for path in flags {
            add(path, "--plugin-dir");
        }
        for path in
            environment.iter().flat_map(|list| std::env::split_paths(list)).filter(|path| !path.as_os_str().is_empty())
        {
            add(&path, "$LITMUS_PLUGIN_PATH");
        }
        if let Some(path) = file {
            add(path, "plugin_dir");
        }
        if let Some(beside) = executable.and_then(Path::parent) {
            add(&beside.join("plugins"), "beside litmus-host");
            // `bin/../lib`, without the `..` where the program lies in some folder, as messages print it.
            let installed = beside.parent().map_or_else(|| beside.join("../lib"), |prefix| prefix.join("lib"));
            add(&installed.join("litmus/plugins"), "beside litmus-host");
        }
        Self { folders }
    }

    /// The file of a plugin: `postgres`, `postgres.so`, or a path (it holds a `/`), which starts at `folder`.
    pub(crate) fn find(&self, given: &str, folder: &Path) -> Result<PathBuf, PluginMiss> {
        if given.contains('/') {
            let path = folder.join(given);
            let with_suffix = path.with_added_extension("so");
            let found = [&path, &with_suffix].into_iter().find(|path| path.exists()).map(|path| absolute(path));
            return found.ok_or_else(|| PluginMiss {
                given: given.to_owned(),
                tried: vec![(path, "as given")],
                hint: "a value without a / is searched for: litmus-host plugins lists what there is".to_owned(),
            });
        }
        let name = file_name(given);
        let tried: Vec<_> = self.folders.iter().map(|folder| (folder.path.join(&name), folder.because)).collect();
        if let Some((path, _)) = tried.iter().find(|(path, _)| path.exists()) {
            return Ok(absolute(path));
        }
        let hint = if folder.join(&name).exists() {
            format!("there is one in the working folder, which is not searched: say ./{name}")
        } else {
            let listed = self.list();
            let names: Vec<String> =
                listed.iter().filter_map(|found| found.path.file_name()?.to_str().map(str::to_owned)).collect();
            match nearest(&name, names.iter().map(String::as_str)) {
                Some(meant) => format!("did you mean {meant}?"),
                None => "--plugin-dir names another folder; a path with a / in it is taken as it is".to_owned(),
            }
        };
        Err(PluginMiss { given: given.to_owned(), tried, hint })
    }

    /// Every `*.so` in the folders, by folder and name.
    pub(crate) fn list(&self) -> Vec<FoundPlugin> {
        let mut all: Vec<FoundPlugin> = Vec::new();
        for folder in &self.folders {
            // A folder that is not there is no news: most of the list is optional.
            let entries = std::fs::read_dir(&folder.path).into_iter().flatten().filter_map(Result::ok);
            let mut paths: Vec<_> = entries.map(|entry| entry.path()).filter(|path| is_plugin_name(path)).collect();
            paths.sort();
            for path in paths {
                let shadowed = all.iter().any(|other| other.path.file_name() == path.file_name());
                all.push(FoundPlugin { path: absolute(&path), because: folder.because, shadowed });
            }
        }
        all
    }

    /// The folders, in order.
    pub(crate) fn folders(&self) -> &[SearchFolder] {
        &self.folders
    }
}

fn file_name(given: &str) -> String {
    if is_plugin_name(Path::new(given)) { given.to_owned() } else { format!("{given}.so") }
}

fn is_plugin_name(path: &Path) -> bool {
    let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
    !hidden && path.extension() == Some(OsStr::new("so"))
}

/// Absolute, but links are kept: messages name the file as the user sees it.
fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// A plugin that is nowhere.
#[derive(Debug)]
pub(crate) struct PluginMiss {
    given: String,
    tried: Vec<(PathBuf, &'static str)>,
    hint: String,
}

impl PluginMiss {
    /// The remedy.
    pub(crate) fn hint(&self) -> &str {
        &self.hint
    }
}

impl fmt::Display for PluginMiss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the plugin \"{}\" was not found; tried:", self.given)?;
        self.tried.iter().try_for_each(|(path, because)| write!(f, "\n  {} ({because})", path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `a/plugins` by flag, `b` by the environment, beside the program in `prefix/bin`.
    fn searched(root: &Path) -> PluginSearch {
        for folder in ["a", "b", "prefix/bin/plugins", "prefix/lib/litmus/plugins", "work"] {
            std::fs::create_dir_all(root.join(folder)).unwrap();
        }
        let environment = std::env::join_paths([root.join("b"), PathBuf::new()]).unwrap();
        let program = root.join("prefix/bin/litmus-host");
        PluginSearch::new(&["../a".into()], Some(&environment), None, Some(&program), &root.join("work"))
    }

    #[test]
    fn folders_are_searched_in_order_and_names_go_with_and_without_suffix() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        let search = searched(root);
        let touch = |path: &str| std::fs::write(root.join(path), "").unwrap();
        let find = |given| search.find(given, &root.join("work")).unwrap();
        touch("prefix/lib/litmus/plugins/sqlite.so");
        assert_eq!(find("sqlite.so"), root.join("prefix/lib/litmus/plugins/sqlite.so"));
        touch("prefix/bin/plugins/sqlite.so");
        assert_eq!(find("sqlite"), root.join("prefix/bin/plugins/sqlite.so"));
        touch("b/sqlite.so");
        assert_eq!(find("sqlite"), root.join("b/sqlite.so"));
        touch("a/sqlite.so");
        assert_eq!(find("sqlite"), root.join("work/../a/sqlite.so"));
        let listed: Vec<_> = search.list().into_iter().map(|found| (found.because, found.shadowed)).collect();
        assert_eq!(
            listed,
            [
                ("--plugin-dir", false),
                ("$LITMUS_PLUGIN_PATH", true),
                ("beside litmus-host", true),
                ("beside litmus-host", true)
            ]
        );
    }

    #[test]
    fn a_slash_makes_a_path_and_the_working_folder_is_not_searched() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        let search = searched(root);
        std::fs::write(root.join("work/mine.so"), "").unwrap();
        let work = root.join("work");
        assert_eq!(search.find("./mine.so", &work).unwrap(), work.join("mine.so"));
        assert_eq!(search.find("./mine", &work).unwrap(), work.join("mine.so"));
        let miss = search.find("mine.so", &work).unwrap_err();
        assert_eq!(miss.hint(), "there is one in the working folder, which is not searched: say ./mine.so");
    }

    #[test]
    fn a_miss_lists_every_place_tried_and_the_nearest_name() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        let search = searched(root);
        std::fs::write(root.join("b/postgres.so"), "").unwrap();
        let miss = search.find("postgrse", &root.join("work")).unwrap_err();
        let text = miss.to_string().replace(root.to_str().unwrap(), "");
        assert_eq!(
            text,
            "the plugin \"postgrse\" was not found; tried:\n  /work/../a/postgrse.so (--plugin-dir)\n  \
             /b/postgrse.so ($LITMUS_PLUGIN_PATH)\n  /prefix/bin/plugins/postgrse.so (beside litmus-host)\n  \
             /prefix/lib/litmus/plugins/postgrse.so (beside litmus-host)"
        );
        assert_eq!(miss.hint(), "did you mean postgres.so?");
    }
}
