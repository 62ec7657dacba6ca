//! The C boundary between host and plugin.

pub mod guest;
#[cfg(feature = "host")]
pub mod host;
