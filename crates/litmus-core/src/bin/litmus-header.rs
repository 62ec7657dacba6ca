//! Prints `litmus_sink.h`; `cargo xtask header` writes it to its place.

fn main() {
    print!("{}", litmus_core::abi::header());
}
