//! The upload policy, which permits storing files in one folder of DashScope's storage for a while,
//! and the form that uses it.

use std::borrow::Cow;
use std::time::Duration;

use reqwest::multipart::{Form, Part};
use url::Url;

use super::json_fields::{self, Fields, number};
use super::json_tree::document;
use crate::chat::document::Document;
use crate::error::{Error, Reason};
use crate::net::host::is_loopback;

/// The type of a file of unknown type.
pub(super) const ANY_TYPE: &str = "application/octet-stream";

/// The maximum length of a file extension that is passed on.
const MAX_EXTENSION: usize = 8;

/// Permission to store files in one folder for a while.
pub(super) struct UploadPolicy {
    policy: String,
    signature: String,
    upload_dir: String,
    upload_host: Url,
    valid_for: Duration,
    max_bytes: u64,
    oss_access_key_id: String,
    x_oss_object_acl: String,
    x_oss_forbid_overwrite: String,
}

/// The access list, if the policy names none; the storage enforces it.
const PRIVATE: &str = "private";

/// Whether overwriting is forbidden, if the policy does not say; the storage enforces it.
const FORBIDDEN: &str = "true";

/// A string; a number or a boolean as a string.
fn text(document: Document) -> Result<String, Document> {
    if let Document::Bool(flag) = document {
        return Ok(flag.to_string());
    }
    json_fields::text(document).map(|text| text.0.into_owned())
}

impl std::fmt::Debug for UploadPolicy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UploadPolicy").finish_non_exhaustive()
    }
}

impl UploadPolicy {
    /// Reads the answer to `getPolicy`, as leniently as the answers of models. `None` if a part is
    /// missing that no form can be without.
    pub(super) fn read(body: &[u8]) -> Option<Self> {
        let body = body.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(body);
        let (answer, _) = document(std::str::from_utf8(body).ok()?)?;
        let mut answer = Fields::of(answer).ok()?;
        // Also without the object around it.
        let mut data = answer.with("data", Fields::of).unwrap_or(answer);
        let upload_host = data.with("upload_host", text)?;
        let seconds = data.with("expire_in_seconds", number);
        let megabytes = data.with("max_file_size_mb", number);
        Some(Self {
            policy: data.with("policy", text)?,
            signature: data.with("signature", text)?,
            upload_dir: data.with("upload_dir", text)?,
            upload_host: Url::parse(upload_host.trim()).ok()?,
            // Without a duration it is used once, and not cached.
            valid_for: seconds.map_or(Duration::ZERO, |seconds| {
                Duration::try_from_secs_f64(seconds).unwrap_or_default()
            }),
            // The conversion saturates.
            max_bytes: megabytes
                .filter(|megabytes| *megabytes > 0.0)
                .map_or(u64::MAX, |megabytes| (megabytes * 1_048_576.0) as u64),
            oss_access_key_id: data.with("oss_access_key_id", text)?,
            x_oss_object_acl: data
                .with("x_oss_object_acl", text)
                .unwrap_or_else(|| PRIVATE.to_owned()),
            x_oss_forbid_overwrite: data
                .with("x_oss_forbid_overwrite", text)
                .unwrap_or_else(|| FORBIDDEN.to_owned()),
        })
    }

    /// The maximum size of a file.
    pub(super) fn max_bytes(&self) -> u64 {
        self.max_bytes
    }

    /// The form. The file is last, because the storage ignores fields after it.
    pub(super) fn form(&self, key: &str, mime_type: &str, file: Part) -> Form {
        let name = key.rsplit('/').next().unwrap_or_default().to_owned();
        Form::new()
            .text("OSSAccessKeyId", self.oss_access_key_id.clone())
            .text("Signature", self.signature.clone())
            .text("policy", self.policy.clone())
            .text("key", key.to_owned())
            .text("x-oss-object-acl", self.x_oss_object_acl.clone())
            .text(
                "x-oss-forbid-overwrite",
                self.x_oss_forbid_overwrite.clone(),
            )
            .text("success_action_status", "200")
            .text("x-oss-content-type", mime_type.to_owned())
            .part("file", file.file_name(name))
    }

    /// The URL that the form is sent to.
    pub(super) fn upload_host(&self) -> &Url {
        &self.upload_host
    }

    /// How long the policy is valid.
    pub(super) fn expires_in(&self) -> Duration {
        self.valid_for
    }

    /// Rejects a file that is too large before it is sent.
    pub(super) fn check_size(&self, size: u64) -> Result<(), Error> {
        let limit = self.max_bytes();
        if size > limit {
            return Err(too_large(size, limit));
        }
        Ok(())
    }

    /// A unique name, because the storage refuses to overwrite. It keeps the extension, from which
    /// some models derive the format.
    pub(super) fn object_name(&self, mime_type: &str, name: &str) -> String {
        let fits = |text: &&str| {
            (1..=MAX_EXTENSION).contains(&text.len())
                && text.bytes().all(|b| b.is_ascii_alphanumeric())
        };
        let own = name
            .rsplit_once('.')
            .map(|(_, extension)| extension)
            .filter(fits);
        let extension = own
            .map(Cow::Borrowed)
            .or_else(|| of_type(mime_type))
            .map(|e| format!(".{e}"));
        let folder = self.upload_dir.trim_end_matches('/');
        let extension = extension.unwrap_or_default().to_ascii_lowercase();
        format!("{folder}/{}{extension}", uuid::Uuid::new_v4().simple())
    }
}

