"""Client for dashgate, a gRPC gateway for DashScope's multimodal models.

    with dashgate.Client() as client:
        conversation = dashgate.Conversation("qwen-audio-turbo")
        conversation.user(dashgate.audio("sentence.wav"), "What is said in this audio?")
        print(client.converse(conversation).text)

`AsyncClient` is the client for asyncio. The messages of the schema are in `dashgate.v1`.
"""

from dashgate._settings import TLS
from dashgate._version import __version__
from dashgate.aio import AsyncClient
from dashgate.aio_live import AsyncLiveSession, AsyncSpeechSession
from dashgate.aio_stream import AsyncStream
from dashgate.answer import Answer
from dashgate.client import AnswerFuture, Client
from dashgate.content import audio, image, text, video
from dashgate.conversation import Conversation, Tool
from dashgate.errors import Error, FieldViolation
from dashgate.live import LiveSession, SpeechSession
from dashgate.stream import Stream

__all__ = [
    "TLS",
    "Answer",
    "AnswerFuture",
    "AsyncClient",
    "AsyncLiveSession",
    "AsyncSpeechSession",
    "AsyncStream",
    "Client",
    "Conversation",
    "Error",
    "FieldViolation",
    "LiveSession",
    "SpeechSession",
    "Stream",
    "Tool",
    "__version__",
    "audio",
    "image",
    "text",
    "video",
]
