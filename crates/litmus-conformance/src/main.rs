//! The suite as a command: `litmus-conformance --plugin FILE.so --config conformance.toml --corpus FOLDER`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use litmus_conformance::{Counts, Suite, Verdict, cases, description, run_all, run_case};

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
    #[arg(long, value_name = "FOLDER", default_value = "tests/corpus")]
    corpus: PathBuf,
    /// List the cases and run none
    #[arg(long)]
    list: bool,
    /// Only cases whose name contains this
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
    /// Print what the plugin says of itself
    #[arg(long, hide = true)]
    describe: bool,
}

fn main() -> ExitCode {
    match run(Options::parse()) {
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
            println!("{}{needs}\n    {}\n    guarantee: {}", case.name, case.description, case.guarantee);
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
    let suite = Suite { plugin, declaration, corpus: options.corpus, executable, filter: options.filter };
    if let (Some(case), Some(folder)) = (options.case, options.folder) {
        return match run_case(&suite, &case, &folder, &options.backend) {
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
    let failure = report.failure();
    if let Some(why) = &failure {
        println!("{} does not conform: {why}", report.description.name);
    }
    Ok(failure.is_none())
}
