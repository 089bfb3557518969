/** Tools, and the loops that run them. */
import { deepEqual, equal, ok, rejects } from "node:assert/strict";
import { test } from "node:test";

import { Client, Conversation, Role, typedTool, type Tool, type ToolsOptions } from "dashgate";
import { z } from "zod";

import { completed, type Event, said, started } from "./tools/calls.js";
import { event, played } from "./tools/gateway.js";

/** A model that calls these tools, one list per round, and then answers "done". */
function calling(rounds: string[][]) {
  let round = 0;
  const next = () => {
    const calls = rounds[round] ?? [];
    round += 1;
    return calls.map((name, index) => ({ index, id: `c${index}`, name, arguments: "{}" }));
  };
  return played({
    conversations: {
      converse: () => {
        const content = [{ kind: { case: "text" as const, value: "done" } }];
        return { choices: [{ message: { role: Role.ASSISTANT, content, toolCalls: next() } }] };
      },
      converseStream: async function* () {
        yield started;
        yield said("done");
        yield* await Promise.resolve(
          next().map((value): Event => {
            return { event: { case: "delta", value: { part: { case: "toolCall", value } } } };
          }),
        );
        yield completed;
      },
    },
  });
}

async function looped(
  rounds: string[][],
  tools: Tool[],
  options: ToolsOptions = {},
  conversation = new Conversation("m").user("go"),
) {
  await using gateway = await calling(rounds);
  using client = new Client(gateway.address);
  const run = client.runTools(conversation, tools, options);
  return { run: await run, conversation };
}

/** The results that a conversation has, in order. */
const results = ({ raw }: Conversation) =>
  raw.messages
    .filter(({ role }) => role === Role.TOOL)
    .map(({ content, toolCallId }) => [toolCallId, content[0]?.kind.value]);

const tool = (name: string, run: Tool["run"] = () => `${name} ran`): Tool => ({
  name,
  description: "d",
  run,
});

test("tools are run in order until the model calls no more", async () => {
  const { run, conversation } = await looped([["a", "gone"], ["a"]], [tool("a")]);
  equal(run.text, "done");
  const turns = conversation.raw.messages.map(({ role, content, toolCallId }) => {
    const first = content[0]?.kind;
    return [role, first?.value, toolCallId];
  });
  deepEqual(turns, [
    [2, "go", ""],
    [3, "done", ""],
    [4, "a ran", "c0"],
    [4, '{"error":"there is no tool gone"}', "c1"],
    [3, "done", ""],
    [4, "a ran", "c0"],
    [3, "done", ""],
  ]);
  equal(conversation.raw.tools.length, 1);
});

test("a fault of a tool reaches the caller as it is", async () => {
  const fault = new Error("no such city");
  const failing = tool("a", () => Promise.reject(fault));
  const conversation = new Conversation("m").user("What?");
  await rejects(looped([["a", "a"]], [failing], {}, conversation), fault);
  // No call stays unanswered.
  deepEqual(results(conversation), [
    ["c0", '{"error":"the function failed"}'],
    ["c1", '{"error":"the function was not run"}'],
  ]);
});

test("a model that does not stop is stopped", async () => {
  const endless = Array.from({ length: 20 }, () => ["a"]);
  let runs = 0;
  const counted = tool("a", () => String((runs += 1)));
  await rejects(looped(endless, [counted], { maxRounds: 3 }), {
    name: "DashgateError",
    code: "FAILED_PRECONDITION",
    rawReason: "TOOL_ROUNDS",
  });
  equal(runs, 3);
  await rejects(looped(endless, [counted]), { rawReason: "TOOL_ROUNDS" });
  equal(runs, 3 + 8);
});

test("functions of a round can run at the same time, and results keep the order", async () => {
  const first = event("the first function");
  const second = event("the second function");
  const order: string[] = [];
  const tools = [
    tool("a", async () => {
      first.happens();
      await second.happened;
      order.push("a");
      return "of a";
    }),
    tool("b", async () => {
      await first.happened;
      order.push("b");
      second.happens();
      return "of b";
    }),
  ];
  const { conversation } = await looped([["a", "b"]], tools, { parallel: true });
  deepEqual(order, ["b", "a"]);
  deepEqual(results(conversation), [
    ["c0", "of a"],
    ["c1", "of b"],
  ]);
});

test("a fault of one of several functions waits for the others", async () => {
  const fault = new Error("no");
  const tools = [tool("a", () => Promise.reject(fault)), tool("b")];
  const conversation = new Conversation("m").user("go");
  await rejects(looped([["a", "b"]], tools, { parallel: true }, conversation), fault);
  deepEqual(results(conversation), [
    ["c0", '{"error":"the function failed"}'],
    ["c1", "b ran"],
  ]);
});

