/**
 * The conformance runner: one job on standard input, one result on standard output.
 * tests/conformance/README.md documents both.
 */
import { text as readAll } from "node:stream/consumers";

import { connect, JobFault, Reader } from "./job.js";
import { play } from "./play.js";
import { errorJson, type Result } from "./result.js";

process.exitCode = await main();

async function main(): Promise<number> {
  try {
    const job = new Reader(JSON.parse(await readAll(process.stdin)), "job");
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
    process.stdout.write(`${JSON.stringify(result)}\n`);
    return 0;
  } catch (fault) {
    const why = fault instanceof JobFault ? fault.message : (fault as Error).stack;
    process.stderr.write(`${why}\n`);
    return 2;
  }
}
