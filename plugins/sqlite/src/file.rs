//! The file itself: what it lies on, whether it is still the one that was opened, and how it is spelled in a URI.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use litmus_core::SinkError;

/// Device and inode: a file deleted and made anew at the same path is another file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity(u64, u64);

impl Identity {
    pub(crate) fn of(path: &Path) -> io::Result<Self> {
        fs::metadata(path).map(|metadata| Self(metadata.dev(), metadata.ino()))
    }
}

/// File systems by the `f_type` of statfs(2) on which WAL's shared memory or its locks do not hold between machines.
const NETWORK: [(u32, &str); 8] = [
    (0x6969, "NFS"),
    (0x517b, "SMB"),
    (0xff53_4d42, "CIFS"),
    (0xfe53_4d42, "SMB2"),
    (0x0102_1997, "9p"),
    (0x00c3_6400, "Ceph"),
    (0x5346_414f, "AFS"),
    (0x6b41_4653, "kAFS"),
];

/// `f_type` of every FUSE file system; which one it is stands in mountinfo.
const FUSE: u32 = 0x6573_5546;

/// FUSE file systems that lead to another machine.
const FUSE_NETWORK: [&str; 7] = ["sshfs", "rclone", "s3fs", "glusterfs", "gvfsd-fuse", "davfs", "cifs"];

/// Refuses a folder on a network share: SQLite's WAL needs memory shared between processes, which a share does not give,
/// and the locks of many shares do not lock (<https://sqlite.org/wal.html>, <https://sqlite.org/faq.html#q5>).
pub(crate) fn refuse_network(folder: &Path) -> Result<(), SinkError> {
    let statfs = rustix::fs::statfs(folder)
        .map_err(|error| SinkError::config(format!("{}: cannot be looked at", folder.display())).with_source(error))?;
    let mounts = || fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let folder = fs::canonicalize(folder).unwrap_or_else(|_| folder.to_owned());
    match network_kind(statfs.f_type as u32, &folder, mounts) {
        Some(kind) => Err(SinkError::config(format!(
            "{}: this is a network share ({kind}), where SQLite can lose or damage data\nhint: give a path on a local disk, and copy or mail the file from there; for many benches use the postgres sink",
            folder.display()
        ))),
        None => Ok(()),
    }
}

fn network_kind(f_type: u32, folder: &Path, mounts: impl Fn() -> String) -> Option<String> {
    if f_type == FUSE {
        let mounts = mounts();
        let kind = mount_kind(&mounts, folder)?.strip_prefix("fuse.")?;
        return FUSE_NETWORK.contains(&kind).then(|| kind.to_owned());
    }
    NETWORK.iter().find(|(number, _)| *number == f_type).map(|(_, name)| (*name).to_owned())
}

/// The type of the mount that a folder lies on: the last of the longest mount points above it (proc_pid_mountinfo(5)).
fn mount_kind<'a>(mountinfo: &'a str, folder: &Path) -> Option<&'a str> {
    let mounts = mountinfo.lines().filter_map(|line| {
        let (mount, kind) = line.split_once(" - ")?;
        let point = mount.split(' ').nth(4)?.replace("\\040", " ");
        folder.starts_with(&point).then(|| Some((point.len(), kind.split(' ').next()?)))?
    });
    mounts.max_by_key(|(length, _)| *length).map(|(_, kind)| kind)
}

/// A path as a URI spells it.
pub(crate) fn escaped(path: &Path) -> String {
    path.as_os_str().as_bytes().iter().fold(String::new(), |mut out, byte| {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'-' | b'_' | b'.' | b'~' | b'+' | b'=' | b',' | b'@' => {
                out.push(char::from(*byte));
            }
            _ => write!(out, "%{byte:02X}").expect("a String takes all"),
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
40 22 0:45 / /mnt/far rw,nosuid shared:9 - fuse.sshfs me@far:/data rw,user_id=0
41 22 0:46 / /mnt/my\\040stick rw,nosuid shared:10 master:3 - fuseblk /dev/sdb1 rw
";

    fn kind(f_type: u32, folder: &str) -> Option<String> {
        network_kind(f_type, Path::new(folder), || MOUNTS.to_owned())
    }

    #[test]
    fn network_shares_are_told_from_local_disks() {
        assert_eq!(kind(0x6969, "/x").as_deref(), Some("NFS"));
        assert_eq!(kind(0xff53_4d42, "/x").as_deref(), Some("CIFS"));
        assert_eq!(kind(0xef53, "/x"), None, "ext4");
        assert_eq!(kind(0x0102_1994, "/x"), None, "tmpfs");
        assert_eq!(kind(FUSE, "/mnt/far/benches").as_deref(), Some("sshfs"));
        assert_eq!(kind(FUSE, "/mnt/my stick/data"), None, "a stick is local");
        assert_eq!(kind(FUSE, "/mnt/farther"), None);
    }

    #[test]
    fn this_folder_is_local_and_one_that_is_not_there_is_named() {
        let folder = tempfile::tempdir().unwrap();
        refuse_network(folder.path()).unwrap();
        let error = refuse_network(&folder.path().join("gone")).unwrap_err();
        assert!(error.to_string().contains("gone: cannot be looked at"), "{error}");
    }

    #[test]
    fn a_file_made_anew_is_another() {
        let folder = tempfile::tempdir().unwrap();
        let (path, kept) = (folder.path().join("x"), folder.path().join("kept"));
        fs::write(&path, "").unwrap();
        let before = Identity::of(&path).unwrap();
        fs::rename(&path, &kept).unwrap();
        assert!(Identity::of(&path).is_err());
        fs::write(&path, "").unwrap();
        assert_ne!(Identity::of(&path).unwrap(), before);
        assert_eq!(Identity::of(&kept).unwrap(), before);
    }

    #[test]
    fn odd_paths_are_escaped() {
        assert_eq!(escaped(Path::new("/a b/ü?#%.db")), "/a%20b/%C3%BC%3F%23%25.db");
    }
}
