//! Who calls, whether that is accepted, and how much each may use.
//!
//! [`Callers`] is asked once for each call, with what the call shows. As soon as the operator
//! accepts one kind of credentials, a call without any is refused. A refusal is one text, whatever
//! was wrong: which part it was is for the log alone. Who is known has an [`Identity`], and by it a
//! place and tokens for the call, within its limits.

pub mod account;
mod bucket;
mod caller_cache;
pub mod credentials;
pub mod date;
pub mod edit;
pub mod file;
mod file_watcher;
pub mod jwks;
pub mod key;
mod keys;
pub mod limits;
pub mod token;
mod uri;

use std::hash::{BuildHasher, RandomState};
use std::path::PathBuf;
use std::sync::Arc;

use crate::chat::call::{Caller, Origin};
use crate::error::{Error, Reason};
use crate::secret::Secret;

use account::{Account, Now, Pass};
use caller_cache::Register;
use credentials::Credentials;
use key::Digest;
use keys::{Keys, Terms};
use limits::{Limits, Overrides};
use token::Tokens;

/// Which credentials the operator accepts. With none, anyone may call.
#[derive(Clone, Debug, Default)]
pub struct CallersConfig {
    /// The file of keys of our own.
    pub keys_file: Option<PathBuf>,
    /// Whether a key for DashScope is accepted, and used for the call.
    pub pass_through: bool,
    /// Which tokens are accepted, if any are.
    pub tokens: Option<token::TokenConfig>,
    /// The URIs in certificates that are accepted; `*` stands for a part of one segment.
    pub certificate_uris: Vec<String>,
    /// What a caller may use of whom nothing else is said.
    pub limits: Limits,
    /// How many callers are remembered that stand in no file.
    pub max_tracked: usize,
}

/// Somebody who may call.
#[derive(Clone, Debug, Default)]
pub struct Identity {
    /// To tell callers apart.
    pub caller: Caller,
    /// Whose share of the places its calls take: the caller's own if its credentials are proved,
    /// otherwise that of whoever calls from the same place.
    pub share: Caller,
    /// The caller's own key for DashScope, if that is how it is known.
    pub api_key: Option<Secret>,
    account: Option<Arc<Account>>,
    limits: Arc<Limits>,
}

impl Identity {
    fn new(account: Arc<Account>, limits: Arc<Limits>) -> Self {
        Self {
            caller: account.caller,
            share: account.caller,
            api_key: None,
            account: Some(account),
            limits,
        }
    }

    /// The name of the caller, for logs and metrics. Never a key.
    pub fn name(&self) -> Option<&Arc<str>> {
        self.account.as_ref().map(|account| &account.name)
    }

    /// Takes a place and a request of the caller's limits for a call whose head has arrived, or
    /// refuses and takes nothing. What depends on the request is taken by [`Pass::charge`].
    pub fn enter(&self) -> Result<Pass, Error> {
        match &self.account {
            Some(account) => account::enter(account, &self.limits, Now::read()),
            None => Ok(Pass::default()),
        }
    }
}

/// Knows the callers. Cheap to clone.
#[derive(Clone)]
pub struct Callers {
    inner: Arc<Inner>,
}

struct Inner {
    keys: Option<Keys>,
    /// Those who use a key of their own for DashScope.
    own_keys: Option<Register>,
    /// Those whom an authority names in tokens.
    tokens: Option<(Tokens, Register)>,
    /// Those who are known by the certificate of their connection.
    certificates: Option<(Vec<String>, Register)>,
    limits: Arc<Limits>,
    /// All callers together, when nobody is asked who he is and there are limits all the same.
    anyone: Option<Arc<Account>>,
    /// Keyed, so that nobody can choose credentials that fall together with another's.
    hasher: RandomState,
}

