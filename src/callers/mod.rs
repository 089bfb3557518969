//! Authentication of callers, and their limits.
//!
//! [`Callers`] verifies the credentials of each call. As soon as one kind of credentials is
//! configured, a call without any is refused. The error has the same text in all cases; the log has
//! the reason. An accepted caller has an [`Identity`], which takes the slot and the tokens of a
//! call within the caller's limits.

pub mod api_key;
mod caller_cache;
pub mod caller_permit;
pub mod caller_usage;
pub mod credentials;
pub mod date;
pub mod edit;
mod file_watcher;
mod identity;
pub mod jwks;
pub mod key_file;
mod key_table;
pub mod limits;
mod now;
mod shared_limits;
pub(crate) mod tenant;
pub mod token;
mod uri;

use std::hash::{BuildHasher, RandomState};
use std::path::PathBuf;
use std::sync::Arc;

use crate::chat::call::{Caller, Origin, Tenant};
use crate::error::{Error, Reason};
use crate::quotas::Quotas;
use crate::secret::Secret;

pub use identity::Identity;

use api_key::Digest;
use caller_cache::CallerCache;
use caller_usage::Account;
use credentials::Credentials;
use key_table::{KeyDefaults, Keys};
use limits::{Limits, Overrides};
use token::TokenVerifier;

/// The accepted kinds of credentials. Without any, no authentication is required.
#[derive(Clone, Debug, Default)]
pub struct CallersConfig {
    /// The key file.
    pub keys_file: Option<PathBuf>,
    /// Whether a DashScope API key is accepted, and used for the call.
    pub pass_through: bool,
    /// The accepted tokens.
    pub tokens: Option<token::TokenConfig>,
    /// The accepted URIs in certificates; `*` matches a part of one segment.
    pub certificate_uris: Vec<String>,
    /// The default limits.
    pub limits: Limits,
    /// The most callers to remember that are in no file.
    pub max_tracked: usize,
    /// Whether there is a store.
    pub stored: bool,
}

/// Authenticates callers. Cheap to clone.
#[derive(Clone)]
pub struct Callers {
    inner: Arc<Inner>,
}

struct Inner {
    keys: Option<Keys>,
    /// Callers that authenticate with a DashScope API key.
    api_keys: Option<CallerCache>,
    /// Callers that authenticate with a token.
    tokens: Option<(TokenVerifier, CallerCache)>,
    /// Callers that authenticate with a certificate.
    certificates: Option<(Vec<String>, CallerCache)>,
    limits: Arc<Limits>,
    /// Whether callers without required credentials need a tenant.
    stored: bool,
    /// The limits that replicas share, if there is a store.
    quotas: Option<Quotas>,
    /// All callers together, if there are limits without authentication.
    anyone: Option<Arc<Account>>,
    /// Keyed, so that no credentials can be chosen that collide with another caller's.
    hasher: RandomState,
}

impl Inner {
    /// Whether callers may authenticate with a key or a token.
    fn accept_texts(&self) -> bool {
        self.keys.is_some() || self.api_keys.is_some() || self.tokens.is_some()
    }
}

