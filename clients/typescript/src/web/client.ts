/**
 * The client for browsers: gRPC-Web over fetch.
 */
import type { Transport } from "@connectrpc/connect";
import { createGrpcWebTransport } from "@connectrpc/connect-web";

import { BaseClient, type ClientSettings } from "../client.js";
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
    const transport = typeof target === "object" ? target : over(target);
    // Pages cannot set User-Agent.
    super(transport, settings, { "x-user-agent": USER_AGENT }, () => undefined);
  }
}

function over(target: string | undefined): Transport {
  const baseUrl = target ?? globalThis.location.origin;
  if (!/^https?:\/\//i.test(baseUrl)) {
    throw new TypeError("target: write it as https://host:port or http://host:port");
  }
  return createGrpcWebTransport({ baseUrl });
}