/// The usual extension of a MIME type.
fn of_type(mime_type: &str) -> Option<Cow<'static, str>> {
    let essence = mime_type.split(';').next().unwrap_or_default();
    let known = match essence {
        "audio/mpeg" => "mp3",
        "audio/mp4" | "audio/x-m4a" => "m4a",
        "audio/3gpp" | "video/3gpp" => "3gp",
        "audio/3gpp2" | "video/3gpp2" => "3g2",
        "audio/amr-wb" => "amr",
        "audio/x-ms-wma" => "wma",
        "image/x-icon" => "ico",
        "video/mp2t" => "ts",
        "video/x-ms-wmv" => "wmv",
        "image/jpeg" => "jpg",
        "video/quicktime" => "mov",
        "video/x-matroska" => "mkv",
        "video/x-msvideo" => "avi",
        ANY_TYPE => return None,
        _ => {
            let (_, subtype) = essence.split_once('/')?;
            let subtype = subtype.strip_prefix("x-").unwrap_or(subtype);
            let plain = subtype.bytes().all(|b| b.is_ascii_alphanumeric());
            return (plain && subtype.len() <= MAX_EXTENSION)
                .then(|| Cow::Owned(subtype.to_owned()));
        }
    };
    Some(Cow::Borrowed(known))
}

/// The error of a file that is larger than the storage accepts.
pub(super) fn too_large(size: u64, limit: u64) -> Error {
    let message = format!("the file has at least {size} bytes, the limit of this model is {limit}");
    Error::new(Reason::MediaTooLarge, message)
}

/// Whether a key or a file may be sent to a URL: `https`, or `http` to loopback or where that is
/// allowed.
pub(super) fn is_safe(url: &Url, plaintext: bool) -> bool {
    url.has_host()
        && match url.scheme() {
            "https" => true,
            "http" => plaintext || is_loopback(url),
            _ => false,
        }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// A policy with these members instead; a null is one, `absent` takes the member out.
    fn read(changed: &[(&str, Value)]) -> Option<UploadPolicy> {
        let mut data = json!({
            "policy": "cG9saWN5", "signature": "s", "upload_dir": "d/e",
            "upload_host": "https://oss.test", "expire_in_seconds": 300, "max_file_size_mb": 100,
            "oss_access_key_id": "LTAI", "x_oss_object_acl": "private",
            "x_oss_forbid_overwrite": "true",
        });
        for (key, value) in changed {
            match value.as_str() {
                Some("absent") => drop(data.as_object_mut().unwrap().remove(*key)),
                _ => data[*key] = value.clone(),
            }
        }
        UploadPolicy::read(
            json!({"data": data, "request_id": "r"})
                .to_string()
                .as_bytes(),
        )
    }

    #[test]
    fn members_of_another_type_are_read_as_what_they_mean() {
        for (key, values) in [
            (
                "x_oss_forbid_overwrite",
                vec![
                    json!("true"),
                    json!(true),
                    Value::Null,
                    json!("absent"),
                    json!([]),
                ],
            ),
            (
                "x_oss_object_acl",
                vec![json!("private"), Value::Null, json!("absent"), json!({})],
            ),
            (
                "expire_in_seconds",
                vec![json!(300), json!("300"), json!(300.0), json!(" 300 ")],
            ),
            (
                "max_file_size_mb",
                vec![json!(100), json!("100"), json!(100.0)],
            ),
        ] {
            for value in values {
                let policy = read(&[(key, value.clone())]);
                let policy = policy.unwrap_or_else(|| panic!("{key} {value}"));
                assert_eq!(policy.x_oss_forbid_overwrite, "true", "{key} {value}");
                assert_eq!(policy.x_oss_object_acl, "private", "{key} {value}");
                assert_eq!(policy.expires_in().as_secs(), 300, "{key} {value}");
                assert_eq!(policy.max_bytes(), 100 << 20, "{key} {value}");
            }
        }
        let policy = read(&[("x_oss_forbid_overwrite", json!(false))]).unwrap();
        assert_eq!(policy.x_oss_forbid_overwrite, "false");
    }

    #[test]
    fn numbers_without_a_meaning_limit_nothing_and_are_not_trusted() {
        for value in [
            Value::Null,
            json!("absent"),
            json!("soon"),
            json!([]),
            json!(-1),
        ] {
            let policy = read(&[("expire_in_seconds", value.clone())]).unwrap();
            assert_eq!(policy.expires_in(), Duration::ZERO, "{value}");
            let policy = read(&[("max_file_size_mb", value.clone())]).unwrap();
            assert_eq!(policy.max_bytes(), u64::MAX, "{value}");
        }
        let policy = read(&[("expire_in_seconds", json!(1e300))]).unwrap();
        assert_eq!(policy.expires_in(), Duration::ZERO);
    }

    #[test]
    fn a_form_needs_its_parts() {
        for key in [
            "policy",
            "signature",
            "upload_dir",
            "upload_host",
            "oss_access_key_id",
        ] {
            for value in [Value::Null, json!("absent"), json!({}), json!([])] {
                assert!(read(&[(key, value.clone())]).is_none(), "{key} {value}");
            }
        }
        assert!(read(&[("upload_host", json!("no url"))]).is_none());
        for body in [&b""[..], b"null", b"[]", b"{}", b"{\"data\":7}", b"\xff"] {
            assert!(UploadPolicy::read(body).is_none(), "{body:?}");
        }
    }

    #[test]
    fn the_object_around_a_policy_and_duplicate_keys_do_not_matter() {
        let bare = br#"{"policy":"a","policy":"p","signature":"s","upload_dir":"d",
            "upload_host":"https://oss.test","oss_access_key_id":"k"}"#;
        let policy = UploadPolicy::read(&[b"\xEF\xBB\xBF", &bare[..]].concat()).unwrap();
        assert_eq!(policy.policy, "p");
    }
}
