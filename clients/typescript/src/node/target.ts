/**
 * Parses targets.
 */

/** The default address of `dashgate serve`. */
export const DEFAULT_TARGET = "127.0.0.1:50051";

/** A parsed target. */
export interface Target {
  /** The origin of the calls: scheme, host and port. */
  readonly origin: string;
  /** Whether the connection is TLS. */
  readonly secure: boolean;
  /** The path of the Unix socket, if it is one. */
  readonly path?: string;
}

const FORMS = "host:port, http://host:port, https://host:port, dns:///host:port or unix:/path";

/** Parses a target. `tls` enables TLS by its own setting. */
export function parseTarget(target: string, tls: boolean): Target {
  const path = /^unix:(?:\/\/(?=\/))?(.+)$/.exec(target)?.[1];
  if (path !== undefined) {
    return { origin: tls ? "https://localhost" : "http://localhost", secure: tls, path };
  }
  if (/^http:/i.test(target) && tls) {
    throw new TypeError("target: http:// is without TLS, but tls is given; say https://");
  }
  const named = /^(?:dns:(?:\/\/\/)?|ipv4:|ipv6:)([^,/]+)$/.exec(target)?.[1];
  if (named !== undefined && !/^(?:dns|ipv4|ipv6|unix):/.test(named)) {
    // Node.js resolves names and tries their addresses.
    return parseTarget(named, tls);
  }
  const bare = !target.includes("://");
  const url = parsed(bare ? `${tls ? "https" : "http"}://${target}` : target);
  const plain =
    url !== undefined &&
    /^https?:$/.test(url.protocol) &&
    url.username === "" &&
    url.password === "" &&
    url.pathname === "/" &&
    url.search === "" &&
    url.hash === "";
  if (!plain || (bare && !/:\d+$/.test(target))) {
    // Without the target, which may contain a password.
    throw new TypeError(`target: write it as ${FORMS}`);
  }
  return { origin: url.origin, secure: url.protocol === "https:" };
}

function parsed(text: string): URL | undefined {
  return URL.canParse(text) ? new URL(text) : undefined;
}
