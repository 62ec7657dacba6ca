//! The corpus as objects: what must lie at a destination of the cloud sink, and a look whether it does.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::corpus::Source;
use crate::project::Project;

/// Writes a configuration with these data dirs and a cloud sink, given as TOML.
pub fn configure(project: &Project, sources: &[Source], sink: &str) {
    let store = |source: &Source| {
        let path = fs::canonicalize(&source.data_dir).expect("a data dir");
        format!("[[store]]\nname = '{}'\npath = '{}'\n", source.name.replace('/', "-"), path.display())
    };
    let sink = format!("[[sink]]\nname = 'objects'\nplugin = 'cloud.so'\nconfig = {{ {sink} }}\n");
    let toml = sources.iter().map(store).chain([sink]).collect::<Vec<_>>().join("\n");
    fs::write(project.path("litmus-host.toml"), toml).expect("a configuration");
}

/// How a test's S3 server is reached.
pub fn s3(uri: &str, endpoint: &str) -> String {
    s3_with(uri, endpoint, "")
}

/// The same with more options.
pub fn s3_with(uri: &str, endpoint: &str, options: &str) -> String {
    let comma = if options.is_empty() { "" } else { ", " };
    format!(
        "uri = '{uri}', options = {{ endpoint = '{endpoint}', region = 'us-east-1', access_key_id = 'K', secret_access_key = 'S3CRET-KEY', disable_config_load = true, disable_ec2_metadata = true{comma}{options} }}"
    )
}

/// Panics unless every run file of these sources lies there as one object of the default template, byte for byte, with the
/// files that it refers to, and nothing else.
#[track_caller]
pub fn assert_whole(sources: &[Source], keys: &[String], get: impl Fn(&str) -> Option<Vec<u8>>) {
    let mut left: Vec<&String> = keys.iter().filter(|key| !key.contains(".litmus/")).collect();
    for source in sources {
        for (path, file) in &source.files {
            let end = format!("/{}.parquet", file.run_id);
            let at: Vec<_> = left.iter().copied().filter(|key| key.ends_with(&end)).cloned().collect();
            assert_eq!(at.len(), 1, "{} {path} lies at {at:?}", source.name);
            assert!(at[0].contains("test_results/"), "{}", at[0]);
            let sealed = fs::read(source.data_dir.join(path)).expect("a sealed file");
            let there = get(&at[0]).unwrap_or_else(|| panic!("{} is listed and cannot be fetched", at[0]));
            assert!(there == sealed, "{}: {} bytes there, {} sealed", at[0], there.len(), sealed.len());
            left.retain(|key| **key != at[0]);
        }
    }
    let attached: BTreeMap<PathBuf, Vec<u8>> =
        sources.iter().flat_map(|source| files(&source.data_dir)).filter(|(path, _)| !is_run(path)).collect();
    assert!(attached.len() > 10, "the corpus has attachments");
    let mut seen = 0;
    for key in left {
        let (_, tail) = key.split_once("_ref/").or_else(|| key.split_once("_files/")).unwrap_or_else(|| {
            panic!("{key} is neither a run nor an attachment");
        });
        let there = get(key).unwrap_or_else(|| panic!("{key} is listed and cannot be fetched"));
        let same = attached.iter().any(|(path, bytes)| path.ends_with(Path::new(tail)) && *bytes == there);
        assert!(same, "{key} is no file of the corpus");
        seen += 1;
    }
    assert!(seen > 10, "{seen} attachments are there");
}

fn is_run(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "parquet")
}

/// Every file below a folder.
pub fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten() {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.insert(path.clone(), fs::read(&path).expect("a readable file"));
            }
        }
    }
    found
}

/// The files of a folder destination by key.
pub fn keys_of_folder(root: &Path) -> Vec<String> {
    let key = |path: &PathBuf| path.strip_prefix(root).expect("below it").to_str().expect("UTF-8").to_owned();
    files(root).keys().map(key).collect()
}
