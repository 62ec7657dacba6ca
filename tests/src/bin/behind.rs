//! `behind BACKEND change|remove …`: gets at a run in a destination without the sink, for the conformance suite: an audit has to
//! notice. `behind sqlite change FILE RUN_ID`, `behind postgres change URL SCHEMA RUN_ID`,
//! `behind s3 change ENDPOINT BUCKET PREFIX RUN_ID`, `behind azure change ENDPOINT ACCOUNT KEY CONTAINER PREFIX RUN_ID`.

use std::process::ExitCode;

use litmus_tests::servers::behind;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match words[..] {
        ["sqlite", what, file, run_id] => behind::sqlite(what, file, run_id),
        ["postgres", what, url, schema, run_id] => behind::postgres(what, url, schema, run_id),
        ["s3", what, endpoint, bucket, prefix, run_id] => behind::s3(what, endpoint, bucket, prefix, run_id),
        ["azure", what, endpoint, account, key, container, prefix, run_id] => {
            behind::azure(what, &[endpoint, account, key], container, prefix, run_id)
        }
        _ => Err(format!("wrong arguments: {}", arguments.join(" "))),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
