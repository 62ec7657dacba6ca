//! Damaged files and odd things in a store: an error with its reason, never a panic, never a wait.

use std::path::{Path, PathBuf};

use litmus_core::Table;
use litmus_core::digest::Conversions;
use litmus_core::reader::{RunFile, Store};

use crate::written::{Layout, flat, write};

fn small_files() -> Vec<PathBuf> {
    let pick = |(data_dir, _): (PathBuf, serde_json::Value)| {
        let found = Store::open(&data_dir).unwrap().walk().0;
        data_dir.join(&found.iter().min_by_key(|file| file.stamp.size).unwrap().path)
    };
    crate::rows::data_dirs(&crate::rows::corpus()).into_iter().map(pick).collect()
}

/// Reads all there is; what it says is beside the point here, that it returns is the point.
fn read(dir: &Path, bytes: &[u8]) -> Result<(), String> {
    std::fs::write(dir.join("x.parquet"), bytes).unwrap();
    let run = RunFile::open(dir, Path::new("x.parquet")).map_err(|error| error.to_string())?;
    run.digests(Conversions::default()).map_err(|error| error.to_string())?;
    run.attachments().map_err(|error| error.to_string())?;
    Ok(())
}

#[test]
fn a_truncated_file_is_an_error_wherever_it_ends() {
    let dir = tempfile::tempdir().unwrap();
    for file in small_files() {
        let bytes = std::fs::read(&file).unwrap();
        for length in (0..bytes.len()).step_by(64).chain([1, 4, 11, 12, bytes.len() - 1]) {
            let error = read(dir.path(), &bytes[..length]).unwrap_err();
            assert!(error.starts_with("x.parquet: ") && error.contains("\nhint: "), "{length}: {error}");
        }
        assert_eq!(read(dir.path(), &bytes), Ok(()), "{}", file.display());
    }
}

#[test]
fn flipped_bits_never_panic() {
    let dir = tempfile::tempdir().unwrap();
    let mut seed = 1u64;
    for file in small_files() {
        let bytes = std::fs::read(&file).unwrap();
        let mut refused = 0;
        for _ in 0..100 {
            // Knuth's MMIX generator: the same flips each time.
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let mut flipped = bytes.clone();
            flipped[(seed >> 16) as usize % bytes.len()] ^= 1 << (seed >> 60 & 7);
            refused += usize::from(read(dir.path(), &flipped).is_err());
        }
        assert!(refused > 0, "no flip of {} was noticed", file.display());
    }
}

#[test]
fn what_is_no_file_is_refused_at_once() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("folder.parquet")).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, dir.path().join("fifo.parquet"), rustix::fs::Mode::RUSR).unwrap();
    let refused = |name: &str| RunFile::open(dir.path(), Path::new(name)).unwrap_err();
    assert_eq!(refused("folder.parquet").message(), "is a folder, not a file");
    assert_eq!(refused("fifo.parquet").message(), "is a fifo, socket or device, not a file");
    assert!(!refused("folder.parquet").is_transient());
    let gone = refused("gone.parquet");
    assert!(gone.is_transient() && gone.message().starts_with("cannot open: "), "{gone}");
    assert!(gone.to_string().contains("\nhint: it was moved or deleted"), "{gone}");
}

#[test]
fn garbage_between_two_magics_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let garbage = |footer: u32, body: &[u8]| {
        let bytes = [b"PAR1", body, &footer.to_le_bytes(), b"PAR1"].concat();
        read(dir.path(), &bytes).unwrap_err()
    };
    assert!(garbage(u32::MAX, &[7; 99]).contains("announces a footer of 4294967295 bytes in a file of 111"));
    assert!(garbage(99, &[7; 99]).contains("cannot decode"));
    assert!(garbage(0, &[7; 99]).contains("cannot decode"));
    assert!(read(dir.path(), b"").unwrap_err().contains("is empty"));
    assert!(read(dir.path(), b"hello, this is text").unwrap_err().contains("does not begin with PAR1"));
}

#[test]
fn a_file_keeps_its_content_when_its_name_goes_to_another() {
    let dir = tempfile::tempdir().unwrap();
    let files = small_files();
    let path = dir.path().join("x.parquet");
    std::fs::copy(&files[0], &path).unwrap();
    let run = RunFile::open(dir.path(), Path::new("x.parquet")).unwrap();
    let before = run.digests(Conversions::default()).unwrap();
    std::fs::copy(&files[1], dir.path().join("new")).unwrap();
    std::fs::rename(dir.path().join("new"), &path).unwrap();
    assert_eq!(run.digests(Conversions::default()).unwrap(), before);
    assert_eq!(run.open_table(Table::Runs).unwrap().count(), 1);
    assert_ne!(RunFile::open(dir.path(), Path::new("x.parquet")).unwrap().sha256(), run.sha256());
}

/// Written on a share in place, where the platform would rename: a large file is read piece by piece, and the pieces must not
/// be taken for one revision.
#[test]
fn a_large_file_that_is_written_to_while_it_is_read_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let texts = (0..40_000u64).map(|at| format!("{:x}", at.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
    let notes: arrow::array::ArrayRef =
        std::sync::Arc::new(texts.map(|text| Some(text.repeat(3))).collect::<arrow::array::StringArray>());
    let types: Vec<_> = std::iter::once("run").chain(std::iter::repeat_n("measurement", 39_999)).collect();
    let run = write(dir.path(), "x", &flat(&types, vec![("out_note", notes)]), &Layout::default()).unwrap();
    assert!(run.file().metadata().unwrap().len() > 1 << 20, "else it would be held in memory");
    run.check_unchanged().unwrap();
    let path = dir.path().join("runs/x.parquet");
    std::fs::rename(&path, dir.path().join("runs/y.parquet")).unwrap();
    run.check_unchanged().unwrap();
    let mut bytes = std::fs::read(dir.path().join("runs/y.parquet")).unwrap();
    bytes[5000] ^= 1;
    std::fs::write(dir.path().join("runs/y.parquet"), &bytes).unwrap();
    let error = run.check_unchanged().unwrap_err();
    assert!(error.is_transient() && error.message().contains("was written to while it was read"), "{error}");
}

/// What a page header announces is looked at before the decoder believes it, in small files and in large ones. These encodings
/// announce inside of the page how many values there are, and the decoder would reserve memory for as many.
#[test]
fn pages_whose_announcements_cannot_be_checked_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    for encoding in [parquet::basic::Encoding::DELTA_BYTE_ARRAY, parquet::basic::Encoding::DELTA_LENGTH_BYTE_ARRAY] {
        for rows in [3, 100_000] {
            let types: Vec<_> = std::iter::once("run").chain(std::iter::repeat_n("step", rows - 1)).collect();
            let layout = Layout { text_encoding: Some(encoding), ..Layout::default() };
            let error = write(dir.path(), "x", &flat(&types, vec![]), &layout).unwrap_err().to_string();
            assert!(error.contains("a page has a DELTA encoding of texts, which is not read\nhint: write"), "{error}");
        }
    }
}
