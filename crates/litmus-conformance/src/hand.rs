//! Changes and removes files of a destination without the sink.

use std::fs;
use std::path::{Path, PathBuf};

use crate::case::Broken;

/// The one file of this path; where its last part begins or ends in `*`, the one below its folder that fits.
pub(crate) fn found(path: &Path) -> Result<PathBuf, Broken> {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let wanted = name.trim_matches('*');
    if wanted.len() == name.len() {
        return Ok(path.to_path_buf());
    }
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut files = Vec::new();
    below(folder, &mut files).map_err(|error| format!("{}: {error}", folder.display()))?;
    let fits = |file: &PathBuf| {
        let file = file.file_name().unwrap_or_default().to_string_lossy();
        (name.starts_with('*') || file.starts_with(wanted))
            && (name.ends_with('*') || file.ends_with(wanted))
            && file.contains(wanted)
    };
    let mut files: Vec<_> = files.into_iter().filter(fits).collect();
    match (files.pop(), files.len()) {
        (Some(file), 0) => Ok(file),
        (None, _) => Err(format!("no file below {} is called {name}", folder.display())),
        (Some(_), more) => Err(format!("{} files below {} are called {name}", more + 1, folder.display())),
    }
}

/// Every file below a folder.
pub(crate) fn below(folder: &Path, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            below(&path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}

/// Changes one character of the serial where the file holds it as it is, else a byte in its middle.
pub(crate) fn change(file: &Path, serial: Option<&str>) -> Result<(), Broken> {
    let broken = |error: std::io::Error| format!("{}: {error}", file.display());
    let mut bytes = fs::read(file).map_err(broken)?;
    let serial = serial.map(str::as_bytes).filter(|serial| serial.len() >= 4);
    let held = serial.and_then(|serial| bytes.windows(serial.len()).position(|window| window == serial));
    let at = held.unwrap_or(bytes.len() / 2);
    let byte = bytes.get_mut(at).ok_or(format!("{} is empty", file.display()))?;
    *byte ^= 1;
    fs::write(file, bytes).map_err(broken)
}

pub(crate) fn remove(file: &Path) -> Result<(), Broken> {
    fs::remove_file(file).map_err(|error| format!("{}: {error}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_found_by_a_part_of_its_name_and_only_if_it_is_the_only_one() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("a/b")).unwrap();
        fs::write(folder.path().join("a/b/x-7.parquet"), "one SN-0007 two").unwrap();
        let path = found(&folder.path().join("*x-7*")).unwrap();
        assert_eq!(path, folder.path().join("a/b/x-7.parquet"));
        assert_eq!(found(&folder.path().join("*7.parquet")).unwrap(), path);
        assert!(found(&folder.path().join("*8*")).unwrap_err().contains("no file below"));
        change(&path, Some("SN-0007")).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "one RN-0007 two");
        change(&path, None).unwrap();
        assert_ne!(fs::read_to_string(&path).unwrap(), "one RN-0007 two");
        fs::write(folder.path().join("a/y-7.parquet"), "").unwrap();
        assert!(found(&folder.path().join("*7.parquet")).unwrap_err().contains("2 files below"));
        remove(&path).unwrap();
        assert!(!path.exists());
    }
}
