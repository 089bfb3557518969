/** Loops of tools that end early: the conversation can be continued, however they end. */
import { deepEqual, equal, ok, rejects } from "node:assert/strict";
import { test } from "node:test";

import { Client, Conversation, Role, typedTool, type Tool } from "dashgate";
import { completed, said, started, type Event } from "./tools/calls.js";
import { event, played } from "./tools/gateway.js";

const FAILED = '{"error":"the function failed"}';
const NOT_RUN = '{"error":"the function was not run"}';

/** A model that calls these functions once, in each form of call. */
function calling(...names: string[]) {
  const toolCalls = names.map((name, index) => ({ index, id: `c${index}`, name, arguments: "{}" }));
  let calls = 0;
  return played({
    conversations: {
      converse: () => {
        calls += 1;
        const message = { role: Role.ASSISTANT, toolCalls: calls > 1 ? [] : toolCalls };
        return { choices: [{ message }] };
      },
      converseStream: async function* () {
        calls += 1;
        yield started;
        yield said("done");
        const events = (calls > 1 ? [] : toolCalls).map((value): Event => {
          return { event: { case: "delta", value: { part: { case: "toolCall", value } } } };
        });
        yield* await Promise.resolve(events);
        yield completed;
      },
    },
  });
}

/** The results that a conversation has, by the ids of their calls. */
const results = ({ raw }: Conversation) =>
  raw.messages
    .filter(({ role }) => role === Role.TOOL)
    .map(({ content, toolCallId }) => [toolCallId, content[0]?.kind.value]);

const tool = (name: string, run: Tool["run"]): Tool => ({ name, description: "d", run });

/** A function that never ends. */
function endless(name: string) {
  const { happened, happens } = event(`the run of ${name}`);
  const run = () => {
    happens();
    return new Promise<string>(() => undefined);
  };
  return { running: happened, tool: tool(name, run) };
}

for (const parallel of [false, true]) {
  const form = parallel ? "parallel" : "in order";
  const second = parallel ? "b ran" : NOT_RUN;
  const unanswered = [
    ["c0", FAILED],
    ["c1", second],
  ];

  test(`a signal ends a loop while a function runs, ${form}`, async () => {
    for (const isStream of [false, true]) {
      await using gateway = await calling("a", "b");
      using client = new Client(gateway.address);
      const controller = new AbortController();
      const reason = new Error("the user left");
      const { running, tool: waiting } = endless("a");
      const tools = [waiting, tool("b", () => "b ran")];
      const conversation = new Conversation("m").user("go");
      const options = { parallel, signal: controller.signal };
      const loop = isStream
        ? client.streamTools(conversation, tools, options).final()
        : client.runTools(conversation, tools, options);
      const ended = rejects(loop, reason);
      await running;
      await new Promise(setImmediate);
      controller.abort(reason);
      await ended;
      deepEqual(results(conversation), unanswered);
    }
  });

  test(`a streamed loop is left while a function runs, ${form}`, async () => {
    await using gateway = await calling("a", "b");
    using client = new Client(gateway.address);
    const { running, tool: waiting } = endless("a");
    const conversation = new Conversation("m").user("go");
    const tools = [waiting, tool("b", () => "b ran")];
    const stream = client.streamTools(conversation, tools, { parallel });
    const ended = rejects(stream.final(), { name: "AbortError" });
    await running;
    await new Promise(setImmediate);
    stream.cancel();
    await ended;
    deepEqual(results(conversation), unanswered);
    // It is continued as it is.
    equal((await client.stream(conversation.user("And?")).final()).text, "done");
  });

  test(`whatever a function throws or returns, its call is answered, ${form}`, async () => {
    const thrown: unknown[] = [new RangeError("no"), "a text", undefined, null, 0];
    for (const value of thrown) {
      await using gateway = await calling("a", "b");
      using client = new Client(gateway.address);
      const conversation = new Conversation("m").user("go");
      const failing = tool("a", () => {
        throw value;
      });
      const loop = client.runTools(conversation, [failing, tool("b", () => "b ran")], { parallel });
      const ended = await loop.then(
        () => "no error",
        (reason: unknown) => ({ reason }),
      );
      deepEqual(ended, { reason: value });
      deepEqual(results(conversation), unanswered);
    }
    const returned: [unknown, string][] = [
      [undefined, "the tool a returned no text"],
      // It could not be sent, and neither could the conversation.
      ["\ud800", "the tool a returned a text with a surrogate without its pair"],
    ];
    for (const [value, message] of returned) {
      await using gateway = await calling("a", "b");
      using client = new Client(gateway.address);
      const conversation = new Conversation("m").user("go");
      const wrong = tool("a", () => value as string);
      const loop = client.runTools(conversation, [wrong, tool("b", () => "b ran")], { parallel });
      await rejects(loop, { message });
      deepEqual(results(conversation), unanswered);
    }
  });
}

test("a loop that is left before its functions run appends nothing", async () => {
  await using gateway = await calling("a");
  using client = new Client(gateway.address);
  const conversation = new Conversation("m").user("go");
  let runs = 0;
  const counted = tool("a", () => String((runs += 1)));
  for await (const event of client.streamTools(conversation, [counted])) {
    ok(event);
    break;
  }
  deepEqual([runs, conversation.raw.messages.length], [0, 1]);
});

test("at most 16 functions run at the same time, also after one failed", async () => {
  const names = Array.from({ length: 40 }, (_, at) => `f${at}`);
  await using gateway = await calling(...names);
  using client = new Client(gateway.address);
  let [running, most, runs] = [0, 0, 0];
  const expected = new Error("no");
  const tools = names.map((name) =>
    tool(name, async () => {
      running += 1;
      runs += 1;
      most = Math.max(most, running);
      await new Promise(setImmediate);
      running -= 1;
      if (name === "f1" || name === "f0") throw name === "f0" ? expected : new Error("another");
      return name;
    }),
  );
  const conversation = new Conversation("m").user("go");
  await rejects(client.runTools(conversation, tools, { parallel: true }), expected);
  deepEqual([most, runs, running], [16, 40, 0]);
  deepEqual(
    results(conversation),
    names.map((name, at) => [`c${at}`, at < 2 ? FAILED : name]),
  );
});

test("a call that is cancelled while arguments are parsed is no problem of the arguments", async () => {
  const reason = new DOMException("left", "AbortError");
  const checked = typedTool({
    name: "a",
    description: "d",
    parameters: { jsonSchema: "{}", parse: () => Promise.reject(reason) },
    run: () => "",
  });
  await rejects(async () => checked.run("{}"), reason);
});
