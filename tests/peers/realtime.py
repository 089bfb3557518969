"""Holds realtime sessions and tasks with DashScope's official SDK, and prints what it surfaces.

Arguments: the host and port, and the name of a case. Prints a line of JSON for each event.
"""

import base64
import json
import math
import struct
import sys
import threading

import dashscope
from dashscope.audio.asr import (
    Recognition,
    RecognitionCallback,
    TranslationRecognizerCallback,
    TranslationRecognizerChat,
    TranslationRecognizerRealtime,
)
from dashscope.audio.qwen_omni import (
    MultiModality,
    OmniRealtimeCallback,
    OmniRealtimeConversation,
)
from dashscope.audio.qwen_omni.omni_realtime import TranscriptionParams
from dashscope.audio.qwen_tts_realtime import QwenTtsRealtime, QwenTtsRealtimeCallback
from dashscope.audio.tts_v2 import SpeechSynthesizer

HOST = sys.argv[1]
REALTIME = f"ws://{HOST}/api-ws/v1/realtime"
INFERENCE = f"ws://{HOST}/api-ws/v1/inference"
SECONDS = 30

dashscope.api_key = "sk-peer"
dashscope.base_websocket_api_url = INFERENCE


def show(event):
    """Prints an event, with its audio as a number of bytes."""
    if isinstance(event.get("delta"), str) and event["type"] == "response.audio.delta":
        event["delta"] = len(base64.b64decode(event["delta"]))
    print(json.dumps(event, ensure_ascii=False), flush=True)


def pcm(ms, hz=440, rate=16000):
    """A tone, or silence for 0 Hz."""
    count = ms * rate // 1000
    wave = (int(8000 * math.sin(2 * math.pi * hz * n / rate)) for n in range(count))
    return struct.pack(f"<{count}h", *wave)


def frames(audio, size=3200):
    """Audio in frames of 100 ms."""
    return [audio[at : at + size] for at in range(0, len(audio), size)]


class Events:
    """A callback that shows events and waits for them."""

    def __init__(self):
        self.seen = []
        self.changed = threading.Condition()

    def on_open(self):
        pass

    def on_close(self, code, reason):
        self.add({"type": "closed", "code": code, "reason": reason})

    def on_event(self, message):
        self.add(message if isinstance(message, dict) else json.loads(message))

    def add(self, event):
        show(event)
        with self.changed:
            self.seen.append(event["type"])
            self.changed.notify_all()

    def until(self, kind, count=1):
        with self.changed:
            if not self.changed.wait_for(lambda: self.seen.count(kind) >= count, SECONDS):
                raise TimeoutError(f"no {kind} in {self.seen}")


class OmniEvents(Events, OmniRealtimeCallback):
    pass


class SpeechEvents(Events, QwenTtsRealtimeCallback):
    pass


def conversation(model):
    events = OmniEvents()
    omni = OmniRealtimeConversation(model=model, callback=events, url=REALTIME)
    omni.connect()
    return omni, events


def speak(omni, audio):
    for frame in frames(audio):
        omni.append_audio(base64.b64encode(frame).decode())


def vad_turn():
    omni, events = conversation("qwen3-omni-flash-realtime")
    omni.update_session([MultiModality.TEXT, MultiModality.AUDIO], voice="Cherry")
    speak(omni, pcm(1000) + pcm(1000, 0))
    events.until("response.done")
    omni.end_session()
    events.until("closed")


def manual_turn():
    omni, events = conversation("qwen3-omni-flash-realtime")
    omni.update_session([MultiModality.TEXT], enable_turn_detection=False)
    speak(omni, pcm(500))
    omni.commit()
    omni.create_response()
    events.until("response.done")
    text = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hello"}]}
    omni.create_item(text)
    omni.create_response()
    events.until("response.done", 2)
    omni.close()


def cancel():
    omni, events = conversation("qwen3.5-omni-plus-realtime")
    omni.update_session(
        [MultiModality.TEXT, MultiModality.AUDIO], voice="Tina", enable_turn_detection=False
    )
    omni.create_response()
    events.until("response.audio.delta")
    omni.cancel_response()
    events.until("response.output_item.done")
    omni.create_response()
    events.until("response.done")
    omni.close()


