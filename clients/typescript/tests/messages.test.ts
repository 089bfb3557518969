/** Lists of messages, and the JSON forms of conversations. */
import { deepEqual, equal, throws } from "node:assert/strict";
import { test } from "node:test";
import { inspect } from "node:util";

import { Conversation } from "dashgate";

const read = (...messages: unknown[]) => Conversation.fromMessages("m", messages).toJSON();

test("a list in the form of OpenAI", () => {
  const json = read(
    { role: "developer", content: "Be brief." },
    {
      role: "user",
      content: [
        { type: "text", text: "What is it?" },
        { type: "image_url", image_url: { url: "https://a/b.png" } },
        { type: "input_audio", input_audio: { data: "SUQzBAAAAAAA", format: "mp3" } },
        { type: "input_audio", input_audio: { data: "data:;base64,AAAA", format: "wav" } },
        { type: "video_url", video_url: { url: "data:video/mp4;base64,AAAA" } },
        { type: "video", video: ["https://a/1.png", "data:image/png,%00a"] },
      ],
    },
    {
      role: "assistant",
      content: null,
      refusal: null,
      reasoning_content: "Hm.",
      tool_calls: [{ id: "c", type: "function", function: { name: "f", arguments: "{}" } }],
    },
    { role: "tool", tool_call_id: "c", content: "a dot" },
  );
  deepEqual(json, {
    model: "m",
    messages: [
      { role: "ROLE_SYSTEM", content: [{ text: "Be brief." }] },
      {
        role: "ROLE_USER",
        content: [
          { text: "What is it?" },
          { image: { uri: "https://a/b.png" } },
          { audio: { mimeType: "audio/mpeg", data: "SUQzBAAAAAAA" } },
          { audio: { mimeType: "audio/wav", data: "AAAA" } },
          { video: { mimeType: "video/mp4", data: "AAAA" } },
          {
            video: {
              frames: {
                frames: [{ uri: "https://a/1.png" }, { mimeType: "image/png", data: "AGE=" }],
              },
            },
          },
        ],
      },
      {
        role: "ROLE_ASSISTANT",
        reasoningText: "Hm.",
        toolCalls: [{ id: "c", type: "function", name: "f", arguments: "{}" }],
      },
      { role: "ROLE_TOOL", content: [{ text: "a dot" }], toolCallId: "c" },
    ],
  });
});

test("a list in the form of DashScope", () => {
  const content = [
    { audio: "oss://a/b.wav" },
    { image: "https://a/b.png" },
    { video: ["https://a/1.png"] },
    { video: "https://a/b.mp4" },
    { text: "What is it?" },
  ];
  const text = JSON.stringify([{ role: "user", content }]);
  deepEqual(Conversation.fromMessages("m", text).raw.messages, [
    ...Conversation.fromMessages("m", [{ role: "user", content }]).raw.messages,
  ]);
  deepEqual(read({ role: "user", content }), {
    model: "m",
    messages: [
      {
        role: "ROLE_USER",
        content: [
          { audio: { uri: "oss://a/b.wav" } },
          { image: { uri: "https://a/b.png" } },
          { video: { frames: { frames: [{ uri: "https://a/1.png" }] } } },
          { video: { uri: "https://a/b.mp4" } },
          { text: "What is it?" },
        ],
      },
    ],
  });
});

