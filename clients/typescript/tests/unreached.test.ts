/** Calls whose deadline ends before the gateway was reached. */
import { deepEqual, equal, match, ok } from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import * as net from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";

import { audio, Client, Conversation, DashgateError } from "dashgate";

import {
  failure,
  logged,
  question,
  started,
  streaming,
  unavailable,
  type Event,
} from "./tools/calls.js";
import { raw } from "./tools/gateway.js";

/** The forms of calls, with a deadline. */
const FORMS: Record<string, (client: Client, timeoutMs: number) => Promise<unknown>> = {
  converse: (client, timeoutMs) => client.converse(question(), { timeoutMs }),
  stream: (client, timeoutMs) => client.stream(question(), { timeoutMs }).final(),
  "stream without resume": (client, timeoutMs) =>
    client.stream(question(), { timeoutMs, resume: false }).final(),
  runTools: (client, timeoutMs) => client.runTools(question(), [], { timeoutMs }),
  streamTools: (client, timeoutMs) => client.streamTools(question(), [], { timeoutMs }).final(),
  upload: (client, timeoutMs) => client.upload("m", new Uint8Array(1 << 20), { timeoutMs }),
  getModel: (client, timeoutMs) => client.getModel("m", { timeoutMs }),
  cancelCall: (client, timeoutMs) => client.cancelCall("r", { timeoutMs }),
  live: (client, timeoutMs) => read(client.live("m", { timeoutMs })),
  speak: (client, timeoutMs) => read(client.speak("m", { timeoutMs })),
};

async function read(events: AsyncIterable<unknown>): Promise<void> {
  for await (const event of events) {
    ok(event);
  }
}

async function closedPort(): Promise<string> {
  const server = net.createServer();
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  const { port } = server.address() as net.AddressInfo;
  await new Promise((done) => server.close(done));
  return `127.0.0.1:${port}`;
}

async function eachForm(
  target: string,
  timeoutMs: number,
  check: (error: DashgateError) => void,
): Promise<void> {
  await Promise.all(
    Object.entries(FORMS).map(async ([form, call]) => {
      using client = new Client(target);
      const begun = performance.now();
      const error = await failure(call(client, timeoutMs));
      const { code, rawReason, retryable } = error;
      deepEqual([form, code, rawReason, retryable], [form, "UNAVAILABLE", "", true]);
      ok(String(error).endsWith(`(request id ${error.requestId})`), String(error));
      ok(performance.now() - begun < timeoutMs + 2000, `${form} took too long`);
      check(error);
    }),
  );
}

test("a deadline between attempts at a closed port", async () => {
  const address = await closedPort();
  await eachForm(address, 1000, ({ message }) => {
    match(message, new RegExp(`${address}.*ECONNREFUSED`));
  });
});

test("a deadline between attempts for a name that does not resolve", async () => {
  await eachForm("gateway.invalid:5999", 1000, ({ message }) => {
    // A machine's resolver may take longer than the deadline.
    match(message, /gateway\.invalid:5999: .*(ENOTFOUND|EAI_AGAIN|no connection)/);
  });
});

/** A port whose connections are given to a function. */
async function port(
  serve: (socket: net.Socket) => void,
  listen: net.ListenOptions = { host: "127.0.0.1", port: 0 },
): Promise<{ address: string } & AsyncDisposable> {
  const sockets = new Set<net.Socket>();
  const server = net.createServer({ allowHalfOpen: true }, (socket) => {
    sockets.add(socket.on("error", () => undefined));
    serve(socket);
  });
  await new Promise<void>((done) => server.listen(listen, done));
  const found = server.address();
  return {
    address: typeof found === "string" ? `unix:${found}` : `127.0.0.1:${found?.port}`,
    [Symbol.asyncDispose]: async () => {
      for (const socket of sockets) {
        socket.destroy();
      }
      await new Promise((done) => server.close(done));
    },
  };
}

/** A port that takes connections and never answers: there is no gateway. */
const silent = (listen?: net.ListenOptions) => port((socket) => socket.resume(), listen);

test("a deadline at a port that takes connections and never answers", async () => {
  await using away = await silent();
  for (const target of [away.address, `https://${away.address}`]) {
    await eachForm(target, 200, (error) => {
      match(error.message, new RegExp(`${away.address}: no connection`));
      equal((error.cause as DashgateError).code, "DEADLINE_EXCEEDED");
    });
  }
});

test("a deadline at a socket that takes connections and never answers", async () => {
  await using away = await silent({ path: join(tmpdir(), `dashgate-${process.pid}.sock`) });
  await eachForm(away.address, 200, ({ message }) => {
    match(message, new RegExp(`^cannot connect to ${away.address}: no connection`));
  });
});

test("an idle timeout while a connection is made", async () => {
  await using away = await silent();
  using client = new Client(away.address, { idleTimeoutMs: 200 });
  const error = await failure(client.stream(question()).final());
  deepEqual([error.code, error.retryable], ["UNAVAILABLE", true]);
  match(error.message, new RegExp(`${away.address}: no connection`));
});

