"""Talks to a model with a recording, and has a text spoken, with threads and with asyncio."""

import asyncio
import sys
import wave
from collections.abc import Iterator

import dashgate
from dashgate import v1


def pieces(recording: str) -> Iterator[bytes]:
    """Give a recording in pieces of 100 ms, and the silence that ends a turn."""
    with wave.open(recording) as file:
        while piece := file.readframes(1600):
            yield piece
    for _ in range(12):
        yield bytes(3200)


def main(recording: str) -> None:
    speech = bytearray()
    # region live
    with dashgate.Client() as client, client.live("qwen3-omni-flash-realtime") as session:
        for piece in pieces(recording):  # 16-bit PCM at 16 kHz, usually from a microphone.
            session.send_audio(piece)
        session.finish()
        for event in session:
            kind = event.WhichOneof("event")
            if kind == "input_transcript" and event.input_transcript.final:
                print("You:", event.input_transcript.text)
            elif kind == "response_started":
                print("Model: ", end="")
            elif kind == "response_delta":
                print(event.response_delta.transcript, end="", flush=True)
                speech += event.response_delta.audio  # PCM at 24 kHz: play it.
            elif kind == "response_completed":
                print()
    # endregion
    print(len(speech), "bytes of speech")
    # region speak
    setup = v1.SynthesisSetup(model="qwen3-tts-flash-realtime", voice="Cherry")
    with dashgate.Client() as client, client.speak(setup) as session:
        for text in ("The text is spoken ", "while it is written."):
            session.send_text(text)
        session.finish()
        for audio in session.audio():
            speech += audio
    # endregion
    print(len(speech), "bytes of speech")


# region asyncio
async def talk(recording: str) -> None:
    client = dashgate.AsyncClient()
    async with client, client.live("qwen3-omni-flash-realtime") as session:

        async def speak() -> None:
            for piece in pieces(recording):
                await session.send_audio(piece)
            await session.finish()

        speaking = asyncio.create_task(speak())
        async for event in session:
            if event.HasField("speech_started"):
                pass  # Stop playing: the running answer is cancelled.
        await speaking
        print(session.ended.responses if session.ended else 0, "answers")


# endregion

if __name__ == "__main__":
    main(sys.argv[1])
    asyncio.run(talk(sys.argv[1]))
