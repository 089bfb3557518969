/**
 * The bytes of `data:` URIs and of base64, read strictly. Errors have the place, and no content.
 */
import { base64Decode } from "@bufbuild/protobuf/wire";

/** What a `data:` URI has. */
export interface Data {
  readonly mimeType: string;
  readonly bytes: Uint8Array;
}

const DATA_URI = /^data:(?<type>[^;,]*)(?<parameters>(?:;[^;,]*)*),(?<data>.*)$/is;

/** Decodes a `data:` URI. */
export function dataOf(uri: string, place: string): Data {
  const { type = "", parameters = "", data } = DATA_URI.exec(uri)?.groups ?? {};
  if (data === undefined) {
    throw new TypeError(`${place}: not a valid data: URI`);
  }
  const isBase64 = /;base64$/i.test(parameters);
  const bytes = isBase64 ? base64Of(data, place) : notEmpty(percentDecoded(data, place), place);
  return { mimeType: type.toLowerCase(), bytes };
}

/** Decodes base64 of RFC 4648, with or without padding. */
export function base64Of(text: string, place: string): Uint8Array {
  const { digits = "", padding = "" } =
    /^(?<digits>[A-Za-z0-9+/]*)(?<padding>={0,2})$/.exec(text)?.groups ?? {};
  const isWhole = digits.length + padding.length === text.length && digits.length % 4 !== 1;
  const isPadded = padding === "" || text.length % 4 === 0;
  if (!isWhole || !isPadded) {
    throw new TypeError(`${place}: not valid base64`);
  }
  return notEmpty(base64Decode(text), place);
}

/** Bytes as they are in a URI: the characters in UTF-8, and any byte as `%` with two digits. */
function percentDecoded(text: string, place: string): Uint8Array {
  if (/%(?![0-9a-f]{2})/i.test(text)) {
    throw new TypeError(`${place}: not a valid data: URI`);
  }
  const encoded = new TextEncoder().encode(text);
  const bytes: number[] = [];
  for (let at = 0; at < encoded.length; at += 1) {
    const byte = encoded[at] ?? 0;
    if (byte === PERCENT) {
      bytes.push(Number.parseInt(String.fromCharCode(...encoded.subarray(at + 1, at + 3)), 16));
      at += 2;
    } else {
      bytes.push(byte);
    }
  }
  return Uint8Array.from(bytes);
}

const PERCENT = 0x25;

function notEmpty(bytes: Uint8Array, place: string): Uint8Array {
  if (bytes.length === 0) {
    throw new TypeError(`${place}: empty`);
  }
  return bytes;
}
