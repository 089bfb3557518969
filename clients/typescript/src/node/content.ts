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

/** An audio part, from a path, from bytes or from a URI. */
export function audio(source: MediaSource, options: MediaOptions = {}): Promise<Content> {
  return audioContent(source, options, read);
}

/** An image part, from a path, from bytes or from a URI. */
export function image(source: MediaSource, options: ImageOptions = {}): Promise<Content> {
  return imageContent(source, options, read);
}

/** A video part, from a path, from bytes or from a URI; or a list of its frames. */
export function video(
  source: MediaSource | readonly MediaSource[],
  options: VideoOptions = {},
): Promise<Content> {
  return videoContent(source, options, read);
}

async function read(path: string | URL): Promise<OpenedFile> {
  return { data: await readFile(path), name: fileName(path) };
}

/** The last part of a path, for its extension: the folders are nobody's business. */
export function fileName(path: string | URL): string {
  return basename(typeof path === "string" ? path : fileURLToPath(path));
}
