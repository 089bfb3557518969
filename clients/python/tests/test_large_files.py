"""Tests of files that are uploaded before the call, against a scripted server."""

from __future__ import annotations

import asyncio
import os
import pathlib
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from callers import Caller
from gateway import LIMIT, Gateway

import dashgate
from dashgate import AsyncClient, Conversation, Error, v1
from dashgate._large_files import LARGE, MOST_FILES, Identity, Upload, Uploads, attach

SIZE = LARGE + 1


@pytest.fixture
def file(tmp_path: pathlib.Path) -> pathlib.Path:
    path = tmp_path / "long.wav"
    path.write_bytes(b"RIFF....WAVE".ljust(SIZE, b"\0"))
    return path


def uploads(gateway: Gateway) -> int:
    return sum(isinstance(request, list) for request in gateway.requests)


@pytest.mark.parametrize("method", ["converse", "stream"])
def test_a_large_file_is_uploaded(
    gateway: Gateway, call: Caller, file: pathlib.Path, method: str
) -> None:
    conversation = Conversation("m").user(dashgate.audio(file), "What is it?")
    part = conversation.raw.messages[0].content[0].audio
    assert part.uri.startswith("dashgate-file:")
    assert (part.mime_type, part.data) == ("audio/wav", b"")
    assert call(method, conversation, metadata={"x-request-id": "mine"}).text == "hello"
    uploaded, sent = gateway.requests
    assert uploaded[0].description.mime_type == "audio/wav"
    assert uploaded[0].description.size_bytes == SIZE
    assert sent.conversation.messages[0].content[0].audio.uri == "oss://x"
    # The caller's value is not changed, and the calls have request ids of their own.
    assert part.uri.startswith("dashgate-file:")
    assert sent.request_id == "mine"
    assert gateway.metadata[0]["x-request-id"] != "mine"


