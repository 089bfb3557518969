/**
 * How a medium's MIME type is told: by its first bytes, then by its extension, else not at all. A
 * test holds the table equal to tests/conformance/sniffing.json.
 */

/** The bytes in hex, `..` for any; the first rule that fits holds. */
export const MAGIC: readonly (readonly [bytes: string, mimeType: string])[] = [
  ["52494646........57415645", "audio/wav"],
  ["52494646........57454250", "image/webp"],
  ["52494646........41564920", "video/x-msvideo"],
  ["494433", "audio/mpeg"],
  ["664c6143", "audio/flac"],
  ["4f676753", "audio/ogg"],
  ["2321414d52", "audio/amr"],
  ["fff1", "audio/aac"],
  ["fff9", "audio/aac"],
  ["fffb", "audio/mpeg"],
  ["fffa", "audio/mpeg"],
  ["fff3", "audio/mpeg"],
  ["fff2", "audio/mpeg"],
  ["........667479704d3441", "audio/mp4"],
  ["........6674797068656963", "image/heic"],
  ["........667479707174", "video/quicktime"],
  ["........66747970", "video/mp4"],
  ["89504e470d0a1a0a", "image/png"],
  ["ffd8ff", "image/jpeg"],
  ["47494638", "image/gif"],
  ["424d", "image/bmp"],
  ["49492a00", "image/tiff"],
  ["4d4d002a", "image/tiff"],
  ["1a45dfa3", "video/webm"],
  ["464c5601", "video/x-flv"],
];

/** MIME types by the extension of a name, in small letters. */
export const EXTENSIONS: Readonly<Record<string, string>> = {
  wav: "audio/wav",
  mp3: "audio/mpeg",
  flac: "audio/flac",
  ogg: "audio/ogg",
  opus: "audio/opus",
  amr: "audio/amr",
  aac: "audio/aac",
  m4a: "audio/mp4",
  pcm: "audio/pcm",
  png: "image/png",
  jpg: "image/jpeg",
  jpeg: "image/jpeg",
  gif: "image/gif",
  bmp: "image/bmp",
  webp: "image/webp",
  tif: "image/tiff",
  tiff: "image/tiff",
  heic: "image/heic",
  mp4: "video/mp4",
  mov: "video/quicktime",
  avi: "video/x-msvideo",
  mkv: "video/x-matroska",
  webm: "video/webm",
  flv: "video/x-flv",
};

/** The MIME type of a medium, or an empty text if nothing tells it. */
export function sniff(data: Uint8Array, name = ""): string {
  const found = MAGIC.find(([pattern]) => fits(data, pattern));
  if (found !== undefined) {
    return found[1];
  }
  const extension = /\.([^./\\]+)$/.exec(name)?.[1]?.toLowerCase() ?? "";
  return Object.hasOwn(EXTENSIONS, extension) ? (EXTENSIONS[extension] ?? "") : "";
}

function fits(data: Uint8Array, pattern: string): boolean {
  const bytes = pattern.match(/../g) ?? [];
  return bytes.every(
    (byte, at) => at < data.length && (byte === ".." || data[at] === Number.parseInt(byte, 16)),
  );
}
