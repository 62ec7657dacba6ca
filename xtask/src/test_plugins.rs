//! `cargo xtask test-plugins`: every plugin through the conformance suite.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::test::Counts;
use crate::workspace::{PluginFolder, Profile, plugins, root, target};
use crate::{Result, build, process};

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Only these plugins of this workspace
    names: Vec<String>,
    /// A plugin from elsewhere
    #[arg(long, value_name = "FILE.so", requires = "config", conflicts_with = "names")]
    plugin: Option<PathBuf>,
    /// Its conformance configuration, as plugins/sqlite/conformance.toml
    #[arg(long, value_name = "FILE.toml", requires = "plugin")]
    config: Option<PathBuf>,
    /// List the cases and run none
    #[arg(long)]
    list: bool,
    /// Only cases whose name contains this
    #[arg(long, value_name = "TEXT")]
    filter: Option<String>,
    /// Also write a report: JUnit XML where the name ends in .xml, else JSON; {} stands for the plugin's name
    #[arg(long, value_name = "FILE")]
    report: Option<String>,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    build::all(Profile::Debug)?;
    if options.list {
        return process::run(suite().arg("--list"));
    }
    let mut total = Counts::default();
    let mut failed = Vec::new();
    for (name, plugin, config) in chosen(options)? {
        match one(options, &name, &plugin, &config, &mut total) {
            Ok(()) => (),
            Err(error) => failed.push(format!("{name}: {error}")),
        }
    }
    println!("{total}");
    if failed.is_empty() { Ok(()) } else { Err(failed.join("\n").into()) }
}

/// Every plugin that declares how it is tested; for `cargo xtask test`, which has built them.
pub(crate) fn all(total: &mut Counts) -> Result<()> {
    let options = Options { names: Vec::new(), plugin: None, config: None, list: false, filter: None, report: None };
    let mut failed = Vec::new();
    for (name, plugin, config) in chosen(&options)? {
        if let Err(error) = one(&options, &name, &plugin, &config, total) {
            failed.push(format!("{name}: {error}"));
        }
    }
    if failed.is_empty() { Ok(()) } else { Err(failed.join("; ").into()) }
}

/// Name, file and configuration of each plugin asked for.
fn chosen(options: &Options) -> Result<Vec<(String, PathBuf, PathBuf)>> {
    if let (Some(plugin), Some(config)) = (&options.plugin, &options.config) {
        let name = plugin.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        return Ok(vec![(name, std::path::absolute(plugin)?, std::path::absolute(config)?)]);
    }
    let all = plugins()?;
    if let Some(unknown) = options.names.iter().find(|name| all.iter().all(|folder| folder.name != **name)) {
        let known: Vec<_> = all.iter().map(|folder| folder.name.as_str()).collect();
        return Err(format!("there is no plugin \"{unknown}\" in plugins/\nhint: one of {}", known.join(", ")).into());
    }
    let asked = |folder: &PluginFolder| options.names.is_empty() || options.names.contains(&folder.name);
    let mut chosen = Vec::new();
    for folder in all.into_iter().filter(asked) {
        let config = folder.conformance();
        if config.is_file() {
            chosen.push((folder.name.clone(), folder.installed(Profile::Debug), config));
        } else if options.names.is_empty() {
            println!("{}: not tested, it has no {}", folder.name, config.display());
        } else {
            return Err(format!("{} is not there: it says how the plugin is tested", config.display()).into());
        }
    }
    Ok(chosen)
}

fn one(options: &Options, name: &str, plugin: &Path, config: &Path, total: &mut Counts) -> Result<()> {
    let counted = target().join(format!("conformance-{name}.json"));
    fs::remove_file(&counted).ok();
    let mut command = suite();
    command.arg("--plugin").arg(plugin).arg("--config").arg(config).arg("--report").arg(&counted);
    if let Some(filter) = &options.filter {
        command.arg("--filter").arg(filter);
    }
    if let Some(report) = &options.report {
        command.arg("--report").arg(report.replace("{}", name));
    }
    let outcome = process::run(&mut command);
    let text = fs::read(&counted).map_err(|_| "the suite ended without a report")?;
    let report: serde_json::Value = serde_json::from_slice(&text)?;
    let count = |key: &str| report["counts"][key].as_u64().ok_or(format!("no count of {key} in {}", counted.display()));
    *total += Counts { passed: count("passed")?, failed: count("failed")?, skipped: count("skipped")? };
    outcome
}

fn suite() -> Command {
    let mut command = Command::new(Profile::Debug.folder().join("litmus-conformance"));
    command.arg("--corpus").arg(root().join("tests/corpus"));
    command
}
