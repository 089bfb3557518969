/**
 * The content helpers for Node.js, which read paths.
 */
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
import { fileName, pathOf, withFile } from "./paths.js";

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

async function read(source: string | URL): Promise<OpenedFile> {
  const path = pathOf(source);
  return { data: await withFile(path, (file) => file.readFile()), name: fileName(path) };
}
