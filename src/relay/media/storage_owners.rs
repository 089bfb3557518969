//! The owners of files that were uploaded to DashScope's temporary storage through this gateway.
//!
//! A file can be read with the key of the account that stored it, by any caller. So the gateway
//! records the caller of each upload, and rejects its use by others. It also records the expiry,
//! and rejects expired files without a request to DashScope. It knows the uploads of this process,
//! and those that were looked up in the store; without a store, others may come from another
//! replica.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use crate::callers::date;
use crate::chat::call::{Caller, Prompt, Tenant};
use crate::chat::document::Object;
use crate::chat::media::Source;
use crate::chat::upload::{KEPT, Uploaded};
use crate::error::{Error, Reason, Violation};

use super::error_location::place;
use super::texts::{all_texts, paths_of};

/// The maximum number of uploads recorded: about 6 MiB. The oldest are evicted; the storage itself
/// keeps files for two days.
const REMEMBERED_UPLOADS: usize = 16 * 1024;

/// The recent uploads.
#[derive(Default)]
pub(in crate::relay) struct Owners {
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    uploads: HashMap<Arc<str>, Owner>,
    order: VecDeque<Arc<str>>,
}

/// What is known of an upload.
#[derive(Clone)]
pub(in crate::relay) struct Owner {
    /// The account whose key was used, unless it was the caller's own key.
    pub(in crate::relay) account: Option<Arc<str>>,
    /// Whose it is.
    pub(in crate::relay) whose: Whose,
    /// When it has certainly expired. The clock stops while the host is suspended, so this is never
    /// early.
    pub(in crate::relay) gone: Instant,
    /// The expiry as returned to the caller, in seconds since 1970.
    pub(in crate::relay) expires_at: i64,
}

/// Whose an upload is.
#[derive(Clone, Copy)]
pub(in crate::relay) enum Whose {
    /// The caller of this process who stored it.
    Caller(Caller),
    /// The caller who stored it in another process.
    Tenant(Tenant),
}

impl Owner {
    fn is(&self, (caller, tenant): (Caller, Tenant)) -> bool {
        match &self.whose {
            Whose::Caller(owner) => *owner == caller,
            Whose::Tenant(owner) => *owner == tenant,
        }
    }

    fn refusal(&self, who: (Caller, Tenant)) -> Option<Refusal> {
        match self.is(who) {
            false => Some(Refusal::Unknown),
            true if self.gone <= Instant::now() => Some(Refusal::Expired(self.expires_at)),
            true => None,
        }
    }
}

/// Why a caller may not use an upload.
#[derive(Clone, Copy)]
enum Refusal {
    /// It belongs to another caller, or is unknown where only known uploads are allowed.
    Unknown,
    /// It expired at this time.
    Expired(i64),
}

impl Owners {
    /// Records an upload.
    pub(in crate::relay) fn stored(
        &self,
        stored: &Uploaded,
        account: Option<&str>,
        caller: Caller,
    ) {
        let Some(key) = key(&stored.uri) else {
            return;
        };
        let owner = Owner {
            account: account.map(Into::into),
            whose: Whose::Caller(caller),
            gone: Instant::now() + KEPT,
            expires_at: stored.expires_at,
        };
        self.lock().insert(&key, owner);
    }

    /// Whether none is recorded.
    pub(in crate::relay) fn is_empty(&self) -> bool {
        self.lock().uploads.is_empty()
    }

    /// Records an upload of another process, by its canonical form.
    pub(in crate::relay) fn learned(&self, key: &str, owner: Owner) {
        let mut table = self.lock();
        if !table.uploads.contains_key(key) {
            table.insert(key, owner);
        }
    }

    /// The canonical forms of a prompt's uploads that are not recorded.
    pub(in crate::relay) fn unknown(&self, prompt: &Prompt) -> BTreeSet<String> {
        let found = RefCell::new(BTreeSet::new());
        let note = |key: String| {
            if !self.lock().uploads.contains_key(&*key) {
                found.borrow_mut().insert(key);
            }
            None
        };
        // It refuses nothing.
        let _ = check_uploads(prompt, &note);
        found.into_inner()
    }

