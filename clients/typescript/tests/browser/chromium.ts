/**
 * A headless Chromium, controlled over a pipe: each message of the DevTools protocol is JSON text
 * that ends in a zero byte, so no library is needed.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { env } from "node:process";
import type { Readable, Writable } from "node:stream";

/** Starting takes seconds on a busy machine. */
const ANSWER_LIMIT_MS = 30_000;

const FLAGS = [
  "--headless",
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--disable-dev-shm-usage",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
  "--remote-debugging-pipe",
];

/** An open page. */
export interface Page {
  /** Evaluates an expression in the page, waits for its promise, and returns its value. */
  evaluate: <T>(expression: string) => Promise<T>;
}

/** A running browser. */
export interface Browser extends AsyncDisposable {
  open: (url: string) => Promise<Page>;
}

interface Reply {
  id?: number;
  method?: string;
  result?: Record<string, unknown>;
  error?: { message: string };
}

/** Starts a browser with an empty profile. */
export async function chromium(): Promise<Browser> {
  const profile = await mkdtemp(join(tmpdir(), "dashgate-browser-"));
  const child = spawn(
    env["DASHGATE_CHROMIUM"] ?? "chromium",
    [...FLAGS, `--user-data-dir=${profile}`, "about:blank"],
    { stdio: ["ignore", "ignore", "ignore", "pipe", "pipe"] },
  );
  const ended = once(child, "exit");
  const wire = new Wire(child.stdio[3] as Writable, child.stdio[4] as Readable);
  return {
    async open(url) {
      const { targetId } = await wire.call("Target.createTarget", { url: "about:blank" });
      const { sessionId } = await wire.call("Target.attachToTarget", { targetId, flatten: true });
      const session = sessionId as string;
      await wire.call("Page.enable", {}, session);
      const loaded = wire.next("Page.loadEventFired");
      await wire.call("Page.navigate", { url }, session);
      await loaded;
      return { evaluate: (expression) => evaluated(wire, session, expression) };
    },
    async [Symbol.asyncDispose]() {
      child.kill("SIGKILL");
      await ended;
      // Child processes may still write for a moment.
      await rm(profile, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 });
    },
  };
}

async function evaluated<T>(wire: Wire, session: string, expression: string): Promise<T> {
  const { result, exceptionDetails } = await wire.call(
    "Runtime.evaluate",
    { expression, awaitPromise: true, returnByValue: true },
    session,
  );
  if (exceptionDetails !== undefined) {
    throw new Error(`in the page: ${JSON.stringify(exceptionDetails)}`);
  }
  return (result as { value: T }).value;
}

class Wire {
  readonly #out: Writable;
  readonly #waiting = new Map<number, (reply: Reply) => void>();
  readonly #events = new Map<string, () => void>();
  #last = 0;

  constructor(out: Writable, into: Readable) {
    this.#out = out;
    out.on("error", () => undefined);
    let rest = "";
    into.setEncoding("utf8").on("data", (piece: string) => {
      const texts = (rest + piece).split("\0");
      rest = texts.pop() ?? "";
      for (const text of texts) {
        this.#came(JSON.parse(text) as Reply);
      }
    });
  }

  async call(method: string, params: object, sessionId?: string): Promise<Record<string, unknown>> {
    const id = (this.#last += 1);
    const reply = bounded<Reply>(method, (done) => this.#waiting.set(id, done));
    this.#out.write(`${JSON.stringify({ id, method, params, sessionId })}\0`);
    const { result, error } = await reply;
    if (error !== undefined) {
      throw new Error(`${method}: ${error.message}`);
    }
    return result ?? {};
  }

  next(method: string): Promise<void> {
    return bounded(method, (done) => this.#events.set(method, done));
  }

  #came(reply: Reply): void {
    if (reply.id !== undefined) {
      this.#waiting.get(reply.id)?.(reply);
      this.#waiting.delete(reply.id);
    } else {
      this.#events.get(reply.method ?? "")?.();
    }
  }
}

function bounded<T = void>(what: string, begin: (done: (value: T) => void) => unknown): Promise<T> {
  return new Promise((resolve, reject) => {
    const late = setTimeout(() => {
      reject(new Error(`${what}: no answer within ${ANSWER_LIMIT_MS} ms`));
    }, ANSWER_LIMIT_MS);
    begin((value) => {
      clearTimeout(late);
      resolve(value);
    });
  });
}
