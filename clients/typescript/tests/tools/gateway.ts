/**
 * A scripted gateway: gRPC over HTTP/2, or gRPC-Web over HTTP/1.1.
 */
import { ok } from "node:assert/strict";
import { once } from "node:events";
import * as http from "node:http";
import * as http2 from "node:http2";
import type { AddressInfo, ListenOptions, Socket } from "node:net";

import type { ServiceImpl } from "@connectrpc/connect";
import { connectNodeAdapter } from "@connectrpc/connect-node";
import { CallService, ConversationService, LiveService, MediaService } from "dashgate/v1";

/** The answers of the gateway. */
export interface Plays {
  readonly conversations?: Partial<ServiceImpl<typeof ConversationService>>;
  readonly media?: Partial<ServiceImpl<typeof MediaService>>;
  readonly calls?: Partial<ServiceImpl<typeof CallService>>;
  readonly live?: Partial<ServiceImpl<typeof LiveService>>;
}

/** A scripted gateway that listens. */
export interface Gateway extends AsyncDisposable {
  /** `host:port`. */
  readonly address: string;
  /** Returns the number of connections so far. */
  readonly connections: () => number;
  /** Breaks all connections. */
  readonly drop: () => void;
}

/** Starts a gateway; `web` selects HTTP/1.1, for fetch. */
export async function played(
  plays: Plays,
  listen: ListenOptions = { host: "127.0.0.1", port: 0 },
  web = false,
): Promise<Gateway> {
  const handler = connectNodeAdapter({
    routes: (router) => {
      router.service(ConversationService, plays.conversations ?? {});
      router.service(MediaService, plays.media ?? {});
      router.service(CallService, plays.calls ?? {});
      router.service(LiveService, plays.live ?? {});
    },
  });
  return listening(web ? http.createServer(handler) : http2.createServer(handler), listen);
}

/** Starts a server whose streams are answered by the test. */
export function raw(
  answer: (stream: http2.ServerHttp2Stream, headers: http2.IncomingHttpHeaders) => void,
): Promise<Gateway> {
  const server = http2.createServer();
  server.on("stream", (stream, headers) => {
    stream.on("error", () => undefined);
    answer(stream, headers);
  });
  return listening(server, { host: "127.0.0.1", port: 0 });
}

async function listening(
  server: http.Server | http2.Http2Server,
  listen: ListenOptions,
): Promise<Gateway> {
  const sockets = new Set<Socket>();
  let made = 0;
  server.on("connection", (socket: Socket) => {
    made += 1;
    sockets.add(socket);
    socket.on("error", () => undefined).on("close", () => sockets.delete(socket));
  });
  server.listen(listen);
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  const drop = () => {
    for (const socket of sockets) {
      socket.destroy();
    }
  };
  return {
    address: `127.0.0.1:${port}`,
    connections: () => made,
    drop,
    [Symbol.asyncDispose]: async () => {
      const closed = once(server, "close");
      server.close();
      drop();
      await closed;
    },
  };
}

/** A promise that the test resolves, with a timeout, so that tests cannot hang. */
export function event<T = void>(
  what: string,
): { happened: Promise<T>; happens: (value: T) => void } {
  let happens!: (value: T) => void;
  const happened = new Promise<T>((resolve, reject) => {
    const late = setTimeout(() => {
      reject(new Error(`${what} did not happen`));
    }, 10_000).unref();
    happens = (value) => {
      clearTimeout(late);
      resolve(value);
    };
  });
  return { happened, happens };
}

/** Checks a `grpc-timeout`: the rest of `timeoutMs` when the call is sent, within a second. */
export function isLeftOf(timeoutMs: number, header: string | null | undefined): void {
  const left = Number(/^(\d+)m$/.exec(header ?? "")?.[1]);
  ok(left <= timeoutMs && left > timeoutMs - 1000, `grpc-timeout: ${header} of ${timeoutMs} ms`);
}
