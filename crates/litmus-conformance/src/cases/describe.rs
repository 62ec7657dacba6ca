//! What a plugin says of itself.

use litmus_core::Grade;
use serde_json::Value;

use crate::bench::Bench;
use crate::case::{Broken, Case};

pub(super) const CASES: &[Case] = &[
    Case {
        name: "describe_is_valid",
        description: "name, version and capabilities follow the rules and do not contradict each other",
        guarantee: "what a plugin declares can be relied on",
        needs: &[],
        run: is_valid,
    },
    Case {
        name: "describe_schema_knows_the_configuration",
        description: "the schema is closed, documents every key, and knows the keys that the tests configure",
        guarantee: "a plugin documents its configuration, and a host can check it before connecting",
        needs: &[],
        run: schema_knows_the_configuration,
    },
];

fn is_valid(bench: &Bench) -> Result<(), Broken> {
    let description = bench.plugin.description();
    let name = &description.name;
    let good = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'_';
    if !name.starts_with(|first: char| first.is_ascii_lowercase()) || !name.bytes().all(good) {
        return Err(format!("the name {name:?} is not lower-case letters, digits, - and _"));
    }
    if !description.version.starts_with(|first: char| first.is_ascii_digit()) {
        return Err(format!("the version {:?} does not begin with a number", description.version));
    }
    let capabilities = description.capabilities;
    if capabilities.max_concurrent_delivers == 0 || capabilities.batch_runs == 0 || capabilities.batch_bytes == 0 {
        return Err(format!("a batch or a number of threads is zero: {capabilities:?}"));
    }
    if capabilities.grade_max == Grade::Verified && !capabilities.audit {
        return Err("the grade `verified` needs `audit`".into());
    }
    Ok(())
}

fn schema_knows_the_configuration(bench: &Bench) -> Result<(), Broken> {
    let schema = &bench.plugin.description().config_schema;
    if schema["type"] != "object" {
        return Err(format!("the schema's type is {}, not \"object\"", schema["type"]));
    }
    if schema["additionalProperties"] != Value::Bool(false) {
        return Err("the schema lets unknown keys through: additionalProperties is not false".into());
    }
    let Some(properties) = schema["properties"].as_object() else {
        return Err("the schema has no properties".into());
    };
    if let Some((key, _)) =
        properties.iter().find(|(_, property)| property["description"].as_str().is_none_or(str::is_empty))
    {
        return Err(format!("the schema does not describe \"{key}\""));
    }
    let config = bench.config("destination")?;
    match config.as_object().into_iter().flatten().find(|(key, _)| !properties.contains_key(*key)) {
        Some((key, _)) => Err(format!("the schema does not know \"{key}\", which conformance.toml configures")),
        None => Ok(()),
    }
}