impl Callers {
    /// Reads what the settings name.
    pub fn new(settings: &CallersConfig) -> Result<Self, Error> {
        let hasher = RandomState::new();
        let terms = || Terms {
            limits: settings.limits.clone(),
            hasher: hasher.clone(),
        };
        let keys = settings.keys_file.clone();
        let keys = keys.map(|path| Keys::open(path, terms())).transpose()?;
        let register = || Register::new(settings.max_tracked);
        let tokens = settings.tokens.clone().map(Tokens::open).transpose()?;
        let uris = Some(&settings.certificate_uris).filter(|uris| !uris.is_empty());
        let anyone = || Arc::new(Account::new("anyone".into(), Caller::default()));
        let inner = Inner {
            keys,
            own_keys: settings.pass_through.then(register),
            tokens: tokens.map(|tokens| (tokens, register())),
            certificates: uris.map(|uris| (uris.clone(), register())),
            anyone: (settings.limits != Limits::default()).then(anyone),
            limits: Arc::new(settings.limits.clone()),
            hasher,
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// Who shows these credentials. A key or a token counts before a certificate, and a wrong one
    /// is refused whatever stands beside it; where neither is accepted they are not looked at.
    pub async fn identify(&self, shown: &Credentials<'_>) -> Result<Identity, Error> {
        let inner = &*self.inner;
        let texts = inner.keys.is_some() || inner.own_keys.is_some() || inner.tokens.is_some();
        match &inner.certificates {
            None if !texts => Ok(self.anyone(shown)),
            Some((patterns, register)) if !texts || !shown.has_text() => {
                self.of_certificate(patterns, register, shown.uris)
            }
            None | Some(_) => {
                let text = shown.text().ok_or_else(|| refusal("no key was sent"))?;
                self.of_text(text, shown.origin).await
            }
        }
    }

    /// Whose key or token this is. Its looks say of which kind it is.
    async fn of_text(&self, text: &str, origin: Origin) -> Result<Identity, Error> {
        let inner = &*self.inner;
        match (&inner.own_keys, &inner.tokens, &inner.keys) {
            (Some(register), _, _) if credentials::is_for_dashscope(text) => {
                self.own_key(register, text, origin)
            }
            (_, Some((tokens, register)), _) if token::is_token(text) => {
                // In a box, because it may fetch keys, and every call would be as large as that.
                let named = Box::pin(tokens.check(text)).await.map_err(refusal)?;
                let limits = match named.limits == Overrides::default() {
                    true => Arc::clone(&inner.limits),
                    false => Arc::new(named.limits.over(&inner.limits)),
                };
                let account = self.remembered(register, "jwt", &named.name, || {
                    format!("jwt:{}", named.name)
                })?;
                Ok(Identity::new(account, limits))
            }
            (_, _, Some(keys)) => {
                let holder = keys.find(text, date::now()).map_err(refusal)?;
                Ok(Identity::new(holder.account, holder.limits))
            }
            (_, _, None) => Err(refusal("unsupported kind of credentials")),
        }
    }

    /// A caller who is known by the one URI in the certificate of its connection. A certificate
    /// with several is refused, as SPIFFE has it: which of them calls is not known.
    fn of_certificate(
        &self,
        patterns: &[String],
        register: &Register,
        uris: &[String],
    ) -> Result<Identity, Error> {
        let uri = match uris {
            [] => {
                return Err(refusal(
                    "neither a key nor a certificate with a URI was sent",
                ));
            }
            [_, _, ..] => return Err(refusal("the certificate has more than one URI")),
            [uri] => uri,
        };
        if !patterns.iter().any(|pattern| uri::fits(pattern, uri)) {
            return Err(refusal("the URI of the certificate is not accepted"));
        }
        let account = self.remembered(register, "uri", uri, || uri.clone())?;
        Ok(Identity::new(account, Arc::clone(&self.inner.limits)))
    }

    /// A caller who pays DashScope by himself. Whether the key is good, DashScope says; until it
    /// has, anyone can make such keys up, and they share what their origin has.
    fn own_key(&self, register: &Register, text: &str, origin: Origin) -> Result<Identity, Error> {
        // The whole hash tells such callers apart, a part of it is their name.
        let digest = Digest::of(text).hex();
        let account = self.remembered(register, "dashscope", &digest, || {
            format!("dashscope:{}", digest.get(..12).unwrap_or_default())
        })?;
        let share = match account.is_served() {
            true => account.caller,
            false => self.share_of(origin),
        };
        let identity = Identity::new(account, Arc::clone(&self.inner.limits));
        Ok(Identity {
            api_key: Some(Secret::new(text)),
            share,
            ..identity
        })
    }

    /// A caller of a kind that stands in no file.
    fn remembered(
        &self,
        register: &Register,
        kind: &str,
        who: &str,
        name: impl FnOnce() -> String,
    ) -> Result<Arc<Account>, Error> {
        register.account(who, || {
            let caller = Caller(self.inner.hasher.hash_one((kind, who)));
            Account::new(name().into(), caller)
        })
    }

    /// The share of callers that differ only in their address.
    pub fn share_of(&self, origin: Origin) -> Caller {
        Caller(self.inner.hasher.hash_one(("origin", origin)))
    }

    /// Credentials are not required; those that are sent distinguish callers, but give
    /// no share of their own: anyone can make them up.
    fn anyone(&self, shown: &Credentials<'_>) -> Identity {
        let caller = match (shown.authorization, shown.api_key) {
            (None, None) => Caller::default(),
            shown => Caller(self.inner.hasher.hash_one(shown)),
        };
        Identity {
            caller,
            share: self.share_of(shown.origin),
            api_key: None,
            account: self.inner.anyone.clone(),
            limits: Arc::clone(&self.inner.limits),
        }
    }

    /// Keeps keys up to date when their files or their authority change, until it is dropped.
    pub async fn watch(&self) {
        let keys = async {
            if let Some(keys) = &self.inner.keys {
                keys.watch().await;
            }
        };
        let tokens = async {
            if let Some((tokens, _)) = &self.inner.tokens {
                tokens.watch().await;
            }
        };
        tokio::join!(keys, tokens, std::future::pending::<()>());
    }
}

/// The one text for all that can be wrong, and for the log what it was.
fn refusal(why: &'static str) -> Error {
    let message = "authentication failed: no valid credentials; send a key or token as metadata, \
                   `authorization: Bearer KEY` or `x-api-key: KEY`, or contact the operator";
    Error::new(Reason::Unauthenticated, message).with_source(why)
}

#[cfg(test)]
mod tests {
    use super::credentials::Shown;
    use super::*;

    fn with_key(key: &str) -> Credentials<'_> {
        Credentials {
            authorization: None,
            api_key: Some(Shown(key.as_bytes())),
            ..Credentials::default()
        }
    }

    #[tokio::test]
    async fn with_no_kind_accepted_anyone_may_call_and_callers_are_told_apart() {
        let callers = Callers::new(&CallersConfig::default()).unwrap();
        let of = async |key| callers.identify(&with_key(key)).await.unwrap().caller;
        let nobody = callers.identify(&Credentials::default()).await.unwrap();
        assert_eq!((nobody.caller, nobody.name()), (Caller::default(), None));
        assert_eq!(of("a").await, of("a").await);
        assert_ne!(of("a").await, of("b").await);
    }

    #[tokio::test]
    async fn anyone_is_one_caller_for_the_limits() {
        let settings = CallersConfig {
            limits: Limits {
                max_streams: 1,
                ..Limits::default()
            },
            ..CallersConfig::default()
        };
        let callers = Callers::new(&settings).unwrap();
        let admit = async |key| {
            let identity = callers.identify(&with_key(key)).await;
            identity.unwrap().enter()
        };
        let pass = admit("a").await.unwrap();
        let error = admit("b").await.unwrap_err();
        assert_eq!(error.reason(), Reason::CallerStreams);
        drop(pass);
        admit("b").await.unwrap();
    }

    #[tokio::test]
    async fn a_key_for_dashscope_is_a_caller_of_its_own_and_is_never_seen() {
        let settings = CallersConfig {
            pass_through: true,
            max_tracked: 10,
            ..CallersConfig::default()
        };
        let callers = Callers::new(&settings).unwrap();
        let of = async |key| callers.identify(&with_key(key)).await.unwrap();
        let (one, other) = (of("sk-canary1").await, of("sk-canary2").await);
        assert_ne!(one.caller, other.caller);
        assert_ne!(one.name(), other.name());
        assert_eq!(of("sk-canary1").await.caller, one.caller);
        assert_eq!(one.api_key.as_ref().unwrap().expose(), "sk-canary1");
        assert!(!format!("{one:?}").contains("canary"));
        for wrong in ["", "sk-", "canary", "sk-a b", "dg_0123456789ab_0"] {
            let error = callers.identify(&with_key(wrong)).await.unwrap_err();
            assert_eq!(error.reason(), Reason::Unauthenticated, "{wrong}");
        }
    }

    #[tokio::test]
    async fn what_anyone_can_make_up_takes_no_share_of_its_own() {
        let at = |key: &'static str, number| Credentials {
            origin: Origin::Connection(number),
            ..with_key(key)
        };
        let open = Callers::new(&CallersConfig::default()).unwrap();
        let own = Callers::new(&CallersConfig {
            pass_through: true,
            max_tracked: 10,
            ..CallersConfig::default()
        });
        let own = own.unwrap();
        for callers in [&open, &own] {
            let of = async |key, number| callers.identify(&at(key, number)).await.unwrap();
            let one = of("sk-a", 1).await;
            assert_eq!(one.share, of("sk-b", 1).await.share);
            assert_ne!(one.share, of("sk-a", 2).await.share);
        }
        // Once DashScope has answered to a key, it is somebody's.
        let known = async |number| own.identify(&at("sk-a", number)).await.unwrap();
        known(1).await.enter().unwrap().settle(1);
        assert_eq!(known(1).await.share, known(2).await.share);
        let other = own.identify(&at("sk-b", 1)).await.unwrap();
        assert_ne!(known(1).await.share, other.share);
    }

