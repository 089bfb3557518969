/**
 * The content helpers for Node.js, which read paths.
 */
import {
  audioContent,
  imageContent,
  mediumOf,
  videoContent,
  type ImageOptions,
  type MediaOptions,
  type MediaSource,
  type Medium,
  type VideoOptions,
} from "../content.js";
import type { Content } from "../gen/dashgate/v1/content_pb.js";
import { sniff, type MediaKind } from "../sniff.js";
import { attached, AttachedFile } from "./attached.js";
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

/** Larger files are not read into the message. */
const LARGE_BYTES = 4 * 1024 * 1024;

/** The first bytes, which are enough to detect the type. */
const HEAD_BYTES = 512;

/** Reads a file, or attaches it if it is large. */
function read(
  source: string | URL,
  mimeType: string | undefined,
  kind: MediaKind,
): Promise<Medium> {
  const path = pathOf(source);
  const name = fileName(path);
  return withFile(path, async ({ file, stats }): Promise<Medium> => {
    if (stats.size <= LARGE_BYTES) {
      return mediumOf({ data: await file.readFile(), name }, mimeType, kind);
    }
    const { buffer, bytesRead } = await file.read(Buffer.alloc(HEAD_BYTES), 0, HEAD_BYTES, 0);
    const type = mimeType ?? sniff(buffer.subarray(0, bytesRead), name, kind);
    const value = attached(new AttachedFile(path, type, stats));
    return { mimeType: type, source: { case: "uri", value } };
  });
}
