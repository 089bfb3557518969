//! Settings of the commands that call a gateway.

use super::setting::Kind::{Path, Secret, Text};
use super::setting::settings;

settings! {
    "client.server" [Text] = "",
        "DASHGATE_ADDR" "--server":
        "The gateway that `ask` and `health` call. Default: `ask` runs one in its process, \
         `health` uses `server.listen`.",
        "One command then works without configuration.";
    "client.api_key" [Secret] = "",
        "DASHGATE_API_KEY":
        "The key that `ask` and `health` send to that gateway, as `authorization: Bearer`.",
        "A gateway on loopback needs none.";
    "client.tls.ca" [Path] = "",
        "DASHGATE_TLS_CA" "--tls-ca":
        "A file with the root certificates for `https` gateways, as PEM. Default: those of the \
         system.",
        "Internal gateways often have a private authority.";
    "client.tls.certificate" [Path] = "",
        "DASHGATE_TLS_CERTIFICATE":
        "A file with the client certificate, as PEM.",
        "Most gateways require none.";
    "client.tls.key" [Path] = "",
        "DASHGATE_TLS_KEY":
        "The file with the private key of that certificate, as PEM.",
        "Required with a certificate.";
    "client.tls.server_name" [Text] = "",
        "DASHGATE_TLS_SERVER_NAME":
        "The expected name in the gateway's certificate. Default: the host of the address.",
        "Set it if the address is not in the certificate.";
    "client.model" [Text] = "",
        "DASHGATE_MODEL" "--model":
        "The model that `ask` uses. Default: by attachment, see `client.default_models`.",
        "Audio and images need different models.";
    "client.default_models.audio" [Text] = "qwen-audio-turbo",
        "DASHGATE_DEFAULT_MODEL_AUDIO":
        "The default model for audio with a question.",
        "DashScope's quick start; no other model of the native interface accepts audio and a \
         question.";
    "client.default_models.transcript" [Text] = "qwen3-asr-flash",
        "DASHGATE_DEFAULT_MODEL_TRANSCRIPT":
        "The default model for audio without a question.",
        "It transcribes audio, and accepts no question.";
    "client.default_models.vision" [Text] = "qwen3-vl-plus",
        "DASHGATE_DEFAULT_MODEL_VISION":
        "The default model for images and videos.",
        "Its predecessors `qwen-vl-*` were retired on 2026-10-10.";
    "client.default_models.omni" [Text] = "qwen3-omni-flash",
        "DASHGATE_DEFAULT_MODEL_OMNI":
        "The default model for audio together with images or videos.",
        "Only Qwen-Omni accepts both; DashScope documents it for another interface.";
    "client.default_models.text" [Text] = "qwen3.6-plus",
        "DASHGATE_DEFAULT_MODEL_TEXT":
        "The default model for text only.",
        "Text-only models such as `qwen-plus` are not served by this interface.";
    "client.default_models.live" [Text] = "qwen3-omni-flash-realtime",
        "DASHGATE_DEFAULT_MODEL_LIVE":
        "The default model of `live`.",
        "It hears and speaks, and is the realtime form of the default for audio and images.";
    "client.default_models.speech" [Text] = "qwen3-tts-flash-realtime",
        "DASHGATE_DEFAULT_MODEL_SPEECH":
        "The default model of `speak`.",
        "It takes text while it is written; `qwen3-tts-flash` does not.";
    "client.history" [Path] = "",
        "DASHGATE_HISTORY":
        "A file that keeps the input lines of conversations. Default: none.",
        "Questions may be private.";
}
