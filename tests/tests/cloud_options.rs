//! What a plant's network and rules ask of the cloud sink: its own authorities, a proxy, the addressing of other stores,
//! storage classes, encryption, tags, and memory that does not grow with the files.

use std::fs;
use std::time::Duration;

use litmus_tests::generate::{Plan, write};
use litmus_tests::objects::{files, s3, s3_with};
use litmus_tests::project::{Ended, Project, Running, wait_until};
use litmus_tests::rewrite;
use litmus_tests::servers::certificates::Authority;
use litmus_tests::servers::syslog::GOOD_YEARS;
use litmus_tests::servers::{ACCOUNT, Azurite, BUCKET, CONTAINER, Fate, KEY, Proxy, S3};

/// Forwards into one sink.
fn forward(project: &Project, sink: &str) -> Ended {
    let toml = format!("[[sink]]\nname = 'o'\nplugin = 'cloud.so'\nconfig = {{ {sink} }}\n");
    fs::write(project.path("litmus-host.toml"), toml).unwrap();
    project.run(["--config", "litmus-host.toml", "--give-up-after", "2s"])
}

/// Panics unless what goes through the proxy with these options, once whole and once in parts, carries this header and
/// no other request of an object does.
#[track_caller]
fn carries(options: &str, header: &str) -> (S3, Vec<String>) {
    let (project, server) = (Project::new(), S3::start());
    let proxy = Proxy::before(server.port(), |_| Fate::Forward);
    write(&project.data_dir(), &Plan::new(1, 5));
    write(&project.data_dir(), &Plan { trace_bytes: 4096, ..Plan::new(2, 2000) });
    let sink = s3_with(&format!("s3://{BUCKET}"), &proxy.endpoint(), options) + ", part_bytes = 5242880";
    forward(&project, &sink).exits(0);
    let seen = proxy.seen();
    let begins = |(passing, _): &&(litmus_tests::servers::Passing, Fate)| {
        let is_of_a_run = passing.path.contains("test_results");
        is_of_a_run && (passing.method == "PUT" && !passing.path.contains('?') || passing.path.contains("?uploads"))
    };
    let begun: Vec<_> = seen.iter().filter(begins).collect();
    assert_eq!(begun.len(), 2, "one whole, one in parts");
    for (passing, _) in begun {
        assert!(passing.head.to_lowercase().contains(&header.to_lowercase()), "{}", passing.head);
    }
    let keys = server.keys("test_results/");
    assert_eq!(keys.len(), 2);
    (server, keys)
}

#[test]
fn an_authority_of_the_plants_own_is_trusted_where_it_is_set() {
    let project = Project::new();
    let authority = Authority::new(project.path("").as_path());
    let server = S3::start_tls(&authority.sign("127.0.0.1", GOOD_YEARS));
    write(&project.data_dir(), &Plan::new(1, 5));
    let sink = s3(&format!("s3://{BUCKET}"), &server.endpoint());
    let refused = forward(&project, &sink);
    refused.exits(1).says("certificate").says("hint: set ca_file");
    assert!(server.keys("test_results/").is_empty());
    forward(&project, &format!("{sink}, ca_file = '{}'", authority.ca_file().display())).exits(0);
    assert_eq!(server.keys("test_results/").len(), 1);
}

#[test]
fn everything_goes_through_the_proxy_that_is_set() {
    let (project, server) = (Project::new(), S3::start());
    let proxy = Proxy::before(server.port(), |_| Fate::Forward);
    write(&project.data_dir(), &Plan::new(1, 5));
    // Nobody listens there: what arrives came through the proxy.
    let sink = s3(&format!("s3://{BUCKET}"), "http://127.0.0.1:1");
    forward(&project, &format!("{sink}, proxy = '{}'", proxy.endpoint())).exits(0);
    assert_eq!(server.keys("test_results/").len(), 1);
    assert!(proxy.seen().iter().all(|(passing, _)| passing.path.starts_with("http://127.0.0.1:1/")));
}

#[test]
fn the_password_of_a_proxy_is_in_no_message() {
    let project = Project::new();
    write(&project.data_dir(), &Plan::new(1, 5));
    let sink = s3(&format!("s3://{BUCKET}"), "https://127.0.0.1:1");
    let ended = forward(&project, &format!("{sink}, proxy = 'http://me:Hunter22@127.0.0.1:1'"));
    ended.exits(1);
    assert!(!ended.stdout.contains("Hunter22") && !ended.stderr.contains("Hunter22"), "{ended}");
}

