/**
 * Client for dashgate, a gRPC gateway for DashScope's multimodal models, for Node.js. In a browser,
 * import `dashgate/web`.
 *
 * ```ts
 * import { Client, Conversation, audio } from "dashgate";
 *
 * using client = new Client();
 * const conversation = new Conversation("qwen-audio-turbo");
 * conversation.user(await audio("sentence.wav"), "What is said in this audio?");
 * const answer = await client.converse(conversation);
 * ```
 *
 * 64-bit numbers (`seed`, `sizeBytes`) are `bigint`, as in the generated messages.
 *
 * @module
 */
export * from "./api.js";
export { LiveSession, SpeechSession } from "./live.js";
export type { ResponseOptions } from "./live.js";
export { Client } from "./node/client.js";
export type { ClientOptions } from "./node/client.js";
export type { NodeOptions, TlsOptions } from "./node/connection.js";
export { audio, image, video } from "./node/content.js";
export type { UploadOptions, UploadSource } from "./node/upload.js";
export type { UploadMediaResponse } from "./gen/dashgate/v1/media_service_pb.js";
