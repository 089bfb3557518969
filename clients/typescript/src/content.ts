/**
 * Parts of a message: what the helpers of both entries have in common. Where a path can be read, and
 * where not, is the only difference between Node.js and a browser.
 */
import { create } from "@bufbuild/protobuf";

import type { Content, Image } from "./gen/dashgate/v1/content_pb.js";
import { ContentSchema, ImageSchema } from "./gen/dashgate/v1/content_pb.js";
import type { MediaKind } from "./sniff.js";
import { sniff } from "./sniff.js";

/**
 * Where a medium comes from: an address (`http:`, `https:`, `oss:` or `data:`, as a text or a `URL`),
 * its bytes, a `Blob` or `File`, or in Node.js a path or a `file:` URL. A path is read here, by the
 * client, and never sent.
 */
export type MediaSource = string | URL | Uint8Array | ArrayBuffer | Blob;

/** How to take a medium. */
export interface MediaOptions {
  /** The MIME type, for example `audio/wav`. Default: told by the first bytes, then the extension. */
  readonly mimeType?: string | undefined;
}

/** Hints for the processing of an image. */
export interface ImageOptions extends MediaOptions {
  /** The image is scaled up to at least this many pixels. */
  readonly minPixels?: number | undefined;
  /** The image is scaled down to at most this many pixels. */
  readonly maxPixels?: number | undefined;
  /** Rotates the image upright before it is read. */
  readonly enableRotate?: boolean | undefined;
}

/** Hints for the processing of a video. */
export interface VideoOptions extends MediaOptions {
  /** Frames per second to look at; for a list of frames, the rate at which they were taken. */
  readonly fps?: number | undefined;
  /** The most frames to look at. */
  readonly maxFrames?: number | undefined;
  /** Each frame is scaled up to at least this many pixels. */
  readonly minPixels?: number | undefined;
  /** Each frame is scaled down to at most this many pixels. */
  readonly maxPixels?: number | undefined;
  /** All frames together have at most this many pixels. */
  readonly totalPixels?: number | undefined;
}

/** What a path or a `file:` URL stands for. */
export interface OpenedFile {
  readonly data: Uint8Array;
  readonly name: string;
}

/** Reads a path, or says why there are none here. */
export type PathReader = (path: string | URL) => Promise<OpenedFile>;

/** A part that is plain text. */
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

type Source = { case: "uri"; value: string } | { case: "data"; value: Uint8Array<ArrayBuffer> };

interface Medium {
  mimeType: string;
  source: Source;
}

/** What a message needs to know of a medium. */
async function medium(
  source: MediaSource,
  mimeType: string | undefined,
  read: PathReader,
  kind: MediaKind,
): Promise<Medium> {
  const uri = asUri(source);
  if (uri !== undefined) {
    return { mimeType: mimeType ?? "", source: { case: "uri", value: uri } };
  }
  const { data, name } = await opened(source, read);
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

async function opened(source: MediaSource, read: PathReader): Promise<OpenedFile> {
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
  return read(source);
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

/** Without what was left undefined: a field that is there is a field that is sent. */
function given<T extends object>(hints: T): Given<T> {
  return Object.fromEntries(
    Object.entries(hints).filter(([, value]) => value !== undefined),
  ) as Given<T>;
}