test("a streamed loop has the events of all rounds, and the last answer", async () => {
  await using gateway = await calling([["a"], ["a"]]);
  using client = new Client(gateway.address);
  const conversation = new Conversation("m").user("go");
  const stream = client.streamTools(conversation, [tool("a")]);
  const kinds: unknown[] = [];
  for await (const { event } of stream) kinds.push(event.case);
  const round = ["started", "delta", "delta", "completed"];
  deepEqual(kinds, [...round, ...round, "started", "delta", "completed"]);
  const answer = await stream.final();
  deepEqual([answer.text, answer.toolCalls.length], ["done", 0]);
  equal(conversation.raw.messages.length, 6);
  equal(stream.requestId, stream.current?.requestId);
  ok(stream.requestId);
});

test("a streamed loop has the state of its running round", async () => {
  await using gateway = await calling([["a"]]);
  using client = new Client(gateway.address);
  const stream = client.streamTools(new Conversation("m").user("go"), [tool("a")]);
  deepEqual(
    [stream.requestId, stream.partial, stream.headers, stream.resumes],
    [undefined, undefined, {}, 0],
  );
  const texts: unknown[] = [];
  const ids = new Set<string | undefined>();
  for await (const { event } of stream) {
    ok(stream.headers["content-type"]);
    ids.add(stream.requestId);
    if (event.case === "delta" && event.value.part.case === "text") {
      texts.push(stream.partial?.text);
    }
  }
  deepEqual(texts, ["done", "done"]);
  equal(ids.size, 2);
  equal(stream.partial?.text, "done");
});

test("the texts of a streamed loop are those of all rounds", async () => {
  await using gateway = await calling([["a"]]);
  using client = new Client(gateway.address);
  const stream = client.streamTools(new Conversation("m").user("go"), [tool("a")]);
  const words: string[] = [];
  for await (const piece of stream.textDeltas()) words.push(piece);
  deepEqual(words, ["done", "done"]);
});

test("a streamed loop that is left while a function runs makes no other call", async () => {
  await using gateway = await calling([["a"]]);
  using client = new Client(gateway.address);
  const running = event("the function");
  const left = event("the leaving");
  const waiting = tool("a", async () => {
    running.happens();
    await left.happened;
    return "too late";
  });
  const stream = client.streamTools(new Conversation("m").user("go"), [waiting]);
  const rest = stream.final();
  await running.happened;
  stream.cancel();
  left.happens();
  await rejects(rest, { name: "AbortError" });
  await rejects(stream.final(), { name: "AbortError" });
});

test("a streamed loop fails as the other one does", async () => {
  const endless = Array.from({ length: 3 }, () => ["a"]);
  await using gateway = await calling(endless);
  using client = new Client(gateway.address);
  const conversation = new Conversation("m").user("go");
  const stream = client.streamTools(conversation, [tool("a")], { maxRounds: 1 });
  await rejects(stream.final(), { rawReason: "TOOL_ROUNDS" });
  await rejects(stream.final(), { rawReason: "TOOL_ROUNDS" });
});

test("a typed tool has a schema, takes values, and tells the model what is wrong", async () => {
  const cities: string[] = [];
  const weather = typedTool({
    name: "weather",
    description: "The weather of a city",
    parameters: z.object({ city: z.string(), days: z.int().default(1) }),
    run: ({ city, days }) => {
      cities.push(`${city} ${days}`);
      return { sky: "clear" };
    },
  });
  ok(typeof weather.parameters === "string");
  const schema = JSON.parse(weather.parameters) as Record<string, unknown>;
  deepEqual([schema["type"], schema["required"]], ["object", ["city"]]);
  equal(await weather.run('{"city":"Oslo"}'), '{"sky":"clear"}');
  deepEqual(cities, ["Oslo 1"]);
  const { error } = JSON.parse(await weather.run('{"city":1}')) as { error: string };
  ok(error.startsWith("the arguments are not valid: city: "), error);
  ok((await weather.run("{")).includes("not valid"));
  equal(cities.length, 1);
});

test("a typed tool takes any schema with a function that parses", async () => {
  const double = typedTool({
    name: "double",
    description: "Doubles a number",
    parameters: { jsonSchema: '{"type":"object"}', parse: (value) => value as { n: number } },
    run: ({ n }) => String(2 * n),
  });
  equal(double.parameters, '{"type":"object"}');
  equal(await double.run('{"n":21}'), "42");
});
