/**
 * Types with a JSON Schema: of structured output, and of the arguments of tools.
 */
import { DashgateError } from "./error.js";
import { parseJson } from "./json_text.js";

/**
 * A Standard Schema with a JSON Schema (https://standardschema.dev), such as those of Zod 4.2 and
 * later, ArkType and Valibot.
 */
export interface StandardSchema<T> {
  /** The interface that these libraries share. */
  readonly "~standard": {
    /** The version of the interface. */
    readonly version: 1;
    /** The library. */
    readonly vendor: string;
    /** Parses a value. */
    readonly validate: (value: unknown) => StandardResult<T> | Promise<StandardResult<T>>;
    /** Returns the JSON Schema. */
    readonly jsonSchema: {
      /** Of the values that `validate` accepts. */
      readonly input: (options: {
        readonly target: "draft-2020-12" | "draft-07";
      }) => Record<string, unknown>;
    };
  };
}

/** The result of a Standard Schema. */
export type StandardResult<T> = StandardSuccess<T> | StandardFailure;

/** The result for a value that is of the type. */
export interface StandardSuccess<T> {
  /** The parsed value. */
  readonly value: T;
  /** Unset. */
  readonly issues?: undefined;
}

/** The result for a value that is not of the type. */
export interface StandardFailure {
  /** The problems. */
  readonly issues: readonly StandardIssue[];
}

/** A problem that a Standard Schema found. */
export interface StandardIssue {
  /** The problem. */
  readonly message: string;
  /** Its place in the value. */
  readonly path?: readonly (PropertyKey | StandardPathSegment)[] | undefined;
}

/** A step of a path to a value. */
export interface StandardPathSegment {
  /** The key of an object, or the index of a list. */
  readonly key: PropertyKey;
}

/** A JSON Schema, and a function that checks a value and converts it. */
export interface ParsedSchema<T> {
  /** The JSON Schema: an object, or JSON text, which is sent unchanged. */
  readonly jsonSchema: string | Readonly<Record<string, unknown>>;
  /** Returns the value of a JSON value, or throws. */
  readonly parse: (value: unknown) => T | Promise<T>;
}

/** A type with a JSON Schema. */
export type Schema<T> = StandardSchema<T> | ParsedSchema<T>;

/** The JSON Schema of a type as JSON text. */
export function jsonSchemaText<T>(schema: Schema<T>): string {
  if ("jsonSchema" in schema) {
    const { jsonSchema } = schema;
    return typeof jsonSchema === "string" ? jsonSchema : JSON.stringify(jsonSchema);
  }
  const { input } = schema["~standard"].jsonSchema;
  return JSON.stringify(input({ target: "draft-2020-12" }));
}

/** Parses a JSON text. Throws an error whose message says what is wrong. */
export async function parseText<T>(schema: Schema<T>, text: string): Promise<T> {
  const value = parseJson(text);
  if ("jsonSchema" in schema) {
    return schema.parse(value);
  }
  const result = await schema["~standard"].validate(value);
  if (result.issues !== undefined) {
    throw new TypeError(result.issues.map(described).join("; "));
  }
  return result.value;
}

/**
 * The message of what a parser threw. A call that failed or was cancelled in a parser is not a
 * problem of the text.
 */
export function problemOf(thrown: unknown): string {
  const isCancelled = thrown instanceof DOMException && thrown.name === "AbortError";
  if (isCancelled || thrown instanceof DashgateError) {
    throw thrown;
  }
  return thrown instanceof Error ? thrown.message : String(thrown);
}

function described({ message, path = [] }: StandardIssue): string {
  const keys = path.map((key) => String(typeof key === "object" ? key.key : key));
  return keys.length === 0 ? message : `${keys.join(".")}: ${message}`;
}
