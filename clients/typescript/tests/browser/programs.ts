/**
 * The environment of the browser: the real gateway, DashScope's emulator, and the server of the
 * page.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import * as http from "node:http";
import type { AddressInfo } from "node:net";
import { env } from "node:process";
import { createInterface } from "node:readline";

/** A program or server, at `http://host:port`. */
export interface Running extends AsyncDisposable {
  readonly origin: string;
}

/** Runs the real binary, without settings of the environment. */
export async function dashgate(args: string[], variables = {}): Promise<Running> {
  const program = env["DASHGATE_BINARY"] ?? "dashgate";
  const child = spawn(program, [...args, "--listen", "127.0.0.1:0"], {
    env: { PATH: env["PATH"], ...variables },
    stdio: ["ignore", "pipe", "ignore"],
  });
  const ended = once(child, "close");
  const first = await Promise.race([
    once(createInterface(child.stdout), "line") as Promise<[string]>,
    ended.then(() => [`nothing, and ended: ${program} ${args.join(" ")}`] as const),
  ]);
  const address = /^listening on (\S+)$/.exec(first[0])?.[1];
  if (address === undefined) {
    throw new Error(`dashgate said ${first[0]}`);
  }
  return {
    origin: `http://${address}`,
    async [Symbol.asyncDispose]() {
      child.kill("SIGKILL");
      await ended;
    },
  };
}

const TYPES = { "index.html": "text/html", "page.js": "text/javascript" } as const;

/** Serves the bundled page. */
export async function page(): Promise<Running> {
  const server = http.createServer((request, response) => {
    const path = new URL(request.url ?? "/", "http://host").pathname;
    const name = path === "/" ? "index.html" : path.slice(1);
    if (!Object.hasOwn(TYPES, name)) {
      response.writeHead(404).end();
      return;
    }
    void readFile(`build/browser/${name}`).then((text) => {
      response.writeHead(200, { "content-type": TYPES[name as keyof typeof TYPES] }).end(text);
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  return {
    origin: `http://127.0.0.1:${port}`,
    async [Symbol.asyncDispose]() {
      const closed = once(server, "close");
      server.close();
      server.closeAllConnections();
      await closed;
    },
  };
}
