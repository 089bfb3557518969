/**
 * Parses targets.
 */

/** The port of `dashgate serve`. */
const DEFAULT_PORT = 50051;

/** The default address of `dashgate serve`. */
export const DEFAULT_TARGET = `127.0.0.1:${DEFAULT_PORT}`;

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

/** Scheme, host (IPv6 in brackets) and port. Scheme and port are optional. */
const ADDRESS =
  /^(?:(?<scheme>https?):\/\/|dns:(?:\/\/\/)?|ipv4:|ipv6:)?(?<host>\[[^\s[\]]+\]|[^\s:/,@?#[\]]+)(?::(?<port>\d+))?\/?$/i;

/** Parses a target. `tls` enables TLS by its own setting. */
export function parseTarget(target: string, tls: boolean): Target {
  const path = /^unix:(?:\/\/(?=\/))?(.+)$/.exec(target)?.[1];
  if (path !== undefined) {
    return { origin: tls ? "https://localhost" : "http://localhost", secure: tls, path };
  }
  const { scheme, host, port } = ADDRESS.exec(target)?.groups ?? {};
  const secure = tls || scheme?.toLowerCase() === "https";
  const usual = scheme?.toLowerCase() === "https" ? 443 : DEFAULT_PORT;
  const address = `${secure ? "https" : "http"}://${host ?? ""}:${port ?? usual}`;
  if (host === undefined || !URL.canParse(address)) {
    // Without the target, which may contain a password.
    throw new TypeError(`target: write it as ${FORMS}`);
  }
  if (scheme?.toLowerCase() === "http" && tls) {
    throw new TypeError("target: http:// is without TLS, but tls is set; use https://");
  }
  // Node.js resolves names and tries their addresses.
  return { origin: new URL(address).origin, secure };
}
