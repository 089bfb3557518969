/**
 * Whether a connection reaches the gateway: a port may accept connections and never answer. An HTTP/2
 * server begins with its SETTINGS, and until they arrive there is no gateway.
 */
import type { ClientHttp2Session, ClientHttp2Stream, OutgoingHttpHeaders } from "node:http2";

import { Code, ConnectError, type Interceptor } from "@connectrpc/connect";
import type { Http2SessionManager } from "@connectrpc/connect-node";

import { isFromServer, isLostConnection } from "../connect_error.js";
import { REACH, type Reach } from "../waiting.js";

/** The connection timeout of gRPC libraries: an unreachable host must not use up the deadline. */
export const CONNECT_TIMEOUT_MS = 20_000;

/** In the errors of a stream whose connection was closed, and of one that was refused. */
const CLOSED = "http/2 stream closed with error code CANCEL";
const REFUSED = "REFUSED_STREAM";

/** An attempt of a call. */
interface Attempt {
  readonly reach: Reach | undefined;
  isConnected: boolean;
}

/** The connections to one address, one after the other. */
export class Contact {
  readonly #manager: Http2SessionManager;
  /** For error messages. */
  readonly #address: string;
  readonly #watched = new WeakSet<ClientHttp2Session>();
  readonly #reached = new WeakSet<ClientHttp2Session>();
  /** The attempts that are not known to be connected: they are on the latest session. */
  readonly #attempts = new Set<Attempt>();
  #latest: ClientHttp2Session | undefined;
  #isClosed = false;

  constructor(manager: Http2SessionManager, address: string) {
    this.#manager = manager;
    this.#address = address;
  }

  /** Closes the connection. */
  close(): void {
    this.#isClosed = true;
    this.#manager.abort(new ConnectError("the client was closed", Code.Canceled));
  }

  get authority(): string {
    return this.#manager.authority;
  }

  notifyResponseByteRead(stream: ClientHttp2Stream): void {
    this.#manager.notifyResponseByteRead(stream);
  }

  /** Opens a stream. A connection failure is UNAVAILABLE, whatever its cause: nothing was sent. */
  async request(
    method: string,
    path: string,
    headers: OutgoingHttpHeaders,
  ): Promise<ClientHttp2Stream> {
    let stream: ClientHttp2Stream;
    try {
      stream = await this.#manager.request(method, path, headers, {});
    } catch (thrown) {
      throw this.#unconnected(ConnectError.from(thrown));
    }
    if (stream.session !== undefined) {
      this.#watch(stream.session as ClientHttp2Session);
    }
    for (const { reach } of this.#attempts) {
      reach?.sent();
    }
    return stream;
  }

  /** Lets each call know whether it reaches the gateway, and names the address in its errors. */
  readonly interceptor: Interceptor = (next) => async (request) => {
    const reach = request.contextValues.get(REACH);
    const attempt: Attempt = { reach, isConnected: false };
    const explained = (thrown: unknown) =>
      this.#isClosed || request.signal.aborted ? thrown : this.#explained(thrown, attempt);
    reach?.connecting(this.#address);
    this.#attempts.add(attempt);
    try {
      const response = await next(request);
      return response.stream
        ? { ...response, message: withErrors(response.message, explained) }
        : response;
    } catch (thrown) {
      throw explained(thrown);
    } finally {
      this.#attempts.delete(attempt);
    }
  };

  #watch(session: ClientHttp2Session): void {
    this.#latest = session;
    if (!this.#watched.has(session)) {
      this.#watched.add(session);
      // It may report its error after its last call has ended: without a listener, that would end
      // the process.
      session.on("error", () => undefined);
      this.#await(session);
    }
    if (this.#reached.has(session)) {
      this.#connected();
    }
  }

  /** Waits for the gateway's SETTINGS. It acknowledges those of the client, too. */
  #await(session: ClientHttp2Session): void {
    const timer = setTimeout(() => {
      const late = new Error(`no HTTP/2 connection within ${CONNECT_TIMEOUT_MS} ms`);
      session.destroy(Object.assign(late, { code: "ETIMEDOUT" }));
    }, CONNECT_TIMEOUT_MS).unref();
    const reached = () => {
      clearTimeout(timer);
      this.#reached.add(session);
      this.#connected();
    };
    session.once("remoteSettings", reached).once("localSettings", reached);
    session.once("close", () => {
      clearTimeout(timer);
    });
    if (!session.pendingSettingsAck) {
      reached();
    }
  }

  #connected(): void {
    for (const attempt of this.#attempts) {
      attempt.isConnected = true;
      attempt.reach?.connected();
    }
    this.#attempts.clear();
  }

  /** The error of an attempt. If its connection failed or broke, that says so, with the address. */
  #explained(thrown: unknown, attempt: Attempt): unknown {
    const error = ConnectError.from(thrown);
    if (isFromServer(error) || error.cause instanceof ConnectError) {
      return thrown;
    }
    if (!attempt.isConnected) {
      return this.#latest?.destroyed === true ? this.#unconnected(error) : thrown;
    }
    return isLostConnection(error) ? this.#lost(error) : thrown;
  }

  #unconnected(error: ConnectError): ConnectError {
    const why = error.rawMessage.includes(CLOSED) ? "the connection was closed" : error.rawMessage;
    return unavailable(`cannot connect to ${this.#address}: ${why.trim()}`, error);
  }

  #lost(error: ConnectError): ConnectError {
    const { rawMessage } = error;
    const what = rawMessage.includes(REFUSED)
      ? `${this.#address} refused the call`
      : `the connection to ${this.#address} was lost`;
    const why = rawMessage.includes(CLOSED) ? "" : `: ${rawMessage.trim()}`;
    return unavailable(what + why, error);
  }
}

function unavailable(message: string, cause: ConnectError): ConnectError {
  return new ConnectError(message, Code.Unavailable, cause.metadata, undefined, cause);
}

async function* withErrors<T>(
  messages: AsyncIterable<T>,
  explained: (thrown: unknown) => unknown,
): AsyncGenerator<T, void> {
  try {
    yield* messages;
  } catch (thrown) {
    throw explained(thrown);
  }
}
