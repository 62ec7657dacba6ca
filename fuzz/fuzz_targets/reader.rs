//! Any bytes as a sealed file: read whole, by both decoders.
//!
//! An input is a Parquet file laid out so that mutations of body and footer do not break the frame: four bytes with the
//! body's length, the body, the footer. Whatever is in it, the reader must return within bounds of time and memory (the
//! fuzzer's own flags), an error must name file and remedy, and the decoder for small files must find what the parquet
//! crate finds.
#![no_main]

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::os::fd::AsRawFd;
use std::path::Path;

use libfuzzer_sys::fuzz_target;
use litmus_core::digest::{Conversions, Digests};
use litmus_core::reader::{RunFile, fuzzing};

// A panic of the parquet crate's is caught by the reader, and the fuzzer's hook would end the process before that. One of the
// reader's or of this file's still ends it.
fuzz_target!(init: std::panic::set_hook(Box::new(|_| {})), |input: &[u8]| {
    let Some((length, rest)) = input.split_first_chunk::<4>() else { return };
    let (body, footer) = rest.split_at(rest.len().min(u32::from_le_bytes(*length) as usize));
    let bytes = [b"PAR1", body, footer, &(footer.len() as u32).to_le_bytes(), b"PAR1"].concat();

    let quick = read(&bytes, true);
    let slow = read(&bytes, false);
    // The decoder for small files may take what the crate refuses (a page past the last value); where both take it, they agree.
    if let (Ok(quick), Ok(slow)) = (quick, slow) {
        assert_eq!(quick, slow, "the decoders differ");
    }
});

/// Everything that is ever read of a file.
fn read(bytes: &[u8], quick: bool) -> Result<Digests, ()> {
    fuzzing::use_quick_decoder(quick);
    let memory = rustix::fs::memfd_create("x.parquet", rustix::fs::MemfdFlags::CLOEXEC).expect("memory");
    let mut file = File::from(memory);
    file.write_all(bytes).and_then(|()| file.seek(SeekFrom::Start(0))).expect("memory");
    let name = file.as_raw_fd().to_string();
    let label = format!("{name}: ");
    let check = |error: litmus_core::reader::ReadError| {
        let text = error.to_string();
        assert!(text.starts_with(&label) && text.contains("\nhint: "), "{text}");
    };
    let run = RunFile::open(Path::new("/proc/self/fd"), Path::new(&name)).map_err(check)?;
    let digests = run.digests(Conversions::default()).map_err(check)?;
    run.attachments().map_err(check)?;
    let rows = run.summary().rows;
    let found: u64 = ["runs", "steps", "vectors"].iter().map(|table| digests[*table].rows).sum();
    assert!(found <= rows, "{found} rows out of {rows}");
    Ok(digests)
}
