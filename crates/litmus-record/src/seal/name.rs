//! Names of files. A serial may hold anything: slashes, newlines, `..`, a thousand letters.

use std::path::Path;

use jiff::Timestamp;
use litmus_core::RunId;

/// What a name may have of a serial, so that it and what is put after it fit into the 255 bytes of a file's name.
const PART_BYTES_MAX: usize = 120;
/// A longer ending is no extension.
const EXTENSION_BYTES_MAX: usize = 16;

/// `20260601T013000Z_<run id's first 8>[_<serial>]`, as the platform names files since 0.2: in 0.1 a second run of a serial
/// within a second replaced the first. If somebody has that name already, the whole id stands in it.
pub(crate) fn stem(data_dir: &Path, started_at: Timestamp, run_id: RunId, serial: &str) -> String {
    let id = run_id.to_string();
    let serial = safe(serial.trim());
    let stem = |id: &str| {
        let time = started_at.strftime("%Y%m%dT%H%M%SZ");
        if serial.is_empty() { format!("{time}_{id}") } else { format!("{time}_{id}_{serial}") }
    };
    let short = stem(&id[..8]);
    let folder = data_dir.join("runs").join(date(started_at));
    let is_taken = [".parquet", "_ref"].iter().any(|tail| folder.join(format!("{short}{tail}")).exists());
    if is_taken { stem(&id) } else { short }
}

/// Whether this is a name that [`stem`] can have made: a journal may come from anybody.
pub(super) fn is_plain(stem: &str) -> bool {
    stem.len() <= 2 * PART_BYTES_MAX
        && !stem.starts_with('.')
        && !stem.contains(|letter: char| letter.is_control() || matches!(letter, '/' | '\\'))
        && !stem.is_empty()
}

/// The folder of a run: the day it started, UTC.
pub(super) fn date(started_at: Timestamp) -> String {
    started_at.strftime("%Y-%m-%d").to_string()
}

/// A part of a file's name: without separators, control characters, and what shells and other file systems take amiss.
pub(super) fn safe(text: &str) -> String {
    let replace = |letter: char| match letter {
        '/' | '\\' | ':' | '*' | '?' | '"' | '<' | '>' | '|' => '_',
        letter if letter.is_control() => '_',
        letter => letter,
    };
    let mut name: String = text.chars().map(replace).collect();
    if name.len() > PART_BYTES_MAX {
        // The extension says what an attachment is.
        let extension =
            name.rfind('.').map(|at| name[at..].to_owned()).filter(|tail| tail.len() <= EXTENSION_BYTES_MAX);
        let extension = extension.unwrap_or_default();
        name.truncate(name.floor_char_boundary(PART_BYTES_MAX - extension.len()));
        name.push_str(&extension);
    }
    // A leading dot hides the file from the host; a trailing blank or dot is lost on Windows shares.
    let name = name.trim_end_matches([' ', '.']);
    match name.strip_prefix('.') {
        Some(rest) => format!("_{rest}"),
        None => name.to_owned(),
    }
}

/// What an attachment is called as an output: `scope` of `scope.csv`, or all of it where that is taken, then with a number.
pub(crate) fn output_name(name: &str, is_taken: impl Fn(&str) -> bool) -> String {
    let short = match name.rsplit_once('.') {
        Some((stem, _)) if !stem.is_empty() => stem,
        _ => name,
    };
    let numbered = (2..).map(|number| format!("{name}_{number}"));
    let mut names = [short.to_owned(), name.to_owned()].into_iter().chain(numbered);
    names.find(|name| !is_taken(name)).unwrap_or_else(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hostile_serial_stays_one_harmless_name() {
        let hostile =
            ["../../etc/passwd", "..", ".", "a/b\\c", "new\nline\0", ".hidden", "x. ", &"Ω".repeat(400), "   "];
        for serial in hostile {
            let name = safe(serial);
            assert!(name.len() <= PART_BYTES_MAX, "{name}");
            assert!(!name.starts_with('.') && !name.contains(['/', '\\', '\n', '\0']), "{serial:?} gives {name:?}");
            let stem = stem(Path::new("/nowhere"), Timestamp::UNIX_EPOCH, RunId::from_bytes([7; 16]), serial);
            let path = Path::new(&stem);
            assert_eq!(path.components().count(), 1, "{stem}");
            assert!(stem.starts_with("19700101T000000Z_07070707"), "{stem}");
            assert!(is_plain(&stem), "{stem}");
        }
        assert_eq!(safe("シリアル-Ω é 007"), "シリアル-Ω é 007");
        let long = safe(&format!("{}.csv", "x".repeat(300)));
        assert!(long.len() == PART_BYTES_MAX && long.ends_with("x.csv"), "{long}");
    }

    #[test]
    fn an_output_is_named_after_its_file() {
        let taken = |names: &'static [&'static str]| move |name: &str| names.contains(&name);
        assert_eq!(output_name("scope.csv", taken(&[])), "scope");
        assert_eq!(output_name("scope.csv", taken(&["scope"])), "scope.csv");
        assert_eq!(output_name("scope.csv", taken(&["scope", "scope.csv"])), "scope.csv_2");
        assert_eq!(output_name(".hidden", taken(&[])), ".hidden");
    }
}
