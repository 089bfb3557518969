/** What a live session remembers across its streams, and when it is resumed. */
import type { MessageInitShape } from "@bufbuild/protobuf";
import { create } from "@bufbuild/protobuf";

import { RESUME_ATTEMPTS, resumeDelay } from "./backoff.js";
import { DashgateError, noteOutput, noteUsage } from "./error.js";
import {
  ResumeSessionSchema,
  type ResumeSession,
  type SessionEnded,
} from "./gen/dashgate/v1/live_pb.js";
import type {
  ConverseLiveResponse,
  SynthesizeLiveResponse,
} from "./gen/dashgate/v1/live_service_pb.js";

/** An event of either kind of session. */
export type LiveEvent = ConverseLiveResponse | SynthesizeLiveResponse;

/** The state of a session across its streams. */
export class Progress {
  resumes = 0;
  sessionId = "";
  ended: SessionEnded | undefined;
  #token = "";
  #sequence = 0;
  #attempts = 0;
  #failure: DashgateError | undefined;
  #hasOutput = false;

  constructor(resume: MessageInitShape<typeof ResumeSessionSchema> | undefined) {
    const { sessionId = "", token = "", lastSequence = 0 } = resume ?? {};
    this.sessionId = sessionId;
    this.#token = token;
    this.#sequence = lastSequence;
  }

  /** What another stream needs to continue. */
  get resumption(): ResumeSession | undefined {
    return this.#token === ""
      ? undefined
      : create(ResumeSessionSchema, {
          sessionId: this.sessionId,
          token: this.#token,
          lastSequence: this.#sequence,
        });
  }

  /** Notes an event. Returns false if it was received on an earlier stream. */
  received({ event, sequence }: LiveEvent): boolean {
    if (event.case === "sessionStarted") {
      this.sessionId = event.value.sessionId;
      this.#token = event.value.resumeToken === "" ? this.#token : event.value.resumeToken;
      // A resumed stream starts with the number of the last event that was received.
      this.#sequence = Math.max(this.#sequence, sequence);
      return true;
    }
    // Whatever follows the start is progress.
    this.#attempts = 0;
    this.#failure = undefined;
    if (sequence !== 0 && sequence <= this.#sequence) {
      return false;
    }
    this.#sequence = sequence;
    this.#hasOutput ||= event.case === "responseDelta";
    if (event.case === "sessionEnded") {
      this.ended = event.value;
    }
    return true;
  }

  /** Returns the delay before the session is resumed, or `undefined` if the error is final. */
  broken(failure: unknown): number | undefined {
    if (!isLost(failure) || this.#token === "" || this.ended !== undefined) {
      return undefined;
    }
    if (this.#attempts === RESUME_ATTEMPTS) {
      return undefined;
    }
    this.#failure ??= failure;
    const delay = resumeDelay(this.#attempts, failure);
    this.#attempts += 1;
    this.resumes += 1;
    return delay;
  }

  /** The error to throw for a final one. */
  final(failure: unknown): unknown {
    // If all attempts fail, the error of the stream that broke has the cause and the usage.
    const isExhausted = this.#attempts === RESUME_ATTEMPTS && isLost(failure);
    const final = isExhausted ? (this.#failure ?? failure) : failure;
    if (this.#hasOutput) {
      noteOutput(final);
    }
    noteUsage(final, this.#failure?.usage);
    return final;
  }
}

/**
 * Whether a stream was broken, by a lost connection, by a proxy or by a gateway that shuts down. An
 * error with another reason of the gateway is final.
 */
function isLost(failure: unknown): failure is DashgateError {
  if (!(failure instanceof DashgateError)) {
    return false;
  }
  const isOfLibrary = failure.code === "INTERNAL" || failure.code === "UNKNOWN";
  return failure.code === "UNAVAILABLE" || (isOfLibrary && failure.rawReason === "");
}
