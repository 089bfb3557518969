//! Who calls, whether that is accepted, and how much each may use.
//!
//! [`Callers`] is asked once for each call, with what the call shows. As soon as the operator
//! accepts one kind of credentials, a call without any is refused. A refusal is one text, whatever
//! was wrong: which part it was is for the log alone. Who is known has an [`Identity`], and by it a
//! place and tokens for the call, within its limits.

pub mod account;
mod bucket;
pub mod date;
pub mod edit;
pub mod file;
pub mod key;
mod keys;
pub mod limits;
mod register;
pub mod shown;

use std::hash::{BuildHasher, RandomState};
use std::path::PathBuf;
use std::sync::Arc;

use crate::chat::call::Caller;
use crate::error::{Error, Reason};
use crate::secret::Secret;

use account::{Account, Ask, Now, Pass};
use key::Digest;
use keys::{Keys, Terms};
use limits::Limits;
use register::Register;
use shown::Credentials;

/// Which credentials the operator accepts. With none, anyone may call.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// The file of keys of our own.
    pub keys_file: Option<PathBuf>,
    /// Whether a key for DashScope is accepted, and used for the call.
    pub pass_through: bool,
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
    /// The caller's own key for DashScope, if that is how it is known.
    pub api_key: Option<Secret>,
    account: Option<Arc<Account>>,
    limits: Arc<Limits>,
}

impl Identity {
    /// The name of the caller, for logs and metrics. Never a key.
    pub fn name(&self) -> Option<&Arc<str>> {
        self.account.as_ref().map(|account| &account.name)
    }

