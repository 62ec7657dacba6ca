//! litmus-host: forwards finished Litmus test runs to databases, cloud storage and syslog.
//!
//! - [`cli`]: the commands. [`config`]: flags over environment over file. [`plugins`]: where plugins are looked for.
//! - [`engine`]: delivery; [`engine_api`]: what the commands and the engine say to each other.
//! - [`within`]: calls that may not come back. [`ledger`]: what is known of each file and delivery. [`output`]: tables, JSON, log, progress.

mod cli;
mod config;
mod engine;
mod engine_api;
mod ledger;
mod output;
mod plugins;
mod trust;
mod within;

/// Reading and writing small runs is to a third allocation, in the plugins as much as here. The `override` feature makes
/// the program's `malloc` this one, so that plugins and the C libraries in them share it without knowing.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// `mi_option_purge_delay` of mimalloc 3, which the crate does not name.
const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;
/// How long memory that is free is kept, in ms. By default it is a second, in which parts of a large file pile up.
const PURGE_DELAY_MS: std::ffi::c_long = 50;

fn main() -> std::process::ExitCode {
    // SAFETY: it sets a number; there is no other thread yet.
    unsafe { libmimalloc_sys::mi_option_set(PURGE_DELAY, PURGE_DELAY_MS) };
    cli::run()
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_option_is_the_one_that_is_meant() {
        // SAFETY: it reads a number.
        let default_ms = unsafe { libmimalloc_sys::mi_option_get(super::PURGE_DELAY) };
        assert_eq!(default_ms, 1000, "the only option of mimalloc 3 with this default");
    }
}
