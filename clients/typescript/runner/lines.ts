/**
 * A runner that stays: the start of Node.js and of its modules takes longer than most jobs. Each
 * line of standard input is a job, and each line of standard output says what a process of its own
 * would have written, and with what it would have ended.
 */
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";

import { outcome, type Outcome } from "./outcome.js";

/** What an error that is caught by no code ends a process with. */
const UNCAUGHT = 1;

/** A process of its own would end when its handles are closed. This is how long that may take. */
const CLOSING_MS = 5000;
const LOOK_EVERY_MS = 2;

type Written = Record<"out" | "err", string>;

/** Plays one job after the other, until there are no more. */
export async function playLines(
  play: (job: string) => Promise<Outcome> = outcome,
  closingMs = CLOSING_MS,
): Promise<void> {
  const written: Written = { out: "", err: "" };
  const uncaught: string[] = [];
  const write = captured(written);
  process.on("uncaughtException", (thrown: unknown) => {
    uncaught.push(String(thrown instanceof Error ? thrown.stack : thrown));
  });
  for await (const job of createInterface({ input: process.stdin })) {
    const before = handles();
    const ended = await play(job);
    const left = await handlesLeft(before, closingMs);
    if (left.length > 0) {
      uncaught.push(`the process would not end, because these are left: ${left.join(", ")}`);
    }
    await write(`${JSON.stringify(joined(ended, written, uncaught))}\n`);
    Object.assign(written, { out: "", err: "" });
    uncaught.length = 0;
  }
}

/** What the job wrote and what it threw behind its back are its own. */
function joined(ended: Outcome, written: Written, uncaught: readonly string[]): Outcome {
  return {
    code: uncaught.length > 0 ? UNCAUGHT : ended.code,
    out: written.out + ended.out,
    err: [written.err + ended.err, ...uncaught].join("\n"),
  };
}

/** Keeps what is written from now on. Returns the function that really writes. */
function captured(written: Written): (line: string) => Promise<void> {
  const { stdout, stderr } = process;
  const write = stdout.write.bind(stdout);
  const keep = (name: keyof Written) => (text: string | Uint8Array) => {
    written[name] += typeof text === "string" ? text : Buffer.from(text).toString();
    return true;
  };
  stdout.write = keep("out");
  stderr.write = keep("err");
  return (line) =>
    new Promise((resolve) => {
      write(line, () => {
        resolve();
      });
    });
}

/** The number of handles of each kind that keep this process alive. */
function handles(): Map<string, number> {
  const counts = new Map<string, number>();
  for (const kind of process.getActiveResourcesInfo()) {
    counts.set(kind, (counts.get(kind) ?? 0) + 1);
  }
  return counts;
}

/** The kinds of which there are more than before, after the time that closing takes. */
async function handlesLeft(
  before: ReadonlyMap<string, number>,
  closingMs: number,
): Promise<string[]> {
  const more = () =>
    [...handles()].filter(([kind, count]) => count > (before.get(kind) ?? 0)).map(([kind]) => kind);
  const limit = performance.now() + closingMs;
  // At least once: a rejection that is not handled is reported after the microtasks.
  do {
    await sleep(LOOK_EVERY_MS);
  } while (more().length > 0 && performance.now() < limit);
  return more();
}
