//! Records one run of every kind and says as JSON what was recorded: what `cargo xtask compat` has the platform read, and what
//! the golden files of the tests are made of.
//!
//! `scenarios DATA_DIR flat|nested EXPECTED.json`

mod runs;

use std::path::PathBuf;

use litmus_record::{Client, Format};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [data_dir, format, expected] = arguments.as_slice() else {
        return Err("usage: scenarios DATA_DIR flat|nested EXPECTED.json".into());
    };
    let format = match format.as_str() {
        "flat" => Format::Flat,
        "nested" => Format::Nested,
        other => return Err(format!("\"{other}\" is no format: flat or nested").into()),
    };
    let client = Client::new(PathBuf::from(data_dir)).format(format);
    let recorded: Vec<_> = runs::all().into_iter().map(|scenario| runs::record(&client, &scenario)).collect();
    std::fs::write(expected, serde_json::to_string_pretty(&recorded)?)?;
    println!("{} runs", recorded.len());
    Ok(())
}
