//! Loading: what the file says of itself, then the library, then what its code says.

use std::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use abi_stable::StableAbi;
use abi_stable::type_layout::TypeLayout;
use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};

use super::check::compatible;
use super::log::{Log, LogFn};
use super::out::Text;
use super::precheck::{TagInfo, precheck};
use crate::Description;
use crate::abi::export::abi_stable_version;
use crate::abi::layout::{self, Host, Sink, TextOut};
use crate::abi::tag::{LAYOUT_SYMBOL, SINK_SYMBOL};
use crate::has;

/// Why a file is not a plugin that can be used: one line that names file and remedy.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct LoadError(String);

impl LoadError {
    pub(super) fn new(path: &Path, why: &str) -> Self {
        Self(format!("{} {why}", path.display()))
    }
}

/// A loaded plugin; never unloaded.
#[derive(Clone)]
pub struct Plugin(Arc<Loaded>);

struct Loaded {
    path: PathBuf,
    tag: TagInfo,
    description: Description,
    layout: Layout,
    functions: Functions,
    log: &'static Log,
    host: &'static Host,
}

// SAFETY: `host` is leaked, never changed, and its `log` may be called from any thread.
unsafe impl Send for Loaded {}
// SAFETY: as above.
unsafe impl Sync for Loaded {}

/// What came of the layout check.
enum Layout {
    Checked,
    /// Written in C.
    None,
    /// Described by another version of abi_stable.
    NotComparable(String),
}

/// The plugin's functions, each checked to be there.
#[derive(Clone, Copy)]
pub(super) struct Functions {
    pub(super) open: unsafe extern "C" fn(
        *const Host,
        layout::Str,
        u32,
        *const layout::Call,
        *mut *mut c_void,
        *const TextOut,
        *const layout::ErrOut,
    ) -> u32,
    pub(super) check:
        unsafe extern "C" fn(*mut c_void, *const layout::Call, *const TextOut, *const layout::ErrOut) -> u32,
    pub(super) deliver: unsafe extern "C" fn(
        *mut c_void,
        *const layout::Call,
        *const *const layout::Run,
        usize,
        *const layout::ErrOut,
    ) -> u32,
    pub(super) audit: Option<
        unsafe extern "C" fn(
            *mut c_void,
            *const layout::Call,
            *const layout::Str,
            usize,
            *const layout::AuditOut,
            *const layout::ErrOut,
        ) -> u32,
    >,
    pub(super) flush: Option<unsafe extern "C" fn(*mut c_void, *const layout::Call, *const layout::ErrOut) -> u32>,
    pub(super) close: unsafe extern "C" fn(*mut c_void, *const layout::Call, *const layout::ErrOut) -> u32,
}

impl Plugin {
    /// Reads the tag from the file, checks it, and only then loads the library.
    pub fn load(path: &Path, log: LogFn) -> Result<Self, LoadError> {
        // Absolute, so that the loader never searches the system's library path.
        let path = std::fs::canonicalize(path)
            .map_err(|why| LoadError::new(path, &format!("cannot be found: {why}; check the path")))?;
        let refuse = |why: &str| LoadError::new(&path, why);
        let tag = precheck(&path)?;
        // SAFETY: loading runs the library's constructors; the file names itself a plugin of this ABI and is whole.
        let library = unsafe { Library::open(Some(&path), RTLD_NOW | RTLD_LOCAL) }
            .map_err(|why| refuse(&format!("cannot be loaded: {why}; build it for this system's libraries")))?;
        // Never unloaded: threads, thread-locals and statics of the plugin may live as long as the process.
        let library: &'static Library = Box::leak(Box::new(library));
        let layout = check_layout(library).map_err(|why| {
            refuse(&format!(
                "does not fit this host, refused by the layout check: {why}; build it against this release"
            ))
        })?;
        // SAFETY: the symbol is the plugin's static table, as the tag promises; only its address is taken.
        let sink: *const Sink = *unsafe { library.get::<*const Sink>(SINK_SYMBOL.as_bytes()) }
            .map_err(|why| refuse(&format!("cannot be used: {why}; build it again")))?;
        let functions = functions(sink).map_err(|why| refuse(&why))?;
        let description = describe(sink).map_err(|why| refuse(&why))?;
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let log: &'static Log = Box::leak(Box::new(Log::new(log, name)));
        Ok(Self(Arc::new(Loaded { path, tag, description, layout, functions, log, host: log.host() })))
    }

