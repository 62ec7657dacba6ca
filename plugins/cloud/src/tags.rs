//! Tags of objects, for lifecycle rules and bills. opendal has no way to set them, so that the header is added to the
//! requests that begin an object, which are signed again where a signature covers headers.

use std::collections::BTreeMap;

use http::header::AUTHORIZATION;
use http::request::Parts;
use http::{HeaderName, HeaderValue, Method};
use litmus_core::SinkError;
use opendal::HttpTransporter;
use reqsign_core::{Context, OsEnv, ProvideCredentialChain, Signer};
use reqsign_file_read_tokio::TokioFileRead;

/// What S3 and Azure take.
const TAGS_MAX: usize = 10;
const NAME_BYTES_MAX: usize = 128;
const VALUE_BYTES_MAX: usize = 256;

/// The tags of every object, as the service takes them.
pub(crate) struct Tags {
    header: HeaderName,
    value: HeaderValue,
    signing: Signing,
}

enum Signing {
    #[cfg(feature = "s3")]
    S3 { signer: Signer<reqsign_aws_v4::Credential>, is_anonymous: bool },
    #[cfg(feature = "azblob")]
    Azblob(Signer<reqsign_azure_storage::Credential>),
}

impl Tags {
    /// Checks them; `None` where there are none. `options` are those of the service.
    pub(crate) fn new(
        scheme: &str,
        tags: &BTreeMap<String, String>,
        options: &BTreeMap<String, String>,
    ) -> Result<Option<Self>, SinkError> {
        if tags.is_empty() {
            return Ok(None);
        }
        let wrong = |why: String| SinkError::config(format!("tags: {why}"));
        if tags.len() > TAGS_MAX {
            return Err(wrong(format!("there are {}\nhint: {TAGS_MAX} at most", tags.len())));
        }
        let is_fine = |character: char| character.is_alphanumeric() || " +-=._:/@".contains(character);
        for (name, value) in tags {
            if !name.chars().chain(value.chars()).all(is_fine) {
                return Err(wrong(format!(
                    "{name:?} = {value:?} has a character that tags do not take\nhint: letters, digits, spaces and + - = . _ : / @"
                )));
            }
            if name.is_empty() || name.len() > NAME_BYTES_MAX || value.len() > VALUE_BYTES_MAX {
                return Err(wrong(format!(
                    "{name:?} = {value:?} is too long, or has no name\nhint: names of {NAME_BYTES_MAX} bytes at most, values of {VALUE_BYTES_MAX}"
                )));
            }
        }
        let (header, signing) = match scheme {
            #[cfg(feature = "s3")]
            "s3" => ("x-amz-tagging", s3(options)),
            #[cfg(feature = "azblob")]
            "azblob" => ("x-ms-tags", Signing::Azblob(azblob(options))),
            _ => {
                return Err(wrong(format!(
                    "{scheme}:// has none\nhint: s3:// and azblob:// have them; leave tags out"
                )));
            }
        };
        let pairs = tags.iter().map(|(name, value)| format!("{}={}", encoded(name), encoded(value)));
        let value = pairs.collect::<Vec<_>>().join("&");
        let value = HeaderValue::try_from(value).map_err(|error| wrong(error.to_string()))?;
        Ok(Some(Self { header: HeaderName::from_static(header), value, signing }))
    }

