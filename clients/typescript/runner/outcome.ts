/**
 * One job, from its text to what the runner says of it.
 */
import { connect, JobFault, Reader } from "./job.js";
import { play } from "./play.js";
import { errorJson, type Result } from "./result.js";

/** The exit code of a runner, and what it writes. */
export interface Outcome {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

/** Plays a job. */
export async function outcome(text: string): Promise<Outcome> {
  try {
    const job = new Reader(JSON.parse(text), "job");
    const target = job.must("target", job.text("target"));
    using client = await connect(target, job.object("options"));
    const call = job.must("call", job.object("call"));
    job.done();
    const result: Result = {};
    const begun = performance.now();
    try {
      await play(client, call, result);
    } catch (thrown) {
      result.error = errorJson(thrown);
    }
    result.elapsed_ms = Math.round(performance.now() - begun);
    return { code: 0, out: `${JSON.stringify(result)}\n`, err: "" };
  } catch (error) {
    const why = error instanceof JobFault ? error.message : (error as Error).stack;
    return { code: 2, out: "", err: `${why}\n` };
  }
}
