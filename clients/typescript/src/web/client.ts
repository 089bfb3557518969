/**
 * The client for browsers: gRPC-Web over fetch.
 */
import type { Interceptor as ConnectInterceptor } from "@connectrpc/connect";
import { createGrpcWebTransport } from "@connectrpc/connect-web";

import { Caller } from "../caller.js";
import { BaseClient } from "../client.js";
import type { ClientSettings } from "../settings.js";
import type { Interceptor, Transport } from "../transport.js";
import { USER_AGENT } from "../version.js";

/**
 * A client of a dashgate gateway, for pages. It has no `upload`, because browsers cannot stream a
 * request. Files that are too large for a message must be at a URI that DashScope can fetch.
 */
export class Client extends BaseClient {
  /**
   * @param target `https://host:port` or `http://host:port`; default: the page's origin. The
   * gateway must allow the page's origin if it is another. Or an existing transport.
   */
  constructor(target?: string | Transport, settings: ClientSettings = {}) {
    const { interceptors } = settings;
    if (typeof target === "object" && interceptors !== undefined) {
      throw new TypeError("interceptors: a transport that exists has its own");
    }
    const transport = typeof target === "object" ? target : over(target, interceptors);
    // Pages cannot set User-Agent.
    const userAgent = { "x-user-agent": USER_AGENT };
    super(new Caller({ transport, userAgent, shut: () => undefined }, settings));
  }
}

function over(target: string | undefined, interceptors: readonly Interceptor[] = []): Transport {
  const baseUrl = target ?? globalThis.location.origin;
  if (!/^https?:\/\//i.test(baseUrl)) {
    throw new TypeError("target: write it as https://host:port or http://host:port");
  }
  return createGrpcWebTransport({
    baseUrl,
    interceptors: [...(interceptors as readonly ConnectInterceptor[])],
  });
}
