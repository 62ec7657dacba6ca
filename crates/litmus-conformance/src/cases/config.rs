//! How a plugin takes its configuration.

use std::fs;

use litmus_core::{OpenMode, Status};
use serde_json::{Value, json};

use crate::bench::Bench;
use crate::case::{Broken, Case};

pub(super) const CASES: &[Case] = &[
    Case {
        name: "config_unknown_key_is_named",
        description: "a key that nobody knows is refused offline, by name",
        guarantee: "a wrong configuration is refused before anything is sent, with the key at fault",
        needs: &[],
        run: unknown_key_is_named,
    },
    Case {
        name: "config_wrong_type_is_named",
        description: "each documented key with a value of the wrong type is refused offline, by name",
        guarantee: "a wrong configuration is refused before anything is sent, with the key at fault",
        needs: &[],
        run: wrong_type_is_named,
    },
    Case {
        name: "config_missing_key_is_named",
        description: "each required key left out is refused offline, by name",
        guarantee: "a wrong configuration is refused before anything is sent, with the key at fault",
        needs: &[],
        run: missing_key_is_named,
    },
    Case {
        name: "open_offline_touches_nothing",
        description: "an offline open leaves the destination's folder empty and knows the same destination id",
        guarantee: "an offline check touches nothing",
        needs: &[],
        run: offline_touches_nothing,
    },
    Case {
        name: "destination_id_tells_destinations_apart",
        description: "equal configurations have one destination id, different destinations different ones",
        guarantee: "each destination has a ledger of its own, and keeps it",
        needs: &[],
        run: id_tells_destinations_apart,
    },
    Case {
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
