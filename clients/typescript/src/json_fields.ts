/**
 * Reads JSON objects strictly: errors have the place, and unknown keys are errors.
 */

/** An object whose keys must all be read before `end`. `null` is the same as a missing value. */
export class Fields {
  readonly #fields: Readonly<Record<string, unknown>>;
  readonly #place: string;
  readonly #unread: Set<string>;

  constructor(value: unknown, place: string) {
    if (typeof value !== "object" || value === null || Array.isArray(value)) {
      throw new TypeError(`${place}: expected an object`);
    }
    this.#fields = value as Record<string, unknown>;
    this.#place = place;
    this.#unread = new Set(Object.keys(value));
  }

  /** The place of a key, for errors. */
  place(key: string): string {
    return `${this.#place}.${key}`;
  }

  /** The error of a key, or of the object. */
  error(key: string | undefined, problem: string): TypeError {
    return new TypeError(`${key === undefined ? this.#place : this.place(key)}: ${problem}`);
  }

  /** The value of a key, which stays unread. */
  peek(key: string): unknown {
    return Object.hasOwn(this.#fields, key) ? (this.#fields[key] ?? undefined) : undefined;
  }

  text(key: string): string | undefined {
    const value = this.#read(key);
    return value === undefined ? undefined : this.#string(key, value);
  }

  /** An integer of 32 bits. */
  integer(key: string): number | undefined {
    const value = this.#read(key);
    if (value === undefined) {
      return undefined;
    }
    if (typeof value !== "number" || (value | 0) !== value) {
      throw this.error(key, "expected an integer of 32 bits");
    }
    return value;
  }

  object(key: string): Fields | undefined {
    const value = this.#read(key);
    return value === undefined ? undefined : new Fields(value, this.place(key));
  }

  objects(key: string): Fields[] | undefined {
    return this.#list(key)?.map((one, at) => new Fields(one, `${this.place(key)}[${at}]`));
  }

  texts(key: string): string[] | undefined {
    return this.#list(key)?.map((one, at) => this.#string(`${key}[${at}]`, one));
  }

  required<T>(key: string, value: T | undefined): T {
    if (value === undefined) {
      throw this.error(key, "required");
    }
    return value;
  }

  /** Throws if a key was not read. */
  end(): void {
    for (const key of this.#unread) {
      if (this.peek(key) !== undefined) {
        throw this.error(key, "unknown");
      }
    }
  }

  /** A string that UTF-8 can have. */
  #string(key: string, value: unknown): string {
    if (typeof value !== "string") {
      throw this.error(key, "expected a string");
    }
    if (/\p{Surrogate}/u.test(value)) {
      throw this.error(key, "has a surrogate without its pair");
    }
    return value;
  }

  #read(key: string): unknown {
    this.#unread.delete(key);
    return this.peek(key);
  }

  #list(key: string): unknown[] | undefined {
    const value = this.#read(key);
    if (value !== undefined && !Array.isArray(value)) {
      throw this.error(key, "expected a list");
    }
    return value && Array.from(value as unknown[]);
  }
}
