/**
 * The log of calls: one line for each call, without content, keys and values of metadata.
 */
import { DashgateError } from "./error.js";

/** What is logged: `info` has the calls, `debug` also retries, resumes and connections. */
export type LogLevel = "off" | "info" | "debug";

/** Writes a line. */
export type Write = (line: string) => void;

/** The log of a client. */
export class Log {
  readonly #level: LogLevel;
  readonly #write: Write;
  readonly #address: string;

  /** A log with an unknown level is off. */
  constructor(level: string | undefined, address: string, write: Write) {
    this.#level = level === "info" || level === "debug" ? level : "off";
    this.#address = address;
    this.#write = write;
  }

  /** A log that is off. */
  static none(): Log {
    return new Log("off", "", () => undefined);
  }

  /** Begins to log a call. */
  call(method: string, requestId: string): CallLog {
    if (this.#level === "off") {
      return SILENT;
    }
    const begun = performance.now();
    const place = `request id ${printable(requestId)}, ${this.#address}`;
    return {
      ended: (failure) => {
        const why = cause(failure?.reason);
        if (why !== "") {
          this.#line("debug", `${method} failed${why}, ${place}`);
        }
        const took = Math.round(performance.now() - begun);
        this.#line("info", `${method} ${outcome(failure)} ${took} ms, ${place}`);
      },
      retried: (failure, delayMs) => {
        const delay = Math.round(delayMs);
        this.#line("debug", `${method} retry in ${delay} ms after ${detailed(failure)}, ${place}`);
      },
      resumed: (failure, delayMs) => {
        const delay = Math.round(delayMs);
        this.#line("debug", `${method} resume in ${delay} ms after ${detailed(failure)}, ${place}`);
      },
    };
  }

  /** Logs a connection that is opened. */
  connection(count: number): void {
    this.#line("debug", `connection ${count}, ${this.#address}`);
  }

  #line(level: "info" | "debug", text: string): void {
    if (this.#level === level || this.#level === "debug") {
      this.#write(`dashgate: ${text}`);
    }
  }
}

/** The log of one call. */
export interface CallLog {
  /** Logs the end of the call, with the reason if it failed or was cancelled. */
  readonly ended: (failure?: { readonly reason: unknown }) => void;
  /** Logs that another attempt follows. */
  readonly retried: (failure: unknown, delayMs: number) => void;
  /** Logs that the call goes on with another connection. */
  readonly resumed: (failure: unknown, delayMs: number) => void;
}

const SILENT: CallLog = {
  ended: () => undefined,
  retried: () => undefined,
  resumed: () => undefined,
};

function outcome(failure: { readonly reason: unknown } | undefined): string {
  return failure === undefined ? "OK" : summary(failure.reason);
}

/** Code and reason, without the message, which may have content. */
function summary(failure: unknown): string {
  if (!(failure instanceof DashgateError)) {
    return "CANCELLED";
  }
  const { code, rawReason } = failure;
  return rawReason === "" || rawReason === code ? code : `${code} ${printable(rawReason)}`;
}

function detailed(failure: unknown): string {
  return summary(failure) + cause(failure);
}

/** The message of a connection that failed; nothing for an error of a server, which may have content. */
function cause(failure: unknown): string {
  const isOfConnection =
    failure instanceof DashgateError &&
    failure.code === "UNAVAILABLE" &&
    failure.rawReason === "" &&
    failure.cause !== undefined;
  return isOfConnection ? `: ${printable(failure.message)}` : "";
}

/** The most characters of a text from elsewhere. */
const MAX_LENGTH = 200;

/** A text from elsewhere: a call must stay one line, and a terminal must not obey it. */
function printable(text: string): string {
  return text.replace(/[^\x20-\x7e]/gu, "?").slice(0, MAX_LENGTH);
}
