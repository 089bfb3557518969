/** The recipes, as RECIPES.md has them. */
import { deepEqual, equal, match, ok } from "node:assert/strict";
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { test } from "node:test";

import { propagation, trace } from "@opentelemetry/api";
import {
  InMemorySpanExporter,
  NodeTracerProvider,
  SimpleSpanProcessor,
} from "@opentelemetry/sdk-trace-node";
import { Code, ConnectError } from "@connectrpc/connect";
import { Client, DashgateError } from "dashgate";

import { batch } from "../examples/recipes/batch.js";
import { chat } from "../examples/recipes/chat.js";
import { endpoint } from "../examples/recipes/http.js";
import { patient } from "../examples/recipes/throttling.js";
import { traced } from "../examples/recipes/tracing.js";
import {
  answering,
  completed,
  type Event,
  question,
  said,
  started,
  streaming,
} from "./tools/calls.js";
import { event, played } from "./tools/gateway.js";

/** Serves the endpoint for a gateway. */
async function serving(client: Client) {
  const server = endpoint(client).listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}/ask?q=Hello`,
    async [Symbol.asyncDispose]() {
      const closed = once(server, "close");
      server.close();
      server.closeAllConnections();
      await closed;
    },
  };
}

test("an endpoint streams texts, and tells of failures", async () => {
  let isFailing = false;
  await using gateway = await streaming(async function* () {
    if (isFailing) throw new ConnectError("secret", Code.InvalidArgument);
    yield* await Promise.resolve([started, said("a"), said("b"), completed]);
  });
  using client = new Client(gateway.address);
  await using site = await serving(client);
  const answer = await fetch(site.url);
  match(answer.headers.get("content-type") ?? "", /^text\/event-stream/);
  match(await answer.text(), /^event: text\ndata: "a"\n\nevent: text\ndata: "b"\n\nevent: done\n/);
  isFailing = true;
  equal(await (await fetch(site.url)).text(), 'event: failed\ndata: "INVALID_ARGUMENT"\n\n');
});

test("an endpoint cancels the call when the browser leaves", async () => {
  const left = event("the cancel at the gateway");
  await using gateway = await streaming(async function* ({ signal }) {
    signal.addEventListener("abort", () => {
      left.happens();
    });
    yield* [started, said("a")];
    await left.happened;
  });
  using client = new Client(gateway.address);
  await using site = await serving(client);
  const controller = new AbortController();
  const answer = await fetch(site.url, { signal: controller.signal });
  await answer.body?.getReader().read();
  controller.abort();
  await left.happened;
});

test("a batch asks some at the same time, and keeps their order", async () => {
  let running = 0;
  let most = 0;
  await using gateway = await played({
    conversations: {
      converse: async ({ conversation }) => {
        running += 1;
        most = Math.max(most, running);
        await new Promise(setImmediate);
        running -= 1;
        const content = conversation?.messages[0]?.content ?? [];
        if (content[0]?.kind.value === "3") throw new ConnectError("no", Code.InvalidArgument);
        return { choices: [{ message: { content } }] };
      },
    },
  });
  using client = new Client(gateway.address);
  const questions = Array.from({ length: 10 }, (_, at) => String(at));
  const progress: number[] = [];
  const outcomes = await batch(client, questions, 3, (done) => progress.push(done));
  ok(most > 1 && most <= 3, `${most} at the same time`);
  deepEqual(progress, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
  ok(outcomes[3] instanceof DashgateError);
  deepEqual(outcomes.toSpliced(3, 1), questions.toSpliced(3, 1));
});

test("a chat runs tools, and survives a failure", async () => {
  let calls = 0;
  await using gateway = await streaming(async function* () {
    calls += 1;
    if (calls === 3) throw new ConnectError("no", Code.InvalidArgument);
    const call = { id: "c", name: "weather", arguments: '{"city":"Oslo"}' };
    const wish: Event = {
      event: { case: "delta", value: { part: { case: "toolCall", value: call } } },
    };
    const told = calls === 1 ? wish : said(`It is ${calls}.`);
    yield* await Promise.resolve([started, told, completed]);
  });
  using client = new Client(gateway.address);
  const shown: string[] = [];
  async function* lines() {
    yield* await Promise.resolve(["Weather?", "And now?", "And then?"]);
  }
  const conversation = await chat(client, lines(), (words) => shown.push(words));
  match(shown.join(""), /^It is 2\.\nDashgateError: INVALID_ARGUMENT: .*\nIt is 4\.\n$/);
  const roles = conversation.raw.messages.map(({ role }) => role);
  deepEqual(roles, [1, 2, 3, 4, 3, 2, 3]);
});

test("a patient program waits as long as it may", async () => {
  let calls = 0;
  let wait = "1";
  await using gateway = await answering(() => {
    calls += 1;
    if (calls > 2 && wait === "1") {
      const content = [{ kind: { case: "text" as const, value: "At last." } }];
      return { choices: [{ message: { content } }] };
    }
    throw new ConnectError("busy", Code.ResourceExhausted, { "grpc-retry-pushback-ms": wait });
  });
  equal(await patient(gateway.address, "Hello"), "At last.");
  wait = "90000";
  equal(await patient(gateway.address, "Hello"), "Busy. Ask again in 90 s.");
});

test("a traced call is a span, and the gateway gets its context", async () => {
  const exporter = new InMemorySpanExporter();
  const provider = new NodeTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter)] });
  provider.register();
  try {
    let parent: string | null = null;
    let isFailing = false;
    await using gateway = await answering(({ requestHeader }) => {
      parent = requestHeader.get("traceparent");
      if (isFailing) throw new ConnectError("no", Code.NotFound);
      return {};
    });
    using client = traced(gateway.address);
    await client.converse(question());
    isFailing = true;
    await client.converse(question()).catch(() => undefined);
    const [first, second] = exporter.getFinishedSpans();
    equal(first?.name, "dashgate.v1.ConversationService/Converse");
    equal(second?.status.code, 2);
    const { traceId, spanId } = second.spanContext();
    equal(parent, `00-${traceId}-${spanId}-01`);
  } finally {
    await provider.shutdown();
    trace.disable();
    propagation.disable();
  }
});
