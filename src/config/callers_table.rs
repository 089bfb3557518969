//! Settings of authentication and limits.

use super::setting::Kind::{Count, Duration, Names, Path, Switch, Text};
use super::setting::settings;

settings! {
    "callers.keys_file" [Path] = "",
        "DASHGATE_CALLERS_KEYS_FILE":
        "The file of caller keys; `dashgate keys` creates it. It is read again when it changes.",
        "Keys are one of several kinds of credentials.";
    "callers.pass_through" [Switch] = "false",
        "DASHGATE_CALLERS_PASS_THROUGH":
        "Accept a caller's own DashScope key (`sk-...`) and use it for the call.",
        "Anyone with a DashScope key could call, billed to its account.";
    "callers.jwks" [Text] = "",
        "DASHGATE_CALLERS_JWKS":
        "The public keys (JWK set) of the identity provider whose tokens (JWT) are accepted: a \
         file path or an `https` URL. Unknown keys are looked up there.",
        "Tokens are one of several kinds of credentials.";
    "callers.jwt_issuer" [Text] = "",
        "DASHGATE_CALLERS_JWT_ISSUER":
        "The required `iss` of tokens. Required with `callers.jwks`.",
        "Only the operator knows the identity provider.";
    "callers.jwt_audience" [Names] = "",
        "DASHGATE_CALLERS_JWT_AUDIENCE":
        "The accepted values of `aud`. Required with `callers.jwks`.",
        "A token for another service must not be accepted.";
    "callers.jwt_algorithms" [Names] = "RS256,PS256,ES256,EdDSA",
        "DASHGATE_CALLERS_JWT_ALGORITHMS":
        "The accepted signature algorithms: these, RS384, RS512, PS384, PS512, ES384.",
        "What identity providers use. All have a public key, so no secret is in these settings.";
    "callers.jwt_clock_skew" [Duration("0s", "5m")] = "30s",
        "DASHGATE_CALLERS_JWT_CLOCK_SKEW":
        "The tolerated clock difference for `exp` and `nbf`.",
        "Synchronised clocks differ by less than a second, others by more.";
    "callers.jwt_name_claim" [Text] = "sub",
        "DASHGATE_CALLERS_JWT_NAME_CLAIM":
        "The claim that identifies the caller in limits, logs and metrics.",
        "The standard claim for the subject.";
    "callers.jwt_limits_claim" [Text] = "",
        "DASHGATE_CALLERS_JWT_LIMITS_CLAIM":
        "The claim that has the caller's limits, as an object with the fields of the key file.",
        "Tokens set limits only if the operator permits it.";
    "callers.certificate_uris" [Names] = "",
        "DASHGATE_CALLERS_CERTIFICATE_URIS":
        "The accepted URIs in client certificates. `*` matches a part of one segment, `/**` at \
         the end any path: `spiffe://example.org/ns/*/sa/*`. Certificates with more than one URI \
         are refused. If not set, and with a required `client_ca`, every certificate of that \
         authority may call.",
        "Right for an authority of your callers only, wrong for that of a mesh.";
    "callers.max_tracked" [Count(1, 10_000_000)] = "10000",
        "DASHGATE_CALLERS_MAX_TRACKED":
        "How many callers that are in no file are remembered per kind. The ones that are idle \
         longest are forgotten first, with their usage.",
        "A few hundred bytes each; more than most gateways have at one time.";
    "callers.allow_anyone" [Switch] = "false",
        "DASHGATE_CALLERS_ALLOW_ANYONE" "--allow-anyone":
        "Accept calls without credentials on a non-loopback address.",
        "Every caller can spend the DashScope key, so this must be explicit.";
    "callers.open_reflection" [Switch] = "false",
        "DASHGATE_CALLERS_OPEN_REFLECTION":
        "Answer reflection without credentials. If no credentials are required, it is always \
         answered.",
        "The schema is public, but callers without credentials rarely need it.";
    "caller_limits.models" [Names] = "",
        "DASHGATE_CALLER_LIMITS_MODELS":
        "The models that a caller may name, with `*` for any characters, unless its key has its \
         own list. Not set: all.",
        "Which models are too expensive depends on the operator.";
    "caller_limits.requests_per_minute" [Count(0, 1_000_000_000)] = "0",
        "DASHGATE_CALLER_LIMITS_REQUESTS_PER_MINUTE":
        "The maximum number of calls of a caller per minute, unless its key has its own limit. 0: \
         no limit.",
        "An unexpected limit looks like an error.";
    "caller_limits.tokens_per_minute" [Count(0, 1_000_000_000_000)] = "0",
        "DASHGATE_CALLER_LIMITS_TOKENS_PER_MINUTE":
        "The maximum number of input and output tokens of a caller per minute, unless its key has \
         its own limit. 0: no limit.",
        "An unexpected limit looks like an error.";
    "caller_limits.max_streams" [Count(0, 1_000_000)] = "0",
        "DASHGATE_CALLER_LIMITS_MAX_STREAMS":
        "The maximum number of concurrent calls of a caller, streams and others, unless its key \
         has its own limit. 0: no limit.",
        "An unexpected limit looks like an error; `server.max_in_flight` limits all callers \
         together.";
    "caller_limits.tokens_per_day" [Count(0, 1_000_000_000_000)] = "0",
        "DASHGATE_CALLER_LIMITS_TOKENS_PER_DAY":
        "The maximum number of tokens of a caller per day (UTC), unless its key has its own \
         limit. 0: no limit.",
        "An unexpected limit looks like an error.";
    "caller_limits.audio_seconds_per_day" [Count(0, 1_000_000_000_000)] = "0",
        "DASHGATE_CALLER_LIMITS_AUDIO_SECONDS_PER_DAY":
        "The maximum audio of a caller's live sessions per day (UTC), input and output, in \
         seconds, unless its key has its own limit. 0: no limit.",
        "An unexpected limit looks like an error.";
}
