/** Interceptors, options of Node.js, and the types of connect. */
import { deepEqual, equal, throws } from "node:assert/strict";
import { test } from "node:test";

import type * as connect from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { Client, type Interceptor, type ServiceClient, type Transport } from "dashgate";
import type { ConversationService } from "dashgate/v1";
import * as web from "dashgate/web";

import { answering, completed, question, streaming, unavailable } from "./tools/calls.js";
import { played } from "./tools/gateway.js";

test("the types are those of connect", () => {
  // Compared by the compiler, in both directions.
  const compared = {
    transport: (own: Transport): connect.Transport => own,
    ownTransport: (theirs: connect.Transport): Transport => theirs,
    interceptor: (own: Interceptor): connect.Interceptor => own,
    ownInterceptor: (theirs: connect.Interceptor): Interceptor => theirs,
    service: (theirs: connect.Client<Service>): ServiceClient<Service> => theirs,
  };
  equal(Object.keys(compared).length, 5);
});

type Service = typeof ConversationService;

/** Notes when a call begins and ends. */
const noting =
  (name: string, notes: string[]): Interceptor =>
  (next) =>
  async (request) => {
    notes.push(`${name} > ${request.method.name} ${request.header.get("authorization")}`);
    request.header.set(name, "was here");
    const response = await next(request);
    notes.push(`${name} <`);
    return response;
  };

test("interceptors are called in order around each attempt, with the client's metadata", async () => {
  const seen: (string | null)[] = [];
  let calls = 0;
  await using gateway = await answering(({ requestHeader }) => {
    seen.push(requestHeader.get("outer"), requestHeader.get("inner"));
    calls += 1;
    if (calls === 1) throw unavailable("0");
    return {};
  });
  const notes: string[] = [];
  const interceptors = [noting("outer", notes), noting("inner", notes)];
  using client = new Client(gateway.address, { apiKey: "k", interceptors });
  await client.converse(question());
  deepEqual(seen, Array(4).fill("was here"));
  deepEqual(notes, [
    "outer > Converse Bearer k",
    "inner > Converse Bearer k",
    "outer > Converse Bearer k",
    "inner > Converse Bearer k",
    "inner <",
    "outer <",
  ]);
});

test("interceptors see streams, and work over gRPC-Web", async () => {
  await using gateway = await streaming(async function* () {
    yield* await Promise.resolve([completed]);
  });
  const notes: string[] = [];
  using client = new Client(gateway.address, { interceptors: [noting("a", notes)] });
  await client.stream(question()).final();
  deepEqual(notes, ["a > ConverseStream null", "a <"]);
  await using site = await played(
    { conversations: { converse: () => ({ model: "m" }) } },
    { host: "127.0.0.1", port: 0 },
    true,
  );
  const settings = { interceptors: [noting("b", notes)] };
  using page = new web.Client(`http://${site.address}`, settings);
  equal((await page.converse(question())).model, "m");
  equal(notes.at(-1), "b <");
});

test("options of Node.js replace single ones", async () => {
  await using gateway = await answering(() => ({ model: "x".repeat(100) }));
  using client = new Client(gateway.address, {
    nodeOptions: { settings: { initialWindowSize: 70_000 }, maxSessionMemory: 100 },
  });
  equal((await client.converse(question())).model.length, 100);
});

test("a transport that exists has its own interceptors and options", () => {
  const transport = createGrpcTransport({ baseUrl: "http://127.0.0.1:1" });
  throws(() => new Client(transport, { interceptors: [] }), /interceptors: /);
  throws(() => new Client(transport, { nodeOptions: {} }), /nodeOptions: /);
  throws(() => new web.Client(transport, { interceptors: [] }), /interceptors: /);
});
