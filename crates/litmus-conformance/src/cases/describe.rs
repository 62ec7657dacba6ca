//! What a plugin says of itself.

use std::thread;

use litmus_core::Grade;
use litmus_core::abi::host::Plugin;
use serde_json::{Value, json};

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
        description: "the schema is a JSON Schema, references lead somewhere, what is required is described, defaults fit",
        guarantee: "a plugin documents its configuration, and a host can check it before connecting",
        needs: &[],
        run: schema_holds_together,
    },
    Case {
        group: "describe",
        name: "describe_schema_admits_what_works",
        description: "what conformance.toml configures, and each example in the schema, is as the schema wants it",
        guarantee: "a plugin documents its configuration, and a host can check it before connecting",
        needs: &[],
        run: admits_what_works,
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
    jsonschema::meta::validate(schema)
        .map_err(|error| format!("it is no JSON Schema: {error}, at {}", error.instance_path()))?;
    validator(schema)?;
    let properties = schema["properties"].as_object().ok_or("the schema has no properties")?;
    for key in schema["required"].as_array().into_iter().flatten() {
        let key = key.as_str().ok_or("`required` lists names")?;
        if !properties.contains_key(key) {
            return Err(format!("\"{key}\" is required and not described"));
        }
    }
    for (key, property) in properties {
        let Some(default) = property.get("default") else { continue };
        // The rest of the schema may want other keys beside it.
        let alone =
            json!({"$defs": schema["$defs"].as_object().cloned().unwrap_or_default(), "properties": {key: property}});
        if let Err(error) = validator(&alone)?.validate(&json!({key: default})) {
            return Err(format!("the default of \"{key}\": {error}"));
        }
    }
    Ok(())
}

/// Fails where a reference leads nowhere.
fn validator(schema: &Value) -> Result<jsonschema::Validator, Broken> {
    jsonschema::validator_for(schema).map_err(|error| format!("the schema cannot be used: {error}"))
}

fn admits_what_works(bench: &Bench) -> Result<(), Broken> {
    let schema = &bench.plugin.description().config_schema;
    let validator = validator(schema)?;
    let mut examples = vec![("config", bench.config("destination")?)];
    if let Some(over) = &bench.declaration.refused {
        examples.push(("refused", bench.config_with("destination", over, &[])?));
    }
    for over in &bench.declaration.secret {
        examples.push(("secret", bench.config_with("destination", over, &[("secret", "hidden")])?));
    }
    examples.extend(schema["examples"].as_array().into_iter().flatten().map(|example| ("examples", example.clone())));
    for (of, example) in examples {
        if let Err(error) = validator.validate(&example) {
            return Err(format!("`{of}` is not as the schema wants it: {error}, at {}", error.instance_path()));
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
