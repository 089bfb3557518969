/** The conformance runner that stays. */
import { deepEqual, equal, match } from "node:assert/strict";
import { execFile } from "node:child_process";
import { once } from "node:events";
import { createServer, type AddressInfo } from "node:net";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

import { answering } from "./tools/calls.js";

interface Outcome {
  code: number;
  out: string;
  err: string;
}

/** What a process answers to each job. */
async function outcomes(
  program: string,
  argument: string,
  jobs: readonly string[],
): Promise<Outcome[]> {
  const path = fileURLToPath(new URL(program, import.meta.url));
  const output = await new Promise<string>((resolve, reject) => {
    const child = execFile(process.execPath, [path, argument], (failed, out, err) => {
      if (failed || err !== "") reject(failed ?? new Error(err));
      else resolve(out);
    });
    child.stdin?.end(jobs.map((job) => `${job}\n`).join(""));
  });
  return output
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line) as Outcome);
}

test("jobs of one process have their own results and errors", async () => {
  await using gateway = await answering();
  const conversation = { model: "m", messages: [] };
  const call = (requestId: string) =>
    JSON.stringify({
      target: gateway.address,
      call: { do: "converse", conversation, request_id: requestId },
    });
  const jobs = [call("one"), "{}", call("two")];
  const [one, wrong, two] = await outcomes("../runner/main.js", "lines", jobs);
  for (const ended of [one, two]) {
    deepEqual([ended?.code, ended?.err], [0, ""]);
    equal((JSON.parse(ended?.out ?? "") as { answers: unknown[] }).answers.length, 1);
  }
  deepEqual(wrong, { code: 2, out: "", err: "job.target is missing\n" });
  equal(gateway.connections(), 2);
});

test("what a job leaves behind is an error of this job", async () => {
  await using server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const port = String((server.address() as AddressInfo).port);
  const jobs = ["nothing", "words", "rejection", "timer", "socket", "nothing"];
  const ended = await outcomes("tools/untidy.js", port, jobs);
  deepEqual(
    ended.map(({ code }) => code),
    [0, 0, 1, 1, 1, 0],
  );
  const [nothing, words, rejection, timer, socket, last] = ended;
  deepEqual(nothing, { code: 0, out: "result\n", err: "" });
  deepEqual(last, nothing);
  deepEqual(words, {
    code: 0,
    out: "said by the job\nresult\n",
    err: "complained by the job\n",
  });
  match(rejection?.err ?? "", /Error: caught by no code\n/);
  match(timer?.err ?? "", /left: Timeout$/);
  match(socket?.err ?? "", /left: TCPSocketWrap$/);
});