    #[tokio::test]
    async fn a_certificate_counts_where_no_key_is_shown() {
        let settings = CallersConfig {
            certificate_uris: vec!["spiffe://example.org/ns/*/sa/talk".to_owned()],
            max_tracked: 10,
            ..CallersConfig::default()
        };
        let both = CallersConfig {
            pass_through: true,
            ..settings.clone()
        };
        let good = ["spiffe://example.org/ns/shop/sa/talk".to_owned()];
        let bad = ["spiffe://evil.example/ns/shop/sa/talk".to_owned()];
        let two = [good[0].clone(), "https://other".to_owned()];
        let key = Some(Shown(b"sk-1"));
        let wrong = Some(Shown(b"wrong"));
        for (settings, api_key, uris, expected) in [
            (
                &settings,
                None,
                &good[..],
                Some("spiffe://example.org/ns/shop/sa/talk"),
            ),
            (&settings, None, &bad[..], None),
            (&settings, None, &two[..], None),
            (&both, None, &two[..], None),
            (&settings, None, &[][..], None),
            // Where no kind of key is accepted, what a proxy or a client adds does not matter.
            (
                &settings,
                wrong,
                &good[..],
                Some("spiffe://example.org/ns/shop/sa/talk"),
            ),
            (
                &both,
                None,
                &good[..],
                Some("spiffe://example.org/ns/shop/sa/talk"),
            ),
            (&both, key, &good[..], Some("dashscope:")),
            (&both, wrong, &good[..], None),
        ] {
            let shown = Credentials {
                api_key,
                uris,
                ..Credentials::default()
            };
            let found = Callers::new(settings).unwrap().identify(&shown).await.ok();
            let name = found.as_ref().and_then(Identity::name);
            match (name, expected) {
                (Some(name), Some(expected)) => assert!(name.starts_with(expected), "{name}"),
                (name, expected) => assert_eq!(name.map(|name| &**name), expected, "{uris:?}"),
            }
        }
    }
}
