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
  type OpenedFile,
  type VideoOptions,
} from "../content.js";
import type { Content } from "../gen/dashgate/v1/content_pb.js";

/** A part that is a sound, from a `File` or `Blob`, from bytes or from an address. */
export function audio(source: MediaSource, options: MediaOptions = {}): Promise<Content> {
  return audioContent(source, options, refuse);
}

/** A part that is a picture, from a `File` or `Blob`, from bytes or from an address. */
export function image(source: MediaSource, options: ImageOptions = {}): Promise<Content> {
  return imageContent(source, options, refuse);
}

/** A part that is a film, from a `File` or `Blob`, bytes or an address; or a list of its frames. */
export function video(
  source: MediaSource | readonly MediaSource[],
  options: VideoOptions = {},
): Promise<Content> {
  return videoContent(source, options, refuse);
}

function refuse(path: string | URL): Promise<OpenedFile> {
  const why = "is no address of a medium, and a browser has no paths; give a File, a Blob or bytes";
  return Promise.reject(new TypeError(`${String(path)} ${why}`));
}
