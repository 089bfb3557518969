/**
 * Structured output: answers as typed values.
 */
import { clone, create } from "@bufbuild/protobuf";

import type { Answer } from "./answer.js";
import { checkConversation, type Conversation } from "./conversation.js";
import { DashgateError } from "./error.js";
import {
  GenerationOptionsSchema,
  ResponseFormatSchema,
  type GenerationOptions,
} from "./gen/dashgate/v1/generation_pb.js";
import { jsonSchemaText, parseText, problemOf, type Schema } from "./schema.js";
import type { ConverseOptions } from "./settings.js";

/** Options of `converseAs`. */
export interface ConverseAsOptions extends ConverseOptions {
  /**
   * Whether the model is shown the error, once, if its answer cannot be parsed. Default: false.
   */
  readonly repair?: boolean | undefined;
  /** The name of the type, for the model. Default: `answer`. */
  readonly schemaName?: string | undefined;
}

/** A value, and the answer that it was parsed from. */
export interface StructuredAnswer<T> {
  /** The parsed value. */
  readonly value: T;
  /** The answer, to be appended to the conversation. */
  readonly answer: Answer;
}

/** Asks for an answer, and parses it. `converse` is called again for a repair. */
export async function converseStructured<T>(
  schema: Schema<T>,
  conversation: Conversation,
  { repair = false, schemaName = "answer", ...rest }: ConverseAsOptions,
  converse: (
    conversation: Conversation,
    options: ConverseOptions,
    isFirst: boolean,
  ) => Promise<Answer>,
): Promise<StructuredAnswer<T>> {
  checkConversation(conversation);
  const options = { ...rest, options: withFormat(rest.options, schema, schemaName) };
  const answer = await converse(conversation, options, true);
  try {
    return { value: await parseText(schema, answer.text), answer };
  } catch (thrown) {
    const problem = problemOf(thrown);
    if (!repair) {
      throw invalid(problem, answer);
    }
    const corrected = conversation.copy().append(answer).user(correction(problem));
    const second = await converse(corrected, options, false);
    return { value: await parsed(schema, second), answer: second };
  }
}

async function parsed<T>(schema: Schema<T>, answer: Answer): Promise<T> {
  try {
    return await parseText(schema, answer.text);
  } catch (thrown) {
    throw invalid(problemOf(thrown), answer);
  }
}

function correction(problem: string): string {
  return `This answer is not valid: ${problem}\nAnswer again, with JSON that matches the schema only.`;
}

function invalid(problem: string, answer: Answer): DashgateError {
  return new DashgateError(`the answer is not of the type: ${problem}`, {
    code: "INTERNAL",
    rawReason: "OUTPUT_INVALID",
    requestId: answer.requestId,
    usage: answer.usage,
    model: answer.model,
    upstreamRequestId: answer.upstreamRequestId,
    outputStarted: true,
    headers: answer.headers,
  });
}

/** A copy of the options with another format. */
function withFormat<T>(
  options: ConverseOptions["options"],
  schema: Schema<T>,
  name: string,
): GenerationOptions {
  const copy = clone(GenerationOptionsSchema, create(GenerationOptionsSchema, options));
  const value = { name, schema: jsonSchemaText(schema), strict: true };
  copy.responseFormat = create(ResponseFormatSchema, { kind: { case: "jsonSchema", value } });
  return copy;
}
