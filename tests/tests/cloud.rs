//! The cloud sink on real run files: a folder, an S3 server and Azure's, each read back by a client that is not ours.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use litmus_tests::artifacts::{self, root};
use litmus_tests::corpus::{self, Source};
use litmus_tests::generate::{Plan, write};
use litmus_tests::objects::{assert_whole, configure, files, keys_of_folder, s3};
use litmus_tests::project::{Ended, Project};
use litmus_tests::servers::{ACCOUNT, Azurite, BUCKET, CONTAINER, Fate, Gcs, KEY, Proxy, S3};

fn total(sources: &[Source]) -> usize {
    sources.iter().map(|source| source.files.len()).sum()
}

const FORWARD: [&str; 4] = ["--config", "litmus-host.toml", "--format", "json"];

/// Forwards into a sink, again, and again with the ledger gone.
fn three_times(project: &Project, runs: usize, before_last: impl FnOnce()) {
    project.run(FORWARD).delivered(runs, 0);
    project.run(FORWARD).delivered(0, 0);
    fs::remove_dir_all(project.state_dir()).unwrap();
    before_last();
    project.run(FORWARD).delivered(0, runs);
}

#[test]
fn the_corpus_lies_in_a_folder_byte_for_byte() {
    let (project, sources) = (Project::new(), corpus::sources());
    let root = project.path("objects");
    configure(&project, &sources, &format!("uri = 'file://{}'", root.display()));
    let seen = std::cell::OnceCell::new();
    three_times(&project, total(&sources), || {
        let stamps = |path: &std::path::PathBuf| fs::metadata(path).unwrap().modified().unwrap();
        seen.set(files(&root).into_keys().map(|path| (path.clone(), stamps(&path))).collect::<BTreeMap<_, _>>())
            .unwrap();
    });
    let keys = keys_of_folder(&root);
    assert_whole(&sources, &keys, |key| fs::read(root.join(key)).ok());
    assert!(keys.iter().any(|key| key.starts_with("test_results/LOT!2F7!2FSN9/")), "{keys:?}");
    assert!(!keys.iter().any(|key| key.starts_with(".litmus/tmp/")), "copies are left: {keys:?}");
    for (path, written) in seen.get().unwrap() {
        if !path.starts_with(root.join(".litmus")) {
            assert_eq!(fs::metadata(path).unwrap().modified().unwrap(), *written, "{}", path.display());
        }
    }
}

#[test]
fn the_corpus_lies_in_a_bucket_byte_for_byte_and_bodies_go_up_once() {
    let (project, sources, server) = (Project::new(), corpus::sources(), S3::start());
    let proxy = Proxy::before(server.port(), |_| Fate::Forward);
    configure(&project, &sources, &s3(&format!("s3://{BUCKET}/bench/7"), &proxy.endpoint()));
    let sent = std::cell::Cell::new(0);
    three_times(&project, total(&sources), || sent.set(proxy.body_bytes()));
    let sealed: u64 = sources
        .iter()
        .flat_map(|source| source.files.keys().map(|path| source.data_dir.join(path)))
        .map(|path| fs::metadata(path).unwrap().len())
        .sum();
    assert!(sent.get() >= sealed, "{} bytes went up, {sealed} are sealed", sent.get());
    assert_eq!(proxy.body_bytes(), sent.get(), "bodies went up again");
    let keys = server.keys("");
    assert!(keys.iter().all(|key| key.starts_with("bench/7/")), "{keys:?}");
    assert_whole(&sources, &keys, |key| server.get(key));
    let fetched = server.fetched_by_boto3("bench/7/test_results/");
    for file in sources.iter().flat_map(|source| source.files.values()) {
        let (key, sha256) =
            fetched.iter().find(|(key, _)| key.ends_with(&format!("/{}.parquet", file.run_id))).unwrap();
        assert!(server.head(key).contains(&format!("x-amz-meta-litmussha256: {sha256}")), "{key}: what boto3 fetched");
    }
    let (path, file) = sources[0].files.iter().next().unwrap();
    let key = keys.iter().find(|key| key.ends_with(&format!("{}.parquet", file.run_id))).unwrap();
    let head = server.head(key);
    assert!(head.contains(&format!("x-amz-meta-litmusrunid: {}", file.run_id)), "{path}: {head}");
    assert!(head.contains("x-amz-meta-litmussha256: ") && head.contains("x-amz-meta-litmusgeneration: "), "{head}");
}

