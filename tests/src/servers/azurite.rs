//! Azure Blob Storage of a test's own: Azurite. It checks signatures; the client of the tests is a few lines of Python's own
//! library (`azure.py`), so that nothing of ours reads what ours has written.

use std::fs::File;
use std::process::{Child, Command, Stdio};

use rustix::process::Signal;

use super::s3::{elements, encoded};
use super::{PATIENCE, end, free_port, program, tail, wait_for_port};
use crate::project::wait_until;

/// The account that Azurite knows, as its documentation prints it.
pub const ACCOUNT: &str = "devstoreaccount1";
/// Its key, as well known.
pub const KEY: &str = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";
/// The container that is there from the start.
pub const CONTAINER: &str = "runs";
pub(super) const CLIENT: &str = include_str!("azure.py");

/// A running server; ended when dropped.
pub struct Azurite {
    /// It outlives the server's last line.
    folder: tempfile::TempDir,
    port: u16,
    child: Option<Child>,
}

impl Azurite {
    /// A fresh one with an empty container.
    pub fn start() -> Self {
        let folder = tempfile::Builder::new().prefix("litmus-azurite-").tempdir().expect("a temporary folder");
        let mut server = Self { folder, port: free_port(), child: None };
        server.up();
        server.request("PUT", CONTAINER, "restype=container").expect("a container is made");
        server
    }

    /// Starts it, again after [`Self::kill`], on the same port and folder.
    pub fn up(&mut self) {
        let log = self.folder.path().join("log");
        let file = File::options().create(true).append(true).open(&log).expect("the folder is ours");
        let azurite =
            program("azurite-blob", "azurite", &["node_modules/.bin"]).unwrap_or_else(|error| panic!("{error}"));
        let mut command = Command::new(azurite);
        let port = self.port.to_string();
        command.args(["--blobHost", "127.0.0.1", "--blobPort", &port, "--skipApiVersionCheck", "-l"]);
        command.arg(self.folder.path().join("data")).stdin(Stdio::null());
        command.stdout(file.try_clone().expect("a descriptor")).stderr(file);
        let mut child = command.spawn().expect("azurite runs");
        let ready = wait_for_port(&mut child, self.port);
        self.child = Some(child);
        ready.unwrap_or_else(|why| panic!("azurite: {why}\n{}", tail(&log)));
    }

    /// kill -9. What it had in memory only is gone: it writes its index every five seconds.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("a child of ours");
            child.wait().expect("a child of ours");
        }
    }

    /// Waits until its index on disk has this text, so that a kill does not lose it.
    pub fn has_written(&self, text: &str) {
        let index = self.folder.path().join("data/__azurite_db_blob__.json");
        let has = || std::fs::read_to_string(&index).is_ok_and(|index| index.contains(text));
        assert!(wait_until(PATIENCE, has), "azurite did not write {text} to its index");
    }

    /// On 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// `http://127.0.0.1:PORT/devstoreaccount1`.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}/{ACCOUNT}", self.port)
    }

    /// A blob's bytes; `None` where there is none.
    pub fn get(&self, key: &str) -> Option<Vec<u8>> {
        self.request("GET", &format!("{CONTAINER}/{}", encoded(key)), "").ok()
    }

    /// Every key below a prefix; pages of Azurite hold 5,000.
    pub fn keys(&self, prefix: &str) -> Vec<String> {
        let query = format!("comp=list&prefix={}&restype=container", encoded(prefix));
        let text = self.request("GET", CONTAINER, &query).expect("a listing");
        elements(&String::from_utf8_lossy(&text), "Name")
    }

    fn request(&self, method: &str, path: &str, query: &str) -> Result<Vec<u8>, String> {
        let output = Command::new("python3")
            .args(["-c", CLIENT, &self.endpoint(), ACCOUNT, KEY, method, path, query])
            .output()
            .expect("python3 runs");
        let error = || String::from_utf8_lossy(&output.stderr).into_owned();
        if output.status.success() { Ok(output.stdout) } else { Err(error()) }
    }
}

impl Drop for Azurite {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            end(&mut child, Signal::TERM).ok();
        }
    }
}
