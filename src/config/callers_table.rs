//! The settings about callers.

use super::setting::Kind::{Count, Duration, Names, Path, Switch, Text};
use super::setting::settings;

settings! {
    "callers.keys_file" [Path] = "",
        "DASHGATE_CALLERS_KEYS_FILE":
        "The file of the keys that callers show; `dashgate keys` makes it. Read again when it \
         changes.",
        "Not set: keys are one of several ways to know a caller.";
    "callers.pass_through" [Switch] = "false",
        "DASHGATE_CALLERS_PASS_THROUGH":
        "Accept a caller's own key for DashScope (`sk-...`), and use it for the call instead of \
         the operator's.",
        "Then anyone with any such key may call, on his own bill.";
    "callers.jwks" [Text] = "",
        "DASHGATE_CALLERS_JWKS":
        "The public keys of an authority whose tokens (JWT) are accepted, as a JWK set: the path \
         of a file, or an `https` address. A key that is not known is looked up there.",
        "Not set: tokens are one of several ways to know a caller.";
    "callers.jwt_issuer" [Text] = "",
        "DASHGATE_CALLERS_JWT_ISSUER":
        "The `iss` that a token must have. Needed with `callers.jwks`.",
        "Only the operator knows who may vouch for callers.";
    "callers.jwt_audience" [Names] = "",
        "DASHGATE_CALLERS_JWT_AUDIENCE":
        "One of these must stand in the token's `aud`. Needed with `callers.jwks`.",
        "A token that was made for another service must not open this one.";
    "callers.jwt_algorithms" [Names] = "RS256,PS256,ES256,EdDSA",
        "DASHGATE_CALLERS_JWT_ALGORITHMS":
        "The algorithms that a token may be signed by: these, RS384, RS512, PS384, PS512, ES384.",
        "What authorities use. All have a public key: nobody who reads these settings can sign.";
    "callers.jwt_clock_skew" [Duration("0s", "5m")] = "30s",
        "DASHGATE_CALLERS_JWT_CLOCK_SKEW":
        "By how much the authority's clock may differ, for `exp` and `nbf`.",
        "Clocks that are kept differ by less than a second; those that are not, by some.";
    "callers.jwt_name_claim" [Text] = "sub",
        "DASHGATE_CALLERS_JWT_NAME_CLAIM":
        "The claim that names the caller, for limits, logs and metrics.",
        "It is what the standard has for it.";
    "callers.jwt_limits_claim" [Text] = "",
        "DASHGATE_CALLERS_JWT_LIMITS_CLAIM":
        "The claim that holds the caller's limits, as an object with the fields of the file of \
         keys. Not set: tokens set no limits.",
        "An authority sets limits only when the operator lets it.";
    "callers.certificate_uris" [Names] = "",
        "DASHGATE_CALLERS_CERTIFICATE_URIS":
        "The URIs in the certificates of callers that are accepted. `*` stands for a part of one \
         segment, `/**` at the end for any path: `spiffe://example.org/ns/*/sa/*`. A certificate \
         with more than one URI is refused.",
        "Not set, and with a required `client_ca`: every certificate of that authority may call, \
         which is right for an authority of your callers alone, and wrong for one of a whole mesh.";
    "callers.max_tracked" [Count(1, 10_000_000)] = "10000",
        "DASHGATE_CALLERS_MAX_TRACKED":
        "How many callers of each kind are remembered that stand in no file. The ones that were \
         idle for longest are forgotten first, with what they used.",
        "Some hundred bytes each; more at one time than most gateways ever meet.";
    "callers.allow_anyone" [Switch] = "false",
        "DASHGATE_CALLERS_ALLOW_ANYONE" "--allow-anyone":
        "Let anyone call who reaches an address beyond this machine.",
        "Who calls spends the key for DashScope, so this is never so by accident.";
    "callers.open_reflection" [Switch] = "false",
        "DASHGATE_CALLERS_OPEN_REFLECTION":
        "Answer reflection to those who show no credentials. Where none are asked for, it is \
         always answered.",
        "The schema is public, but who asks for it without a key is seldom a friend.";
    "caller_limits.models" [Names] = "",
        "DASHGATE_CALLER_LIMITS_MODELS":
        "The models that a caller may name, with `*` for any letters, unless its key says \
         otherwise. Not set: all.",
        "Which models cost too much is the operator's to say.";
    "caller_limits.requests_per_minute" [Count(0, 1_000_000_000)] = "0",
        "DASHGATE_CALLER_LIMITS_REQUESTS_PER_MINUTE":
        "How often a caller may call in a minute, unless its key says otherwise. 0: no limit.",
        "A limit that nobody chose is a fault that nobody expects.";
    "caller_limits.tokens_per_minute" [Count(0, 1_000_000_000_000)] = "0",
        "DASHGATE_CALLER_LIMITS_TOKENS_PER_MINUTE":
        "How many tokens, in and out, a caller may use in a minute, unless its key says \
         otherwise. 0: no limit.",
        "As above.";
    "caller_limits.max_streams" [Count(0, 1_000_000)] = "0",
        "DASHGATE_CALLER_LIMITS_MAX_STREAMS":
        "How many calls a caller may have at the same time, streams and others, unless its key \
         says otherwise. 0: no limit.",
        "As above; `server.max_in_flight` bounds all callers together.";
    "caller_limits.tokens_per_day" [Count(0, 1_000_000_000_000)] = "0",
        "DASHGATE_CALLER_LIMITS_TOKENS_PER_DAY":
        "How many tokens a caller may use in a day of UTC, unless its key says otherwise. 0: no \
         limit.",
        "As above.";
}
