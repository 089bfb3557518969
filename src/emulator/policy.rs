//! Signs and verifies upload policies and temporary API keys.

use std::collections::HashMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha1::{Digest as _, Sha1};

use crate::hex;

use super::clock::{Clock, iso, parse_iso};

/// The lifetime of a policy, as recorded.
const POLICY_LIFETIME: Duration = Duration::from_secs(300);
/// The access key id of the object store, which policies name.
const ACCESS_KEY_ID: &str = "LTAI5tEmbeddedEmulator";
/// The bucket of the object store, as recorded.
const BUCKET: &str = "dashscope-file-mgr";

/// Signs with a random secret of this process.
#[derive(Clone)]
pub(super) struct Signer {
    secret: [u8; 16],
    clock: Clock,
}

/// An error of the object store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct OssError {
    /// The HTTP status.
    pub(super) status: u16,
    /// For example `AccessDenied`.
    pub(super) code: String,
    /// The words.
    pub(super) message: String,
}

impl OssError {
    /// Any error.
    pub(super) fn new(status: u16, code: &str, message: impl Into<String>) -> Self {
        Self {
            status,
            code: code.to_owned(),
            message: message.into(),
        }
    }

    /// The XML body of the response.
    pub(super) fn xml(&self, id: &str, host: &str) -> String {
        let text = |text: &str| {
            let text = text.replace('&', "&amp;").replace('<', "&lt;");
            text.replace('>', "&gt;")
        };
        let (code, message, host) = (text(&self.code), text(&self.message), text(host));
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error>\n  <Code>{code}</Code>\n  \
             <Message>{message}</Message>\n  <RequestId>{id}</RequestId>\n  \
             <HostId>{host}</HostId>\n  <EC>0007-00000000</EC>\n</Error>\n"
        )
    }
}

/// What a policy allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Grant {
    /// The object's key.
    pub(super) key: String,
    /// The least and the most bytes.
    pub(super) length: (usize, usize),
}

impl Signer {
    /// A signer with a new random secret.
    pub(super) fn new(clock: Clock) -> Self {
        Self {
            secret: uuid::Uuid::new_v4().into_bytes(),
            clock,
        }
    }

    /// An upload policy for one model: the `data` of DashScope's response.
    pub(super) fn issue(&self, model: &str, id: &str, origin: &str, most_bytes: usize) -> Value {
        let now = self.clock.now();
        let day = iso(now);
        let day = day.split('T').next().unwrap_or_default();
        let dir = format!("dashscope-instant/{}/{day}/{id}", mark(model));
        let policy = json!({
            "expiration": iso(now + POLICY_LIFETIME),
            "conditions": [
                ["content-length-range", 0, most_bytes],
                ["starts-with", "$key", dir],
                {"bucket": BUCKET},
                {"x-oss-object-acl": "private"},
                {"x-oss-forbid-overwrite": "true"},
            ],
        });
        let policy = STANDARD.encode(policy.to_string());
        let signature = self.sign(&policy);
        json!({
            "policy": policy,
            "signature": signature,
            "upload_dir": dir,
            "upload_host": format!("{origin}/oss"),
            "expire_in_seconds": POLICY_LIFETIME.as_secs(),
            "max_file_size_mb": most_bytes / (1024 * 1024),
            "capacity_limit_mb": 999_999_999,
            "oss_access_key_id": ACCESS_KEY_ID,
            "x_oss_object_acl": "private",
            "x_oss_forbid_overwrite": "true",
        })
    }

    fn mac(&self, text: &str) -> Vec<u8> {
        // HMAC accepts keys of any length.
        let Ok(mut mac) = Hmac::<Sha1>::new_from_slice(&self.secret) else {
            return Vec::new();
        };
        mac.update(text.as_bytes());
        mac.finalize().into_bytes().to_vec()
    }

    fn sign(&self, policy: &str) -> String {
        STANDARD.encode(self.mac(policy))
    }

    /// Verifies the form fields that precede the file.
    ///
    /// # Errors
    ///
    /// The object store's error.
    pub(super) fn check(&self, fields: &HashMap<String, String>) -> Result<Grant, OssError> {
        let field = |name: &str| {
            let missing = format!(
                "Bucket POST must contain a field named '{name}'.  If it is specified, please \
                 check the order of the fields."
            );
            let field = fields.get(&name.to_lowercase());
            field.ok_or_else(|| OssError::new(400, "InvalidArgument", missing))
        };
        let key = field("key")?;
        if field("OSSAccessKeyId")? != ACCESS_KEY_ID {
            return Err(OssError::new(
                403,
                "InvalidAccessKeyId",
                "The OSS Access Key Id you provided does not exist in our records.",
            ));
        }
        let policy = field("policy")?;
        if *field("Signature")? != self.sign(policy) {
            return Err(OssError::new(
                403,
                "SignatureDoesNotMatch",
                "The request signature we calculated does not match the signature you provided. \
                 Check your key and signing method.",
            ));
        }
        let policy = STANDARD.decode(policy).ok();
        let policy: Option<Value> = policy.and_then(|json| serde_json::from_slice(&json).ok());
        let Some(policy) = policy else {
            let words = "Invalid Policy: Invalid JSON.";
            return Err(OssError::new(400, "InvalidPolicyDocument", words));
        };
        let expires = policy.get("expiration").and_then(Value::as_str);
        if expires
            .and_then(parse_iso)
            .is_none_or(|time| time <= self.clock.now())
        {
            return Err(denied("Policy expired."));
        }
        let mut length = (0, usize::MAX);
        let conditions = policy.get("conditions").and_then(Value::as_array);
        for condition in conditions.into_iter().flatten() {
            if let Some(range) = range(condition) {
                length = range;
            } else if !holds(condition, fields) {
                return Err(denied(&format!("Policy Condition failed: {condition}")));
            }
        }
        Ok(Grant {
            key: key.clone(),
            length,
        })
    }

