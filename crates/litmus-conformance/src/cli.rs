//! The suite's command line.

use std::path::PathBuf;
use std::process::ExitCode;

use crate::runner::run_step;
use crate::{Counts, Suite, Verdict, cases, description, run_all, run_case};
use clap::Parser;

#[derive(Parser)]
#[command(about = "Put a litmus-host sink plugin through every guarantee that it declares", version)]
struct Options {
    /// The plugin's file
    #[arg(long, value_name = "FILE.so", required_unless_present = "list")]
    plugin: Option<PathBuf>,
    /// How it is tested: floor, time limit, and the sink's configuration
    #[arg(long, value_name = "FILE.toml", required_unless_present_any = ["list", "describe"])]
    config: Option<PathBuf>,
    /// Real run files: RELEASE/SOURCE/data below it, or one data dir
    #[arg(long, value_name = "FOLDER", default_value_os_t = own_corpus())]
    corpus: PathBuf,
    /// Lay a key over the configuration of FILE.toml, as `key=value`; may be given more than once
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// List the cases and run none
    #[arg(long)]
    list: bool,
    /// Only cases whose name contains this; =NAME is just that case
    #[arg(long, value_name = "TEXT")]
    filter: Option<String>,
    /// Also write a report: JUnit XML where the name ends in .xml, else JSON; may be given more than once
    #[arg(long, value_name = "FILE")]
    report: Vec<PathBuf>,
    /// Run this one case in this process
    #[arg(long, value_name = "NAME", hide = true, requires = "folder")]
    case: Option<String>,
    /// Where that case has its destinations
    #[arg(long, value_name = "FOLDER", hide = true)]
    folder: Option<PathBuf>,
    /// What the backend said of itself, as JSON
    #[arg(long, value_name = "JSON", hide = true, default_value = "{}")]
    backend: String,
    /// Run this part of that case
    #[arg(long, value_name = "NAME", hide = true, requires = "case")]
    step: Option<String>,
    /// At this destination
    #[arg(long, value_name = "NAME", hide = true, default_value = "destination")]
    destination: String,
    /// Print what the plugin says of itself
    #[arg(long, hide = true)]
    describe: bool,
}

/// The suite as a program, for its own binary.
pub fn main() -> ExitCode {
    ended(run(Options::parse()))
}

/// The suite as a test of somebody's own crate: `cargo test` runs it with the crate's plugin and its `conformance.toml`, a path
/// relative to the crate. `[[test]] harness = false`, and nothing else in the file:
///
/// ```no_run
/// fn main() -> std::process::ExitCode {
///     litmus_conformance::main_for("conformance.toml", litmus_conformance::built_plugin)
/// }
/// ```
///
/// All of the command's own arguments work, such as `cargo test --test conformance -- --filter deliver`.
pub fn main_for(declaration: &str, plugin: impl FnOnce() -> Result<PathBuf, String>) -> ExitCode {
    let given: Vec<_> = std::env::args_os().collect();
    // Each case comes back here as a process of its own, with everything said.
    if given.iter().any(|argument| argument == "--plugin") {
        return main();
    }
    let mut arguments = given;
    // What cargo and IDEs hand to any test program.
    arguments.retain(|argument| argument != "--nocapture" && argument != "--quiet" && argument != "-q");
    match plugin() {
        Ok(plugin) => {
            arguments.extend(["--plugin".into(), plugin.into(), "--config".into(), declaration.into()]);
            ended(run(Options::parse_from(arguments)))
        }
        Err(error) => ended(Err(error)),
    }
}

/// Builds the library of the crate that is being tested, and says where it lies.
pub fn built_plugin() -> Result<PathBuf, String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = std::process::Command::new(cargo).args(["build", "--lib", "--message-format", "json"]).output();
    let output = output.map_err(|error| format!("cargo build: {error}"))?;
    if !output.status.success() {
        return Err(format!("cargo build: {}", String::from_utf8_lossy(&output.stderr)));
    }
    let lines = String::from_utf8_lossy(&output.stdout).into_owned();
    let messages = lines.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let files = messages
        .filter(|message| message["target"]["kind"].as_array().is_some_and(|kinds| kinds.contains(&"cdylib".into())));
    let mut libraries = files.filter_map(|message| {
        let names = message["filenames"].as_array()?.iter().filter_map(serde_json::Value::as_str);
        names.map(PathBuf::from).find(|path| path.extension().is_some_and(|extension| extension == "so"))
    });
    libraries.next_back().ok_or("cargo build made no .so file\nhint: crate-type = [\"cdylib\"] under [lib]".to_owned())
}

/// The run files that come with the suite's sources.
fn own_corpus() -> PathBuf {
    let beside = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/corpus"));
    beside.canonicalize().unwrap_or_else(|_| "tests/corpus".into())
}

fn ended(outcome: Result<bool, String>) -> ExitCode {
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}

/// Whether all went well; an error says why nothing could be run.
fn run(options: Options) -> Result<bool, String> {
    if options.list {
        for case in cases() {
            let needs: Vec<_> = case.needs.iter().map(|need| need.name()).collect();
            let needs = if needs.is_empty() { String::new() } else { format!(" (needs {})", needs.join(", ")) };
            println!(
                "{}: {}{needs}\n    {}\n    guarantee: {}",
                case.group, case.name, case.description, case.guarantee
            );
        }
        return Ok(true);
    }
    let plugin = options.plugin.ok_or("--plugin is needed")?;
    if options.describe {
        let description = serde_json::to_string(&description(&plugin)?).map_err(|error| error.to_string())?;
        println!("{description}");
        return Ok(true);
    }
    let declaration = options.config.ok_or("--config is needed")?;
    let executable = std::env::current_exe().map_err(|error| error.to_string())?;
    let suite =
        Suite { plugin, declaration, corpus: options.corpus, executable, filter: options.filter, set: options.set };
    if let (Some(case), Some(folder)) = (options.case, options.folder) {
        let outcome = match options.step {
            Some(step) => run_step(&suite, &case, &folder, &options.backend, &step, &options.destination),
            None => run_case(&suite, &case, &folder, &options.backend),
        };
        return match outcome {
            Ok(()) => Ok(true),
            Err(broken) => {
                println!("{broken}");
                Ok(false)
            }
        };
    }
    println!("{}", suite.plugin.display());
    let report = run_all(&suite, |outcome| {
        let Verdict::Passed = outcome.verdict else {
            let message = outcome.verdict.message().replace('\n', "\n      ");
            println!("  {:<9} {}: {message}", outcome.verdict.name(), outcome.case.name);
            return;
        };
        println!("  {:<9} {} ({:.1} s)", "passed", outcome.case.name, outcome.took.as_secs_f64());
    })?;
    for path in &options.report {
        report.write(path).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    let Counts { passed, failed, skipped } = report.counts();
    println!(
        "{} {}: {passed} passed, {failed} failed, {skipped} skipped",
        report.description.name, report.description.version
    );
    let subject = &report.subject;
    println!(
        "{} (sha256 {}), ABI {}, host {}, backend {}",
        subject.file,
        subject.sha256,
        subject.abi,
        subject.host_version,
        subject.backend_version.as_deref().or(subject.backend.as_deref()).unwrap_or("files")
    );
    let failure = report.failure();
    if let Some(why) = &failure {
        println!("{} does not conform: {why}", report.description.name);
    }
    Ok(failure.is_none())
}
