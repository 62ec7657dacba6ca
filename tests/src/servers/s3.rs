//! An S3 server of a test's own: moto, which keeps metadata and knows conditional puts. It checks no signature; tests of
//! wrong credentials put a [`super::Proxy`] before it.

use std::collections::BTreeMap;
use std::fs::File;
use std::process::{Child, Command, Stdio};

use rustix::process::Signal;

use super::certificates::Certificate;
use super::{end, free_port, program, tail, unpacked, wait};

/// Its folder in `target/servers`.
const PACKAGE: &str = "moto";
/// The bucket that is there from the start.
pub const BUCKET: &str = "runs";

/// It comes along with moto.
const BOTO3: &str = r#"
import boto3, hashlib, json, sys
endpoint, bucket, prefix = sys.argv[1:]
client = boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1", aws_access_key_id="K", aws_secret_access_key="S")
pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
keys = [entry["Key"] for page in pages for entry in page.get("Contents", [])]
fetched = {key: client.get_object(Bucket=bucket, Key=key)["Body"].read() for key in keys}
print(json.dumps({key: hashlib.sha256(body).hexdigest() for key, body in fetched.items()}))
"#;

/// A running server; ended when dropped.
pub struct S3 {
    /// It outlives the server's last line.
    _folder: tempfile::TempDir,
    scheme: &'static str,
    port: u16,
    child: Child,
}

impl S3 {
    /// A fresh one with an empty bucket.
    pub fn start() -> Self {
        Self::start_with(None)
    }

    /// The same over TLS.
    pub fn start_tls(certificate: &Certificate) -> Self {
        Self::start_with(Some(certificate))
    }

    fn start_with(certificate: Option<&Certificate>) -> Self {
        let folder = tempfile::Builder::new().prefix("litmus-s3-").tempdir().expect("a temporary folder");
        let log = folder.path().join("log");
        let file = File::create(&log).expect("the folder is ours");
        let port = free_port();
        let moto = program("moto_server", PACKAGE, &["bin"]).unwrap_or_else(|error| panic!("{error}"));
        let mut command = Command::new(moto);
        command.args(["-H", "127.0.0.1", "-p", &port.to_string()]).stdin(Stdio::null()).current_dir(folder.path());
        command.stdout(file.try_clone().expect("a descriptor")).stderr(file);
        let packages = unpacked().join(PACKAGE);
        if packages.is_dir() {
            command.env("PYTHONPATH", packages);
        }
        if let Some(Certificate { cert_file, key_file }) = certificate {
            command.arg("--ssl-cert").arg(cert_file).arg("--ssl-key").arg(key_file);
        }
        let scheme = if certificate.is_some() { "https" } else { "http" };
        let mut child = command.spawn().expect("moto runs");
        let there = format!("{scheme}://127.0.0.1:{port}/moto-api/");
        let answers = || Command::new("curl").args(["-skf", &there]).output();
        let ready = wait(&mut child, || answers().is_ok_and(|output| output.status.success()));
        let server = Self { _folder: folder, scheme, port, child };
        ready.unwrap_or_else(|why| panic!("moto: {why}\n{}", tail(&log)));
        server.curl(&["-X", "PUT"], &format!("/{BUCKET}"));
        server
    }

    /// On 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// `http://127.0.0.1:PORT`, or `https`.
    pub fn endpoint(&self) -> String {
        format!("{}://127.0.0.1:{}", self.scheme, self.port)
    }

    /// An object's bytes, fetched by curl; `None` where there is none.
    pub fn get(&self, key: &str) -> Option<Vec<u8>> {
        let output = self.command(&["-f"], &format!("/{BUCKET}/{}", encoded(key))).output().expect("curl runs");
        output.status.success().then_some(output.stdout)
    }

    /// An object's headers, in lower case.
    pub fn head(&self, key: &str) -> String {
        self.curl(&["-I"], &format!("/{BUCKET}/{}", encoded(key))).to_lowercase()
    }

    /// Puts an object as somebody else would.
    pub fn put(&self, key: &str, body: &str) {
        let arguments = ["-X", "PUT", "-H", "content-type: text/plain", "--data-binary", body];
        self.curl(&arguments, &format!("/{BUCKET}/{}", encoded(key)));
    }

    /// Removes an object.
    pub fn delete(&self, key: &str) {
        self.curl(&["-X", "DELETE"], &format!("/{BUCKET}/{}", encoded(key)));
    }

    /// An object's tags, name and value.
    pub fn tags(&self, key: &str) -> Vec<(String, String)> {
        let text = self.curl(&[], &format!("/{BUCKET}/{}?tagging", encoded(key)));
        elements(&text, "Key").into_iter().zip(elements(&text, "Value")).collect()
    }

    /// The sha256 of every object below a prefix, as boto3 fetches it: the client that most users have.
    pub fn fetched_by_boto3(&self, prefix: &str) -> BTreeMap<String, String> {
        let mut command = Command::new("python3");
        command.args(["-c", BOTO3, &self.endpoint(), BUCKET, prefix]);
        let packages = unpacked().join(PACKAGE);
        if packages.is_dir() {
            command.env("PYTHONPATH", packages);
        }
        let output = command.output().expect("python3 runs");
        assert!(output.status.success(), "boto3: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).expect("its answer is JSON")
    }

    /// Every key below a prefix.
    pub fn keys(&self, prefix: &str) -> Vec<String> {
        let mut keys = Vec::new();
        let mut after = String::new();
        loop {
            let query = format!("/{BUCKET}?list-type=2&prefix={}&start-after={}", encoded(prefix), encoded(&after));
            let text = self.curl(&[], &query);
            let page: Vec<_> = elements(&text, "Key");
            let Some(last) = page.last().cloned() else { return keys };
            keys.extend(page);
            after = last;
        }
    }

    /// Uploads in parts that were begun and neither completed nor aborted.
    pub fn open_uploads(&self) -> usize {
        elements(&self.curl(&[], &format!("/{BUCKET}?uploads")), "UploadId").len()
    }

    fn command(&self, arguments: &[&str], path: &str) -> Command {
        let mut command = Command::new("curl");
        command.args(["-ksS", "--aws-sigv4", "aws:amz:us-east-1:s3", "--user", "K:S"]).args(arguments);
        command.arg(format!("{}{path}", self.endpoint()));
        command
    }

    fn curl(&self, arguments: &[&str], path: &str) -> String {
        let output = self.command(arguments, path).output().expect("curl runs");
        assert!(output.status.success(), "curl {path}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

impl Drop for S3 {
    fn drop(&mut self) {
        end(&mut self.child, Signal::TERM).ok();
    }
}

/// The texts of an XML element.
pub(super) fn elements(text: &str, name: &str) -> Vec<String> {
    let (open, close) = (format!("<{name}>"), format!("</{name}>"));
    text.split(&open).skip(1).filter_map(|rest| Some(rest.split_once(&close)?.0.to_owned())).collect()
}

/// A key in a path or a query.
pub(super) fn encoded(key: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./~".contains(&byte);
    let mut text = String::new();
    for byte in key.bytes() {
        if plain(byte) {
            text.push(char::from(byte));
        } else {
            text.push('%');
            text.extend([byte >> 4, byte & 15].map(|half| char::from(b"0123456789ABCDEF"[usize::from(half)])));
        }
    }
    text
}
