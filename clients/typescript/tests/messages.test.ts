/** Lists of messages, and the JSON forms of conversations. */
import { deepEqual, equal, throws } from "node:assert/strict";
import { test } from "node:test";

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
    [{}, "messages: "],
    [["a"], "messages[0]: "],
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
    [
      user({ type: "input_audio", input_audio: { data: "/etc/x", format: "wav" } }),
      "messages[0].content[0].input_audio.data: ",
    ],
    [[{ role: "assistant", tool_calls: [{ type: "x" }] }], "messages[0].tool_calls[0].type: "],
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
