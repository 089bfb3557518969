//! Tokens signed by an issuer: JSON Web Tokens, as from OpenID Connect and service meshes.
//!
//! The configuration fixes the issuer, the audience, the keys and the algorithms, all of them
//! asymmetric. The fields of a token only select among these.

use std::collections::HashMap;
use std::time::Duration;

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, AlgorithmFamily, Validation};
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::error::{Error, Reason};
use crate::net::Network;

use super::jwks::{Jwks, JwksSource};
use super::limits::{MAX_LIMIT, Overrides};

/// The longest token: it has to fit in the metadata of a call.
const MAX_TOKEN: usize = 8 * 1024;

/// The longest name of a caller, which every log line of a call contains.
const MAX_NAME: usize = 128;

/// The accepted tokens.
#[derive(Clone, Debug)]
pub struct TokenConfig {
    /// The keys that verify them.
    pub jwks: JwksSource,
    /// How the URL is reached.
    pub network: Network,
    /// The issuer: `iss`.
    pub issuer: String,
    /// The audience: `aud` must have one of these.
    pub audience: Vec<String>,
    /// Names of the accepted algorithms.
    pub algorithms: Vec<String>,
    /// The most that the issuer's clock may differ.
    pub clock_skew: Duration,
    /// The claim with the name of the caller.
    pub name_claim: String,
    /// The claim with its limits, if the issuer may set them.
    pub limits_claim: Option<String>,
}

/// Verifies tokens.
pub(super) struct TokenVerifier {
    jwks: Jwks,
    /// One for each accepted algorithm, so that no token is verified by the rules of another.
    validations: Vec<(Algorithm, Validation)>,
    name_claim: String,
    limits_claim: Option<String>,
}

/// The content of a valid token.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TokenIdentity {
    /// Name of the caller.
    pub(super) name: String,
    /// Limits that override the defaults.
    pub(super) limits: Overrides,
}

/// A claim, reduced to the types in use.
#[derive(Deserialize)]
#[serde(untagged)]
enum Claim {
    Text(String),
    Limits(LimitsClaim),
    Other(IgnoredAny),
}

/// The limits claim, with the fields of the key file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LimitsClaim {
    models: Option<Vec<String>>,
    requests_per_minute: Option<u64>,
    tokens_per_minute: Option<u64>,
    max_streams: Option<u64>,
    tokens_per_day: Option<u64>,
    audio_seconds_per_day: Option<u64>,
}

impl TokenVerifier {
    /// Opens the set of keys.
    pub(super) fn open(settings: TokenConfig) -> Result<Self, Error> {
        let algorithms = settings.algorithms.iter().map(|name| algorithm(name));
        let algorithms = algorithms.collect::<Result<Vec<_>, _>>()?;
        let validation = |algorithm| {
            let mut validation = Validation::new(algorithm);
            validation.leeway = settings.clock_skew.as_secs();
            validation.validate_nbf = true;
            validation.set_required_spec_claims(&["exp", "iss", "aud"]);
            validation.set_issuer(&[&settings.issuer]);
            validation.set_audience(&settings.audience);
            (algorithm, validation)
        };
        Ok(Self {
            validations: algorithms.into_iter().map(validation).collect(),
            jwks: Jwks::open(settings.jwks, &settings.network)?,
            name_claim: settings.name_claim,
            limits_claim: settings.limits_claim,
        })
    }

    /// Verifies a token. The error is the reason, for the log.
    pub(super) async fn check(&self, token: &str) -> Result<TokenIdentity, &'static str> {
        if token.len() > MAX_TOKEN {
            return Err("the token is longer than 8 KiB");
        }
        let header = jsonwebtoken::decode_header(token);
        let header = header.map_err(|_| "invalid token header")?;
        let mut validations = self.validations.iter();
        let accepted = validations.find(|(algorithm, _)| *algorithm == header.alg);
        let (_, validation) = accepted.ok_or("the algorithm of the token is not accepted")?;
        if header.crit.is_some() {
            return Err("the token has an unsupported critical header");
        }
        let kinds = ["JWT", "at+jwt", "application/at+jwt"];
        let is_one = |typ: &String| kinds.iter().any(|kind| typ.eq_ignore_ascii_case(kind));
        if !header.typ.as_ref().is_none_or(is_one) {
            return Err("the token has the wrong type");
        }
        let key = self.jwks.key(header.kid.as_deref(), header.alg).await;
        let key = key.ok_or("the token is signed by an unknown key")?;
        let claims = jsonwebtoken::decode::<HashMap<String, Claim>>(token, &key, validation)
            .map_err(|error| why(error.kind()))?
            .claims;
        self.identity(claims)
    }

    fn identity(&self, mut claims: HashMap<String, Claim>) -> Result<TokenIdentity, &'static str> {
        let Some(Claim::Text(name)) = claims.remove(&self.name_claim) else {
            return Err("the token does not name its caller");
        };
        if name.is_empty() || name.len() > MAX_NAME || name.chars().any(char::is_control) {
            return Err("the name in the token is empty, too long, or has control characters");
        }
        let limits = self.limits_claim.as_ref();
        let limits = match limits.and_then(|claim| claims.remove(claim)) {
            None => Overrides::default(),
            // An unreadable claim was meant as a limit.
            Some(Claim::Text(_) | Claim::Other(_)) => return Err("the limits cannot be read"),
            Some(Claim::Limits(limits)) => limits.checked().ok_or("the limits are too large")?,
        };
        Ok(TokenIdentity { name, limits })
    }

    /// Keeps the keys up to date until it is dropped.
    pub(super) async fn watch(&self) {
        self.jwks.watch().await;
    }
}

impl LimitsClaim {
    fn checked(self) -> Option<Overrides> {
        let limits = Overrides {
            models: self.models,
            requests_per_minute: self.requests_per_minute,
            tokens_per_minute: self.tokens_per_minute,
            max_streams: self.max_streams,
            tokens_per_day: self.tokens_per_day,
            audio_seconds_per_day: self.audio_seconds_per_day,
        };
        let matches =
            |(_, number): &(_, Option<u64>)| number.is_none_or(|number| number <= MAX_LIMIT);
        limits.numbers().iter().all(matches).then_some(limits)
    }
}

/// Whether a text has the format of a token.
pub(super) fn is_token(text: &str) -> bool {
    text.starts_with("ey") && text.matches('.').count() == 2
}

/// Parses the name of an asymmetric algorithm.
fn algorithm(name: &str) -> Result<Algorithm, Error> {
    let known = name.parse().ok();
    let public = known.filter(|known: &Algorithm| known.family() != AlgorithmFamily::Hmac);
    public.ok_or_else(|| {
        let message = "callers.jwt_algorithms: known are RS256, RS384, RS512, PS256, PS384, \
                       PS512, ES256, ES384 and EdDSA";
        Error::new(Reason::InvalidRequest, message)
    })
}

/// The reason why a token is invalid, without its content.
fn why(kind: &ErrorKind) -> &'static str {
    if matches!(kind, ErrorKind::ExpiredSignature) {
        "the token has expired"
    } else if matches!(kind, ErrorKind::ImmatureSignature) {
        "the token is not valid yet"
    } else if matches!(kind, ErrorKind::InvalidIssuer) {
        "the token is of another issuer"
    } else if matches!(kind, ErrorKind::InvalidAudience) {
        "the token is for another audience"
    } else if matches!(kind, ErrorKind::MissingRequiredClaim(_)) {
        "the token lacks exp, iss or aud"
    } else if matches!(kind, ErrorKind::InvalidSignature) {
        "the signature of the token is invalid"
    } else {
        "the token cannot be read"
    }
}
