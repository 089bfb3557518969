/**
 * The exports that Node.js and browsers share.
 */
export { Answer } from "./answer.js";
export type { CallOptions } from "./call.js";
export type {
  ClientSettings,
  ConverseOptions,
  ListModelsOptions,
  StreamOptions,
  ToolsOptions,
} from "./client.js";
export { text } from "./content.js";
export type { ImageOptions, MediaOptions, MediaSource, VideoOptions } from "./content.js";
export { Conversation } from "./conversation.js";
export type { ToolChoice, ToolDeclaration } from "./conversation.js";
export { DashgateError } from "./error.js";
export type { FieldViolation, Particulars } from "./error.js";
export type { ResponseHeaders } from "./headers.js";
export type { StatusCode } from "./status.js";
export type { Metadata } from "./metadata.js";
export { AnswerStream } from "./stream.js";
export type { Tool } from "./tools.js";
export { VERSION } from "./version.js";

export type { Content } from "./gen/dashgate/v1/content_pb.js";
export { Role } from "./gen/dashgate/v1/conversation_pb.js";
export type { Message } from "./gen/dashgate/v1/conversation_pb.js";
export { FinishReason } from "./gen/dashgate/v1/conversation_service_pb.js";
export type {
  Choice,
  ConverseResponse,
  ConverseStreamResponse,
} from "./gen/dashgate/v1/conversation_service_pb.js";
export { ErrorReason } from "./gen/dashgate/v1/error_pb.js";
export type { GenerationOptions } from "./gen/dashgate/v1/generation_pb.js";
export { Modality, ModelState, UpstreamKind } from "./gen/dashgate/v1/model_pb.js";
export type { Model } from "./gen/dashgate/v1/model_pb.js";
export type { ToolCall } from "./gen/dashgate/v1/tool_pb.js";
export type { Usage } from "./gen/dashgate/v1/usage_pb.js";
export type { Warning } from "./gen/dashgate/v1/warning_pb.js";
