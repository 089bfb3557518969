/**
 * The page of examples/browser in a real Chromium, over gRPC-Web, against the real gateway:
 * `./dev browser DASHGATE`.
 */
import { deepEqual, equal, match } from "node:assert/strict";
import { after, before, test } from "node:test";

import { chromium, type Browser, type Page } from "./chromium.js";
import { dashgate, page, type Running } from "./programs.js";

const CHUNKS = ["The lamps ", "are lit, ", "港口很安静。"];

const SCRIPT = {
  rules: [
    {
      match: { text: "harbour" },
      reply: {
        answer: { chunks: CHUNKS, usage: { input_tokens: 7, output_tokens: 9 } },
        delays: { between_ms: 50 },
      },
    },
    {
      match: { text: "for ever" },
      reply: { answer: { chunks: ["I begin", " and go on"] }, delays: { between_ms: 600_000 } },
    },
    {
      match: { text: "half" },
      reply: {
        answer: { chunks: ["half", " of it"] },
        error: { status: 429, code: "Throttling.RateQuota", message: "slow", after_chunks: 1 },
      },
    },
  ],
};

const open: AsyncDisposable[] = [];
let browser: Browser;
let site: Running;
let stranger: Running;
let upstream: Running;
let gateway: Running;

before(async () => {
  const kept = async <T extends AsyncDisposable>(started: Promise<T>): Promise<T> => {
    const one = await started;
    open.unshift(one);
    return one;
  };
  site = await kept(page());
  stranger = await kept(page());
  upstream = await kept(dashgate(["emulate"]));
  const script = { method: "PUT", body: JSON.stringify(SCRIPT) };
  equal((await fetch(`${upstream.origin}/emulator/script`, script)).ok, true);
  gateway = await kept(
    dashgate(
      [
        ...["serve", "--upstream", `${upstream.origin}/api/v1`],
        ...["--set", `server.allowed_origins=${site.origin}`],
      ],
      { DASHSCOPE_API_KEY: "sk-page" },
    ),
  );
  browser = await kept(chromium());
});

after(async () => {
  for (const one of open) await one[Symbol.asyncDispose]();
});

const opened = (from: Running): Promise<Page> =>
  browser.open(`${from.origin}/?gateway=${encodeURIComponent(gateway.origin)}`);

/** Submits a question as a user would, and waits until the page is in one of these states. */
async function asked(shown: Page, question: string, states: string[], model = "qwen-audio-turbo") {
  await shown.evaluate(`(() => {
    globalThis.pieces = 0;
    const count = (changes) => {
      pieces += changes.flatMap((change) => [...change.addedNodes]).length;
    };
    new MutationObserver(count).observe(document.getElementById("answer"), { childList: true });
    document.getElementById("question").value = ${JSON.stringify(question)};
    document.getElementById("model").value = ${JSON.stringify(model)};
    document.getElementById("form").requestSubmit();
  })()`);
  return until(shown, `${JSON.stringify(states)}.includes(of("state"))`);
}

interface Shown {
  answer: string;
  usage: string;
  error: string;
  state: string;
  pieces: number;
}

/**
 * Waits for a change of the document after which the condition holds, and returns what is
 * displayed.
 */
function until(shown: Page, condition: string): Promise<Shown> {
  return shown.evaluate<Shown>(`new Promise((resolve) => {
    const of = (id) => document.getElementById(id).textContent;
    const look = () => {
      if (!(${condition})) return;
      const [answer, usage, error, state] = ["answer", "usage", "error", "state"].map(of);
      setTimeout(() => resolve({ answer, usage, error, state, pieces }));
    };
    const all = { subtree: true, childList: true, characterData: true };
    new MutationObserver(look).observe(document.body, all);
    look();
  })`);
}

interface Entry {
  path: string;
  end: string;
  body?: unknown;
}

/** Returns the generation requests that DashScope received, once all calls have ended. */
async function journal(): Promise<Entry[]> {
  for (const late = Date.now() + 10_000; ;) {
    const answer = await fetch(`${upstream.origin}/emulator/journal`);
    const { requests } = (await answer.json()) as { requests: Entry[] };
    const calls = requests.filter(({ path }) => path.endsWith("/generation"));
    if (calls.every(({ end }) => end !== "running") || Date.now() > late) {
      return calls;
    }
  }
}

test("an answer is streamed into the document", async () => {
  const shown = await asked(await opened(site), "What of the harbour?", ["done", "failed"]);
  deepEqual(shown, {
    answer: CHUNKS.join(""),
    usage: "7 in, 9 out",
    error: "",
    state: "done",
    pieces: CHUNKS.length,
  });
});

test("an error has its code and reason", async () => {
  const shown = await opened(site);
  const { error, state } = await asked(shown, "Hello", ["done", "failed"], "no-such-model");
  equal(state, "failed");
  match(error, /^NOT_FOUND MODEL_NOT_FOUND: /);
});

test("an error in the middle of an answer has them too", async () => {
  const shown = await opened(site);
  const { answer, error, state } = await asked(shown, "Tell me half", ["done", "failed"]);
  deepEqual([state, answer], ["failed", "half"]);
  match(error, /^(RESOURCE_EXHAUSTED|INTERNAL) UPSTREAM_RATE: /);
});

test("stopping reaches the gateway, and DashScope", async () => {
  const shown = await opened(site);
  await asked(shown, "Talk for ever", ["asking"]);
  await until(shown, 'of("answer") === "I begin"');
  await shown.evaluate('document.getElementById("stop").click()');
  const { state, error } = await until(shown, 'of("state") !== "asking"');
  deepEqual([state, error], ["stopped", ""]);
  equal((await journal()).at(-1)?.end, "client closed");
});

test("a page from elsewhere is not let in", async () => {
  const before = (await journal()).length;
  const { state, answer, error } = await asked(await opened(stranger), "the harbour", ["failed"]);
  deepEqual([state, answer], ["failed", ""]);
  match(error, /^UNAVAILABLE /);
  equal((await journal()).length, before);
});
