//! litmus-host.
fn main() {}
