/**
 * The metadata of a response, as texts by name.
 */

/** The initial metadata and the trailers of a response: texts by name, in lower case. */
export type ResponseHeaders = Readonly<Record<string, string>>;

/** The status of a call, which errors have in other properties. */
const STATUS: readonly string[] = ["grpc-status", "grpc-message"];

/** Joins headers and trailers. Binary values are left out. */
export function responseHeaders(...parts: readonly Headers[]): ResponseHeaders {
  const joined: Record<string, string> = {};
  for (const part of parts) {
    part.forEach((value, name) => {
      if (!name.endsWith("-bin") && !STATUS.includes(name)) {
        joined[name] = value;
      }
    });
  }
  return joined;
}
