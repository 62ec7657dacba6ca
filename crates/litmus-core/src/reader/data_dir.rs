//! Where the runs are: the data dir, found as the platform finds it (`testerkit/data/data_dir.py`, `resolve_data_dir`).

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::ReadError;

/// A data dir, and how it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataDir {
    /// The folder.
    pub path: PathBuf,
    /// For messages: `--data-dir`, `/home/me/project/litmus.yaml`, `$LITMUS_HOME`, `the user data folder`.
    pub found_by: String,
}

/// Project files and variables of the platform under its two names, the older first.
const PROJECT_FILES: [&str; 2] = ["litmus.yaml", "testerkit.yaml"];
const HOME_VARIABLES: [&str; 2] = ["LITMUS_HOME", "TESTERKIT_HOME"];
const USER_FOLDERS: [&str; 2] = ["litmus/data", "testerkit/data"];

/// The one key of a project file that is read here.
#[derive(Deserialize)]
struct Project {
    data_dir: Option<PathBuf>,
}

/// Finds the data dir as Litmus does: the argument; `data_dir:` in `litmus.yaml` or `testerkit.yaml` of `start` or a parent,
/// relative to that file; `$LITMUS_HOME/data`, `$TESTERKIT_HOME/data`; the user data folder.
/// `environment` stands in for `std::env::var_os`.
pub fn resolve_data_dir(
    argument: Option<&Path>,
    start: &Path,
    environment: &dyn Fn(&str) -> Option<OsString>,
) -> Result<DataDir, ReadError> {
    if let Some(path) = argument {
        return Ok(DataDir { path: path.to_owned(), found_by: "--data-dir".to_owned() });
    }
    let mut tried = Vec::new();
    if let Some(found) = from_project(start, &mut tried)? {
        return Ok(found);
    }
    let set = |name: &str| environment(name).filter(|value| !value.is_empty());
    for name in HOME_VARIABLES {
        match set(name) {
            Some(home) => return Ok(DataDir { path: Path::new(&home).join("data"), found_by: format!("${name}") }),
            None => tried.push(format!("${name} is not set")),
        }
    }
    let user = set("XDG_DATA_HOME").map(PathBuf::from);
    let user = user.or_else(|| set("HOME").map(|home| Path::new(&home).join(".local/share")));
    for folder in user.iter().flat_map(|user| USER_FOLDERS.map(|folder| user.join(folder))) {
        if folder.is_dir() {
            return Ok(DataDir { path: folder, found_by: "the user data folder".to_owned() });
        }
        tried.push(format!("{} is not there", folder.display()));
    }
    Err(ReadError::new(start, format!("no data dir found: {}", tried.join("; ")))
        .with_hint("name the folder that holds runs/ with --data-dir, or run in a Litmus project"))
}

/// The nearest folder with a project file decides, as on the platform, even if the file names no data dir.
fn from_project(start: &Path, tried: &mut Vec<String>) -> Result<Option<DataDir>, ReadError> {
    for folder in start.ancestors() {
        let mut is_project = false;
        for file in PROJECT_FILES.map(|name| folder.join(name)).iter().filter(|file| file.is_file()) {
            is_project = true;
            if let Some(data_dir) = read_project(file)?.data_dir {
                return Ok(Some(DataDir { path: folder.join(data_dir), found_by: file.display().to_string() }));
            }
            tried.push(format!("{} has no data_dir", file.display()));
        }
        if is_project {
            return Ok(None);
        }
    }
    tried.push(format!("no litmus.yaml or testerkit.yaml in {} or above", start.display()));
    Ok(None)
}

fn read_project(file: &Path) -> Result<Project, ReadError> {
    let text = fs::read_to_string(file).map_err(|error| ReadError::io(file, "cannot read", &error))?;
    // An empty file is a project without settings.
    let project: Option<Project> = serde_saphyr::from_str(&text).map_err(|error| {
        ReadError::new(file, format!("is not a project file: {error}"))
            .with_hint("mend it, or name the data dir with --data-dir")
    })?;
    Ok(project.unwrap_or(Project { data_dir: None }))
}
