//! Which stores are built in, and how one is opened from a URI and options.

use std::collections::BTreeMap;
use std::path::PathBuf;

use litmus_core::SinkError;
use opendal::{Configurator, Operator};
use serde::Serialize;

/// `scheme://name/prefix`, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// `file:///folder`.
    Folder(PathBuf),
    /// A bucket or container.
    Bucket {
        scheme: String,
        name: String,
        /// Without `/` at either end.
        prefix: String,
    },
}

macro_rules! services {
    ($($feature:literal $scheme:literal $config:ident $bucket:literal;)*) => {
        /// The schemes that are built in.
        fn built_in() -> Vec<&'static str> {
            let mut schemes = vec!["file"];
            $(#[cfg(feature = $feature)] schemes.push($scheme);)*
            schemes
        }

        /// The operator of a bucket. `options` go by opendal's own names.
        pub(crate) fn operator(
            scheme: &str,
            name: &str,
            prefix: &str,
            options: &BTreeMap<String, String>,
        ) -> Result<Operator, SinkError> {
            match scheme {
                $(#[cfg(feature = $feature)]
                $scheme => build::<opendal::services::$config>(scheme, $bucket, name, prefix, options),)*
                other => Err(unknown(other)),
            }
        }
    };
}

services! {
    "s3" "s3" S3Config "bucket";
    "gcs" "gs" GcsConfig "bucket";
    "azblob" "azblob" AzblobConfig "container";
    "azdls" "azdls" AzdlsConfig "filesystem";
    "b2" "b2" B2Config "bucket";
    "cos" "cos" CosConfig "bucket";
    "obs" "obs" ObsConfig "bucket";
    "oss" "oss" OssConfig "bucket";
    "swift" "swift" SwiftConfig "container";
    "webdav" "webdav" WebdavConfig "endpoint";
}

/// Takes a URI apart.
pub(crate) fn parse(uri: &str) -> Result<Place, SinkError> {
    let example = "hint: uri = \"s3://bucket/prefix\", \"gs://bucket/prefix\", \"azblob://container/prefix\" or \"file:///folder\"";
    // What has an `@` in it may be a password.
    let shown = if uri.contains('@') { "…" } else { uri };
    let wrong = |why: &str| SinkError::config(format!("uri = \"{}\": {why}\n{example}", shown.escape_debug()));
    let (scheme, rest) = uri.split_once("://").ok_or_else(|| wrong("there is no scheme"))?;
    if rest.contains(['?', '#', '@']) || rest.chars().any(char::is_control) {
        return Err(wrong("it has a character with a meaning of its own in URIs; settings go into options"));
    }
    if scheme == "file" {
        if !rest.starts_with('/') || rest.split('/').any(|part| part == "..") {
            return Err(wrong("the folder is an absolute path, as in file:///srv/litmus"));
        }
        return Ok(Place::Folder(PathBuf::from(rest).components().collect()));
    }
    if !built_in().contains(&scheme) {
        return Err(unknown(scheme));
    }
    let (name, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    if name.is_empty() {
        return Err(wrong("it names no bucket"));
    }
    let prefix = prefix.trim_matches('/');
    if !prefix.is_empty() && prefix.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Err(wrong("a part of its prefix is empty, \".\" or \"..\""));
    }
    Ok(Place::Bucket { scheme: scheme.to_owned(), name: name.to_owned(), prefix: prefix.to_owned() })
}

fn unknown(scheme: &str) -> SinkError {
    SinkError::config(format!(
        "uri: \"{scheme}://\" is not built in; there are {}\nhint: docs/sinks/cloud.md says how to build with more services",
        built_in().iter().map(|scheme| format!("{scheme}://")).collect::<Vec<_>>().join(", ")
    ))
}

/// Options of `file://`: there are none.
pub(crate) fn refuse_options(options: &BTreeMap<String, String>) -> Result<(), SinkError> {
    match options.keys().next() {
        None => Ok(()),
        Some(key) => Err(SinkError::config(format!("options: file:// knows no options, and so not \"{key}\""))),
    }
}

