/**
 * The conformance runner: one job on standard input, one result on standard output. With `lines`,
 * each line is a job. tests/conformance/README.md documents both.
 */
import { text as readAll } from "node:stream/consumers";

import { playLines } from "./lines.js";
import { outcome } from "./outcome.js";

if (process.argv[2] === "lines") {
  await playLines();
} else {
  const { code, out, err } = await outcome(await readAll(process.stdin));
  process.stdout.write(out);
  process.stderr.write(err);
  process.exitCode = code;
}
