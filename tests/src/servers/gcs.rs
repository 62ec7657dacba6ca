//! Google Cloud Storage of a test's own: gcp-storage-emulator. It checks no token, and does not look at the conditions of
//! puts: what only the conditions guarantee is tested with the other servers.

use std::fs::File;
use std::process::{Child, Command, Stdio};

use rustix::process::Signal;

use super::s3::encoded;
use super::{end, free_port, program, tail, unpacked, wait_for_port};

/// Its folder in `target/servers`.
const PACKAGE: &str = "gcp-storage-emulator";
/// The bucket that is there from the start.
const BUCKET: &str = "runs";

/// A running server; ended when dropped.
pub struct Gcs {
    folder: tempfile::TempDir,
    port: u16,
    child: Child,
}

impl Gcs {
    /// A fresh one with the empty bucket `runs`.
    pub fn start() -> Self {
        let folder = tempfile::Builder::new().prefix("litmus-gcs-").tempdir().expect("a temporary folder");
        let log = folder.path().join("log");
        let file = File::create(&log).expect("the folder is ours");
        let port = free_port();
        let emulator = program("gcp-storage-emulator", PACKAGE, &["bin"]).unwrap_or_else(|error| panic!("{error}"));
        let mut command = Command::new(emulator);
        command.args(["start", "--host=127.0.0.1", &format!("--port={port}"), "--in-memory"]);
        command.args([&format!("--default-bucket={BUCKET}")]).stdin(Stdio::null()).current_dir(folder.path());
        command.stdout(file.try_clone().expect("a descriptor")).stderr(file);
        let packages = unpacked().join(PACKAGE);
        if packages.is_dir() {
            command.env("PYTHONPATH", packages);
        }
        let mut child = command.spawn().expect("the emulator runs");
        let ready = wait_for_port(&mut child, port);
        let server = Self { folder, port, child };
        ready.unwrap_or_else(|why| panic!("gcp-storage-emulator: {why}\n{}", tail(&log)));
        server
    }

    /// `http://127.0.0.1:PORT`.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// An object's bytes, fetched by curl; `None` where there is none.
    pub fn get(&self, key: &str) -> Option<Vec<u8>> {
        self.curl(&format!("/storage/v1/b/{BUCKET}/o/{}?alt=media", encoded(key).replace('/', "%2F")))
    }

    /// Every key.
    pub fn keys(&self) -> Vec<String> {
        let text = self.curl(&format!("/storage/v1/b/{BUCKET}/o")).expect("a listing");
        let listing: serde_json::Value = serde_json::from_slice(&text).expect("a listing is JSON");
        assert!(listing["nextPageToken"].is_null(), "the emulator lists in one page");
        let items = listing["items"].as_array().into_iter().flatten();
        items.map(|item| item["name"].as_str().expect("a name").to_owned()).collect()
    }

    fn curl(&self, path: &str) -> Option<Vec<u8>> {
        let output = Command::new("curl").args(["-sf", &format!("{}{path}", self.endpoint())]).output();
        let output = output.expect("curl runs");
        output.status.success().then_some(output.stdout)
    }
}

impl Drop for Gcs {
    fn drop(&mut self) {
        end(&mut self.child, Signal::TERM).ok();
        // The folder outlives the server's last line.
        self.folder.path();
    }
}