    /// Adds them to a request that begins an object, whole or in parts; leaves any other alone.
    pub(crate) async fn add(&self, parts: &mut Parts, http: &HttpTransporter) -> opendal::Result<()> {
        if !self.is_beginning(parts) {
            return Ok(());
        }
        parts.headers.insert(self.header.clone(), self.value.clone());
        let context = Context::new().with_file_read(TokioFileRead).with_http_send(http.clone()).with_env(OsEnv);
        let signed = match &self.signing {
            #[cfg(feature = "s3")]
            Signing::S3 { is_anonymous: true, .. } => return Ok(()),
            #[cfg(feature = "s3")]
            Signing::S3 { signer, .. } => {
                for header in ["authorization", "x-amz-date", "x-amz-security-token"] {
                    parts.headers.remove(header);
                }
                signer.clone().with_context(context).sign(parts, None).await
            }
            #[cfg(feature = "azblob")]
            Signing::Azblob(signer) => {
                // Only a shared key signs headers; a token in the header or the query does not.
                let is_signed = |value: &HeaderValue| value.as_bytes().starts_with(b"SharedKey ");
                if !parts.headers.get(AUTHORIZATION).is_some_and(is_signed) {
                    return Ok(());
                }
                for header in ["authorization", "x-ms-date"] {
                    parts.headers.remove(header);
                }
                signer.clone().with_context(context).sign(parts, None).await
            }
        };
        // As opendal does after it has signed: the client sets it.
        parts.headers.remove(http::header::HOST);
        signed.map_err(|error| {
            opendal::Error::new(opendal::ErrorKind::Unexpected, "the tags of an object cannot be signed")
                .set_source(error)
        })
    }

    fn is_beginning(&self, parts: &Parts) -> bool {
        let query = parts.uri.query().unwrap_or_default();
        let has = |name: &str| query.split('&').any(|pair| pair.split('=').next() == Some(name));
        match &self.signing {
            #[cfg(feature = "s3")]
            Signing::S3 { .. } => match parts.method {
                Method::PUT => !has("partNumber"),
                Method::POST => has("uploads"),
                _ => false,
            },
            // A block blob takes them with its list of blocks.
            #[cfg(feature = "azblob")]
            Signing::Azblob(_) => parts.method == Method::PUT && (!has("comp") || query.contains("comp=blocklist")),
        }
    }
}

/// The same credentials that opendal finds, in the same order.
#[cfg(feature = "s3")]
fn s3(options: &BTreeMap<String, String>) -> Signing {
    use reqsign_aws_v4::{
        AssumeRoleCredentialProvider, DefaultCredentialProvider, RequestSigner, StaticCredentialProvider,
    };
    let get = |name: &str| options.get(name).map(String::as_str).filter(|value| !value.is_empty());
    let is_set = |name: &str| get(name) == Some("true");
    let from_env = || ["AWS_REGION", "AWS_DEFAULT_REGION"].iter().find_map(|name| std::env::var(name).ok());
    // opendal has refused a bucket without a region before.
    let region = get("region").map(str::to_owned).or_else(from_env).unwrap_or_default();
    let mut default = DefaultCredentialProvider::builder();
    if is_set("disable_config_load") {
        default = default.no_env().no_profile();
    } else if let Some(profile) = get("profile") {
        default = default.with_profile(profile);
    }
    if is_set("disable_ec2_metadata") {
        default = default.no_imds();
    }
    let mut chain = ProvideCredentialChain::new().push(default.build());
    if let (Some(id), Some(secret)) = (get("access_key_id"), get("secret_access_key")) {
        let mut provider = StaticCredentialProvider::new(id, secret);
        if let Some(token) = get("session_token") {
            provider = provider.with_session_token(token);
        }
        chain = chain.push_front(provider);
    }
    if let Some(role_arn) = get("role_arn") {
        let context = Context::new().with_file_read(TokioFileRead).with_env(OsEnv);
        let context = context.with_http_send(HttpTransporter::default());
        let signer = Signer::new(context, chain, RequestSigner::new("sts", &region));
        let mut provider = AssumeRoleCredentialProvider::new(role_arn.to_owned(), signer).with_region(region.clone());
        provider = provider.with_regional_sts_endpoint();
        if let Some(id) = get("external_id") {
            provider = provider.with_external_id(id.to_owned());
        }
        if let Some(name) = get("role_session_name") {
            provider = provider.with_role_session_name(name.to_owned());
        }
        if let Some(seconds) = get("assume_role_duration_seconds").and_then(|seconds| seconds.parse().ok()) {
            provider = provider.with_duration_seconds(seconds);
        }
        chain = ProvideCredentialChain::new().push(provider);
    }
    let signer = Signer::new(Context::new(), chain, RequestSigner::new("s3", &region));
    Signing::S3 { signer, is_anonymous: is_set("skip_signature") || is_set("allow_anonymous") }
}

