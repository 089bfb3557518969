"""Client for dashgate, a gRPC gateway for DashScope's multimodal models.

    with dashgate.Client() as client:
        conversation = dashgate.Conversation("qwen-audio-turbo")
        conversation.user(dashgate.audio("sentence.wav"), "What is said in this audio?")
        print(client.converse(conversation).text)

`AsyncClient` is the client for asyncio. The messages of the schema are in `dashgate.v1`.
"""

from dashgate._endpoint import TLS
from dashgate._version import __version__
from dashgate.aio import AsyncClient
from dashgate.aio_live import AsyncLiveSession, AsyncSpeechSession
from dashgate.aio_stream import AsyncStream
from dashgate.aio_tool_stream import AsyncToolStream
from dashgate.answer import Answer
from dashgate.client import AnswerFuture, Client
from dashgate.content import audio, image, text, video
from dashgate.conversation import Conversation
from dashgate.errors import Error, FieldViolation
from dashgate.live import LiveSession, SpeechSession
from dashgate.stream import Stream
from dashgate.structured import Schema
from dashgate.tool_stream import ToolStream
from dashgate.tools import Tool, tool

__all__ = [
    "TLS",
    "Answer",
    "AnswerFuture",
    "AsyncClient",
    "AsyncLiveSession",
    "AsyncSpeechSession",
    "AsyncStream",
    "AsyncToolStream",
    "Client",
    "Conversation",
    "Error",
    "FieldViolation",
    "LiveSession",
    "Schema",
    "SpeechSession",
    "Stream",
    "Tool",
    "ToolStream",
    "__version__",
    "audio",
    "image",
    "text",
    "tool",
    "video",
]