    /// The account that stored a file, if known.
    pub(in crate::relay) fn account(&self, uri: &str) -> Option<Arc<str>> {
        let table = self.lock();
        if table.uploads.is_empty() {
            return None;
        }
        table.uploads.get(&*key(uri)?)?.account.clone()
    }

    /// Rejects a prompt that uses another caller's recorded upload, or an expired one. Returns the
    /// canonical forms of those that are not recorded.
    pub(in crate::relay) fn check(
        &self,
        prompt: &Prompt,
        who: (Caller, Tenant),
    ) -> Result<BTreeSet<String>, Error> {
        let unknown = RefCell::new(BTreeSet::new());
        check_uploads(prompt, &|key| match self.lock().uploads.get(&*key) {
            Some(owner) => owner.refusal(who),
            None => {
                unknown.borrow_mut().insert(key);
                None
            }
        })?;
        Ok(unknown.into_inner())
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn insert(&mut self, key: &str, owner: Owner) {
        let key: Arc<str> = key.into();
        if self.uploads.insert(Arc::clone(&key), owner).is_none() {
            self.order.push_back(key);
        }
        if self.order.len() > REMEMBERED_UPLOADS
            && let Some(oldest) = self.order.pop_front()
        {
            self.uploads.remove(&oldest);
        }
    }
}

/// Rejects a prompt that uses another caller's upload of these, an expired one, or, if `strict`,
/// one whose owner was not found. They are not looked up in the record of this process again, from
/// which others may have been evicted meanwhile.
pub(in crate::relay) fn check_found(
    prompt: &Prompt,
    who: (Caller, Tenant),
    (unknown, found): (&BTreeSet<String>, &HashMap<String, Owner>),
    strict: bool,
) -> Result<(), Error> {
    check_uploads(prompt, &|key| match found.get(&key) {
        Some(owner) => owner.refusal(who),
        None => (strict && unknown.contains(&key)).then_some(Refusal::Unknown),
    })
}

/// Rejects a prompt by its uploads, given in their canonical form.
fn check_uploads(
    prompt: &Prompt,
    refusal: &impl Fn(String) -> Option<Refusal>,
) -> Result<(), Error> {
    let refusal = |uri: &str| refusal(key(uri)?);
    for (i, turn) in prompt.turns.iter().enumerate() {
        for (j, part) in turn.parts.iter().enumerate() {
            let at = |rest: &str| format!("conversation.messages[{i}].content[{j}].{rest}");
            for (k, medium) in part.body.media().enumerate() {
                if let Source::Uri(uri) = &medium.source
                    && let Some(refusal) = refusal(uri)
                {
                    return Err(refusal.error(at(&place(&part.body, k))));
                }
            }
            check_all(&part.extra, &refusal, || at("extra"))?;
        }
        let at = || format!("conversation.messages[{i}].extra");
        check_all(&turn.extra, &refusal, at)?;
    }
    let at = || "options.extra_parameters".to_owned();
    check_all(&prompt.options.extra_parameters, &refusal, at)
}

/// Rejects an object at this path if one of its texts is rejected.
fn check_all(
    object: &Object,
    refusal: &impl Fn(&str) -> Option<Refusal>,
    path: impl Fn() -> String,
) -> Result<(), Error> {
    if all_texts(object, &|text| refusal(text).is_none()) {
        return Ok(());
    }
    let path = path();
    let mut found = paths_of(object, &path, 1, &|text| refusal(text).is_some());
    // The path of deeply nested text is not determined.
    Err(match found.pop() {
        Some((field, text)) => refusal(text).unwrap_or(Refusal::Unknown).error(field),
        None => Refusal::Unknown.error(path),
    })
}

impl Refusal {
    fn error(self, field: String) -> Error {
        let (reason, message, description) = match self {
            // The same message whether or not it exists for another caller.
            Self::Unknown => (
                Reason::ResourceNotFound,
                "there is no such upload: send the file again, with MediaService.UploadMedia"
                    .to_owned(),
                "names no upload of this caller".to_owned(),
            ),
            Self::Expired(at) => {
                let at = date::text(u64::try_from(at).unwrap_or(0));
                (
                    Reason::MediaExpired,
                    format!(
                        "{field}: the upload expired at {at}: upload the file again, with \
                         MediaService.UploadMedia"
                    ),
                    format!("expired at {at}: upload the file again"),
                )
            }
        };
        Error::new(reason, message).with_violation(Violation { field, description })
    }
}

/// The canonical form of a URL in the storage. `None` for any other URL.
pub(in crate::relay) fn key(uri: &str) -> Option<String> {
    let scheme = uri.get(..4)?;
    if !scheme.eq_ignore_ascii_case("oss:") {
        return None;
    }
    let path = uri.get(4..)?;
    let path = path.split(['?', '#']).next().unwrap_or_default();
    let path = decoded(path);
    let mut steps: Vec<&str> = Vec::new();
    for step in path.split(['/', '\\']) {
        match step.trim() {
            "" | "." => {}
            ".." => {
                steps.pop();
            }
            step => steps.push(step),
        }
    }
    // The bucket is the host of the URL, which may have a user and a port, and any case.
    let host = steps
        .first()
        .map(|host| host.rsplit('@').next().unwrap_or_default());
    let host = host.map(|host| host.split(':').next().unwrap_or_default());
    let host = host.map(|host| host.trim_end_matches('.').to_ascii_lowercase());
    if let (Some(first), Some(host)) = (steps.first_mut(), &host) {
        *first = host;
    }
    Some(steps.join("/"))
}

/// Repeatedly percent-decoded text.
fn decoded(path: &str) -> String {
    const MOST: usize = 4;
    let mut path = path.to_owned();
    for _ in 0..MOST {
        if !path.contains('%') {
            break;
        }
        let bytes = percent_decoded(path.as_bytes());
        path = String::from_utf8_lossy(&bytes).into_owned();
    }
    path
}

fn percent_decoded(bytes: &[u8]) -> Vec<u8> {
    let digit = |byte: Option<&u8>| char::from(*byte?).to_digit(16);
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let pair = (digit(bytes.get(at + 1)), digit(bytes.get(at + 2)));
        match (byte, pair) {
            (b'%', (Some(high), Some(low))) => {
                decoded.push(u8::try_from(high * 16 + low).unwrap_or(byte));
                at += 3;
            }
            _ => {
                decoded.push(byte);
                at += 1;
            }
        }
    }
    decoded
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::document::Document;
    use crate::chat::media::{Audio, Medium};
    use crate::chat::message::{Body, Role, Turn};