    /// Where it was loaded from, absolute.
    pub fn path(&self) -> &PathBuf {
        &self.0.path
    }

    /// What it says of itself.
    pub fn description(&self) -> &Description {
        &self.0.description
    }

    /// What its file says of it.
    pub fn tag(&self) -> &TagInfo {
        &self.0.tag
    }

    /// `1.0 (layout checked)`, or `1.0 (C, no layout)`.
    pub fn abi(&self) -> String {
        let layout = match &self.0.layout {
            Layout::Checked => "layout checked".to_owned(),
            Layout::None => "C, no layout".to_owned(),
            Layout::NotComparable(theirs) => {
                format!("layout not comparable: abi_stable {theirs} there, {} here", abi_stable_version())
            }
        };
        format!("{}.{} ({layout})", self.0.tag.abi_major, self.0.tag.abi_minor)
    }

    pub(super) fn functions(&self) -> Functions {
        self.0.functions
    }

    pub(super) fn log(&self) -> &'static Log {
        self.0.log
    }

    pub(super) fn host(&self) -> &'static Host {
        self.0.host
    }
}

fn check_layout(library: &'static Library) -> Result<Layout, String> {
    type LayoutFn = unsafe extern "C" fn(*const TextOut) -> *const c_void;
    // SAFETY: the symbol, where it is there, is the function that `export_sink!` puts there.
    let Ok(function) = (unsafe { library.get::<LayoutFn>(LAYOUT_SYMBOL.as_bytes()) }) else {
        return Ok(Layout::None);
    };
    let mut version = Text::default();
    let out = version.out();
    // SAFETY: `out` is ours and outlives the call.
    let layout = unsafe { function(&raw const out) };
    let version = version.finish();
    if version != abi_stable_version() || layout.is_null() {
        return Ok(Layout::NotComparable(version));
    }
    // SAFETY: the same version of abi_stable made it, in a library that is never unloaded, and its types are `repr(C)`.
    let theirs: &'static TypeLayout = unsafe { &*layout.cast() };
    catch_unwind(AssertUnwindSafe(|| compatible(<Sink as StableAbi>::LAYOUT, theirs)))
        .unwrap_or_else(|_| Err("the layout is damaged".to_owned()))
        .map(|()| Layout::Checked)
}

/// Takes the functions out of the table, looking at its size before each that came later.
fn functions(sink: *const Sink) -> Result<Functions, String> {
    let missing = |name: &str| format!("has no function {name} in its table; build it against litmus_sink.h");
    if !has!(sink, Sink, close) {
        return Err("has a table of functions that is cut short; build it against litmus_sink.h".to_owned());
    }
    // SAFETY: the table is static and, as just checked, long enough for every field of minor 0.
    unsafe {
        Ok(Functions {
            open: (&raw const (*sink).open).read().ok_or_else(|| missing("open"))?,
            check: (&raw const (*sink).check).read().ok_or_else(|| missing("check"))?,
            deliver: (&raw const (*sink).deliver).read().ok_or_else(|| missing("deliver"))?,
            audit: (&raw const (*sink).audit).read(),
            flush: (&raw const (*sink).flush).read(),
            close: (&raw const (*sink).close).read().ok_or_else(|| missing("close"))?,
        })
    }
}

fn describe(sink: *const Sink) -> Result<Description, String> {
    // SAFETY: the table is static and, as `functions` checked, long enough.
    let function = unsafe { (&raw const (*sink).describe).read() };
    let function = function.ok_or("has no function describe in its table; build it against litmus_sink.h")?;
    let mut text = Text::default();
    let out = text.out();
    // SAFETY: `out` is ours and outlives the call.
    let status = unsafe { function(&raw const out) };
    let text = text.finish();
    if status != 0 {
        return Err(format!("cannot describe itself (status {status}): {text}; ask its author"));
    }
    serde_json::from_str(&text).map_err(|why| format!("describes itself wrongly: {why}; ask its author"))
}
