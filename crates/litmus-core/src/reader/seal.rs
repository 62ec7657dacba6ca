//! The seal: a file is opened once, and everything that is ever read of it comes through that descriptor.
//!
//! A sealed file is `PAR1`, column chunks, footer, the footer's length in 4 bytes little endian, `PAR1`. A torn file can stand
//! under its final name after a power cut, since the platform renames without fsync.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use sha2::{Digest, Sha256 as Sha256Hasher};

use super::error::{DAMAGED, ReadError};
use super::footer::Footer;
use super::store::Stamp;
use crate::Sha256;

/// Files up to this size are read in one piece.
const WHOLE_FILE_BYTES_MAX: u64 = 1 << 20;
/// Larger ones are hashed in pieces of this size.
const CHUNK_BYTES: usize = 1 << 20;
/// A footer grows with the columns, and with what a test logs beside its rows; the largest real one seen has 30 kB. It is
/// held whole, and decoded to several times its size.
const FOOTER_BYTES_MAX: u64 = 32 << 20;

const MAGIC: &[u8; 4] = b"PAR1";
const MAGIC_ENCRYPTED: &[u8; 4] = b"PARE";
/// Footer length and closing magic.
const TAIL_BYTES: u64 = 8;

/// A file that passed the seal check.
pub(super) struct Sealed {
    pub(super) file: Arc<File>,
    pub(super) size: u64,
    /// As it was before anything was read.
    pub(super) stamp: Stamp,
    pub(super) sha256: Sha256,
    /// All bytes, where the file is small.
    pub(super) whole: Option<Bytes>,
    pub(super) footer: Footer,
}

/// Opens and checks `path`; `label` names it in errors.
pub(super) fn open(path: &Path, label: &str) -> Result<Sealed, ReadError> {
    let io_error = |doing: &'static str| move |error: io::Error| ReadError::io(label, doing, &error);
    // Without O_NONBLOCK, opening a fifo named x.parquet would wait for a writer for ever.
    let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let opened = OpenOptions::new().read(true).custom_flags(flags).open(path);
    let file = opened.map_err(io_error("cannot open"))?;
    let stat = file.metadata().map_err(io_error("cannot stat"))?;
    if !stat.is_file() {
        let what = if stat.is_dir() { "a folder" } else { "a fifo, socket or device" };
        return Err(
            ReadError::new(label, format!("is {what}, not a file")).with_hint("rename it, or move it out of runs/")
        );
    }
    let size = stat.len();
    let whole = if size <= WHOLE_FILE_BYTES_MAX {
        Some(Bytes::from(read_at(&file, 0, size as usize).map_err(io_error("cannot read"))?))
    } else {
        None
    };
    let range = |start: u64, length: usize| match &whole {
        Some(whole) => Ok(whole.slice(start as usize..start as usize + length)),
        None => read_at(&file, start, length).map(Bytes::from).map_err(io_error("cannot read")),
    };
    let footer = footer_range(size, label, &range)?;
    let footer = range(footer.start, (footer.end - footer.start) as usize)?;
    let footer = Footer::read(footer, label)?;
    let sha256 = match &whole {
        Some(whole) => Sha256(Sha256Hasher::digest(whole).into()),
        None => hash(&file, size).map_err(io_error("cannot read"))?,
    };
    Ok(Sealed { file: Arc::new(file), size, stamp: Stamp::of(&stat), sha256, whole, footer })
}

type Range<'a> = dyn Fn(u64, usize) -> Result<Bytes, ReadError> + 'a;

fn footer_range(size: u64, label: &str, range: &Range<'_>) -> Result<std::ops::Range<u64>, ReadError> {
    let damaged = |message: String| ReadError::new(label, message).with_hint(DAMAGED);
    if size == 0 {
        return Err(damaged("is empty".to_owned()));
    }
    if size < MAGIC.len() as u64 + TAIL_BYTES {
        return Err(damaged(format!("is no Parquet file: it has {size} bytes")));
    }
    if range(0, 4)?[..] != MAGIC[..] {
        return Err(damaged("is no Parquet file: it does not begin with PAR1".to_owned()));
    }
    let tail = range(size - TAIL_BYTES, TAIL_BYTES as usize)?;
    let (length, magic) = tail.split_at(4);
    if magic == MAGIC_ENCRYPTED {
        return Err(ReadError::new(label, "has an encrypted footer").with_hint("encrypted Parquet files are not read"));
    }
    if magic != MAGIC {
        return Err(damaged("is torn: it does not end with PAR1".to_owned()));
    }
    let length = u64::from(u32::from_le_bytes(length.try_into().expect("half of 8 bytes is 4 bytes")));
    if length + TAIL_BYTES + MAGIC.len() as u64 > size {
        return Err(damaged(format!("announces a footer of {length} bytes in a file of {size}")));
    }
    if length > FOOTER_BYTES_MAX {
        let message = format!("has a footer of {length} bytes; at most {FOOTER_BYTES_MAX} are read");
        return Err(ReadError::new(label, message)
            .with_hint("look for a test that puts large data into the run's metadata, or for damage"));
    }
    Ok(size - TAIL_BYTES - length..size - TAIL_BYTES)
}

/// Reads without moving the descriptor's offset, which plugins share.
pub(super) fn read_at(file: &File, start: u64, length: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; length];
    file.read_exact_at(&mut bytes, start)?;
    Ok(bytes)
}

fn hash(file: &File, size: u64) -> io::Result<Sha256> {
    let mut hasher = Sha256Hasher::new();
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut start = 0;
    while start < size {
        let length = (size - start).min(CHUNK_BYTES as u64) as usize;
        file.read_exact_at(&mut chunk[..length], start)?;
        hasher.update(&chunk[..length]);
        start += length as u64;
    }
    Ok(Sha256(hasher.finalize().into()))
}
