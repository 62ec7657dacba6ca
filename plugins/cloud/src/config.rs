//! What the user sets, and what becomes of it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use litmus_core::SinkError;
use opendal::{HttpTransporter, OperationContext};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use crate::folder::Folder;
use crate::key::{self, Template};
use crate::limiter::Limiter;
use crate::remote::Remote;
use crate::services::{self, Place};
use crate::store::Store;
use crate::tags::Tags;
use crate::transport::Transport;

/// Sealed run files as objects of a store, or as files of a folder.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    /// Where: `s3://bucket/prefix`, `gs://bucket/prefix`, `azblob://container/prefix` or `file:///folder`.
    pub(crate) uri: String,
    /// Settings of the service by opendal's own names, such as `region`, `endpoint`, `default_storage_class`. Credentials are
    /// found as the cloud's own tools find them; they can be set here, too.
    #[serde(default)]
    pub(crate) options: BTreeMap<String, Value>,
    /// The key of a run below the prefix: text with fields such as `{dut_serial}`, `{run_id}`, `{date}`, `{store_path}`.
    #[serde(default = "key_default")]
    pub(crate) key: String,
    /// What to do with a newer revision of a run that is there: `replace` it, or `keep` both.
    #[serde(default)]
    pub(crate) on_revision: OnRevision,
    /// Whether the files that a run refers to are sent before it.
    #[serde(default = "yes")]
    pub(crate) attachments: bool,
    /// What an audit goes by: `stat` asks for size and noted sha256, `read` reads every object back and hashes it.
    #[serde(default)]
    pub(crate) audit: AuditBy,
    /// The most requests under way at once; fewer while the service asks to slow down.
    #[serde(default = "concurrency_max_default")]
    #[schemars(range(min = 1, max = 256))]
    pub(crate) concurrency_max: u32,
    /// Files above this size go up in parts of this size, in bytes.
    #[serde(default = "part_bytes_default")]
    #[schemars(range(min = PART_BYTES_MIN, max = PART_BYTES_MAX))]
    pub(crate) part_bytes: usize,
    /// Whether puts say that they must not overwrite. Only for services that refuse such puts: `false`.
    #[serde(default = "yes")]
    pub(crate) create_only: bool,
    /// Tags of every object, at services that have them (S3, Azure).
    #[serde(default)]
    pub(crate) tags: BTreeMap<String, String>,
    /// Certificates in PEM of authorities to be trusted besides the machine's own.
    #[serde(default)]
    pub(crate) ca_file: Option<PathBuf>,
    /// An HTTP proxy; without it `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY` hold.
    #[serde(default)]
    pub(crate) proxy: Option<String>,
}

/// What to do with a newer revision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum OnRevision {
    /// It takes the place of the one that is there.
    #[default]
    Replace,
    /// It goes beside it, under a key with its sha256.
    Keep,
}

/// How an audit looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum AuditBy {
    /// What the store says of the object.
    #[default]
    Stat,
    /// The bytes, read back.
    Read,
}

/// S3 takes no smaller part but the last.
const PART_BYTES_MIN: usize = 5 << 20;
const PART_BYTES_MAX: usize = 64 << 20;

fn key_default() -> String {
    key::DEFAULT.to_owned()
}

const fn yes() -> bool {
    true
}

const fn concurrency_max_default() -> u32 {
    16
}

const fn part_bytes_default() -> usize {
    8 << 20
}

/// The configuration, checked.
pub(crate) struct Settings {
    pub(crate) store: Store,
    /// Before a key: a location.
    pub(crate) uri: String,
    pub(crate) destination: String,
    pub(crate) template: Template,
    pub(crate) on_revision: OnRevision,
    pub(crate) attachments: bool,
    pub(crate) audit: AuditBy,
    pub(crate) concurrency_max: usize,
}

impl TryFrom<Config> for Settings {
    type Error = SinkError;

