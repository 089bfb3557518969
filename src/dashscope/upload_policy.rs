//! The upload policy, which permits storing files in one folder of DashScope's storage for a while,
//! and the form that uses it.

use std::borrow::Cow;
use std::time::Duration;

use reqwest::multipart::{Form, Part};
use url::Url;

use crate::error::{Error, Reason};
use crate::net::host::is_loopback;

/// The type of a file of unknown type.
pub(super) const ANY_TYPE: &str = "application/octet-stream";

/// The maximum length of a file extension that is passed on.
const MAX_EXTENSION: usize = 8;

/// The answer to `getPolicy`.
#[derive(Debug, serde::Deserialize)]
pub(super) struct Answer {
    pub(super) data: UploadPolicy,
}

/// Permission to store files in one folder for a while.
#[derive(serde::Deserialize)]
pub(super) struct UploadPolicy {
    policy: String,
    signature: String,
    upload_dir: String,
    #[serde(deserialize_with = "url")]
    upload_host: Url,
    expire_in_seconds: u64,
    #[serde(default)]
    max_file_size_mb: Option<u64>,
    oss_access_key_id: String,
    #[serde(default = "private")]
    x_oss_object_acl: String,
    #[serde(default = "forbidden")]
    x_oss_forbid_overwrite: String,
}

/// The default access list, if the policy names none; the storage enforces it.
fn private() -> String {
    "private".to_owned()
}

/// The default against overwriting, if the policy has none; the storage enforces it.
fn forbidden() -> String {
    "true".to_owned()
}

fn url<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Url, D::Error> {
    let text = <Cow<'_, str> as serde::Deserialize>::deserialize(deserializer)?;
    Url::parse(&text).map_err(serde::de::Error::custom)
}

impl std::fmt::Debug for UploadPolicy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UploadPolicy").finish_non_exhaustive()
    }
}

impl UploadPolicy {
    /// The maximum size of a file.
    pub(super) fn max_bytes(&self) -> u64 {
        let megabytes = self.max_file_size_mb.unwrap_or(u64::MAX);
        megabytes.saturating_mul(1024 * 1024)
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
        Duration::from_secs(self.expire_in_seconds)
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
