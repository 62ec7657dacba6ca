//! What a plugin says of itself.

use std::thread;

use litmus_core::Grade;
use litmus_core::abi::host::Plugin;
use serde_json::Value;

use crate::bench::Bench;
use crate::case::{Broken, Case};

pub(super) const CASES: &[Case] = &[
    Case {
        group: "describe",
        name: "describe_is_valid",
        description: "name, version and capabilities follow the rules and do not contradict each other",
        guarantee: "what a plugin declares can be relied on",
        needs: &[],
        run: is_valid,
    },
    Case {
        group: "describe",
        name: "describe_schema_knows_the_configuration",
        description: "the schema is closed, documents every key, and knows the keys that the tests configure",
        guarantee: "a plugin documents its configuration, and a host can check it before connecting",
        needs: &[],
        run: schema_knows_the_configuration,
    },
    Case {
        group: "describe",
        name: "describe_agrees_with_the_file",
        description: "name and version are those of the tag in the file, and the same from every thread and each time",
        guarantee: "what a plugin declares can be relied on",
        needs: &[],
        run: agrees_with_the_file,
    },
    Case {
        group: "describe",
        name: "describe_schema_holds_together",
        description: "types are types, references lead somewhere, what is required is described, defaults are of their type",
        guarantee: "a plugin documents its configuration, and a host can check it before connecting",
        needs: &[],
        run: schema_holds_together,
    },
];

fn agrees_with_the_file(bench: &Bench) -> Result<(), Broken> {
    let (tag, description) = (bench.plugin.tag(), bench.plugin.description());
    for (what, in_file, said, room) in
        [("name", &tag.name, &description.name, 32), ("version", &tag.version, &description.version, 24)]
    {
        // A long text is cut where the tag ends.
        if in_file != said && !(in_file.len() == room && said.starts_with(in_file.as_str())) {
            return Err(format!("the {what} is {in_file:?} in the file and {said:?} in `describe`"));
        }
    }
    let said = |plugin: &Plugin| serde_json::to_value(plugin.description()).expect("a description is JSON");
    let again = || Plugin::load(&bench.suite.plugin, bench.logs.sink()).map(|plugin| said(&plugin));
    thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(again)).collect();
        threads.into_iter().try_for_each(|thread| {
            let other = thread.join().expect("loading does not panic").map_err(|error| error.to_string())?;
            if other == said(&bench.plugin) {
                Ok(())
            } else {
                Err("`describe` says something else each time".to_owned())
            }
        })
    })
}

fn schema_holds_together(bench: &Bench) -> Result<(), Broken> {
    let schema = &bench.plugin.description().config_schema;
    node(schema, schema, "the schema")?;
    let properties = schema["properties"].as_object().ok_or("the schema has no properties")?;
    for key in schema["required"].as_array().into_iter().flatten() {
        let key = key.as_str().ok_or("`required` lists names")?;
        if !properties.contains_key(key) {
            return Err(format!("\"{key}\" is required and not described"));
        }
    }
    for (key, property) in properties {
        if let (Some(default), Some(kinds)) = (property.get("default"), kinds(property))
            && !kinds.iter().any(|kind| is_of(default, kind))
        {
            return Err(format!("the default of \"{key}\" is {default}, its type is {kinds:?}"));
        }
    }
    Ok(())
}

fn kinds(schema: &Value) -> Option<Vec<&str>> {
    match &schema["type"] {
        Value::String(kind) => Some(vec![kind]),
        Value::Array(kinds) => Some(kinds.iter().filter_map(Value::as_str).collect()),
        _ => None,
    }
}

fn is_of(value: &Value, kind: &str) -> bool {
    match kind {
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        "null" => value.is_null(),
        _ => false,
    }
}

/// Looks at a schema and at every schema in it.
fn node(root: &Value, schema: &Value, place: &str) -> Result<(), Broken> {
    const KINDS: [&str; 7] = ["string", "integer", "number", "boolean", "array", "object", "null"];
    if let Some(kinds) = kinds(schema)
        && let Some(unknown) = kinds.iter().find(|kind| !KINDS.contains(kind))
    {
        return Err(format!("{place}: there is no type \"{unknown}\""));
    }
    if let Some(reference) = schema["$ref"].as_str() {
        let inside = reference.strip_prefix('#').and_then(|pointer| root.pointer(pointer));
        if inside.is_none() {
            return Err(format!("{place}: the reference {reference} leads nowhere"));
        }
    }
    if schema["enum"].as_array().is_some_and(Vec::is_empty) {
        return Err(format!("{place}: no value is allowed"));
    }
    for key in ["properties", "$defs"] {
        for (name, inner) in schema[key].as_object().into_iter().flatten() {
            node(root, inner, &format!("{place} > {name}"))?;
        }
    }
    for key in ["anyOf", "oneOf", "allOf"] {
        for inner in schema[key].as_array().into_iter().flatten() {
            node(root, inner, place)?;
        }
    }
    for key in ["items", "additionalProperties"] {
        if schema[key].is_object() {
            node(root, &schema[key], place)?;
        }
    }
    Ok(())
}

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
