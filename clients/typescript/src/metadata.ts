/**
 * Metadata of a call: what may be sent, and how it becomes headers.
 */
import { encodeBinaryHeader } from "@connectrpc/connect";

/**
 * Metadata by name. A value is a text of printable ASCII; under a name that ends in `-bin` it is
 * bytes.
 */
export type Metadata = Readonly<Record<string, string | Uint8Array>>;

/** What a header can carry unchanged. */
const PRINTABLE = /^[\x20-\x7e]*$/;

/** gRPC's names of metadata. */
const NAME = /^[0-9a-z_.-]+$/;

/** Puts the metadata among the headers, in the place of those that have the same name. */
export function setMetadata(headers: Headers, metadata: Metadata | undefined): void {
  for (const [given, value] of Object.entries(metadata ?? {})) {
    const name = given.toLowerCase();
    if (!NAME.test(name) || name.startsWith("grpc-")) {
      throw new TypeError(`metadata: "${given}" is not a name that a caller may send`);
    }
    if (typeof value !== "string") {
      if (!name.endsWith("-bin")) {
        throw new TypeError(`metadata: bytes need a name that ends in -bin, "${name}" does not`);
      }
      headers.set(name, encodeBinaryHeader(value));
    } else if (name.endsWith("-bin")) {
      throw new TypeError(`metadata: "${name}" takes bytes, not a text`);
    } else {
      headers.set(name, printable(`metadata "${name}"`, value));
    }
  }
}

/** Puts the key among the headers. */
export function setApiKey(headers: Headers, apiKey: string | undefined): void {
  if (apiKey !== undefined && apiKey !== "") {
    headers.set("authorization", `Bearer ${printable("the API key", apiKey)}`);
  }
}

/** Told without the value: it may be a secret, and the platform's own error would show it. */
function printable(what: string, value: string): string {
  if (!PRINTABLE.test(value)) {
    throw new TypeError(`${what} may hold printable ASCII only; is there a line end in it?`);
  }
  return value;
}