    /// Takes a place and tokens for a call, or refuses and takes nothing.
    pub fn admit(&self, ask: Ask<'_>) -> Result<Pass, Error> {
        match &self.account {
            Some(account) => account::admit(account, &self.limits, ask, Now::read()),
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
    limits: Arc<Limits>,
    /// All callers together, when nobody is asked who he is and there are limits all the same.
    anyone: Option<Arc<Account>>,
    /// Keyed, so that nobody can choose credentials that fall together with another's.
    hasher: RandomState,
}

impl Callers {
    /// Reads what the settings name.
    pub fn new(settings: &Settings) -> Result<Self, Error> {
        let hasher = RandomState::new();
        let terms = || Terms {
            limits: settings.limits.clone(),
            hasher: hasher.clone(),
        };
        let keys = settings.keys_file.clone();
        let keys = keys.map(|path| Keys::open(path, terms())).transpose()?;
        let register = || Register::new(settings.max_tracked);
        let anyone = || Arc::new(Account::new("anyone".into(), Caller::default()));
        let inner = Inner {
            keys,
            own_keys: settings.pass_through.then(register),
            anyone: (settings.limits != Limits::default()).then(anyone),
            limits: Arc::new(settings.limits.clone()),
            hasher,
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// Whether callers need credentials.
    pub fn are_asked(&self) -> bool {
        self.inner.keys.is_some() || self.inner.own_keys.is_some()
    }

    /// Who shows these credentials.
    pub fn identify(&self, shown: &Credentials<'_>) -> Result<Identity, Error> {
        if !self.are_asked() {
            return Ok(self.anyone(shown));
        }
        let text = shown.text().ok_or_else(|| refusal("no key was sent"))?;
        if let Some(register) = &self.inner.own_keys
            && shown::is_for_dashscope(text)
        {
            return self.own_key(register, text);
        }
        let keys = self.inner.keys.as_ref();
        let keys = keys.ok_or_else(|| refusal("what was sent is of no kind that is accepted"))?;
        let holder = keys.find(text, date::now()).map_err(refusal)?;
        Ok(Identity {
            caller: holder.account.caller,
            api_key: None,
            account: Some(holder.account),
            limits: holder.limits,
        })
    }

    /// A caller who pays DashScope by himself. Whether the key is good, DashScope says.
    fn own_key(&self, register: &Register, text: &str) -> Result<Identity, Error> {
        // The whole hash tells such callers apart, a part of it is their name.
        let digest = Digest::of(text).hex();
        let account = register.account(&digest, || {
            let name = format!("dashscope:{}", digest.get(..12).unwrap_or_default());
            let caller = Caller(self.inner.hasher.hash_one(("dashscope", &digest)));
            Account::new(name.into(), caller)
        })?;
        Ok(Identity {
            caller: account.caller,
            api_key: Some(Secret::new(text)),
            account: Some(account),
            limits: Arc::clone(&self.inner.limits),
        })
    }

    /// Nobody is asked who he is; what is shown all the same tells callers apart.
    fn anyone(&self, shown: &Credentials<'_>) -> Identity {
        let caller = match (shown.authorization, shown.api_key) {
            (None, None) => Caller::default(),
            shown => Caller(self.inner.hasher.hash_one(shown)),
        };
        Identity {
            caller,
            api_key: None,
            account: self.inner.anyone.clone(),
            limits: Arc::clone(&self.inner.limits),
        }
    }

    /// Reads files again when they change, until it is dropped.
    pub async fn watch(&self) {
        match &self.inner.keys {
            Some(keys) => keys.watch().await,
            None => std::future::pending().await,
        }
    }
}

/// The one text for all that can be wrong, and for the log what it was.
fn refusal(why: &'static str) -> Error {
    let message = "the call shows no credentials that are accepted here; send your key as \
                   metadata, `authorization: Bearer KEY` or `x-api-key: KEY`";
    Error::new(Reason::Unauthenticated, message).with_source(why)
}

#[cfg(test)]
mod tests {
    use super::shown::Shown;
    use super::*;

    fn with_key(key: &str) -> Credentials<'_> {
        Credentials {
            authorization: None,
            api_key: Some(Shown(key.as_bytes())),
        }
    }

    #[test]
    fn with_no_kind_accepted_anyone_may_call_and_callers_are_told_apart() {
        let callers = Callers::new(&Settings::default()).unwrap();
        let of = |key| callers.identify(&with_key(key)).unwrap().caller;
        let nobody = callers.identify(&Credentials::default()).unwrap();
        assert_eq!((nobody.caller, nobody.name()), (Caller::default(), None));
        assert_eq!(of("a"), of("a"));
        assert_ne!(of("a"), of("b"));
        assert!(!callers.are_asked());
    }

    #[tokio::test]
    async fn anyone_is_one_caller_for_the_limits() {
        let settings = Settings {
            limits: Limits {
                max_streams: 1,
                ..Limits::default()
            },
            ..Settings::default()
        };
        let callers = Callers::new(&settings).unwrap();
        let ask = Ask {
            model: "m",
            tokens: 1,
        };
        let admit = |key| callers.identify(&with_key(key)).unwrap().admit(ask);
        let pass = admit("a").unwrap();
        let error = admit("b").unwrap_err();
        assert_eq!(error.reason(), Reason::CallerStreams);
        drop(pass);
        admit("b").unwrap();
    }

    #[tokio::test]
    async fn a_key_for_dashscope_is_a_caller_of_its_own_and_is_never_seen() {
        let settings = Settings {
            pass_through: true,
            max_tracked: 10,
            ..Settings::default()
        };
        let callers = Callers::new(&settings).unwrap();
        let of = |key| callers.identify(&with_key(key)).unwrap();
        let (one, other) = (of("sk-canary1"), of("sk-canary2"));
        assert_ne!(one.caller, other.caller);
        assert_ne!(one.name(), other.name());
        assert_eq!(of("sk-canary1").caller, one.caller);
        assert_eq!(one.api_key.as_ref().unwrap().expose(), "sk-canary1");
        assert!(!format!("{one:?}").contains("canary"));
        for wrong in ["", "sk-", "canary", "sk-a b", "dg_0123456789ab_0"] {
            let error = callers.identify(&with_key(wrong)).unwrap_err();
            assert_eq!(error.reason(), Reason::Unauthenticated, "{wrong}");
        }
    }
}