#[test]
fn a_signature_in_an_address_is_in_no_message() {
    let project = Project::new();
    write(&project.data_dir(), &Plan::new(1, 5));
    let options = format!(
        "endpoint = 'http://127.0.0.1:1/{ACCOUNT}', account_name = '{ACCOUNT}', sas_token = 'sv=2022-11-02&sp=rwl&sig=Hunter22%2Bx%3D'"
    );
    let ended = forward(&project, &format!("uri = 'azblob://{CONTAINER}', options = {{ {options} }}"));
    ended.exits(1);
    assert!(!ended.stdout.contains("Hunter22") && !ended.stderr.contains("Hunter22"), "{ended}");
}

#[test]
fn a_bucket_can_be_part_of_the_hosts_name() {
    let (project, server) = (Project::new(), S3::start());
    let proxy = Proxy::before(server.port(), |_| Fate::Forward);
    write(&project.data_dir(), &Plan::new(1, 5));
    let options = "enable_virtual_host_style = true";
    let sink = s3_with(&format!("s3://{BUCKET}"), "http://store.test", options);
    forward(&project, &format!("{sink}, proxy = '{}'", proxy.endpoint())).exits(0);
    assert_eq!(server.keys("test_results/").len(), 1);
    let host = format!("http://{BUCKET}.store.test/");
    assert!(proxy.seen().iter().all(|(passing, _)| passing.path.starts_with(&host)));
}

#[test]
fn objects_get_the_storage_class_that_is_set() {
    let (server, keys) = carries("default_storage_class = 'STANDARD_IA'", "x-amz-storage-class: STANDARD_IA\r\n");
    for key in keys {
        assert!(server.head(&key).contains("x-amz-storage-class: standard_ia"), "{key}");
    }
}

#[test]
fn objects_are_encrypted_by_the_server_as_set() {
    let (server, keys) = carries(
        "server_side_encryption = 'aws:kms', server_side_encryption_aws_kms_key_id = 'plant-key'",
        "x-amz-server-side-encryption: aws:kms\r\n",
    );
    for key in keys {
        assert!(server.head(&key).contains("x-amz-server-side-encryption-aws-kms-key-id: plant-key"), "{key}");
    }
}

#[test]
fn objects_have_the_tags_that_are_set() {
    let (project, server) = (Project::new(), S3::start());
    let proxy = Proxy::before(server.port(), |_| Fate::Forward);
    write(&project.data_dir(), &Plan::new(1, 5));
    write(&project.data_dir(), &Plan { trace_bytes: 4096, attachments: vec![9], ..Plan::new(2, 2000) });
    let tags = "tags = { plant = 'Köln', 'cost center' = '4711/b' }";
    let sink = s3(&format!("s3://{BUCKET}"), &proxy.endpoint()) + ", part_bytes = 5242880, " + tags;
    forward(&project, &sink).exits(0);
    let keys = server.keys("test_results/");
    assert_eq!(keys.len(), 3);
    for key in keys {
        let expected = [("cost center", "4711/b"), ("plant", "Köln")];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(server.tags(&key), expected, "{key}");
    }
    // A store that checks refuses a header of Amazon's own that no signature covers.
    for (passing, _) in proxy.seen().iter().filter(|(passing, _)| passing.head.contains("x-amz-tagging: ")) {
        let signed = passing.head.split("SignedHeaders=").nth(1).and_then(|rest| rest.split(',').next());
        assert!(signed.is_some_and(|signed| signed.contains("x-amz-tagging")), "{}", passing.head);
        assert_eq!(passing.head.matches("authorization: ").count(), 1, "{}", passing.head);
    }
}

#[test]
fn azures_signatures_cover_tags() {
    let (project, server) = (Project::new(), Azurite::start());
    let proxy = Proxy::before(server.port(), |_| Fate::Forward);
    write(&project.data_dir(), &Plan::new(1, 5));
    write(&project.data_dir(), &Plan { trace_bytes: 4096, ..Plan::new(2, 2000) });
    let options =
        format!("endpoint = '{}/{ACCOUNT}', account_name = '{ACCOUNT}', account_key = '{KEY}'", proxy.endpoint());
    let sink =
        format!("uri = 'azblob://{CONTAINER}', options = {{ {options} }}, part_bytes = 5242880, tags = {{ a = 'b' }}");
    forward(&project, &sink).exits(0);
    assert_eq!(server.keys("test_results/").len(), 2);
    let seen = proxy.seen();
    let tagged = seen.iter().filter(|(passing, _)| passing.head.contains("x-ms-tags: a=b\r\n"));
    // The identity of the destination, a whole object, and the list of blocks of the other.
    assert_eq!(tagged.count(), 3);
}

