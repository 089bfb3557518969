/**
 * The content helpers for browsers, which have no paths.
 */
import {
  audioContent,
  imageContent,
  videoContent,
  type ImageOptions,
  type MediaOptions,
  type MediaSource,
  type Medium,
  type VideoOptions,
} from "../content.js";
import type { Content } from "../gen/dashgate/v1/content_pb.js";

/** Returns an audio part from a `File` or `Blob`, bytes or a URI. */
export function audio(source: MediaSource, options: MediaOptions = {}): Promise<Content> {
  return audioContent(source, options, refuse);
}

/** Returns an image part from a `File` or `Blob`, bytes or a URI. */
export function image(source: MediaSource, options: ImageOptions = {}): Promise<Content> {
  return imageContent(source, options, refuse);
}

/** Returns a video part from a `File` or `Blob`, bytes or a URI, or from a list of its frames. */
export function video(
  source: MediaSource | readonly MediaSource[],
  options: VideoOptions = {},
): Promise<Content> {
  return videoContent(source, options, refuse);
}

function refuse(path: string | URL): Promise<Medium> {
  const why = "is no address of a medium, and a browser has no paths; give a File, a Blob or bytes";
  return Promise.reject(new TypeError(`${String(path)} ${why}`));
}
