//! The C boundary, through real shared libraries: what is refused before it is loaded, what a hostile plugin can do to its
//! host, and whether C sees the structs that Rust sees.

#[path = "abi/c.rs"]
mod c;
#[path = "abi/fake.rs"]
mod fake;
#[path = "abi/frozen.rs"]
mod frozen;
#[path = "abi/hostile.rs"]
mod hostile;
#[path = "abi/refused.rs"]
mod refused;