    /// Issues a temporary key; returns it with its expiry in seconds since 1970.
    pub(super) fn token(&self, lifetime: Duration) -> (String, u64) {
        let expires = (self.clock.now() + lifetime).as_secs();
        (self.token_for(expires), expires)
    }

    fn token_for(&self, expires: u64) -> String {
        let mac = self.mac(&format!("token {expires}"));
        format!("st-{expires:x}-{}", hex::encode(&mac))
    }

    /// Whether a temporary key was issued by this signer and has not expired.
    pub(super) fn accepts(&self, token: &str) -> bool {
        let digits = token
            .strip_prefix("st-")
            .and_then(|rest| rest.split_once('-'));
        let expires = digits.and_then(|(digits, _)| u64::from_str_radix(digits, 16).ok());
        expires.is_some_and(|expires| {
            token == self.token_for(expires) && expires > self.clock.now().as_secs()
        })
    }
}

/// The tag of a model in object keys, as long as the account id in real ones. It binds an object to
/// the model.
pub(super) fn mark(model: &str) -> String {
    let digest = Sha1::digest(format!("model {model}"));
    hex::encode(&digest).chars().take(32).collect()
}

/// The tag in an object's key.
pub(super) fn mark_of(key: &str) -> &str {
    key.split('/').nth(1).unwrap_or_default()
}

fn denied(why: &str) -> OssError {
    let message = format!("Invalid according to Policy: {why}");
    OssError::new(403, "AccessDenied", message)
}

fn range(condition: &Value) -> Option<(usize, usize)> {
    let [name, least, most] = condition.as_array()?.as_slice() else {
        return None;
    };
    let number = |value: &Value| usize::try_from(value.as_u64()?).ok();
    (name == "content-length-range").then_some((number(least)?, number(most)?))
}

fn holds(condition: &Value, fields: &HashMap<String, String>) -> bool {
    let field = |name: &str| {
        let name = name.trim_start_matches('$').to_lowercase();
        match name.as_str() {
            "bucket" => Some(BUCKET),
            _ => fields.get(&name).map(String::as_str),
        }
    };
    if let Some(exact) = condition.as_object() {
        return exact
            .iter()
            .all(|(name, value)| field(name) == value.as_str());
    }
    let parts: Vec<&str> = condition
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    match parts.as_slice() {
        ["starts-with", name, start] => field(name).is_some_and(|value| value.starts_with(start)),
        ["eq", name, exact] => field(name) == Some(exact),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(signer: &Signer) -> HashMap<String, String> {
        let data = signer.issue("qwen-audio-turbo", "r-1", "http://h", 1 << 30);
        let text = |name: &str| data[name].as_str().unwrap().to_owned();
        let fields = [
            ("ossaccesskeyid", text("oss_access_key_id")),
            ("signature", text("signature")),
            ("policy", text("policy")),
            ("key", format!("{}/a.wav", text("upload_dir"))),
            ("x-oss-object-acl", text("x_oss_object_acl")),
            ("x-oss-forbid-overwrite", text("x_oss_forbid_overwrite")),
        ];
        fields.map(|(name, value)| (name.to_owned(), value)).into()
    }

    #[tokio::test(start_paused = true)]
    async fn a_policy_is_valid_for_five_minutes_and_its_conditions_hold() {
        let signer = Signer::new(Clock::new());
        let good = form(&signer);
        let grant = signer.check(&good).unwrap();
        assert_eq!(grant.length, (0, 1 << 30));
        assert_eq!(mark_of(&grant.key), mark("qwen-audio-turbo"));

        for (name, value, code) in [
            ("ossaccesskeyid", "other", "InvalidAccessKeyId"),
            ("signature", "other", "SignatureDoesNotMatch"),
            ("policy", "other", "SignatureDoesNotMatch"),
            ("key", "elsewhere/a.wav", "AccessDenied"),
            ("x-oss-object-acl", "public-read", "AccessDenied"),
            ("x-oss-forbid-overwrite", "false", "AccessDenied"),
        ] {
            let mut bad = good.clone();
            bad.insert(name.to_owned(), value.to_owned());
            assert_eq!(signer.check(&bad).unwrap_err().code, code, "{name}");
            bad.remove(name);
            assert!(signer.check(&bad).is_err(), "{name}");
        }
        let other = Signer::new(Clock::new());
        assert_eq!(
            other.check(&good).unwrap_err().code,
            "SignatureDoesNotMatch"
        );

        tokio::time::advance(Duration::from_secs(301)).await;
        let error = signer.check(&good).unwrap_err();
        assert_eq!(
            error.message,
            "Invalid according to Policy: Policy expired."
        );
    }

    #[tokio::test(start_paused = true)]
    async fn temporary_keys_expire() {
        let signer = Signer::new(Clock::new());
        let (token, _) = signer.token(Duration::from_secs(60));
        assert!(signer.accepts(&token));
        assert!(!signer.accepts("st-") && !signer.accepts("st-ffffffff-00"));
        assert!(!Signer::new(Clock::new()).accepts(&token));
        tokio::time::advance(Duration::from_secs(61)).await;
        assert!(!signer.accepts(&token));
    }

    #[test]
    fn errors_are_xml() {
        let error = OssError::new(403, "AccessDenied", "a < b & c");
        let xml = error.xml("id", "host");
        assert!(xml.contains("<Code>AccessDenied</Code>"));
        assert!(xml.contains("<Message>a &lt; b &amp; c</Message>"));
    }
}
