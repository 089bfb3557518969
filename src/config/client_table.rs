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
        "The model that `ask` asks. Default: by what is attached, see `client.default_models`.",
        "One question about audio and one about an image need different models.";
    "client.default_models.audio" [Text] = "qwen-audio-turbo",
        "DASHGATE_DEFAULT_MODEL_AUDIO":
        "The model that `ask` asks about audio, when none is named.",
        "DashScope's quick start; no other model of the native interface takes audio and a \
         question.";
    "client.default_models.transcript" [Text] = "qwen3-asr-flash",
        "DASHGATE_DEFAULT_MODEL_TRANSCRIPT":
        "The model that `ask` gives audio without a question.",
        "It writes down what is said, and takes no question.";
    "client.default_models.vision" [Text] = "qwen3-vl-plus",
        "DASHGATE_DEFAULT_MODEL_VISION":
        "The model that `ask` asks about images and videos, when none is named.",
        "Its older namesakes `qwen-vl-*` were retired on 2026-10-10.";
    "client.default_models.omni" [Text] = "qwen3-omni-flash",
        "DASHGATE_DEFAULT_MODEL_OMNI":
        "The model that `ask` asks about audio together with images or videos.",
        "Only Qwen-Omni takes both, and DashScope documents it for another interface by now.";
    "client.default_models.text" [Text] = "qwen3.6-plus",
        "DASHGATE_DEFAULT_MODEL_TEXT":
        "The model that `ask` asks when nothing is attached.",
        "Models for text alone, such as `qwen-plus`, are not served by this interface.";
    "client.history" [Path] = "",
        "DASHGATE_HISTORY":
        "A file in which the lines of conversations are kept for the next one. Default: none.",
        "What people ask may be private; a file of it is their choice.";
}