test("an idle timeout between attempts", async () => {
  using client = new Client(await closedPort(), { idleTimeoutMs: 1000 });
  const begun = performance.now();
  const error = await failure(client.stream(question()).final());
  deepEqual([error.code, error.retryable], ["UNAVAILABLE", true]);
  match(error.message, /ECONNREFUSED/);
  // Without it, the attempts take about 8 seconds.
  ok(performance.now() - begun < 5000);
});

test("a port that closes connections", async () => {
  await using away = await port((socket) => socket.destroy());
  await eachForm(away.address, 1000, ({ message }) => {
    match(message, new RegExp(`^cannot connect to http://${away.address}: .*(closed|ECONNRESET)`));
  });
});

test("a server that does not speak HTTP/2, and a client that is closed at once", async () => {
  await using away = await port((socket) =>
    socket.once("data", () => socket.write("HTTP/1.1 400 Bad Request\r\n\r\n")),
  );
  // An error without a listener would end the process.
  await eachForm(away.address, 1000, ({ message }) => {
    match(message, new RegExp(`^cannot connect to http://${away.address}: `));
  });
});

test("a deadline while a file is uploaded to a port that never answers", async () => {
  await using away = await silent();
  const folder = await mkdtemp(join(tmpdir(), "dashgate-"));
  const path = join(folder, "large.wav");
  await writeFile(path, new Uint8Array(5 << 20));
  using client = new Client(away.address);
  const ask = async (timeoutMs: number) =>
    failure(client.converse(new Conversation("m").user(file), { timeoutMs }));
  const file = await audio(path);
  // The second call waits for the upload of the first one.
  const errors = await Promise.all([ask(600), ask(300)]);
  for (const { code, message, retryable } of errors) {
    deepEqual([code, retryable], ["UNAVAILABLE", true]);
    match(message, new RegExp(`${away.address}: no connection`));
  }
  await rm(folder, { recursive: true });
});

test("a request that cannot be written is no connection failure", async () => {
  await using away = await silent();
  using client = new Client(away.address);
  const options = { maxTokens: 1.5 };
  const thrown = await failure(client.converse(question(), { options, timeoutMs: 5000 }));
  ok(thrown.code !== "UNAVAILABLE", String(thrown));
});

test("a connection that is lost during a call", async () => {
  await using gateway = await raw((stream) => {
    stream.session?.destroy();
  });
  await eachForm(gateway.address, 1000, ({ message }) => {
    match(message, new RegExp(`^(the connection to|cannot connect to) http://${gateway.address}`));
  });
});

test("a slow gateway that was reached is a deadline", async () => {
  const hangs = async () => new Promise<never>(() => undefined);
  await using gateway = await streaming(async function* () {
    yield started;
    await hangs();
  });
  using client = new Client(gateway.address);
  // A busy machine connects within it.
  const stream = client.stream(question(), { timeoutMs: 2000 });
  const late = await failure(stream.final());
  deepEqual(
    [late.code, late.rawReason, late.retryable],
    ["DEADLINE_EXCEEDED", "DEADLINE_EXCEEDED", false],
  );
  equal(stream.partial?.model, "m");
});

test("a retry at a slow gateway is a deadline", async () => {
  let calls = 0;
  await using gateway = await streaming(async function* () {
    calls += 1;
    if (calls === 1) throw unavailable("1");
    await new Promise<never>(() => undefined);
    yield started;
  });
  using client = new Client(gateway.address);
  const late = await failure(client.stream(question(), { timeoutMs: 2000 }).final());
  deepEqual([calls, late.code], [2, "DEADLINE_EXCEEDED"]);
});

test("a stream whose gateway does not come back in time", async () => {
  let calls = 0;
  await using gateway = await streaming(async function* () {
    await Promise.resolve();
    calls += 1;
    if (calls === 1) {
      const begun: Event = { event: { case: "started", value: { resumable: true } }, sequence: 1 };
      const part: Event = {
        event: { case: "delta", value: { part: { case: "text", value: "hel" } } },
        sequence: 2,
      };
      yield begun;
      yield part;
    }
    throw unavailable();
  });
  using client = new Client(gateway.address);
  const begun = performance.now();
  const error = await failure(client.stream(question(), { timeoutMs: 2000 }).final());
  deepEqual([error.code, error.retryable, error.outputStarted], ["UNAVAILABLE", true, true]);
  ok(performance.now() - begun < 5000);
});

test("the log has the cause of failed attempts", async () => {
  const address = await closedPort();
  const lines = await logged("debug", async () => {
    using client = new Client(address);
    await failure(client.converse(question(), { requestId: "r-1", timeoutMs: 1000 }));
  });
  const refused = `UNAVAILABLE: cannot connect to http://${address}: .*ECONNREFUSED.*, request id r-1`;
  ok(
    lines.some((line) => new RegExp(`Converse retry in \\d+ ms after ${refused}`).test(line)),
    lines.join("\n"),
  );
  ok(
    lines.some((line) => /Converse failed: cannot connect to .*ECONNREFUSED/.test(line)),
    lines.join("\n"),
  );
  ok(lines.at(-1)?.includes("Converse UNAVAILABLE "));
});