#[test]
fn a_role_is_asked_for_through_the_proxy_that_is_set() {
    let project = Project::new();
    write(&project.data_dir(), &Plan::new(1, 5));
    let refuses = |_: &litmus_tests::servers::Passing| Fate::Answer(403, String::new(), String::new());
    let proxy = Proxy::before(1, refuses);
    let sink =
        s3_with(&format!("s3://{BUCKET}"), "http://127.0.0.1:1", "role_arn = 'arn:aws:iam::123456789012:role/bench'");
    forward(&project, &format!("{sink}, proxy = '{}'", proxy.endpoint())).exits(1);
    let asked: Vec<_> = proxy.seen().into_iter().map(|(passing, _)| passing.path).collect();
    assert!(asked.iter().any(|path| path.starts_with("sts.us-east-1.amazonaws.com")), "{asked:?}");
}

#[test]
fn a_wrong_key_is_an_auth_error_of_a_server_that_checks() {
    let (project, server) = (Project::new(), Azurite::start());
    write(&project.data_dir(), &Plan::new(1, 5));
    let options =
        format!("endpoint = '{}', account_name = '{ACCOUNT}', account_key = 'd3Jvbmcga2V5'", server.endpoint());
    let ended = forward(&project, &format!("uri = 'azblob://{CONTAINER}', options = {{ {options} }}"));
    ended.exits(1).says("auth").says("403").says("hint: the credentials need");
    assert!(!ended.stderr.contains("d3Jvbmcga2V5") && !ended.stdout.contains("d3Jvbmcga2V5"), "{ended}");
}

#[test]
fn memory_does_not_grow_with_the_files() {
    /// 16 large files at once, or one of a gigabyte, must fit: docs/performance.md has that one.
    const RESIDENT_KB_MAX: u64 = 150 << 10;
    let project = Project::new();
    let attachments = vec![120 << 20, 1 << 20];
    write(&project.data_dir(), &Plan { trace_bytes: 4096, attachments, ..Plan::new(1, 60_000) });
    let root = project.path("objects");
    let toml = format!("[[sink]]\nname = 'o'\nplugin = 'cloud.so'\nconfig = {{ uri = 'file://{}' }}\n", root.display());
    fs::write(project.path("litmus-host.toml"), toml).unwrap();
    let server = S3::start();
    for sink in [format!("uri = 'file://{}'", root.display()), s3(&format!("s3://{BUCKET}"), &server.endpoint())] {
        let toml = format!("[[sink]]\nname = 'o'\nplugin = 'cloud.so'\nconfig = {{ {sink} }}\n");
        fs::write(project.path("litmus-host.toml"), toml).unwrap();
        let mut running = Running::start(&project, &mut project.command(["--config", "litmus-host.toml"]));
        let status = format!("/proc/{}/status", running.id());
        let mut resident_kb = 0;
        let ended = wait_until(Duration::from_mins(3), || {
            let status = fs::read_to_string(&status).unwrap_or_default();
            let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
            let peak = peak.and_then(|peak| peak.trim().trim_end_matches(" kB").parse::<u64>().ok());
            resident_kb = peak.unwrap_or(resident_kb);
            running.wait(Duration::ZERO).is_some()
        });
        assert!(ended && running.wait(Duration::ZERO).is_some_and(|status| status.success()), "{sink}");
        println!("{resident_kb} kB at most: {sink}");
        assert!((1..RESIDENT_KB_MAX).contains(&resident_kb), "{resident_kb} kB: {sink}");
    }
    let sealed: Vec<_> = files(&project.data_dir()).into_values().collect();
    assert!(sealed.iter().any(|bytes| bytes.len() > 200 << 20), "a test of large files needs one");
    assert!(files(&root.join("test_results")).into_values().all(|bytes| sealed.contains(&bytes)));
    let keys = server.keys("test_results/");
    assert_eq!(keys.len(), sealed.len());
    assert!(keys.iter().all(|key| sealed.contains(&server.get(key).unwrap())));
}

#[test]
fn a_run_whose_key_no_file_can_have_holds_up_no_other() {
    let project = Project::new();
    let run = write(&project.data_dir(), &Plan::new(1, 5));
    let long = "x".repeat(160);
    let other = project.data_dir().join("runs/2026-06-01/long.parquet");
    let texts = [("run_id", "0b54660c-1111-4222-8333-123456789abc"), ("dut_serial", &long), ("dut_lot_number", &long)];
    rewrite::with_texts(&project.data_dir().join(&run.path), &other, &texts);
    let root = project.path("objects");
    let sink =
        format!("uri = 'file://{}', key = '{{dut_serial}}-{{dut_lot_number}}-{{run_id}}.parquet'", root.display());
    forward(&project, &sink)
        .exits(1)
        .says("File name too long")
        .says("hint: a name can have 255 bytes")
        .says("quarantined");
    assert_eq!(files(&root).into_keys().filter(|path| !path.starts_with(root.join(".litmus"))).count(), 1);
}
