/**
 * The content helpers for Node.js, which read paths.
 */
import { readFile } from "node:fs/promises";
import { basename } from "node:path";
import { fileURLToPath } from "node:url";

import {
  audioContent,
  imageContent,
  videoContent,
  type ImageOptions,
  type MediaOptions,
  type MediaSource,
  type OpenedFile,
  type VideoOptions,
} from "../content.js";
import type { Content } from "../gen/dashgate/v1/content_pb.js";

/** Returns an audio part from a path, bytes or a URI. */
export function audio(source: MediaSource, options: MediaOptions = {}): Promise<Content> {
  return audioContent(source, options, read);
}

/** Returns an image part from a path, bytes or a URI. */
export function image(source: MediaSource, options: ImageOptions = {}): Promise<Content> {
  return imageContent(source, options, read);
}

/** Returns a video part from a path, bytes or a URI, or from a list of its frames. */
export function video(
  source: MediaSource | readonly MediaSource[],
  options: VideoOptions = {},
): Promise<Content> {
  return videoContent(source, options, read);
}

async function read(path: string | URL): Promise<OpenedFile> {
  return { data: await readFile(path), name: fileName(path) };
}

/** Returns the last part of a path, for its extension; folders are not sent. */
export function fileName(path: string | URL): string {
  return basename(typeof path === "string" ? path : fileURLToPath(path));
}