def transcription():
    omni, events = conversation("qwen3-asr-flash-realtime")
    omni.update_session(
        [MultiModality.TEXT],
        enable_turn_detection=True,
        turn_detection_threshold=0.0,
        turn_detection_silence_duration_ms=400,
        transcription_params=TranscriptionParams(
            language="en", sample_rate=16000, input_audio_format="pcm"
        ),
    )
    speak(omni, pcm(1000) + pcm(600, 0) + pcm(500))
    omni.end_session()
    events.until("closed")


def speech():
    events = SpeechEvents()
    tts = QwenTtsRealtime(model="qwen3-tts-flash-realtime", callback=events, url=REALTIME)
    tts.connect()
    tts.update_session(voice="Cherry", mode="server_commit")
    tts.append_text("你好，")
    tts.append_text("今天天气不错。")
    tts.append_text("再见")
    tts.finish()
    events.until("closed")


class Results(RecognitionCallback):
    def on_complete(self):
        show({"type": "complete"})

    def on_error(self, result):
        show({"type": "failed", "message": str(result.message)})

    def on_event(self, result):
        sentence = result.get_sentence()
        sentence["is_end"] = result.is_sentence_end(sentence)
        show({"type": "sentence", **sentence, "usage": result.get_usage(sentence)})


def recognition():
    recognition = Recognition(
        model="fun-asr-realtime",
        callback=Results(),
        format="pcm",
        sample_rate=16000,
        language_hints=["en"],
    )
    recognition.start()
    for frame in frames(pcm(1200) + pcm(1000, 0) + pcm(600)):
        recognition.send_audio_frame(frame)
    recognition.stop()


class Translations(TranslationRecognizerCallback):
    def on_complete(self):
        show({"type": "complete"})

    def on_error(self, message):
        show({"type": "failed", "message": str(message)})

    def on_event(self, request_id, transcription, translations, usage):
        if transcription.is_sentence_end:
            english = translations.get_translation("en")
            show({"type": "sentence", "text": transcription.text, "en": english.text})


def translation():
    for kind, model in [
        (TranslationRecognizerRealtime, "gummy-realtime-v1"),
        (TranslationRecognizerChat, "gummy-chat-v1"),
    ]:
        recognizer = kind(
            model=model,
            callback=Translations(),
            format="pcm",
            sample_rate=16000,
            source_language="zh",
            transcription_enabled=True,
            translation_enabled=True,
            translation_target_languages=["en"],
        )
        recognizer.start()
        for frame in frames(pcm(1200) + pcm(1000, 0) + pcm(600)):
            recognizer.send_audio_frame(frame)
        recognizer.stop()


def cosyvoice():
    audio = SpeechSynthesizer(model="cosyvoice-v2", voice="longxiaochun_v2").call("你好，世界。")
    show({"type": "audio", "bytes": len(audio), "head": audio[:4].decode()})


def new_client():
    client = dashscope.Client(api_key="sk-peer")
    for model in ["qwen3-omni-flash-realtime", "qwen-audio-3.0-realtime-plus"]:
        session = client.audio.realtime.connect(model=model, ws_url=REALTIME)
        session.connect()
        show(session.recv_event())
        session.update_session(["text", "audio"], enable_turn_detection=False)
        show(session.recv_event())
        for frame in frames(pcm(500)):
            session.append_audio(frame)
        session.commit()
        session.create_response()
        kind = ""
        while kind != "response.done":
            event = session.recv_event()
            kind = event["type"]
            show(event)
        if model.startswith("qwen3-omni"):
            session.end_session()
            for event in session.events():
                show(event)
        else:
            session.close()
    task = client.audio.asr.recognize(model="paraformer-realtime-v2", ws_url=INFERENCE)
    task.start()
    for frame in frames(pcm(500) + pcm(1000, 0)):
        task.send_audio_frame(frame)
    task.stop()
    for event in task.events():
        show({"type": event["header"]["event"]})
    task.close()


def refused():
    dashscope.api_key = "sk-bad"
    events = OmniEvents()
    omni = OmniRealtimeConversation(
        model="qwen3-omni-flash-realtime", callback=events, url=REALTIME
    )
    try:
        omni.connect()
    except TimeoutError:
        show({"type": "timeout"})


CASES = {
    "vad_turn": vad_turn,
    "manual_turn": manual_turn,
    "cancel": cancel,
    "transcription": transcription,
    "speech": speech,
    "recognition": recognition,
    "translation": translation,
    "cosyvoice": cosyvoice,
    "new_client": new_client,
    "refused": refused,
}

if __name__ == "__main__":
    CASES[sys.argv[2]]()