#[test]
fn the_corpus_lies_in_an_azure_container_byte_for_byte() {
    let (project, sources, server) = (Project::new(), corpus::sources(), Azurite::start());
    let options = format!("endpoint = '{}', account_name = '{ACCOUNT}', account_key = '{KEY}'", server.endpoint());
    configure(&project, &sources, &format!("uri = 'azblob://{CONTAINER}/bench', options = {{ {options} }}"));
    three_times(&project, total(&sources), || {});
    assert_whole(&sources, &server.keys(""), |key| server.get(key));
}

#[test]
fn the_corpus_lies_in_a_google_bucket_byte_for_byte() {
    let (project, sources, server) = (Project::new(), corpus::sources(), Gcs::start());
    let options = format!("endpoint = '{}', skip_signature = true", server.endpoint());
    configure(&project, &sources, &format!("uri = 'gs://runs/bench', options = {{ {options} }}"));
    three_times(&project, total(&sources), || {});
    assert_whole(&sources, &server.keys(), |key| server.get(key));
}

#[test]
fn a_large_file_goes_up_in_parts() {
    let (project, server) = (Project::new(), S3::start());
    let run = write(&project.data_dir(), &Plan::new(1, 500_000));
    let sealed = fs::read(project.data_dir().join(&run.path)).unwrap();
    assert!(sealed.len() > 11 << 20, "{} bytes are too few for this test", sealed.len());
    let proxy = Proxy::before(server.port(), |_| Fate::Forward);
    let sink = s3(&format!("s3://{BUCKET}"), &proxy.endpoint()) + ", part_bytes = 5242880";
    fs::write(
        project.path("litmus-host.toml"),
        format!("[[sink]]\nname = 'o'\nplugin = 'cloud.so'\nconfig = {{ {sink} }}\n"),
    )
    .unwrap();
    project.run(FORWARD).delivered(1, 0);
    let keys: Vec<_> = server.keys("test_results/");
    assert_eq!(keys.len(), 1);
    assert!(server.get(&keys[0]).unwrap() == sealed, "the parts make the file");
    let parts = proxy.seen().iter().filter(|(passing, _)| passing.path.contains("partNumber=")).count();
    assert!(parts >= 3, "{parts} parts");
    assert_eq!(server.open_uploads(), 0);
}

#[test]
fn a_newer_revision_replaces_the_object_or_lies_beside_it() {
    for keep in [false, true] {
        let (project, server) = (Project::new(), S3::start());
        let sink = s3(&format!("s3://{BUCKET}"), &server.endpoint()) + if keep { ", on_revision = 'keep'" } else { "" };
        let toml = format!("[[sink]]\nname = 'o'\nplugin = 'cloud.so'\nconfig = {{ {sink} }}\n");
        fs::write(project.path("litmus-host.toml"), toml).unwrap();
        let run = write(&project.data_dir(), &Plan { aborted: true, ..Plan::new(1, 5) });
        let aborted = fs::read(project.data_dir().join(&run.path)).unwrap();
        project.run(FORWARD).delivered(1, 0);
        let run = write(&project.data_dir(), &Plan { revision: 1, ..Plan::new(1, 7) });
        let ended = fs::read(project.data_dir().join(&run.path)).unwrap();
        project.run(FORWARD).delivered(1, 0);
        let objects: Vec<_> = server.keys("test_results/").iter().map(|key| server.get(key).unwrap()).collect();
        let expected = if keep { vec![aborted, ended] } else { vec![ended] };
        assert_eq!(objects.len(), expected.len());
        assert!(expected.iter().all(|bytes| objects.contains(bytes)), "keep = {keep}");
    }
}

