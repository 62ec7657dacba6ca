//! How a plugin takes its configuration.

use std::fs;

use litmus_core::{OpenMode, Status};
use serde_json::{Value, json};

use crate::bench::Bench;
use crate::case::{Broken, Case, Need};

pub(super) const CASES: &[Case] = &[
    Case {
        group: "config",
        name: "config_unknown_key_is_named",
        description: "a key that nobody knows is refused offline, by name",
        guarantee: "a wrong configuration is refused before anything is sent, with the key at fault",
        needs: &[],
        run: unknown_key_is_named,
    },
    Case {
        group: "config",
        name: "config_wrong_type_is_named",
        description: "each documented key with a value of the wrong type is refused offline, by name",
        guarantee: "a wrong configuration is refused before anything is sent, with the key at fault",
        needs: &[],
        run: wrong_type_is_named,
    },
    Case {
        group: "config",
        name: "config_wrong_value_is_named",
        description: "each documented key that has a list of values, or a least or greatest one, refuses others offline, by name",
        guarantee: "a wrong configuration is refused before anything is sent, with the key at fault",
        needs: &[],
        run: wrong_value_is_named,
    },
    Case {
        group: "config",
        name: "config_secret_never_comes_back",
        description: "a secret stands in no error, destination id, note, receipt or line of the log, whatever goes wrong",
        guarantee: "no secret in any text",
        needs: &[Need::Secret],
        run: secret_never_comes_back,
    },
    Case {
        group: "config",
        name: "config_missing_key_is_named",
        description: "each required key left out is refused offline, by name",
        guarantee: "a wrong configuration is refused before anything is sent, with the key at fault",
        needs: &[],
        run: missing_key_is_named,
    },
    Case {
        group: "config",
        name: "open_offline_touches_nothing",
        description: "an offline open leaves the destination's folder empty and knows the same destination id",
        guarantee: "an offline check touches nothing",
        needs: &[],
        run: offline_touches_nothing,
    },
    Case {
        group: "config",
        name: "destination_id_tells_destinations_apart",
        description: "equal configurations have one destination id, different destinations different ones",
        guarantee: "each destination has a ledger of its own, and keeps it",
        needs: &[],
        run: id_tells_destinations_apart,
    },
    Case {
        group: "config",
        name: "incarnation_is_kept_and_not_shared",
        description: "an incarnation survives close and open, and a fresh destination has another one",
        guarantee: "a destination that was lost or exchanged is noticed",
        needs: &[],
        run: incarnation_is_kept,
    },
];

/// Opens offline and wants a refusal that names the key.
fn refused(bench: &Bench, config: &Value, key: &str) -> Result<(), Broken> {
    match bench.open_with(config, OpenMode::Offline) {
        Ok(_) => Err(format!("{config} was accepted")),
        Err(error) if error.status() != Status::Config => {
            Err(format!("{config} was refused with status {}, not config: {error}", error.status()))
        }
        Err(error) if !error.to_string().contains(key) => Err(format!("the refusal does not name \"{key}\": {error}")),
        Err(_) => Ok(()),
    }
}

fn unknown_key_is_named(bench: &Bench) -> Result<(), Broken> {
    let mut config = bench.config("destination")?;
    config["no_such_key"] = json!(1);
    refused(bench, &config, "no_such_key")
}

fn wrong_type_is_named(bench: &Bench) -> Result<(), Broken> {
    let schema = bench.plugin.description().config_schema.clone();
    for key in schema["properties"].as_object().into_iter().flatten().map(|(key, _)| key) {
        let mut config = bench.config("destination")?;
        // No setting is a list of lists of lists.
        config[key] = json!([[[1]]]);
        refused(bench, &config, key)?;
    }
    Ok(())
}

/// A schema with its reference followed, and the schemas of which it is one.
fn alternatives<'a>(root: &'a Value, schema: &'a Value) -> Vec<&'a Value> {
    let reference = schema["$ref"].as_str().and_then(|text| text.strip_prefix('#'));
    let followed = reference.and_then(|pointer| root.pointer(pointer)).unwrap_or(schema);
    let mut found = vec![followed];
    for key in ["anyOf", "oneOf", "allOf"] {
        for inner in followed[key].as_array().into_iter().flatten() {
            found.extend(alternatives(root, inner));
        }
    }
    found
}

/// A value that the schema of a key does not allow although its type is right.
fn wrong_value(root: &Value, property: &Value) -> Option<Value> {
    let all = alternatives(root, property);
    // One that takes any text as well takes this one.
    let named = |schema: &&&Value| schema["enum"].is_array() || schema["const"].is_string();
    let free = all.iter().any(|schema| schema["type"] == "string" && !named(&schema));
    if all.iter().any(|schema| named(&schema)) && !free {
        return Some(json!("no such value"));
    }
    let limit = |key: &str| all.iter().find_map(|schema| schema[key].as_i64());
    let greater = limit("maximum").and_then(|max| max.checked_add(1)).map(Value::from);
    greater.or_else(|| limit("minimum").filter(|least| *least > 0).map(|least| json!(least - 1)))
}