#[cfg(feature = "azblob")]
fn azblob(options: &BTreeMap<String, String>) -> Signer<reqsign_azure_storage::Credential> {
    use reqsign_azure_storage::{DefaultCredentialProvider, RequestSigner, StaticCredentialProvider};
    let mut chain = ProvideCredentialChain::new().push(DefaultCredentialProvider::new());
    if let (Some(name), Some(key)) = (options.get("account_name"), options.get("account_key")) {
        chain = chain.push_front(StaticCredentialProvider::new_shared_key(name, key));
    }
    Signer::new(Context::new(), chain, RequestSigner::new())
}

/// As a query has it.
fn encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    let one = |byte: u8| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    text.bytes().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tags(scheme: &str, pairs: &[(&str, &str)]) -> Result<Option<Tags>, String> {
        let tags = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Tags::new(scheme, &tags, &BTreeMap::new()).map_err(|error| error.to_string())
    }

    #[test]
    fn tags_are_a_header_where_the_service_has_them() {
        assert!(tags("s3", &[]).unwrap().is_none());
        let found = tags("s3", &[("line", "3 + 4"), ("plant", "Köln")]).unwrap().unwrap();
        assert_eq!(
            (found.header.as_str(), found.value.to_str().unwrap()),
            ("x-amz-tagging", "line=3%20%2B%204&plant=K%C3%B6ln")
        );
        assert_eq!(tags("azblob", &[("a", "b")]).unwrap().unwrap().header.as_str(), "x-ms-tags");
    }

    #[test]
    fn tags_that_cannot_be_set_are_refused_with_a_hint() {
        let many: Vec<_> = (0..11).map(|number| format!("tag{number}")).collect();
        let many: Vec<_> = many.iter().map(|name| (name.as_str(), "x")).collect();
        for (scheme, pairs, said) in [
            ("gs", &[("a", "b")][..], "hint: s3:// and azblob:// have them"),
            ("s3", &many[..], "there are 11"),
            ("s3", &[("", "x")], "has no name"),
            ("s3", &[("a", "b&c=d")], "tags do not take"),
            ("s3", &[("a", "b\r\nx-amz-acl: public-read")], "tags do not take"),
            ("s3", &[("a", &"x".repeat(257)[..])], "is too long"),
        ] {
            let error = tags(scheme, pairs).map(|_| ()).unwrap_err();
            assert!(error.contains(said) && error.contains("\nhint: "), "{error}");
        }
    }

    #[test]
    fn only_what_begins_an_object_is_tagged() {
        let s3 = tags("s3", &[("a", "b")]).unwrap().unwrap();
        let azblob = tags("azblob", &[("a", "b")]).unwrap().unwrap();
        let begins = |tags: &Tags, method: &str, uri: &str| {
            tags.is_beginning(&http::Request::builder().method(method).uri(uri).body(()).unwrap().into_parts().0)
        };
        assert!(begins(&s3, "PUT", "http://h/b/k") && begins(&s3, "POST", "http://h/b/k?uploads"));
        assert!(!begins(&s3, "PUT", "http://h/b/k?partNumber=1&uploadId=x"));
        assert!(!begins(&s3, "POST", "http://h/b/k?uploadId=x") && !begins(&s3, "HEAD", "http://h/b/k"));
        assert!(begins(&azblob, "PUT", "http://h/c/k") && begins(&azblob, "PUT", "http://h/c/k?comp=blocklist"));
        assert!(
            !begins(&azblob, "PUT", "http://h/c/k?comp=block&blockid=x") && !begins(&azblob, "GET", "http://h/c/k")
        );
    }
}
