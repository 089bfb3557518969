/**
 * The HTTP/2 connection to the gateway: made with the first call, kept alive while there are calls,
 * made anew when it is lost.
 */
import type { ClientHttp2Stream, IncomingHttpHeaders, OutgoingHttpHeaders } from "node:http2";
import * as net from "node:net";
import type { Duplex } from "node:stream";
import * as tls from "node:tls";

import { Code, ConnectError, decodeBinaryHeader, type Transport } from "@connectrpc/connect";
import { createGrpcTransport, Http2SessionManager } from "@connectrpc/connect-node";

import { StatusSchema } from "../gen/dashgate/client/v1/error_details_pb.js";
import type { Target } from "./target.js";

/** Whom to trust, and who to be. PEM texts or bytes, not paths. */
export interface TlsOptions {
  /** The authorities that may have signed the gateway's certificate. Default: those of Node.js. */
  readonly ca?: string | Uint8Array | undefined;
  /** The client's own certificate, for a gateway that asks for one. */
  readonly cert?: string | Uint8Array | undefined;
  /** The key of that certificate. */
  readonly key?: string | Uint8Array | undefined;
  /** The name to expect in the gateway's certificate, if it is not the host of the target. */
  readonly serverName?: string | undefined;
}

/** The largest answer that the gateway makes. */
const READ_MAX_BYTES = 64 * 1024 * 1024;

/** As long as gRPC libraries wait at most: a host that drops packets must not take the deadline. */
const CONNECT_TIMEOUT_MS = 20_000;

/** The strictest servers allow one ping in five minutes. */
const PING_INTERVAL_MS = 6 * 60_000;

/** A ping that is not answered for this long is the end of the connection. */
const PING_TIMEOUT_MS = 20_000;

/** How much of an answer may come before it is read; HTTP/2's own 64 KiB slow large ones down. */
const WINDOW_BYTES = 1024 * 1024;

/**
 * How many megabytes one connection may hold. The 10 of Node.js are less than one request with a
 * sound in it, and then it refuses further calls; what calls hold is theirs to bound.
 */
const SESSION_MEMORY_MB = 4096;

/** A transport, and how to close it. */
export interface Connection {
  readonly transport: Transport;
  readonly close: () => void;
}

/** A transport to the target. Nothing is connected before the first call. */
export function connectTo(target: Target, options: TlsOptions | undefined): Connection {
  const manager = new Http2SessionManager(
    target.origin,
    { pingIntervalMs: PING_INTERVAL_MS, pingTimeoutMs: PING_TIMEOUT_MS },
    {
      createConnection: () => socketTo(target, options),
      maxSessionMemory: SESSION_MEMORY_MB,
      // Until the gateway has said how many: what is sent above its limit is refused, not queued.
      peerMaxConcurrentStreams: 1,
      settings: { enablePush: false, initialWindowSize: WINDOW_BYTES },
    },
  );
  const transport = createGrpcTransport({
    baseUrl: target.origin,
    readMaxBytes: READ_MAX_BYTES,
    sessionManager: reachable(manager),
  });
  const close = () => {
    manager.abort(new ConnectError("the client was closed", Code.Canceled));
  };
  return { transport, close };
}

/** A gateway that cannot be reached is UNAVAILABLE, whatever the reason: the call was not sent. */
function reachable(manager: Http2SessionManager) {
  return {
    authority: manager.authority,
    async request(
      method: string,
      path: string,
      headers: OutgoingHttpHeaders,
    ): Promise<ClientHttp2Stream> {
      try {
        const stream = await manager.request(method, path, headers, {});
        return stream.on("response", keepReadable).on("trailers", keepReadable);
      } catch (thrown) {
        const error = ConnectError.from(thrown);
        const message = `cannot connect to ${manager.authority}: ${error.rawMessage}`;
        throw new ConnectError(message, Code.Unavailable, undefined, undefined, thrown);
      }
    },
    notifyResponseByteRead(stream: ClientHttp2Stream): void {
      manager.notifyResponseByteRead(stream);
    },
  };
}

/**
 * Removes or encodes parts of a status that connect cannot decode: it would discard the whole status.
 * Its own listeners are called after this one, with the same object.
 */
function keepReadable(headers: IncomingHttpHeaders): void {
  const details = headers["grpc-status-details-bin"];
  const message = headers["grpc-message"];
  if (typeof details === "string" && !succeeds(() => decodeBinaryHeader(details, StatusSchema))) {
    delete headers["grpc-status-details-bin"];
  }
  if (typeof message === "string" && !succeeds(() => decodeURIComponent(message))) {
    headers["grpc-message"] = encodeURIComponent(message);
  }
}

function succeeds(read: () => unknown): boolean {
  try {
    read();
    return true;
  } catch {
    return false;
  }
}

function socketTo(target: Target, options: TlsOptions | undefined): Duplex {
  const { hostname, port } = new URL(target.origin);
  const host = hostname.replace(/^\[(.*)\]$/, "$1");
  const place =
    target.path === undefined
      ? { host, port: Number(port) || (target.secure ? 443 : 80) }
      : { path: target.path };
  const socket = target.secure ? secured(place, host, options ?? {}) : net.connect(place);
  const timer = setTimeout(() => {
    const late = new Error(`no connection within ${CONNECT_TIMEOUT_MS} ms`);
    socket.destroy(Object.assign(late, { code: "ETIMEDOUT" }));
  }, CONNECT_TIMEOUT_MS);
  const stop = () => {
    clearTimeout(timer);
  };
  socket.once(target.secure ? "secureConnect" : "connect", stop).once("close", stop);
  return socket;
}

function secured(place: object, host: string, options: TlsOptions): tls.TLSSocket {
  const { ca, cert, key, serverName } = options;
  const name = serverName ?? (net.isIP(host) === 0 ? host : undefined);
  return tls.connect({
    ...place,
    ALPNProtocols: ["h2"],
    minVersion: "TLSv1.2",
    ...(name !== undefined && { servername: name }),
    ...(ca === undefined ? systemRoots() : { ca: pem(ca) }),
    ...(cert !== undefined && { cert: pem(cert) }),
    ...(key !== undefined && { key: pem(key) }),
  });
}

/** The roots of the system beside those of Node.js, where Node.js can tell them (since 22.15). */
function systemRoots(): { ca?: string[] } {
  const {
    getCACertificates: roots,
  }: typeof tls & {
    getCACertificates?: (from: "default" | "system") => string[];
  } = tls;
  return roots === undefined ? {} : { ca: [...roots("default"), ...roots("system")] };
}

function pem(text: string | Uint8Array): string | Buffer {
  return typeof text === "string" ? text : Buffer.from(text);
}
