"""Tests of the accumulation of events."""

from __future__ import annotations

from typing import TypeAlias

import pytest
from gateway import COMPLETED, STARTED, Event, text

from dashgate import Answer, v1
from dashgate._fold import Fold

Named: TypeAlias = "str | float | list[str] | None"


def fold(*events: Event) -> Answer:
    folding = Fold()
    for event in events:
        folding.add(event)
    assert folding.complete
    return Answer(folding.response())


def delta(**part: object) -> Event:
    return Event(delta=v1.Delta(**part))  # type: ignore[arg-type]


def extra(**fields: str) -> Event:
    event = Event()
    event.delta.extra.update(fields)
    return event


def test_texts_join_and_choices_are_told_apart() -> None:
    answer = fold(STARTED, text("b", 1), text("a"), text("", 1), text("c", 1), COMPLETED)
    assert answer.text == "a"
    assert [choice.message.content[0].text for choice in answer.choices] == ["a", "bc"]
    assert [choice.index for choice in answer.choices] == [0, 1]
    assert answer.message.role == v1.ROLE_ASSISTANT
    assert (answer.model, answer.request_id, answer.upstream_request_id) == ("m", "r", "u")
    assert answer.finish_reason == v1.FINISH_REASON_STOP
    assert answer.usage.total_tokens == 3


def test_a_picture_parts_two_texts() -> None:
    answer = fold(text("a"), delta(image_uri="https://x/y.png"), text("b"), text("c"), COMPLETED)
    kinds = [part.WhichOneof("kind") for part in answer.message.content]
    assert kinds == ["text", "image", "text"]
    assert answer.text == "abc"


def test_sound_comes_last_with_its_file() -> None:
    file = v1.AudioFile(uri="https://x/y.wav", id="i")
    answer = fold(
        delta(audio=b"ab"), delta(audio_file=file), delta(audio=b"c"), text("t"), COMPLETED
    )
    assert answer.audio == b"abc"
    sound = answer.message.content[-1].audio
    assert (sound.mime_type, sound.file) == ("audio/pcm", file)


def audio_of(named: Named, *events: Event) -> list[v1.Audio]:
    file = Event()
    file.delta.audio_file.uri = "https://x/y"
    file.delta.audio_file.extra.update({"mime_type": named})
    return [part.audio for part in fold(file, *events, COMPLETED).message.content]


def test_audio_has_the_type_that_its_file_names() -> None:
    another = delta(audio=b"c", starts_part=True)
    first, second = audio_of("audio/mpeg", delta(audio=b"a"), delta(audio=b"b"), another)
    assert (first.mime_type, first.data) == ("audio/mpeg", b"ab")
    assert first.file.extra["mime_type"] == "audio/mpeg"
    assert (second.mime_type, second.HasField("file")) == ("audio/pcm", False)
    rate = "audio/pcm;rate=44100;channels=2"
    assert [part.mime_type for part in audio_of(rate, delta(audio=b"a"))] == [rate]


@pytest.mark.parametrize("named", ["", "text/plain", "audio", 1, True, None, ["audio/mpeg"]])
def test_what_is_no_type_of_audio_names_none(named: Named) -> None:
    assert [part.mime_type for part in audio_of(named, delta(audio=b"a"))] == ["audio/pcm"]


def test_a_type_without_bytes_is_not_used() -> None:
    (sound,) = audio_of("audio/mpeg", delta(audio=b""))
    assert (sound.uri, sound.mime_type) == ("https://x/y", "")


def test_a_file_without_bytes_is_where_the_sound_is() -> None:
    answer = fold(delta(audio_file=v1.AudioFile(uri="https://x/y.wav")), COMPLETED)
    sound = answer.message.content[0].audio
    assert (sound.uri, sound.mime_type, answer.audio) == ("https://x/y.wav", "", b"")


def test_tool_calls_join_by_index() -> None:
    pieces = [
        v1.ToolCall(index=1, id="y", type="function", name="g", arguments="{"),
        v1.ToolCall(index=0, id="x", name="f", arguments="["),
        v1.ToolCall(index=1, id="later", arguments="}"),
        v1.ToolCall(index=0, arguments="]"),
    ]
    answer = fold(*(delta(tool_call=piece) for piece in pieces), COMPLETED)
    calls = [(call.id, call.name, call.arguments) for call in answer.tool_calls]
    assert calls == [("x", "f", "[]"), ("y", "g", "{}")]


def test_extra_joins_the_last_part_and_new_keys_win() -> None:
    answer = fold(text("a"), extra(k="1", l="1"), extra(k="2"), COMPLETED)
    assert len(answer.message.content) == 1
    assert dict(answer.message.content[0].extra) == {"k": "2", "l": "1"}


def test_extra_alone_is_a_part() -> None:
    answer = fold(extra(k="1"), text("a"), COMPLETED)
    kinds = [part.WhichOneof("kind") for part in answer.message.content]
    assert kinds == [None, "text"]


def test_all_else_is_kept() -> None:
    logprobs = v1.Logprobs(content=[v1.TokenLogprob(token="t")])
    answer = fold(
        delta(reasoning_text="let me "),
        delta(reasoning_text="think"),
        delta(annotation=v1.Annotation(language="zh")),
        delta(logprobs=logprobs),
        delta(logprobs=logprobs),
        delta(search_info=v1.SearchInfo(search_results=[v1.SearchResult(index=1)])),
        delta(search_info=v1.SearchInfo(search_results=[v1.SearchResult(index=2)])),
        COMPLETED,
    )
    assert answer.reasoning_text == "let me think"
    assert answer.message.annotations[0].language == "zh"
    assert len(answer.choices[0].logprobs.content) == 2
    assert [result.index for result in answer.raw.search_info.search_results] == [2]


def test_what_is_of_a_newer_schema_is_skipped() -> None:
    # Field 99 of an event, and of a delta.
    unknown_event = Event.FromString(b"\x9a\x06\x00")
    unknown_delta = Event(delta=v1.Delta.FromString(b"\x08\x05\x9a\x06\x00"))
    answer = fold(
        unknown_event, unknown_delta, Event(heartbeat=v1.Heartbeat()), text("a"), COMPLETED
    )
    assert answer.text == "a"
    assert len(answer.choices) == 1


def test_a_choice_that_said_nothing_is_still_there() -> None:
    answer = fold(COMPLETED)
    assert (answer.text, answer.raw_finish_reason) == ("", "stop")
    assert len(answer.choices) == 1


def test_an_answer_without_choices_is_empty() -> None:
    answer = Answer(v1.ConverseResponse())
    assert (answer.text, answer.audio, list(answer.tool_calls)) == ("", b"", [])
    assert answer.finish_reason == v1.FINISH_REASON_UNSPECIFIED
