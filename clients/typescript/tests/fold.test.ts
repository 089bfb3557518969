/** Accumulation of events. */
import { deepEqual, equal } from "node:assert/strict";
import { test } from "node:test";

import { create, fromJson, toJson, type JsonValue } from "@bufbuild/protobuf";
import { Answer, FinishReason } from "dashgate";
import { ConverseResponseSchema, ConverseStreamResponseSchema } from "dashgate/v1";

import { Fold } from "#dist/fold.js";

function folded(events: JsonValue[]): Answer {
  const fold = new Fold();
  for (const event of events) {
    fold.add(fromJson(ConverseStreamResponseSchema, event));
  }
  return new Answer(fold.response());
}

const delta = (part: Record<string, JsonValue>, choiceIndex = 0) => ({
  delta: { choiceIndex, ...part },
});

test("a whole answer of two choices", () => {
  const answer = folded([
    { started: { model: "m", requestId: "r", upstreamRequestId: "u" } },
    { heartbeat: {} },
    delta({ text: "b1" }, 1),
    delta({ reasoningText: "let me " }),
    delta({ reasoningText: "think" }),
    delta({ text: "a" }),
    delta({ text: "" }),
    delta({ text: "b" }),
    delta({ extra: { ocr_result: 1, old: 1 } }),
    delta({ extra: { old: 2 } }),
    delta({ imageUri: "https://a/b.png" }),
    delta({ text: "c" }),
    delta({ annotation: { type: "audio_info", emotion: "happy" } }),
    delta({ logprobs: { content: [{ token: "a" }] } }),
    delta({ logprobs: { content: [{ token: "b" }] } }),
    delta({ searchInfo: { searchResults: [{ title: "old" }] } }),
    delta({ searchInfo: { searchResults: [{ title: "new" }] } }),
    {
      completed: {
        choices: [
          { index: 1, finishReason: "FINISH_REASON_LENGTH", rawFinishReason: "length" },
          { index: 0, finishReason: "FINISH_REASON_STOP", rawFinishReason: "stop" },
          { index: 2, rawFinishReason: "odd" },
        ],
        usage: { inputTokens: 3 },
        extraOutput: { task_metric: 1 },
      },
    },
  ]);
  deepEqual(toJson(ConverseResponseSchema, answer.raw), {
    choices: [
      {
        message: {
          role: "ROLE_ASSISTANT",
          content: [
            { text: "ab", extra: { ocr_result: 1, old: 2 } },
            { image: { uri: "https://a/b.png" } },
            { text: "c" },
          ],
          reasoningText: "let me think",
          annotations: [{ type: "audio_info", emotion: "happy" }],
        },
        finishReason: "FINISH_REASON_STOP",
        rawFinishReason: "stop",
        logprobs: { content: [{ token: "a" }, { token: "b" }] },
      },
      {
        index: 1,
        message: { role: "ROLE_ASSISTANT", content: [{ text: "b1" }] },
        finishReason: "FINISH_REASON_LENGTH",
        rawFinishReason: "length",
      },
      { index: 2, message: { role: "ROLE_ASSISTANT" }, rawFinishReason: "odd" },
    ],
    usage: { inputTokens: 3 },
    requestId: "r",
    upstreamRequestId: "u",
    model: "m",
    extraOutput: { task_metric: 1 },
    searchInfo: { searchResults: [{ title: "new" }] },
  });
  equal(answer.text, "abc");
  equal(answer.reasoningText, "let me think");
  equal(answer.finishReason, FinishReason.STOP);
});

test("tool calls are joined by their index", () => {
  const { toolCalls } = folded([
    delta({ toolCall: { index: 1, id: "two", name: "g", arguments: "{" } }),
    delta({ toolCall: { index: 0, arguments: '{"a"' } }),
    delta({ toolCall: { index: 0, id: "one", type: "function", name: "f", arguments: ":1}" } }),
    delta({ toolCall: { index: 1, id: "late", name: "h", arguments: "}" } }),
  ]);
  deepEqual(
    toolCalls.map(({ index, id, type, name, arguments: text }) => [index, id, type, name, text]),
    [
      [0, "one", "function", "f", '{"a":1}'],
      [1, "two", "", "gh", "{}"],
    ],
  );
});

test("sound is one part, after all others, with the last file", () => {
  const answer = folded([
    delta({ audio: "AQI=" }),
    delta({ text: "said" }),
    delta({ audioFile: { uri: "https://a/1.wav" } }),
    delta({ audio: "Aw==" }),
    delta({ audioFile: { uri: "https://a/2.wav", id: "2" } }),
  ]);
  deepEqual([...answer.audio], [1, 2, 3]);
  deepEqual(toJson(ConverseResponseSchema, answer.raw), {
    choices: [
      {
        message: {
          role: "ROLE_ASSISTANT",
          content: [
            { text: "said" },
            {
              audio: {
                mimeType: "audio/pcm",
                data: "AQID",
                file: { uri: "https://a/2.wav", id: "2" },
              },
            },
          ],
        },
      },
    ],
  });
});

test("audio has the type that its file names", () => {
  const types = (named: JsonValue, ...events: JsonValue[]) => {
    const file = { uri: "https://a/1", extra: { mime_type: named } };
    const { message } = folded([delta({ audioFile: file }), ...events]);
    return message?.content.map(({ kind }) => kind.case === "audio" && kind.value.mimeType);
  };
  const audio = delta({ audio: "AQI=" });
  const another = delta({ audio: "Aw==", startsPart: true });
  deepEqual(types("audio/mpeg", audio, audio, another), ["audio/mpeg", "audio/pcm"]);
  const rate = "audio/pcm;rate=44100;channels=2";
  deepEqual(types(rate, audio), [rate]);
  for (const named of ["", "text/plain", "audio", 1, true, null, ["audio/mpeg"]]) {
    deepEqual(types(named, audio), ["audio/pcm"]);
  }
  deepEqual(types("audio/mpeg", delta({ audio: "" })), [""]);
});

test("a file without bytes is where the sound is", () => {
  const answer = folded([delta({ audioFile: { uri: "https://a/1.wav" } })]);
  deepEqual(answer.message?.content[0]?.kind.value, {
    ...{ $typeName: "dashgate.v1.Audio", mimeType: "" },
    source: { case: "uri", value: "https://a/1.wav" },
    file: { $typeName: "dashgate.v1.AudioFile", uri: "https://a/1.wav", id: "" },
  });
  equal(answer.audio.length, 0);
});

test("what is of a newer schema is skipped", () => {
  const fold = new Fold();
  fold.add(create(ConverseStreamResponseSchema, { sequence: 1 }));
  fold.add(create(ConverseStreamResponseSchema, { event: { case: "delta", value: {} } }));
  equal(fold.response().choices.length, 0);
  equal(fold.complete, false);
  const answer = new Answer(fold.response());
  equal(answer.message, undefined);
  equal(answer.text, "");
});

test("keys that come alone are a part of their own", () => {
  const answer = folded([delta({ extra: { a: 1 } }), delta({ text: "t" })]);
  deepEqual(
    answer.message?.content.map(({ kind, extra }) => [kind.case, extra]),
    [
      [undefined, { a: 1 }],
      ["text", undefined],
    ],
  );
});
