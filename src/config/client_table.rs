//! The settings of the commands that call a gateway.

use super::setting::Kind::{Path, Secret, Text};
use super::setting::settings;

settings! {
    "client.server" [Text] = "",
        "DASHGATE_ADDR" "--server":
        "The gateway that `ask` and `health` call. Default: `ask` runs its own, `health` asks \
         `server.listen`.",
        "One command answers with nothing set up.";
    "client.api_key" [Secret] = "",
        "DASHGATE_API_KEY":
        "The key that `ask` and `health` show to that gateway, as `authorization: Bearer`.",
        "A gateway on loopback asks for none.";
    "client.tls.ca" [Path] = "",
        "DASHGATE_TLS_CA" "--tls-ca":
        "A file with the authorities that a gateway with `https` is trusted by, as PEM. Default: \
         those of the system.",
        "A gateway inside a company seldom has a certificate that the world knows.";
    "client.tls.certificate" [Path] = "",
        "DASHGATE_TLS_CERTIFICATE":
        "A file with the certificate that is shown to a gateway that asks for one, as PEM.",
        "Most gateways ask for none.";
    "client.tls.key" [Path] = "",
        "DASHGATE_TLS_KEY":
        "The file with the key of that certificate, as PEM.",
        "It belongs to the certificate.";
    "client.tls.server_name" [Text] = "",
        "DASHGATE_TLS_SERVER_NAME":
        "The name that the gateway's certificate must be for. Default: the host of the address.",
        "Set it when you call by an address that the certificate does not have.";
    "client.model" [Text] = "",
        "DASHGATE_MODEL" "--model":
        "The model that `ask` asks. Default: by what is attached: `qwen-audio-turbo` for sound, \
         `qwen3-vl-plus` for pictures and films, `qwen3-omni-flash` for both or for text alone.",
        "Each is DashScope's own example for that kind.";
}
