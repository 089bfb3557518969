"""Tests of conversations, content, settings and errors, without a server."""

from __future__ import annotations

import io
import pathlib
import pickle

import grpc
import pytest

import dashgate
from dashgate import Conversation, Error, Tool, v1
from dashgate._endpoint import Endpoint, parse_target


def test_a_conversation_is_three_lines() -> None:
    conversation = Conversation("m", "be brief").user("a", dashgate.audio(b"RIFF....WAVE"))
    conversation.append(dashgate.Answer(v1.ConverseResponse(choices=[v1.Choice()])))
    conversation.tool_result(v1.ToolCall(id="c"), "done").assistant("b")
    roles = [message.role for message in conversation.raw.messages]
    assert roles[:2] == [v1.ROLE_SYSTEM, v1.ROLE_USER]
    assert roles[3:] == [v1.ROLE_TOOL, v1.ROLE_ASSISTANT]
    assert conversation.raw.messages[1].content[1].audio.mime_type == "audio/wav"
    assert conversation.raw.messages[3].tool_call_id == "c"


def test_tools_are_declared_once() -> None:
    old = Tool("f", "old", "{}", str)
    new = Tool("f", "new", {"type": "object"}, str)
    conversation = Conversation("m", tools=[old]).declare(new).choose_tool("required")
    assert [tool.function.description for tool in conversation.raw.tools] == ["new"]
    assert conversation.raw.tools[0].function.parameters == '{"type": "object"}'
    assert conversation.raw.tool_choice.mode == v1.TOOL_CHOICE_MODE_REQUIRED
    assert conversation.choose_tool("f").raw.tool_choice.function_name == "f"


def test_a_uri_is_passed_on_and_a_path_is_read(tmp_path: pathlib.Path) -> None:
    for uri in ["http://x/y", "https://x/y", "oss://x/y", "data:audio/wav;base64,AA=="]:
        assert dashgate.audio(uri).audio == v1.Audio(uri=uri)
    file = tmp_path / "sound.MP3"
    file.write_bytes(b"no magic")
    assert dashgate.audio(str(file)).audio == v1.Audio(data=b"no magic", mime_type="audio/mpeg")
    assert dashgate.image(file, mime_type="image/x").image.mime_type == "image/x"
    with pytest.raises(FileNotFoundError, match=r"/no/such/file\.mp4"):
        dashgate.video("/no/such/file.mp4")


def test_a_file_may_be_a_uri_or_open(tmp_path: pathlib.Path) -> None:
    file = tmp_path / "a b.mp3"
    file.write_bytes(b"no magic")
    expected = v1.Audio(data=b"no magic", mime_type="audio/mpeg")
    for uri in [file.as_uri(), f"file:{str(file).replace(' ', '%20')}"]:
        assert dashgate.audio(uri).audio == expected
    with file.open("rb") as reader:
        assert dashgate.audio(reader).audio == expected
    assert dashgate.audio(io.BytesIO(b"RIFF....WAVE")).audio.mime_type == "audio/wav"
    assert dashgate.video(io.BytesIO(b"\x1a\x45\xdf\xa3")).video.mime_type == "video/webm"
    with pytest.raises(ValueError, match="not a file of this machine"):
        dashgate.audio("file://elsewhere/a.mp3")
    with file.open() as text, pytest.raises(TypeError, match="in binary mode"):
        dashgate.audio(text)  # type: ignore[arg-type]


def test_a_film_may_be_its_frames() -> None:
    film = dashgate.video(["https://x/1.png", b"\xff\xd8\xff"])
    assert [frame.mime_type for frame in film.video.frames.frames] == ["", "image/jpeg"]


@pytest.mark.parametrize(
    ("target", "address"),
    [
        ("h:1", "h:1"),
        ("h", "h:50051"),
        ("http://h", "h:50051"),
        ("[::1]", "[::1]:50051"),
        ("dns:///h", "dns:///h:50051"),
        ("http://h:1/", "h:1"),
        ("https://h", "h:443"),
        ("[::1]:1", "[::1]:1"),
        ("unix:/run/x.sock", "unix:/run/x.sock"),
        ("dns:///h:1", "dns:///h:1"),
        ("dns:h:1", "dns:///h:1"),
        ("ipv4:10.0.0.1:1", "10.0.0.1:1"),
        ("ipv6:[::1]:1", "[::1]:1"),
    ],
)
def test_targets(target: str, address: str) -> None:
    assert parse_target(target).address == address


@pytest.mark.parametrize(
    "target",
    [
        ":1",
        "ftp://h:1",
        "h:1/path",
        "h:x",
        "unix:",
        "k@h:1",
        "https://",
        "dns:///",
        "dns://server/h:1",
        "ipv4:10.0.0.1:1,10.0.0.2:1",
        "xds:///h:1",
    ],
)
def test_wrong_targets_say_what_would_be_right(target: str) -> None:
    with pytest.raises(ValueError, match="give host, host:port, http://host:port"):
        parse_target(target)


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("127.0.0.1:1", {"grpc.enable_http_proxy": 0}),
        ("http://localhost:1", {"grpc.enable_http_proxy": 0}),
        ("[::1]:1", {"grpc.enable_http_proxy": 0}),
        ("dns:///localhost:1", {"grpc.enable_http_proxy": 0}),
        ("unix:/s", {"grpc.enable_http_proxy": 0, "grpc.default_authority": "localhost"}),
        ("gate.example:1", {}),
        ("127.0.0.1.example:1", {}),
    ],
)
def test_loopback_is_never_proxied_and_a_socket_has_a_host(
    target: str, expected: dict[str, object]
) -> None:
    options = dict(Endpoint.of(target, None).options())
    names = ("grpc.enable_http_proxy", "grpc.default_authority")
    assert {name: options[name] for name in names if name in options} == expected


