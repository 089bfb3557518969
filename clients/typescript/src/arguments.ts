/**
 * Checks of arguments, for programs in JavaScript: TypeScript reports the same mistakes.
 */

/** Returns what a value is, for an error. */
export function kindOf(value: unknown): string {
  if (isPromise(value)) {
    return "a Promise, which must be awaited";
  }
  if (value === null || value === undefined) {
    return String(value);
  }
  if (Array.isArray(value)) {
    return "an array";
  }
  return typeof value === "object" ? "another object" : `a ${typeof value}`;
}

/** Throws the error of a Promise that was passed instead of its value. */
export function refusePromise(name: string, value: unknown): void {
  if (isPromise(value)) {
    throw new TypeError(`${name} is ${kindOf(value)}`);
  }
}

function isPromise(value: unknown): boolean {
  return typeof value === "object" && value !== null && "then" in value;
}
