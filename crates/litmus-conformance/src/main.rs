//! The suite as a command: `litmus-conformance --plugin FILE.so --config conformance.toml --corpus FOLDER`.

fn main() -> std::process::ExitCode {
    litmus_conformance::main()
}