def test_calls_are_spread_over_what_a_name_server_gives() -> None:
    def config(target: str) -> str:
        return str(dict(Endpoint.of(target, None).options())["grpc.service_config"])

    assert "round_robin" in config("dns:///gate.example:1")
    assert "round_robin" not in config("gate.example:1")


def test_the_environment_fills_in(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Endpoint.of(None, None).address == "127.0.0.1:50051"
    monkeypatch.setenv("DASHGATE_ADDR", "https://gate:7")
    monkeypatch.setenv("DASHGATE_API_KEY", "from-environment")
    endpoint = Endpoint.of(None, None)
    assert (endpoint.address, endpoint.secure) == ("gate:7", True)
    assert dict(dashgate.Client().metadata) == {"authorization": "Bearer from-environment"}
    assert dict(dashgate.Client(api_key="own").metadata) == {"authorization": "Bearer own"}
    assert not dashgate.AsyncClient(api_key="").metadata


def test_tls_contradictions_are_refused() -> None:
    with pytest.raises(ValueError, match="write https://"):
        dashgate.Client("http://h:1", tls=dashgate.TLS())
    with pytest.raises(ValueError, match="belong together"):
        dashgate.TLS(key=b"k")
    assert Endpoint.of("h:1", dashgate.TLS(ca=b"pem")).roots == b"pem"


@pytest.mark.parametrize("wrong", [0, -1, float("nan")])
def test_wrong_times_are_refused(wrong: float) -> None:
    with pytest.raises(ValueError, match="more than 0"):
        dashgate.Client(timeout=wrong)
    with pytest.raises(ValueError, match="more than 0"):
        dashgate.Client(idle_timeout=wrong)


def test_a_secret_is_never_shown() -> None:
    with pytest.raises(ValueError, match="cannot be sent") as caught:
        dashgate.Client(api_key="hush-\n-hush")
    client = dashgate.Client(api_key="hush-hush", tls=dashgate.TLS(certificate=b"c", key=b"hush"))
    later = dashgate.AsyncClient(api_key="hush-hush")
    shown = [
        client,
        later,
        client._settings,
        client._connections._endpoint,
        dashgate.TLS(b"", b"", b"hush"),
    ]
    for text in [*map(repr, shown), *map(str, shown), str(caught.value)]:
        assert "hush" not in text


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (Error(grpc.StatusCode.UNAVAILABLE, "refused"), True),
        (Error(grpc.StatusCode.UNAVAILABLE, "full", retry_forbidden=True), False),
        (Error(grpc.StatusCode.UNAVAILABLE, "stops", raw_reason="SHUTTING_DOWN"), False),
        (Error(grpc.StatusCode.RESOURCE_EXHAUSTED, "slowly", retry_after=0.0), True),
        (Error(grpc.StatusCode.RESOURCE_EXHAUSTED, "no more"), False),
    ],
)
def test_an_error_has_whether_it_may_pass(error: Error, expected: bool) -> None:
    assert error.retryable == expected


def test_each_part_of_an_error_is_printed_once() -> None:
    error = Error(
        grpc.StatusCode.DEADLINE_EXCEEDED,
        "call i is late",
        raw_reason="DEADLINE_EXCEEDED",
        request_id="i",
    )
    assert str(error) == "DEADLINE_EXCEEDED: call i is late"


def test_an_error_can_be_sent_to_another_process() -> None:
    error = Error(grpc.StatusCode.ABORTED, "oh", raw_reason="R", request_id="i", retry_after=1.5)
    error.usage = v1.Usage(output_tokens=7)
    again = pickle.loads(pickle.dumps(error))  # noqa: S301
    assert str(again) == "ABORTED R: oh (request id i)"
    assert (again.code, again.retry_after, again.status) == (error.code, 1.5, error.status)
    assert (again.raw_reason, again.usage) == ("R", error.usage)


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("oh", "ABORTED: oh (request id i)"),
        ("oh (request id i)", "ABORTED: oh (request id i)"),
        ("it is", "ABORTED: it is (request id i)"),
        ("that is, i.e. audio/i", "ABORTED: that is, i.e. audio/i (request id i)"),
        ('no call "i": it has ended', 'ABORTED: no call "i": it has ended'),
        ("the call is i.", "ABORTED: the call is i."),
    ],
)
def test_the_text_of_an_error_ends_with_the_request_id(message: str, shown: str) -> None:
    assert str(Error(grpc.StatusCode.ABORTED, message, request_id="i")) == shown
    assert str(Error(grpc.StatusCode.ABORTED, "oh")) == "ABORTED: oh"
