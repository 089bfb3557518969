/**
 * Metadata of a call: validation, and conversion to headers.
 */
import { encodeBinaryHeader } from "@connectrpc/connect";

/**
 * Metadata by name. A value is printable ASCII; for a name that ends in `-bin` it is bytes.
 */
export type Metadata = Readonly<Record<string, string | Uint8Array>>;

/** The characters of header values. */
const PRINTABLE = /^[\x20-\x7e]*$/;

/** The syntax of names. */
const NAME = /^[0-9a-z_.-]+$/;

/** Sets the headers of metadata; existing ones of the same name are replaced. */
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

/** Sets the header of the API key. */
export function setApiKey(headers: Headers, apiKey: string | undefined): void {
  if (apiKey !== undefined && apiKey !== "") {
    headers.set("authorization", `Bearer ${printable("the API key", apiKey)}`);
  }
}

/** Throws without the value, which may be a secret; the error of the platform would contain it. */
function printable(what: string, value: string): string {
  if (!PRINTABLE.test(value)) {
    throw new TypeError(`${what} may hold printable ASCII only; is there a line end in it?`);
  }
  return value;
}
