/**
 * What an error of connect says about its connection. Apart from `status.ts`, whose declarations are
 * part of the API and must not need those of connect.
 */
import { Code, type ConnectError } from "@connectrpc/connect";

/** The gateway refused the stream before it processed it, or the connection was closed. */
const LOST = /NGHTTP2_REFUSED_STREAM|ERR_HTTP2_GOAWAY_SESSION|ERR_HTTP2_SESSION_ERROR|EPIPE/;

/** Whether a server sent this error, and not the gRPC library. */
export function isFromServer(error: ConnectError): boolean {
  return error.metadata.has("grpc-status") || error.metadata.has("grpc-status-details-bin");
}

/** An error and its causes, down to that of the platform. */
export function chain(error: Error): (Error & { code?: unknown })[] {
  return error.cause instanceof Error ? [error, ...chain(error.cause)] : [error];
}

/**
 * Connect reports a broken connection as a cancelled or aborted call, as its server side does. Here
 * it is UNAVAILABLE: the caller did not cancel. A `fetch` that reached no server throws a
 * `TypeError`.
 */
export function isLostConnection(error: ConnectError): boolean {
  const code: Code = error.code;
  return (
    code === Code.Canceled ||
    code === Code.Aborted ||
    chain(error).some(
      (one) => one instanceof TypeError || LOST.test(`${String(one.code)} ${one.message}`),
    )
  );
}