fn wrong_value_is_named(bench: &Bench) -> Result<(), Broken> {
    let schema = bench.plugin.description().config_schema.clone();
    for (key, property) in schema["properties"].as_object().into_iter().flatten() {
        if let Some(value) = wrong_value(&schema, property) {
            let mut config = bench.config("destination")?;
            config[key] = value;
            refused(bench, &config, key)?;
        }
    }
    Ok(())
}

fn secret_never_comes_back(bench: &Bench) -> Result<(), Broken> {
    const SECRET: &str = "wrongs3cr3tmarker";
    let runs = bench.few_runs(2)?;
    let mut texts: Vec<(String, String)> = Vec::new();
    for (nth, over) in bench.declaration.secret.iter().enumerate() {
        let destination = format!("secret-{nth}");
        let good = bench.config_with(&destination, over, &[("secret", SECRET)])?;
        if !good.to_string().contains(SECRET) {
            return Err(format!("[[secret]] {} holds no {{secret}}", nth + 1));
        }
        let mut wrong_key = good.clone();
        wrong_key["no_such_key"] = json!(SECRET);
        for (config, mode) in [(&good, OpenMode::Offline), (&wrong_key, OpenMode::Offline), (&good, OpenMode::Live)] {
            match bench.open_with(config, mode) {
                Err(error) => texts.push((format!("the error of an {mode:?} open"), error.to_string())),
                Ok(instance) => {
                    texts.push(("the destination id".into(), instance.destination_id().to_owned()));
                    texts.push(("the incarnation".into(), format!("{:?}", instance.incarnation())));
                    texts.push(("check".into(), format!("{:?}", instance.check(&crate::bench::call(&|| false)))));
                    if mode == OpenMode::Live {
                        let delivered = crate::bench::deliver(&instance, &runs);
                        texts.push(("a report".into(), format!("{:?} {:?}", delivered.reports, delivered.ended)));
                    }
                    texts.push(("close".into(), format!("{:?}", instance.close(&crate::bench::call(&|| false)))));
                }
            }
        }
    }
    texts.extend(bench.logs.all().into_iter().map(|(_, text)| ("the log".to_owned(), text)));
    match texts.iter().find(|(_, text)| text.contains(SECRET)) {
        Some((place, text)) => Err(format!("{place} holds the secret: {}", text.replace(SECRET, "<the secret>"))),
        None => Ok(()),
    }
}

fn missing_key_is_named(bench: &Bench) -> Result<(), Broken> {
    let schema = bench.plugin.description().config_schema.clone();
    for key in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        let mut config = bench.config("destination")?;
        config.as_object_mut().ok_or("the configuration is a table")?.remove(key);
        refused(bench, &config, key)?;
    }
    Ok(())
}

fn offline_touches_nothing(bench: &Bench) -> Result<(), Broken> {
    let config = bench.config("destination")?;
    let offline = bench.open_with(&config, OpenMode::Offline).map_err(|error| format!("offline open: {error}"))?;
    let folder = bench.folder("destination")?;
    let entries = fs::read_dir(&folder).map_err(|error| error.to_string())?;
    let left: Vec<_> = entries.filter_map(Result::ok).map(|entry| entry.file_name()).collect();
    if !left.is_empty() {
        return Err(format!("the folder of the destination holds {left:?}"));
    }
    if let Some(incarnation) = offline.incarnation() {
        return Err(format!("an offline open cannot know the incarnation {incarnation}"));
    }
    let live = bench.open("destination")?;
    if live.destination_id() == offline.destination_id() {
        Ok(())
    } else {
        Err(format!("offline the destination is {}, live {}", offline.destination_id(), live.destination_id()))
    }
}

fn id_tells_destinations_apart(bench: &Bench) -> Result<(), Broken> {
    let [a, again, b] = [bench.open("a")?, bench.open("a")?, bench.open("b")?];
    if a.destination_id() != again.destination_id() {
        return Err(format!("one destination is {} and {}", a.destination_id(), again.destination_id()));
    }
    if a.destination_id() == b.destination_id() {
        return Err(format!("two destinations are both {}", a.destination_id()));
    }
    Ok(())
}

fn incarnation_is_kept(bench: &Bench) -> Result<(), Broken> {
    let first = bench.open("a")?;
    let Some(incarnation) = first.incarnation().map(str::to_owned) else {
        return Ok(()); // a destination that cannot hold one
    };
    first.close(&crate::bench::call(&|| false)).map_err(|error| format!("close: {error}"))?;
    let again = bench.open("a")?;
    if again.incarnation() != Some(&incarnation) {
        return Err(format!("the incarnation was {incarnation} and is {:?}", again.incarnation()));
    }
    let checked = again.check(&crate::bench::call(&|| false)).map_err(|error| format!("check: {error}"))?;
    if checked.incarnation.as_deref() != Some(incarnation.as_str()) {
        return Err(format!("check says that the incarnation is {:?}, open {incarnation}", checked.incarnation));
    }
    if bench.open("b")?.incarnation() == Some(&incarnation) {
        return Err(format!("two destinations have the incarnation {incarnation}"));
    }
    Ok(())
}