#[test]
fn a_run_waits_for_a_missing_attachment_and_then_goes_without_it() {
    let project = Project::new();
    let root = project.path("objects");
    let toml = format!("[[sink]]\nname = 'o'\nplugin = 'cloud.so'\nconfig = {{ uri = 'file://{}' }}\n", root.display());
    fs::write(project.path("litmus-host.toml"), toml).unwrap();
    // A run without an end: the time of its file counts, and that is now.
    let run = write(&project.data_dir(), &Plan { aborted: true, attachments: vec![10, 20], ..Plan::new(1, 5) });
    let sealed = project.data_dir().join(&run.path);
    let beside = sealed.with_file_name(format!("{}_ref", sealed.file_stem().unwrap().to_str().unwrap()));
    fs::remove_file(beside.join("capture-1.bin")).unwrap();
    let is_run = |path: &std::path::PathBuf| path.extension().is_some_and(|extension| extension == "parquet");
    let ended = project.run(["--config", "litmus-host.toml", "--give-up-after", "1s"]);
    ended.exits(1).says("its attachment file://_ref/capture-1.bin is not there yet").says("the run goes without it");
    assert!(!files(&root).keys().any(is_run), "a run that is there is complete");
    let eleven_minutes_ago = std::time::SystemTime::now() - std::time::Duration::from_mins(11);
    fs::File::options().write(true).open(&sealed).unwrap().set_modified(eleven_minutes_ago).unwrap();
    project.run(FORWARD).delivered(1, 0);
    assert_eq!(files(&root).keys().filter(|path| is_run(path)).count(), 1);
    assert!(files(&root).keys().any(|path| path.ends_with("capture-0.bin")));
    let status = project.run(["status", "--config", "litmus-host.toml", "--format", "json"]);
    assert_eq!(status.json()["sinks"][0]["attachments_missing"], 1, "{status}");
}

#[test]
fn an_object_of_somebody_else_is_never_overwritten() {
    let (project, server) = (Project::new(), S3::start());
    let sink = s3(&format!("s3://{BUCKET}"), &server.endpoint()) + ", key = 'runs/{dut_serial}.parquet'";
    let toml = format!("[[sink]]\nname = 'o'\nplugin = 'cloud.so'\nconfig = {{ {sink} }}\n");
    fs::write(project.path("litmus-host.toml"), toml).unwrap();
    let run = write(&project.data_dir(), &Plan::new(1, 5));
    let key = format!("runs/{}.parquet", run.serial);
    server.put(&key, "somebody's");
    let ended = project.run(["--config", "litmus-host.toml", "--give-up-after", "1"]);
    ended.exits(1).says("lies there, where run").says("hint: a key template with {run_id}");
    assert_eq!(server.get(&key).unwrap(), b"somebody's");
}

#[test]
fn the_plugin_has_no_constructor_and_one_kind_of_tls() {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--locked", "--offline", "-p", "litmus-sink-cloud", "-e", "normal", "--prefix", "none"])
        .current_dir(root())
        .output()
        .unwrap();
    let names = String::from_utf8(output.stdout).unwrap();
    assert!(names.contains("ring v") && names.contains("opendal v"), "{names}");
    for foreign in ["ctor", "inventory", "aws-lc-rs", "aws-lc-sys", "openssl", "openssl-sys", "native-tls"] {
        assert!(!names.lines().any(|line| line.starts_with(&format!("{foreign} v"))), "{foreign}");
    }
}

#[test]
fn the_conformance_suite_passes_against_real_services() {
    for service in ["s3", "azblob"] {
        let suite = Ended::of(
            Command::new(artifacts::folder().join("litmus-conformance"))
                .arg("--plugin")
                .arg(artifacts::plugin("cloud"))
                .arg("--config")
                .arg(root().join(format!("plugins/cloud/conformance-{service}.toml")))
                .arg("--corpus")
                .arg(root().join("tests/corpus")),
        );
        suite.exits(0).says(" 0 failed, ");
    }
}
