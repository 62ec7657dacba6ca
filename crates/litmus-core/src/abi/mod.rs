//! The C boundary between host and plugin.

mod config;
#[doc(hidden)]
pub mod export;
pub mod guest;
mod header;
#[cfg(feature = "host")]
pub mod host;
pub mod layout;
pub mod tag;

pub use header::header;
