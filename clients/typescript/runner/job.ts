/**
 * Parses jobs strictly: an unknown key is an error of the job.
 */
import { readFile } from "node:fs/promises";

import { Client, text, audio, image, video, type Content, type Metadata } from "dashgate";

/** An error of the job or of the runner, not of the library. */
export class JobFault extends Error {}

type Fields = Record<string, unknown>;

/** An object whose keys must all be read before `done`. */
export class Reader {
  readonly #fields: Fields;
  readonly #where: string;
  readonly #left: Set<string>;

  constructor(value: unknown, where: string) {
    if (typeof value !== "object" || value === null || Array.isArray(value)) {
      throw new JobFault(`${where}: an object is asked for`);
    }
    this.#fields = value as Fields;
    this.#where = where;
    this.#left = new Set(Object.keys(value));
  }

  /** The raw value, or `undefined`. */
  any(name: string): unknown {
    this.#left.delete(name);
    return this.#fields[name] ?? undefined;
  }

  text(name: string): string | undefined {
    return this.#typed(name, "string") as string | undefined;
  }

  number(name: string): number | undefined {
    return this.#typed(name, "number") as number | undefined;
  }

  flag(name: string): boolean {
    return (this.#typed(name, "boolean") as boolean | undefined) ?? false;
  }

  list(name: string): unknown[] {
    const value = this.any(name) ?? [];
    if (!Array.isArray(value)) {
      throw new JobFault(`${this.#where}.${name}: a list is asked for`);
    }
    return value;
  }

  object(name: string): Reader | undefined {
    const value = this.any(name);
    return value === undefined ? undefined : new Reader(value, `${this.#where}.${name}`);
  }

  /** The values of an object of strings. */
  texts(name: string): Record<string, string> | undefined {
    const value = this.any(name);
    if (value === undefined) {
      return undefined;
    }
    for (const one of Object.values(value as Fields)) {
      if (typeof one !== "string") {
        throw new JobFault(`${this.#where}.${name}: texts are asked for`);
      }
    }
    return value as Record<string, string>;
  }

  /** Throws if the value is missing. */
  must<T>(name: string, value: T | undefined): T {
    if (value === undefined) {
      throw new JobFault(`${this.#where}.${name} is missing`);
    }
    return value;
  }

  /** Throws if other keys are left. */
  done(): void {
    if (this.#left.size > 0) {
      throw new JobFault(`${this.#where}: unknown keys: ${[...this.#left].join(", ")}`);
    }
  }

  #typed(name: string, type: string): unknown {
    const value = this.any(name);
    if (value !== undefined && typeof value !== type) {
      throw new JobFault(`${this.#where}.${name}: a ${type} is asked for`);
    }
    return value;
  }
}

/** Creates the client of a job. */
export async function connect(target: string, options: Reader | undefined): Promise<Client> {
  if (options === undefined) {
    return new Client(target);
  }
  const tls = options.object("tls");
  const client = {
    apiKey: options.text("api_key"),
    timeoutMs: options.number("timeout_ms"),
    idleTimeoutMs: options.number("idle_timeout_ms"),
    metadata: options.texts("metadata") as Metadata | undefined,
    maxRetries: options.number("max_retries"),
    ...(tls && { tls: await trust(tls) }),
  };
  options.done();
  return new Client(target, client);
}

async function trust(tls: Reader) {
  const file = async (name: string) => {
    const path = tls.text(name);
    return path === undefined ? undefined : readFile(path);
  };
  const read = {
    ca: await file("ca_file"),
    cert: await file("cert_file"),
    key: await file("key_file"),
    serverName: tls.text("server_name"),
  };
  tls.done();
  return read;
}

const HELPERS = { audio, image, video };

/** Creates content parts from specs, with the public helpers. */
export function contents(specs: unknown[], uploaded?: string): Promise<(Content | string)[]> {
  return Promise.all(specs.map((spec) => content(new Reader(spec, "content"), uploaded)));
}

async function content(spec: Reader, uploaded: string | undefined): Promise<Content | string> {
  const mimeType = spec.text("mime_type");
  const made = await kind(spec, { mimeType }, uploaded);
  spec.done();
  return made;
}

async function kind(
  spec: Reader,
  options: { mimeType: string | undefined },
  uploaded: string | undefined,
): Promise<Content | string> {
  const words = spec.text("text");
  if (words !== undefined) {
    return text(words);
  }
  const frames = spec.list("video_frames");
  if (frames.length > 0) {
    return video(frames as string[], options);
  }
  const medium = spec.text("uploaded");
  if (medium !== undefined) {
    return helper(medium)(spec.must("uploaded", uploaded), options);
  }
  for (const [name, help] of Object.entries(HELPERS)) {
    const source = spec.text(`${name}_file`) ?? spec.text(`${name}_uri`);
    const bytes = spec.text(`${name}_bytes_of`);
    if (source !== undefined) {
      return help(source, options);
    }
    if (bytes !== undefined) {
      return help(await readFile(bytes), options);
    }
  }
  throw new JobFault("content: none of the known kinds");
}

function helper(name: string): (typeof HELPERS)["audio"] {
  if (!Object.hasOwn(HELPERS, name)) {
    throw new JobFault(`content: there is no helper ${name}`);
  }
  return HELPERS[name as keyof typeof HELPERS];
}
