/** What a stream remembers across its connections, and when it is resumed. */
import { RESUME_ATTEMPTS, resumeDelay } from "./backoff.js";
import { DashgateError, noteOutput, noteUsage } from "./error.js";
import { Fold } from "./fold.js";
import type { ConverseStreamResponse } from "./gen/dashgate/v1/conversation_service_pb.js";

/**
 * The deadline of the call that ends a call whose stream was left. The gateway ends it by itself
 * after some seconds.
 */
export const LEAVE_LIMIT_MS = 2000;

/** In the headers of a response whose stream can be resumed. */
const RESUMABLE_HEADER = "dashgate-resumable";

/** Codes that gRPC libraries and proxies create for a lost connection. */
const LOST: readonly string[] = ["UNAVAILABLE", "INTERNAL", "UNKNOWN"];
/** With these reasons, the call may go on at another replica. All others are final. */
const ELSEWHERE: readonly string[] = ["SHUTTING_DOWN", "STORE_DOWN"];
/** The gateway does not have the call any more: what broke the stream is the cause. */
const GONE: readonly string[] = ["OUT_OF_RANGE", "NOT_FOUND", "UNIMPLEMENTED"];

/** The state of a stream across its connections. */
export class Resumption {
  readonly fold = new Fold();
  resumes = 0;
  /** The number of the last event. */
  sequence = 0;
  readonly #wanted: boolean;
  readonly #named: boolean;
  #started = false;
  /** Whether the gateway resumes the stream. */
  #can = false;
  #attempts = 0;
  #failure: DashgateError | undefined;

  /** `named`: the caller chose the request id, so that the call may have other readers. */
  constructor(wanted: boolean, named: boolean) {
    this.#wanted = wanted;
    this.#named = named;
  }

  /** Notes the headers of a response, which precede `Started`. Returns whether it is resumable. */
  announced(headers: Headers): boolean {
    const promised = this.#wanted && headers.get(RESUMABLE_HEADER) === "true";
    if (promised && !this.#started) {
      this.#can = true;
    }
    return promised;
  }

  /** Notes an event. Returns false if it was received on an earlier connection. */
  received(response: ConverseStreamResponse): boolean {
    const { event, sequence } = response;
    // A heartbeat has the number of the event before it.
    const counts = event.case !== "heartbeat";
    if (this.resumes > 0 && counts) {
      if (sequence > this.sequence + 1) {
        this.#can = false;
        throw this.#failure ?? new Error("events are missing");
      }
      this.#attempts = 0;
      if (sequence <= this.sequence) {
        return false;
      }
    }
    this.#attempts = 0;
    if (event.case === "started" && !this.#started) {
      this.#started = true;
      this.#can = this.#wanted && event.value.resumable;
    }
    if (counts) {
      this.sequence = sequence;
    }
    this.fold.add(response);
    return true;
  }

  /**
   * Returns the delay before the stream is resumed in milliseconds, or `undefined` if the answer is
   * complete. Throws the error of the stream; a call that was stopped is not resumed.
   */
  failed(thrown: unknown, isStopped: boolean): number | undefined {
    const first = this.#attempts === 0 ? undefined : this.#failure;
    const lost = !isStopped && isLost(thrown);
    if (!this.#can || (!lost && first === undefined)) {
      throw this.#final(thrown);
    }
    if (!lost) {
      const gone = thrown instanceof DashgateError && GONE.includes(thrown.code);
      noteUsage(thrown, first?.usage);
      throw this.#final(gone ? first : thrown);
    }
    if (this.fold.complete) {
      return undefined;
    }
    this.#failure = first ?? thrown;
    if (this.#attempts === RESUME_ATTEMPTS) {
      throw this.#final(this.#failure);
    }
    const delay = resumeDelay(this.#attempts, thrown);
    this.#attempts += 1;
    this.resumes += 1;
    return delay;
  }

  /** Whether the gateway still waits for a stream that was left, or failed, for this reason. */
  mustLeave(reason: unknown, isLate: boolean): boolean {
    if (!this.#wanted || (this.#started && !this.#can) || this.fold.complete) {
      return false;
    }
    if (!(reason instanceof DashgateError)) {
      // The reason of a cancellation.
      return true;
    }
    // A caller that chose the request id can fetch the answer after the deadline.
    const hasEnded = isLate || reason.code === "DEADLINE_EXCEEDED";
    return (hasEnded && !this.#named) || reason.rawReason === "CLIENT_CLOSED";
  }

  #final(failure: unknown): unknown {
    if (this.fold.hasOutput) {
      noteOutput(failure);
    }
    return failure;
  }
}

function isLost(failure: unknown): failure is DashgateError {
  return (
    failure instanceof DashgateError &&
    (failure.rawReason === "" ? LOST.includes(failure.code) : ELSEWHERE.includes(failure.rawReason))
  );
}