fn build<C: Configurator + Serialize + Default>(
    scheme: &str,
    bucket: &str,
    name: &str,
    prefix: &str,
    options: &BTreeMap<String, String>,
) -> Result<Operator, SinkError> {
    let known = serde_json::to_value(C::default()).unwrap_or_default();
    let known: Vec<&str> = known.as_object().into_iter().flatten().map(|(key, _)| key.as_str()).collect();
    let ours = [bucket, "root"];
    let settable = || known.iter().copied().filter(|key| !ours.contains(key)).collect::<Vec<_>>().join(", ");
    if let Some(key) = options.keys().find(|key| !known.contains(&key.as_str())) {
        return Err(SinkError::config(format!(
            "options: {scheme}:// does not know \"{key}\"; it knows {}",
            settable()
        )));
    }
    if let Some(key) = options.keys().find(|key| ours.contains(&key.as_str())) {
        return Err(SinkError::config(format!("options: \"{key}\" is part of uri\nhint: uri = \"{scheme}://…\"")));
    }
    let mut pairs: Vec<(String, String)> = options.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
    pairs.push((bucket.to_owned(), name.to_owned()));
    if !prefix.is_empty() {
        pairs.push(("root".to_owned(), format!("/{prefix}")));
    }
    // Its message can repeat a value, and a value can be a secret: only the names are told.
    let config = C::from_iter(pairs).map_err(|_| {
        let given: Vec<_> = options.keys().map(String::as_str).collect();
        SinkError::config(format!("options: a value of {} cannot be used by {scheme}://", given.join(", ")))
    })?;
    let operator = Operator::new(config.into_builder());
    operator.map_err(|error| SinkError::config(format!("{scheme}://{name}: {}", error.message())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uris_are_taken_apart() {
        let bucket = |scheme: &str, name: &str, prefix: &str| Place::Bucket {
            scheme: scheme.to_owned(),
            name: name.to_owned(),
            prefix: prefix.to_owned(),
        };
        assert_eq!(parse("s3://b").unwrap(), bucket("s3", "b", ""));
        assert_eq!(parse("gs://b/a/b/").unwrap(), bucket("gs", "b", "a/b"));
        assert_eq!(parse("azblob://c/p").unwrap(), bucket("azblob", "c", "p"));
        assert_eq!(parse("file:///srv//x/./y/").unwrap(), Place::Folder("/srv/x/y".into()));
    }

    #[test]
    fn what_cannot_be_opened_is_refused_with_what_can() {
        for wrong in
            ["bucket", "s3://", "s3:///x", "s3://b/../c", "s3://b?x=1", "file://x", "file:///a/../b", "s3://k:s@b"]
        {
            let error = parse(wrong).unwrap_err().to_string();
            assert!(error.contains("hint: uri = "), "{wrong}: {error}");
        }
        let error = parse("ftp://x").unwrap_err().to_string();
        assert!(error.contains("\"ftp://\" is not built in; there are file://, s3://, gs://, azblob://"), "{error}");
    }

    #[test]
    fn options_go_by_opendals_names_and_show_no_value() {
        let options = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect::<BTreeMap<_, _>>()
        };
        let good =
            options(&[("region", "eu-west-1"), ("secret_access_key", "hunter2"), ("disable_config_load", "true")]);
        assert_eq!(operator("s3", "b", "p/q", &good).unwrap().info().root(), "/p/q/");
        for (wrong, said) in [
            (options(&[("regio", "x")]), "does not know \"regio\"; it knows"),
            (options(&[("root", "x")]), "is part of uri"),
            (options(&[("disable_config_load", "hunter2"), ("region", "x")]), "a value of disable_config_load, region"),
        ] {
            let error = operator("s3", "b", "", &wrong).unwrap_err().to_string();
            assert!(error.contains(said) && !error.contains("hunter2"), "{error}");
        }
    }
}
