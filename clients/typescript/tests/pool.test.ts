/** The connections of a client, with small limits, and calls that wait for a place. */
import { deepEqual, equal, rejects } from "node:assert/strict";
import { test } from "node:test";
import { setTimeout } from "node:timers/promises";

import { ConnectError } from "@connectrpc/connect";
import { Client, type CallOptions } from "dashgate";

import { connectTo } from "#dist/node/connection.js";
import { pooled } from "#dist/node/pool.js";
import { parseTarget } from "#dist/node/target.js";

import { completed, failure, question } from "./tools/calls.js";
import { event, isLeftOf, played } from "./tools/gateway.js";

/** A value for each request id, made when it is first asked for. */
function byId<T>(make: (id: string) => T): (id: string) => T {
  const values = new Map<string, T>();
  return (id) => {
    const value = values.get(id) ?? make(id);
    values.set(id, value);
    return value;
  };
}

/** A gateway that answers a call when it is let, and a client with two places. */
async function twoPlaces(idleTimeoutMs?: number) {
  const seen: { id: string; timeout: string | null }[] = [];
  const cancelled: string[] = [];
  const arrival = byId((id) => event(`the arrival of ${id}`));
  const end = byId((id) => event(`the end of ${id}`));
  const answer = async (id: string, headers: Headers, signal: AbortSignal) => {
    seen.push({ id, timeout: headers.get("grpc-timeout") });
    arrival(id).happens();
    signal.addEventListener("abort", () => {
      end(id).happens();
    });
    await end(id).happened;
  };
  const gateway = await played({
    conversations: {
      converse: async ({ requestId }, { requestHeader, signal }) => {
        await answer(requestId, requestHeader, signal);
        return {};
      },
      converseStream: async function* ({ requestId }, { requestHeader, signal }) {
        yield { event: { case: "started", value: { model: "m", requestId, resumable: true } } };
        await answer(requestId, requestHeader, signal);
        yield completed;
      },
    },
    calls: {
      cancelCall: ({ requestId }) => {
        cancelled.push(requestId);
        return {};
      },
    },
  });
  const target = parseTarget(gateway.address, false);
  const settings = { tls: undefined, nodeOptions: undefined, interceptors: [] };
  const pool = pooled(() => connectTo(target, { ...settings, onConnect: () => undefined }), {
    connections: 2,
    callsPerConnection: 1,
  });
  const client = new Client(pool.transport, { idleTimeoutMs });
  const converse = (requestId: string, options: CallOptions = {}) =>
    client.converse(question(), { ...options, requestId });
  /** Makes calls that have arrived. */
  const running = async (...ids: string[]) => {
    const calls = Promise.all(ids.map((id) => converse(id)));
    await Promise.all(ids.map((id) => arrival(id).happened));
    return { calls };
  };
  return {
    gateway,
    pool,
    client,
    seen,
    cancelled,
    ids: () => seen.map(({ id }) => id),
    converse,
    running,
    arrived: (id: string) => arrival(id).happened,
    release: (id: string) => {
      end(id).happens();
    },
    [Symbol.asyncDispose]: async () => {
      client.close();
      pool.close();
      await gateway[Symbol.asyncDispose]();
    },
  };
}

test("calls beyond the pool wait, and are sent in their order", async () => {
  await using stage = await twoPlaces();
  const { client, converse, arrived, release } = stage;
  const { calls } = await stage.running("1", "2");
  const waiting: Promise<unknown>[] = [];
  for (const call of [
    () => converse("3"),
    () => client.stream(question(), { requestId: "4" }).final(),
    () => converse("5"),
  ]) {
    waiting.push(call());
    await new Promise(setImmediate);
  }
  for (const [released, next] of [
    ["2", "3"],
    ["1", "4"],
    ["4", "5"],
  ] as const) {
    release(released);
    await arrived(next);
  }
  deepEqual(stage.ids().slice(2), ["3", "4", "5"]);
  release("3");
  release("5");
  await Promise.all([calls, ...waiting]);
  equal(stage.gateway.connections(), 2);
});

