//! The plugin's tag: the data symbol that the host reads from the file before it loads anything.

pub use super::layout::Tag;
use super::layout::{MAJOR, MINOR};

/// The first bytes of every tag.
pub const MAGIC: [u8; 8] = *b"LITMSINK";
/// A panic in the plugin ends the process: the host refuses it.
pub const PANIC_ABORTS: u64 = 1;
/// A debug build.
pub const DEBUG: u64 = 2;
/// The symbol of the tag.
pub const TAG_SYMBOL: &str = "litmus_sink_abi";
/// The symbol of the table of functions.
pub const SINK_SYMBOL: &str = "litmus_sink";
/// The symbol of the function that gives a Rust plugin's layout.
pub const LAYOUT_SYMBOL: &str = "litmus_sink_layout";

impl Tag {
    /// The tag of a plugin built by this compiler; too long a name or version is cut.
    pub const fn new(name: &str, version: &str, flags: u64) -> Self {
        Self {
            magic: MAGIC,
            size: size_of::<Self>() as u32,
            abi_major: MAJOR,
            abi_minor: MINOR,
            flags,
            name: padded(name),
            version: padded(version),
            built_with: padded(env!("LITMUS_RUSTC")),
        }
    }
}

/// The text with zero bytes after it, cut to `N`.
const fn padded<const N: usize>(text: &str) -> [u8; N] {
    let mut out = [0; N];
    let mut at = 0;
    while at < N && at < text.len() {
        out[at] = text.as_bytes()[at];
        at += 1;
    }
    out
}

/// The text of a padded field.
pub fn unpadded(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_round_trip_and_are_cut_at_the_field() {
        let tag = Tag::new("postgres", "0.1.0-a-very-long-version-indeed", DEBUG);
        assert_eq!(unpadded(&tag.name), "postgres");
        assert_eq!(unpadded(&tag.version), "0.1.0-a-very-long-versio");
        assert!(unpadded(&tag.built_with).starts_with("rustc "));
    }
}
