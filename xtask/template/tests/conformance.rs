//! The plugin through the conformance suite: `cargo test --test conformance`, or with `-- --filter audit` a part of it.

fn main() -> std::process::ExitCode {
    litmus_conformance::main_for("conformance.toml", litmus_conformance::built_plugin)
}
