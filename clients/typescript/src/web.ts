/**
 * Client for dashgate, for browsers, over gRPC-Web. It has no imports of Node.js.
 *
 * @module
 */
export * from "./api.js";
export { Client } from "./web/client.js";
export { audio, image, video } from "./web/content.js";
