/**
 * The HTTP/2 connection to the gateway: opened with the first call, kept alive during calls, and
 * reopened after a loss.
 */
import type {
  ClientHttp2Stream,
  IncomingHttpHeaders,
  OutgoingHttpHeaders,
  SecureClientSessionOptions,
} from "node:http2";
import * as net from "node:net";
import type { Duplex } from "node:stream";
import * as tls from "node:tls";

import { decodeBinaryHeader, type Interceptor as ConnectInterceptor } from "@connectrpc/connect";
import { createGrpcTransport, Http2SessionManager } from "@connectrpc/connect-node";

import { StatusSchema } from "../gen/dashgate/client/v1/error_details_pb.js";
import type { Interceptor, Transport } from "../transport.js";

import { CONNECT_TIMEOUT_MS, Contact } from "./contact.js";
import type { Target } from "./target.js";

/** TLS settings. PEM text or bytes, not paths. */
export interface TlsOptions {
  /** The root certificates. Default: those of Node.js. */
  readonly ca?: string | Uint8Array | undefined;
  /** The client certificate, for mutual TLS. */
  readonly cert?: string | Uint8Array | undefined;
  /** The key of the client certificate. */
  readonly key?: string | Uint8Array | undefined;
  /** The name to verify in the gateway's certificate. Default: the target's host. */
  readonly serverName?: string | undefined;
}

/** The largest response of the gateway. */
const READ_MAX_BYTES = 64 * 1024 * 1024;

/** The strictest servers allow one ping in five minutes. */
const PING_INTERVAL_MS = 6 * 60_000;

/** A ping without a response for this long ends the connection. */
const PING_TIMEOUT_MS = 20_000;

/** The HTTP/2 window; its default of 64 KiB slows large answers down. */
const WINDOW_BYTES = 1024 * 1024;

/**
 * The memory limit of one connection in megabytes. The default of Node.js (10) is less than one
 * request with audio, and further calls are then refused.
 */
const SESSION_MEMORY_MB = 4096;

/** A transport, and a function that closes it. */
export interface Connection {
  readonly transport: Transport;
  readonly close: () => void;
}

/** Options of the HTTP/2 and TLS connections of Node.js. */
export type NodeOptions = SecureClientSessionOptions;

/** How to connect. */
export interface ConnectionOptions {
  readonly tls: TlsOptions | undefined;
  readonly nodeOptions: NodeOptions | undefined;
  readonly interceptors: readonly Interceptor[] | undefined;
  /** Called for each connection that is opened. */
  readonly onConnect: () => void;
}

/** Returns a transport to the target, which connects with the first call. */
export function connectTo(target: Target, options: ConnectionOptions): Connection {
  const { nodeOptions = {}, interceptors = [], onConnect } = options;
  const manager = new Http2SessionManager(
    target.origin,
    { pingIntervalMs: PING_INTERVAL_MS, pingTimeoutMs: PING_TIMEOUT_MS },
    {
      createConnection: () => {
        onConnect();
        return socketTo(target, options.tls, nodeOptions);
      },
      maxSessionMemory: SESSION_MEMORY_MB,
      // Until the gateway's SETTINGS arrive: streams above its limit are refused, not queued.
      peerMaxConcurrentStreams: 1,
      ...nodeOptions,
      settings: { enablePush: false, initialWindowSize: WINDOW_BYTES, ...nodeOptions.settings },
    },
  );
  const address = target.path === undefined ? target.origin : `unix:${target.path}`;
  const contact = new Contact(manager, address);
  const transport = createGrpcTransport({
    baseUrl: target.origin,
    readMaxBytes: READ_MAX_BYTES,
    sessionManager: readable(contact),
    interceptors: [...(interceptors as readonly ConnectInterceptor[]), contact.interceptor],
  });
  const close = () => {
    contact.close();
  };
  return { transport, close };
}

/** The same connection, whose calls have a status that connect can decode. */
function readable(contact: Contact) {
  return {
    authority: contact.authority,
    async request(
      method: string,
      path: string,
      headers: OutgoingHttpHeaders,
    ): Promise<ClientHttp2Stream> {
      const stream = await contact.request(method, path, headers);
      return stream.on("response", keepReadable).on("trailers", keepReadable);
    },
    notifyResponseByteRead(stream: ClientHttp2Stream): void {
      contact.notifyResponseByteRead(stream);
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

function socketTo(target: Target, options: TlsOptions | undefined, more: NodeOptions): Duplex {
  const { hostname, port } = new URL(target.origin);
  const host = hostname.replace(/^\[(.*)\]$/, "$1");
  const place =
    target.path === undefined
      ? { host, port: Number(port) || (target.secure ? 443 : 80) }
      : { path: target.path };
  const socket = target.secure ? secured(place, host, options ?? {}, more) : net.connect(place);
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

function secured(
  place: object,
  host: string,
  options: TlsOptions,
  more: NodeOptions,
): tls.TLSSocket {
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
    ...more,
  });
}

/** The root certificates of the system in addition to those of Node.js, from Node.js 22.15. */
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
