/**
 * The client for Node.js: gRPC over HTTP/2.
 */
import type { Transport } from "@connectrpc/connect";

import type { Call } from "../call.js";
import { BaseClient, callHeaders, type ClientSettings } from "../client.js";
import type { UploadMediaResponse } from "../gen/dashgate/v1/media_service_pb.js";
import { USER_AGENT } from "../version.js";
import { connectTo, type Connection, type TlsOptions } from "./connection.js";
import { DEFAULT_TARGET, parseTarget } from "./target.js";
import { openUpload, uploadMessages, type UploadOptions, type UploadSource } from "./upload.js";

/** How a client reaches the gateway, and how it calls. */
export interface ClientOptions extends ClientSettings {
  /** Sent as `authorization: Bearer KEY`, over plaintext too. Default: `DASHGATE_API_KEY`. */
  readonly apiKey?: string | undefined;
  /** Given: the connection is TLS, whatever the target says. */
  readonly tls?: TlsOptions | undefined;
}

/**
 * A client of dashgate. One is enough for a program: it makes its connection with the first call, and
 * all calls share it.
 */
export class Client extends BaseClient {
  /**
   * @param target `host:port`, `http://host:port`, `https://host:port` or `unix:/path`. Default:
   *   `DASHGATE_ADDR`, and without that `127.0.0.1:50051`. Or a transport that exists, which is yours to
   *   close.
   */
  constructor(target?: string | Transport, options: ClientOptions = {}) {
    const { transport, close } = connection(target, options.tls);
    const apiKey = options.apiKey ?? process.env["DASHGATE_API_KEY"];
    super(transport, { ...options, apiKey }, { "user-agent": USER_AGENT }, close);
  }

  /**
   * Streams a medium of any size to where the model can reach it, in small pieces. The `uri` of the
   * answer goes into a content part: `await video(uploaded.uri)`. It is good for the same model, for
   * about 48 hours. The deadline is 10 minutes unless one is given.
   */
  async upload(
    model: string,
    source: UploadSource,
    options: UploadOptions = {},
  ): Promise<UploadMediaResponse> {
    const headers = callHeaders(options.metadata);
    const file = await openUpload(source);
    try {
      return await this.unary(options, (call) => {
        headers.set("x-request-id", call.requestId);
        const { signal, timeoutMs } = call;
        const messages = faithful(call, uploadMessages(model, file, options));
        return this.media.uploadMedia(messages, {
          headers,
          signal,
          ...(timeoutMs && { timeoutMs }),
        });
      });
    } finally {
      file.close();
    }
  }
}

function connection(
  target: string | Transport | undefined,
  tls: TlsOptions | undefined,
): Connection {
  if (typeof target === "object") {
    if (tls !== undefined) {
      throw new TypeError("tls: a transport that exists has its own");
    }
    return { transport: target, close: () => undefined };
  }
  // An empty variable is one that was not set.
  const { DASHGATE_ADDR: named = "" } = process.env;
  const place = target ?? (named === "" ? DEFAULT_TARGET : named);
  return connectTo(parseTarget(place, tls !== undefined), tls);
}

/** A fault of the source ends the call with that fault, not with what gRPC makes of it. */
async function* faithful<T>(call: Call, messages: AsyncIterable<T>): AsyncGenerator<T, void> {
  try {
    yield* messages;
  } catch (fault) {
    call.stop(fault);
    throw fault;
  }
}
