"""Tests of programs that end while a thread of gRPC has the lock of a call."""

from __future__ import annotations

import subprocess
import sys

import pytest
from gateway import LIMIT, STARTED, Gateway

# The thread sleeps with the lock, so that it always ends there.
PROGRAM = """
import sys, threading, time, dashgate, grpc, grpc._channel
from dashgate import v1

# Apart from this module, whose variables the thread would keep.
apart = {"handle": grpc._channel._handle_event, "begun": threading.Event(), "sleep": time.sleep}
exec('''
def slow(*arguments):
    found = handle(*arguments)
    begun.set()
    sleep(0.3)
    return found
''', apart)

def slow_down():
    grpc._channel._handle_event = apart["slow"]

def opened():
    with dashgate.Client(sys.argv[1]) as client:
        yield next(iter(client.stream(ask)))

address, kind = sys.argv[1:]
client = dashgate.Client(address)
ask = dashgate.Conversation("m").user("hello?")
if kind == "iterator":
    stream = client.stream(ask)
    events = iter(stream)
    next(events)
    slow_down()
elif kind == "generator":
    events = opened()
    next(events)
    slow_down()
elif kind == "session":
    session = client.live("m")
    next(session)
    slow_down()
    session.send_text("x")
elif kind == "stub":
    call = client.conversations.ConverseStream(v1.ConverseStreamRequest())
    next(call)
    slow_down()
    call.cancel()
else:
    if kind == "channel":
        channel = grpc.insecure_channel(address)
        client = dashgate.Client.from_channel(channel)
    slow_down()
    future = client.converse_future(ask)
if kind not in ("iterator", "generator"):
    apart["begun"].wait()
"""


@pytest.mark.parametrize("kind", ["future", "channel", "stub", "session", "iterator", "generator"])
def test_a_program_ends_while_gRPC_has_the_lock_of_a_call(gateway: Gateway, kind: str) -> None:
    gateway.events, gateway.silent = [STARTED], True
    command = [sys.executable, "-W", "error", "-c", PROGRAM, gateway.address, kind]
    done = subprocess.run(command, check=True, timeout=LIMIT, capture_output=True, text=True)
    assert not done.stderr
