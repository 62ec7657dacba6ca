//! What crosses the boundary: C structs, the one place where each is declared.
//!
//! The rule of growth: a struct that begins with `size` is only ever appended to; whoever fills it in writes how much of
//! it exists, and whoever reads it looks at `size` before every field past major 1's first set ([`has!`](crate::has)).
//! A struct without `size` never changes. Structs are read field by field through raw pointers, never as references.
//!
//! Each declaration gives the Rust struct, its `StableAbi` layout (checked at load) and its text in `litmus_sink.h`.

use std::ffi::c_void;

use abi_stable::StableAbi;

/// Peers of different majors refuse each other.
pub const MAJOR: u16 = 1;
/// Peers of different minors work together: the newer one leaves out what the older one does not know.
pub const MINOR: u16 = 0;

/// "No value" for a time in milliseconds.
pub const NO_TIME: u64 = u64::MAX;
/// [`Sink::open`]: check the configuration only, touch nothing.
pub const OPEN_OFFLINE: u32 = 1;
/// [`Call::flags`]: report what would be done and change nothing.
pub const CALL_DRY_RUN: u32 = 1;
/// [`Run::flags`]: replace whatever the destination holds.
pub const RUN_FORCE: u32 = 1;

/// One field of a struct as C sees it: for the header, and for the test that compares offsets.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// The Rust name, which is the C name.
    pub name: &'static str,
    /// Its documentation, a line each.
    pub doc: &'static [&'static str],
    /// The C declaration.
    pub c: &'static str,
    /// Where it lies.
    pub offset: usize,
}

/// One struct as C sees it.
#[derive(Clone, Copy, Debug)]
pub struct Struct {
    /// The C name.
    pub name: &'static str,
    /// Its documentation, a line each.
    pub doc: &'static [&'static str],
    /// In bytes.
    pub size: usize,
    /// In order.
    pub fields: &'static [Field],
}

