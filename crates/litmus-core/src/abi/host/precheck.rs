//! What can be known of a file before any of its code runs.
//!
//! A truncated library must never reach `dlopen`: the loader maps it, and touching a page past the end is a SIGBUS. So the
//! ELF headers are read from the file, every segment has to lie inside it, and the plugin's tag is taken from the bytes.

use std::fs::File;
use std::path::Path;

use object::read::ReadCache;
use object::read::elf::{ElfFile64, FileHeader, ProgramHeader};
use object::{Endianness, Object, ObjectSymbol, ReadRef, elf};

use super::LoadError;
use crate::abi::layout::{MAJOR, MINOR, STRUCTS, Tag};
use crate::abi::tag::{MAGIC, PANIC_ABORTS, SINK_SYMBOL, TAG_SYMBOL, unpadded};

/// A plugin's tag as read from its file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TagInfo {
    /// ABI major; ours, or the file was refused.
    pub abi_major: u16,
    /// ABI minor; any.
    pub abi_minor: u16,
    /// See [`Tag::flags`].
    pub flags: u64,
    /// The plugin's name.
    pub name: String,
    /// The plugin's version.
    pub version: String,
    /// The compiler.
    pub built_with: String,
}

#[cfg(target_arch = "x86_64")]
const MACHINE: elf::Machine = elf::EM_X86_64;
#[cfg(target_arch = "aarch64")]
const MACHINE: elf::Machine = elf::EM_AARCH64;

/// What an ELF header is called when it is another machine's.
fn machine_name(machine: elf::Machine) -> String {
    match machine {
        elf::EM_X86_64 => "x86_64".to_owned(),
        elf::EM_AARCH64 => "aarch64".to_owned(),
        elf::EM_386 => "32-bit x86".to_owned(),
        elf::EM_ARM => "32-bit ARM".to_owned(),
        elf::EM_RISCV => "RISC-V".to_owned(),
        other => format!("machine {}", other.0),
    }
}

/// Reads the tag of a plugin and says whether the library may be loaded.
pub fn precheck(path: &Path) -> Result<TagInfo, LoadError> {
    let refuse = |why: &str| LoadError::new(path, why);
    let meta = std::fs::metadata(path)
        .map_err(|why| refuse(&format!("cannot be read: {why}; check the path and its permissions")))?;
    if meta.is_dir() {
        return Err(refuse("is a directory; name the plugin's .so file in it"));
    }
    if !meta.is_file() {
        return Err(refuse("is no regular file; name a plugin's .so file"));
    }
    if meta.len() == 0 {
        return Err(refuse("is empty; copy or build the plugin again"));
    }
    let file = File::open(path).map_err(|why| refuse(&format!("cannot be opened: {why}; check its permissions")))?;
    let cache = ReadCache::new(file);
    read(&cache, meta.len()).map_err(|why| refuse(&why))
}