def test_a_file_up_to_the_limit_is_read(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(bytes(LARGE))
    assert len(dashgate.audio(path).audio.data) == LARGE
    path.write_bytes(bytes(SIZE))
    with path.open("rb") as reader:
        assert len(dashgate.audio(reader).audio.data) == SIZE


def test_an_upload_is_remembered_by_file_model_and_type(
    gateway: Gateway, file: pathlib.Path
) -> None:
    conversation = Conversation("m").user(dashgate.video([file, b"\xff\xd8\xff"]), "a")
    conversation.user(dashgate.image(file))
    with dashgate.Client(gateway.address) as client:
        for _ in range(2):
            client.converse(conversation)
        assert uploads(gateway) == 1
        conversation.user(dashgate.audio(file, mime_type="audio/x"))
        client.converse(conversation)
        assert uploads(gateway) == 2
        os.utime(file, (1, 1))
        client.converse(Conversation("m").user(dashgate.image(file)))
        assert uploads(gateway) == 3
        client.converse(Conversation("other").user(dashgate.image(file)))
        assert uploads(gateway) == 4


def change_size(file: pathlib.Path) -> None:
    before = file.stat()
    with file.open("ab") as end:
        end.write(b"more")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def replace_file(file: pathlib.Path) -> None:
    other = file.with_name("other")
    other.write_bytes(file.read_bytes())
    before = file.stat()
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.replace(file)


def replace_by_pipe(file: pathlib.Path) -> None:
    file.unlink()
    os.mkfifo(file)


def replace_by_folder(file: pathlib.Path) -> None:
    file.unlink()
    file.mkdir()


@pytest.mark.parametrize(
    "change",
    [
        lambda file: os.utime(file, (1, 1)),
        change_size,
        replace_file,
        replace_by_pipe,
        replace_by_folder,
    ],
)
def test_a_file_that_is_not_the_one_attached_is_refused(
    gateway: Gateway, call: Caller, file: pathlib.Path, change: Callable[[pathlib.Path], None]
) -> None:
    unchanged = file.with_name("unchanged")
    unchanged.write_bytes(file.read_bytes())
    conversation = Conversation("m").user(dashgate.audio(unchanged), dashgate.audio(file))
    change(file)
    with pytest.raises(Error, match=r"long\.wav.*attach the file again") as caught:
        call("converse", conversation)
    assert caught.value.code is grpc.StatusCode.INVALID_ARGUMENT
    assert not gateway.requests


def test_a_caller_that_waits_uploads_if_the_first_one_fails(
    gateway: Gateway, call: Caller, file: pathlib.Path
) -> None:
    conversation = Conversation("m").user(dashgate.audio(file))
    came, over = threading.Event(), threading.Event()

    def fail_first(context: grpc.ServicerContext) -> None:
        if not came.is_set():
            came.set()
            over.wait(LIMIT)
            context.abort(grpc.StatusCode.ABORTED, "no")

    gateway.uploading = fail_first

    def threads() -> None:
        with dashgate.Client(gateway.address) as client, ThreadPoolExecutor() as pool:
            first = pool.submit(client.converse, conversation)
            assert came.wait(LIMIT)
            second = pool.submit(client.converse, conversation)
            over.set()
            with pytest.raises(Error, match="ABORTED"):
                first.result()
            assert second.result().text == "hello"

    async def tasks() -> None:
        async with AsyncClient(gateway.address) as client:
            first = asyncio.create_task(client.converse(conversation))
            assert await asyncio.to_thread(came.wait, LIMIT)
            second = asyncio.create_task(client.converse(conversation))
            await asyncio.sleep(0)
            # This one leaves, and its upload does not end the other one.
            first.cancel()
            over.set()
            with pytest.raises(asyncio.CancelledError):
                await first
            assert (await second).text == "hello"

    if call.is_async:
        asyncio.run(tasks())
    else:
        threads()
    assert uploads(gateway) == 2


def test_calls_at_the_same_time_upload_a_file_once(
    gateway: Gateway, call: Caller, file: pathlib.Path
) -> None:
    conversation = Conversation("m").user(dashgate.audio(file))
    came, over = threading.Event(), threading.Event()

    def wait(_: grpc.ServicerContext) -> None:
        came.set()
        over.wait(LIMIT)

    gateway.uploading = wait

    def threads() -> None:
        with dashgate.Client(gateway.address) as client, ThreadPoolExecutor() as pool:
            first = pool.submit(client.converse, conversation)
            assert came.wait(LIMIT)
            with pytest.raises(Error, match="while another call uploaded"):
                client.converse(conversation, timeout=0.1)
            second = pool.submit(client.converse, conversation)
            over.set()
            assert first.result().text == second.result().text == "hello"

    async def tasks() -> None:
        async with AsyncClient(gateway.address) as client:
            first = asyncio.create_task(client.converse(conversation))
            assert await asyncio.to_thread(came.wait, LIMIT)
            with pytest.raises(Error, match="while another call uploaded"):
                await client.converse(conversation, timeout=0.1)
            left = asyncio.create_task(client.converse(conversation))
            await asyncio.sleep(0)
            left.cancel()
            second = asyncio.create_task(client.converse(conversation))
            over.set()
            assert (await first).text == (await second).text == "hello"

    if call.is_async:
        asyncio.run(tasks())
    else:
        threads()
    assert uploads(gateway) == 1


def test_the_model_of_a_stored_conversation_is_used(
    gateway: Gateway, call: Caller, file: pathlib.Path
) -> None:
    stored = v1.Conversation(name="conversations/a", model="kept")
    gateway.managed = lambda _: v1.GetConversationResponse(conversation=stored)
    call("converse", Conversation(name="conversations/a").user(dashgate.audio(file)))
    assert gateway.requests[1][0].description.model == "kept"


@pytest.mark.parametrize("method", ["converse", "stream"])
def test_a_file_of_another_process_is_refused(gateway: Gateway, call: Caller, method: str) -> None:
    foreign = Conversation("m").user(v1.Content(audio=v1.Audio(uri="dashgate-file:00")))
    with pytest.raises(Error, match="attach the file again") as caught:
        call(method, foreign)
    assert caught.value.code is grpc.StatusCode.INVALID_ARGUMENT
    assert not gateway.requests


def test_a_file_that_is_gone_is_an_error_of_the_system(
    gateway: Gateway, call: Caller, file: pathlib.Path
) -> None:
    conversation = Conversation("m").user(dashgate.audio(file))
    file.unlink()
    with pytest.raises(FileNotFoundError, match=r"long\.wav"):
        call("converse", conversation)


def test_the_oldest_file_is_forgotten(file: pathlib.Path) -> None:
    conversation = Conversation("m").user(dashgate.audio(file))
    status = file.stat()
    for number in range(MOST_FILES):
        attach(pathlib.Path(str(number)), status)
    with dashgate.Client("127.0.0.1:1") as client, pytest.raises(Error, match="forgotten"):
        client.converse(conversation)


def test_an_upload_is_not_used_in_its_last_hour() -> None:
    known = Uploads()
    upload = Upload(Identity(1, 1, 1, 1), "m", "")
    response = v1.UploadMediaResponse(uri="oss://a")
    response.expires_at.GetCurrentTime()
    response.expires_at.seconds += 3500
    known.add(upload, response)
    assert known.uri(upload) is None
    response.expires_at.seconds += 200
    known.add(upload, response)
    assert known.uri(upload) == "oss://a"


def test_a_stream_that_was_left_before_it_was_read_uploads_nothing(
    gateway: Gateway, file: pathlib.Path
) -> None:
    async def main() -> Error:
        async with AsyncClient(gateway.address) as client:
            stream = client.stream(Conversation("m").user(dashgate.audio(file)))
            await stream.close()
            with pytest.raises(Error) as caught:
                await stream.final()
            return caught.value

    assert asyncio.run(main()).code is grpc.StatusCode.CANCELLED
    assert not gateway.requests


def test_leaving_a_stream_ends_its_upload(gateway: Gateway, file: pathlib.Path) -> None:
    came, over = threading.Event(), threading.Event()

    def wait(context: grpc.ServicerContext) -> None:
        context.add_callback(over.set)
        came.set()
        over.wait(LIMIT)

    gateway.uploading = wait

    async def main() -> None:
        async with AsyncClient(gateway.address) as client:
            stream = client.stream(Conversation("m").user(dashgate.audio(file)))
            reading = asyncio.create_task(stream.final())
            await asyncio.to_thread(came.wait, LIMIT)
            stream.cancel()
            with pytest.raises(Error, match="left before its end"):
                await reading
            assert await asyncio.to_thread(over.wait, LIMIT)

    asyncio.run(main())
    assert not gateway.cancelled


FORK = """
import os, sys
import dashgate
conversation = dashgate.Conversation("m").user(dashgate.audio(sys.argv[2]))
child = os.fork()
if child == 0:
    with dashgate.Client(sys.argv[1]) as client:
        os._exit(0 if client.converse(conversation).text == "hello" else 1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
"""


def test_a_file_may_be_sent_after_a_fork(gateway: Gateway, file: pathlib.Path) -> None:
    command = [sys.executable, "-c", FORK, gateway.address, str(file)]
    subprocess.run(command, check=True, timeout=LIMIT)
    assert uploads(gateway) == 1