test("whatever is unknown, or names a file, is refused with its place", () => {
  const user = (...content: unknown[]) => [{ role: "user", content }];
  const wrong: [messages: unknown, place: string][] = [
    ["{", "messages: "],
    ["[1", "messages: "],
    [{}, "messages: "],
    [["a"], "messages[0]: "],
    [new Array(1), "messages[0]: "],
    [[{ role: "user", content: new Array(1) }], "messages[0].content[0]: "],
    [[{ content: "a" }], "messages[0].role: "],
    [[{ role: "judge", content: "a" }], "messages[0].role: "],
    [[{ role: "user", content: 1 }], "messages[0].content: "],
    [[{ role: "user", content: "a", mood: "good" }], "messages[0].mood: "],
    [user({ type: "smell" }), "messages[0].content[0].type: "],
    [user({ smell: "rose" }), "messages[0].content[0]: "],
    [user("a"), "messages[0].content[0]: "],
    [user({ text: "a" }, { text: "b", x: 1 }), "messages[0].content[1].x: "],
    [user({ type: "image_url", image_url: {} }), "messages[0].content[0].image_url.url: "],
    [user({ type: "image_url", image_url: "https://a" }), "messages[0].content[0].image_url: "],
    [user({ image: "/etc/hostname" }), "messages[0].content[0].image: "],
    [user({ image: "file:///etc/hostname" }), "messages[0].content[0].image: "],
    [user({ image: "dashgate-file:1" }), "messages[0].content[0].image: "],
    [user({ video: ["a.png"] }), "messages[0].content[0].video[0]: "],
    [user({ video: [1] }), "messages[0].content[0].video[0]: "],
    [user({ image: "data:image/png;base64,*" }), "messages[0].content[0].image: "],
    [user({ image: "data:image/png,%" }), "messages[0].content[0].image: "],
    [user({ image: "data:image/png" }), "messages[0].content[0].image: "],
    [user({ image: "data:image/png," }), "messages[0].content[0].image: "],
    [user({ image: "data:image/png;base64," }), "messages[0].content[0].image: "],
    ...["", "=", "A", "AA=", "AAA==", "AAAA=", "AAAA====", "A A=", "AAA\n", "-_-_", "AA=A"].map(
      (data): [unknown, string] => [
        user({ type: "input_audio", input_audio: { data } }),
        "messages[0].content[0].input_audio.data: ",
      ],
    ),
    [user({ video: [] }), "messages[0].content[0].video: "],
    [user({ type: "video", video: [] }), "messages[0].content[0].video: "],
    [user({ text: "a\ud800" }), "messages[0].content[0].text: "],
    [user({ video: ["https://\udc00"] }), "messages[0].content[0].video[0]: "],
    ['[{"role":"user","content":"\\udc00b"}]', "messages[0].content: "],
    ...[2 ** 31, -1, 1.5, Number.NaN, "1"].map((index): [unknown, string] => [
      [{ role: "assistant", tool_calls: [{ index, function: { name: "f" } }] }],
      "messages[0].tool_calls[0].index: ",
    ]),
    [
      user({ type: "input_audio", input_audio: { data: "/etc/hostname", format: "wav" } }),
      "messages[0].content[0].input_audio.data: ",
    ],
    [[{ role: "assistant", tool_calls: [{ type: "x" }] }], "messages[0].tool_calls[0].type: "],
    [
      [{ role: "assistant", tool_calls: [{ function: { name: "" } }] }],
      "messages[0].tool_calls[0].function.name: ",
    ],
    [
      [{ role: "assistant", tool_calls: [{ function: { name: "f", y: 1 } }] }],
      "messages[0].tool_calls[0].function.y: ",
    ],
  ];
  for (const [messages, place] of wrong) {
    throws(
      () => Conversation.fromMessages("m", messages as unknown[]),
      (error: Error) => error instanceof TypeError && error.message.startsWith(place),
      place,
    );
  }
});

test("keys that are null are absent, schemes have any case, and base64 any padding", () => {
  const json = read(
    {
      role: "user",
      name: null,
      content: [
        { type: null, text: null, image: "HTTPS://a/b.png" },
        { type: "text", text: "a\u{1f600}", image_url: null },
        { image: "DATA:image/PNG;BASE64,AA" },
        { image: "data:;base64,AAA=" },
        { image: "Data:image/png,%ffa%C3%A9\u00e9" },
        { type: "input_audio", input_audio: { data: "AAAAAA", format: null } },
        { audio: "Oss://a" },
      ],
      tool_calls: null,
    },
    { role: "assistant", tool_calls: [{ index: 2 ** 31 - 1, function: { name: "f" }, id: null }] },
  );
  const text = JSON.stringify(json);
  deepEqual((JSON.parse(text) as { messages: { content: unknown }[] }).messages[0]?.content, [
    { image: { uri: "HTTPS://a/b.png" } },
    { text: "a\u{1f600}" },
    { image: { mimeType: "image/png", data: "AA==" } },
    { image: { data: "AAA=" } },
    { image: { mimeType: "image/png", data: "/2HDqcOp" } },
    { audio: { data: "AAAAAA==" } },
    { audio: { uri: "Oss://a" } },
  ]);
});

test("errors quote no values, also not in their cause", () => {
  const wrong: (string | unknown[])[] = [
    '[{"role": hush}]',
    '[{"role": "hush"} "position 77"',
    "hush",
    [{ role: "hush" }],
    [{ role: "user", content: [{ type: "hush" }] }],
    [{ role: "user", content: [{ image: "hush:hush" }] }],
    [{ role: "user", content: [{ image: "data:image/png;base64,*hush*" }] }],
    [{ role: "user", content: [{ image: "data:hush" }] }],
    [{ role: "user", content: [{ image: "data:,%hush" }] }],
    [{ role: "user", content: "hush\ud800" }],
    [{ role: "assistant", tool_calls: [{ type: "hush" }] }],
    [{ role: "assistant", tool_calls: [{ index: "hush" }] }],
  ];
  for (const messages of wrong) {
    throws(
      () => Conversation.fromMessages("m", messages),
      (error: Error) => !/hush|77/.test(inspect(error).replace(/^ +at .*$/gm, "")),
    );
  }
  throws(() => Conversation.fromMessages("m", '[{"role" 1}]'), {
    message: "messages: not valid JSON at position 9",
  });
  throws(() => Conversation.fromJSON('{"model": hush}'), { message: "not valid JSON" });
});

test("a conversation is written and read as JSON", () => {
  const conversation = new Conversation("m", { name: "conversations/a", system: "Be brief." });
  conversation.user("Hello").declare({ name: "f", description: "d" });
  const text = JSON.stringify({ conversation });
  const { conversation: json } = JSON.parse(text) as { conversation: string };
  const again = Conversation.fromJSON(json);
  deepEqual(again.raw, conversation.raw);
  equal(again.user("And?").raw.messages.length, 3);
  deepEqual(Conversation.fromJSON(JSON.stringify(conversation)).raw, conversation.raw);
});
