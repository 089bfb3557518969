/**
 * Parts of a message: the common part of the helpers for Node.js and browsers, which differ only in
 * reading paths.
 */
import { create } from "@bufbuild/protobuf";

import { refusePromise } from "./arguments.js";
import { join } from "./bytes.js";
import type { Content, Image } from "./gen/dashgate/v1/content_pb.js";
import { ContentSchema, ImageSchema } from "./gen/dashgate/v1/content_pb.js";
import type { MediaKind } from "./sniff.js";
import { sniff } from "./sniff.js";

/**
 * The source of audio, an image or a video: a URI (`http:`, `https:`, `oss:` or `data:`, as a
 * string or a `URL`), bytes, a `Blob` or `File`, an async iterable of bytes such as a `Readable` or
 * a `ReadableStream`, or in Node.js a path or a `file:` URL. Files are read by the client; paths
 * are never sent.
 */
export type MediaSource =
  string | URL | Uint8Array | ArrayBuffer | Blob | AsyncIterable<Uint8Array>;

/** Options of a part. */
export interface MediaOptions {
  /**
   * The MIME type, for example `audio/wav`. Default: detected from the first bytes, then from the
   * extension.
   */
  readonly mimeType?: string | undefined;
}

/** Options of an image. */
export interface ImageOptions extends MediaOptions {
  /** The image is scaled up to at least this many pixels. */
  readonly minPixels?: number | undefined;
  /** The image is scaled down to at most this many pixels. */
  readonly maxPixels?: number | undefined;
  /** Rotates the image upright before it is read. */
  readonly enableRotate?: boolean | undefined;
}

/** Options of a video. */
export interface VideoOptions extends MediaOptions {
  /** Frames per second to sample; for a list of frames, the rate at which they were taken. */
  readonly fps?: number | undefined;
  /** The maximum number of frames to sample. */
  readonly maxFrames?: number | undefined;
  /** Each frame is scaled up to at least this many pixels. */
  readonly minPixels?: number | undefined;
  /** Each frame is scaled down to at most this many pixels. */
  readonly maxPixels?: number | undefined;
  /** All frames together have at most this many pixels. */
  readonly totalPixels?: number | undefined;
}

/** Bytes, and the name that they were found with. */
export interface NamedBytes {
  readonly data: Uint8Array;
  readonly name: string;
}

/** The fields that all media share. */
export interface Medium {
  mimeType: string;
  source: Source;
}

type Source = { case: "uri"; value: string } | { case: "data"; value: Uint8Array<ArrayBuffer> };

/** Reads a path or a `file:` URL, or throws where there is no file system. */
export type PathReader = (
  path: string | URL,
  mimeType: string | undefined,
  kind: MediaKind,
) => Promise<Medium>;

/** Returns a text part. */
export function text(words: string): Content {
  return create(ContentSchema, { kind: { case: "text", value: words } });
}

export async function audioContent(
  source: MediaSource,
  options: MediaOptions,
  read: PathReader,
): Promise<Content> {
  const value = await medium(source, options.mimeType, read, "audio");
  return create(ContentSchema, { kind: { case: "audio", value } });
}

export async function imageContent(
  source: MediaSource,
  options: ImageOptions,
  read: PathReader,
): Promise<Content> {
  const { mimeType, ...hints } = options;
  const value = { ...given(hints), ...(await medium(source, mimeType, read, "image")) };
  return create(ContentSchema, { kind: { case: "image", value } });
}

export async function videoContent(
  source: MediaSource | readonly MediaSource[],
  options: VideoOptions,
  read: PathReader,
): Promise<Content> {
  const { mimeType, ...hints } = options;
  const value = {
    ...given(hints),
    ...(isList(source)
      ? { mimeType: mimeType ?? "", source: await frames(source, read) }
      : await medium(source, mimeType, read, "video")),
  };
  return create(ContentSchema, { kind: { case: "video", value } });
}

async function medium(
  source: MediaSource,
  mimeType: string | undefined,
  read: PathReader,
  kind: MediaKind,
): Promise<Medium> {
  refusePromise("the source", source);
  const uri = asUri(source);
  if (uri !== undefined) {
    return { mimeType: mimeType ?? "", source: { case: "uri", value: uri } };
  }
  if (typeof source === "string" || source instanceof URL) {
    return read(source, mimeType, kind);
  }
  return mediumOf(await opened(source), mimeType, kind);
}

/** A medium that is sent as bytes. */
export function mediumOf(
  { data, name }: NamedBytes,
  mimeType: string | undefined,
  kind: MediaKind,
): Medium {
  return {
    mimeType: mimeType ?? sniff(data, name, kind),
    source: { case: "data", value: data as Uint8Array<ArrayBuffer> },
  };
}

/** The schemes that DashScope or the gateway can fetch. */
const ADDRESS = /^(?:https?|oss|data):/i;

function asUri(source: MediaSource): string | undefined {
  if (typeof source !== "string" && !(source instanceof URL)) {
    return undefined;
  }
  const address = String(source);
  return ADDRESS.test(address) ? address : undefined;
}

async function opened(source: Exclude<MediaSource, string | URL>): Promise<NamedBytes> {
  if (source instanceof Uint8Array) {
    return { data: source, name: "" };
  }
  if (source instanceof ArrayBuffer) {
    return { data: new Uint8Array(source), name: "" };
  }
  if (source instanceof Blob) {
    const name = "name" in source && typeof source.name === "string" ? source.name : "";
    return { data: new Uint8Array(await source.arrayBuffer()), name };
  }
  const pieces: Uint8Array[] = [];
  for await (const piece of source) {
    pieces.push(piece);
  }
  return { data: join(pieces), name: "" };
}

async function frames(
  sources: readonly MediaSource[],
  read: PathReader,
): Promise<{ case: "frames"; value: { frames: Image[] } }> {
  const pictures = await Promise.all(sources.map((one) => medium(one, undefined, read, "image")));
  return {
    case: "frames",
    value: { frames: pictures.map((picture) => create(ImageSchema, picture)) },
  };
}

function isList(source: MediaSource | readonly MediaSource[]): source is readonly MediaSource[] {
  return Array.isArray(source);
}

type Given<T> = { [Key in keyof T]?: Exclude<T[Key], undefined> };

/** Removes undefined fields: a field that is present is sent. */
function given<T extends object>(hints: T): Given<T> {
  return Object.fromEntries(
    Object.entries(hints).filter(([, value]) => value !== undefined),
  ) as Given<T>;
}
