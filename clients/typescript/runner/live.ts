/**
 * Live sessions of a job.
 */
import { readFile } from "node:fs/promises";

import { fromJson, type JsonValue } from "@bufbuild/protobuf";
import type { Client, LiveSession, SpeechSession } from "dashgate";
import {
  ConverseLiveResponseSchema,
  LiveSetupSchema,
  SynthesisSetupSchema,
  SynthesizeLiveResponseSchema,
  UpdateSessionSchema,
  type ConverseLiveResponse,
} from "dashgate/v1";

import { JobFault, Reader } from "./job.js";
import { json, type Result } from "./result.js";

/** The size in which a file of audio is sent: 100 ms at 16 kHz. */
const PIECE = 3200;

/** A step that is no step of its kind of session. */
const UNKNOWN = Symbol("unknown");

/** Plays a conversation. */
export async function live(client: Client, call: Reader, result: Result): Promise<void> {
  const setup = fromJson(LiveSetupSchema, call.must("setup", call.any("setup")) as JsonValue);
  const steps = stepsOf(call);
  using session = client.live(setup, optionsOf(call));
  call.done();
  const events: JsonValue[] = [];
  result.live = events;
  let lastCall = "";
  const others: LiveSession[] = [];
  const read = (last: string) =>
    readTo(session, last, (event: ConverseLiveResponse) => {
      events.push(json(ConverseLiveResponseSchema, event));
      const part = event.event.case === "responseDelta" ? event.event.value.part : undefined;
      if (part?.case === "toolCall" && part.value.id !== "") {
        lastCall = part.value.id;
      }
    });
  try {
    for (const [kind, value] of steps) {
      if (kind === "take_over") {
        const { resumption: resume } = session;
        const other = client.live({ ...(resume && { resume }) });
        others.push(other);
        await other[Symbol.asyncIterator]().next();
      } else if ((await common(session, kind, value, read)) === UNKNOWN) {
        await send(session, kind, value, lastCall);
      }
    }
    await read("");
  } finally {
    for (const other of others) {
      other.close();
    }
  }
}

/** Plays a synthesis. */
export async function speak(client: Client, call: Reader, result: Result): Promise<void> {
  const given = call.must("setup", call.any("setup")) as JsonValue;
  const steps = stepsOf(call);
  using session = client.speak(fromJson(SynthesisSetupSchema, given), optionsOf(call));
  call.done();
  const events: JsonValue[] = [];
  result.speech = events;
  const read = (last: string) =>
    readTo(session, last, (event) => {
      events.push(json(SynthesizeLiveResponseSchema, event));
    });
  for (const [kind, value] of steps) {
    if ((await common(session, kind, value, read)) === UNKNOWN) {
      throw new JobFault(`unknown step: ${kind}`);
    }
  }
  await read("");
}

function optionsOf(call: Reader) {
  return { timeoutMs: call.number("timeout_ms"), metadata: call.texts("metadata") };
}

function stepsOf(call: Reader): [string, unknown][] {
  return call.list("steps").map((step) => {
    const [only, ...more] = Object.entries(step as object);
    if (only === undefined || more.length > 0) {
      throw new JobFault("a step has more or less than one key");
    }
    return only;
  });
}

/** Does a step that both kinds of sessions have. */
async function common(
  session: LiveSession | SpeechSession,
  kind: string,
  value: unknown,
  read: (last: string) => Promise<void>,
): Promise<typeof UNKNOWN | undefined> {
  switch (kind) {
    case "await":
      await read(value as string);
      return undefined;
    case "text":
      await session.sendText(value as string);
      return undefined;
    case "commit":
      await session.commit();
      return undefined;
    case "clear":
      await session.clear();
      return undefined;
    case "finish":
      session.finish();
      return undefined;
    case "close":
      session.close();
      return undefined;
    default:
      return UNKNOWN;
  }
}

/** Does a step of a conversation. */
async function send(
  session: LiveSession,
  kind: string,
  value: unknown,
  lastCall: string,
): Promise<void> {
  if (kind === "audio_file") {
    const audio = await readFile(value as string);
    for (let at = 0; at < audio.length; at += PIECE) {
      await session.sendAudio(audio.subarray(at, at + PIECE));
    }
    return;
  }
  if (kind === "image_file") {
    return session.sendImage(await readFile(value as string));
  }
  if (kind === "update") {
    return session.update(fromJson(UpdateSessionSchema, value as JsonValue));
  }
  const fields = new Reader(value, kind);
  switch (kind) {
    case "create_response": {
      const instructions = fields.text("instructions");
      return session.createResponse({
        instructions,
        modalities: fields.list("modalities") as string[],
      });
    }
    case "cancel_response":
      return session.cancelResponse();
    case "tool_result": {
      const id = fields.text("tool_call_id") ?? lastCall;
      return session.sendToolResult(id, fields.must("output", fields.text("output")));
    }
    case "delete_item":
      return session.deleteItem(fields.must("item_id", fields.text("item_id")));
    default:
      throw new JobFault(`unknown step: ${kind}`);
  }
}

/** Reads events up to one of this kind, or to the end. */
async function readTo<E extends { readonly event: { readonly case: string | undefined } }>(
  session: AsyncIterable<E>,
  last: string,
  keep: (event: E) => void,
): Promise<void> {
  const name = last.replace(/_(.)/g, (_, letter: string) => letter.toUpperCase());
  for await (const event of session) {
    keep(event);
    if (event.event.case === name) {
      return;
    }
  }
}