fn read<'a>(file: impl ReadRef<'a>, len: u64) -> Result<TagInfo, String> {
    const TRUNCATED: &str = "is truncated; copy or build the plugin again";
    let ident = file.read_bytes_at(0, len.min(20)).map_err(|()| "cannot be read; copy or build the plugin again")?;
    if ident.len() < 4 || ident[..4] != elf::ELFMAG {
        return Err("is not a shared library; name a plugin's .so file".to_owned());
    }
    if ident.len() < 20 {
        return Err(TRUNCATED.to_owned());
    }
    let machine = elf::Machine(u16::from_le_bytes([ident[18], ident[19]]));
    if ident[4] != elf::ELFCLASS64.0 || ident[5] != elf::ELFDATA2LSB.0 || machine != MACHINE {
        let (theirs, ours) = (machine_name(machine), machine_name(MACHINE));
        let theirs = if ident[5] == elf::ELFDATA2LSB.0 { theirs } else { "a big-endian machine".to_owned() };
        return Err(format!("is built for {theirs}, this host runs on {ours}; build the plugin for {ours}"));
    }
    let header = elf::FileHeader64::<Endianness>::parse(file).map_err(|_| TRUNCATED)?;
    let endian = header.endian().map_err(|_| TRUNCATED)?;
    if header.e_type(endian) != elf::ET_DYN {
        return Err("is an ELF file but not a shared library; build it as a cdylib (or with cc -shared)".to_owned());
    }
    let segments = header.program_headers(endian, file).map_err(|_| TRUNCATED)?;
    let inside = |at: u64, size: u64| at.checked_add(size).is_some_and(|end| end <= len);
    if segments.iter().any(|segment| !inside(segment.p_offset(endian), segment.p_filesz(endian))) {
        return Err(TRUNCATED.to_owned());
    }
    let sections = u64::from(header.e_shnum(endian)) * u64::from(header.e_shentsize(endian));
    if !inside(header.e_shoff(endian), sections) {
        return Err(TRUNCATED.to_owned());
    }
    let elf_file = ElfFile64::<Endianness, _>::parse(file)
        .map_err(|why| format!("cannot be parsed: {why}; build the plugin again"))?;
    let symbol =
        |name: &str| elf_file.dynamic_symbols().find(|symbol| symbol.is_definition() && symbol.name() == Ok(name));
    let Some(tag) = symbol(TAG_SYMBOL) else {
        return Err(format!(
            "is a shared library but not a litmus-host plugin: it does not export {TAG_SYMBOL}; \
             use export_sink! (Rust) or litmus_sink.h (C)"
        ));
    };
    let at = segments
        .iter()
        .filter(|segment| segment.p_type(endian) == elf::PT_LOAD)
        .find_map(|segment| {
            let into = tag.address().checked_sub(segment.p_vaddr(endian))?;
            (into < segment.p_filesz(endian)).then(|| segment.p_offset(endian).checked_add(into))?
        })
        .ok_or_else(|| format!("has {TAG_SYMBOL} outside its data; build the plugin again"))?;
    let info = parse_tag(file, at)?;
    if symbol(SINK_SYMBOL).is_none() {
        return Err(format!("does not export {SINK_SYMBOL}; use export_sink! (Rust) or litmus_sink.h (C)"));
    }
    Ok(info)
}

fn parse_tag<'a>(file: impl ReadRef<'a>, at: u64) -> Result<TagInfo, String> {
    const BROKEN: &str = "has a damaged tag; build the plugin again";
    let bytes = file.read_bytes_at(at, size_of::<Tag>() as u64).map_err(|()| BROKEN)?;
    let field = |name: &str| -> &'a [u8] {
        let tag = STRUCTS.iter().find(|c_struct| c_struct.name == "litmus_tag").expect("declared in layout.rs");
        let index = tag.fields.iter().position(|field| field.name == name).expect("declared in layout.rs");
        let end = tag.fields.get(index + 1).map_or(tag.size, |next| next.offset);
        &bytes[tag.fields[index].offset..end]
    };
    let u16_at = |name| u16::from_le_bytes(field(name).try_into().expect("two bytes"));
    let size = u32::from_le_bytes(field("size").try_into().expect("four bytes"));
    if field("magic") != MAGIC || (size as usize) < size_of::<Tag>() {
        return Err(BROKEN.to_owned());
    }
    let info = TagInfo {
        abi_major: u16_at("abi_major"),
        abi_minor: u16_at("abi_minor"),
        flags: u64::from_le_bytes(field("flags").try_into().expect("eight bytes")),
        name: unpadded(field("name")),
        version: unpadded(field("version")),
        built_with: unpadded(field("built_with")),
    };
    if info.abi_major != MAJOR {
        let newer = if info.abi_major > MAJOR {
            "install a newer litmus-host"
        } else {
            "build the plugin against this release"
        };
        return Err(format!(
            "is built for plugin ABI {}.{}, this host speaks {MAJOR}.{MINOR}; {newer}",
            info.abi_major, info.abi_minor
        ));
    }
    if info.flags & PANIC_ABORTS != 0 {
        return Err("is built with panic = \"abort\", so that its first panic would end the host; \
                    build it with panic = \"unwind\""
            .to_owned());
    }
    Ok(info)
}
