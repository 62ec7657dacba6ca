//! Whether a plugin's file may be loaded: code that runs with all that the host's user may do. It is not, where others can
//! write it, or where it is not the file that the configuration pins.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use litmus_core::Sha256;
use sha2::Digest;

/// Anybody may write.
const OTHERS_WRITE: u32 = 0o002;
/// In such a folder (`/tmp`) only the owner of a file may replace it.
const STICKY: u32 = 0o1000;

/// Why a plugin's file is not loaded; the remedy goes with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Untrusted {
    /// Names the file.
    pub(crate) message: String,
    /// What to do.
    pub(crate) hint: String,
}

/// Looks at the file behind a plugin's path, and at its folder. `allowed`: the names of files that others may write.
pub(crate) fn check(path: &Path, allowed: &[String], pinned: Option<&Sha256>) -> Result<(), Untrusted> {
    // What cannot be found or read is the loader's to tell.
    let Ok(real) = path.canonicalize() else { return Ok(()) };
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    if let Some(open) = writable(&real).filter(|_| !allowed.iter().any(|allowed| *allowed == name)) {
        return Err(Untrusted {
            message: format!(
                "{} is not loaded: everybody on this machine may write {}",
                path.display(),
                if open == real { "it".to_owned() } else { format!("its folder {}", open.display()) }
            ),
            hint: format!(
                "chmod o-w {}; or, where that is meant, name it: writable_plugins = [\"{name}\"] \
                 (LITMUS_HOST_WRITABLE_PLUGINS={name})",
                open.display()
            ),
        });
    }
    let Some(pinned) = pinned else { return Ok(()) };
    let found = sha256(&real).map_err(|error| Untrusted {
        message: format!("{} cannot be read: {error}", path.display()),
        hint: "check its permissions".to_owned(),
    })?;
    if found == *pinned {
        return Ok(());
    }
    Err(Untrusted {
        message: format!("{} is not loaded: its sha256 is {found}, and {pinned} is pinned", path.display()),
        hint: "put the pinned file back; or, if this one is meant, change sha256 in the configuration".to_owned(),
    })
}

/// The file, or its folder, where everybody may write it.
fn writable(real: &Path) -> Option<PathBuf> {
    let mode = |path: &Path| path.metadata().map_or(0, |stat| stat.mode());
    if mode(real) & OTHERS_WRITE != 0 {
        return Some(real.to_owned());
    }
    let folder = real.parent()?;
    let of_folder = mode(folder);
    (of_folder & OTHERS_WRITE != 0 && of_folder & STICKY == 0).then(|| folder.to_owned())
}

/// The SHA-256 of a file.
pub(crate) fn sha256(path: &Path) -> std::io::Result<Sha256> {
    let (mut file, mut hasher, mut buffer) = (File::open(path)?, sha2::Sha256::new(), vec![0; 64 << 10]);
    loop {
        let n = file.read(&mut buffer)?;
        if n == 0 {
            return Ok(Sha256(hasher.finalize().into()));
        }
        hasher.update(&buffer[..n]);
    }
}

impl Untrusted {
    /// Both, as one text.
    pub(crate) fn told(&self) -> String {
        let mut text = self.message.clone();
        if !self.hint.is_empty() {
            write!(text, "\nhint: {}", self.hint).expect("a String takes all");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn mode(path: &Path, mode: u32) {
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_file_or_folder_that_everybody_may_write_is_refused_unless_it_is_named() {
        let root = tempfile::tempdir().unwrap();
        let (folder, file) = (root.path().join("plugins"), root.path().join("plugins/x.so"));
        fs::create_dir(&folder).unwrap();
        fs::write(&file, "x").unwrap();
        mode(&folder, 0o755);
        mode(&file, 0o755);
        assert_eq!(check(&file, &[], None), Ok(()));
        mode(&file, 0o757);
        let refused = check(&file, &[], None).unwrap_err();
        assert!(refused.message.contains("everybody on this machine may write it"), "{refused:?}");
        assert!(
            refused.hint.contains("chmod o-w") && refused.hint.contains("writable_plugins = [\"x.so\"]"),
            "{refused:?}"
        );
        assert_eq!(check(&file, &["x.so".to_owned()], None), Ok(()));
        assert!(check(&file, &["y.so".to_owned()], None).is_err());
        mode(&file, 0o755);
        mode(&folder, 0o777);
        assert!(check(&file, &[], None).unwrap_err().message.contains("its folder"));
        mode(&folder, 0o1777);
        assert_eq!(check(&file, &[], None), Ok(()), "in a sticky folder nobody else replaces a file");
        mode(&folder, 0o755);
        // A link is judged by what it leads to.
        let link = root.path().join("link.so");
        std::os::unix::fs::symlink(&file, &link).unwrap();
        mode(&file, 0o666);
        assert!(check(&link, &[], None).is_err());
    }

    #[test]
    fn a_pinned_file_is_that_file() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("x.so");
        fs::write(&file, "abc").unwrap();
        let pin: Sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad".parse().unwrap();
        assert_eq!(check(&file, &[], Some(&pin)), Ok(()));
        fs::write(&file, "abd").unwrap();
        let refused = check(&file, &[], Some(&pin)).unwrap_err();
        assert!(
            refused.message.contains(&pin.to_string()) && refused.told().contains("\nhint: put the pinned"),
            "{refused:?}"
        );
    }
}