macro_rules! structs {
    ($(
        $(#[doc = $doc:literal])*
        struct $name:ident as $c_name:literal {
            $( $(#[doc = $field_doc:literal])* $field:ident: $type:ty as $c:literal, )*
        }
    )*) => {
        $(
            $(#[doc = $doc])*
            #[repr(C)]
            #[derive(Clone, Copy, Debug, StableAbi)]
            pub struct $name {
                $( $(#[doc = $field_doc])* pub $field: $type, )*
            }
        )*

        /// Every struct, in the order in which C has to read them.
        pub const STRUCTS: &[Struct] = &[$(
            Struct {
                name: $c_name,
                doc: &[$($doc),*],
                size: size_of::<$name>(),
                fields: &[$(
                    Field {
                        name: stringify!($field),
                        doc: &[$($field_doc),*],
                        c: $c,
                        offset: std::mem::offset_of!($name, $field),
                    },
                )*],
            },
        )*];
    };
}

structs! {
    /// Borrowed UTF-8, not NUL-terminated; valid until the function it was handed to returns. `ptr` may be NULL where
    /// `len` is 0.
    struct Str as "litmus_str" {
        /// First byte.
        ptr: *const u8 as "const char *ptr",
        /// In bytes.
        len: usize as "size_t len",
    }

    /// Where a function writes text; the receiver copies it before `write` returns. Calling it again appends.
    struct TextOut as "litmus_text_out" {
        /// Handed back to `write`.
        ctx: *mut c_void as "void *ctx",
        /// From one thread at a time, until the function it was handed to returns.
        write: unsafe extern "C" fn(ctx: *mut c_void, text: Str) as "void (*write)(void *ctx, struct litmus_str text)",
    }

    /// Where a function that returns anything but 0 says why; the status is what it returns. The last call counts.
    struct ErrOut as "litmus_err_out" {
        /// Handed back to `write`.
        ctx: *mut c_void as "void *ctx",
        /// From one thread at a time, until the function it was handed to returns. `retry_after_ms` is how long the destination asked to wait, LITMUS_NO_TIME for nothing said. The message is for
        /// a person: it names the thing and the remedy and holds no secret.
        write: unsafe extern "C" fn(ctx: *mut c_void, retry_after_ms: u64, message: Str)
            as "void (*write)(void *ctx, uint64_t retry_after_ms, struct litmus_str message)",
    }

    /// What `audit` answers through.
    struct AuditOut as "litmus_audit_out" {
        /// Handed back to `report`.
        ctx: *mut c_void as "void *ctx",
        /// Once for each run asked about, by its place in `run_ids`; any thread, before `audit` returns. With status 0
        /// `audit_json` is `{"run_id": …, "sha256": … or null where the run is absent, "tables": {name: {"rows", "digest"}},
        /// "conversions": {rule: count}}`, computed from the rows or bytes read back. With another status this run could not
        /// be audited, and `audit_json` is the reason for a person; the others still can.
        report: unsafe extern "C" fn(ctx: *mut c_void, run: usize, status: u32, audit_json: Str)
            as "void (*report)(void *ctx, size_t run, uint32_t status, struct litmus_str audit_json)",
    }

    /// The host. Lives as long as the process; given to `open`.
    struct Host as "litmus_host" {
        /// How much of this struct exists, in bytes.
        size: u32 as "uint32_t size",
        /// The host's ABI minor.
        abi_minor: u32 as "uint32_t abi_minor",
        /// Handed back to `log`.
        ctx: *mut c_void as "void *ctx",
        /// Any thread, at any time. Level: 1 error, 2 warn, 3 info, 4 debug. The host cuts long messages and drops floods.
        log: unsafe extern "C" fn(ctx: *mut c_void, level: u32, target: Str, message: Str)
            as "void (*log)(void *ctx, uint32_t level, struct litmus_str target, struct litmus_str message)",
    }

    /// One call: how long it may take, whether it still should, and where results go. The struct is valid until the
    /// function it was handed to returns. `ctx` is a handle: a copy of it that is used later is harmless, the host then
    /// answers "cancelled" and drops the report.
    struct Call as "litmus_call" {
        /// How much of this struct exists, in bytes.
        size: u32 as "uint32_t size",
        /// LITMUS_CALL_DRY_RUN.
        flags: u32 as "uint32_t flags",
        /// From 1.
        attempt: u32 as "uint32_t attempt",
        /// Zero.
        reserved: u32 as "uint32_t reserved",
        /// Milliseconds left when the call began; LITMUS_NO_TIME for no deadline.
        remaining_ms: u64 as "uint64_t remaining_ms",
        /// Handed back to the functions below.
        ctx: *mut c_void as "void *ctx",
        /// Not 0 once the plugin is to stop. Any thread; poll it at least every second and before each commit.
        is_cancelled: unsafe extern "C" fn(ctx: *mut c_void) -> u32 as "uint32_t (*is_cancelled)(void *ctx)",
        /// In `deliver` only: how one run ended, by its place in `runs`, as soon as that is so; any thread, before `deliver`
        /// returns, once a run. A run that is not reported counts as failed with what `deliver` returns, or as to be retried.
        /// `receipt_json` may be empty where `status` is neither delivered, already present nor superseded.
        report: unsafe extern "C" fn(
            ctx: *mut c_void, run: usize, status: u32, retry_after_ms: u64, message: Str, receipt_json: Str,
        ) as "void (*report)(void *ctx, size_t run, uint32_t status, uint64_t retry_after_ms,\n                   struct litmus_str message, struct litmus_str receipt_json)",
    }

    /// One revision of one finished run. All of it is borrowed from the host and valid until `deliver` returns.
    struct Run as "litmus_run" {
        /// How much of this struct exists, in bytes.
        size: u32 as "uint32_t size",
        /// LITMUS_RUN_FORCE.
        flags: u32 as "uint32_t flags",
        /// The run's identity: a UUID, lower-case and hyphenated.
        run_id: Str as "struct litmus_str run_id",
        /// Of the sealed file's bytes: which revision of the run this is.
        sha256: [u8; 32] as "uint8_t sha256[32]",
        /// Text whose byte order says which of two revisions wins where the lineage is unknown: the higher one. Keep it
        /// beside the sha256.
        rank: Str as "struct litmus_str rank",
        /// The revisions of this run that the host saw earlier; one of them at the destination is to be replaced.
        supersedes: *const [u8; 32] as "const uint8_t (*supersedes)[32]",
        /// How many.
        supersedes_n: usize as "size_t supersedes_n",
        /// What the run is, as `litmus-host runs --format json` prints it.
        summary_json: Str as "struct litmus_str summary_json",
        /// The sealed file, for `pread` only (its position is shared); -1 where the host cannot lend it. Never close it.
        sealed_fd: i32 as "int32_t sealed_fd",
        /// Zero.
        reserved: u32 as "uint32_t reserved",
        /// The sealed file's path, for messages only.
        sealed_path: Str as "struct litmus_str sealed_path",
        /// A JSON array of the files the run refers to.
        attachments_json: Str as "struct litmus_str attachments_json",
        /// Handed back to `open_table`; a handle, as in `litmus_call`.
        ctx: *mut c_void as "void *ctx",
        /// Fills `out`, which the caller provides, with a fresh stream of one table (LITMUS_TABLE_…); any number of times,
        /// any thread. An absent table is an empty stream with its schema. The plugin owns the stream and releases it
        /// before `deliver` returns; one call at a time per stream, from any thread. A stream kept longer answers ECANCELED,
        /// and its release stays safe. Arrays taken from it may outlive the call. Not 0: `out` was not filled in.
        open_table: unsafe extern "C" fn(ctx: *mut c_void, table: u32, out: *mut c_void, err: *const ErrOut) -> u32
            as "uint32_t (*open_table)(void *ctx, uint32_t table, struct ArrowArrayStream *out, const struct litmus_err_out *err)",
    }

    /// What a plugin says of itself before any of its code runs: the data symbol `litmus_sink_abi`, read from the file. Texts
    /// are UTF-8 padded with zero bytes.
    struct Tag as "litmus_tag" {
        /// `LITMSINK`.
        magic: [u8; 8] as "uint8_t magic[8]",
        /// How much of this struct exists, in bytes.
        size: u32 as "uint32_t size",
        /// LITMUS_ABI_MAJOR.
        abi_major: u16 as "uint16_t abi_major",
        /// LITMUS_ABI_MINOR.
        abi_minor: u16 as "uint16_t abi_minor",
        /// LITMUS_TAG_PANIC_ABORTS, LITMUS_TAG_DEBUG.
        flags: u64 as "uint64_t flags",
        /// The plugin's name.
        name: [u8; 32] as "uint8_t name[32]",
        /// The plugin's version.
        version: [u8; 24] as "uint8_t version[24]",
        /// The compiler.
        built_with: [u8; 64] as "uint8_t built_with[64]",
    }

    /// The plugin's functions: one static table, exported as the data symbol `litmus_sink`. Each returns a status, 0 for
    /// well; none may unwind or exit. `audit` and `flush` may be NULL where the sink has nothing to do there.
    ///
    /// Threads: `deliver` on up to `max_concurrent_delivers` threads at once; `check`, `audit` and `flush` never beside it
    /// or each other; `close` once, last; `describe` at any time. The host calls from plain threads of its own; a plugin
    /// that needs a runtime owns one. After a call that ran past its deadline and a grace the instance is never called again.
    struct Sink as "litmus_sink" {
        /// How much of this struct exists, in bytes.
        size: u32 as "uint32_t size",
        /// The plugin's ABI minor.
        abi_minor: u32 as "uint32_t abi_minor",
        /// Writes `{"name", "version", "capabilities": {"dedup", "audit", "moves_file", "dry_run", "grade_max":
        /// "sent"|"acknowledged"|"committed"|"verified", "max_concurrent_delivers", "batch_bytes", "batch_runs"},
        /// "config_schema": JSON Schema}`; where it returns anything but 0, the reason.
        describe: Option<unsafe extern "C" fn(out: *const TextOut) -> u32>
            as "uint32_t (*describe)(const struct litmus_text_out *out)",
        /// Makes an instance from the configuration, stores it in `inst`, and writes `{"destination": text without a secret,
        /// "incarnation": a UUID kept at the destination, or null}` to `out`. With LITMUS_OPEN_OFFLINE it touches nothing
        /// outside and the incarnation is null. Not 0: there is no instance, and nothing to close.
        open: Option<unsafe extern "C" fn(
            host: *const Host, config_json: Str, flags: u32, call: *const Call,
            inst: *mut *mut c_void, out: *const TextOut, err: *const ErrOut,
        ) -> u32> as "uint32_t (*open)(const struct litmus_host *host, struct litmus_str config_json, uint32_t flags,\n                     const struct litmus_call *call, void **inst, const struct litmus_text_out *out,\n                     const struct litmus_err_out *err)",
        /// Looks whether deliveries would work and changes nothing; writes `{"incarnation": …, "notes": [lines]}`.
        check: Option<unsafe extern "C" fn(
            inst: *mut c_void, call: *const Call, out: *const TextOut, err: *const ErrOut,
        ) -> u32> as "uint32_t (*check)(void *inst, const struct litmus_call *call, const struct litmus_text_out *out,\n                      const struct litmus_err_out *err)",
        /// Delivers `n` runs and reports each through `call`. What it returns speaks for the runs not reported.
        deliver: Option<unsafe extern "C" fn(
            inst: *mut c_void, call: *const Call, runs: *const *const Run, n: usize, err: *const ErrOut,
        ) -> u32> as "uint32_t (*deliver)(void *inst, const struct litmus_call *call, const struct litmus_run *const *runs, size_t n,\n                        const struct litmus_err_out *err)",
        /// Says what the destination holds of `n` runs, read back from there.
        audit: Option<unsafe extern "C" fn(
            inst: *mut c_void, call: *const Call, run_ids: *const Str, n: usize, out: *const AuditOut, err: *const ErrOut,
        ) -> u32> as "uint32_t (*audit)(void *inst, const struct litmus_call *call, const struct litmus_str *run_ids, size_t n,\n                      const struct litmus_audit_out *out, const struct litmus_err_out *err)",
        /// Pushes out what is buffered.
        flush: Option<unsafe extern "C" fn(inst: *mut c_void, call: *const Call, err: *const ErrOut) -> u32>
            as "uint32_t (*flush)(void *inst, const struct litmus_call *call, const struct litmus_err_out *err)",
        /// Ends and frees the instance, whatever it returns.
        close: Option<unsafe extern "C" fn(inst: *mut c_void, call: *const Call, err: *const ErrOut) -> u32>
            as "uint32_t (*close)(void *inst, const struct litmus_call *call, const struct litmus_err_out *err)",
    }
}

impl Str {
    /// Nothing.
    pub const EMPTY: Self = Self { ptr: std::ptr::null(), len: 0 };

    /// Lends a text; the borrow has to outlive the call this goes to.
    pub const fn lend(text: &str) -> Self {
        Self { ptr: text.as_ptr(), len: text.len() }
    }

    /// Copies at most `bytes_max` bytes of the text; what is no UTF-8 becomes U+FFFD.
    ///
    /// # Safety
    /// The peer keeps `len` bytes at `ptr` readable until this returns; NULL is read as nothing.
    pub unsafe fn copy(self, bytes_max: usize) -> String {
        if self.ptr.is_null() || self.len == 0 {
            return String::new();
        }
        // SAFETY: the caller's promise; only bytes within `len` are touched.
        let bytes = unsafe { std::slice::from_raw_parts(self.ptr, self.len.min(bytes_max)) };
        String::from_utf8_lossy(bytes).into_owned()
    }
}

/// Whether a field lies inside what the peer filled in: `has!(pointer, Struct, field)`. Reads `size`, nothing else.
#[macro_export]
#[doc(hidden)]
macro_rules! has {
    ($pointer:expr, $struct:ty, $field:ident) => {{
        const fn size_of_pointee<T>(_: *const T) -> usize {
            size_of::<T>()
        }
        let offset = core::mem::offset_of!($struct, $field);
        // SAFETY: every peer's struct begins with `size`; of the field only the address is computed, for its type.
        unsafe {
            let pointer: *const $struct = $pointer;
            let end = offset + size_of_pointee(&raw const (*pointer).$field);
            (&raw const (*pointer).size).read() as usize >= end
        }
    }};
}
