/**
 * The exports that Node.js and browsers share.
 */
export { Answer } from "./answer.js";
export type { CallOptions } from "./call.js";
export type { BaseClient } from "./client.js";
export { text } from "./content.js";
export type { ImageOptions, MediaOptions, MediaSource, VideoOptions } from "./content.js";
export { Conversation } from "./conversation.js";
export type { ConversationOptions, ToolChoice, ToolDeclaration } from "./conversation.js";
export { DashgateError } from "./error.js";
export type { ErrorDetails, FieldViolation } from "./error.js";
export type { ResponseHeaders } from "./headers.js";
export type { StatusCode } from "./status.js";
export type { Metadata } from "./metadata.js";
export type { ResourceClient } from "./resources.js";
export type {
  CreateConversationOptions,
  ForkConversationOptions,
  ListConversationsOptions,
  ListTurnsOptions,
  StoredFields,
  UpdateConversationOptions,
} from "./resources.js";
export type {
  ParsedSchema,
  Schema,
  StandardFailure,
  StandardIssue,
  StandardPathSegment,
  StandardResult,
  StandardSchema,
  StandardSuccess,
} from "./schema.js";
export type {
  ClientSettings,
  ConverseOptions,
  ListModelsOptions,
  StreamOptions,
} from "./settings.js";
export { AnswerStream } from "./stream.js";
export type { ConverseAsOptions, StructuredAnswer } from "./structured.js";
export { ToolStream } from "./tool_stream.js";
export { typedTool } from "./tools.js";
export type { LoopOptions, StreamToolsOptions, Tool, ToolsOptions, TypedTool } from "./tools.js";
export type {
  CommonRequest,
  CommonResponse,
  ContextKey,
  ContextValues,
  Interceptor,
  Invocation,
  RawCallOptions,
  ServiceClient,
  StreamRequest,
  StreamResponse,
  Transport,
  UnaryRequest,
  UnaryResponse,
} from "./transport.js";
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
export type { Status } from "./gen/dashgate/client/v1/error_details_pb.js";
export { ErrorReason } from "./gen/dashgate/v1/error_pb.js";
export type { GenerationOptions } from "./gen/dashgate/v1/generation_pb.js";
export { Modality, ModelState, UpstreamKind } from "./gen/dashgate/v1/model_pb.js";
export type { Model } from "./gen/dashgate/v1/model_pb.js";
export type { ToolCall } from "./gen/dashgate/v1/tool_pb.js";
export { HistoryMedia, TurnState } from "./gen/dashgate/v1/stored_turn_pb.js";
export type { HistoryPolicy, HistoryUsed, Turn } from "./gen/dashgate/v1/stored_turn_pb.js";
export type { Usage } from "./gen/dashgate/v1/usage_pb.js";
export type { Warning } from "./gen/dashgate/v1/warning_pb.js";