    const URI: &str = "oss://dashscope-instant/0123/2026-11-28/b744/0a1b.wav";

    fn who(number: u8) -> (Caller, Tenant) {
        (Caller(number.into()), Tenant([number; 32]))
    }

    fn uploaded(uri: &str) -> Uploaded {
        Uploaded {
            uri: uri.to_owned(),
            mime_type: "audio/wav".to_owned(),
            model: "m".to_owned(),
            expires_at: 1_790_000_000,
            size_bytes: 1,
        }
    }

    fn prompt(uri: &str) -> Prompt {
        let mut turn = Turn::new(Role::User);
        let audio = Audio {
            medium: Some(Medium {
                mime_type: String::new(),
                source: Source::Uri(uri.to_owned()),
            }),
            file: None,
        };
        turn.parts = vec![Body::Text("?".into()).into(), Body::Audio(audio).into()];
        Prompt {
            model: "m".into(),
            turns: vec![turn],
            tools: Vec::new(),
            tool_choice: None,
            options: Box::default(),
        }
    }

    #[test]
    fn only_the_caller_who_stored_it_may_name_it_however_it_is_spelled() {
        let owners = Owners::default();
        owners.stored(&uploaded(URI), Some("a"), Caller(1));
        for uri in [
            URI.to_owned(),
            URI.replacen("oss:", "OSS:", 1),
            URI.replacen("//", "////", 1),
            URI.replace("b744/", "b744/./x/../"),
            URI.replace("b744/", "b744%2f"),
            URI.replace("b744/", "b744%252F"),
            URI.replace("0a1b", "%30%61%31b"),
            format!("{URI}?x=1"),
            format!("{URI}#x"),
            URI.replacen("dashscope", "DashScope", 1),
            URI.replacen("//", "//user:word@", 1),
            URI.replacen("instant/", "instant:443/", 1),
            URI.replacen("instant/", "instant./", 1),
        ] {
            let error = owners.check(&prompt(&uri), who(2)).unwrap_err();
            assert_eq!(error.reason(), Reason::ResourceNotFound, "{uri}");
            let field = &error.violations()[0].field;
            assert_eq!(field, "conversation.messages[0].content[1].audio.uri");
            assert!(
                owners.check(&prompt(&uri), who(1)).unwrap().is_empty(),
                "{uri}"
            );
            assert_eq!(owners.account(&uri).as_deref(), Some("a"), "{uri}");
        }
    }