impl Callers {
    /// Reads the files that the settings name. With `quotas`, replicas share the limits.
    pub fn new(settings: &CallersConfig, quotas: Option<Quotas>) -> Result<Self, Error> {
        let hasher = RandomState::new();
        let defaults = || KeyDefaults {
            limits: settings.limits.clone(),
            hasher: hasher.clone(),
            quotas: quotas.clone(),
        };
        let keys = settings.keys_file.clone();
        let keys = keys.map(|path| Keys::open(path, defaults())).transpose()?;
        let cache = || CallerCache::new(settings.max_tracked);
        let tokens = settings
            .tokens
            .clone()
            .map(TokenVerifier::open)
            .transpose()?;
        let uris = Some(&settings.certificate_uris).filter(|uris| !uris.is_empty());
        let anyone = || {
            let everyone = (Caller::default(), Tenant::default());
            Arc::new(Account::new("anyone".into(), everyone, quotas.as_ref()))
        };
        let inner = Inner {
            keys,
            api_keys: settings.pass_through.then(cache),
            tokens: tokens.map(|tokens| (tokens, cache())),
            certificates: uris.map(|uris| (uris.clone(), cache())),
            anyone: (settings.limits != Limits::default()).then(anyone),
            limits: Arc::new(settings.limits.clone()),
            stored: settings.stored,
            quotas,
            hasher,
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// Authenticates a call. A key or token takes precedence over a certificate, and an invalid one
    /// is refused whatever else there is; kinds that are not configured are ignored.
    pub async fn authenticate(&self, credentials: &Credentials<'_>) -> Result<Identity, Error> {
        let identity = self.identify(credentials).await?;
        if identity.is_missing_shares() {
            // Boxed, because its size would add to every call.
            Box::pin(identity.prepare()).await;
        }
        Ok(identity)
    }

    async fn identify(&self, credentials: &Credentials<'_>) -> Result<Identity, Error> {
        let inner = &*self.inner;
        let texts = inner.accept_texts();
        match &inner.certificates {
            None if !texts => Ok(self.anyone(credentials)),
            Some((patterns, cache)) if !texts || !credentials.has_text() => {
                self.authenticate_certificate(patterns, cache, credentials.uris)
            }
            None | Some(_) => {
                let text = credentials
                    .text()
                    .ok_or_else(|| authentication_error("no key was sent"))?;
                self.authenticate_text(text, credentials.origin).await
            }
        }
    }

    /// Authenticates a key or a token, whose format determines its kind.
    async fn authenticate_text(&self, text: &str, origin: Origin) -> Result<Identity, Error> {
        let inner = &*self.inner;
        match (&inner.api_keys, &inner.tokens, &inner.keys) {
            (Some(cache), _, _) if credentials::is_for_dashscope(text) => {
                self.authenticate_api_key(cache, text, origin)
            }
            (_, Some((tokens, cache)), _) if token::is_token(text) => {
                // Boxed, because it may fetch keys, and its size would add to every call.
                let token = Box::pin(tokens.check(text))
                    .await
                    .map_err(authentication_error)?;
                let limits = match token.limits == Overrides::default() {
                    true => Arc::clone(&inner.limits),
                    false => Arc::new(token.limits.apply_to(&inner.limits)),
                };
                let account =
                    self.cached(cache, "jwt", &token.name, || format!("jwt:{}", token.name))?;
                Ok(Identity::new(account, limits))
            }
            (_, _, Some(keys)) => {
                let owner = keys.find(text, date::now()).map_err(authentication_error)?;
                Ok(Identity::new(owner.account, owner.limits))
            }
            (_, _, None) => Err(authentication_error("unsupported kind of credentials")),
        }
    }

    /// Authenticates the one URI in a certificate. A certificate with several is refused, as SPIFFE
    /// requires: the caller would be ambiguous.
    fn authenticate_certificate(
        &self,
        patterns: &[String],
        cache: &CallerCache,
        uris: &[String],
    ) -> Result<Identity, Error> {
        let uri = match uris {
            [] => {
                return Err(
                    self.certificate_error("neither a key nor a certificate with a URI was sent")
                );
            }
            [_, _, ..] => {
                return Err(self.certificate_error("the certificate has more than one URI"));
            }
            [uri] => uri,
        };
        if !patterns.iter().any(|pattern| uri::matches(pattern, uri)) {
            return Err(self.certificate_error("the URI of the certificate is not accepted"));
        }
        let account = self.cached(cache, "uri", uri, || uri.clone())?;
        Ok(Identity::new(account, Arc::clone(&self.inner.limits)))
    }

    /// The error of a call without an accepted certificate. Keys and tokens are suggested only if
    /// they are accepted.
    fn certificate_error(&self, why: &'static str) -> Error {
        if self.inner.accept_texts() {
            return authentication_error(why);
        }
        let message = "authentication failed: no valid credentials; use a client certificate with \
                       one URI that is accepted here, or contact the operator";
        Error::new(Reason::Unauthenticated, message).with_source(why)
    }

    /// Authenticates a DashScope API key. Only DashScope verifies it; until it has, keys can be
    /// invented, and such callers share the capacity of their origin.
    fn authenticate_api_key(
        &self,
        cache: &CallerCache,
        text: &str,
        origin: Origin,
    ) -> Result<Identity, Error> {
        // The whole hash distinguishes the callers, a part of it is the name.
        let digest = Digest::of(text).hex();
        let account = self.cached(cache, "dashscope", &digest, || {
            format!("dashscope:{}", digest.get(..12).unwrap_or_default())
        })?;
        let share = match account.is_verified() {
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

    /// The account of a caller that is in no file.
    fn cached(
        &self,
        cache: &CallerCache,
        kind: &str,
        who: &str,
        name: impl FnOnce() -> String,
    ) -> Result<Arc<Account>, Error> {
        cache.account(who, || {
            let caller = Caller(self.inner.hasher.hash_one((kind, who)));
            let tenant = tenant::of(kind, who);
            Account::new(name().into(), (caller, tenant), self.inner.quotas.as_ref())
        })
    }

    /// The share of callers that differ only in their address.
    pub fn share_of(&self, origin: Origin) -> Caller {
        Caller(self.inner.hasher.hash_one(("origin", origin)))
    }

    /// Credentials are not required; those that are sent distinguish callers, but give no share of
    /// their own, because they can be invented.
    fn anyone(&self, credentials: &Credentials<'_>) -> Identity {
        let caller = match (credentials.authorization, credentials.api_key) {
            (None, None) => Caller::default(),
            credentials => Caller(self.inner.hasher.hash_one(credentials)),
        };
        Identity {
            caller,
            share: self.share_of(credentials.origin),
            tenant: match self.inner.stored {
                true => tenant::of_anyone(credentials),
                false => Tenant::default(),
            },
            api_key: None,
            account: self.inner.anyone.clone(),
            limits: Arc::clone(&self.inner.limits),
        }
    }

    /// Updates keys when their files or their issuer change, until it is dropped.
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

/// The error of every failed authentication, and the reason for the log.
fn authentication_error(why: &'static str) -> Error {
    let message = "authentication failed: no valid credentials; send a key or token as metadata, \
                   `authorization: Bearer KEY` or `x-api-key: KEY`, or contact the operator";
    Error::new(Reason::Unauthenticated, message).with_source(why)
}

#[cfg(test)]
mod tests {
    use super::credentials::CredentialBytes;
    use super::*;

    fn with_key(key: &str) -> Credentials<'_> {
        Credentials {
            authorization: None,
            api_key: Some(CredentialBytes(key.as_bytes())),
            ..Credentials::default()
        }
    }

    #[tokio::test]
    async fn without_authentication_anyone_may_call_and_callers_are_distinguished() {
        let callers = Callers::new(&CallersConfig::default(), None).unwrap();
        let of = async |key| callers.authenticate(&with_key(key)).await.unwrap().caller;
        let anonymous = callers.authenticate(&Credentials::default()).await.unwrap();
        assert_eq!(
            (anonymous.caller, anonymous.name()),
            (Caller::default(), None)
        );
        assert_eq!(of("a").await, of("a").await);
        assert_ne!(of("a").await, of("b").await);
    }

    #[tokio::test]
    async fn unauthenticated_callers_share_the_limits() {
        let settings = CallersConfig {
            limits: Limits {
                max_streams: 1,
                ..Limits::default()
            },
            ..CallersConfig::default()
        };
        let callers = Callers::new(&settings, None).unwrap();
        let admit = async |key| {
            let identity = callers.authenticate(&with_key(key)).await;
            identity.unwrap().enter()
        };
        let pass = admit("a").await.unwrap();
        let error = admit("b").await.unwrap_err();
        assert_eq!(error.reason(), Reason::CallerStreams);
        drop(pass);
        admit("b").await.unwrap();
    }

    #[tokio::test]
    async fn a_dashscope_key_is_a_caller_and_is_never_shown() {
        let settings = CallersConfig {
            pass_through: true,
            max_tracked: 10,
            ..CallersConfig::default()
        };
        let callers = Callers::new(&settings, None).unwrap();
        let of = async |key| callers.authenticate(&with_key(key)).await.unwrap();
        let (one, other) = (of("sk-canary1").await, of("sk-canary2").await);
        assert_ne!(one.caller, other.caller);
        assert_ne!(one.name(), other.name());
        assert_eq!(of("sk-canary1").await.caller, one.caller);
        assert_eq!(one.api_key.as_ref().unwrap().expose(), "sk-canary1");
        assert!(!format!("{one:?}").contains("canary"));
        for wrong in ["", "sk-", "canary", "sk-a b", "dg_0123456789ab_0"] {
            let error = callers.authenticate(&with_key(wrong)).await.unwrap_err();
            assert_eq!(error.reason(), Reason::Unauthenticated, "{wrong}");
        }
    }

    #[tokio::test]
    async fn made_up_credentials_get_no_share_of_their_own() {
        let at = |key: &'static str, number| Credentials {
            origin: Origin::Connection(number),
            ..with_key(key)
        };
        let open = Callers::new(&CallersConfig::default(), None).unwrap();
        let own = Callers::new(
            &CallersConfig {
                pass_through: true,
                max_tracked: 10,
                ..CallersConfig::default()
            },
            None,
        );
        let own = own.unwrap();
        for callers in [&open, &own] {
            let of = async |key, number| callers.authenticate(&at(key, number)).await.unwrap();
            let one = of("sk-a", 1).await;
            assert_eq!(one.share, of("sk-b", 1).await.share);
            assert_ne!(one.share, of("sk-a", 2).await.share);
        }
        // Once DashScope has accepted a key, it has an owner.
        let known = async |number| own.authenticate(&at("sk-a", number)).await.unwrap();
        known(1).await.enter().unwrap().settle(1);
        assert_eq!(known(1).await.share, known(2).await.share);
        let other = own.authenticate(&at("sk-b", 1)).await.unwrap();
        assert_ne!(known(1).await.share, other.share);
    }

    #[tokio::test]
    async fn a_certificate_authenticates_if_no_key_is_sent() {
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
        let key = Some(CredentialBytes(b"sk-1"));
        let wrong = Some(CredentialBytes(b"wrong"));
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
            // Where no kind of key is configured, headers that a proxy or a client adds are
            // ignored.
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
            let credentials = Credentials {
                api_key,
                uris,
                ..Credentials::default()
            };
            let found = Callers::new(settings, None)
                .unwrap()
                .authenticate(&credentials)
                .await
                .ok();
            let name = found.as_ref().and_then(Identity::name);
            match (name, expected) {
                (Some(name), Some(expected)) => assert!(name.starts_with(expected), "{name}"),
                (name, expected) => assert_eq!(name.map(|name| &**name), expected, "{uris:?}"),
            }
        }
    }
}
