/** A runner that stays, whose jobs leave something behind. */
import { connect } from "node:net";

import { playLines } from "../../runner/lines.js";

const LEAVES: Readonly<Record<string, () => void>> = {
  nothing: () => undefined,
  words: () => {
    console.log("said by the job");
    console.error("complained by the job");
  },
  rejection: () => {
    void Promise.reject(new Error("caught by no code"));
  },
  timer: () => {
    setTimeout(() => undefined, 60_000);
  },
  socket: () => {
    connect(Number(process.argv[2]), "127.0.0.1");
  },
};

await playLines((job) => {
  LEAVES[job]?.();
  return Promise.resolve({ code: 0, out: "result\n", err: "" });
}, 50);
// What the jobs have left keeps the process alive.
process.exit();