    #[test]
    fn an_address_that_hides_in_other_values_is_found() {
        let owners = Owners::default();
        owners.stored(&uploaded(URI), None, Caller(1));
        let mut prompt = prompt("https://x.test/a.wav");
        let text = Document::String(URI.to_owned());
        let list = Document::List(vec![Document::Null, text]);
        let hidden = Object(vec![("file".to_owned(), list)]);
        prompt.turns[0].parts[0].extra = hidden.clone();
        let error = owners.check(&prompt, who(2)).unwrap_err();
        assert_eq!(
            error.violations()[0].field,
            "conversation.messages[0].content[0].extra.file[1]"
        );
        prompt.turns[0].parts[0].extra = Object::default();
        prompt.options.extra_parameters = hidden;
        let error = owners.check(&prompt, who(2)).unwrap_err();
        let field = "options.extra_parameters.file[1]";
        assert_eq!(error.violations()[0].field, field);
        assert!(owners.check(&prompt, who(1)).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn u24_what_is_gone_is_refused_to_its_owner_with_its_time() {
        let owners = Owners::default();
        owners.stored(&uploaded(URI), Some("a"), Caller(1));
        tokio::time::advance(KEPT - std::time::Duration::from_secs(1)).await;
        assert!(owners.check(&prompt(URI), who(1)).is_ok());
        tokio::time::advance(std::time::Duration::from_secs(1)).await;
        let error = owners.check(&prompt(URI), who(1)).unwrap_err();
        assert_eq!(error.reason(), Reason::MediaExpired);
        let violation = &error.violations()[0];
        let field = "conversation.messages[0].content[1].audio.uri";
        assert_eq!(violation.field, field);
        let when = "expired at 2026-09-21T14:13:20Z";
        assert!(
            violation.description.starts_with(when),
            "{}",
            violation.description
        );
        assert!(error.message().contains(field) && error.message().contains("UploadMedia"));
        let error = owners.check(&prompt(URI), who(2)).unwrap_err();
        assert_eq!(error.reason(), Reason::ResourceNotFound);
        let mut hidden = prompt("https://x.test/a.wav");
        let text = Document::String(URI.to_owned());
        hidden.turns[0].extra = Object(vec![("file".to_owned(), text)]);
        let error = owners.check(&hidden, who(1)).unwrap_err();
        assert_eq!(error.reason(), Reason::MediaExpired);
        let field = "conversation.messages[0].extra.file";
        assert_eq!(error.violations()[0].field, field);
        // Stored again under the same name, it is valid again.
        owners.stored(&uploaded(URI), Some("a"), Caller(1));
        assert!(owners.check(&prompt(URI), who(1)).is_ok());
    }

    #[test]
    fn what_is_not_known_is_for_the_operator_to_decide_and_the_memory_is_bounded() {
        let owners = Owners::default();
        let other = prompt("oss://dashscope-instant/x/y.wav");
        let unknown = owners.check(&other, who(1)).unwrap();
        assert_eq!(
            unknown.iter().collect::<Vec<_>>(),
            ["dashscope-instant/x/y.wav"]
        );
        let check = |strict| {
            let none = HashMap::new();
            check_found(&other, who(1), (&unknown, &none), strict)
        };
        assert!(check(false).is_ok());
        assert!(check(true).is_err());
        let elsewhere = prompt("https://x.test/a");
        assert!(owners.check(&elsewhere, who(1)).unwrap().is_empty());
        for n in 0..2 * REMEMBERED_UPLOADS {
            owners.stored(&uploaded(&format!("oss://d/{n}")), None, Caller(1));
            owners.stored(&uploaded(URI), None, Caller(1));
        }
        let table = owners.lock();
        assert_eq!(table.uploads.len(), REMEMBERED_UPLOADS);
        assert_eq!(table.order.len(), REMEMBERED_UPLOADS);
    }
}