    fn try_from(config: Config) -> Result<Self, SinkError> {
        let concurrency_max = config.concurrency_max;
        if !(1..=256).contains(&concurrency_max) {
            return Err(SinkError::config(format!(
                "concurrency_max = {concurrency_max} is out of range\nhint: 1 to 256"
            )));
        }
        if !(PART_BYTES_MIN..=PART_BYTES_MAX).contains(&config.part_bytes) {
            return Err(SinkError::config(format!(
                "part_bytes = {} is out of range\nhint: {PART_BYTES_MIN} to {PART_BYTES_MAX}",
                config.part_bytes
            )));
        }
        let options = texts(&config.options)?;
        let place = services::parse(&config.uri)?;
        let prefix_bytes = match &place {
            Place::Folder(_) => 0,
            Place::Bucket { prefix, .. } => prefix.len() + 1,
        };
        let template = Template::parse(&config.key, prefix_bytes)?;
        let (store, uri, destination) = match place {
            Place::Folder(root) => {
                services::refuse_options(&options)?;
                Tags::new("file", &config.tags, &options)?;
                let uri = format!("file://{}/", root.display().to_string().trim_end_matches('/'));
                let destination = uri.trim_end_matches('/').to_owned();
                (Store::Folder(Arc::new(Folder::new(root))), uri, destination)
            }
            Place::Bucket { scheme, name, prefix } => {
                let uri = format!("{scheme}://{name}/{prefix}");
                let uri = if prefix.is_empty() { uri } else { uri + "/" };
                let destination = destination(&uri, &options);
                let operator = services::operator(&scheme, &name, &prefix, &options)?;
                let tags = Tags::new(&scheme, &config.tags, &options)?;
                let limiter = Arc::new(Limiter::new(concurrency_max));
                let transport = Transport::new(
                    config.ca_file.as_deref(),
                    config.proxy.as_deref(),
                    limiter,
                    concurrency_max as usize,
                    tags,
                )?;
                let transport = HttpTransporter::new(transport);
                // What a role is asked for with, opendal fetches by the default transport, of which there is none here; the
                // first one stays.
                HttpTransporter::install_default(transport.clone());
                let context = OperationContext::new().with_http_transport(transport);
                let remote = Remote::new(
                    operator.with_context(context),
                    uri.clone(),
                    config.part_bytes,
                    config.create_only,
                    secrets(&options),
                );
                (Store::Remote(Arc::new(remote)), uri, destination)
            }
        };
        Ok(Self {
            store,
            uri,
            destination,
            template,
            on_revision: config.on_revision,
            attachments: config.attachments,
            audit: config.audit,
            concurrency_max: concurrency_max as usize,
        })
    }
}

/// `s3://bucket/prefix`, and the host where it is not the cloud's own.
fn destination(uri: &str, options: &BTreeMap<String, String>) -> String {
    let uri = uri.trim_end_matches('/');
    match options.get("endpoint") {
        Some(endpoint) => {
            let host = endpoint.split_once("://").map_or(endpoint.as_str(), |(_, rest)| rest);
            let host = host.rsplit_once('@').map_or(host, |(_, host)| host).split(['?', '#']).next().unwrap_or(host);
            format!("{uri}?endpoint={}", host.trim_end_matches('/'))
        }
        None => uri.to_owned(),
    }
}

/// Options as opendal takes them: texts.
fn texts(options: &BTreeMap<String, Value>) -> Result<BTreeMap<String, String>, SinkError> {
    let text = |(key, value): (&String, &Value)| {
        let text = match value {
            Value::String(text) => text.clone(),
            Value::Bool(_) | Value::Number(_) => value.to_string(),
            _ => {
                return Err(SinkError::config(format!(
                    "options: the value of \"{key}\" is no text, number or boolean"
                )));
            }
        };
        Ok((key.clone(), text))
    };
    options.iter().map(text).collect()
}

/// Values that no message may show: every one whose name does not say that it is harmless.
fn secrets(options: &BTreeMap<String, String>) -> Vec<String> {
    let is_secret =
        |name: &str| ["key", "secret", "token", "credential", "password", "sas"].iter().any(|part| name.contains(part));
    options.iter().filter(|(name, value)| is_secret(name) && value.len() >= 4).map(|(_, value)| value.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn settings(config: Value) -> Result<Settings, String> {
        let config: Config = serde_json::from_value(config).map_err(|error| error.to_string())?;
        Settings::try_from(config).map_err(|error| error.to_string())
    }

    #[test]
    fn a_destination_id_has_place_and_endpoint_and_no_secret() {
        let of = |config: Value| settings(config).unwrap().destination;
        assert_eq!(of(json!({"uri": "file:///srv/litmus/"})), "file:///srv/litmus");
        let options = json!({"region": "r", "secret_access_key": "hunter22", "endpoint": "https://me:hunter22@minio:9000/?k=hunter22"});
        assert_eq!(of(json!({"uri": "s3://b/p/", "options": options})), "s3://b/p?endpoint=minio:9000");
        assert_eq!(of(json!({"uri": "s3://b", "options": {"region": "r"}})), "s3://b");
    }

    #[test]
    fn what_cannot_work_is_refused_with_a_hint() {
        for (config, said) in [
            (json!({"uri": "file:///x", "options": {"region": "r"}}), "file:// knows no options"),
            (json!({"uri": "s3://b", "options": {"region": ["r"]}}), "\"region\" is no text"),
            (json!({"uri": "file:///x", "concurrency_max": 0}), "hint: 1 to 256"),
            (json!({"uri": "file:///x", "part_bytes": 1}), "hint: 5242880"),
            (json!({"uri": "file:///x", "key": "same"}), "hint: a template"),
            (json!({"uri": "file:///x", "on_revision": "drop"}), "replace"),
            (json!({"uri": "file:///x", "ca_fil": "x"}), "ca_file"),
            (json!({"uri": "file:///x", "tags": {"a": "b"}}), "hint: s3:// and azblob:// have them"),
            (
                json!({"uri": "s3://b", "options": {"region": "r"}, "ca_file": "/nowhere.pem"}),
                "hint: a file of certificates",
            ),
            (json!({"uri": "s3://b", "options": {"region": "r"}, "proxy": "::hunter2"}), "proxy is no address"),
        ] {
            let error = settings(config).map(|_| ()).unwrap_err();
            assert!(error.contains(said) && !error.contains("hunter2"), "{error}");
        }
    }
}
