/** Paths of pipes, sockets, devices and folders: errors at once, without a call. */
import { deepEqual, equal, match } from "node:assert/strict";
import { execFile } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer, type Server } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { promisify } from "node:util";

import { audio, Client, image, video } from "dashgate";

import { played, type Gateway } from "./tools/gateway.js";

const run = promisify(execFile);

/** A program that reads a path is ended after this time. */
const LIMIT_MS = 10_000;

let folder: string;
let socket: Server;
let gateway: Gateway;
/** The codes of the errors, by path. */
let odd: Record<string, string>;

before(async () => {
  folder = await mkdtemp(join(tmpdir(), "dashgate-"));
  gateway = await played({});
  const pipe = join(folder, "pipe.wav");
  await run("mkfifo", [pipe]);
  socket = createServer().listen(join(folder, "socket"));
  await once(socket, "listening");
  odd = {
    [pipe]: "EINVAL",
    [join(folder, "socket")]: "ENXIO",
    "/dev/zero": "EINVAL",
    [folder]: "EISDIR",
  };
});

after(async () => {
  socket.close();
  await gateway[Symbol.asyncDispose]();
  await rm(folder, { recursive: true });
});

interface Failure {
  code?: string;
  path?: string;
  message: string;
}

const thrown = async (made: Promise<unknown>): Promise<Failure | undefined> =>
  made.then(
    () => undefined,
    (failure: unknown) => failure as Failure,
  );

test("the helpers and an upload refuse them without a connection", async () => {
  using client = new Client(gateway.address);
  const reads = [audio, image, video, (path: string) => client.upload("m", path)];
  for (const [path, expected] of Object.entries(odd)) {
    for (const read of reads) {
      const failure = await thrown(read(path));
      deepEqual([failure?.code, failure?.path], [expected, path]);
      equal(failure?.message, `${expected}: not a regular file, open '${path}'`);
    }
  }
  deepEqual((await thrown(video([folder])))?.code, "EISDIR");
  equal(gateway.connections(), 0);
});

test("the process ends after a pipe", async () => {
  const program = join(folder, "program.mjs");
  await writeFile(
    program,
    `import { audio, Client } from ${JSON.stringify(import.meta.resolve("dashgate"))};
    const [pipe, address] = process.argv.slice(2);
    await audio(pipe).catch(({ message }) => console.log(message));
    await new Client(address).upload("m", pipe).catch(({ message }) => console.log(message));`,
  );
  const pipe = join(folder, "pipe.wav");
  const { stdout } = await run(process.execPath, [program, pipe, gateway.address], {
    timeout: LIMIT_MS,
  });
  match(stdout, /^(EINVAL: not a regular file, open '.*pipe.wav'\n){2}$/);
});
