/**
 * The client for browsers: gRPC-Web over fetch.
 */
import type { Transport } from "@connectrpc/connect";
import { createGrpcWebTransport } from "@connectrpc/connect-web";

import { BaseClient, type ClientSettings } from "../client.js";
import { USER_AGENT } from "../version.js";

/**
 * A client of dashgate, for pages. It has no `upload`: browsers cannot stream a request. Media that are
 * too large for a message must be where DashScope can fetch them.
 */
export class Client extends BaseClient {
  /**
   * @param target `https://host:port` or `http://host:port`. Default: where the page came from. The
   *   gateway must allow the page's origin if it is another. Or a transport that exists.
   */
  constructor(target?: string | Transport, settings: ClientSettings = {}) {
    const transport = typeof target === "object" ? target : over(target);
    // A page may not set User-Agent.
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
