/** Live sessions, against a scripted gateway. */
import { deepEqual, equal, ok, rejects } from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";

import type { MessageInitShape } from "@bufbuild/protobuf";
import { Client, type LiveSession } from "dashgate";
import type { ConverseLiveRequest, ConverseLiveResponseSchema, LiveSetup } from "dashgate/v1";

import { event as awaited, played, type Gateway } from "./tools/gateway.js";

type Event = MessageInitShape<typeof ConverseLiveResponseSchema>;
type Play = (setup: LiveSetup, input: AsyncIterator<ConverseLiveRequest>) => AsyncIterable<Event>;

const started = (sequence = 1, resumed = false): Event => ({
  sequence,
  event: { case: "sessionStarted", value: { sessionId: "s", resumeToken: "t", resumed } },
});
const ended = (sequence: number): Event => ({
  sequence,
  event: { case: "sessionEnded", value: { responses: 1 } },
});

function living(play: Play): Promise<Gateway> {
  async function* converseLive(requests: AsyncIterable<ConverseLiveRequest>) {
    const input = requests[Symbol.asyncIterator]();
    const first = (await input.next()) as IteratorResult<ConverseLiveRequest, undefined>;
    ok(first.value?.event.case === "setup");
    yield* play(first.value.event.value, input);
  }
  return played({ live: { converseLive } });
}

/** Answers each text with itself. */
async function* echo(
  setup: LiveSetup,
  input: AsyncIterator<ConverseLiveRequest>,
): AsyncGenerator<Event, void> {
  let sequence = setup.resume?.lastSequence ?? 1;
  yield started(sequence, setup.resume !== undefined);
  for (;;) {
    const { done, value } = (await input.next()) as IteratorResult<ConverseLiveRequest, undefined>;
    sequence += 1;
    if (done === true) {
      yield ended(sequence);
      return;
    }
    const text = value.event.case === "text" ? value.event.value : "";
    yield {
      sequence,
      event: { case: "responseDelta", value: { part: { case: "text", value: text } } },
    };
  }
}

async function next(session: LiveSession): Promise<string | undefined> {
  for await (const { event } of session) {
    if (event.case === "responseDelta" && event.value.part.case === "text") {
      return event.value.part.value;
    }
    return event.case;
  }
  return undefined;
}

test("messages and events alternate", async () => {
  await using gateway = await living(echo);
  using client = new Client(gateway.address);
  using session = client.live("m");
  equal(await next(session), "sessionStarted");
  equal(session.sessionId, "s");
  for (const text of ["one", "two"]) {
    await session.sendText(text);
    equal(await next(session), text);
  }
  session.finish();
  await rejects(session.sendText("late"), /finished/);
  equal(await next(session), "sessionEnded");
  equal(await next(session), undefined);
  equal(session.ended?.responses, 1);
});

test("sending waits while the gateway reads nothing", async () => {
  const reads = awaited("reading");
  await using gateway = await living(async function* (_setup, input) {
    yield started();
    await reads.happened;
    while (!(await input.next()).done);
    yield ended(2);
  });
  using client = new Client(gateway.address);
  using session = client.live("m");
  const pieces = 128;
  let sent = 0;
  const speaking = (async () => {
    for (; sent < pieces; sent += 1) {
      await session.sendAudio(new Uint8Array(256 * 1024));
    }
    session.finish();
  })();
  await sleep(500);
  ok(sent < pieces, `${sent} pieces were accepted`);
  reads.happens();
  await speaking;
  deepEqual([await next(session), await next(session)], ["sessionStarted", "sessionEnded"]);
});

test("a program that only sends resumes the session", async () => {
  await using gateway = await living(echo);
  using client = new Client(gateway.address);
  using session = client.live("m");
  equal(await next(session), "sessionStarted");
  for (let number = 0; number < 40; number += 1) {
    if (number === 10) {
      gateway.drop();
    }
    await session.sendText(String(number));
    await sleep(10);
  }
  session.finish();
  const kinds: (string | undefined)[] = [];
  for await (const { event } of session) {
    kinds.push(event.case);
  }
  equal(kinds.filter((kind) => kind === "sessionStarted").length, 1);
  equal(kinds.at(-1), "sessionEnded");
  equal(session.resumes, 1);
});

test("closing ends readers and senders", async () => {
  const left = awaited("the end of the call");
  await using gateway = await living(async function* (_setup, input) {
    yield started();
    await input.next().catch(() => undefined);
    left.happens();
  });
  using client = new Client(gateway.address);
  const session = client.live("m");
  equal(await next(session), "sessionStarted");
  setTimeout(() => {
    session.close();
  }, 50);
  await rejects(next(session), { name: "AbortError" });
  await rejects(session.sendText("late"), { name: "AbortError" });
  await left.happened;
});