test("the deadline of a call runs while it waits, and the gateway gets the rest", async () => {
  await using stage = await twoPlaces();
  const { client, converse, release } = stage;
  const { calls } = await stage.running("1", "2");
  const sent = converse("3", { timeoutMs: 60_000 });
  const raw = client.conversations.converse({ requestId: "4" }, { timeoutMs: 30 });
  const late = rejects(raw, ConnectError);
  const error = await failure(converse("5", { timeoutMs: 50 }));
  equal(error.code, "DEADLINE_EXCEEDED");
  equal(error.rawReason, "DEADLINE_EXCEEDED");
  equal(error.message, "the deadline of 50 ms passed");
  await late;
  release("1");
  release("2");
  await calls;
  await stage.arrived("3");
  const { timeout } = stage.seen.find(({ id }) => id === "3") ?? {};
  isLeftOf(60_000 - 45, timeout);
  release("3");
  await sent;
  deepEqual(stage.ids().slice(2), ["3"]);
});

test("the idle timeout does not run while a stream waits", async () => {
  await using stage = await twoPlaces(1000);
  const { client, release } = stage;
  const { calls } = await stage.running("1", "2");
  const stream = client.stream(question(), { requestId: "3" }).final();
  // Longer than the idle timeout.
  await failure(stage.converse("4", { timeoutMs: 1300 }));
  release("1");
  await stage.arrived("3");
  release("3");
  await stream;
  // But afterwards.
  const idle = failure(client.stream(question(), { requestId: "5" }).final());
  await stage.arrived("5");
  equal((await idle).rawReason, "STREAM_IDLE");
  release("2");
  await calls;
});

test("a call that leaves while it waits takes no place, and is not cancelled at the gateway", async () => {
  await using stage = await twoPlaces();
  const { client, release } = stage;
  const { calls } = await stage.running("1", "2");
  const controller = new AbortController();
  const { signal } = controller;
  const left = rejects(stage.converse("3", { signal }), { name: "AbortError" });
  const stream = client.stream(question(), { requestId: "4" });
  const leftStream = rejects(stream.final(), { name: "AbortError" });
  const next = stage.converse("5");
  controller.abort();
  stream.cancel();
  await Promise.all([left, leftStream]);
  release("1");
  await stage.arrived("5");
  release("2");
  release("5");
  await Promise.all([calls, next]);
  deepEqual([stage.ids().slice(2), stage.cancelled], [["5"], []]);
  // Both places are free.
  const again = await stage.running("6", "7");
  release("6");
  release("7");
  await again.calls;
});

test("a call that ends another one does not wait", async () => {
  await using stage = await twoPlaces();
  const { client, release } = stage;
  const stream = client.stream(question(), { requestId: "1" });
  const left = rejects(stream.final(), { name: "AbortError" });
  await stage.arrived("1");
  const { calls } = await stage.running("2");
  const waiting = [stage.converse("3"), stage.converse("4")];
  await client.cancelCall("5");
  deepEqual([stage.ids().slice(2), stage.cancelled], [[], ["5"]]);
  stream.cancel();
  await left;
  await stage.arrived("3");
  while (stage.cancelled.length < 2) {
    await setTimeout(1);
  }
  deepEqual([stage.ids().slice(2), stage.cancelled], [["3"], ["5", "1"]]);
  for (const id of ["2", "3", "4"]) {
    release(id);
  }
  await Promise.all([calls, ...waiting]);
});

test("closing the client ends the calls that wait", async () => {
  await using stage = await twoPlaces();
  const { client, pool } = stage;
  const { calls } = await stage.running("1", "2");
  const ended = rejects(calls);
  const own = failure(stage.converse("3"));
  const stream = failure(client.stream(question(), { requestId: "4" }).final());
  const raw = () =>
    rejects(
      client.conversations.converse({ requestId: "5" }),
      (thrown) => thrown instanceof ConnectError && thrown.rawMessage === "the client was closed",
    );
  const before = raw();
  await new Promise(setImmediate);
  client.close();
  pool.close();
  await before;
  await raw();
  for (const error of [await own, await stream]) {
    deepEqual([error.code, error.rawReason], ["CANCELLED", "CLIENT_CLOSED"]);
  }
  await ended;
  deepEqual(stage.ids().slice(2), []);
});
