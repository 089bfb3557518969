/**
 * The generated messages, enums and services of the package `dashgate.v1`. The comments of the
 * schema document every field.
 *
 * @module
 */
export * from "./gen/dashgate/v1/call_service_pb.js";
export * from "./gen/dashgate/v1/content_pb.js";
export * from "./gen/dashgate/v1/conversation_pb.js";
export * from "./gen/dashgate/v1/conversation_service_pb.js";
export * from "./gen/dashgate/v1/error_pb.js";
export * from "./gen/dashgate/v1/generation_pb.js";
export * from "./gen/dashgate/v1/live_pb.js";
export * from "./gen/dashgate/v1/live_service_pb.js";
export * from "./gen/dashgate/v1/media_service_pb.js";
export * from "./gen/dashgate/v1/model_pb.js";
export * from "./gen/dashgate/v1/model_service_pb.js";
export * from "./gen/dashgate/v1/stored_turn_pb.js";
export * from "./gen/dashgate/v1/tool_pb.js";
export * from "./gen/dashgate/v1/usage_pb.js";
export * from "./gen/dashgate/v1/warning_pb.js";
